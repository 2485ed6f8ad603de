//! Words as they stand in the text, before expansion.

/// A word, or the value of an assignment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Template {
    pub(super) parts: Vec<Part>,
    /// Something in it is quoted or expanded: it cannot be a reserved word.
    pub(super) quoted: bool,
}

/// A piece of a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    /// `$NAME` or `${NAME:-DEFAULT}`; unquoted, its value is split at blanks.
    Variable {
        name: String,
        default: Option<Template>,
        quoted: bool,
    },
    /// `$0`: the script.
    Script,
    /// `$(dirname "$0")` and its like: where the script is, and what follows that (`/..`).
    ScriptDirectory(String),
    /// Known when it runs: other expansions, patterns.
    Unknown,
}

impl Template {
    pub(super) fn push(&mut self, c: char) {
        match self.parts.last_mut() {
            Some(Part::Text(text)) => text.push(c),
            _ => self.parts.push(Part::Text(c.into())),
        }
    }

    pub(super) fn push_str(&mut self, piece: &str) {
        match self.parts.last_mut() {
            Some(Part::Text(text)) => text.push_str(piece),
            _ => self.parts.push(Part::Text(piece.to_owned())),
        }
    }

    pub(super) fn push_part(&mut self, part: Part) {
        self.quoted = true;
        self.parts.push(part);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty() && !self.quoted
    }

    /// Its text, where nothing is quoted or expanded.
    pub(super) fn bare(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [Part::Text(text)] if !self.quoted => Some(text),
            _ => None,
        }
    }

    /// Its text, where nothing is expanded.
    pub(super) fn literal(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Name and value of `NAME=…`, `NAME+=…`, `NAME[…]=…`.
    pub(super) fn assignment(&self) -> Option<(String, Template)> {
        let Part::Text(first) = self.parts.first()? else {
            return None;
        };
        let (name, value) = first.split_once('=')?;
        let appended = name.strip_suffix('+');
        let name = appended.unwrap_or(name);
        let (name, element) = name
            .split_once('[')
            .map_or((name, false), |(n, _)| (n, true));
        if !is_name(name) {
            return None;
        }
        let mut parts = self.parts.clone();
        parts.remove(0);
        if !value.is_empty() {
            parts.insert(0, Part::Text(value.to_owned()));
        }
        // What is appended to is more than the value.
        if appended.is_some() && !element {
            parts.insert(0, Part::Unknown);
        }
        let quoted = self.quoted;
        Some((name.to_owned(), Template { parts, quoted }))
    }
}

/// Whether `name` is that of a variable.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
}
