//! Being told when a container runs out of memory, and when its cgroup goes.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fragment_sys::file;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify;
use rustix::io::Errno as Code;

use crate::error::CgroupError;
use crate::gauge::Gauge;
use crate::group::{Cgroup, write};
use crate::layout::Kind;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// A process was killed, or waits, for want of memory.
    OutOfMemory,
    /// The cgroup is gone, or nothing is in it any more.
    Gone,
    /// Nothing, in the time given.
    Nothing,
}

/// A watch over a container's memory.
#[derive(Debug)]
pub struct Watch {
    events: OwnedFd,
    kind: Watched,
}

#[derive(Debug)]
enum Watched {
    /// eventfd and the file it was registered for, which has to stay open (memory.rst)
    Legacy { control: PathBuf, _file: File },
    /// inotify and what was counted so far
    Unified { directory: PathBuf, killed: u64 },
}

impl Cgroup {
    /// Watches for a lack of memory from now on.
    ///
    /// # Errors
    /// When there is no memory controller, or the kernel refuses.
    pub fn watch(&self) -> Result<Watch, CgroupError> {
        let directory = self.directory("memory").ok_or(CgroupError::NoMemory)?;
        if self.kind == Kind::Unified {
            watch_unified(directory)
        } else {
            watch_legacy(directory)
        }
    }
}

fn watch_legacy(directory: &Path) -> Result<Watch, CgroupError> {
    let path = directory.join("memory.oom_control");
    let file = File::open(&path).map_err(|error| CgroupError::read(&path, error))?;
    let events = eventfd(0, EventfdFlags::CLOEXEC)
        .map_err(|error| CgroupError::read(&path, error.into()))?;
    let control = directory.join("cgroup.event_control");
    let line = format!("{} {}", events.as_raw_fd(), file.as_raw_fd());
    write(&control, &line)?;
    Ok(Watch {
        events,
        kind: Watched::Legacy {
            control,
            _file: file,
        },
    })
}

fn watch_unified(directory: &Path) -> Result<Watch, CgroupError> {
    let fail = |path: &Path| {
        let path = path.to_owned();
        move |error: Code| CgroupError::read(&path, error.into())
    };
    let events = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
        .map_err(fail(directory))?;
    // cgroup.events tells when the last process has gone
    for file in ["memory.events", "cgroup.events"] {
        let path = directory.join(file);
        inotify::add_watch(&events, &path, inotify::WatchFlags::MODIFY).map_err(fail(&path))?;
    }
    Ok(Watch {
        events,
        kind: Watched::Unified {
            directory: directory.to_owned(),
            killed: killed(directory)?,
        },
    })
}

fn killed(directory: &Path) -> Result<u64, CgroupError> {
    let events = Gauge(directory).table("memory.events")?;
    Ok(events.get("oom_kill").copied().unwrap_or(0))
}

impl Watch {
    /// Waits for the next notice, at most so long.
    ///
    /// # Errors
    /// As poll(2) and read(2).
    pub fn wait(&mut self, patience: Duration) -> Result<Notice, CgroupError> {
        let fail = |error: Code| CgroupError::read(Path::new("/proc/self/fd"), error.into());
        let timeout = Timespec::try_from(patience).unwrap_or(Timespec {
            tv_sec: i64::from(i32::MAX),
            tv_nsec: 0,
        });
        let mut fds = [PollFd::new(&self.events, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) | Err(Code::INTR) => return Ok(Notice::Nothing),
            Ok(_) => {}
            Err(error) => return Err(fail(error)),
        }
        // eight bytes of an eventfd, or some events of inotify, whose content says nothing new
        let mut buffer = [0_u8; 4096];
        match rustix::io::read(self.events.as_fd(), &mut buffer) {
            Ok(_) | Err(Code::AGAIN | Code::INTR) => {}
            Err(error) => return Err(fail(error)),
        }
        match &mut self.kind {
            // removing the cgroup sends an event too
            Watched::Legacy { control, .. } if !control.exists() => Ok(Notice::Gone),
            Watched::Legacy { .. } => Ok(Notice::OutOfMemory),
            Watched::Unified {
                directory,
                killed: before,
            } => look(directory, before),
        }
    }
}

fn look(directory: &Path, before: &mut u64) -> Result<Notice, CgroupError> {
    let now = killed(directory)?;
    if now > *before {
        *before = now;
        return Ok(Notice::OutOfMemory);
    }
    match file::read_text(directory.join("cgroup.events")) {
        Ok(text) if text.lines().any(|line| line == "populated 1") => Ok(Notice::Nothing),
        // ENOENT and ENODEV: removed
        Ok(_) | Err(_) => Ok(Notice::Gone),
    }
}
