//! What a program that creates containers does before anything else.

use std::io;

use thiserror::Error;

use crate::creation::hook::{self, HookStartError};

/// Why a program cannot begin.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BeginError {
    /// It was called as a hook and the hook could not be started.
    #[error(transparent)]
    Hook(#[from] HookStartError),
    /// It could not be put out of containers' reach.
    #[error("make the runtime's program unwritable for containers (CVE-2019-5736)")]
    Protect(#[source] io::Error),
}

/// To be called first thing in `main`, while there is one thread. `enters_containers`: whether a process of this run will
/// enter a container (create, run, exec), so that the program has to be protected from what is inside.
///
/// # Errors
/// As [`BeginError`]; the program then ends.
pub fn begin(enters_containers: bool) -> Result<(), BeginError> {
    hook::serve()?;
    discard_stale_activation();
    fragment_sys::signal::keep_children();
    if enters_containers {
        fragment_sys::program::protect().map_err(BeginError::Protect)?;
    }
    Ok(())
}

/// Forgets sockets that were handed to another process: libcontainer passes LISTEN_FDS on without looking whom it is for, and
/// an engine that was socket-activated itself leaves the variables in our environment (sd_listen_fds(3)).
fn discard_stale_activation() {
    let ours = std::env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
    if !ours {
        for name in ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"] {
            fragment_sys::process::remove_variable(name);
        }
    }
}
