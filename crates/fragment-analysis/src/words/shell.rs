//! Commands of shell texts.
//!
//! A reader of the grammar of sh(1) (POSIX.1-2017, XCU chapter 2) with the extensions of bash that scripts use: quoting,
//! expansions, redirections, here-documents, compound commands, functions, arrays, `[[ … ]]`, `(( … ))`. It finds the
//! commands with their arguments, wherever they stand (in substitutions, defaults, here-documents, `eval`, `trap`, aliases),
//! follows variables that hold literal text, and runs nothing.
//!
//! It goes over a text once, nests to a fixed depth, and gives what it understood of a text that breaks off or is wrong.

use std::collections::BTreeSet;

use super::Word;

mod command;
mod expand;
mod grammar;
mod scan;
mod template;

use grammar::Reading;

/// Longest text that is read, in bytes; the rest is ignored.
pub const MAX_TEXT: usize = 64 << 10;
/// Most commands that are taken from one text.
pub const MAX_COMMANDS: usize = 512;

/// Commands that shells have built in (POSIX special and intrinsic utilities, bash, dash, busybox ash), apart from those that
/// run another command.
const BUILTINS: &[&str] = &[
    ":",
    "[",
    "[[",
    "alias",
    "bg",
    "bind",
    "break",
    "caller",
    "cd",
    "chdir",
    "compgen",
    "complete",
    "compopt",
    "continue",
    "declare",
    "dirs",
    "disown",
    "echo",
    "enable",
    "exit",
    "export",
    "false",
    "fc",
    "fg",
    "getopts",
    "hash",
    "help",
    "history",
    "jobs",
    "kill",
    "let",
    "local",
    "logout",
    "mapfile",
    "popd",
    "printf",
    "pushd",
    "pwd",
    "read",
    "readarray",
    "readonly",
    "return",
    "set",
    "shift",
    "shopt",
    "suspend",
    "test",
    "times",
    "trap",
    "true",
    "type",
    "typeset",
    "ulimit",
    "umask",
    "unalias",
    "unset",
    "wait",
];

/// Whether shells need no file to run `name`.
#[must_use]
pub fn is_builtin(name: &str) -> bool {
    BUILTINS.contains(&name)
}

/// A simple command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Its name and arguments, never empty; the name is literal.
    pub words: Vec<Word>,
    /// The here-document it reads.
    pub input: Option<String>,
}

/// What a shell text says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Its commands, in order. Those that run functions and aliases of the text are left out, and those whose name is not
    /// known before they run.
    pub commands: Vec<Command>,
    /// Whether all of it was understood: nothing is left open or stands where it cannot.
    pub is_sound: bool,
}

/// Reads a shell text. `source` is where it was read; if that is an absolute path, `$(dirname "$0")` is its directory.
#[must_use]
pub fn read(text: &str, source: &str) -> Script {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut reading = Reading::default();
    reading.is_sound = end == text.len();
    reading.text(&text[..end]);
    let commands = expand::commands(&mut reading, end, source);
    Script {
        commands,
        is_sound: reading.is_sound,
    }
}

/// Names that a text defines: functions and aliases.
type Names = BTreeSet<String>;

#[cfg(test)]
mod tests;
