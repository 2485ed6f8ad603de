//! Words of command lines and shell texts: which commands they name.
//!
//! This is evidence, never truth: a text is read with the grammar of sh(1) as far as command words need it, expansions are
//! not evaluated, and what cannot be understood is left out.

pub mod interpreter;
mod remote;
pub mod shell;
pub mod wrapper;

/// A word of a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Its text, quotes removed.
    pub text: String,
    /// Whether the text is all there is: no variable, substitution or pattern in it.
    pub literal: bool,
    /// Where it was read: `argv[3]` or the path of a script.
    pub source: String,
}

impl Word {
    /// A word that is exactly `text`.
    #[must_use]
    pub fn literal(text: impl Into<String>, source: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            literal: true,
            source: source.into(),
        }
    }
}

/// Words of an argument vector, `argv[first]` and following.
#[must_use]
pub fn of_argv(argv: &[String], first: usize) -> Vec<Word> {
    argv.iter()
        .enumerate()
        .skip(first)
        .map(|(index, text)| Word::literal(text, format!("argv[{index}]")))
        .collect()
}

/// The file name at the end of a path.
#[must_use]
pub fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Whether `name` looks like the name of a command that somebody could have installed.
#[must_use]
pub fn is_command_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '+'))
        && !name.chars().all(|c| c.is_ascii_digit() || c == '.')
}
