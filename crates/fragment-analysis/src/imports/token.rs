//! Tokens of script languages, as far as their statements that load something need them.

use crate::words::interpreter::Language;

/// A token; comments and blanks are none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token<'t> {
    /// An identifier or number, with `::` in it where the language has that.
    Word(&'t str),
    /// What is between quotes, and whether something in it is evaluated.
    Text(&'t str, bool),
    /// Any other character.
    Mark(char),
    /// The end of a line.
    Line,
}

impl<'t> Token<'t> {
    pub(super) fn word(&self) -> Option<&'t str> {
        match self {
            Self::Word(word) => Some(word),
            _ => None,
        }
    }

    /// A string in which nothing is evaluated.
    pub(super) fn text(&self) -> Option<&'t str> {
        match self {
            Self::Text(text, false) => Some(text),
            _ => None,
        }
    }

    /// A string up to where something is put into it.
    pub(super) fn beginning(&self) -> Option<&'t str> {
        match self {
            Self::Text(text, false) => Some(text),
            Self::Text(text, true) => text.split(['$', '@', '{', '#']).next(),
            _ => None,
        }
    }

    pub(super) fn is(&self, mark: char) -> bool {
        *self == Self::Mark(mark)
    }
}

/// Words that begin a statement: a string in which a line begins with one was not closed where it seemed.
const STATEMENTS: &[&str] = &[
    "def ", "from ", "import ", "package ", "require ", "sub ", "use ",
];

/// Longest text of a `q(…)`.
const MAX_QUOTE: usize = 2048;
/// Most tokens that a statement is looked through for.
pub(super) const MAX_STATEMENT: usize = 256;

pub(super) fn tokens(language: Language, text: &str) -> Vec<Token<'_>> {
    let mut scanner = Scanner {
        language,
        text,
        at: 0,
        out: Vec::new(),
    };
    while scanner.token() {}
    scanner.out
}

struct Scanner<'t> {
    language: Language,
    text: &'t str,
    at: usize,
    out: Vec<Token<'t>>,
}

impl<'t> Scanner<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    /// Goes on behind the next `end`, or to the end of the text.
    fn skip_past(&mut self, end: &str) {
        let rest = self.rest();
        self.at += rest.find(end).map_or(rest.len(), |at| at + end.len());
    }

    fn line_start(&self) -> bool {
        self.at == 0 || self.text.as_bytes()[self.at - 1] == b'\n'
    }

    fn token(&mut self) -> bool {
        let rest = self.rest();
        let Some(c) = rest.chars().next() else {
            return false;
        };
        if self.line_start() && self.block(rest) {
            return true;
        }
        if self.comment(rest) {
            return true;
        }
        match c {
            '\n' => {
                self.at += 1;
                self.out.push(Token::Line);
            }
            '\'' | '"' | '`' => self.string(c),
            c if c == '_' || c.is_alphabetic() || c.is_ascii_digit() => self.word(rest),
            c => {
                self.at += c.len_utf8();
                if !c.is_whitespace() {
                    self.out.push(Token::Mark(c));
                }
            }
        }
        true
    }

    /// Documentation and data between lines; only at the start of a line.
    fn block(&mut self, rest: &str) -> bool {
        let is = |word: &str| {
            rest.strip_prefix(word)
                .is_some_and(|after| after.is_empty() || after.starts_with(['\n', '\r']))
        };
        match self.language {
            Language::Perl | Language::Ruby if is("__END__") || is("__DATA__") => {
                self.at = self.text.len();
            }
            Language::Perl
                if rest.starts_with('=')
                    && rest[1..].starts_with(|c: char| c.is_ascii_alphabetic()) =>
            {
                self.skip_past("\n=cut");
            }
            Language::Ruby if rest.starts_with("=begin") => self.skip_past("\n=end"),
            _ => return false,
        }
        true
    }

    fn comment(&mut self, rest: &str) -> bool {
        let (hash, slashes, dashes) = match self.language {
            Language::Node => (rest.starts_with("#!"), true, false),
            Language::Php => (!rest.starts_with("#["), true, false),
            Language::Lua => (rest.starts_with("#!"), false, true),
            // `$#array` and `#` right behind other text in Perl is no comment.
            Language::Perl => (
                !self.text[..self.at].ends_with(['$', '{', 's', 'm', 'q', 'y', 'r', 'w', 'x']),
                false,
                false,
            ),
            _ => (true, false, false),
        };
        if dashes && rest.starts_with("--[[") {
            self.skip_past("]]");
        } else if slashes && rest.starts_with("/*") {
            self.skip_past("*/");
        } else if hash && rest.starts_with('#')
            || slashes && rest.starts_with("//")
            || dashes && rest.starts_with("--")
        {
            self.at += rest.find('\n').unwrap_or(rest.len());
        } else {
            return false;
        }
        true
    }

    fn word(&mut self, rest: &'t str) {
        let has_paths = matches!(self.language, Language::Perl | Language::Php | Language::R);
        let mut len = 0;
        loop {
            let part = &rest[len..];
            len += part
                .find(|c: char| c != '_' && !c.is_alphanumeric())
                .unwrap_or(part.len());
            let part = &rest[len..];
            let joins = has_paths && part.starts_with("::")
                || self.language == Language::Php && part.starts_with('\\');
            let mark = if part.starts_with("::") { 2 } else { 1 };
            if !joins || !part[mark..].starts_with(|c: char| c == '_' || c.is_alphanumeric()) {
                break;
            }
            len += mark;
        }
        let word = &rest[..len];
        self.at += len;
        if matches!(self.language, Language::Perl)
            && matches!(word, "q" | "qq" | "qw" | "qx")
            && self.quote_like()
        {
            return;
        }
        self.out.push(Token::Word(word));
    }

    /// `q(…)`, `qw[…]` of Perl: the word has been read.
    fn quote_like(&mut self) -> bool {
        let rest = self.rest();
        let trimmed = rest.trim_start_matches([' ', '\n']);
        let Some(open) = trimmed.chars().next() else {
            return false;
        };
        let close = match open {
            '(' => ')',
            '[' => ']',
            '{' => '}',
            '<' => '>',
            '/' | '|' | '!' => open,
            _ => return false,
        };
        let inner = &trimmed[1..];
        // Without an end near by it is something else; texts full of beginnings would take for ever.
        let mut near = inner.len().min(MAX_QUOTE);
        while !inner.is_char_boundary(near) {
            near -= 1;
        }
        let Some(end) = inner[..near].find(close) else {
            return false;
        };
        self.at += rest.len() - trimmed.len() + 1 + end + close.len_utf8();
        self.out.push(Token::Text(
            &inner[..end],
            inner[..end].contains(['$', '@']),
        ));
        true
    }

    fn string(&mut self, quote: char) {
        let rest = self.rest();
        let triple: &str = match quote {
            '\'' => "'''",
            '"' => "\"\"\"",
            _ => "```",
        };
        let is_triple = self.language == Language::Python && rest.starts_with(triple);
        let end = if is_triple { triple } else { &triple[..1] };
        let spans_lines = is_triple
            || self.language != Language::Node && self.language != Language::Python
            || quote == '`';
        let start = end.len();
        let mut at = start;
        let bytes = rest.as_bytes();
        while at < bytes.len() {
            if rest[at..].starts_with(end) {
                break;
            }
            match bytes[at] {
                b'\\' => at += 1,
                b'\n' if !spans_lines => break,
                b'\n'
                    if !is_triple
                        && STATEMENTS
                            .iter()
                            .any(|word| rest[at + 1..].starts_with(word)) =>
                {
                    break;
                }
                _ => {}
            }
            at += 1;
            while at < bytes.len() && !rest.is_char_boundary(at) {
                at += 1;
            }
        }
        let at = at.min(rest.len());
        let text = &rest[start.min(at)..at];
        let closed = rest[at..].starts_with(end);
        self.at += at + if closed { end.len() } else { 0 };
        let evaluated = match self.language {
            Language::Perl => quote != '\'' && text.contains(['$', '@']),
            Language::Php => quote == '"' && text.contains('$'),
            Language::Ruby => quote != '\'' && text.contains("#{"),
            Language::Node => quote == '`' && text.contains("${"),
            _ => false,
        };
        // Backquotes run a command where they are no strings.
        if quote == '`'
            && matches!(
                self.language,
                Language::Perl | Language::Ruby | Language::Php
            )
        {
            self.out.push(Token::Word("`"));
        }
        self.out.push(Token::Text(text, evaluated));
    }
}
