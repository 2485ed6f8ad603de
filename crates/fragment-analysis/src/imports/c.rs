//! `#include` of C, C++ and Objective-C. Whether its condition holds is not known: both sides of `#if` count.

use super::Import;

pub(super) fn imports(text: &str, add: &mut dyn FnMut(Import)) {
    for line in text.lines() {
        let directive = line.trim_start().strip_prefix('#').map(str::trim_start);
        let Some(directive) = directive else { continue };
        let rest = ["include_next", "include", "import"]
            .iter()
            .find_map(|name| directive.strip_prefix(name));
        let Some(rest) = rest.map(str::trim_start) else {
            continue;
        };
        let name = |open: char, close: char| Some(rest.strip_prefix(open)?.split_once(close)?.0);
        if let Some(name) = name('<', '>') {
            add(Import::Module(name.to_owned()));
        } else if let Some(name) = name('"', '"') {
            add(Import::File(name.to_owned()));
        }
    }
}
