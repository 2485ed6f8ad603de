//! The engine's end of `--console-socket`: a listening socket that is sent the container's pty.

use std::fs::File;
use std::io::{IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::child::LIMIT;

/// A listening console socket.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Listens at `path`.
    ///
    /// # Panics
    /// When it cannot, for instance because `path` has more than 107 bytes (unix(7)).
    #[must_use]
    pub fn bind(path: PathBuf) -> Self {
        let listener = UnixListener::bind(&path).expect("bind the console socket");
        Self { listener, path }
    }

    /// The path for `--console-socket`.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Receives the pty's master end, as conmon and containerd's shim do.
    ///
    /// # Panics
    /// When nobody sends one.
    #[must_use]
    pub fn terminal(&self) -> Terminal {
        assert!(
            readable(&self.listener, LIMIT),
            "nobody connected to the console socket"
        );
        let (stream, _) = self
            .listener
            .accept()
            .expect("accept on the console socket");
        assert!(
            readable(&stream, LIMIT),
            "nothing came through the console socket"
        );
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut name = [0; 4096];
        recvmsg(
            &stream,
            &mut [IoSliceMut::new(&mut name)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        )
        .expect("recvmsg on the console socket");
        let mut fds = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        assert_eq!(
            fds.len(),
            1,
            "one file descriptor comes through the console socket"
        );
        Terminal {
            master: fds.remove(0).into(),
            seen: String::new(),
        }
    }
}

/// A pty's master end.
#[derive(Debug)]
pub struct Terminal {
    master: File,
    seen: String,
}

impl Terminal {
    /// Types `text`.
    ///
    /// # Panics
    /// When the pty takes no input.
    pub fn write(&mut self, text: &str) {
        self.master
            .write_all(text.as_bytes())
            .expect("write to the pty");
    }

    /// Reads until the output so far holds `text`.
    ///
    /// # Panics
    /// When the pty is closed or too much time goes by before.
    pub fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + LIMIT;
        while !self.seen.contains(text) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                readable(&self.master, left),
                "no {text:?} on the pty, only {:?}",
                self.seen
            );
            let mut buffer = [0; 4096];
            match self.master.read(&mut buffer) {
                // EIO: the last process has closed the other end (pty(7))
                Ok(0) | Err(_) => {
                    panic!("the pty was closed before {text:?}, after {:?}", self.seen)
                }
                Ok(count) => self
                    .seen
                    .push_str(&String::from_utf8_lossy(&buffer[..count])),
            }
        }
    }

    /// Forgets the output so far.
    pub fn forget(&mut self) {
        self.seen.clear();
    }

    /// Sets the window size.
    ///
    /// # Panics
    /// When the pty refuses it.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = rustix::termios::Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(&self.master, size).expect("resize the pty");
    }
}

fn readable(fd: &impl std::os::fd::AsFd, limit: Duration) -> bool {
    let timeout = Timespec {
        tv_sec: i64::try_from(limit.as_secs()).expect("a limit in seconds"),
        tv_nsec: limit.subsec_nanos().into(),
    };
    poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&timeout)).is_ok_and(|count| count > 0)
}
