//! Running one hook to its end: the state on stdin, a deadline, and runc's words for what went wrong.
//!
//! libcontainer does this for the hooks of creation. It has no words for which signal ended one, and none for what the hook
//! said.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use libcontainer::container::State;
use libcontainer::oci_spec::runtime::{Hook, State as OciState};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags};
use thiserror::Error;

/// What of a hook's stderr goes into an error.
const LONGEST_WORDS: u64 = 4096;

/// Why a hook failed. Engines and tests read these words.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HookError {
    /// The state cannot be told.
    #[error("the state for a hook")]
    State(#[source] io::Error),
    /// Its program cannot be run.
    #[error("fork/exec {path}", path = .path.display())]
    Start {
        /// Which.
        path: PathBuf,
        /// The errno.
        #[source]
        source: io::Error,
    },
    /// It cannot be waited for.
    #[error("wait for hook {path}", path = .path.display())]
    Wait {
        /// Which.
        path: PathBuf,
        /// The errno.
        #[source]
        source: io::Error,
    },
    /// It ran and failed.
    #[error("error running hook: {ending}, stderr: {stderr}")]
    Failed {
        /// `exit status 1`, `signal: killed`.
        ending: String,
        /// What it said.
        stderr: String,
    },
    /// It ran too long and was killed.
    #[error("hook ran past specified timeout of {seconds}.0s")]
    Timeout {
        /// hooks[].timeout.
        seconds: i64,
    },
}

/// Where a hook's stderr goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stderr {
    /// Into the error.
    Kept,
    /// Where the caller's goes: for hooks that run under the container's own filter.
    Callers,
}

/// Runs a hook. `environment` is for a hook that names none of its own.
pub(crate) fn run(
    hook: &Hook,
    state: &State,
    environment: &[(OsString, OsString)],
    stderr: Stderr,
) -> Result<(), HookError> {
    let path = hook.path();
    let mut command = Command::new(path);
    match hook.args().as_ref().and_then(|args| args.split_first()) {
        Some((name, arguments)) => command.arg0(name).args(arguments),
        None => command.arg0(path),
    };
    command
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    match hook.env() {
        Some(own) => command.envs(own.iter().filter_map(|entry| entry.split_once('='))),
        None => command.envs(environment.iter().map(|(name, value)| (name, value))),
    };
    let mut said = None;
    if stderr == Stderr::Kept {
        let memory = rustix::fs::memfd_create("hook-stderr", rustix::fs::MemfdFlags::CLOEXEC);
        let file = File::from(memory.map_err(|errno| HookError::State(errno.into()))?);
        command.stderr(file.try_clone().map_err(HookError::State)?);
        said = Some(file);
    }
    let text = state_text(state)?;
    let mut child = command.spawn().map_err(|source| HookError::Start {
        path: path.clone(),
        source,
    })?;
    if let Some(mut stdin) = child.stdin.take() {
        // one that does not read its state may have ended already
        let _ = stdin.write_all(text.as_bytes());
    }
    let waited = wait(&mut child, hook.timeout()).map_err(|source| HookError::Wait {
        path: path.clone(),
        source,
    })?;
    match waited {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(HookError::Failed {
            ending: ending(status),
            stderr: said.map(words_in).unwrap_or_default(),
        }),
        None => Err(HookError::Timeout {
            seconds: hook.timeout().unwrap_or_default(),
        }),
    }
}

fn state_text(state: &State) -> Result<String, HookError> {
    let fail = |error: String| HookError::State(io::Error::other(error));
    let state = OciState::try_from(state).map_err(|error| fail(error.to_string()))?;
    serde_json::to_string(&state).map_err(|error| HookError::State(error.into()))
}

/// `None`: it was killed because its time was up.
fn wait(child: &mut Child, seconds: Option<i64>) -> io::Result<Option<ExitStatus>> {
    let Some(seconds) = seconds.filter(|seconds| *seconds > 0) else {
        return child.wait().map(Some);
    };
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::InvalidInput)?;
    let process = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    let until = std::time::Instant::now() + Duration::from_secs(seconds.unsigned_abs());
    loop {
        let left = until.saturating_duration_since(std::time::Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut ended = [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)];
        match rustix::event::poll(&mut ended, Some(&left)) {
            Ok(0) => {
                child.kill()?;
                child.wait()?;
                return Ok(None);
            }
            Ok(_) => return child.wait().map(Some),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// As Go's os/exec tells it.
fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, signal) => format!("signal: {}", signal_words(signal.unwrap_or_default())),
    }
}

/// As Go's syscall package names signals.
fn signal_words(number: i32) -> String {
    let words = match number {
        1 => "hangup",
        2 => "interrupt",
        3 => "quit",
        4 => "illegal instruction",
        5 => "trace/breakpoint trap",
        6 => "aborted",
        7 => "bus error",
        8 => "floating point exception",
        9 => "killed",
        11 => "segmentation fault",
        13 => "broken pipe",
        14 => "alarm clock",
        15 => "terminated",
        31 => "bad system call",
        other => return format!("signal {other}"),
    };
    words.to_owned()
}

fn words_in(mut file: File) -> String {
    let mut text = Vec::new();
    let read = file
        .rewind()
        .and_then(|()| file.take(LONGEST_WORDS).read_to_end(&mut text));
    match read {
        Ok(_) => String::from_utf8_lossy(&text).trim_end().to_owned(),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libcontainer::container::ContainerStatus;

    fn run_sh(script: &str, timeout: Option<i64>) -> Result<(), HookError> {
        let hook = serde_json::json!({
            "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"], "timeout": timeout
        });
        let hook: Hook = serde_json::from_value(hook).unwrap();
        let state = State::new("c", ContainerStatus::Created, Some(1), "/b".into());
        run(&hook, &state, &[], Stderr::Kept)
    }

    #[test]
    fn the_state_is_on_stdin() {
        run_sh("grep -q '\"id\":\"c\"'", Some(20)).unwrap();
    }

    #[test]
    fn its_end_and_its_words_are_told() {
        let error = run_sh("echo no >&2; exit 3", None).unwrap_err().to_string();
        assert_eq!(error, "error running hook: exit status 3, stderr: no");
        let error = run_sh("kill -SYS $$", None).unwrap_err().to_string();
        assert!(error.contains("signal: bad system call"), "{error}");
    }

    #[test]
    fn one_that_takes_too_long_is_ended() {
        let error = run_sh("exec sleep 100", Some(1)).unwrap_err();
        assert!(matches!(error, HookError::Timeout { seconds: 1 }));
    }
}
