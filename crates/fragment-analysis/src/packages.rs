//! Packages of JavaScript and PHP: what a `package.json` or `composer.json` says beside the code.

use fragment_sys::root::Kind;
use fragment_types::EvidenceKind;
use serde_json::Value;

use crate::analyser::{Analyser, Context};
use crate::error::AnalysisError;
use crate::imports;
use crate::libraries::directory;
use crate::words::Word;
use crate::words::interpreter::Language;

/// Longest document that is read.
const MAX_DOCUMENT: usize = 256 << 10;
/// Most directories above a file that are looked into.
const MAX_PARENTS: usize = 16;
/// Most dependencies that are taken from one document.
const MAX_DEPENDENCIES: usize = 256;

impl Analyser<'_> {
    /// The dependencies of the package that a script belongs to.
    pub(crate) fn package_of(&mut self, script: &str, context: &Context) {
        let Some((path, document)) = self.document_above(script, "package.json") else {
            return;
        };
        let context = context.soft();
        for name in names(&document["dependencies"]) {
            let step = context.with(EvidenceKind::Import, &path, format!("dependency {name}"));
            if self.node_package(&name, &path).is_none() {
                self.need_module("node", &name, None, &step);
            }
        }
    }

    /// The extensions that `composer.json` or the autoloader of a script's project asks for (`ext-curl`).
    pub(crate) fn composer_of(&mut self, script: &str, context: &Context) {
        let Some((path, document)) = self.document_above(script, "composer.json") else {
            return;
        };
        for name in names(&document["require"]) {
            if let Some(extension) = name.strip_prefix("ext-") {
                let step =
                    context
                        .soft()
                        .with(EvidenceKind::Import, &path, format!("requires {name}"));
                self.need_module("php", &extension.to_ascii_lowercase(), None, &step);
            }
        }
    }

    /// The nearest document of this name beside a file or above it.
    fn document_above(&self, file: &str, name: &str) -> Option<(String, Value)> {
        let mut place = directory(file);
        for _ in 0..MAX_PARENTS {
            let path = format!("{}/{name}", place.trim_end_matches('/'));
            if let Some(document) = self.document(&path) {
                return Some((path, document));
            }
            if place == "/" {
                return None;
            }
            place = directory(place);
        }
        None
    }

    fn document(&self, path: &str) -> Option<Value> {
        match self.probe(path) {
            Some(found) if found.kind == Kind::File && found.size <= MAX_DOCUMENT as u64 => {}
            _ => return None,
        }
        let bytes = self.root.read_prefix(path, MAX_DOCUMENT).ok()?;
        // Nests of more than 128 are an error there.
        serde_json::from_slice(&bytes).ok()
    }

    /// The directory or file of a package that node finds from `source`: in `node_modules` beside it and above, then in the
    /// directories of the system.
    fn node_package(&mut self, name: &str, source: &str) -> Option<String> {
        let mut places = Vec::new();
        let mut place = directory(source);
        for _ in 0..MAX_PARENTS {
            places.push(format!("{}/node_modules", place.trim_end_matches('/')));
            if place == "/" || !source.starts_with('/') {
                break;
            }
            place = directory(place);
        }
        places.extend(self.places(Language::Node).iter().cloned());
        let candidates = places
            .iter()
            .flat_map(|place| ["", ".js"].map(|ending| format!("{place}/{name}{ending}")));
        candidates
            .into_iter()
            .find(|path| self.probe(path).is_some())
    }

    /// A module that a JavaScript text loads by name.
    pub(crate) fn node_module(
        &mut self,
        name: &str,
        source: &str,
        context: &Context,
    ) -> Result<(), AnalysisError> {
        if imports::is_node_built_in(name) {
            return Ok(());
        }
        let package = imports::node_package(name).to_owned();
        let Some(path) = self.node_package(&package, source) else {
            self.need_module("node", &package, None, context);
            return Ok(());
        };
        let file = match name
            .strip_prefix(package.as_str())
            .filter(|rest| !rest.is_empty())
        {
            Some(rest) => self.first_file(&[
                &format!("{path}{rest}"),
                &format!("{path}{rest}.js"),
                &format!("{path}{rest}/index.js"),
            ]),
            None => {
                let document = self
                    .document(&format!("{path}/package.json"))
                    .unwrap_or_default();
                let main = main_file(&document).unwrap_or("index.js");
                let main = format!("{path}/{main}");
                self.first_file(&[
                    &main,
                    &format!("{main}.js"),
                    &format!("{main}/index.js"),
                    &path,
                ])
            }
        };
        let Some(file) = file else { return Ok(()) };
        if file.ends_with(".node") {
            return self.native_module(&file, context);
        }
        match self.read_text(&Word::literal(&file, &file), context) {
            Some((path, text)) => self.script_text(Language::Node, &text, &path, context),
            None => Ok(()),
        }
    }

    fn first_file(&self, paths: &[&str]) -> Option<String> {
        let file = |path: &str| {
            self.probe(path)
                .is_some_and(|found| found.kind == Kind::File)
        };
        let paths = paths.iter().map(|path| crate::analyser::clean(path));
        paths.into_iter().find(|path| file(path))
    }
}

/// What is loaded where the package is named: `exports` before `main`.
fn main_file(document: &Value) -> Option<&str> {
    let mut exports = &document["exports"];
    for _ in 0..4 {
        if let Some(file) = exports.as_str() {
            return Some(file);
        }
        let keys = [".", "node", "require", "default", "import"];
        match keys.iter().find_map(|key| exports.get(key)) {
            Some(inner) => exports = inner,
            None => break,
        }
    }
    document["main"].as_str()
}

fn names(object: &Value) -> Vec<String> {
    let names = object
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| name.clone());
    names
        .filter(|name| !name.is_empty() && name.len() <= 256)
        .take(MAX_DEPENDENCIES)
        .collect()
}
