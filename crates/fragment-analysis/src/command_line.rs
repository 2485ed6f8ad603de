//! What words say: commands they name, addresses they hold, texts they give to interpreters.

use fragment_sys::root::Kind;
use fragment_types::{EvidenceKind, Need, Strength};

use crate::address::{self, Address};
use crate::analyser::{Analyser, Context, MAX_NAMES, MAX_SOFT_BYTES, Place};
use crate::applets;
use crate::error::AnalysisError;
use crate::rules;
use crate::words::interpreter::{self, Language, Program};
use crate::words::{Word, file_name, is_command_name, shell, wrapper};

/// Most words of the command line that are read.
const MAX_WORDS: usize = 4096;
/// Commands that make, remove, test or change to what they name, and do not read it.
const NAMES_ONLY: &[&str] = &[
    "[", "cd", "chdir", "chgrp", "chmod", "chown", "echo", "install", "ln", "mkdir", "mkfifo",
    "mount", "printf", "pushd", "rm", "rmdir", "test", "touch", "umount", "unlink",
];
/// Longest evidence detail taken from a word.
const MAX_DETAIL: usize = 80;

impl Analyser<'_> {
    /// Reads the command line of the entrypoint.
    pub(crate) fn command_line(&mut self, context: &Context) -> Result<(), AnalysisError> {
        let words =
            crate::words::of_argv(&self.task.argv[..self.task.argv.len().min(MAX_WORDS)], 0);
        self.words(&words, None, context)
    }

    /// Reads the words of a command whose program has been dealt with, and the here-document it is given.
    fn words(
        &mut self,
        words: &[Word],
        input: Option<&str>,
        context: &Context,
    ) -> Result<(), AnalysisError> {
        if context.depth > crate::analyser::MAX_DEPTH {
            return Ok(());
        }
        let soft = context.soft();
        self.purpose(words, &soft);
        self.helpers(words, &soft)?;
        self.pkg_config(words, &soft)?;
        self.linked(words, &soft)?;
        self.compiled(words, &soft)?;
        self.build_tool(words, &soft)?;
        self.name_directories(words);
        self.name_texts(words, input);
        self.named_data(words, &soft)?;
        self.xml_names(words, &soft)?;
        self.arguments(words, &soft)?;
        self.text_of(words, input, &soft)?;
        // `LD_LIBRARY_PATH=… prog`: what the program will find is not what was looked up here.
        let altered = words
            .iter()
            .any(|word| word.text.starts_with("LD_") || word.text.starts_with("PATH="));
        let certain = words
            .first()
            .is_some_and(|word| wrapper::is_certain(&word.text))
            && !altered;
        for inner in wrapper::inner(words) {
            let context = if certain { context } else { &soft };
            if words
                .first()
                .is_some_and(|word| file_name(&word.text) == "busybox")
            {
                // Its applets need no file of their own.
                self.words(&inner, input, &context.deeper())?;
            } else {
                self.invocation(&inner, input, &context.deeper())?;
            }
        }
        Ok(())
    }

    /// A command inside a command line or script.
    fn invocation(
        &mut self,
        words: &[Word],
        input: Option<&str>,
        context: &Context,
    ) -> Result<(), AnalysisError> {
        let Some(first) = words.first() else {
            return Ok(());
        };
        let step = context.with(word_kind(first), &first.source, shown(&first.text));
        if first.literal && !is_internal(&first.text) {
            self.named_command(&first.text, &step)?;
            self.beyond_applet(words, &step)?;
        }
        self.words(words, input, context)
    }

    /// A program that a word names.
    pub(crate) fn named_command(
        &mut self,
        name: &str,
        context: &Context,
    ) -> Result<(), AnalysisError> {
        let soft = context.soft();
        let named = (context.strength, name.to_owned());
        if self.names.len() >= MAX_NAMES || !self.names.insert(named) {
            return Ok(());
        }
        if name.contains('/') {
            let mut place = self.locate(name);
            if !name.starts_with('/') && !matches!(place, Ok(Place::Here { .. })) {
                place = self.locate(&self.seen_after_cd(name));
            }
            return match self.tolerate(&soft, place)? {
                Some(Place::Here { found, links }) if found.kind == Kind::File => {
                    self.program_of_words(&found, &context.through(&links).deeper())
                }
                Some(Place::Absent { path, links }) if name.starts_with('/') => {
                    self.need_path(&path, &soft.through(&links));
                    Ok(())
                }
                _ => Ok(()),
            };
        }
        if !is_command_name(name) {
            return Ok(());
        }
        let found = self.search_path(name)?;
        let here = found.as_ref().map(|(found, _)| found.path.clone());
        let need = Need::Command {
            name: name.to_owned(),
        };
        self.ledger.add(need, Strength::Soft, here, soft.chain);
        match found {
            Some((found, links)) => {
                self.program_of_words(&found, &context.through(&links).deeper())
            }
            None => Ok(()),
        }
    }

    /// Commands whose purpose is a capability.
    fn purpose(&mut self, words: &[Word], context: &Context) {
        let Some(first) = words.first() else { return };
        let name = file_name(&first.text);
        if first.literal {
            let context = context.with(word_kind(first), &first.source, shown(&first.text));
            self.path_implies(&first.text, &context);
        }
        let step = context.with(word_kind(first), &first.source, shown(name));
        self.database(words, &step);
        let argument = words.get(1).map_or("", |word| word.text.as_str());
        for rule in rules::COMMANDS {
            if rule.names.contains(&name)
                && (rule.first_arguments.is_empty() || rule.first_arguments.contains(&argument))
            {
                self.need_capabilities(rule.capabilities, &step);
            }
        }
    }

    /// Programs that a command runs because of an option.
    fn helpers(&mut self, words: &[Word], context: &Context) -> Result<(), AnalysisError> {
        let Some((first, arguments)) = words.split_first() else {
            return Ok(());
        };
        let name = file_name(&first.text);
        for rule in rules::HELPERS {
            if rule.names.contains(&name)
                && let Some(option) = rule.asked(arguments.iter().map(|word| word.text.as_str()))
            {
                let detail = format!("{name} {option}");
                let step = context.with(word_kind(first), &first.source, detail);
                self.named_command(rule.command, &step)?;
            }
        }
        Ok(())
    }

    /// Addresses, ports and files among the arguments.
    fn arguments(&mut self, words: &[Word], context: &Context) -> Result<(), AnalysisError> {
        let mut option = "";
        let only_names = words
            .first()
            .is_some_and(|word| NAMES_ONLY.contains(&file_name(&word.text)));
        for (index, word) in words.iter().enumerate().skip(1) {
            let text = word.text.as_str();
            let (name, value) = match text.split_once('=') {
                Some((name, value)) if text.starts_with('-') => (name, value),
                _ if text.starts_with('-') => (text, ""),
                _ => (option, text),
            };
            self.argument(word, name, value, context);
            option = if text.starts_with('-') && !text.contains('=') {
                text
            } else {
                ""
            };
            if index > 0 && text.starts_with('/') && word.literal && !only_names {
                self.file_argument(word, context)?;
            }
        }
        Ok(())
    }

    /// One argument: `value`, given to the option `option` if that is not empty.
    fn argument(&mut self, word: &Word, option: &str, value: &str, context: &Context) {
        let kind = word_kind(word);
        if listens(option, value) {
            let context = context.with(kind, &word.source, shown(option));
            self.need_capabilities(rules::LISTEN, &context);
        }
        let step = context.with(kind, &word.source, shown(value));
        self.path_implies(value, &step);
        match address::parse(value) {
            Some(Address::Url { shown, named, tls }) => {
                let context = context.with(kind, &word.source, shown);
                self.url(named, tls, &context);
            }
            Some(Address::Endpoint { named }) => {
                let context = context.with(kind, &word.source, "host:port");
                self.need_capabilities(rules::CONNECT, &context);
                self.need_capabilities(rules::LISTEN, &context);
                if named {
                    self.need_capabilities(rules::RESOLVE, &context);
                }
            }
            Some(Address::Any) => {
                let context = context.with(kind, &word.source, shown(value));
                self.need_capabilities(rules::LISTEN, &context);
            }
            None => {}
        }
    }

    pub(crate) fn url(&mut self, named: bool, tls: bool, context: &Context) {
        self.need_capabilities(rules::CONNECT, context);
        if named {
            self.need_capabilities(rules::RESOLVE, context);
        }
        if tls {
            self.need_path(rules::CA_BUNDLE, context);
        }
    }

    /// Whether a component has a file of this path; directories that words name are many, and say little.
    fn names_file(&self, path: &str) -> Result<bool, AnalysisError> {
        Ok(self.may_probe()
            && self.is_particular(path)?
            && self.in_library(path)?.is_some_and(|_| true))
    }

    /// A program of the bundle that is an argument of another: something may run it. A file of a component: something reads it.
    fn file_argument(&mut self, word: &Word, context: &Context) -> Result<(), AnalysisError> {
        let named = (Strength::Soft, format!("file {}", word.text));
        if self.names.len() >= MAX_NAMES || !self.names.insert(named) {
            return Ok(());
        }
        let step = || context.with(word_kind(word), &word.source, shown(&word.text));
        match self.locate(&word.text) {
            Ok(Place::Here { found, links }) if found.is_executable() => {
                self.program_of_words(&found, &step().through(&links).deeper())?;
            }
            Ok(Place::Absent { path, links }) if self.names_file(&path)? => {
                self.need_path(&path, &step().through(&links));
            }
            _ => {}
        }
        Ok(())
    }

    /// A command of the core fragment that is asked for more than it can do: the distribution's own is wanted as well.
    fn beyond_applet(&mut self, words: &[Word], context: &Context) -> Result<(), AnalysisError> {
        let Some(detail) = applets::excess(words) else {
            return Ok(());
        };
        let name = file_name(&words[0].text);
        if self.search_path(name)?.is_some() || !self.names.insert((Strength::Soft, detail.clone()))
        {
            return Ok(());
        }
        let providers = self.library.providing_command(name)?;
        let (mut others, mut in_core) = (Vec::new(), false);
        for provider in providers {
            match self.is_core(provider.component)? {
                true => in_core = true,
                false => others.push(provider.component),
            }
        }
        if let (true, Some(best)) = (in_core, self.preferred(others.into_iter())?) {
            let name = self.library.component(best)?.name;
            let first = &words[0];
            let step = context.with(word_kind(first), &first.source, shown(&detail));
            let need = Need::Component { name };
            self.ledger.add(need, Strength::Soft, None, step.chain);
        }
        Ok(())
    }

    /// What a command line gives to an interpreter, and the here-document it is given.
    pub(crate) fn text_of(
        &mut self,
        words: &[Word],
        input: Option<&str>,
        context: &Context,
    ) -> Result<(), AnalysisError> {
        for program in interpreter::programs(words, input) {
            match program {
                Program::Text(language, word) => {
                    self.script_text(language, &word.text, &word.source, context)?;
                }
                Program::File(language, word) => self.script_file(language, &word, context)?,
                Program::Directory(language, word) if word.literal => {
                    self.add_directory(language, self.task.absolute(&word.text));
                }
                Program::Module(language, word) if word.literal => {
                    let end = word.text.find(['=', ',', ' ']).unwrap_or(word.text.len());
                    let module = word.text[..end].trim_start_matches('-');
                    let step =
                        context.with(word_kind(&word), &word.source, format!("module {module}"));
                    if language == Language::Python {
                        // `-m` looks in the working directory first.
                        self.add_directory(language, self.task.absolute(""));
                    }
                    if module.starts_with(['.', '/']) {
                        self.included(language, module, &word.source, &step)?;
                    } else {
                        self.import(language, module, &word.source, &step)?;
                    }
                }
                Program::Directory(..) | Program::Module(..) => {}
            }
        }
        Ok(())
    }

    /// The text of a file of the bundle, once, as far as it is text.
    pub(crate) fn read_text(&mut self, word: &Word, context: &Context) -> Option<(String, String)> {
        if !word.literal {
            return None;
        }
        let is_file = |place: &Result<Place, AnalysisError>| match place {
            Ok(Place::Here { found, .. }) => found.kind == Kind::File,
            _ => false,
        };
        let mut place = self.locate(&word.text);
        if !is_file(&place) && !word.text.starts_with('/') {
            place = self.locate(&self.seen_after_cd(&word.text));
        }
        let found = match place {
            Ok(Place::Here { found, .. }) if found.kind == Kind::File => found,
            // A bare name may also be one that the shell finds in PATH.
            _ => match self.search_path(&word.text) {
                Ok(Some((found, _))) if !word.text.contains('/') => found,
                _ => return None,
            },
        };
        let path = found.path.clone();
        if self.soft_bytes >= MAX_SOFT_BYTES
            || !self.enter(&format!("text {path}"), &context.soft())
        {
            return None;
        }
        self.own_script(&found, context);
        let mut bytes = self.root.read_prefix(&path, shell::MAX_TEXT).ok()?;
        // An archive that unpacks itself is a text with something behind it.
        if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
            let line = bytes[..end].iter().rposition(|byte| *byte == b'\n')?;
            bytes.truncate(line + 1);
        }
        Some((path, String::from_utf8_lossy(&bytes).into_owned()))
    }

    pub(crate) fn shell_text(
        &mut self,
        text: &str,
        source: &str,
        context: &Context,
    ) -> Result<(), AnalysisError> {
        if context.depth > crate::analyser::MAX_DEPTH || !self.may_read(text.len()) {
            return Ok(());
        }
        let context = context.soft().deeper();
        for command in shell::read(text, source).commands {
            self.invocation(&command.words, command.input.as_deref(), &context)?;
        }
        Ok(())
    }
}

/// Whether shells run it without a file: built in, or a word that only changes how another command is run.
fn is_internal(name: &str) -> bool {
    shell::is_builtin(name)
        || matches!(
            name,
            "." | "builtin" | "command" | "eval" | "exec" | "source" | "time"
        )
}

/// Whether an option makes a program listen: `--listen X`, `--bind ADDRESS`, `--port 8080`, `--http-port=80`, `-p 8080`.
fn listens(option: &str, value: &str) -> bool {
    if let Some(long) = option.strip_prefix("--") {
        let mut parts = long.split('-');
        return parts.clone().any(|part| part == "listen")
            || parts.clone().any(|part| part == "bind") && !value.is_empty()
            || parts.any(|part| part == "port") && address::is_port(value);
    }
    match option.strip_prefix("-p") {
        Some("") => value.len() > 1 && address::is_port(value),
        Some(joined) => joined.len() > 1 && address::is_port(joined),
        None => false,
    }
}

/// Kind of evidence that a word is: of the command line, or of a script.
pub(crate) fn word_kind(word: &Word) -> EvidenceKind {
    if word.source.starts_with("argv[") {
        EvidenceKind::Argument
    } else {
        EvidenceKind::Script
    }
}

/// A word for an evidence: cut, without control characters. Callers pass no values of options or variables.
fn shown(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { '?' } else { c });
    clean.take(MAX_DETAIL).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_listen_are_told_from_others() {
        for (option, value, expected) in [
            ("--listen", "", true),
            ("--listen-address", "x", true),
            ("--bind", "0.0.0.0", true),
            ("--bind", "", false),
            ("--port", "8080", true),
            ("--http-port", "80", true),
            ("--port", "", false),
            ("--port", "x", false),
            ("--report", "80", false),
            ("--export", "80", false),
            ("-p", "8080", true),
            ("-p8080", "", true),
            ("-p", "8", false),
            ("-p", "dir", false),
            ("-path", "8080", false),
            ("", "8080", false),
        ] {
            assert_eq!(listens(option, value), expected, "{option} {value}");
        }
    }
}
