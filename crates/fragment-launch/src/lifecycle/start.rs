//! The start signal.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use fragment_sys::lock::FileLock;
use libcontainer::notify_socket::{NOTIFY_FILE, NotifySocket};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::creation::hook;
use crate::error::LaunchError;
use crate::lifecycle::delete::DEATH;
use crate::lifecycle::signal::SignalNumber;
use crate::records::id::ContainerId;
use crate::records::record::{Place, Record, Stage};
use crate::records::state::{Status, settled_status};
use crate::runtime::Runtime;

impl Runtime {
    /// Starts the program of a created container, and returns when it runs: hooks inside the container have then ended.
    ///
    /// # Errors
    /// When the container is not in the state "created"; when a poststart hook fails, after which the container is stopped.
    pub fn start(&self, id: &ContainerId) -> Result<(), LaunchError> {
        let place = self.place(id);
        let lock = place.lock_life()?;
        let record = place.load_complete()?;
        let status = settled_status(&record);
        if status != Status::Created {
            return Err(LaunchError::Status {
                operation: "start",
                id: record.id,
                status,
            });
        }
        let made = Made {
            place,
            record,
            lock,
        };
        made.start(None)
    }
}

/// A container whose first process waits for the start, and nobody else can do anything to it.
pub(crate) struct Made {
    pub(crate) place: Place,
    /// As it was saved.
    pub(crate) record: Record,
    pub(crate) lock: FileLock,
}

impl Made {
    /// The number of its first process.
    pub(crate) fn pid(&self) -> i32 {
        self.record.init.map_or(0, |init| init.pid)
    }

    /// Starts the program, and waits until it runs, no longer than `patience`.
    pub(crate) fn start(self, patience: Option<Duration>) -> Result<(), LaunchError> {
        let _span = tracing::debug_span!("start").entered();
        let Self {
            place,
            mut record,
            lock,
        } = self;
        // a reader sees the end of those writers only that were there with it
        let waiting = open_waiting(&place);
        notify(&place, &record)?;
        if record.stage != Stage::Started {
            record.stage = Stage::Started;
            place.save(&record)?;
        }
        // a hook may ask for the container's state, or stop it
        drop(lock);
        if let Ok(waiting) = waiting {
            wait_for_program(&waiting, patience);
        }
        hook::run_poststart(&record).inspect_err(|_| {
            // config.md: a failed poststart hook stops the container
            if let Err(error) = stop(&record) {
                tracing::warn!("stop container {}: {error}", record.id);
            }
        })
    }
}

/// Makes what the first process holds open until it has become the program.
pub(crate) fn make_waiting(place: &Place) -> Result<OwnedFd, LaunchError> {
    let path = place.waiting();
    let make = || -> Result<OwnedFd, Errno> {
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        // for reading as well: an open for writing alone would wait for a reader (fifo(7))
        rustix::fs::open(&path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
    };
    make().map_err(|errno| LaunchError::io("make the FIFO", path)(errno.into()))
}

fn open_waiting(place: &Place) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(place.waiting(), flags, Mode::empty())?)
}

/// Until the first process has become the program, or has ended. A signal that is sent before is lost on it: the first process
/// of a PID namespace gets none that it has no handler for (pid_namespaces(7)), and engines send one as soon as start has
/// returned.
fn wait_for_program(waiting: &OwnedFd, patience: Option<Duration>) {
    let _span = tracing::debug_span!("program").entered();
    let timeout = patience.and_then(|patience| Timespec::try_from(patience).ok());
    // nothing is ever written: the only event is the end of the last writer
    let mut fds = [PollFd::new(waiting, PollFlags::IN)];
    while let Err(Errno::INTR) = rustix::event::poll(&mut fds, timeout.as_ref()) {}
}

/// Kills the first process and waits for its end.
fn stop(record: &Record) -> std::io::Result<()> {
    if let Some(init) = record.init
        && let Some(handle) = init.open()?
    {
        handle.signal(SignalNumber::KILL.raw())?;
        handle.wait(DEATH)?;
    }
    Ok(())
}

fn notify(place: &Place, record: &Record) -> Result<(), LaunchError> {
    let socket = place.libcontainer().join(NOTIFY_FILE);
    NotifySocket::new(&socket)
        .notify_container_start()
        .map_err(|error| {
            // the process has ended between the look at it and now
            tracing::debug!("start: {error}");
            LaunchError::Status {
                operation: "start",
                id: record.id.clone(),
                status: Status::Stopped,
            }
        })
}
