//! Modules of script languages: which a text imports, and which of them the bundle has.

use std::collections::BTreeMap;

use fragment_sys::root::Kind;
use fragment_types::{EvidenceKind, Need, Strength};

use crate::analyser::{Analyser, Context, Place};
use crate::python;
use crate::rules;
use crate::words::Word;

/// Most entries of a directory that are looked at for modules.
const MAX_MODULE_FILES: usize = 4096;

impl Analyser<'_> {
    /// A directory given to Python is run through its `__main__.py`.
    pub(crate) fn python_main(&self, path: &str) -> String {
        match self.locate(path) {
            Ok(Place::Here { found, .. }) if found.kind == Kind::Directory => {
                format!("{}/__main__.py", found.path)
            }
            _ => path.to_owned(),
        }
    }

    /// Imports of a Python text; modules beside a script are its own and are read as well, one level deep.
    pub(crate) fn python_text(
        &mut self,
        text: &str,
        source: &str,
        directory: Option<String>,
        context: &Context,
    ) {
        let mut local = Vec::new();
        for module in python::imports(text) {
            let step = context.with(EvidenceKind::Import, source, format!("import {module}"));
            match directory
                .as_deref()
                .and_then(|directory| self.local_module(directory, &module))
            {
                Some(path) => local.push((path, step)),
                None => self.module(&module, &step),
            }
        }
        for (path, step) in local {
            let word = Word::literal(path, source);
            if let Some((path, text)) = self.read_text(&word, &step) {
                for module in python::imports(&text) {
                    let local = directory
                        .as_deref()
                        .and_then(|dir| self.local_module(dir, &module));
                    if local.is_none() {
                        let step =
                            step.with(EvidenceKind::Import, &path, format!("import {module}"));
                        self.module(&module, &step);
                    }
                }
            }
        }
    }

    fn local_module(&self, directory: &str, module: &str) -> Option<String> {
        let candidates = [
            format!("{directory}/{module}.py"),
            format!("{directory}/{module}/__init__.py"),
            format!("{directory}/{module}"),
        ];
        candidates
            .into_iter()
            .find(|path| matches!(self.root.lookup(path), Ok(Some(_))))
    }

    pub(crate) fn module(&mut self, module: &str, context: &Context) {
        for (name, path) in rules::PYTHON_DATA {
            if *name == module {
                self.need_path(path, &context.soft());
            }
        }
        if python::is_built_in(module) || module.is_empty() {
            return;
        }
        let installed = self.python_modules().get(module).cloned();
        let need = Need::Module {
            language: "python3".to_owned(),
            name: module.to_owned(),
        };
        self.ledger
            .add(need, Strength::Soft, installed, context.chain.clone());
    }

    /// Modules that a Python of the bundle would find, with where they are.
    fn python_modules(&mut self) -> &BTreeMap<String, String> {
        if self.python_modules.is_none() {
            let mut directories: Vec<String> = Vec::new();
            for base in ["/usr/lib", "/usr/local/lib"] {
                let entries = self.root.read_dir(base, MAX_MODULE_FILES).ok().flatten();
                for entry in entries.unwrap_or_default() {
                    if entry.name.starts_with("python3") {
                        let place = format!("{base}/{}", entry.name);
                        for inner in ["", "/lib-dynload", "/site-packages", "/dist-packages"] {
                            directories.push(format!("{place}{inner}"));
                        }
                    }
                }
            }
            let path = self.task.variable("PYTHONPATH").unwrap_or_default();
            directories.extend(
                path.split(':')
                    .filter(|dir| !dir.is_empty())
                    .map(|dir| self.task.absolute(dir)),
            );
            let mut modules = BTreeMap::new();
            for directory in directories {
                let entries = self
                    .root
                    .read_dir(&directory, MAX_MODULE_FILES)
                    .ok()
                    .flatten();
                for entry in entries.unwrap_or_default() {
                    let path = format!("{directory}/{}", entry.name);
                    if let Some(module) = module_of(&entry.name, entry.is_directory) {
                        modules.entry(module.to_owned()).or_insert(path);
                    }
                }
            }
            self.python_modules = Some(modules);
        }
        self.python_modules.get_or_insert_default()
    }
}

/// The module that a file of a module directory holds.
fn module_of(name: &str, is_directory: bool) -> Option<&str> {
    let (module, rest) = name.split_once('.').unwrap_or((name, ""));
    let is_module = is_directory && rest.is_empty()
        || matches!(rest, "py" | "pyc" | "so")
        || rest.ends_with(".so");
    (is_module && !module.is_empty()).then_some(module)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_files_have_module_names() {
        for (name, is_directory, module) in [
            ("ssl.py", false, Some("ssl")),
            ("_ssl.cpython-311-x86_64-linux-gnu.so", false, Some("_ssl")),
            ("sqlite3", true, Some("sqlite3")),
            ("x.dist-info", true, None),
            ("README.txt", false, None),
            ("LICENSE", false, None),
            (".py", false, None),
        ] {
            assert_eq!(module_of(name, is_directory), module, "{name}");
        }
    }
}
