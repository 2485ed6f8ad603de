//! Modules and files that scripts load: followed where the bundle has them, else needed from the library.

use std::rc::Rc;

use fragment_sys::root::Kind;
use fragment_types::{EvidenceKind, Need, Strength};

use crate::analyser::{Analyser, Context, Place, clean};
use crate::error::AnalysisError;
use crate::imports::{self, Import};
use crate::libraries::directory;
use crate::places::TRIPLETS;
use crate::python;
use crate::rules;
use crate::words::Word;
use crate::words::interpreter::Language;

/// Most directories that scripts add to the search for modules of one language.
const MAX_DIRECTORIES: usize = 16;
/// Most directories that are listed for shared objects.
const MAX_LISTED: usize = 32;
/// Most entries of a directory that are looked at for a module.
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

    /// Reads a file that an interpreter of `language` runs.
    pub(crate) fn script_file(
        &mut self,
        language: Language,
        word: &Word,
        context: &Context,
    ) -> Result<(), AnalysisError> {
        let word = match language {
            Language::Python => Word {
                text: self.python_main(&word.text),
                ..word.clone()
            },
            _ => word.clone(),
        };
        let Some((path, text)) = self.read_text(&word, context) else {
            return match language {
                Language::C => self.written_sources(context),
                _ => Ok(()),
            };
        };
        match language {
            // sys.path[0]
            Language::Python => self.add_directory(language, directory(&path).to_owned()),
            Language::Lua => self.add_directory(language, self.task.absolute("")),
            Language::Node => self.package_of(&path, context),
            Language::Php => self.composer_of(&path, context),
            _ => {}
        }
        self.script_text(language, &text, &path, context)
    }

    /// Reads a text of `language`; `source` is its path or the word that holds it.
    pub(crate) fn script_text(
        &mut self,
        language: Language,
        text: &str,
        source: &str,
        context: &Context,
    ) -> Result<(), AnalysisError> {
        if context.depth > crate::analyser::MAX_DEPTH {
            return Ok(());
        }
        if language == Language::Shell {
            return self.shell_text(text, source, context);
        }
        if !self.may_read(text.len()) {
            return Ok(());
        }
        let context = context.soft().deeper();
        let imports = imports::read(language, text);
        for import in &imports {
            if let Import::Directory(path) = import {
                let path = match path.strip_prefix("./") {
                    _ if path.starts_with('/') => path.clone(),
                    Some(rest) if source.starts_with('/') => {
                        format!("{}/{rest}", directory(source))
                    }
                    _ => self.task.absolute(path),
                };
                self.add_directory(language, clean(&path));
            }
        }
        for import in imports {
            match import {
                Import::Directory(_) => {}
                Import::Module(name) => self.import(language, &name, source, &context)?,
                Import::File(path) => self.included(language, &path, source, &context)?,
                Import::Package(name) => {
                    let step = context.with(EvidenceKind::Import, source, format!("gem {name}"));
                    self.need_module("rubygem", &name, None, &step);
                }
                Import::Function(name) => self.php_function(&name, source, &context)?,
                Import::Command(text) => self.shell_text(&text, source, &context)?,
            }
        }
        Ok(())
    }

    /// Adds a directory that is searched for modules before all others.
    pub(crate) fn add_directory(&mut self, language: Language, path: String) {
        let directories = self.directories.entry(language).or_default();
        if directories.len() < MAX_DIRECTORIES && !directories.contains(&path) {
            directories.push(path);
        }
    }

    /// A module that a text or the command line names.
    pub(crate) fn import(
        &mut self,
        language: Language,
        name: &str,
        source: &str,
        context: &Context,
    ) -> Result<(), AnalysisError> {
        let step = context.with(EvidenceKind::Import, source, format!("import {name}"));
        if language == Language::Node {
            return self.node_module(name, source, &step);
        }
        if language == Language::C {
            return self.header(name, &step);
        }
        if language == Language::Qml {
            return self.qml_module(name, &step);
        }
        if language == Language::Python && name.starts_with('.') {
            return self.relative_module(name, source, &step);
        }
        let top = name.split('.').next().unwrap_or_default();
        if language == Language::Python {
            for (module, path) in rules::PYTHON_DATA {
                if *module == top {
                    self.need_path(path, &step);
                }
            }
            self.module_implies(top, &step)?;
            for (module, other) in rules::PYTHON_MODULES {
                if *module == top {
                    self.import(language, other, source, &step)?;
                }
            }
            if python::is_built_in(top) || top.is_empty() {
                return Ok(());
            }
        }
        if language == Language::Ruby && matches!(name, "bundler" | "bundler/setup") {
            self.gemfile(source, &step)?;
        }
        let own = self.directories.get(&language).cloned().unwrap_or_default();
        for place in &own {
            let files = self.module_files(language, place, name);
            if !files.is_empty() {
                return self.follow(language, files, &step);
            }
        }
        for place in self.places(language).iter() {
            let files = self.module_files(language, place, name);
            if let Some(file) = files.first() {
                let module = if language == Language::Python {
                    top
                } else {
                    name
                };
                let file = file.strip_suffix("/__init__.py").unwrap_or(file).to_owned();
                self.need_module(language.name(), module, Some(file), &step);
                return self.follow(language, files, &step);
            }
        }
        let name = match language {
            Language::Python => self.python_name(name)?,
            _ => name.to_owned(),
        };
        self.need_module(language.name(), &name, None, &step);
        Ok(())
    }

    /// A module of QML: the bundle's, beside what was given by `-I` and in Qt's own directories, else a component's.
    fn qml_module(&mut self, name: &str, context: &Context) -> Result<(), AnalysisError> {
        let own = self.directories.get(&Language::Qml).cloned();
        let system = TRIPLETS
            .iter()
            .flat_map(|triplet| ["qt5", "qt6"].map(|qt| format!("/usr/lib/{triplet}/{qt}/qml")));
        let places: Vec<String> = own.unwrap_or_default().into_iter().chain(system).collect();
        let directories = imports::qml_directories(name);
        let paths: Vec<String> = places
            .iter()
            .flat_map(|place| {
                directories
                    .iter()
                    .map(move |one| format!("{place}/{one}/qmldir"))
            })
            .collect();
        if paths.iter().any(|path| self.probe(path).is_some()) {
            return Ok(());
        }
        self.need_first(&paths, context)
    }

    pub(crate) fn need_module(
        &mut self,
        language: &str,
        name: &str,
        here: Option<String>,
        context: &Context,
    ) {
        let need = Need::Module {
            language: language.to_owned(),
            name: name.to_owned(),
        };
        self.ledger
            .add(need, Strength::Soft, here, context.chain.clone());
    }

    /// The name under which the library knows a Python module: of namespace packages the first part says nothing.
    fn python_name(&self, name: &str) -> Result<String, AnalysisError> {
        let mut parts = name.match_indices('.').map(|(at, _)| at);
        let top = parts.next().map_or(name, |at| &name[..at]);
        if top.len() < name.len() {
            let second = parts.next().map_or(name, |at| &name[..at]);
            if !self.library.providing_module("python3", second)?.is_empty() {
                return Ok(second.to_owned());
            }
        }
        Ok(top.to_owned())
    }

    /// Files of a module below one directory, those of its packages first.
    fn module_files(&mut self, language: Language, place: &str, name: &str) -> Vec<String> {
        let file = |path: &str| {
            self.probe(path)
                .is_some_and(|found| found.kind == Kind::File)
        };
        let first = |candidates: &[String]| candidates.iter().find(|path| file(path)).cloned();
        match language {
            Language::Python => self.python_files(place, name),
            Language::Perl => {
                let path = name.replace("::", "/");
                let own = first(&[format!("{place}/{path}.pm")]);
                let last = path.rsplit('/').next().unwrap_or_default();
                let native = own
                    .is_some()
                    .then(|| format!("{place}/auto/{path}/{last}.so"));
                own.into_iter()
                    .chain(native.filter(|path| file(path)))
                    .collect()
            }
            Language::Ruby => {
                let base = format!("{place}/{name}");
                first(&[format!("{base}.rb"), format!("{base}.so"), base])
                    .into_iter()
                    .collect()
            }
            Language::Lua => {
                let base = format!("{place}/{}", name.replace('.', "/"));
                first(&[
                    format!("{base}.lua"),
                    format!("{base}/init.lua"),
                    format!("{base}.so"),
                ])
                .into_iter()
                .collect()
            }
            Language::R => {
                let path = format!("{place}/{name}/DESCRIPTION");
                first(&[path]).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    fn python_files(&mut self, place: &str, name: &str) -> Vec<String> {
        let mut out = Vec::new();
        let mut base = place.to_owned();
        for part in name.split('.') {
            let parent = base.clone();
            base = format!("{base}/{part}");
            match self.probe(&base) {
                Some(found) if found.kind == Kind::Directory => {
                    out.push(format!("{base}/__init__.py"));
                    continue;
                }
                _ => {}
            }
            let source = format!("{base}.py");
            if self.probe(&source).is_some() {
                out.push(source);
                break;
            }
            let is_own = |name: &&String| {
                name.strip_prefix(part)
                    .is_some_and(|rest| rest.starts_with('.'))
            };
            let natives = self.natives(&parent);
            let native = natives.iter().find(is_own);
            out.extend(native.map(|name| format!("{parent}/{name}")));
            break;
        }
        out
    }

    /// Names of the shared objects in a directory.
    fn natives(&mut self, place: &str) -> Rc<Vec<String>> {
        if let Some(known) = self.natives.get(place) {
            return Rc::clone(known);
        }
        let mut names = Vec::new();
        if self.natives.len() < MAX_LISTED {
            let entries = self.root.read_dir(place, MAX_MODULE_FILES).ok().flatten();
            names.extend(
                entries
                    .unwrap_or_default()
                    .into_iter()
                    .map(|entry| entry.name),
            );
            names.retain(|name| name.ends_with(".so"));
            names.sort();
        }
        let names = Rc::new(names);
        self.natives.insert(place.to_owned(), Rc::clone(&names));
        names
    }

    /// `from . import x`, `from ..y import z`: beside the file, or above it.
    fn relative_module(
        &mut self,
        name: &str,
        source: &str,
        context: &Context,
    ) -> Result<(), AnalysisError> {
        let rest = name.trim_start_matches('.');
        let mut place = source;
        for _ in 0..name.len() - rest.len() {
            place = directory(place);
        }
        if !source.starts_with('/') || rest.is_empty() {
            return Ok(());
        }
        let files = self.python_files(place, rest);
        self.follow(Language::Python, files, context)
    }

    /// Reads files of modules, each once.
    fn follow(
        &mut self,
        language: Language,
        files: Vec<String>,
        context: &Context,
    ) -> Result<(), AnalysisError> {
        for file in files {
            if file.ends_with(".so") || file.ends_with(".node") {
                self.native_module(&file, context)?;
            } else if let Some((path, text)) = self.read_text(&Word::literal(&file, &file), context)
            {
                self.script_text(language, &text, &path, context)?;
            }
        }
        Ok(())
    }

    /// A file that a text includes by its path.
    pub(crate) fn included(
        &mut self,
        language: Language,
        path: &str,
        source: &str,
        context: &Context,
    ) -> Result<(), AnalysisError> {
        let step = context.with(EvidenceKind::Import, source, path);
        let endings: &[&str] = match language {
            Language::Ruby => &["", ".rb", ".so"],
            Language::Node => &["", ".js", ".mjs", ".cjs", ".json", ".node", "/index.js"],
            _ => &[""],
        };
        let mut bases = Vec::new();
        if path.starts_with('/') {
            bases.push(path.to_owned());
        } else {
            if source.starts_with('/') {
                bases.push(format!("{}/{path}", directory(source)));
            }
            bases.push(self.task.absolute(path));
        }
        for base in &bases {
            for ending in endings {
                let path = clean(&format!("{base}{ending}"));
                if self
                    .probe(&path)
                    .is_some_and(|found| found.kind == Kind::File)
                {
                    return self.follow(language, vec![path], &step);
                }
            }
        }
        if path.starts_with('/') {
            self.need_path(path, &step.soft());
        } else if language == Language::C {
            // `"x.h"` is looked for as `<x.h>` is where it does not stand beside the text.
            return self.header(path, &step);
        } else if language == Language::Php && !path.starts_with('.') && path.ends_with(".php") {
            self.need_module("php", path, None, &step);
        }
        Ok(())
    }

    /// The Gemfile of a Ruby program that uses bundler: beside it or above.
    fn gemfile(&mut self, source: &str, context: &Context) -> Result<(), AnalysisError> {
        let mut place = directory(source).to_owned();
        for _ in 0..3 {
            let word = Word::literal(format!("{place}/Gemfile"), source);
            if let Some((path, text)) = self.read_text(&word, context) {
                return self.script_text(Language::Ruby, &text, &path, context);
            }
            place = directory(&place).to_owned();
        }
        Ok(())
    }

    /// A function or class that an extension of PHP may define: the library lists its functions, or it is named as they begin
    /// (`curl_init`, `mysqli`).
    fn php_function(
        &mut self,
        name: &str,
        source: &str,
        context: &Context,
    ) -> Result<(), AnalysisError> {
        let listed = format!("{name}()");
        let prefix = name.split('_').next().unwrap_or_default();
        let known = rules::PHP_NAMES.iter().find_map(|(extension, names)| {
            let is_one = |one: &&str| match one.strip_suffix('*') {
                Some(beginning) => name.starts_with(beginning),
                None => name == *one,
            };
            names.iter().any(is_one).then_some(*extension)
        });
        for candidate in [listed.as_str(), name, known.unwrap_or_default(), prefix] {
            if !candidate.is_empty() && !self.library.providing_module("php", candidate)?.is_empty()
            {
                let step = context.with(EvidenceKind::Import, source, format!("{name}()"));
                self.need_module("php", candidate, None, &step);
                return Ok(());
            }
        }
        Ok(())
    }
}
