//! Programs in namespaces of their own, and what they say when they end badly.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use crate::error::{Error, Result};
use crate::machine::clean_environment;

/// How much of a log stands in an error.
const LOG_TAIL: u64 = 4096;
const LOG_LINES: usize = 15;

/// A command in namespaces of its own that dies with us: setpriv(1) asks the kernel for it (PR_SET_PDEATHSIG), and
/// unshare(1) takes its PID namespace, with all that maintainer scripts started, along.
pub(crate) fn isolated(log: &Path) -> Result<Command> {
    let io = |source| Error::Io {
        operation: "creating",
        path: log.to_owned(),
        source,
    };
    let file = File::create(log).map_err(io)?;
    let mut command = Command::new("setpriv");
    clean_environment(&mut command);
    command
        .args([
            "--pdeathsig",
            "KILL",
            "--",
            "unshare",
            "--mount",
            "--pid",
            "--ipc",
            "--uts",
            "--fork",
        ])
        .args(["--kill-child=KILL", "--propagation", "private", "--"])
        .stdin(Stdio::null())
        .stdout(file.try_clone().map_err(io)?)
        .stderr(file)
        .current_dir("/");
    Ok(command)
}

pub(crate) fn run(mut command: Command, tool: &str, log: &Path) -> Result<()> {
    let spawn = |source| Error::Io {
        operation: "running",
        path: PathBuf::from("setpriv"),
        source,
    };
    let status = command.status().map_err(spawn)?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Tool {
        tool: tool.to_owned(),
        status,
        log: tail(log),
    })
}

/// The last lines of a log.
pub(crate) fn tail(log: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(mut file) = File::open(log) {
        let length = file.metadata().map_or(0, |m| m.len());
        let _ = file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL)));
        let _ = file.read_to_end(&mut bytes);
    }
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

/// Whether apt's words say that it does not know `package`.
pub(crate) fn is_unknown(log: &str, package: &str) -> bool {
    log.contains(&format!("Unable to locate package {package}\n"))
        || log.ends_with(&format!("Unable to locate package {package}"))
        || log.contains(&format!(
            "Package '{package}' has no installation candidate"
        ))
        || log.contains(&format!("Package {package} is not available"))
}

/// apt's words for a package it does not know, as an error that says what to do.
pub(crate) fn explain(name: &str, packages: &[&str], status: ExitStatus, log: String) -> Error {
    match packages.iter().find(|package| is_unknown(&log, package)) {
        Some(package) => Error::UnknownPackage {
            component: name.to_owned(),
            package: (*package).to_owned(),
        },
        None => Error::Install {
            component: name.to_owned(),
            status,
            log,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::explain;

    #[test]
    fn apt_does_not_know_a_package() {
        let log = "Reading package lists...\nE: Unable to locate package libfoo9".to_owned();
        let error =
            explain("x", &["curl", "libfoo9"], ExitStatus::from_raw(0x6400), log).to_string();
        assert!(
            error.contains("`libfoo9`")
                && error.contains("`x`")
                && error.contains("apt-cache search"),
            "{error}"
        );
        let error = explain(
            "x",
            &["curl"],
            ExitStatus::from_raw(0x6400),
            "E: disk full".to_owned(),
        )
        .to_string();
        assert!(error.contains("disk full"), "{error}");
    }
}
