//! The tries of [`fragment::kernel`], in a process of their own.

use std::io;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use fragment::kernel::{self, Tried};

/// Makes all tries; `store` is the library's directory.
pub(crate) fn all(store: &Path) -> Tried {
    let run = || -> io::Result<Tried> {
        let output = Command::new("/proc/self/exe")
            .args(["doctor", "--attempt"])
            .arg(store)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()?;
        serde_json::from_slice(&output.stdout).map_err(io::Error::from)
    };
    run().unwrap_or_else(|error| Tried {
        failure: Some(error.to_string()),
        ..Tried::default()
    })
}

/// The process of the tries: prints what came of them.
pub(crate) fn make(store: &Path) -> anyhow::Result<ExitCode> {
    println!("{}", serde_json::to_string(&kernel::try_all(store))?);
    Ok(ExitCode::SUCCESS)
}
