//! A process that is what it was: pid and start time together.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};
use serde::{Deserialize, Serialize};

use crate::error::LaunchError;

/// A process as recorded: numbers are given to others when it is gone, start times differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// In the runtime's PID namespace.
    pub(crate) pid: i32,
    /// Clock ticks since boot, /proc/PID/stat field 22 (proc_pid_stat(5)).
    pub(crate) start_time: u64,
}

impl Identity {
    /// Of a process that exists, zombies included.
    pub(crate) fn of(pid: i32) -> io::Result<Self> {
        let (_, start_time) = stat(pid)?;
        Ok(Self { pid, start_time })
    }

    /// As told by a process's own stat file (proc_pid_stat(5)).
    pub(crate) fn parse(stat: &[u8]) -> Option<Self> {
        let (_, start_time) = parse_stat(stat)?;
        let number = stat.split(|byte| *byte == b' ').next()?;
        let pid = std::str::from_utf8(number).ok()?.parse().ok()?;
        Some(Self { pid, start_time })
    }

    /// Whether the process has not ended. A zombie has.
    pub(crate) fn is_alive(self) -> bool {
        stat(self.pid).is_ok_and(|(state, start_time)| {
            start_time == self.start_time && !matches!(state, b'Z' | b'X')
        })
    }

    /// A descriptor of the process; `None` when it has ended.
    pub(crate) fn open(self) -> io::Result<Option<Handle>> {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return Ok(None);
        };
        let pidfd = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(Errno::SRCH | Errno::INVAL) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        // The descriptor pins whoever has the number now; the start time tells whether that is still the one meant.
        Ok(self.is_alive().then_some(Handle(pidfd)))
    }
}

/// The runtime's /proc, wherever it is looked at from: what it calls `self` is whoever asks, with the number that the runtime
/// knows (proc(5)).
#[derive(Debug, Clone)]
pub(crate) struct RuntimesProc(Arc<OwnedFd>);

impl RuntimesProc {
    /// For processes that are cloned from this one.
    pub(crate) fn open() -> Result<Self, LaunchError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let proc = rustix::fs::open("/proc", flags, Mode::empty())
            .map_err(|errno| LaunchError::io("open", "/proc")(errno.into()))?;
        Ok(Self(Arc::new(proc)))
    }

    /// The number of the process that asks.
    pub(crate) fn own_number(&self) -> io::Result<i32> {
        let own = rustix::fs::readlinkat(&self.0, "self", Vec::new())?;
        let own = own.to_str().ok().and_then(|own| own.parse().ok());
        own.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// What [`Identity::parse`] reads, of the process that asks; written to `file`.
    pub(crate) fn write_own_stat(&self, file: &impl AsFd) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let stat = rustix::fs::openat(&self.0, "self/stat", flags, Mode::empty())?;
        // a page, as the kernel writes it (proc_pid_stat(5))
        let mut text = [0; 4096];
        let length = rustix::io::read(stat, &mut text)?;
        rustix::io::write(file, text.get(..length).unwrap_or_default())?;
        Ok(())
    }
}

/// A process that can be signalled and waited for without its number.
#[derive(Debug)]
pub(crate) struct Handle(OwnedFd);

impl Handle {
    /// Sends a signal; `false` when the process has ended.
    pub(crate) fn signal(&self, number: i32) -> io::Result<bool> {
        match fragment_sys::signal::send_to(self.0.as_fd(), number) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Waits for the end; `false` when it did not come within `patience`.
    pub(crate) fn wait(&self, patience: Duration) -> io::Result<bool> {
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        let timeout = Timespec::try_from(patience)
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        loop {
            match rustix::event::poll(&mut fds, Some(&timeout)) {
                Ok(ready) => return Ok(ready > 0),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for Handle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// State letter and start time of a process.
fn stat(pid: i32) -> io::Result<(u8, u64)> {
    let file = File::open(format!("/proc/{pid}/stat"))?;
    // one line of 52 numbers and a name of 64 bytes at most (proc_pid_stat(5)): never more
    let mut text = [0; 2048];
    let length = (&file).read(&mut text)?;
    parse_stat(text.get(..length).unwrap_or_default())
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// The second field is the program's name in parentheses and may hold anything, parentheses included: fields are counted
/// from the last one.
fn parse_stat(text: &[u8]) -> Option<(u8, u64)> {
    let end_of_name = text.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(text.get(end_of_name + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    // field 3 is the state, field 22 the start time
    let start_time = fields.nth(22 - 4)?.parse().ok()?;
    Some((state, start_time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_program_name_does_not_shift_the_fields() {
        let stat = b"7 (a) Z 1 2) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 2 3";
        assert_eq!(parse_stat(stat), Some((b'S', 4242)));
        assert_eq!(parse_stat(b"7 (a) S 1"), None);
        let expected = Identity {
            pid: 7,
            start_time: 4242,
        };
        assert_eq!(Identity::parse(stat), Some(expected));
        assert_eq!(Identity::parse(b""), None);
    }

    #[test]
    fn pid_reuse_is_told_by_the_start_time() {
        let own = Identity::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(own.is_alive());
        let other = Identity {
            start_time: own.start_time + 1,
            ..own
        };
        assert!(!other.is_alive());
        assert!(other.open().unwrap().is_none());
        assert!(own.open().unwrap().unwrap().signal(0).unwrap());
    }
}
