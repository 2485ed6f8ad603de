//! Lists and compound commands of a shell text (POSIX.1-2017, XCU 2.9, 2.10).

use std::collections::{BTreeMap, BTreeSet};

use super::command::HereDocument;
use super::template::Template;
use super::{MAX_COMMANDS, MAX_TEXT, Names};

/// Deepest nest of compound commands, substitutions and texts in texts.
const MAX_NEST: usize = 48;
/// Most values that are kept of a variable.
const MAX_VALUES: usize = 16;

/// A simple command as it stands.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) words: Vec<Template>,
    pub(super) input: Option<String>,
}

/// What has been read so far.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) commands: Vec<Draft>,
    pub(super) names: Names,
    /// What is assigned to variables, anywhere.
    pub(super) values: BTreeMap<String, Vec<Template>>,
    pub(super) here_documents: Vec<HereDocument>,
    pub(super) is_sound: bool,
    pub(super) nest: usize,
    /// Bytes of texts in texts.
    nested: usize,
    /// Inside something that need not run, or runs in a process of its own.
    pub(super) conditional: usize,
    /// Behind an unconditional `exec` or `exit`: what follows is not read, and need not be shell.
    pub(super) ends: bool,
}

impl Reading {
    /// Reads a whole text.
    pub(super) fn text(&mut self, text: &str) {
        let mut parser = Parser {
            text,
            at: 0,
            end: text.len(),
            misread: BTreeSet::new(),
            state: self,
        };
        parser.list(&[]);
    }

    /// Reads a text that is in the text.
    pub(super) fn nested_text(&mut self, text: &str) {
        self.nested += text.len();
        if self.nest >= MAX_NEST || self.is_full() || self.nested > MAX_TEXT {
            self.is_sound = false;
            return;
        }
        let outer = std::mem::take(&mut self.here_documents);
        let ends = self.ends;
        self.nest += 4;
        self.conditional += 1;
        self.text(text);
        self.conditional -= 1;
        self.nest -= 4;
        self.ends = ends;
        self.here_documents = outer;
    }

    pub(super) fn is_full(&self) -> bool {
        self.commands.len() >= MAX_COMMANDS
    }

    pub(super) fn assign(&mut self, name: &str, value: Template) {
        let values = self.values.entry(name.to_owned()).or_default();
        if values.len() < MAX_VALUES && !values.contains(&value) {
            values.push(value);
        }
    }
}

/// A place in a text.
pub(super) struct Parser<'t, 's> {
    pub(super) text: &'t str,
    pub(super) at: usize,
    pub(super) end: usize,
    /// Where an opening bracket, by what stands before it, turned out not to open what is skipped as a whole. Without it every such
    /// bracket inside of another would be tried twice, and so on inwards.
    pub(super) misread: BTreeSet<(usize, Skipped)>,
    pub(super) state: &'s mut Reading,
}

/// What is skipped as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Skipped {
    /// `((…))`.
    Arithmetic,
    /// `?(…)` and the like.
    Pattern,
}

impl Parser<'_, '_> {
    pub(super) fn rest(&self) -> &str {
        &self.text[self.at..self.end]
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(super) fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    pub(super) fn eat(&mut self, prefix: &str) -> bool {
        let there = self.rest().starts_with(prefix);
        if there {
            self.at += prefix.len();
        }
        there
    }

    /// Reads something one level deeper; where that is too deep, gives the rest of the text up.
    pub(super) fn nest(&mut self, read: impl FnOnce(&mut Self)) {
        if self.state.nest >= MAX_NEST {
            self.state.is_sound = false;
            self.at = self.end;
            return;
        }
        self.state.nest += 1;
        self.state.conditional += 1;
        read(self);
        self.state.conditional -= 1;
        self.state.nest -= 1;
    }

    /// Reads a list that has to end with `end`.
    pub(super) fn expect(&mut self, end: &'static str) {
        self.list(&[end]);
    }

    /// Skips blanks, continued lines and a comment.
    pub(super) fn blanks(&mut self) {
        loop {
            let blanks = self
                .rest()
                .bytes()
                .take_while(|c| matches!(c, b' ' | b'\t' | b'\r'));
            self.at += blanks.count();
            if self.eat("\\\n") || self.eat("\\\r\n") {
                continue;
            }
            if self.rest().starts_with('#') {
                self.at += self.rest().find('\n').unwrap_or(self.rest().len());
            }
            return;
        }
    }

    /// Skips blanks and line ends.
    fn lines(&mut self) {
        loop {
            self.blanks();
            if !self.eat("\n") {
                return;
            }
            self.read_here_documents();
        }
    }

    /// Reads commands up to one of the words or operators `ends`; an end that is missing makes the text unsound.
    pub(super) fn list(&mut self, ends: &[&'static str]) -> Option<&'static str> {
        let conditional = self.state.conditional;
        let end = loop {
            self.blanks();
            if self.state.is_full() {
                self.state.is_sound = false;
                self.at = self.end;
            }
            let Some(c) = self.peek() else { break None };
            if c == '\n' {
                self.at += 1;
                self.read_here_documents();
                self.state.conditional = conditional;
                if self.state.ends && self.state.nest == 0 {
                    self.at = self.end;
                    break None;
                }
            } else if self.redirection() {
            } else if self.eat("&&") || self.eat("||") {
                self.state.conditional = conditional + 1;
            } else if c == ';' && self.rest()[1..].starts_with([';', '&']) {
                let _ = self.eat(";;&") || self.eat(";;") || self.eat(";&");
                if ends.contains(&";;") {
                    break Some(";;");
                }
                self.state.is_sound = false;
            } else if matches!(c, ';' | '&') {
                self.at += 1;
                self.state.conditional = conditional;
            } else if c == '|' {
                self.at += 1;
            } else if c == ')' {
                self.at += 1;
                if ends.contains(&")") {
                    break Some(")");
                }
                self.state.is_sound = false;
            } else if c == '(' {
                if !(self.rest().starts_with("((") && self.arithmetic()) {
                    self.at += 1;
                    self.nest(|parser| parser.expect(")"));
                }
            } else if let Some(end) = self.command(ends) {
                break Some(end);
            }
        };
        self.state.conditional = conditional;
        self.state.is_sound &= end.is_some() || ends.is_empty();
        end
    }

    /// A command that begins with a word, or the word that ends a list.
    fn command(&mut self, ends: &[&'static str]) -> Option<&'static str> {
        let word = self.word();
        if word.is_empty() {
            // Nothing that begins anything.
            self.bump();
            self.state.is_sound = false;
            return None;
        }
        if let Some(text) = word.bare() {
            if let Some(end) = ends.iter().find(|end| **end == text) {
                return Some(end);
            }
            match text {
                "!" | "coproc" => return None,
                "if" => self.nest(Self::if_clause),
                "while" | "until" => self.nest(|parser| {
                    parser.list(&["do"]);
                    parser.list(&["done"]);
                }),
                "for" | "select" => self.nest(Self::for_clause),
                "case" => self.nest(Self::case_clause),
                "{" => self.nest(|parser| parser.expect("}")),
                "[[" => self.condition(),
                "function" => self.function(),
                "then" | "elif" | "else" | "fi" | "do" | "done" | "esac" | "}" => {
                    self.state.is_sound = false;
                }
                _ => self.simple(word),
            }
            return None;
        }
        self.simple(word);
        None
    }

    fn if_clause(&mut self) {
        self.list(&["then"]);
        while let Some(end) = self.list(&["elif", "else", "fi"]) {
            match end {
                "elif" => {
                    self.list(&["then"]);
                }
                "else" => {
                    self.list(&["fi"]);
                    return;
                }
                _ => return,
            }
        }
    }

    fn for_clause(&mut self) {
        self.blanks();
        if !(self.rest().starts_with("((") && self.arithmetic()) {
            let name = self.word();
            let start = self.at;
            self.lines();
            let at = self.at;
            if self.word().bare() == Some("in") {
                loop {
                    self.blanks();
                    let value = self.word();
                    if value.is_empty() {
                        break;
                    }
                    if let Some(name) = name.bare() {
                        self.state.assign(name, value);
                    }
                }
            } else {
                self.at = if self.rest().is_empty() { start } else { at };
            }
        }
        while self.eat(";") || self.eat("\n") {
            self.lines();
        }
        self.blanks();
        if self.eat("{") {
            self.list(&["}"]);
        } else {
            self.list(&["do"]);
            self.list(&["done"]);
        }
    }

    fn case_clause(&mut self) {
        self.blanks();
        self.word();
        self.lines();
        self.state.is_sound &= self.word().bare() == Some("in");
        loop {
            self.lines();
            let opened = self.eat("(");
            self.blanks();
            let mut pattern = self.word();
            if !opened && pattern.bare() == Some("esac") {
                return;
            }
            loop {
                self.blanks();
                if self.eat(")") {
                    break;
                }
                if !pattern.is_empty() && self.eat("|") {
                    self.blanks();
                    pattern = self.word();
                    continue;
                }
                self.state.is_sound = false;
                if self.bump().is_none() {
                    return;
                }
                pattern = self.word();
            }
            match self.list(&[";;", "esac"]) {
                Some(";;") => {}
                _ => return,
            }
        }
    }

    /// `[[ … ]]`: its words are no commands.
    fn condition(&mut self) {
        loop {
            self.lines();
            let word = self.word();
            if word.bare() == Some("]]") {
                return;
            }
            if word.is_empty() && self.bump().is_none() {
                self.state.is_sound = false;
                return;
            }
        }
    }

    /// `function NAME`; what follows is a compound command like any other.
    fn function(&mut self) {
        self.blanks();
        let name = self.word();
        self.state.names.extend(name.literal().map(str::to_owned));
        self.blanks();
        if self.eat("(") {
            self.blanks();
            self.state.is_sound &= self.eat(")");
        }
    }
}
