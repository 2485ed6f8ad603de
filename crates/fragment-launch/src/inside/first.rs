//! A container's first process, as libcontainer calls it: once everything is mounted and joined, and once after the start.
//!
//! Between its two calls libcontainer waits for the start, with system calls that a filter may forbid (accept4(2), recvfrom(2)).
//! A filter without a listener is therefore loaded after the start. One with a listener is not: as with runc its agent is told
//! before create returns. A filter belongs to a thread (seccomp(2)), so a second thread gets ready, loads it and waits, and the
//! first, which has none, hands the listener over and goes on for libcontainer. At the start the second becomes the program:
//! execve(2) ends the first and gives its number to the other.

use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicI32, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use fragment_sys::process;
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{
    Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError,
};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::{DumpableBehavior, Pid};

use crate::creation::capture::EXECUTOR;
use crate::error::LaunchError;
use crate::inside::executor::{FragmentExecutor, StepError};
use crate::inside::listener::Agent;
use crate::records::process::RuntimesProc;

/// How long between two looks at a thread that may be able to say nothing, at first and at most.
const GLANCE: Duration = Duration::from_micros(50);
const LONGEST_GLANCE: Duration = Duration::from_millis(10);

/// What libcontainer is given to run.
#[derive(Clone)]
pub(crate) struct FirstProcess {
    executor: FragmentExecutor,
    /// Who gets the listener of the filter, where it has one.
    agent: Option<Agent>,
    /// Where it says who it is, where its cgroup does not.
    introduction: Option<Introduction>,
    /// Whether its user may look at it while it waits (ptrace(2), access mode checking), as exec has to.
    open_to_its_user: bool,
    /// Closed when the program runs, or the process has ended.
    _waiting: Arc<OwnedFd>,
    successor: Rc<RefCell<Option<Successor>>>,
}

impl FirstProcess {
    pub(crate) fn new(
        executor: FragmentExecutor,
        agent: Option<Agent>,
        introduction: Option<Introduction>,
        waiting: OwnedFd,
    ) -> Self {
        Self {
            executor,
            agent,
            introduction,
            open_to_its_user: false,
            _waiting: Arc::new(waiting),
            successor: Rc::default(),
        }
    }

    /// Lets the user who made it exec in it before the start: libcontainer leaves it closed to everybody without rights over it.
    pub(crate) fn open_to_its_user(mut self, open: bool) -> Self {
        self.open_to_its_user = open;
        self
    }

    fn get_ready(&self) -> Result<(), StepError> {
        if self.open_to_its_user {
            rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)
                .map_err(|errno| StepError::at("become dumpable")(errno.into()))?;
        }
        if let Some(introduction) = &self.introduction {
            let written = introduction.write();
            written.map_err(StepError::at("introduce the process"))?;
        }
        let Some(agent) = &self.agent else {
            return self.executor.get_ready();
        };
        let successor = Successor::prepare(&self.executor, agent)?;
        self.successor.replace(Some(successor));
        Ok(())
    }

    fn become_program(&self) -> StepError {
        match self.successor.take() {
            Some(successor) => successor.start(),
            None => {
                let Err(error) = self.executor.execute(&no_listener);
                error
            }
        }
    }
}

/// How the processes of a create make themselves known before the runtime has recorded one. When the runtime is killed, one
/// may wait for ever for a word of it, or for the start that nobody can ask for any more, and where there is no cgroup nothing
/// else tells whose it is.
#[derive(Debug, Clone)]
pub(crate) struct Introduction {
    proc: RuntimesProc,
    file: Arc<OwnedFd>,
}

impl Introduction {
    /// To be written to `file`.
    pub(crate) fn new(file: &Path) -> Result<Self, LaunchError> {
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC;
        let opened = rustix::fs::open(file, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| LaunchError::io("create", file)(errno.into()))?;
        Ok(Self {
            proc: RuntimesProc::open()?,
            file: Arc::new(opened),
        })
    }

    /// This process.
    pub(crate) fn write(&self) -> io::Result<()> {
        self.proc.write_own_stat(&self.file)
    }
}

/// For filters that have none.
fn no_listener(_: OwnedFd) -> io::Result<()> {
    Ok(())
}

impl Executor for FirstProcess {
    fn validate(&self, _spec: &Spec) -> Result<(), ExecutorValidationError> {
        let _span = tracing::debug_span!("finish").entered();
        tracing::debug!("finish the mounts and look for the program");
        self.get_ready().map_err(|error| {
            let message = error.to_string();
            tracing::error!(target: EXECUTOR, "{message}");
            ExecutorValidationError::ArgValidationError(message)
        })
    }

    /// Nothing: the environment is handed to execve(2), this process's own is not touched.
    fn setup_envs(&self, _envs: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(())
    }

    fn exec(&self, _spec: &Spec) -> Result<(), ExecutorError> {
        tracing::debug!("execute the program");
        let message = self.become_program().to_string();
        tracing::error!(target: EXECUTOR, "{message}");
        // The start command has returned by now; like runc, tell whoever reads the container's stderr.
        let _ = rustix::io::write(rustix::stdio::stderr(), format!("{message}\n").as_bytes());
        process::exit_now(1);
    }
}

/// The thread that becomes the program, as the first one sees it.
struct Successor {
    progress: Arc<Progress>,
    /// A byte here is the start.
    start: OwnedFd,
}

/// What the thread tells through memory: a filter may forbid everything else.
#[derive(Default)]
struct Progress {
    thread: AtomicI32,
    stage: AtomicU8,
    /// There before the stage is.
    listener: Mutex<Option<OwnedFd>>,
    /// There before the stage is.
    failure: Mutex<Option<StepError>>,
}

const PREPARING: u8 = 0;
const CONFINED: u8 = 1;
const FAILED: u8 = 2;

impl Successor {
    /// Makes the thread and returns when it has everything but the start, and the agent the listener.
    fn prepare(executor: &FragmentExecutor, agent: &Agent) -> Result<Self, StepError> {
        let (gate, start) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
            .map_err(|errno| StepError::at("make a pipe")(errno.into()))?;
        let progress = Arc::new(Progress::default());
        let (ready, loading) = mpsc::channel();
        let runner = Runner {
            executor: executor.clone(),
            progress: Arc::clone(&progress),
            gate,
        };
        thread::Builder::new()
            .spawn(move || runner.run(ready))
            .map_err(StepError::at("make a thread for the filter"))?;
        let successor = Self { progress, start };
        // mounts and the like can take their time; what comes after that is a handful of system calls
        let _ = loading.recv();
        successor.await_stage(PREPARING)?;
        if let Some(listener) = take(&successor.progress.listener) {
            agent
                .tell(listener.as_fd())
                .map_err(StepError::at("hand the seccomp filter's listener over"))?;
        }
        // the thread has its own
        executor.drop_capabilities()?;
        Ok(successor)
    }

    /// Lets the thread become the program; returns when it cannot.
    fn start(&self) -> StepError {
        if let Err(errno) = rustix::io::write(&self.start, &[1]) {
            return StepError::at("start the program")(errno.into());
        }
        match self.await_stage(CONFINED) {
            Err(error) => error,
            Ok(()) => StepError::at("start the program")(Errno::INVAL.into()),
        }
    }

    /// Waits until the thread has left a stage.
    fn await_stage(&self, stage: u8) -> Result<(), StepError> {
        let progress = &self.progress;
        let mut glance = GLANCE;
        loop {
            match progress.stage.load(Ordering::Acquire) {
                FAILED => return Err(take(&progress.failure).unwrap_or(StepError::Killed)),
                now if now != stage => return Ok(()),
                _ => {}
            }
            // a filter may kill the thread that calls what it forbids, and leave the others
            let thread = Pid::from_raw(progress.thread.load(Ordering::Acquire));
            if thread.is_some_and(|thread| {
                rustix::process::test_kill_process(thread) == Err(Errno::SRCH)
            }) {
                return Err(StepError::Killed);
            }
            thread::sleep(glance);
            glance = LONGEST_GLANCE.min(glance * 2);
        }
    }
}

fn put<T>(place: &Mutex<Option<T>>, value: T) {
    *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
}

fn take<T>(place: &Mutex<Option<T>>) -> Option<T> {
    place.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// The thread itself.
struct Runner {
    executor: FragmentExecutor,
    progress: Arc<Progress>,
    gate: OwnedFd,
}

impl Runner {
    fn run(self, ready: mpsc::Sender<()>) {
        let own = rustix::thread::gettid();
        self.progress
            .thread
            .store(own.as_raw_nonzero().get(), Ordering::Release);
        let Err(error) = self.become_program(ready);
        put(&self.progress.failure, error);
        self.progress.stage.store(FAILED, Ordering::Release);
        loop {
            // the first thread ends the process: a thread's own end takes system calls that may be forbidden
            thread::park();
        }
    }

    fn become_program(&self, ready: mpsc::Sender<()>) -> Result<Infallible, StepError> {
        let executor = &self.executor;
        executor.get_ready()?;
        if !executor.has_hooks() {
            executor.reset_signals()?;
        }
        drop(ready);
        executor.confine(&|listener| {
            put(&self.progress.listener, listener);
            Ok(())
        })?;
        self.progress.stage.store(CONFINED, Ordering::Release);
        let mut byte = [0];
        while let Err(errno) = rustix::io::read(&self.gate, &mut byte) {
            if errno != Errno::INTR {
                return Err(StepError::at("wait for the start")(errno.into()));
            }
        }
        if executor.has_hooks() {
            executor.run_hooks()?;
            executor.reset_signals()?;
        }
        executor.call_program()
    }
}
