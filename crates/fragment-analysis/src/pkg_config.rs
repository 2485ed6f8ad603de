//! Modules that pkg-config is asked for: `pkg-config [OPTION…] NAME [OPERATOR VERSION]…`.

use fragment_sys::root::Kind;
use fragment_types::EvidenceKind;

use crate::analyser::{Analyser, Context, MAX_DEPTH};
use crate::command_line::word_kind;
use crate::error::AnalysisError;
use crate::places::TRIPLETS;
use crate::words::{Word, file_name};

/// Most modules of one command line or file.
const MAX_MODULES: usize = 64;

impl Analyser<'_> {
    /// What a command line of pkg-config names.
    pub(crate) fn pkg_config(
        &mut self,
        words: &[Word],
        context: &Context,
    ) -> Result<(), AnalysisError> {
        let Some((first, arguments)) = words.split_first() else {
            return Ok(());
        };
        let command = file_name(&first.text);
        let asks = ["pkg-config", "pkgconf"].iter().any(|name| {
            let prefix = command.strip_suffix(name);
            prefix.is_some_and(|prefix| prefix.is_empty() || prefix.ends_with('-'))
        });
        if !asks {
            return Ok(());
        }
        let operands: Vec<&str> = arguments
            .iter()
            .filter(|word| word.literal && !word.text.starts_with('-'))
            .map(|word| word.text.as_str())
            .collect();
        for module in modules(&operands.join(" ")) {
            let step = context.with(word_kind(first), &first.source, &module);
            self.pc_file(&module, &step)?;
        }
        Ok(())
    }

    /// `NAME.pc`: the bundle's is read for what it requires; with a component's comes what it requires, in `-dev` packages.
    pub(crate) fn pc_file(&mut self, module: &str, context: &Context) -> Result<(), AnalysisError> {
        let mut lacking = None;
        for directory in self.pc_directories() {
            let path = format!("{directory}/{module}.pc");
            if self
                .probe(&path)
                .is_some_and(|found| found.kind == Kind::File)
            {
                if context.depth > MAX_DEPTH {
                    return Ok(());
                }
                let word = Word::literal(&path, &path);
                let Some((path, text)) = self.read_text(&word, context) else {
                    return Ok(());
                };
                if !self.may_read(text.len()) {
                    return Ok(());
                }
                for module in required(&text) {
                    let detail = format!("Requires: {module}");
                    let step = context.with(EvidenceKind::Import, &path, detail);
                    self.pc_file(&module, &step.deeper())?;
                }
                return Ok(());
            }
            if lacking.is_none() && self.in_library(&path)?.is_some() {
                lacking = Some(path);
            }
        }
        if let Some(path) = lacking {
            self.need_path(&path, &context.soft());
        }
        Ok(())
    }

    /// Where pkgconf looks, in order.
    fn pc_directories(&self) -> Vec<String> {
        let listed = |name| self.task.variable(name).unwrap_or_default().split(':');
        let mut out: Vec<String> = listed("PKG_CONFIG_PATH")
            .filter(|directory| !directory.is_empty())
            .map(|directory| self.task.absolute(directory))
            .take(16)
            .collect();
        for prefix in ["/usr/local", "/usr"] {
            out.extend(TRIPLETS.map(|triplet| format!("{prefix}/lib/{triplet}/pkgconfig")));
            out.extend(["lib", "share"].map(|place| format!("{prefix}/{place}/pkgconfig")));
        }
        out
    }
}

/// Names in a list of modules, versions left out: `a >= 1.2, b c`.
pub(crate) fn modules(list: &str) -> Vec<String> {
    let is_operator = |word: &str| !word.is_empty() && word.chars().all(|c| "<>=!".contains(c));
    let spaced = list.replace(',', " ");
    let mut words = spaced.split_whitespace();
    let mut out = Vec::new();
    while let Some(word) = words.next() {
        if is_operator(word) {
            words.next();
            continue;
        }
        let name = word.split(['<', '>', '=', '!']).next().unwrap_or_default();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '+');
        if !name.is_empty()
            && name.len() <= 128
            && name.chars().all(plain)
            && out.len() < MAX_MODULES
        {
            out.push(name.to_owned());
        }
    }
    out
}

/// Modules that a `.pc` file requires, privately too.
fn required(text: &str) -> Vec<String> {
    let lists = text.lines().filter_map(|line| {
        let (key, list) = line.split_once(':')?;
        matches!(key.trim(), "Requires" | "Requires.private").then_some(list)
    });
    lists.flat_map(modules).take(MAX_MODULES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_no_modules() {
        for (list, expected) in [
            ("zlib", &["zlib"][..]),
            ("gtk+-3.0 >= 3.2 zlib", &["gtk+-3.0", "zlib"]),
            ("a>=1,b = 2,  c", &["a", "b", "c"]),
            ("${x} /y", &[]),
        ] {
            assert_eq!(modules(list), expected, "{list}");
        }
        let text = "prefix=/usr\nName: x\nRequires: a >= 1 b\nRequires.private: c\nLibs: -lx\n";
        assert_eq!(required(text), ["a", "b", "c"]);
    }
}
