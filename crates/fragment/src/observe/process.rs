//! The observer's processes.
//!
//! A keeper takes the listeners the runtime sends, one for the container and one for each `exec`, and makes a watcher for each.
//! It holds every listener open as well: when a watcher is killed, it makes another one, which first lets the call go that the
//! dead one may have had in hand. Without this, a call of a listener that nobody holds any more ends with ENOSYS
//! (seccomp_unotify(2)), and the program would notice. When the keeper is killed, its watchers go on by themselves, and the last
//! one writes the report.
//!
//! None of them has a name in the file system or a descriptor of the runtime's: an engine waits for the end of those. They end
//! with the last process that the filter is on.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use fragment_sys::fork::{Forked, Parent, fork};
use fragment_sys::notify;
use fragment_sys::process::{close_all_but, exit_now};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::{WaitId, WaitIdOptions};

use super::Subject;
use super::calls::Use;
use super::profile::ProfileError;
use super::report::{self, Report};
use super::sight::{self, Sight};

/// Most different sights kept of one listener: a program that makes up names cannot fill the memory.
const MAX_SIGHTS: usize = 200_000;
/// Longest message of the runtime to an agent that is read, in bytes.
const MAX_MESSAGE: usize = 1 << 20;

/// Why a run is not observed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ObserveError {
    /// Its filter cannot have our listener.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The observer could not be made.
    #[error("{step}")]
    System {
        /// What was tried.
        step: &'static str,
        /// Why it did not work.
        source: io::Error,
    },
    /// The observer ended without a report.
    #[error("the observer ended without a report")]
    NoReport,
}

impl ObserveError {
    fn at<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::System {
            step,
            source: source.into(),
        }
    }
}

/// An observer, from the side of the runtime. Dropped before a container has its filter, it ends the observer.
#[derive(Debug)]
pub(crate) struct Observer {
    /// Where the container's filter finds it.
    pub(crate) listener: PathBuf,
    /// Closed with this value: without a container then, there is nothing to wait for.
    _alive: OwnedFd,
    report: File,
}

impl Observer {
    /// Waits for the end of the container and the report.
    pub(crate) fn report(self) -> Result<Report, ObserveError> {
        let Self {
            _alive: alive,
            mut report,
            ..
        } = self;
        drop(alive);
        let mut text = String::new();
        report
            .read_to_string(&mut text)
            .map_err(ObserveError::at("read the observer's report"))?;
        serde_json::from_str(&text).map_err(|_| ObserveError::NoReport)
    }
}

/// Makes an observer. This process has one thread, as every process that is about to make a container.
pub(crate) fn begin(subject: &Subject) -> Result<Observer, ObserveError> {
    let (socket, name) = nameless_socket(&subject.settings.state)
        .map_err(ObserveError::at("make the observer's socket"))?;
    let pipe =
        || rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(ObserveError::at("make a pipe"));
    let (watched, alive) = pipe()?;
    let (report, written) = pipe()?;
    let (told, number) = pipe()?;
    let work = || {
        // the keeper is nobody's child: the runtime's caller waits for what it knows of
        let keeper = fork(Parent::This, || {
            let kept = [
                socket.as_fd(),
                name.as_fd(),
                watched.as_fd(),
                written.as_fd(),
            ];
            if detach(&kept).is_err() {
                return 1;
            }
            let mut keeper = Keeper {
                socket: &socket,
                watched: &watched,
                pending: Vec::new(),
                listeners: Vec::new(),
                seen_any: false,
            };
            let Ok(sights) = memory() else { return 1 };
            keeper.keep(&sights, subject, &written);
            if keeper.seen_any {
                finish(&sights, subject, &written);
            }
            0
        });
        let Ok(keeper) = keeper else { return 1 };
        let sent = rustix::io::write(&number, &keeper.pid.to_ne_bytes());
        i32::from(sent.is_err())
    };
    let helper = fork(Parent::This, work).map_err(ObserveError::at("make the observer"))?;
    wait(&helper);
    drop(number);
    let mut pid = [0; 4];
    let read = rustix::io::read(&told, &mut pid).map_err(ObserveError::at("find the observer"))?;
    if read != pid.len() {
        return Err(ObserveError::NoReport);
    }
    let pid = i32::from_ne_bytes(pid);
    // a socket is connected to by an inode, and a descriptor is a way to one that needs no name
    let listener = format!("/proc/{pid}/fd/{}", name.as_raw_fd()).into();
    Ok(Observer {
        listener,
        _alive: alive,
        report: report.into(),
    })
}

/// A listening socket whose name is gone, and a descriptor of its inode.
fn nameless_socket(directory: &Path) -> io::Result<(UnixListener, OwnedFd)> {
    std::fs::create_dir_all(directory)?;
    let path = directory.join(format!(".observer-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let socket = UnixListener::bind(&path)?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let name = rustix::fs::open(&path, flags, Mode::empty());
    std::fs::remove_file(&path)?;
    Ok((socket, name?))
}

/// Leaves the runtime's session, directory and descriptors.
fn detach(kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    let _ = rustix::process::setsid();
    std::env::set_current_dir("/")?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    drop(null);
    close_all_but(kept)
}

fn wait(child: &Forked) {
    let id = WaitId::PidFd(child.pidfd.as_fd());
    let _ =
        rustix::io::retry_on_intr(|| rustix::process::waitid(id.clone(), WaitIdOptions::EXITED));
}

/// A file of this process and those it makes, without a name. Writes of all of them go to its end: they share its position.
fn memory() -> io::Result<File> {
    Ok(rustix::fs::memfd_create("fragment-observed", MemfdFlags::CLOEXEC)?.into())
}

/// A listener that is kept, with its watcher.
struct Listener {
    descriptor: OwnedFd,
    /// Number of the last call the watcher took, and whether the program has begun.
    state: File,
    watcher: Forked,
}

struct Keeper<'a> {
    socket: &'a UnixListener,
    watched: &'a OwnedFd,
    /// Runtimes that have a listener to send.
    pending: Vec<UnixStream>,
    listeners: Vec<Listener>,
    seen_any: bool,
}

impl Keeper<'_> {
    /// Returns when there is nothing to observe any more.
    fn keep(&mut self, sights: &File, subject: &Subject, written: &OwnedFd) {
        let mut runtime_is_there = true;
        while runtime_is_there || !self.pending.is_empty() || !self.listeners.is_empty() {
            let fixed = if runtime_is_there { 2 } else { 1 };
            let ready = self.poll(runtime_is_there);
            let Ok(ready) = ready else { return };
            if fixed == 2 && ready[1] {
                runtime_is_there = false;
            }
            let (pending, watchers) = ready[fixed..].split_at(self.pending.len());
            let ended: Vec<usize> = positions(watchers);
            let sent: Vec<usize> = positions(pending);
            for at in ended.into_iter().rev() {
                self.after_watcher(at, sights, subject, written);
            }
            for at in sent.into_iter().rev() {
                let stream = self.pending.remove(at);
                if let Some(descriptor) = take(&stream) {
                    self.watch(descriptor, sights, subject, written);
                }
            }
            if ready[0]
                && let Ok((stream, _)) = self.socket.accept()
            {
                self.pending.push(stream);
            }
            // the container is there, and its end is what is waited for now
            if self.seen_any && self.listeners.is_empty() && self.pending.is_empty() {
                return;
            }
        }
    }

    /// What has something to say: the socket, the runtime's end where asked for, pending runtimes, watchers.
    fn poll(&self, runtime: bool) -> rustix::io::Result<Vec<bool>> {
        let mut descriptors = vec![PollFd::new(self.socket, PollFlags::IN)];
        if runtime {
            descriptors.push(PollFd::new(self.watched, PollFlags::IN));
        }
        descriptors.extend(self.pending.iter().map(|s| PollFd::new(s, PollFlags::IN)));
        let watchers = self.listeners.iter().map(|l| &l.watcher.pidfd);
        descriptors.extend(watchers.map(|pidfd| PollFd::new(pidfd, PollFlags::IN)));
        rustix::io::retry_on_intr(|| poll(&mut descriptors, None))?;
        Ok(descriptors
            .iter()
            .map(|d| !d.revents().is_empty())
            .collect())
    }

    fn watch(&mut self, descriptor: OwnedFd, sights: &File, subject: &Subject, written: &OwnedFd) {
        self.seen_any = true;
        let Ok(state) = memory() else { return };
        let watcher = watcher(&descriptor, &state, sights, subject, written, false);
        if let Ok(watcher) = watcher {
            self.listeners.push(Listener {
                descriptor,
                state,
                watcher,
            });
        }
    }

    /// A watcher has ended: with its filter, or killed.
    fn after_watcher(&mut self, at: usize, sights: &File, subject: &Subject, written: &OwnedFd) {
        let mut listener = self.listeners.swap_remove(at);
        let id = WaitId::PidFd(listener.watcher.pidfd.as_fd());
        let status = rustix::process::waitid(id, WaitIdOptions::EXITED)
            .ok()
            .flatten();
        if status.is_some_and(|status| status.exit_status() == Some(0)) {
            return;
        }
        let Listener {
            descriptor, state, ..
        } = &listener;
        if let Ok(next) = watcher(descriptor, state, sights, subject, written, true) {
            listener.watcher = next;
            self.listeners.push(listener);
        }
    }
}

fn positions(ready: &[bool]) -> Vec<usize> {
    let all = ready.iter().enumerate();
    all.filter(|(_, ready)| **ready).map(|(at, _)| at).collect()
}

/// The listener that a runtime sends; it hangs up afterwards, or before it has a container.
fn take(stream: &UnixStream) -> Option<OwnedFd> {
    let mut buffer = vec![0; 1 << 16];
    let mut taken = None;
    let mut length = 0;
    while length < MAX_MESSAGE {
        let (bytes, descriptor) = fragment_launch::receive_descriptor(stream, &mut buffer).ok()?;
        if taken.is_none() {
            taken = descriptor;
        }
        if bytes.is_empty() {
            break;
        }
        length += bytes.len();
        // its message is one JSON object, and what the container is, is known already
        if taken.is_some() && bytes.ends_with(b"}") {
            break;
        }
    }
    taken
}

fn watcher(
    descriptor: &OwnedFd,
    state: &File,
    sights: &File,
    subject: &Subject,
    written: &OwnedFd,
    again: bool,
) -> io::Result<Forked> {
    let keeper = rustix::process::getpid();
    fork(Parent::This, || {
        let kept = [
            descriptor.as_fd(),
            state.as_fd(),
            sights.as_fd(),
            written.as_fd(),
        ];
        if close_all_but(&kept).is_err() {
            return 1;
        }
        if watch(descriptor.as_fd(), state, sights, again).is_err() {
            return 1;
        }
        if rustix::process::getppid() != Some(keeper) {
            finish(sights, subject, written);
        }
        0
    })
}

/// Answers every call until the filter is on no process any more.
fn watch(listener: BorrowedFd<'_>, state: &File, mut sights: &File, again: bool) -> io::Result<()> {
    let mut begun = false;
    if again {
        let mut bytes = [0; 16];
        if state.read_exact_at(&mut bytes, 0).is_ok() {
            let (last, rest) = bytes.split_at(8);
            let last = u64::from_ne_bytes(last.try_into().unwrap_or_default());
            begun = rest[0] != 0;
            // the call in hand is the last one written down, or the one after it; others say so
            for id in [last, last.wrapping_add(1)] {
                let _ = notify::proceed(listener, id);
            }
        }
    }
    let mut seen: HashSet<Sight> = HashSet::new();
    loop {
        let mut descriptors = [PollFd::from_borrowed_fd(listener, PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut descriptors, None))?;
        let events = descriptors[0].revents();
        if !events.contains(PollFlags::IN) {
            if events.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
                return Ok(());
            }
            continue;
        }
        let notification = match notify::receive(listener) {
            Ok(notification) => notification,
            // the caller was interrupted before we looked
            Err(error) if is_passing(&error) => continue,
            Err(error) => return Err(error),
        };
        state.write_all_at(&notification.id.to_ne_bytes(), 0)?;
        let sight =
            sight::see(&notification).filter(|_| notify::is_waiting(listener, notification.id));
        if let Err(error) = notify::proceed(listener, notification.id)
            && !is_passing(&error)
        {
            return Err(error);
        }
        let Some(sight) = sight else { continue };
        // what comes before is the runtime's
        if !begun {
            begun = sight.means == Use::Execute;
            state.write_all_at(&[u8::from(begun); 8], 8)?;
        }
        if begun && seen.len() < MAX_SIGHTS && !seen.contains(&sight) {
            let mut line = serde_json::to_vec(&sight)?;
            line.push(b'\n');
            sights.write_all(&line)?;
            seen.insert(sight);
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    let passing = [Errno::NOENT, Errno::INTR, Errno::AGAIN];
    passing
        .iter()
        .any(|errno| Some(errno.raw_os_error()) == error.raw_os_error())
}

/// Writes the report, where it was asked for and to the runtime, if it still waits.
fn finish(sights: &File, subject: &Subject, written: &OwnedFd) {
    let mut seen = HashSet::new();
    let mut text = Vec::new();
    let mut at = 0;
    let mut buffer = vec![0; 1 << 16];
    while let Ok(read @ 1..) = sights.read_at(&mut buffer, at) {
        text.extend_from_slice(&buffer[..read]);
        at += read as u64;
    }
    for line in text.split(|byte| *byte == b'\n') {
        if let Ok(sight) = serde_json::from_slice::<Sight>(line) {
            seen.insert(sight);
        }
    }
    let report = report::make(&seen, subject);
    report::save(&report, &subject.request);
    if let Ok(text) = serde_json::to_vec(&report) {
        let mut out = File::from(match written.try_clone() {
            Ok(descriptor) => descriptor,
            Err(_) => exit_now(1),
        });
        // nobody reads: the runtime is gone
        let _ = out.write_all(&text);
    }
}
