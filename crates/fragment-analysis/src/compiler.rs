//! Drivers of C compilers: what their command lines compile and link, and where headers are.

use fragment_sys::root::Kind;
use fragment_types::EvidenceKind;

use crate::analyser::{Analyser, Context};
use crate::command_line::word_kind;
use crate::error::AnalysisError;
use crate::places::TRIPLETS;
use crate::words::interpreter::{self, Language};
use crate::words::{Word, file_name};

/// Options that end a compilation before anything is linked.
const UNLINKED: &[&str] = &["-E", "-M", "-MM", "-S", "-c", "-fsyntax-only"];
/// What every dynamic program is linked with besides its own.
const START: [&str; 2] = ["crt1.o", "libc.so"];
/// Longest text file in place of a library.
const MAX_SCRIPT: usize = 4096;

impl Analyser<'_> {
    /// What a compiler links: the C library's start files, and libraries by `-l`.
    pub(crate) fn linked(
        &mut self,
        words: &[Word],
        context: &Context,
    ) -> Result<(), AnalysisError> {
        let Some((first, arguments)) = words.split_first() else {
            return Ok(());
        };
        let is_compiler = Language::of_interpreter(file_name(&first.text)) == Some(Language::C)
            && !first.text.ends_with("cpp");
        let unlinked = |word: &Word| UNLINKED.contains(&word.text.as_str());
        let compiles =
            |word: &Word| interpreter::is_c_source(&word.text) || word.text.ends_with(".o");
        if !is_compiler || arguments.iter().any(unlinked) || !arguments.iter().any(compiles) {
            return Ok(());
        }
        self.starts(&context.with(word_kind(first), &first.source, "links"))?;
        for word in arguments.iter().filter(|word| word.literal) {
            let Some(name) = word.text.strip_prefix("-l") else {
                continue;
            };
            let step = context.with(word_kind(word), &word.source, &word.text);
            self.library(name, &step)?;
        }
        Ok(())
    }

    /// A library that is linked, by the name that `-l` has for it.
    pub(crate) fn library(&mut self, name: &str, context: &Context) -> Result<(), AnalysisError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '+');
        match !name.is_empty() && name.chars().all(plain) {
            true => self.link_file(&format!("lib{name}.so"), &context.soft()),
            false => Ok(()),
        }
    }

    /// What everything is linked with.
    pub(crate) fn starts(&mut self, context: &Context) -> Result<(), AnalysisError> {
        for name in START {
            self.link_file(name, &context.soft())?;
        }
        Ok(())
    }

    /// A file that the linker looks for. The bundle's may be a script (ld(1), "File Commands") that names others.
    fn link_file(&mut self, name: &str, context: &Context) -> Result<(), AnalysisError> {
        let directories = TRIPLETS.map(|triplet| format!("/usr/lib/{triplet}"));
        let split = TRIPLETS.map(|triplet| format!("/lib/{triplet}"));
        for directory in directories
            .iter()
            .chain(&split)
            .map(String::as_str)
            .chain(["/usr/lib"])
        {
            let path = format!("{directory}/{name}");
            if let Some(found) = self.probe(&path) {
                let script = found.kind == Kind::File && found.size <= MAX_SCRIPT as u64;
                let bytes = match script && name.ends_with(".so") {
                    true => self.root.read_prefix(&found.path, MAX_SCRIPT)?,
                    false => Vec::new(),
                };
                for path in script_paths(&String::from_utf8_lossy(&bytes)) {
                    let detail = format!("links {path}");
                    let step = context.with(EvidenceKind::Import, &found.path, detail);
                    self.need_path(path, &step);
                }
                return Ok(());
            }
            if self.in_library(&path)?.is_some() {
                self.need_path(&path, context);
                return Ok(());
            }
        }
        Ok(())
    }

    /// A header that a text includes: the bundle's is read, else a component's is needed.
    pub(crate) fn header(&mut self, name: &str, context: &Context) -> Result<(), AnalysisError> {
        let own = self
            .directories
            .get(&Language::C)
            .cloned()
            .unwrap_or_default();
        let system = ["/usr/local/include".to_owned()]
            .into_iter()
            .chain(TRIPLETS.map(|triplet| format!("/usr/include/{triplet}")))
            .chain(["/usr/include".to_owned()]);
        let paths: Vec<String> = own
            .into_iter()
            .chain(system)
            .map(|directory| crate::analyser::clean(&format!("{directory}/{name}")))
            .collect();
        for path in &paths {
            if self
                .probe(path)
                .is_some_and(|found| found.kind == Kind::File)
            {
                return match self.read_text(&Word::literal(path, path), context) {
                    Some((path, text)) => self.script_text(Language::C, &text, &path, context),
                    None => Ok(()),
                };
            }
        }
        self.need_first(&paths, &context.soft())
    }
}

/// Files that a linker script names by absolute paths: `GROUP ( /lib/x/libm.so.6 AS_NEEDED ( /lib/x/libmvec.so.1 ) )`.
fn script_paths(text: &str) -> Vec<&str> {
    if !["GROUP", "INPUT"]
        .iter()
        .any(|command| text.contains(command))
    {
        return Vec::new();
    }
    let words = text.split(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | ','));
    words
        .filter(|word| word.starts_with('/') && word.len() > 1 && !word.starts_with("/*"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linker_scripts_name_files() {
        let text = "/* GNU ld script\n*/\nOUTPUT_FORMAT(elf64-x86-64)\n\
            GROUP ( /lib/x86_64-linux-gnu/libm.so.6  AS_NEEDED ( /lib/x86_64-linux-gnu/libmvec.so.1 ) )\n";
        assert_eq!(
            script_paths(text),
            [
                "/lib/x86_64-linux-gnu/libm.so.6",
                "/lib/x86_64-linux-gnu/libmvec.so.1"
            ]
        );
        assert_eq!(script_paths("\x7fELF /lib/x"), [""; 0]);
    }
}
