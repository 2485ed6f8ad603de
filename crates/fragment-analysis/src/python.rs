//! Imports of Python source texts.
//!
//! Statements are read line by line, as far as `import` needs it: strings over several lines, brackets and continuation lines are
//! told from code. Imports inside functions count like those at the top, conditional ones too: a module too much costs
//! nothing.

use std::collections::BTreeSet;

/// Longest text that is read, in bytes; the rest is ignored.
pub const MAX_TEXT: usize = 64 << 10;
/// Most modules taken from one text.
pub const MAX_MODULES: usize = 256;

/// Modules that every CPython has compiled in (`sys.builtin_module_names` of a build without options): no file provides them.
const BUILT_IN: &[&str] = &[
    "atexit",
    "builtins",
    "errno",
    "faulthandler",
    "gc",
    "itertools",
    "marshal",
    "posix",
    "pwd",
    "sys",
    "time",
];

/// Whether no file is needed to import a module.
#[must_use]
pub fn is_built_in(module: &str) -> bool {
    module.starts_with('_') || BUILT_IN.contains(&module)
}

/// Top-level names of the modules that a text imports, without relative imports, sorted.
#[must_use]
pub fn imports(text: &str) -> BTreeSet<String> {
    let top = |name: String| match name.split('.').next() {
        None | Some("") => None,
        Some(top) => Some(top.to_owned()),
    };
    modules(text).into_iter().filter_map(top).collect()
}

/// Whole names of the modules that a text imports, sorted; relative ones begin with their dots. `from a import b` names `a`
/// and, because `b` may be a module too, `a.b`.
#[must_use]
pub fn modules(text: &str) -> BTreeSet<String> {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut out = BTreeSet::new();
    for statement in statements(&text[..end]) {
        let statement = statement.trim();
        if let Some(names) = statement.strip_prefix("import ") {
            for name in names.split(',') {
                add(&mut out, "", name);
            }
        } else if let Some(rest) = statement.strip_prefix("from ")
            && let Some((module, names)) = rest.split_once(" import")
        {
            let module = module.trim();
            add(&mut out, "", module);
            if let Some(module) = dotted(module) {
                let joint = if module.ends_with('.') { "" } else { "." };
                for name in names
                    .split([',', '(', ')'])
                    .filter(|name| !name.contains('*'))
                {
                    add(&mut out, &format!("{module}{joint}"), name);
                }
            }
        }
    }
    out
}

/// The dotted name that `text` begins with.
fn dotted(text: &str) -> Option<&str> {
    let text = text.trim_start();
    let end = text
        .find(|c: char| c != '_' && c != '.' && !c.is_alphanumeric())
        .unwrap_or(text.len());
    let name = &text[..end];
    let parts = name.trim_start_matches('.');
    let starts = |part: &str| !part.starts_with(|c: char| c.is_ascii_digit());
    let plain = parts.is_empty()
        || parts
            .split('.')
            .all(|part| !part.is_empty() && starts(part));
    (!name.is_empty() && plain).then_some(name)
}

/// Adds the module of `dotted.name as other`.
fn add(out: &mut BTreeSet<String>, before: &str, name: &str) {
    if let Some(name) = dotted(name)
        && out.len() < MAX_MODULES
        && !name.trim_start_matches('.').is_empty()
    {
        out.insert(format!("{before}{name}"));
    }
}

/// Statements of a text: strings are emptied, comments dropped, brackets and `\` join lines, `;` and `:` separate.
fn statements(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut statement = String::new();
    let mut brackets = 0_usize;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if matches!(c, '\'' | '"') {
            rest = after_string(rest, c);
            statement.push('"');
            continue;
        }
        if let Some(after) = rest
            .strip_prefix("\\\r\n")
            .or_else(|| rest.strip_prefix("\\\n"))
        {
            rest = after;
            continue;
        }
        if c == '#' {
            rest = rest.find('\n').map_or("", |end| &rest[end..]);
            continue;
        }
        rest = &rest[c.len_utf8()..];
        match c {
            '(' | '[' | '{' => brackets += 1,
            ')' | ']' | '}' => brackets = brackets.saturating_sub(1),
            _ => {}
        }
        if c == '\n' && brackets > 0 {
            // A bracket that stays open would swallow the rest: a statement at the start of a line closes it.
            if !(rest.starts_with("import ")
                || rest.starts_with("from ")
                || rest.starts_with("def "))
            {
                continue;
            }
            brackets = 0;
        }
        if c == '\n' || brackets == 0 && matches!(c, ';' | ':') {
            out.push(std::mem::take(&mut statement));
        } else {
            statement.push(c);
        }
    }
    out.push(statement);
    out
}

/// What follows the string literal that `text` begins with.
fn after_string(text: &str, quote: char) -> &str {
    let triple: String = [quote; 3].iter().collect();
    let (end, mut rest) = match text.strip_prefix(&triple) {
        Some(rest) => (triple.as_str(), rest),
        None => (&triple[..1], &text[1..]),
    };
    loop {
        if let Some(after) = rest.strip_prefix(end) {
            return after;
        }
        let mut chars = rest.chars();
        match chars.next() {
            None => return "",
            // A string in single quotes does not go past its line.
            Some('\n') if end.len() == 1 => return rest,
            Some('\\') => {
                chars.next();
            }
            Some(_) => {}
        }
        rest = chars.as_str();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn imports_are_found() {
        for (text, expected) in [
            ("", &[][..]),
            (
                "import ssl, sqlite3\nfrom zoneinfo import ZoneInfo\n",
                &["sqlite3", "ssl", "zoneinfo"],
            ),
            ("import os.path as p, xml.etree.ElementTree", &["os", "xml"]),
            ("import a; import b", &["a", "b"]),
            (
                "try:\n    import a\nexcept ImportError: import b\n",
                &["a", "b"],
            ),
            ("def f():\n\tfrom a.b import (c,\n  d)\n", &["a"]),
            ("from . import x\nfrom .y import z\nfrom ..w import v", &[]),
            ("from a import \\\n  b\nimport c", &["a", "c"]),
            ("'''\nimport no\n'''\nimport a", &["a"]),
            ("x = \"\"\"import no\nimport no\"\"\"; import a", &["a"]),
            ("x = 'import no'\n# import no\nimport a # import no", &["a"]),
            ("x = 'it\\'s'\nimport a", &["a"]),
            ("x = [\n'import',\nimport_me]\nimport a", &["a"]),
            ("x = (  # open\nimport a", &["a"]),
            ("importlib.x()\nfrom_x = 1\n", &[]),
            ("from a import*", &["a"]),
            ("import a\r\nimport b\r\n", &["a", "b"]),
        ] {
            let found: Vec<_> = imports(text).into_iter().collect();
            assert_eq!(found, expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn random_text_never_panics(text in any::<String>(), like in "[import frx'\"\\\\\n#(),.;:]{0,200}") {
            prop_assert!(imports(&text).len() <= MAX_MODULES);
            prop_assert!(imports(&like).len() <= MAX_MODULES);
        }
    }
}
