//! Importable modules of script languages.

use std::collections::BTreeSet;

use fragment_types::manifest::Module;

use crate::tree::Tree;

/// Whether the modules of `language` can be listed.
pub(crate) fn is_known(language: &str) -> bool {
    matches!(language, "python3" | "perl")
}

/// The top-level modules that `tree` holds directly in `directories`.
pub(crate) fn of_tree(language: &str, directories: &[String], tree: &Tree) -> BTreeSet<Module> {
    let mut modules = BTreeSet::new();
    for (path, entry) in &tree.entries {
        let Some((directory, file)) = path.rsplit_once('/') else {
            continue;
        };
        if !directories.iter().any(|d| d == directory) {
            continue;
        }
        let name = match language {
            "python3" => python_module(file, entry.is_directory()),
            _ => perl_module(file, entry.is_directory()),
        };
        modules.extend(name.map(|name| Module {
            language: language.to_owned(),
            name,
        }));
    }
    modules
}

/// The module a directory entry is imported as, as `importlib` names them.
pub(crate) fn python_module(file: &str, is_directory: bool) -> Option<String> {
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

fn perl_module(file: &str, is_directory: bool) -> Option<String> {
    let stem = if is_directory {
        file
    } else {
        file.strip_suffix(".pm")?
    };
    let identifier =
        !stem.is_empty() && stem.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    identifier.then(|| stem.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{perl_module, python_module};

    #[test]
    fn names_as_imported() {
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
        assert_eq!(perl_module("Getopt", true).as_deref(), Some("Getopt"));
        assert_eq!(perl_module("strict.pm", false).as_deref(), Some("strict"));
        assert_eq!(perl_module("strict.pl", false), None);
    }
}
