//! How runc's command line is written: flags as Go's flag package reads them (one dash or two, `=true` after switches, the
//! last one counts, an empty value is none), put into the one form clap is given: `--flag=value… -- words…`.
//!
//! Flags may follow the words of a command, except in `exec` and `ps` (urfave/cli's reordering, with its rule that only the
//! command's own flags are moved).

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use clap::{Arg, ArgAction, Command, CommandFactory as _};

use super::mistake::Answer;
use super::{ENDING_AT_THE_FIRST_WORD, Known, Words, help, known};

/// A command line in clap's form.
pub(super) struct Line {
    /// The flags before the command; empty where those are the mistake.
    pub(super) global: Vec<OsString>,
    /// The command with its flags and words; none where nothing follows the global flags.
    pub(super) rest: Result<Option<(Known, Vec<OsString>)>, Answer>,
}

/// Splits a command line, without the program's name. `global`: the flags before the command.
pub(super) fn split(global: &Command, words: Vec<OsString>) -> Line {
    let mut words = VecDeque::from(words);
    let help = || help::of_all(&Words::command());
    match flags(global, &mut words) {
        Ok(flags) => Line {
            global: flags,
            rest: command(words),
        },
        Err(Stop::Help) => Line {
            global: Vec::new(),
            rest: Err(Answer::Help(help())),
        },
        Err(Stop::Mistake(message)) => Line {
            global: Vec::new(),
            rest: Err(Answer::mistake(message, help())),
        },
    }
}

/// Help about the command of a name.
fn help_of(name: &str) -> Option<String> {
    Words::command().find_subcommand(name).map(help::of)
}

fn command(mut words: VecDeque<OsString>) -> Result<Option<(Known, Vec<OsString>)>, Answer> {
    let Some(name) = words.pop_front() else {
        return Ok(None);
    };
    let name = name.to_string_lossy().into_owned();
    if matches!(name.as_str(), "help" | "h") {
        return Err(match words.front() {
            None => Answer::Help(help::of_all(&Words::command())),
            Some(topic) => {
                let topic = topic.to_string_lossy();
                help_of(&topic).map_or_else(|| Answer::no_topic(&topic), Answer::Help)
            }
        });
    }
    let Some(known) = known(&name) else {
        return Err(Answer::no_topic(&name));
    };
    let found = &known.flags;
    if !ENDING_AT_THE_FIRST_WORD.contains(&name.as_str()) {
        words = reordered(found, words);
    }
    let help = || help_of(&name).unwrap_or_default();
    let flags = flags(found, &mut words).map_err(|stop| match stop {
        Stop::Help => Answer::Help(help()),
        Stop::Mistake(message) => Answer::mistake(message, help()),
    })?;
    check_count(found, words.len()).map_err(|message| Answer::mistake(message, help()))?;
    let mut line = flags;
    line.push("--".into());
    line.extend(words);
    Ok(Some((known, line)))
}

/// Why reading flags ended early.
enum Stop {
    Help,
    Mistake(String),
}

/// One flag that was given.
struct Given {
    name: String,
    /// May be given again; of the others the last one counts.
    many: bool,
    /// In clap's form; none where the flag is as if it were not there.
    word: Option<OsString>,
}

/// Takes the flags from the front of `words`.
fn flags(command: &Command, words: &mut VecDeque<OsString>) -> Result<Vec<OsString>, Stop> {
    let mut given: Vec<Given> = Vec::new();
    while let Some(word) = words.front() {
        let bytes = word.as_bytes();
        if bytes.len() < 2 || bytes[0] != b'-' {
            break;
        }
        if bytes == b"--" {
            words.pop_front();
            break;
        }
        let word = words.pop_front().unwrap_or_default();
        let next = flag(command, &word, words)?;
        if !next.many {
            given.retain(|other| other.name != next.name);
        }
        given.push(next);
    }
    Ok(given.into_iter().filter_map(|given| given.word).collect())
}

fn flag(command: &Command, word: &OsStr, words: &mut VecDeque<OsString>) -> Result<Given, Stop> {
    let bytes = word.as_bytes();
    let body = bytes.strip_prefix(b"--").unwrap_or(&bytes[1..]);
    if matches!(body.first(), None | Some(b'-' | b'=')) {
        return Err(Stop::Mistake(format!(
            "bad flag syntax: {}",
            word.display()
        )));
    }
    let (name, value) = match body.iter().position(|byte| *byte == b'=') {
        Some(at) => (
            &body[..at],
            Some(OsStr::from_bytes(&body[at + 1..]).to_owned()),
        ),
        None => (body, None),
    };
    let written = String::from_utf8_lossy(name);
    let Some(known) = find(command, &written) else {
        return Err(match written.as_ref() {
            "h" | "help" => Stop::Help,
            other => Stop::Mistake(format!("flag provided but not defined: -{other}")),
        });
    };
    let name = known.get_long().unwrap_or_default().to_owned();
    let optional = known
        .get_num_args()
        .is_some_and(|range| range.min_values() == 0);
    let word = if known.get_action().takes_values() && !optional {
        let Some(value) = value.or_else(|| words.pop_front()) else {
            return Err(Stop::Mistake(format!("flag needs an argument: -{written}")));
        };
        (!value.is_empty()).then(|| joined(&name, &value))
    } else {
        let on = match value {
            None => true,
            Some(value) => truth(&value).ok_or_else(|| {
                let value = value.to_string_lossy();
                Stop::Mistake(format!(
                    "invalid boolean value {value:?} for -{written}: parse error"
                ))
            })?,
        };
        match (optional, on) {
            (true, on) => Some(joined(&name, OsStr::new(if on { "true" } else { "false" }))),
            (false, true) => Some(format!("--{name}").into()),
            (false, false) => None,
        }
    };
    Ok(Given {
        many: matches!(known.get_action(), ArgAction::Append),
        name,
        word,
    })
}

fn joined(name: &str, value: &OsStr) -> OsString {
    let mut word = format!("--{name}=").into_bytes();
    word.extend_from_slice(value.as_bytes());
    OsString::from_vec(word)
}

/// strconv.ParseBool.
fn truth(value: &OsStr) -> Option<bool> {
    match value.as_bytes() {
        b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True" => Some(true),
        b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False" => Some(false),
        _ => None,
    }
}

fn find<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    command
        .get_arguments()
        .filter(|arg| !arg.is_positional())
        .find(|arg| {
            arg.get_long() == Some(name)
                || arg
                    .get_short()
                    .is_some_and(|short| name.chars().eq([short]))
        })
}

/// Moves the command's flags, each with the word that may be its value, before its words.
fn reordered(command: &Command, words: VecDeque<OsString>) -> VecDeque<OsString> {
    let (mut front, mut back) = (VecDeque::new(), VecDeque::new());
    let mut may_be_value = false;
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let is_flag = is_flag(command, &word);
        if may_be_value && !is_flag {
            may_be_value = false;
            front.push_back(word);
        } else if word == "--" {
            back.push_back(word);
            back.extend(words);
            break;
        } else if is_flag {
            may_be_value = !word.as_bytes().contains(&b'=');
            front.push_back(word);
        } else {
            back.push_back(word);
        }
    }
    front.extend(back);
    front
}

fn is_flag(command: &Command, word: &OsStr) -> bool {
    let Some(body) = word.as_bytes().strip_prefix(b"-") else {
        return false;
    };
    let body = body.strip_prefix(b"-").unwrap_or(body);
    let name = String::from_utf8_lossy(body.split(|byte| *byte == b'=').next().unwrap_or_default());
    matches!(name.as_ref(), "h" | "help") || find(command, &name).is_some()
}

/// runc's words for too few and too many.
fn check_count(command: &Command, count: usize) -> Result<(), String> {
    let positionals: Vec<&Arg> = command.get_positionals().collect();
    let least = positionals
        .iter()
        .filter(|arg| arg.is_required_set())
        .count();
    let open = positionals
        .iter()
        .any(|arg| matches!(arg.get_action(), ArgAction::Append));
    let most = if open { usize::MAX } else { positionals.len() };
    let requires = |what: String| {
        Err(format!(
            "fragment-runc: {:?} requires {what} argument(s)",
            command.get_name()
        ))
    };
    if least == most && count != least {
        requires(format!("exactly {least}"))
    } else if count < least {
        requires(format!("a minimum of {least}"))
    } else if count > most {
        requires(format!("a maximum of {most}"))
    } else {
        Ok(())
    }
}
