//! Directories and texts that the words of commands named so far.

use fragment_sys::root::Kind;

use super::call::{Call, Format};
use crate::analyser::{Analyser, Context, clean};
use crate::error::AnalysisError;
use crate::libraries::directory;
use crate::words::interpreter::Language;
use crate::words::{Word, file_name};

/// Most directories of words before a tool that are tried for its description, and that have one.
const MAX_NAMED: usize = 48;
const MAX_FOUND: usize = 3;
/// Most texts that commands write, and their bytes.
const MAX_TEXTS: usize = 32;
const MAX_TEXT_BYTES: usize = 64 << 10;

/// Directories that words named so far, and texts that they hold.
#[derive(Debug, Default)]
pub(crate) struct Named {
    /// The last ones, the newest at the end.
    pub(super) directories: Vec<String>,
    /// Where the last `cd` leads.
    pub(crate) here: Option<String>,
    pub(super) descriptions: usize,
    /// Calls of tools for which there was none.
    pub(super) attempts: usize,
    /// What commands write, to a file as likely as not, and where it was read.
    texts: Vec<(String, String)>,
    text_bytes: usize,
}

impl Analyser<'_> {
    /// Remembers the directories that the words of a command name.
    pub(crate) fn name_directories(&mut self, words: &[Word]) {
        const NO_FILES: &[&str] = &["[", "echo", "printf", "test"];
        let Some((first, arguments)) = words.split_first() else {
            return;
        };
        let command = file_name(&first.text);
        if NO_FILES.contains(&command) {
            return;
        }
        let changes = matches!(command, "cd" | "chdir" | "pushd");
        for word in arguments {
            let text = word.text.as_str();
            let plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '=';
            let text = match word.literal {
                true => text,
                // `cp /data/* …`
                false => directory(text),
            };
            if !word.literal && text.len() < 2
                || text.is_empty()
                || text.len() > 256
                || text.starts_with('-')
                || text.contains("://")
                || !text.chars().all(plain)
            {
                continue;
            }
            let path = clean(&self.seen_after_cd(text));
            if changes && word.literal {
                self.named.here = Some(path.clone());
            }
            self.named.directories.retain(|one| *one != path);
            if self.named.directories.len() >= MAX_NAMED {
                self.named.directories.remove(0);
            }
            self.named.directories.push(path);
        }
    }

    /// Remembers what a command writes: the here-document of one that passes it on, the words of echo and printf.
    pub(crate) fn name_texts(&mut self, words: &[Word], input: Option<&str>) {
        let Some((first, arguments)) = words.split_first() else {
            return;
        };
        if self.named.texts.len() >= MAX_TEXTS || self.named.text_bytes > MAX_TEXT_BYTES {
            return;
        }
        let text = match file_name(&first.text) {
            "cat" | "dd" | "tee" => input.unwrap_or_default().to_owned(),
            "echo" | "printf" => {
                let words: Vec<&str> = arguments.iter().map(|word| word.text.as_str()).collect();
                words.join(" ").replace("\\n", "\n").replace("\\t", "\t")
            }
            _ => return,
        };
        self.named.text_bytes += text.len();
        if text.contains(['(', '#', ':']) && self.named.text_bytes <= MAX_TEXT_BYTES {
            self.named.texts.push((first.source.clone(), text));
        }
    }

    /// Texts that commands wrote and that look like descriptions of a format, as one, and where the first was read.
    pub(super) fn written(&self, format: Format) -> Option<(String, String)> {
        let mut texts = self.named.texts.iter();
        texts.clone().find(|(_, text)| format.is_begun_by(text))?;
        let first = texts.next()?;
        let all = texts.fold(first.1.clone(), |all, (_, text)| format!("{all}\n{text}"));
        Some((first.0.clone(), all))
    }

    /// Sources of C that commands wrote.
    pub(crate) fn written_sources(&mut self, context: &Context) -> Result<(), AnalysisError> {
        let texts = std::mem::take(&mut self.named.texts);
        for (source, text) in texts.iter().filter(|(_, text)| text.contains("#include")) {
            if self.enter(&format!("written {text}"), &context.soft()) {
                self.script_text(Language::C, text, source, context)?;
            }
        }
        self.named.texts = texts;
        Ok(())
    }

    /// A path as seen from where the last `cd` leads.
    pub(crate) fn seen_after_cd(&self, path: &str) -> String {
        match &self.named.here {
            Some(here) if !path.starts_with('/') => format!("{here}/{path}"),
            _ => self.task.absolute(path),
        }
    }

    /// Directories in which a tool may be at work, the likeliest first.
    pub(super) fn places_of_work(&self) -> Vec<String> {
        let mut out = vec![
            clean(&self.seen_after_cd("")),
            clean(&self.task.absolute("")),
        ];
        out.extend(self.named.directories.iter().rev().take(8).cloned());
        out
    }

    /// Descriptions that a tool may mean.
    pub(super) fn descriptions(&self, format: Format, call: &Call) -> Vec<String> {
        let in_directory = |place: &str| {
            let paths = format.files().iter().map(|name| format!("{place}/{name}"));
            let is_file = |path: &String| {
                let found = self.probe(path);
                found.is_some_and(|found| found.kind == Kind::File)
            };
            paths.map(|path| clean(&path)).find(is_file)
        };
        let named = self.named.directories.iter().rev();
        let mut sure = Vec::new();
        for place in &call.directories {
            sure.push(self.seen_after_cd(place));
            if !place.starts_with('/') {
                // relative to a directory whose name is not that of a `cd`
                sure.extend(named.clone().take(8).map(|base| format!("{base}/{place}")));
            }
        }
        // Meson's may be both its directories
        if sure.is_empty() || format == Format::Meson {
            sure.extend([self.seen_after_cd(""), self.task.absolute("")]);
        }
        if let Some(path) = sure.iter().find_map(|place| in_directory(place)) {
            return vec![path];
        }
        let mut out: Vec<String> = Vec::new();
        for place in named {
            // a file is named for its directory
            let beside = file_name(place).contains('.').then(|| directory(place));
            let found = in_directory(place).or_else(|| in_directory(beside?));
            if let Some(path) = found
                && !out.contains(&path)
                && out.len() < MAX_FOUND
            {
                out.push(path);
            }
        }
        out
    }
}
