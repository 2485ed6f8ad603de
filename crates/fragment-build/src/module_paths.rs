//! Modules of script languages by the directories in which the languages of this distribution look.
//!
//! docs/analysis.md has the names that analysis asks for.

use std::collections::BTreeSet;

use fragment_types::manifest::Module;

use crate::tree::{Content, Tree};

/// Largest `pkgIndex.tcl` read, in bytes.
const MAX_INDEX: u64 = 1 << 20;

/// All modules that `tree` holds where an interpreter finds them.
pub(crate) fn of_paths(tree: &Tree) -> BTreeSet<Module> {
    let mut modules = BTreeSet::new();
    for (path, entry) in &tree.entries {
        let names = of_path(path, entry.is_directory(), &|p| {
            tree.entries.contains_key(p)
        });
        modules.extend(
            names
                .into_iter()
                .map(|(language, name)| Module { language, name }),
        );
        if path.ends_with("/pkgIndex.tcl")
            && let Content::File { source, .. } = &entry.content
            && let Ok(text) = source.head(MAX_INDEX)
        {
            modules.extend(tcl_packages(&String::from_utf8_lossy(&text)));
        }
        if is_catalog(path)
            && let Content::File { source, .. } = &entry.content
            && let Ok(text) = source.head(MAX_INDEX)
        {
            modules.extend(delegations(&String::from_utf8_lossy(&text)));
        }
    }
    modules
}

/// A package's own catalogue, to which `/etc/xml/catalog` delegates (update-xmlcatalog(8)).
fn is_catalog(path: &str) -> bool {
    let name = path.strip_prefix("/etc/xml/").unwrap_or_default();
    name.ends_with(".xml") && !name.contains('/')
}

/// Beginnings of public identifiers, system identifiers and addresses that a catalogue leads on (OASIS XML Catalogs 1.1).
fn delegations(text: &str) -> BTreeSet<Module> {
    const ATTRIBUTES: [&str; 3] = [
        "publicIdStartString=\"",
        "systemIdStartString=\"",
        "uriStartString=\"",
    ];
    let values = ATTRIBUTES.iter().flat_map(|attribute| {
        text.split(attribute)
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
    });
    let plain = |value: &&str| (4..=256).contains(&value.len()) && !value.contains(['&', '<']);
    values
        .filter(plain)
        .map(|name| Module {
            language: "xml".to_owned(),
            name: name.to_owned(),
        })
        .collect()
}

/// What one path is imported as. `is_there` answers for other paths.
#[expect(clippy::unnested_or_patterns, reason = "one line a directory")]
fn of_path(path: &str, directory: bool, is_there: &dyn Fn(&str) -> bool) -> Vec<(String, String)> {
    let one = |language: &str, name: String| vec![(language.to_owned(), name)];
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    // multiarch directories: /usr/lib/TRIPLET/x is treated as /usr/lib/x
    let (base, rest) = match parts[..] {
        ["usr", "local", "lib", triplet, ref rest @ ..] if is_triplet(triplet) => ("lib", rest),
        ["usr", "local", base @ ("lib" | "share"), ref rest @ ..] => (base, rest),
        ["usr", "lib", triplet, ref rest @ ..] if is_triplet(triplet) => ("lib", rest),
        ["usr", base @ ("lib" | "share"), ref rest @ ..] => (base, rest),
        ["var", "lib", ref rest @ ..] => ("var", rest),
        ["etc", "perl", ref rest @ ..] => ("perl", rest),
        _ => return Vec::new(),
    };
    match (base, rest) {
        ("perl", rest)
        | ("share" | "lib", ["perl5", rest @ ..])
        | ("lib", ["perl-base", rest @ ..])
        | ("share" | "lib", ["perl", _, rest @ ..]) => {
            let rest = match rest {
                [version, rest @ ..] if base == "lib" && is_version(version) => rest,
                rest => rest,
            };
            let name = rest.join("::");
            match name.strip_suffix(".pm") {
                Some(name) if !directory => one("perl", name.to_owned()),
                _ => Vec::new(),
            }
        }
        ("lib", [version, "dist-packages" | "lib-dynload", rest @ ..])
        | ("lib", [version, rest @ ..])
            if version.starts_with("python3") =>
        {
            python(rest, path, directory, is_there)
        }
        ("share", ["nodejs", rest @ ..])
        | ("lib", ["nodejs", rest @ ..])
        | ("share", ["npm", "node_modules", rest @ ..]) => node(rest, directory)
            .map(|name| one("node", name))
            .unwrap_or_default(),
        ("lib", ["php", _, file]) => match file.strip_suffix(".so") {
            Some(name) => one("php", name.to_ascii_lowercase()),
            None => Vec::new(),
        },
        ("share", ["php" | "pear", rest @ ..]) if path.ends_with(".php") => {
            one("php", rest.join("/"))
        }
        ("share" | "lib", ["lua", version, rest @ ..]) => lua(version, rest),
        ("lib", ["R", "library" | "site-library", name]) if directory => {
            one("r", (*name).to_owned())
        }
        ("share" | "lib", [top, ..]) if top.starts_with("tcl") && path.ends_with(".tm") => {
            tcl_module(path)
                .map(|name| one("tcl", name))
                .unwrap_or_default()
        }
        _ => ruby(base, rest),
    }
}

fn is_triplet(name: &str) -> bool {
    name.contains("-linux-gnu")
}

fn is_version(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_digit())
}

fn python(
    rest: &[&str],
    path: &str,
    directory: bool,
    is_there: &dyn Fn(&str) -> bool,
) -> Vec<(String, String)> {
    let module = |name: String| vec![("python3".to_owned(), name)];
    match rest {
        // a namespace that packages share, or nothing to import: only what lies in it has a name
        [_] if directory && !is_there(&format!("{path}/__init__.py")) => Vec::new(),
        [file] => python_module(file, directory)
            .map(module)
            .unwrap_or_default(),
        // below a directory that is a namespace only
        [top, file] => {
            let parent = path.rsplit_once('/').map_or("", |(p, _)| p);
            let plain =
                python_module(top, true).filter(|_| !is_there(&format!("{parent}/__init__.py")));
            match (plain, python_module(file, directory)) {
                (Some(top), Some(name)) => module(format!("{top}.{name}")),
                _ => Vec::new(),
            }
        }
        _ => Vec::new(),
    }
}

/// The module a directory entry is imported as, as `importlib` names them.
fn python_module(file: &str, is_directory: bool) -> Option<String> {
    let stem = if is_directory {
        // a directory without __init__.py is a namespace package
        file
    } else {
        match file.rsplit_once('.')? {
            (stem, "py") => stem,
            // _ssl.cpython-311-x86_64-linux-gnu.so, _x.abi3.so, _x.so
            (stem, "so") => stem.split('.').next()?,
            _ => return None,
        }
    };
    let identifier = !stem.is_empty()
        && !stem.starts_with(|c: char| c.is_ascii_digit())
        && stem.chars().all(|c| c.is_alphanumeric() || c == '_')
        && stem != "__pycache__";
    identifier.then(|| stem.to_owned())
}

fn node(rest: &[&str], directory: bool) -> Option<String> {
    match rest {
        [scope, name] if scope.starts_with('@') => Some(format!("{scope}/{name}")),
        [name] if name.starts_with(['@', '.']) => None,
        [name] if directory => Some((*name).to_owned()),
        [file] => {
            let (stem, extension) = file.rsplit_once('.').unwrap_or((file, ""));
            // a link to a package's directory has no extension
            matches!(extension, "js" | "json" | "node" | "").then(|| stem.to_owned())
        }
        _ => None,
    }
}

fn lua(version: &str, rest: &[&str]) -> Vec<(String, String)> {
    let name = rest.join(".");
    let stem = name
        .strip_suffix(".lua")
        .or_else(|| name.strip_suffix(".so"));
    let Some(stem) = stem else { return Vec::new() };
    let name = stem.strip_suffix(".init").unwrap_or(stem).to_owned();
    vec![
        ("lua".to_owned(), name.clone()),
        (format!("lua{version}"), name),
    ]
}

/// `NAME-VERSION.tm` below `tcl8/VERSION`.
fn tcl_module(path: &str) -> Option<String> {
    let (_, below) = path.split_once("/tcl8/")?;
    let (_, name) = below.split_once('/')?;
    let (name, _) = name.strip_suffix(".tm")?.rsplit_once('-')?;
    Some(name.replace('/', "::"))
}

/// The words behind `package ifneeded`.
fn tcl_packages(text: &str) -> Vec<Module> {
    let after = text.split("package ifneeded").skip(1);
    after
        .filter_map(|rest| rest.split_whitespace().next())
        .map(|name| name.trim_matches(['"', '{', '}']))
        .filter(|name| !name.is_empty() && !name.contains(['$', '[']))
        .map(|name| Module {
            language: "tcl".to_owned(),
            name: name.to_owned(),
        })
        .collect()
}

/// Features and gems.
#[expect(clippy::unnested_or_patterns, reason = "one line a directory")]
fn ruby(base: &str, rest: &[&str]) -> Vec<(String, String)> {
    let feature = |rest: &[&str]| {
        let name = rest.join("/");
        let stem = name
            .strip_suffix(".rb")
            .or_else(|| name.strip_suffix(".so"));
        stem.map(|s| ("ruby".to_owned(), s.to_owned()))
            .into_iter()
            .collect()
    };
    let below = match (base, rest) {
        ("share", ["rubygems-integration", _, below @ ..])
        | ("lib", ["rubygems-integration", _, below @ ..])
        | ("lib", ["ruby", "gems", _, below @ ..])
        | ("var", ["gems", _, below @ ..]) => below,
        ("lib", ["ruby", "vendor_ruby", version, below @ ..])
        | ("lib", ["ruby", version, below @ ..])
            if is_version(version) =>
        {
            return feature(below);
        }
        ("lib", ["ruby", "vendor_ruby", below @ ..]) => return feature(below),
        _ => return Vec::new(),
    };
    match below {
        ["gems", _, "lib", below @ ..] => feature(below),
        ["specifications", "default", file] | ["specifications", file] => {
            let stem = file.strip_suffix(".gemspec");
            let name = stem.map(|s| s.rsplit_once('-').map_or(s, |(name, _)| name));
            name.map(|n| ("rubygem".to_owned(), n.to_owned()))
                .into_iter()
                .collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::{delegations, is_catalog, of_path, python_module, tcl_packages};

    #[test]
    fn catalogues_delegate_names() {
        for (path, expected) in [
            ("/etc/xml/docbook-xsl.xml", true),
            ("/etc/xml/catalog", false),
            ("/etc/xml/x/y.xml", false),
            ("/usr/etc/xml/a.xml", false),
        ] {
            assert_eq!(is_catalog(path), expected, "{path}");
        }
        let text = "<catalog>\n<delegatePublic publicIdStartString=\"-//OASIS//DTD DocBook XML\" catalog=\"file:///x\"/>\n\
            <delegateURI uriStartString=\"http://a.example/xsl/\" catalog=\"x\"/>\n<delegateSystem systemIdStartString=\"&x;\"/>";
        let names: Vec<String> = delegations(text).into_iter().map(|one| one.name).collect();
        assert_eq!(
            names,
            ["-//OASIS//DTD DocBook XML", "http://a.example/xsl/"]
        );
    }

    #[test]
    fn paths_are_imported_as() {
        for (path, directory, expected) in [
            (
                "/usr/share/perl5/Getopt/Long.pm",
                false,
                "perl Getopt::Long",
            ),
            (
                "/usr/lib/x86_64-linux-gnu/perl5/5.36/JSON/XS.pm",
                false,
                "perl JSON::XS",
            ),
            (
                "/usr/share/perl/5.36.0/Pod/Usage.pm",
                false,
                "perl Pod::Usage",
            ),
            (
                "/usr/lib/x86_64-linux-gnu/perl-base/strict.pm",
                false,
                "perl strict",
            ),
            ("/usr/lib/python3/dist-packages/yaml", true, "python3 yaml"),
            ("/usr/lib/python3/dist-packages/google", true, ""),
            (
                "/usr/lib/python3.11/lib-dynload/_ssl.cpython-311-x86_64-linux-gnu.so",
                false,
                "python3 _ssl",
            ),
            (
                "/usr/lib/python3/dist-packages/google/protobuf",
                true,
                "python3 google.protobuf",
            ),
            (
                "/usr/lib/ruby/vendor_ruby/net/http.rb",
                false,
                "ruby net/http",
            ),
            (
                "/usr/lib/x86_64-linux-gnu/ruby/3.1.0/json/ext/parser.so",
                false,
                "ruby json/ext/parser",
            ),
            (
                "/usr/share/rubygems-integration/all/gems/rack-2.2.6/lib/rack.rb",
                false,
                "ruby rack",
            ),
            (
                "/usr/share/rubygems-integration/all/specifications/rack-2.2.6.gemspec",
                false,
                "rubygem rack",
            ),
            ("/usr/share/nodejs/express", true, "node express"),
            ("/usr/share/nodejs/@babel/core", true, "node @babel/core"),
            ("/usr/share/nodejs/he.js", false, "node he"),
            ("/usr/lib/php/20220829/mysqli.so", false, "php mysqli"),
            (
                "/usr/share/php/Twig/autoload.php",
                false,
                "php Twig/autoload.php",
            ),
            ("/usr/lib/R/site-library/ggplot2", true, "r ggplot2"),
            (
                "/usr/share/tcltk/tcl8.6/tcl8/8.5/msgcat-1.6.1.tm",
                false,
                "tcl msgcat",
            ),
            ("/usr/share/nodejs/express/lib/x.js", false, ""),
            ("/usr/bin/perl", false, ""),
        ] {
            let package = |path: &str| path.ends_with("/yaml/__init__.py");
            let found = of_path(path, directory, &package);
            let found: Vec<String> = found.iter().map(|(l, n)| format!("{l} {n}")).collect();
            assert_eq!(found.join(","), expected, "{path}");
        }
        let found = of_path("/usr/share/lua/5.4/socket/init.lua", false, &|_| false);
        assert_eq!(found[1], ("lua5.4".to_owned(), "socket".to_owned()));
        // a package with __init__.py is imported as a whole
        assert!(of_path("/usr/lib/python3/dist-packages/a/b.py", false, &|_| true).is_empty());
    }

    #[test]
    fn python_names() {
        for (file, directory, expected) in [
            ("json", true, Some("json")),
            ("os.py", false, Some("os")),
            ("_ssl.cpython-311-x86_64-linux-gnu.so", false, Some("_ssl")),
            ("LICENSE.txt", false, None),
            ("config-3.11-x86_64-linux-gnu", true, None),
            ("__pycache__", true, None),
            ("README", false, None),
        ] {
            assert_eq!(
                python_module(file, directory).as_deref(),
                expected,
                "{file}"
            );
        }
    }

    #[test]
    fn tcl_indexes() {
        let text = "package ifneeded Thread 2.8 [list load x]\n  package ifneeded $name 1\n";
        let found = tcl_packages(text);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].name, "Thread");
    }
}
