//! How a run ends: the one printer of errors and the one place of exit codes.

use std::io::Write;

use anyhow::bail;
use fragment::start::ExitCode;

use crate::arguments::Answer;
use crate::runtime::BeginError;
use crate::{commands, log};

/// Any failure, as runc.
const FAILURE: u8 = 1;
/// A failure of `exec` that is not the program's own, as runc.
const EXEC_FAILURE: u8 = 255;

/// A command there is not, as urfave/cli.
const NO_TOPIC: u8 = 3;

/// A failure of `exec`, whose exit code otherwise is the program's.
#[derive(Debug, thiserror::Error)]
#[error("exec failed")]
pub(crate) struct ExecFailure;

/// The end of a run that failed.
pub(crate) fn failure(error: &anyhow::Error) -> ExitCode {
    log::error(&words(&format!("{error:#}")));
    if error.is::<ExecFailure>() {
        ExitCode::from(EXEC_FAILURE)
    } else {
        ExitCode::from(FAILURE)
    }
}

/// The end of a run that failed before its command line was read.
pub(crate) fn early(error: &BeginError) -> ExitCode {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        message = format!("{message}: {inner}");
        source = inner.source();
    }
    log::error(&words(&message));
    ExitCode::from(FAILURE)
}

/// A message with errnos as C libraries and Go write them, the form engines look for: "no such file or directory" and not
/// "No such file or directory (os error 2)" (the standard library) or "ENOENT: No such file or directory" (nix).
fn words(message: &str) -> String {
    let mut parts: Vec<String> = message.split(": ").map(str::to_owned).collect();
    let mut position = 0;
    while position < parts.len() {
        if is_constant(&parts[position]) && position + 1 < parts.len() {
            parts.remove(position);
            parts[position] = lower_first(&parts[position]);
        } else if let Some((before, after)) = parts[position].clone().split_once(" (os error ")
            && let Some((_, after)) = after.split_once(')')
        {
            parts[position] = format!("{}{after}", lower_first(before));
        }
        position += 1;
    }
    parts.join(": ")
}

/// ENOENT and its like.
fn is_constant(word: &str) -> bool {
    word.len() > 3
        && word.starts_with('E')
        && word
            .chars()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
}

fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_lowercase().chain(characters).collect(),
        None => String::new(),
    }
}

/// The end of a run that is asked for help or the version, or whose command line is wrong.
pub(crate) fn answer(answer: Answer) -> anyhow::Result<ExitCode> {
    match answer {
        Answer::Help(text) => print(&text)?,
        Answer::Version => return commands::version(),
        Answer::NoTopic(message) => {
            log::error(&message);
            return Ok(ExitCode::from(NO_TOPIC));
        }
        Answer::Mistake { message, help } => {
            if let Some(help) = help {
                // urfave/cli prints the help of a wrong line to standard output; there may be nobody to read it
                let _ = print(&format!("Incorrect Usage: {message}\n\n{help}"));
            }
            bail!(message);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a command's output: a closed pipe ends the run like any other failed write.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

/// A program's exit code as ours.
pub(crate) fn program(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(EXEC_FAILURE))
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn errnos_are_written_as_engines_look_for_them() {
        for (written, told) in [
            (
                "open /x: No such file or directory (os error 2)",
                "open /x: no such file or directory",
            ),
            (
                "create: ENOENT: No such file or directory",
                "create: no such file or directory",
            ),
            (
                "a: Permission denied (os error 13): while b",
                "a: permission denied: while b",
            ),
            ("exec: \"X\": EXEC", "exec: \"X\": EXEC"),
            ("Is a directory (os error 21)", "is a directory"),
        ] {
            assert_eq!(words(written), told);
        }
    }
}
