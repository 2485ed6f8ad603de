//! What a process on its way into a container and the runtime that waits for it say to each other.
//!
//! One message, one packet: a tag and its value, written and read with write(2) and read(2) alone, because a seccomp filter may be
//! in force at one end. The end of the conversation is the program's first instruction: both ends are closed at exec.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::sockets;

/// The longest message; an error's text is cut to it.
const LONGEST: usize = 4096;

/// One end.
#[derive(Debug)]
pub(crate) struct End(OwnedFd);

/// What the process says.
#[derive(Debug)]
pub(crate) enum Report {
    /// Its number in the runtime's PID namespace.
    Number(i32),
    /// Its terminal's other side.
    Terminal(OwnedFd),
    /// Everything is done but the filter and exec.
    Ready,
    /// A filter is in force; the number of its listener in the process.
    Filter(i32),
    /// A step failed.
    Failed(String),
}

/// Two connected ends.
pub(crate) fn pair() -> io::Result<(End, End)> {
    let (ours, its) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    Ok((End(ours), End(its)))
}

impl End {
    /// Says something without a descriptor.
    pub(crate) fn say(&self, report: &Report) -> io::Result<()> {
        match report {
            Report::Number(pid) => self.write(b'n', &pid.to_ne_bytes()),
            Report::Ready => self.write(b'r', &[]),
            Report::Filter(number) => self.write(b'f', &number.to_ne_bytes()),
            Report::Failed(text) => self.write(b'e', text.as_bytes()),
            Report::Terminal(master) => sockets::send_on(&self.0, b"t", master.as_fd()),
        }
    }

    /// The next report; `None` when the other side has become another program, or has ended.
    pub(crate) fn hear(&self) -> io::Result<Option<Report>> {
        let mut buffer = [0; LONGEST];
        let (told, descriptor) = sockets::receive(&self.0, &mut buffer)?;
        let Some((tag, value)) = told.split_first() else {
            return Ok(None);
        };
        let number = || {
            value
                .first_chunk()
                .map(|bytes| i32::from_ne_bytes(*bytes))
                .ok_or_else(garbled)
        };
        Ok(Some(match (tag, descriptor) {
            (b'n', _) => Report::Number(number()?),
            (b'r', _) => Report::Ready,
            (b'f', _) => Report::Filter(number()?),
            (b'e', _) => Report::Failed(String::from_utf8_lossy(value).into_owned()),
            (b't', Some(master)) => Report::Terminal(master),
            _ => return Err(garbled()),
        }))
    }

    /// Lets the process go on.
    pub(crate) fn allow(&self) -> io::Result<()> {
        self.write(b'g', &[])
    }

    /// Waits until it is allowed to go on; an error when the runtime is gone.
    pub(crate) fn await_leave(&self) -> io::Result<()> {
        let mut buffer = [0; 1];
        match retried(|| rustix::io::read(&self.0, &mut buffer))? {
            0 => Err(io::ErrorKind::BrokenPipe.into()),
            _ => Ok(()),
        }
    }

    /// An error when the runtime is gone.
    pub(crate) fn check(&self) -> io::Result<()> {
        let mut fds = [PollFd::new(&self.0, PollFlags::empty())];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        retried(|| rustix::event::poll(&mut fds, Some(&now)))?;
        if fds.iter().any(|fd| fd.revents().contains(PollFlags::HUP)) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(())
    }

    fn write(&self, tag: u8, value: &[u8]) -> io::Result<()> {
        let mut message = [0; LONGEST];
        let length = value.len().min(LONGEST - 1);
        message[0] = tag;
        message[1..=length].copy_from_slice(&value[..length]);
        retried(|| rustix::io::write(&self.0, &message[..=length])).map(drop)
    }
}

fn retried<T>(mut call: impl FnMut() -> Result<T, Errno>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

fn garbled() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_heard_in_order_and_the_end_too() {
        let (ours, its) = pair().unwrap();
        let null = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        its.say(&Report::Number(7)).unwrap();
        its.say(&Report::Terminal(null)).unwrap();
        its.say(&Report::Ready).unwrap();
        its.say(&Report::Failed("x".repeat(2 * LONGEST))).unwrap();
        assert!(matches!(ours.hear().unwrap(), Some(Report::Number(7))));
        assert!(matches!(ours.hear().unwrap(), Some(Report::Terminal(_))));
        assert!(matches!(ours.hear().unwrap(), Some(Report::Ready)));
        let Some(Report::Failed(text)) = ours.hear().unwrap() else {
            panic!("the error's text")
        };
        assert_eq!(text.len(), LONGEST - 1);
        ours.allow().unwrap();
        its.await_leave().unwrap();
        its.check().unwrap();
        drop(its);
        assert!(ours.hear().unwrap().is_none());
    }

    #[test]
    fn a_process_notices_that_its_runtime_is_gone() {
        let (ours, its) = pair().unwrap();
        drop(ours);
        assert!(its.await_leave().is_err());
        assert!(its.check().is_err());
    }
}
