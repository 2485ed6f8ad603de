//! Tokens of a shell text (POSIX.1-2017, XCU 2.3).

use super::MAX_TEXT;

/// Operators, longest first where one begins another.
const OPERATORS: &[&str] = &[
    ";;&", "&>>", "<<<", "<<-", "&&", "||", ";;", ";&", "|&", "&>", "<<", "<&", "<>", ">>", ">&",
    ">|", "(", ")", ";", "&", "|", "<", ">",
];

pub(super) enum Token {
    Word {
        text: String,
        /// Nothing in it is expanded.
        literal: bool,
        /// Nothing in it is quoted or expanded: it can be a reserved word.
        bare: bool,
    },
    Operator(&'static str),
    Newline,
    End,
}

pub(super) struct Scanner<'t> {
    text: &'t str,
    at: usize,
    /// Here-documents announced on this line: delimiter and whether leading tabs are stripped.
    here_documents: Vec<(String, bool)>,
    /// Texts of command substitutions.
    nested: Vec<String>,
}

/// A word being read.
struct Draft {
    text: String,
    literal: bool,
    bare: bool,
}

impl<'t> Scanner<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let mut end = text.len().min(MAX_TEXT);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Self {
            text: &text[..end],
            at: 0,
            here_documents: Vec::new(),
            nested: Vec::new(),
        }
    }

    /// Texts of the command substitutions that were read.
    pub(super) fn nested(self) -> Vec<String> {
        self.nested
    }

    /// After the next newline comes a here-document up to `delimiter`.
    pub(super) fn expect_here_document(&mut self, delimiter: String, strip_tabs: bool) {
        self.here_documents.push((delimiter, strip_tabs));
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn eat(&mut self, prefix: &str) -> bool {
        let there = self.rest().starts_with(prefix);
        if there {
            self.at += prefix.len();
        }
        there
    }

    pub(super) fn next_token(&mut self) -> Token {
        loop {
            if self.eat("\\\n") || self.eat(" ") || self.eat("\t") || self.eat("\r") {
                continue;
            }
            if self.peek() == Some('#') {
                self.at += self.rest().find('\n').unwrap_or(self.rest().len());
            }
            break;
        }
        let Some(c) = self.peek() else {
            return Token::End;
        };
        if c == '\n' {
            self.bump();
            self.skip_here_documents();
            return Token::Newline;
        }
        let substitution = self.rest().starts_with("<(") || self.rest().starts_with(">(");
        if !substitution
            && let Some(operator) = OPERATORS.iter().find(|operator| self.eat(operator))
        {
            return Token::Operator(operator);
        }
        self.word()
    }

    fn skip_here_documents(&mut self) {
        for (delimiter, strip_tabs) in std::mem::take(&mut self.here_documents) {
            loop {
                let rest = self.rest();
                if rest.is_empty() {
                    return;
                }
                let (line, len) = rest
                    .find('\n')
                    .map_or((rest, rest.len()), |end| (&rest[..end], end + 1));
                self.at += len;
                let line = if strip_tabs {
                    line.trim_start_matches('\t')
                } else {
                    line
                };
                if line == delimiter {
                    break;
                }
            }
        }
    }

    /// Skips `((…))` if an arithmetic command is here; the first `(` may have been read already.
    pub(super) fn skip_arithmetic(&mut self) -> bool {
        let rest = self.rest().trim_start_matches(' ');
        let opened = self.at > 0 && self.text[..self.at].ends_with('(');
        if !(rest.starts_with("((") || opened && self.rest().starts_with('(')) {
            return false;
        }
        self.at += self
            .rest()
            .find("))")
            .map_or(self.rest().len(), |end| end + 2);
        true
    }

    /// Skips the `(…)` of an array assignment right after its `=`.
    pub(super) fn skip_array(&mut self) {
        if self.text[..self.at].ends_with('=') && self.eat("(") {
            self.balanced();
        }
    }

    fn word(&mut self) -> Token {
        let mut draft = Draft {
            text: String::new(),
            literal: true,
            bare: true,
        };
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' | '\n' | '\r' | ';' | '&' | '|' | ')' => break,
                '(' => break,
                '<' | '>' => {
                    if draft.text.is_empty() && self.rest()[1..].starts_with('(') {
                        self.at += 2;
                        let inner = self.balanced();
                        self.substitute(inner, &mut draft);
                        continue;
                    }
                    // A number right before a redirection is the descriptor it redirects.
                    if draft.bare && draft.text.chars().all(|c| c.is_ascii_digit()) {
                        return self.next_token();
                    }
                    break;
                }
                _ => self.word_part(&mut draft),
            }
        }
        Token::Word {
            text: draft.text,
            literal: draft.literal,
            bare: draft.bare,
        }
    }

    fn word_part(&mut self, draft: &mut Draft) {
        let Some(c) = self.bump() else { return };
        match c {
            '\'' => {
                draft.bare = false;
                draft.text.push_str(self.until('\''));
            }
            '"' => {
                draft.bare = false;
                self.double_quoted(draft);
            }
            '\\' => {
                draft.bare = false;
                draft.text.extend(self.bump().filter(|c| *c != '\n'));
            }
            '$' => self.dollar(draft),
            '`' => self.backquoted(draft),
            '*' | '?' => {
                draft.literal = false;
                draft.text.push(c);
            }
            '~' if draft.text.is_empty() => draft.literal = false,
            c => draft.text.push(c),
        }
    }

    /// The text up to `end`, which is consumed as well.
    fn until(&mut self, end: char) -> &'t str {
        let rest = self.rest();
        let len = rest.find(end).unwrap_or(rest.len());
        self.at += (len + 1).min(rest.len());
        &rest[..len]
    }

    fn double_quoted(&mut self, draft: &mut Draft) {
        while let Some(c) = self.bump() {
            match c {
                '"' => return,
                '\\' => match self.bump() {
                    Some('\n') | None => {}
                    Some(c @ ('$' | '`' | '"' | '\\')) => draft.text.push(c),
                    Some(c) => draft.text.extend(['\\', c]),
                },
                '$' => self.dollar(draft),
                '`' => self.backquoted(draft),
                c => draft.text.push(c),
            }
        }
    }

    fn dollar(&mut self, draft: &mut Draft) {
        match self.peek() {
            Some('\'') => {
                self.bump();
                draft.bare = false;
                draft.text.push_str(self.until('\''));
            }
            Some('(') => {
                let arithmetic = self.rest().starts_with("((");
                self.bump();
                let inner = self.balanced();
                if arithmetic {
                    (draft.literal, draft.bare) = (false, false);
                } else {
                    self.substitute(inner, draft);
                }
            }
            Some('{') => {
                (draft.literal, draft.bare) = (false, false);
                self.until('}');
            }
            Some(c) if c == '_' || c.is_ascii_alphanumeric() => {
                (draft.literal, draft.bare) = (false, false);
                while self
                    .peek()
                    .is_some_and(|c| c == '_' || c.is_ascii_alphanumeric())
                {
                    self.bump();
                }
            }
            Some('@' | '*' | '#' | '?' | '$' | '!' | '-') => {
                (draft.literal, draft.bare) = (false, false);
                self.bump();
            }
            _ => draft.text.push('$'),
        }
    }

    fn backquoted(&mut self, draft: &mut Draft) {
        let mut inner = String::new();
        while let Some(c) = self.bump() {
            match c {
                '`' => break,
                '\\' => match self.bump() {
                    Some(c @ ('`' | '\\' | '$')) => inner.push(c),
                    Some(c) => inner.extend(['\\', c]),
                    None => {}
                },
                c => inner.push(c),
            }
        }
        self.substitute(inner, draft);
    }

    fn substitute(&mut self, inner: String, draft: &mut Draft) {
        (draft.literal, draft.bare) = (false, false);
        self.nested.push(inner);
    }

    /// The text up to the `)` that closes an opened `(`; the `)` is consumed.
    fn balanced(&mut self) -> String {
        let start = self.at;
        let mut depth = 1_usize;
        while let Some(c) = self.bump() {
            match c {
                '(' => depth += 1,
                ')' => depth -= 1,
                '\\' => {
                    self.bump();
                }
                '\'' => {
                    self.until('\'');
                }
                '"' => self.skip_double_quoted(),
                _ => {}
            }
            if depth == 0 {
                return self.text[start..self.at - 1].to_owned();
            }
        }
        self.text[start..].to_owned()
    }

    fn skip_double_quoted(&mut self) {
        while let Some(c) = self.bump() {
            match c {
                '"' => return,
                '\\' => {
                    self.bump();
                }
                _ => {}
            }
        }
    }
}
