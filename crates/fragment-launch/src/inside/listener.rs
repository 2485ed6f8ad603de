//! Passing the listener of a seccomp filter on (config-linux.md, "The Container Process State").

use std::io;
use std::net::Shutdown;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use libcontainer::oci_spec::runtime::{LinuxSeccomp, SECCOMP_FD_NAME};

use crate::error::LaunchError;
use crate::inside::seccomp;
use crate::records::process::RuntimesProc;
use crate::records::record::Record;
use crate::records::state::{OCI_VERSION, Status};
use crate::sockets;

/// What the agent behind a listener is told.
pub(crate) fn process_state(
    filter: &LinuxSeccomp,
    record: &Record,
    status: Status,
    pid: i32,
) -> serde_json::Value {
    serde_json::json!({
        "ociVersion": OCI_VERSION,
        "fds": [SECCOMP_FD_NAME],
        "pid": pid,
        "metadata": filter.listener_metadata().clone().unwrap_or_default(),
        "state": {
            "ociVersion": OCI_VERSION,
            "id": record.id,
            "status": status,
            "pid": record.init.map_or(0, |init| init.pid),
            "bundle": record.bundle,
            "annotations": record.annotations,
        },
    })
}

/// The agent that gets the listener of a container's filter from inside the container: connected to, and its message written,
/// where its socket's path can be reached.
#[derive(Debug, Clone)]
pub(crate) struct Agent {
    stream: Arc<UnixStream>,
    state: serde_json::Value,
    proc: RuntimesProc,
}

impl Agent {
    /// The agent of a filter that has one.
    pub(crate) fn of(filter: &LinuxSeccomp, record: &Record) -> Result<Option<Self>, LaunchError> {
        if !seccomp::notifies(filter) {
            return Ok(None);
        }
        let path = filter.listener_path().clone().unwrap_or_default();
        let stream =
            sockets::connect(&path).map_err(|source| LaunchError::Agent { path, source })?;
        Ok(Some(Self {
            stream: Arc::new(stream),
            state: process_state(filter, record, Status::Creating, 0),
            proc: RuntimesProc::open()?,
        }))
    }

    /// Tells the agent about this process, and hangs up.
    pub(crate) fn tell(&self, listener: BorrowedFd<'_>) -> io::Result<()> {
        let own = self.proc.own_number()?;
        let mut state = self.state.clone();
        state["pid"] = own.into();
        state["state"]["pid"] = own.into();
        sockets::send_on(&self.stream, state.to_string().as_bytes(), listener)?;
        // the runtime has the stream open as well
        self.stream.shutdown(Shutdown::Both)
    }
}
