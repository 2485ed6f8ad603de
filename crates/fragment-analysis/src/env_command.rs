//! The command line of env(1), as GNU coreutils reads it, `-S` included.

use std::collections::BTreeMap;

/// Options of env that take a value in the same or the next word.
const VALUE_OPTIONS: [char; 2] = ['u', 'C'];
/// Long options that take a value in the same or the next word.
const LONG_VALUE_OPTIONS: [&str; 2] = ["--unset", "--chdir"];
/// Deepest nest of `-S` in `-S`.
const MAX_SPLITS: usize = 8;

/// A command line of env that it would refuse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// A `-S` string breaks its grammar.
    #[error("env -S: {0}")]
    Split(&'static str),
    /// `-S` inside `-S`, too often.
    #[error("env -S is nested more than {MAX_SPLITS} times")]
    Nested,
    /// An option without its value.
    #[error("env: an option lacks its value")]
    NoValue,
}

/// What env is told to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnvCommand {
    /// Variables it sets.
    pub set: BTreeMap<String, String>,
    /// Whether it starts from an empty environment.
    pub ignore_environment: bool,
    /// Directory it changes to.
    pub directory: Option<String>,
    /// The command and its arguments; empty if env only prints.
    pub argv: Vec<String>,
}

/// Reads the words after `env`. `variable` answers `${NAME}` in `-S` strings.
///
/// # Errors
/// Where env itself would say the line is wrong.
pub fn parse(
    words: &[String],
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<EnvCommand, EnvError> {
    let mut out = EnvCommand::default();
    // Words still to be read, last first.
    let mut todo: Vec<String> = words.iter().rev().cloned().collect();
    let mut splits = 0;
    while let Some(word) = todo.pop() {
        if word == "--" {
            break;
        }
        if word == "-" || word == "--ignore-environment" {
            out.ignore_environment = true;
            continue;
        }
        if let Some(long) = word.strip_prefix("--") {
            if let Some(text) = long.strip_prefix("split-string=") {
                expand(text, &mut todo, &mut splits, variable)?;
            } else if long == "split-string" {
                let text = todo.pop().ok_or(EnvError::NoValue)?;
                expand(&text, &mut todo, &mut splits, variable)?;
            } else if let Some(directory) = long.strip_prefix("chdir=") {
                out.directory = Some(directory.to_owned());
            } else if LONG_VALUE_OPTIONS.contains(&word.as_str()) {
                let value = todo.pop().ok_or(EnvError::NoValue)?;
                if long == "chdir" {
                    out.directory = Some(value);
                }
            }
            continue;
        }
        let Some(cluster) = word.strip_prefix('-') else {
            todo.push(word);
            break;
        };
        short_options(cluster, &mut out, &mut todo, &mut splits, variable)?;
    }
    while let Some(word) = todo.pop() {
        match word.split_once('=') {
            Some((name, value)) if out.argv.is_empty() => {
                out.set.insert(name.to_owned(), value.to_owned());
            }
            _ => {
                out.argv.push(word);
                out.argv.extend(todo.drain(..).rev());
            }
        }
    }
    Ok(out)
}

fn short_options(
    cluster: &str,
    out: &mut EnvCommand,
    todo: &mut Vec<String>,
    splits: &mut usize,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<(), EnvError> {
    let mut options = cluster.chars();
    while let Some(option) = options.next() {
        if option == 'i' {
            out.ignore_environment = true;
        }
        if option == 'S' || VALUE_OPTIONS.contains(&option) {
            let rest = options.as_str();
            let value = match rest {
                "" => todo.pop().ok_or(EnvError::NoValue)?,
                rest => rest.to_owned(),
            };
            match option {
                'S' => expand(&value, todo, splits, variable)?,
                'C' => out.directory = Some(value),
                _ => {}
            }
            return Ok(());
        }
    }
    Ok(())
}

/// Puts the words of a `-S` string in front of those still to be read.
fn expand(
    text: &str,
    todo: &mut Vec<String>,
    splits: &mut usize,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<(), EnvError> {
    *splits += 1;
    if *splits > MAX_SPLITS {
        return Err(EnvError::Nested);
    }
    todo.extend(split(text, variable)?.into_iter().rev());
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quote {
    None,
    Single,
    Double,
}

/// Splits a `-S` string into words (coreutils manual, section "-S/--split-string syntax").
///
/// # Errors
/// Where env itself would say the string is wrong.
pub fn split(
    text: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<String>, EnvError> {
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = Quote::None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\'', Quote::None) => (quote, word) = (Quote::Single, Some(word.unwrap_or_default())),
            ('"', Quote::None) => (quote, word) = (Quote::Double, Some(word.unwrap_or_default())),
            ('\'', Quote::Single) | ('"', Quote::Double) => quote = Quote::None,
            (' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r', Quote::None) => words.extend(word.take()),
            ('#', Quote::None) if word.is_none() => break,
            ('\\', _) => {
                let escape = chars.next();
                match unescape(escape, quote)? {
                    Escaped::Char(c) => word.get_or_insert_default().push(c),
                    Escaped::Both(c) => word.get_or_insert_default().extend(['\\', c]),
                    Escaped::Separator => words.extend(word.take()),
                    Escaped::End => break,
                }
            }
            ('$', Quote::None | Quote::Double) => {
                let value = variable(&variable_name(&mut chars)?);
                if let Some(value) = value {
                    word.get_or_insert_default().push_str(&value);
                }
            }
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    if quote != Quote::None {
        return Err(EnvError::Split("no terminating quote in the string"));
    }
    words.extend(word);
    Ok(words)
}

enum Escaped {
    Char(char),
    Both(char),
    Separator,
    End,
}

fn unescape(escape: Option<char>, quote: Quote) -> Result<Escaped, EnvError> {
    let Some(c) = escape else {
        return Err(EnvError::Split(
            "invalid backslash at the end of the string",
        ));
    };
    if quote == Quote::Single {
        return Ok(match c {
            '\\' | '\'' => Escaped::Char(c),
            c => Escaped::Both(c),
        });
    }
    Ok(match c {
        '"' | '#' | '$' | '\'' | '\\' => Escaped::Char(c),
        'f' => Escaped::Char('\x0c'),
        'n' => Escaped::Char('\n'),
        'r' => Escaped::Char('\r'),
        't' => Escaped::Char('\t'),
        'v' => Escaped::Char('\x0b'),
        '_' if quote == Quote::Double => Escaped::Char(' '),
        '_' => Escaped::Separator,
        'c' if quote == Quote::Double => {
            return Err(EnvError::Split(
                "`\\c` must not stand in a double-quoted string",
            ));
        }
        'c' => Escaped::End,
        _ => return Err(EnvError::Split("invalid sequence after a backslash")),
    })
}

/// The `{NAME}` after a `$`.
fn variable_name(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<String, EnvError> {
    const WRONG: EnvError = EnvError::Split("only `${NAME}` expansion is supported");
    if chars.next() != Some('{') {
        return Err(WRONG);
    }
    let mut name = String::new();
    loop {
        match chars.next() {
            Some('}') if !name.is_empty() => return Ok(name),
            Some(c) if c == '_' || c.is_ascii_alphabetic() => name.push(c),
            Some(c) if c.is_ascii_digit() && !name.is_empty() => name.push(c),
            _ => return Err(WRONG),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(text: &[&str]) -> Vec<String> {
        text.iter().map(|word| (*word).to_owned()).collect()
    }

    fn home(name: &str) -> Option<String> {
        (name == "HOME").then(|| "/root".to_owned())
    }

    /// Strings with the words that GNU env makes of them, or `None` where it refuses.
    const SPLITS: &[(&str, Option<&[&str]>)] = &[
        ("", Some(&[])),
        ("python3 -u", Some(&["python3", "-u"])),
        ("  a\tb  ", Some(&["a", "b"])),
        ("'a b' \"c d\"e", Some(&["a b", "c de"])),
        ("'' x", Some(&["", "x"])),
        (r"a\_b", Some(&["a", "b"])),
        (r#""a\_b""#, Some(&["a b"])),
        (r"a\tb", Some(&["a\tb"])),
        (r"a \# b", Some(&["a", "#", "b"])),
        ("a #b c", Some(&["a"])),
        ("a# b", Some(&["a#", "b"])),
        (r"a\c b", Some(&["a"])),
        (r"'\n\'\\'", Some(&[r"\n'\"])),
        (r"${HOME}/x", Some(&["/root/x"])),
        (r"'${HOME}'", Some(&["${HOME}"])),
        (r"\$x", Some(&["$x"])),
        ("a${NOPE}b", Some(&["ab"])),
        ("$HOME", None),
        ("${1}", None),
        ("'a", None),
        (r"a\", None),
        (r"a\q", None),
        (r#""a\c""#, None),
    ];

    #[test]
    fn strings_are_split_as_documented() {
        for (text, expected) in SPLITS {
            assert_eq!(split(text, &home).ok(), expected.map(words), "{text:?}");
        }
    }

    /// Debian's env(1) is the authority.
    #[test]
    fn gnu_env_agrees() {
        for (text, _) in SPLITS {
            let ours = split(text, &home).ok();
            let output = std::process::Command::new("/usr/bin/env")
                .args([
                    "-S",
                    &format!("/usr/bin/printf \\\"[%s]\\\" {text}").replace("\\\"", "'"),
                ])
                .env_clear()
                .env("HOME", "/root")
                .output()
                .unwrap();
            let theirs = output
                .status
                .success()
                .then(|| String::from_utf8(output.stdout).unwrap());
            let ours = ours.map(|words| match words.as_slice() {
                [] => "[]".to_owned(),
                words => words.iter().map(|word| format!("[{word}]")).collect(),
            });
            assert_eq!(ours, theirs, "{text:?}");
        }
    }

    #[test]
    fn the_command_is_found_behind_options_and_assignments() {
        for (line, argv, set) in [
            (&["python3", "-u"][..], &["python3", "-u"][..], 0),
            (&["-S", "python3 -u", "x"], &["python3", "-u", "x"], 0),
            (&["-S python3 -u"], &["python3", "-u"], 0),
            (&["-iS", "A=1 sh", "x"], &["sh", "x"], 1),
            (&["-vS-u HOME sh"], &["sh"], 0),
            (&["--split-string=A=1 B=2 sh -c x"], &["sh", "-c", "x"], 2),
            (
                &["-u", "PATH", "-C", "/tmp", "prog", "-i"],
                &["prog", "-i"],
                0,
            ),
            (
                &["--chdir=/x", "--unset", "Y", "--", "A=b", "prog", "C=d"],
                &["prog", "C=d"],
                1,
            ),
            (&["-", "prog"], &["prog"], 0),
            (&["A=1"], &[], 1),
            (&[], &[], 0),
        ] {
            let env = parse(&words(line), &home).unwrap();
            assert_eq!(env.argv, words(argv), "{line:?}");
            assert_eq!(env.set.len(), set, "{line:?}");
        }
        assert_eq!(
            parse(&words(&["-C/x", "y"]), &home)
                .unwrap()
                .directory
                .as_deref(),
            Some("/x")
        );
        assert_eq!(parse(&words(&["-u"]), &home), Err(EnvError::NoValue));
    }

    proptest! {
        #[test]
        fn random_text_never_panics(text in any::<String>(), more in "[-SuCi'\"\\\\ ${}A=]{0,40}") {
            let _ = parse(&[text, more.clone()], &home);
            let _ = split(&more, &home);
        }
    }
}
