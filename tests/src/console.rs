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
        let (_, mut files) = self.message();
        assert_eq!(
            files.len(),
            1,
            "one file descriptor comes through the console socket"
        );
        Terminal {
            master: files.remove(0),
            seen: String::new(),
        }
    }

    /// Receives what is sent with the next connection, to its end: text and descriptors.
    ///
    /// # Panics
    /// When nobody sends anything.
    #[must_use]
    pub fn message(&self) -> (String, Vec<File>) {
        assert!(
            readable(&self.listener, LIMIT),
            "nobody connected to the socket"
        );
        let (mut stream, _) = self.listener.accept().expect("accept on the socket");
        assert!(readable(&stream, LIMIT), "nothing came through the socket");
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut text = vec![0; 4096];
        let received = recvmsg(
            &stream,
            &mut [IoSliceMut::new(&mut text)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        )
        .expect("recvmsg on the socket");
        text.truncate(received.bytes);
        let mut files = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                files.extend(rights.map(File::from));
            }
        }
        stream.read_to_end(&mut text).expect("read from the socket");
        (String::from_utf8_lossy(&text).into_owned(), files)
    }
}

/// A pty's master end.
#[derive(Debug)]
pub struct Terminal {
    master: File,
    seen: String,
}

impl Terminal {
    /// A new one of the host's, and the other end: what a person sits at.
    ///
    /// # Panics
    /// When the host has no pseudo-terminals.
    #[must_use]
    pub fn new(rows: u16, columns: u16) -> (Self, File) {
        use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).expect("open a pty");
        unlockpt(&master).expect("unlock the pty");
        let end = ioctl_tiocgptpeer(&master, flags).expect("open the pty's other end");
        let terminal = Self {
            master: master.into(),
            seen: String::new(),
        };
        terminal.resize(rows, columns);
        (terminal, end.into())
    }

    /// Whether lines are edited and echoed here, as a shell leaves a terminal.
    ///
    /// # Panics
    /// When the pty does not tell.
    #[must_use]
    pub fn is_cooked(&self) -> bool {
        use rustix::termios::LocalModes;
        let modes = rustix::termios::tcgetattr(&self.master).expect("ask the pty");
        (modes.local_modes).contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    /// Reads to the end: until nobody has the other end open.
    ///
    /// # Panics
    /// When too much time goes by before.
    pub fn read_to_end(&mut self) -> &str {
        let deadline = Instant::now() + LIMIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(readable(&self.master, left), "the pty stays open");
            let mut buffer = [0; 65536];
            match self.master.read(&mut buffer) {
                Ok(0) | Err(_) => return &self.seen,
                Ok(count) => self
                    .seen
                    .push_str(&String::from_utf8_lossy(&buffer[..count])),
            }
        }
    }

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
