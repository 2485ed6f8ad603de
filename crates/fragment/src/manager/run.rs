//! Fragments that run, each in a process of its own.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{ChildStderr, ChildStdin, ChildStdout, Stdio};

use fragment_types::Lock;
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;

use super::{ComposedFragment, Manager, ManagerError};
use crate::supervisor::{self, Answer, Request, Streams, Supervisor};

/// Most bytes of each output that [`Manager::run`] keeps.
pub const MAX_OUTPUT: u64 = 1 << 20;

/// A fragment that runs. Dropped, it runs on, and what is left of it is removed at its end.
#[derive(Debug)]
pub struct Running {
    supervisor: Supervisor,
    container: String,
}

/// How a fragment ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finished {
    /// As a shell has it: 128 and the number of a signal, 124 when its time was up.
    pub code: i32,
    /// What it said, up to [`MAX_OUTPUT`]; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// The same of its errors.
    pub stderr: String,
}

impl Manager {
    /// Runs a fragment of exactly its components; returns when its program runs. The program of this process has to have called
    /// [`crate::begin`].
    ///
    /// # Errors
    /// [`ManagerError::NotBegun`]; [`ManagerError::Run`] when there is no program to run or its container cannot be made, with nothing
    /// left of it.
    pub fn start(
        &self,
        fragment: &ComposedFragment,
        streams: Streams,
    ) -> Result<Running, ManagerError> {
        self.supervised(fragment, streams, false)
    }

    /// The same with nothing to read, to its end.
    ///
    /// # Errors
    /// As [`Manager::start`] and [`Running::wait`].
    pub fn run(&self, fragment: &ComposedFragment) -> Result<Finished, ManagerError> {
        let streams = Streams {
            stdout: Stdio::piped(),
            stderr: Stdio::piped(),
            ..Streams::null()
        };
        let mut running = self.start(fragment, streams)?;
        let (stdout, stderr) = (running.stdout(), running.stderr());
        let (stdout, stderr) = std::thread::scope(|scope| {
            let stderr = scope.spawn(|| kept(stderr));
            (kept(stdout), stderr.join().unwrap_or_default())
        });
        Ok(Finished {
            code: running.wait()?,
            stdout,
            stderr,
        })
    }

    /// Runs a fragment that outlives this program, with its output appended to the file `log`, if any; the name of its container
    /// (`fragment-runc --root STATE/containers kill NAME`). It is removed at its end.
    ///
    /// # Errors
    /// As [`Manager::start`]; when `log` cannot be opened.
    pub fn detach(
        &self,
        fragment: &ComposedFragment,
        log: Option<&Path>,
    ) -> Result<String, ManagerError> {
        let mut streams = Streams::null();
        if let Some(path) = log {
            let open = || {
                File::options()
                    .create(true)
                    .append(true)
                    .mode(0o600)
                    .open(path)
            };
            streams.stdout = open().map_err(ManagerError::io("open", path))?.into();
            streams.stderr = open().map_err(ManagerError::io("open", path))?.into();
        }
        let running = self.supervised(fragment, streams, true)?;
        Ok(running.container)
    }

    fn supervised(
        &self,
        fragment: &ComposedFragment,
        streams: Streams,
        is_detached: bool,
    ) -> Result<Running, ManagerError> {
        if !supervisor::has_begun() {
            return Err(ManagerError::NotBegun);
        }
        let life = &self.settings.life;
        let request = Request {
            store: self.settings.store.clone(),
            state: self.settings.state.clone(),
            trace: self.settings.trace.clone(),
            cache: life.cache,
            loads: life.loads,
            disk: life.disk,
            task: fragment.task().clone(),
            lock: Lock::of(fragment.plan()).to_string(),
            min_grade: fragment.plan().min_grade,
            is_detached,
        };
        let mut supervisor =
            Supervisor::make(&request, streams).map_err(|source| ManagerError::Io {
                operation: "make the process of the task with",
                path: "/proc/self/exe".into(),
                source,
            })?;
        if is_detached {
            // it has made the process that goes on
            supervisor.reap();
        }
        match supervisor.answer() {
            Ok(Some(Answer::Started(container))) => Ok(Running {
                supervisor,
                container,
            }),
            other => {
                supervisor.reap();
                Err(failure(other))
            }
        }
    }
}

impl Running {
    /// The name of its container.
    #[must_use]
    pub fn container(&self) -> &str {
        &self.container
    }

    /// The pipe to its standard input, if there is one; of the first call only, as those below.
    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.supervisor.child()?.stdin.take()
    }

    /// The pipe of its standard output.
    pub fn stdout(&mut self) -> Option<ChildStdout> {
        self.supervisor.child()?.stdout.take()
    }

    /// The pipe of its standard error.
    pub fn stderr(&mut self) -> Option<ChildStderr> {
        self.supervisor.child()?.stderr.take()
    }

    /// Asks the program to end (SIGTERM).
    ///
    /// # Errors
    /// When it cannot be sent; that it has ended is none.
    pub fn terminate(&mut self) -> io::Result<()> {
        let number = self.supervisor.child().map(|child| child.id());
        let number = number.and_then(|number| i32::try_from(number).ok());
        match number.and_then(Pid::from_raw) {
            None => Ok(()),
            // it is ours to wait for, so that its number is nobody else's
            Some(number) => match kill_process(number, Signal::TERM) {
                Err(rustix::io::Errno::SRCH) => Ok(()),
                sent => Ok(sent?),
            },
        }
    }

    /// Waits for its end; its code as a shell has it.
    ///
    /// # Errors
    /// [`ManagerError::Run`] when its container could not be removed, [`ManagerError::Lost`].
    pub fn wait(mut self) -> Result<i32, ManagerError> {
        let answer = self.supervisor.answer();
        self.supervisor.reap();
        match answer {
            Ok(Some(Answer::Ended(code))) => Ok(code),
            other => Err(failure(other)),
        }
    }
}

fn failure(answer: io::Result<Option<Answer>>) -> ManagerError {
    match answer {
        Ok(Some(Answer::Failed { error, kind })) => ManagerError::Run { error, kind },
        Ok(_) | Err(_) => ManagerError::Lost,
    }
}

/// The beginning of what a task says; the rest is read and dropped, so that it can go on.
fn kept(source: Option<impl Read>) -> String {
    let Some(mut source) = source else {
        return String::new();
    };
    let mut bytes = Vec::new();
    let _ = source.by_ref().take(MAX_OUTPUT).read_to_end(&mut bytes);
    let _ = io::copy(&mut source, &mut io::sink());
    String::from_utf8_lossy(&bytes).into_owned()
}
