//! A terminal for a container in the foreground: the container's pseudo-terminal on one side, ours on the other.

use std::fs;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::event::PollFlags;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::termios::{OptionalActions, Termios};

use crate::error::LaunchError;

const SOCKET: &str = "console.sock";

/// Where the container sends its side.
#[derive(Debug)]
pub(crate) struct Console {
    listener: UnixListener,
    path: PathBuf,
}

impl Console {
    /// Listens in `directory`.
    pub(crate) fn listen(directory: &Path) -> Result<Self, LaunchError> {
        let path = directory.join(SOCKET);
        let fail = |error: io::Error| LaunchError::io("listen on", path.clone())(error);
        let opened = rustix::fs::open(
            directory,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|errno| fail(errno.into()))?;
        // a socket's path is limited to 108 bytes (unix(7)), a state directory's is not
        let short = format!("/proc/self/fd/{}/{SOCKET}", opened.as_raw_fd());
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(short).map_err(fail)?;
        Ok(Self { listener, path })
    }

    /// For libcontainer.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the container's side, which has been sent by the time create has succeeded, and connects our terminal.
    pub(crate) fn accept(self) -> Result<Relay, LaunchError> {
        let fail = LaunchError::system("receive the container's terminal");
        let received = self
            .listener
            .accept()
            .and_then(|(stream, _)| receive(&stream));
        let _ = fs::remove_file(&self.path);
        Relay::new(received.map_err(fail)?)
    }
}

fn receive(stream: &impl AsFd) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0; 128];
    rustix::net::recvmsg(
        stream,
        &mut [IoSliceMut::new(&mut name)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    descriptor.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
}

/// Bytes on their way between our terminal and the container's.
#[derive(Debug)]
pub(crate) struct Relay {
    master: OwnedFd,
    saved: Option<Termios>,
    to_container: Vec<u8>,
    input_open: bool,
}

impl Relay {
    fn new(master: OwnedFd) -> Result<Self, LaunchError> {
        let fail =
            |errno: Errno| LaunchError::system("prepare the container's terminal")(errno.into());
        rustix::io::ioctl_fionbio(&master, true).map_err(fail)?;
        let stdin = rustix::stdio::stdin();
        let saved = if rustix::termios::isatty(stdin) {
            let saved = rustix::termios::tcgetattr(stdin).map_err(fail)?;
            let mut raw = saved.clone();
            raw.make_raw();
            rustix::termios::tcsetattr(stdin, OptionalActions::Now, &raw).map_err(fail)?;
            Some(saved)
        } else {
            None
        };
        let relay = Self {
            master,
            saved,
            to_container: Vec::new(),
            input_open: true,
        };
        relay.resize();
        Ok(relay)
    }

    /// Gives the container's terminal the size of ours, where ours is one.
    pub(crate) fn resize(&self) {
        if let Ok(size) = rustix::termios::tcgetwinsize(rustix::stdio::stdin()) {
            // a terminal that has just been hung up has no size to set
            let _ = rustix::termios::tcsetwinsize(&self.master, size);
        }
    }

    /// What to wait for.
    pub(crate) fn interests(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        let mut master = PollFlags::IN;
        if !self.to_container.is_empty() {
            master |= PollFlags::OUT;
        }
        let mut interests = vec![(self.master.as_fd(), master)];
        if self.input_open && self.to_container.is_empty() {
            interests.push((rustix::stdio::stdin(), PollFlags::IN));
        }
        interests
    }

    /// Moves what can be moved without waiting for input.
    pub(crate) fn transfer(&mut self) {
        self.output();
        let mut buffer = [0; 4096];
        if self.input_open && self.to_container.is_empty() && readable(rustix::stdio::stdin()) {
            match rustix::io::read(rustix::stdio::stdin(), &mut buffer) {
                Ok(read) if read > 0 => self.to_container.extend_from_slice(&buffer[..read]),
                Err(Errno::INTR | Errno::AGAIN) => {}
                // end of our input is end of file for the program: the terminal's EOF character
                _ => {
                    self.input_open = false;
                    self.to_container.push(4);
                }
            }
        }
        if let Ok(written) = rustix::io::write(&self.master, &self.to_container) {
            self.to_container.drain(..written);
        }
    }

    /// The output left when the program has ended.
    pub(crate) fn drain(&mut self) {
        self.output();
    }

    fn output(&self) {
        let mut buffer = [0; 16 << 10];
        // EIO is how a pseudo-terminal says that the other side is closed (pty(7))
        while let Ok(read @ 1..) = rustix::io::read(&self.master, &mut buffer) {
            let mut rest = &buffer[..read];
            while !rest.is_empty() {
                match rustix::io::write(rustix::stdio::stdout(), rest) {
                    Ok(written) => rest = &rest[written..],
                    Err(Errno::INTR) => {}
                    // nobody reads our output any more: the program's goes nowhere
                    Err(_) => return,
                }
            }
        }
    }
}

fn readable(descriptor: BorrowedFd<'_>) -> bool {
    let mut fds = [rustix::event::PollFd::new(&descriptor, PollFlags::IN)];
    let now = rustix::event::Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    rustix::event::poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(saved) = &self.saved {
            let _ = rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, saved);
        }
    }
}
