//! A terminal for a container in the foreground: the container's pseudo-terminal on one side, ours on the other.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios};

use crate::error::LaunchError;
use crate::sockets;

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

/// Somebody else's, who takes a terminal of ours: an engine behind `--console-socket`.
#[derive(Debug)]
pub(crate) struct ConsoleSocket(UnixStream);

impl ConsoleSocket {
    /// Connects to the one that is named.
    pub(crate) fn connect(path: Option<&Path>) -> Result<Option<Self>, LaunchError> {
        let connect = |path: &Path| {
            sockets::connect(path).map_err(LaunchError::io("connect to console socket", path))
        };
        Ok(path.map(connect).transpose()?.map(Self))
    }

    /// Hands the terminal's other side over.
    pub(crate) fn send(&self, master: &OwnedFd) -> Result<(), LaunchError> {
        sockets::send_on(&self.0, b"/dev/ptmx", master.as_fd()).map_err(LaunchError::system(
            "send the terminal to the console socket",
        ))
    }
}

fn receive(stream: &impl AsFd) -> io::Result<OwnedFd> {
    let (_, descriptor) = sockets::receive(stream, &mut [0; 128])?;
    descriptor.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// Gives a terminal the size of ours, where ours is one.
pub(crate) fn copy_size(master: &OwnedFd) {
    if let Ok(size) = rustix::termios::tcgetwinsize(rustix::stdio::stdin()) {
        // a terminal that has just been hung up has no size to set
        let _ = rustix::termios::tcsetwinsize(master, size);
    }
}

/// Our terminal in raw mode: what is typed goes to the container's, which gives it its meaning. One a process.
#[derive(Debug)]
struct RawMode(());

/// How our terminal was before; kept where a panic finds it.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

impl RawMode {
    /// `None` when our input is no terminal.
    fn enter() -> Result<Option<Self>, Errno> {
        let stdin = rustix::stdio::stdin();
        if !rustix::termios::isatty(stdin) {
            return Ok(None);
        }
        let saved = rustix::termios::tcgetattr(stdin)?;
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // a release build ends here, without running destructors
            restore();
            before(panic);
        }));
        *SAVED.lock().unwrap_or_else(PoisonError::into_inner) = Some(saved);
        let mode = Self(());
        mode.renew()?;
        Ok(Some(mode))
    }

    /// Once more: a shell puts its own mode back when it had this process stopped.
    fn renew(&self) -> Result<(), Errno> {
        let stdin = rustix::stdio::stdin();
        let mut raw = rustix::termios::tcgetattr(stdin)?;
        raw.make_raw();
        rustix::termios::tcsetattr(stdin, OptionalActions::Now, &raw)
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    let saved = SAVED.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(saved) = saved {
        let _ = rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &saved);
    }
}

/// Most that is moved at once: signals are looked at in between, and a pipe that is ready takes as much without waiting (pipe(7),
/// PIPE_BUF).
const CHUNK: usize = 4096;
/// Most that can be left in a terminal whose program has ended is 64 KiB; others may go on writing to it.
const MOST_LEFT: usize = 1 << 20;
/// How often a terminal that no program has open is looked at again: it cannot be waited for.
const HUNG_UP: Duration = Duration::from_millis(100);

/// Bytes on their way between our terminal and the container's.
#[derive(Debug)]
pub(crate) struct Relay {
    master: OwnedFd,
    raw: Option<RawMode>,
    to_container: Vec<u8>,
    to_us: Vec<u8>,
    input: Input,
    /// No program has the container's side open at the moment.
    hung_up: bool,
}

/// What has become of our input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    Open,
    /// We are not in our terminal's foreground.
    Background,
    Ended,
}

impl Relay {
    /// Connects our terminal to the program's.
    pub(crate) fn new(master: OwnedFd) -> Result<Self, LaunchError> {
        let fail =
            |errno: Errno| LaunchError::system("prepare the container's terminal")(errno.into());
        rustix::io::ioctl_fionbio(&master, true).map_err(fail)?;
        let relay = Self {
            master,
            raw: RawMode::enter().map_err(fail)?,
            to_container: Vec::new(),
            to_us: Vec::new(),
            input: Input::Open,
            hung_up: false,
        };
        relay.resize();
        Ok(relay)
    }

    /// Gives the container's terminal the size of ours, where ours is one.
    pub(crate) fn resize(&self) {
        copy_size(&self.master);
    }

    /// Goes on after this process was stopped, or put into the foreground (SIGCONT).
    pub(crate) fn resume(&mut self) {
        if let Some(raw) = &self.raw {
            // a terminal that is gone has no mode
            let _ = raw.renew();
        }
        if self.input == Input::Background {
            self.input = Input::Open;
        }
        self.resize();
    }

    /// What to wait for, and how long at most.
    pub(crate) fn interests(&self) -> (Vec<(BorrowedFd<'_>, PollFlags)>, Option<Duration>) {
        let mut interests = Vec::new();
        let mut master = PollFlags::empty();
        if self.to_us.is_empty() {
            master |= PollFlags::IN;
        } else {
            interests.push((rustix::stdio::stdout(), PollFlags::OUT));
        }
        if !self.to_container.is_empty() {
            master |= PollFlags::OUT;
        }
        if self.hung_up {
            return (interests, Some(HUNG_UP));
        }
        if !master.is_empty() {
            interests.push((self.master.as_fd(), master));
        }
        if self.input == Input::Open && self.to_container.is_empty() {
            interests.push((rustix::stdio::stdin(), PollFlags::IN));
        }
        (interests, None)
    }

    /// Moves what can be moved without waiting.
    pub(crate) fn transfer(&mut self) {
        self.read_output();
        if !self.to_us.is_empty() && is_ready(rustix::stdio::stdout(), PollFlags::OUT) {
            self.write_output();
        }
        self.read_input();
        if let Ok(written) = rustix::io::write(&self.master, &self.to_container) {
            self.to_container.drain(..written);
        }
    }

    /// The output left when the program has ended. Everything it wrote is there by now: a read that finds nothing has waited for
    /// the kernel's own buffers (tty_buffer_flush_work in n_tty_read).
    pub(crate) fn drain(&mut self) {
        let mut moved = 0;
        while moved < MOST_LEFT {
            while !self.to_us.is_empty() {
                wait_for_output();
                moved += self.write_output();
            }
            self.read_output();
            if self.to_us.is_empty() {
                return;
            }
        }
    }

    fn read_output(&mut self) {
        if !self.to_us.is_empty() {
            return;
        }
        let mut buffer = [0; CHUNK];
        match rustix::io::read(&self.master, &mut buffer) {
            Ok(read) => {
                self.hung_up = false;
                self.to_us.extend_from_slice(&buffer[..read]);
            }
            // how a pseudo-terminal says that the other side is closed (pty(7))
            Err(Errno::IO) => self.hung_up = true,
            Err(_) => {}
        }
    }

    /// Writes some of the output; how much of it is gone.
    fn write_output(&mut self) -> usize {
        let gone = match rustix::io::write(rustix::stdio::stdout(), &self.to_us) {
            Ok(written) => written,
            Err(Errno::INTR | Errno::AGAIN) => 0,
            // nobody reads our output any more: the program's goes nowhere
            Err(_) => self.to_us.len(),
        };
        self.to_us.drain(..gone);
        gone
    }

    fn read_input(&mut self) {
        let stdin = rustix::stdio::stdin();
        let wanted = self.input == Input::Open && self.to_container.is_empty();
        if !wanted || !is_ready(stdin, PollFlags::IN) {
            return;
        }
        let mut buffer = [0; CHUNK];
        match rustix::io::read(stdin, &mut buffer) {
            Ok(read) if read > 0 => self.to_container.extend_from_slice(&buffer[..read]),
            Err(Errno::INTR | Errno::AGAIN) => {}
            // what a process in the background gets that cannot be stopped for it (SIGTTIN, termios(3))
            Err(Errno::IO) if self.raw.is_some() && rustix::termios::tcgetpgrp(stdin).is_ok() => {
                self.input = Input::Background;
            }
            // end of our input is end of file for the program: the terminal's EOF character
            _ => {
                self.input = Input::Ended;
                self.to_container.push(4);
            }
        }
    }
}

fn is_ready(descriptor: BorrowedFd<'_>, flags: PollFlags) -> bool {
    let mut fds = [rustix::event::PollFd::new(&descriptor, flags)];
    let now = rustix::event::Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    rustix::event::poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
}

fn wait_for_output() {
    let stdout = rustix::stdio::stdout();
    let mut fds = [rustix::event::PollFd::new(&stdout, PollFlags::OUT)];
    // an interrupted wait is one more turn of the caller's loop
    let _ = rustix::event::poll(&mut fds, None);
}
