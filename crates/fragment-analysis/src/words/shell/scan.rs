//! Words of a shell text: quoting and expansions (POSIX.1-2017, XCU 2.2, 2.6).

use super::grammar::{Parser, Skipped};
use super::template::{Part, Template};

impl Parser<'_, '_> {
    /// A word, or nothing where no word begins.
    pub(super) fn word(&mut self) -> Template {
        let mut word = Template::default();
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' | '\n' | ';' | '&' | '|' | ')' => break,
                '\r' if matches!(self.rest().as_bytes().get(1), None | Some(b'\n')) => break,
                '(' if self.behind_pattern_mark() => {
                    self.extended_pattern(&mut word);
                }
                '(' => break,
                '<' | '>' if word.is_empty() && self.rest()[1..].starts_with('(') => {
                    self.at += 2;
                    self.nest(|parser| parser.expect(")"));
                    word.push_part(Part::Unknown);
                }
                '<' | '>' => break,
                _ => self.word_part(&mut word),
            }
        }
        word
    }

    fn word_part(&mut self, word: &mut Template) {
        let Some(c) = self.bump() else { return };
        match c {
            '\'' => {
                word.quoted = true;
                let text = self.until('\'');
                word.push_str(text);
            }
            '"' => {
                word.quoted = true;
                self.double_quoted(word);
            }
            '\\' => {
                if let Some(c) = self.bump()
                    && c != '\n'
                {
                    word.quoted = true;
                    word.push(c);
                }
            }
            '$' => self.dollar(false, word),
            '`' => self.backquoted(word),
            '*' | '?' => {
                word.push(c);
                word.push_part(Part::Unknown);
            }
            '~' if word.is_empty() => word.push_part(Part::Unknown),
            c => word.push(c),
        }
    }

    /// The text up to `end`, which is consumed as well.
    fn until(&mut self, end: char) -> &str {
        let start = self.at;
        let rest = self.rest();
        match rest.find(end) {
            Some(len) => {
                self.at += len + 1;
                &self.text[start..start + len]
            }
            None => {
                self.at = self.end;
                self.state.is_sound = false;
                &self.text[start..self.end]
            }
        }
    }

    /// `?(…)`, `*(…)`, `+(…)`, `@(…)`, `!(…)` of bash: the mark has been read.
    fn behind_pattern_mark(&self) -> bool {
        self.at > 0
            && matches!(
                self.text.as_bytes()[self.at - 1],
                b'?' | b'*' | b'+' | b'@' | b'!'
            )
    }

    fn extended_pattern(&mut self, word: &mut Template) {
        let (start, mut depth) = (self.at, 0_usize);
        let tried = self.misread.contains(&(start, Skipped::Pattern));
        while let Some(c) = self.peek().filter(|_| !tried) {
            match c {
                '(' | ')' => {
                    self.at += 1;
                    depth = if c == '(' { depth + 1 } else { depth - 1 };
                    if depth == 0 {
                        word.push_part(Part::Unknown);
                        return;
                    }
                }
                '\n' => break,
                _ => self.word_part(&mut Template::default()),
            }
        }
        // It was none: what is here opens something else.
        self.misread.insert((start, Skipped::Pattern));
        self.at = start + 1;
        self.state.is_sound = false;
    }

    pub(super) fn double_quoted(&mut self, word: &mut Template) {
        while let Some(c) = self.bump() {
            match c {
                '"' => return,
                '\\' => match self.bump() {
                    Some('\n') | None => {}
                    Some(c @ ('$' | '`' | '"' | '\\')) => word.push(c),
                    Some(c) => {
                        word.push('\\');
                        word.push(c);
                    }
                },
                '$' => self.dollar(true, word),
                '`' => self.backquoted(word),
                c => word.push(c),
            }
        }
        self.state.is_sound = false;
    }

    /// What follows a `$`.
    pub(super) fn dollar(&mut self, quoted: bool, word: &mut Template) {
        match self.peek() {
            Some('\'') if !quoted => {
                self.bump();
                word.quoted = true;
                self.escaped(word);
            }
            Some('"') if !quoted => {
                self.bump();
                word.quoted = true;
                self.double_quoted(word);
            }
            Some('(') => {
                let part = self.substitution();
                word.push_part(part);
            }
            Some('{') => {
                self.bump();
                let mut part = Part::Unknown;
                self.nest(|parser| part = parser.parameter(quoted));
                word.push_part(part);
            }
            Some('0') => {
                self.bump();
                word.push_part(Part::Script);
            }
            Some(c) if c == '_' || c.is_ascii_alphabetic() => {
                let name = self.name().to_owned();
                let default = None;
                word.push_part(match name.as_str() {
                    "BASH_SOURCE" => Part::Script,
                    _ => Part::Variable {
                        name,
                        default,
                        quoted,
                    },
                });
            }
            Some('@' | '*' | '#' | '?' | '$' | '!' | '-' | '1'..='9') => {
                self.bump();
                word.push_part(Part::Unknown);
            }
            _ => word.push('$'),
        }
    }

    /// `$'…'` of bash, without its escapes' meaning.
    fn escaped(&mut self, word: &mut Template) {
        while let Some(c) = self.bump() {
            match c {
                '\'' => return,
                '\\' => {
                    let c = match self.bump() {
                        Some('n') => '\n',
                        Some('t') => '\t',
                        Some(c) => c,
                        None => break,
                    };
                    word.push(c);
                }
                c => word.push(c),
            }
        }
        self.state.is_sound = false;
    }

    fn name(&mut self) -> &str {
        let start = self.at;
        let rest = self.rest().as_bytes();
        let len = rest
            .iter()
            .position(|c| *c != b'_' && !c.is_ascii_alphanumeric())
            .unwrap_or(rest.len());
        self.at += len;
        &self.text[start..self.at]
    }

    /// `$(…)` or `$((…))`, the `(` not read yet.
    fn substitution(&mut self) -> Part {
        if self.rest().starts_with("((") && self.arithmetic() {
            return Part::Unknown;
        }
        self.at += 1;
        let start = self.at;
        self.nest(|parser| parser.expect(")"));
        let inner = self.text[start..self.at].trim_end_matches(')');
        script_place(inner).unwrap_or(Part::Unknown)
    }

    pub(super) fn backquoted(&mut self, word: &mut Template) {
        let (mut inner, mut closed) = (String::new(), false);
        while let Some(c) = self.bump() {
            match c {
                '`' => {
                    closed = true;
                    break;
                }
                '\\' => match self.bump() {
                    Some(c @ ('`' | '\\' | '$')) => inner.push(c),
                    Some(c) => inner.extend(['\\', c]),
                    None => {}
                },
                c => inner.push(c),
            }
        }
        self.state.is_sound &= closed;
        self.state.nested_text(&inner);
        word.push_part(script_place(&inner).unwrap_or(Part::Unknown));
    }

    /// The inside of `${…}`, up to and with its `}`.
    fn parameter(&mut self, quoted: bool) -> Part {
        let start = self.at;
        let counted = self.rest().starts_with('#') && !self.rest().starts_with("#}");
        let indirect = self.rest().starts_with('!');
        if counted || indirect {
            self.at += 1;
        }
        let name = self.name().to_owned();
        if name.is_empty() {
            // One of the special parameters.
            self.bump();
        }
        if self.rest().starts_with('[') {
            self.subscript();
        }
        let rest = self.rest();
        let operator = [":-", "-", ":=", "=", ":+", "+", ":?", "?"]
            .into_iter()
            .find(|operator| rest.starts_with(operator))
            .unwrap_or_default();
        self.at += operator.len();
        let operand = self.braced(quoted);
        let inner = self.text[start..self.at].trim_end_matches('}');
        if counted || indirect {
            return Part::Unknown;
        }
        match (name.as_str(), operator) {
            ("0" | "BASH_SOURCE", _) => match inner.trim_end_matches("[0]") {
                "0" | "BASH_SOURCE" => Part::Script,
                "0%/*" | "BASH_SOURCE%/*" | "BASH_SOURCE[0]%/*" => {
                    Part::ScriptDirectory(String::new())
                }
                _ => Part::Unknown,
            },
            // The value of `:+` is used where there is one, that of `-` where there is none.
            (_, ":-" | "-" | ":=" | "=") if !name.is_empty() => {
                if operator.ends_with('=') {
                    self.state.assign(&name, operand.clone());
                }
                Part::Variable {
                    name,
                    default: Some(operand),
                    quoted,
                }
            }
            (_, "" | ":?" | "?")
                if !name.is_empty() && (operand.is_empty() || !operator.is_empty()) =>
            {
                Part::Variable {
                    name,
                    default: None,
                    quoted,
                }
            }
            _ => Part::Unknown,
        }
    }

    /// `[…]` of an array.
    fn subscript(&mut self) {
        self.at += 1;
        while let Some(c) = self.peek() {
            match c {
                ']' => {
                    self.at += 1;
                    return;
                }
                '}' | '\n' => return,
                _ => self.word_part(&mut Template::default()),
            }
        }
    }

    /// A word up to the `}` that ends it; the `}` is consumed.
    fn braced(&mut self, quoted: bool) -> Template {
        let mut word = Template::default();
        while let Some(c) = self.peek() {
            match c {
                '}' => {
                    self.at += 1;
                    return word;
                }
                // Between double quotes a single quote is itself.
                '\'' if quoted => {
                    self.at += 1;
                    word.push('\'');
                }
                '*' | '?' | '~' => {
                    self.at += 1;
                    word.push(c);
                }
                '$' => {
                    self.at += 1;
                    self.dollar(quoted, &mut word);
                }
                _ => self.word_part(&mut word),
            }
        }
        self.state.is_sound = false;
        word
    }

    /// Skips `((…))`, with the substitutions in it; false, and nothing read, where it is no arithmetic.
    pub(super) fn arithmetic(&mut self) -> bool {
        // Two brackets that are not closed together open two subshells.
        let tried = self.misread.contains(&(self.at, Skipped::Arithmetic));
        if tried || !self.rest().contains("))") {
            return false;
        }
        let (start, commands, is_sound) = (self.at, self.state.commands.len(), self.state.is_sound);
        self.at += 2;
        let mut depth = 0_usize;
        while let Some(c) = self.peek() {
            match c {
                '(' => depth += 1,
                ')' if depth > 0 => depth -= 1,
                ')' if self.rest().starts_with("))") => {
                    self.at += 2;
                    return true;
                }
                ')' => break,
                '$' => {
                    self.at += 1;
                    self.dollar(true, &mut Template::default());
                    continue;
                }
                '`' => {
                    self.at += 1;
                    self.backquoted(&mut Template::default());
                    continue;
                }
                _ => {}
            }
            self.at += c.len_utf8();
        }
        self.at = start;
        self.misread.insert((start, Skipped::Arithmetic));
        self.state.commands.truncate(commands);
        self.state.is_sound = is_sound;
        false
    }
}

/// Whether the text of a command substitution gives the script, or where it is: `dirname "$0"`, `readlink -f "$0"`,
/// `cd "$(dirname "$0")/.." && pwd`.
fn script_place(text: &str) -> Option<Part> {
    if text.len() > 160 {
        return None;
    }
    let text: String = text.chars().filter(|c| !matches!(c, '"' | '\'')).collect();
    let text = text.replace("${BASH_SOURCE[0]}", "$0");
    let text = text
        .replace("${BASH_SOURCE}", "$0")
        .replace("$BASH_SOURCE", "$0");
    let text = text.replace("${0}", "$0").replace(" -- ", " ");
    place(text.trim(), 4)
}

fn place(text: &str, depth: usize) -> Option<Part> {
    if depth == 0 {
        return None;
    }
    if text == "$0" {
        return Some(Part::Script);
    }
    if let Some(inner) = text
        .strip_prefix("$(")
        .and_then(|rest| rest.strip_suffix(')'))
    {
        return place(inner.trim(), depth - 1);
    }
    let (command, rest) = text.split_once(' ')?;
    let rest = rest.trim();
    match command {
        "readlink" | "realpath" => {
            let rest = rest.trim_start_matches(|c: char| c == '-' || c.is_ascii_lowercase());
            place(rest.trim(), depth - 1)
        }
        "dirname" => match place(rest, depth - 1)? {
            Part::Script => Some(Part::ScriptDirectory(String::new())),
            Part::ScriptDirectory(suffix) => Some(Part::ScriptDirectory(suffix + "/..")),
            _ => None,
        },
        "cd" => {
            let (directory, then) = rest.split_once("&&").or_else(|| rest.split_once(';'))?;
            if !then.trim_start().starts_with("pwd") {
                return None;
            }
            let directory = directory.split(" >").next()?.trim();
            let directory = directory.trim_start_matches("-P ");
            let (inner, suffix) = match directory.rfind(')') {
                Some(at) => directory.split_at(at + 1),
                None => directory
                    .strip_suffix("/..")
                    .map_or((directory, ""), |d| (d, "/..")),
            };
            let inner = if inner == "${0%/*}" {
                "$(dirname $0)"
            } else {
                inner
            };
            match place(inner, depth - 1)? {
                Part::ScriptDirectory(own) if suffix.is_empty() || suffix.starts_with('/') => {
                    Some(Part::ScriptDirectory(own + suffix))
                }
                _ => None,
            }
        }
        _ => None,
    }
}
