//! Processes that run a task each, for programs that embed the library.
//!
//! What makes a container must not be one of many threads. So a program that embeds the library is called anew, under another name, and
//! that process runs one task: it makes the container, waits for its end and removes it. The program calls [`begin`] first thing in
//! `main`, which is where such a call ends.
//!
//! The two talk through descriptors of the program, which its child opens by their names in `/proc`: nobody else inherits them.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fmt, io};

use fragment_launch::{BeginError, ErrorEvents, StartNotice};
use fragment_sys::fork::{Parent, fork};
use fragment_sys::process::exit_now;
use fragment_types::{Grade, Lock};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::MemfdFlags;
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::PlanErrorKind;
use crate::control::Wishes;
use crate::runner::{self, Manner};
use crate::settings::Settings;
use crate::settings::life::{CacheLimits, DiskLimits, Life, LoadLimits};
use crate::task::Task;
use crate::trace::{self, Moment};

/// `argv[0]` of this program when it is to run a task.
const NAME: &str = "fragment-task";
/// Longest request that is read.
const MAX_REQUEST: u64 = 64 << 20;

static BEGUN: AtomicBool = AtomicBool::new(false);

/// To be called first thing in `main`, while there is one thread, by every program that makes containers or has
/// [`Manager`](crate::Manager) run fragments. A call of this program that is to run a task ends here. `enters_containers`: whether this
/// process itself will enter a container, so that the program has to be protected from what is inside.
///
/// # Errors
/// As [`fragment_launch::begin`]; the program then ends.
pub fn begin(enters_containers: bool) -> Result<(), BeginError> {
    let began = Moment::now();
    let mut arguments = std::env::args_os();
    let is_task = arguments.next().is_some_and(|name| name == NAME);
    fragment_launch::begin(enters_containers || is_task)?;
    BEGUN.store(true, Ordering::Relaxed);
    if is_task {
        let mut path = || arguments.next().map(PathBuf::from).unwrap_or_default();
        let (request, answers) = (path(), path());
        exit_now(serve(&request, &answers, began));
    }
    Ok(())
}

/// Whether this program can be called anew.
pub(crate) fn has_begun() -> bool {
    BEGUN.load(Ordering::Relaxed)
}

/// What a process is to run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) store: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) trace: Option<PathBuf>,
    pub(crate) cache: CacheLimits,
    pub(crate) loads: LoadLimits,
    pub(crate) disk: DiskLimits,
    pub(crate) task: Task,
    /// Exactly these components.
    pub(crate) lock: String,
    pub(crate) min_grade: Grade,
    /// In a session of its own, as nobody's child.
    pub(crate) is_detached: bool,
}

/// What it says, a line each.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    /// It has everything it needs of its maker.
    Ready,
    /// The program runs, in this container.
    Started(String),
    /// The program has ended with this code.
    Ended(i32),
    /// There is no program to run, or its container could not be made or removed.
    Failed { error: String, kind: PlanErrorKind },
}

/// The other end of such a process.
pub(crate) struct Supervisor {
    child: Option<Child>,
    answers: File,
    /// Read and not yet looked at.
    read: Vec<u8>,
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor")
            .field("child", &self.child)
            .finish_non_exhaustive()
    }
}

/// Streams of a task.
#[derive(Debug)]
pub struct Streams {
    /// What it reads.
    pub stdin: Stdio,
    /// What it says.
    pub stdout: Stdio,
    /// What it says of errors; those of ours are told by the error alone.
    pub stderr: Stdio,
}

impl Streams {
    /// Those of this process.
    #[must_use]
    pub fn inherit() -> Self {
        Self {
            stdin: Stdio::inherit(),
            stdout: Stdio::inherit(),
            stderr: Stdio::inherit(),
        }
    }

    /// Nothing to read; what it says is lost.
    #[must_use]
    pub fn null() -> Self {
        Self {
            stdin: Stdio::null(),
            stdout: Stdio::null(),
            stderr: Stdio::null(),
        }
    }
}

impl Supervisor {
    /// Makes the process, and returns when it has its request.
    pub(crate) fn make(request: &Request, streams: Streams) -> io::Result<Self> {
        let mut memory = File::from(rustix::fs::memfd_create(
            "fragment-task",
            MemfdFlags::CLOEXEC,
        )?);
        memory.write_all(&serde_json::to_vec(request)?)?;
        let (answers, written) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let name = |number| format!("/proc/{}/fd/{number}", std::process::id());
        let child = Command::new("/proc/self/exe")
            .arg0(NAME)
            .arg(name(memory.as_raw_fd()))
            .arg(name(written.as_raw_fd()))
            .stdin(streams.stdin)
            .stdout(streams.stdout)
            .stderr(streams.stderr)
            .spawn()?;
        let mut supervisor = Self {
            child: Some(child),
            answers: answers.into(),
            read: Vec::new(),
        };
        // until then it may end without having opened the pipe, whose end would not be seen
        supervisor.await_word()?;
        drop((memory, written));
        match supervisor.answer()? {
            Some(Answer::Ready) => Ok(supervisor),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn await_word(&mut self) -> io::Result<()> {
        let number = self.child.as_ref().map_or(0, Child::id);
        let number = i32::try_from(number).ok().and_then(Pid::from_raw);
        let number = number.ok_or(io::ErrorKind::NotFound)?;
        let process = pidfd_open(number, PidfdFlags::empty())?;
        loop {
            let mut fds = [
                PollFd::new(&self.answers, PollFlags::IN),
                PollFd::new(&process, PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Err(rustix::io::Errno::INTR) => continue,
                polled => polled?,
            };
            if fds[0].revents().contains(PollFlags::IN) {
                return Ok(());
            }
            if !fds[1].revents().is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// The next it says; none when it is gone.
    pub(crate) fn answer(&mut self) -> io::Result<Option<Answer>> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Ok(serde_json::from_slice(&line).map(Some)?);
            }
            let mut piece = [0; 4096];
            match self.answers.read(&mut piece) {
                Ok(0) => return Ok(None),
                Ok(read) => self.read.extend_from_slice(&piece[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The process, which may have made another one and ended.
    pub(crate) fn child(&mut self) -> Option<&mut Child> {
        self.child.as_mut()
    }

    /// Waits for the end of the process.
    pub(crate) fn reap(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }
}

/// Runs the task of the request; the exit code of this process.
fn serve(request: &Path, answers: &Path, began: Moment) -> i32 {
    let opened = read(request).and_then(|request| {
        let pipe = File::options().write(true).open(answers)?;
        Ok((request, pipe))
    });
    let (request, answers) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            let _ = writeln!(
                io::stderr(),
                "{NAME}: {error}; this name of the program is not for calling by hand"
            );
            return 1;
        }
    };
    say(&answers, &Answer::Ready);
    if !request.is_detached {
        return run(&request, answers, began);
    }
    // nobody's child: the maker neither waits for it nor ends it
    let forked = fork(Parent::This, || {
        let _ = rustix::process::setsid();
        run(&request, answers, began)
    });
    i32::from(forked.is_err())
}

fn read(path: &Path) -> io::Result<Request> {
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    // the maker has written it, and its place is at the end
    file.take(MAX_REQUEST).read_to_end(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes)?)
}

fn say(mut answers: &File, answer: &Answer) {
    if let Ok(mut line) = serde_json::to_vec(answer) {
        line.push(b'\n');
        // who does not listen any more need not be told
        let _ = answers.write_all(&line);
    }
}

fn run(request: &Request, answers: File, began: Moment) -> i32 {
    if let Ok(events) = ErrorEvents::install() {
        // the maker has opened it too, and told if it cannot be
        let phases = trace::layer(request.trace.as_deref(), None, began);
        let _ = tracing_subscriber::registry()
            .with(events.with_filter(LevelFilter::ERROR))
            .with(phases.ok().flatten())
            .try_init();
    }
    let _command = tracing::debug_span!("command").entered();
    let settings = Settings {
        store: request.store.clone(),
        state: request.state.clone(),
        life: Life {
            cache: request.cache,
            loads: request.loads,
            disk: request.disk,
            ..Life::default()
        },
        ..Settings::default()
    };
    let wishes = Wishes {
        lock: request.lock.parse::<Lock>().ok(),
        min_grade: Some(request.min_grade),
        ..Wishes::default()
    };
    let answers = Arc::new(answers);
    let manner = Manner {
        started: Some(&|id: &str| {
            let answer = Answer::Started(id.to_owned());
            let mut words = serde_json::to_vec(&answer).unwrap_or_default();
            words.push(b'\n');
            StartNotice::new(Arc::clone(&answers), words)
        }),
        ..Manner::default()
    };
    let (answer, code) = match runner::run_in(&settings, &request.task, wishes, manner) {
        Ok((code, _)) => (Answer::Ended(code), code),
        Err(error) => {
            let kind = error.kind();
            let error = crate::chain(&error);
            (Answer::Failed { error, kind }, 1)
        }
    };
    say(&answers, &answer);
    code
}
