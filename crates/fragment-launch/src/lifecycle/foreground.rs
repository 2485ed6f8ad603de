//! Waiting for a container in the foreground: its exit code is ours, our signals are its.
//!
//! All signals are blocked *before* the container is made, so the end of one that ends at once is still seen: youki's `run`
//! begins to listen after the start and hangs for ever on a fast `true`.

use std::io;
use std::time::{Duration, Instant};

use fragment_sys::signal::SignalFile;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};

use crate::error::LaunchError;
use crate::lifecycle::console::Relay;
use crate::lifecycle::signal::SignalNumber;
use crate::records::process::{Handle, Identity};

/// The exit code of a program that was stopped by a time limit, as of timeout(1).
const TIMED_OUT: i32 = 124;

/// Signals held back, ready to wait.
#[derive(Debug)]
pub(crate) struct Foreground {
    signals: SignalFile,
}

impl Foreground {
    /// Blocks signals and, unless told not to, becomes the parent of orphans of the container (prctl(2),
    /// PR_SET_CHILD_SUBREAPER): without a PID namespace of its own nobody else would reap them.
    pub(crate) fn prepare(subreaper: bool) -> Result<Self, LaunchError> {
        let signals = SignalFile::block().map_err(LaunchError::system("block signals"))?;
        if subreaper {
            let own = rustix::process::getpid();
            rustix::process::set_child_subreaper(Some(own))
                .map_err(|errno| LaunchError::system("become subreaper")(errno.into()))?;
        }
        Ok(Self { signals })
    }

    /// Waits for the process, a child of this one, and gives its exit code: 128 and the signal's number when one ended it,
    /// 124 when it was killed because the limit was reached.
    pub(crate) fn wait(
        mut self,
        init: i32,
        mut relay: Option<Relay>,
        limit: Option<Duration>,
    ) -> Result<i32, LaunchError> {
        let _span = tracing::debug_span!("wait").entered();
        let process = Identity::of(init)
            .and_then(Identity::open)
            .map_err(LaunchError::system("open the process"))?;
        let mut deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        let mut late = false;
        loop {
            // a child that has ended before the first look is a zombie and found here
            if let Some(code) = reap(init).map_err(LaunchError::system("wait for the process"))? {
                if let Some(relay) = &mut relay {
                    relay.drain();
                }
                return Ok(if late { TIMED_OUT } else { code });
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                (late, deadline) = (true, None);
                if let Some(process) = &process {
                    let kill = process.signal(SignalNumber::KILL.raw());
                    kill.map_err(LaunchError::system("kill the process"))?;
                }
                continue;
            }
            self.sleep(relay.as_ref(), left)
                .map_err(LaunchError::system("poll"))?;
            if let Some(relay) = &mut relay {
                relay.transfer();
            }
            while let Some(number) = self
                .signals
                .read_next()
                .map_err(LaunchError::system("read signals"))?
            {
                self.pass_on(number, process.as_ref(), relay.as_mut());
            }
        }
    }

    fn sleep(&self, relay: Option<&Relay>, longest: Option<Duration>) -> io::Result<()> {
        let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
        let mut longest = longest;
        if let Some(relay) = relay {
            let (interests, pause) = relay.interests();
            let interests = interests.into_iter();
            fds.extend(interests.map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)));
            longest = longest.into_iter().chain(pause).min();
        }
        let timeout = longest.and_then(|longest| Timespec::try_from(longest).ok());
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn pass_on(&self, number: i32, process: Option<&Handle>, relay: Option<&mut Relay>) {
        let is = |signal: Signal| number == signal.as_raw();
        if is(Signal::CHILD) || is(Signal::PIPE) {
            return;
        }
        match relay {
            Some(relay) if is(Signal::WINCH) => return relay.resize(),
            Some(relay) if is(Signal::CONT) => relay.resume(),
            _ => {}
        }
        if let Some(process) = process {
            // a process that has just ended needs no signal
            let _ = process.signal(number);
        }
    }
}

/// How a child of ours ended; `None` when it has not, or is none.
pub(crate) fn ended(process: i32) -> Option<i32> {
    reap(process).ok().flatten()
}

/// Reaps every child that has ended; the exit code when `init` was among them.
fn reap(init: i32) -> io::Result<Option<i32>> {
    let mut code = None;
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                if Some(pid) == Pid::from_raw(init) {
                    code = Some(exit_code(status));
                }
            }
            Ok(None) | Err(Errno::CHILD) => return Ok(code),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn exit_code(status: WaitStatus) -> i32 {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 255,
    }
}
