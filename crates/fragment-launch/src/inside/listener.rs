//! Passing the listener of a seccomp filter on (config-linux.md, "The Container Process State").

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use libcontainer::oci_spec::runtime::{LinuxSeccomp, SECCOMP_FD_NAME};
use rustix::fs::{Mode, OFlags};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use crate::error::LaunchError;
use crate::inside::seccomp;
use crate::records::record::Record;
use crate::records::state::{OCI_VERSION, Status};

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
    /// The runtime's /proc: what it calls `self` is the number of whoever asks in the runtime's PID namespace (proc(5)).
    proc: Arc<OwnedFd>,
}

impl Agent {
    /// The agent of a filter that has one.
    pub(crate) fn of(filter: &LinuxSeccomp, record: &Record) -> Result<Option<Self>, LaunchError> {
        if !seccomp::notifies(filter) {
            return Ok(None);
        }
        let path = filter.listener_path().clone().unwrap_or_default();
        let stream = connect(&path).map_err(|source| LaunchError::Agent { path, source })?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let proc = rustix::fs::open("/proc", flags, Mode::empty())
            .map_err(|errno| LaunchError::io("open", "/proc")(errno.into()))?;
        Ok(Some(Self {
            stream: Arc::new(stream),
            state: process_state(filter, record, Status::Creating, 0),
            proc: Arc::new(proc),
        }))
    }

    /// Tells the agent about this process, and hangs up.
    pub(crate) fn tell(&self, listener: BorrowedFd<'_>) -> io::Result<()> {
        let own = rustix::fs::readlinkat(&self.proc, "self", Vec::new())?;
        let own = own.to_str().ok().and_then(|own| own.parse::<i32>().ok());
        let own = own.ok_or(io::ErrorKind::InvalidData)?;
        let mut state = self.state.clone();
        state["pid"] = own.into();
        state["state"]["pid"] = own.into();
        send_on(&self.stream, state.to_string().as_bytes(), listener)?;
        // the runtime has the stream open as well
        self.stream.shutdown(Shutdown::Both)
    }
}

/// Sends one message and one descriptor to whoever listens at `path`, and hangs up.
pub(crate) fn send(path: &Path, message: &[u8], descriptor: BorrowedFd<'_>) -> io::Result<()> {
    send_on(&connect(path)?, message, descriptor)
}

/// Sends one message and one descriptor.
pub(crate) fn send_on(
    stream: &UnixStream,
    message: &[u8],
    descriptor: BorrowedFd<'_>,
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor];
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    let sent = rustix::net::sendmsg(
        stream,
        &[IoSlice::new(message)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    // the descriptor goes with the first byte; a long message can need several writes (unix(7))
    let mut rest = message.get(sent..).unwrap_or_default();
    while !rest.is_empty() {
        let sent = rustix::net::send(stream, rest, SendFlags::NOSIGNAL)?;
        rest = rest.get(sent..).unwrap_or_default();
    }
    Ok(())
}

/// Connects to a socket, whose path may be longer than the 107 bytes an address holds (unix(7)).
pub(crate) fn connect(path: &Path) -> io::Result<UnixStream> {
    if path.as_os_str().len() < 108 {
        return UnixStream::connect(path);
    }
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(directory, flags, Mode::empty())?;
    let opened = format!("/proc/self/fd/{}", directory.as_raw_fd());
    UnixStream::connect(Path::new(&opened).join(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_long_message_arrives_whole_over_a_long_path() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("x".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let path = deep.join("s");
        let directory = std::fs::File::open(&deep).unwrap();
        let short = format!("/proc/self/fd/{}/s", directory.as_raw_fd());
        let listener = UnixListener::bind(short).unwrap();
        let message = vec![b'm'; 1 << 20];
        let expected = message.len();
        let reader = std::thread::spawn(move || {
            let mut read = Vec::new();
            listener.accept().unwrap().0.read_to_end(&mut read).unwrap();
            read.len()
        });
        send(&path, &message, std::io::stdin().as_fd()).unwrap();
        assert_eq!(reader.join().unwrap(), expected);
    }
}
