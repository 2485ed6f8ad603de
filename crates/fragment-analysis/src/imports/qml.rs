//! `import` of QML: modules by name and version, directories and files by text.

use super::Import;

pub(super) fn imports(text: &str, add: &mut dyn FnMut(Import)) {
    if text.contains("import QtQuick") {
        // an item that is run by itself is shown in a window
        add(Import::Module("QtQuick.Window 2.0".to_owned()));
    }
    for line in text.split(['\n', ';']) {
        let Some(rest) = line.trim_start().strip_prefix("import") else {
            continue;
        };
        let mut words = rest.split_whitespace();
        let (Some(name), version) = (words.next(), words.next()) else {
            continue;
        };
        if !rest.starts_with([' ', '\t', '"']) {
            continue;
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_');
        let is_version = |text: &&str| text.starts_with(|c: char| c.is_ascii_digit());
        if name.chars().all(is_name) {
            let version = version.filter(is_version);
            let version = version.map_or(String::new(), |version| format!(" {version}"));
            add(Import::Module(format!("{name}{version}")));
        } else if let Some(path) = rest.trim_start().strip_prefix('"') {
            let path = path.split('"').next().unwrap_or_default();
            if path.ends_with(".js") {
                add(Import::File(path.to_owned()));
            }
        }
    }
}

/// Where the engine looks for a module below a directory of modules: with the whole version, its first part and without, behind
/// each part of the name from the last (Qt's "QML Import Path").
pub(crate) fn directories(module: &str) -> Vec<String> {
    let (name, version) = module.split_once(' ').unwrap_or((module, ""));
    let parts: Vec<&str> = name.split('.').collect();
    let mut out = Vec::new();
    let major = version.split('.').next().unwrap_or_default();
    for version in [version, major] {
        if version.is_empty() || parts.len() > 8 {
            continue;
        }
        for at in (0..parts.len()).rev() {
            let mut named: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
            named[at] = format!("{}.{version}", named[at]);
            let path = named.join("/");
            if !out.contains(&path) {
                out.push(path);
            }
        }
    }
    out.push(parts.join("/"));
    out
}
