//! Simple commands: assignments, words, redirections, here-documents (POSIX.1-2017, XCU 2.7, 2.9.1).

use super::grammar::{Draft, Parser};
use super::template::{Part, Template};

/// Redirections, longest first where one begins another.
const REDIRECTIONS: &[&str] = &[
    "&>>", "<<<", "<<-", "&>", "<<", "<&", "<>", ">>", ">&", ">|", "<", ">",
];
/// Most words that are kept of one command.
const MAX_WORDS: usize = 512;
/// Builtins whose arguments are assignments.
const DECLARATIONS: &[&str] = &["declare", "export", "local", "readonly", "typeset"];

/// A here-document whose text begins after the line.
#[derive(Debug)]
pub(super) struct HereDocument {
    delimiter: String,
    strip_tabs: bool,
    /// Nothing in it is expanded.
    is_quoted: bool,
    /// The command that reads it.
    command: Option<usize>,
}

impl Parser<'_, '_> {
    /// The simple command that begins with `first`.
    pub(super) fn simple(&mut self, first: Template) {
        let pending = self.state.here_documents.len();
        let mut words: Vec<Template> = Vec::new();
        let mut next = Some(first);
        loop {
            if let Some(word) = next.take() {
                self.take(word, &mut words);
            }
            self.blanks();
            match self.peek() {
                None | Some('\n' | ';' | '|' | ')') => break,
                Some('&') if !self.rest().starts_with("&>") => break,
                Some('(') => {
                    self.at += 1;
                    self.blanks();
                    let defines = words.len() == 1 && self.eat(")");
                    if let [name] = words.as_slice()
                        && defines
                    {
                        self.state.names.extend(name.literal().map(str::to_owned));
                        return;
                    }
                    self.state.is_sound = false;
                }
                _ if self.redirection() => {}
                Some(_) => {
                    let start = self.at;
                    let word = self.word();
                    if !word.is_empty() {
                        next = Some(word);
                    } else if self.at == start {
                        // Nothing that continues a command; a continued line that ends the text is no word, and well.
                        self.bump();
                        self.state.is_sound = false;
                    }
                }
            }
        }
        self.finish(words, pending);
    }

    /// A word of a simple command.
    fn take(&mut self, word: Template, words: &mut Vec<Template>) {
        let numbers = |text: &str| text.bytes().all(|c| c.is_ascii_digit());
        if self.rest().starts_with(['<', '>']) && word.bare().is_some_and(numbers) {
            // The descriptor that is redirected.
            return;
        }
        let declares = words.first().is_none_or(|first| {
            let declares = |text: &str| DECLARATIONS.contains(&text);
            first.bare().is_some_and(declares)
        });
        if declares && let Some((name, value)) = word.assignment() {
            let opens = word.bare().is_some_and(|text| text.ends_with('='));
            if opens && self.eat("(") {
                self.nest(|parser| parser.array(&name));
            } else {
                self.state.assign(&name, value);
            }
            if words.is_empty() {
                return;
            }
        }
        if words.len() < MAX_WORDS {
            words.push(word);
        }
    }

    /// The elements of an array, up to its `)`.
    fn array(&mut self, name: &str) {
        loop {
            self.blanks();
            if self.eat(")") {
                return;
            }
            let word = self.word();
            if !word.is_empty() {
                self.state.assign(name, word);
            } else if self.bump().is_none() {
                self.state.is_sound = false;
                return;
            }
        }
    }

    fn finish(&mut self, words: Vec<Template>, pending: usize) {
        if words.is_empty() || self.state.is_full() {
            return;
        }
        let command = self.state.commands.len();
        for document in self.state.here_documents.iter_mut().skip(pending) {
            document.command = Some(command);
        }
        let leaves = match words[0].bare() {
            Some("exec") => words.len() > 1,
            Some("exit") => true,
            _ => false,
        };
        self.state.ends |= leaves && self.state.conditional == 0;
        let input = None;
        self.state.commands.push(Draft { words, input });
    }

    /// Reads a redirection, if one is here.
    pub(super) fn redirection(&mut self) -> bool {
        let rest = self.rest();
        if rest.starts_with("<(") || rest.starts_with(">(") {
            return false;
        }
        let Some(operator) = REDIRECTIONS
            .iter()
            .find(|operator| rest.starts_with(**operator))
        else {
            return false;
        };
        self.at += operator.len();
        self.blanks();
        let word = self.word();
        if matches!(*operator, "<<" | "<<-") {
            let text = |part: &Part| match part {
                Part::Text(text) => Some(text.clone()),
                _ => None,
            };
            self.state.here_documents.push(HereDocument {
                delimiter: word.parts.iter().filter_map(text).collect(),
                strip_tabs: *operator == "<<-",
                is_quoted: word.quoted,
                command: None,
            });
        }
        true
    }

    /// Reads the here-documents that begin here, after the end of a line.
    pub(super) fn read_here_documents(&mut self) {
        for document in std::mem::take(&mut self.state.here_documents) {
            let start = self.at;
            let stop = loop {
                let line_start = self.at;
                let rest = self.rest();
                if rest.is_empty() {
                    self.state.is_sound = false;
                    break line_start;
                }
                let len = rest.find('\n').map_or(rest.len(), |end| end + 1);
                let line = rest[..len].trim_end_matches(['\n', '\r']);
                let line = if document.strip_tabs {
                    line.trim_start_matches('\t')
                } else {
                    line
                };
                let ended = line == document.delimiter;
                self.at += len;
                if ended {
                    break line_start;
                }
            };
            if let Some(command) = document
                .command
                .and_then(|at| self.state.commands.get_mut(at))
            {
                command.input = Some(self.text[start..stop].to_owned());
            }
            if !document.is_quoted {
                self.expansions(start, stop);
            }
        }
    }

    /// Reads the expansions in a here-document.
    fn expansions(&mut self, start: usize, stop: usize) {
        let (at, end) = (self.at, self.end);
        (self.at, self.end) = (start, stop);
        let mut text = Template::default();
        while let Some(c) = self.bump() {
            match c {
                '\\' => {
                    self.bump();
                }
                '$' => self.dollar(true, &mut text),
                '`' => self.backquoted(&mut text),
                _ => {}
            }
            text = Template::default();
        }
        (self.at, self.end) = (at, end);
    }
}
