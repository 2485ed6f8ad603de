//! A process that joins a running container.
//!
//! Three processes take part. The runtime stays outside. A helper, its child, joins the namespaces and makes the process that
//! becomes the program: as the runtime's child (CLONE_PARENT), so that the runtime can wait for it, and in the container's PID
//! namespace, which nobody enters by setns(2) alone. While it waits, the runtime gives it its limits; then it enters the cgroup.
//! Until its program runs, the process ends with the runtime, and no process of the container can look into it.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, IntoRawFd, OwnedFd};
use std::path::PathBuf;

use fragment_sys::fork::{Parent, fork};
use fragment_sys::process::{close_at_exec, set_personality};
use libcontainer::oci_spec::runtime::{
    LinuxMemoryPolicy, LinuxPersonality, LinuxPersonalityDomain, Process,
};
use libcontainer::process::memory_policy::setup_memory_policy;
use libcontainer::syscall::syscall::create_syscall;
use rustix::fs::{Gid, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Pid, PidfdFlags, PidfdGetfdFlags, Signal, WaitOptions};
use thiserror::Error;

use crate::creation::scheduling::{self, SchedulingError};
use crate::inside::executor::{FragmentExecutor, StepError};
use crate::inside::listener;
use crate::inside::privileges;
use crate::inside::pty;
use crate::joining::admission::Admission;
use crate::joining::dialogue::{self, End, Report};
use crate::joining::namespaces::Namespaces;
use crate::records::record::Record;
use crate::records::state::Status;
use crate::sockets;

/// What a process in a container is made of; everything of the host is open.
pub(crate) struct Tenant<'a> {
    pub(crate) executor: &'a FragmentExecutor,
    pub(crate) namespaces: Namespaces,
    pub(crate) admission: Admission,
    pub(crate) personality: Option<LinuxPersonality>,
    pub(crate) memory_policy: Option<LinuxMemoryPolicy>,
    /// Descriptors from 3 on that the program is to have.
    pub(crate) preserved: u32,
    /// The container.
    pub(crate) record: &'a Record,
    /// Where the container is in its life.
    pub(crate) status: Status,
    /// Whether its terminal is to be as large as ours.
    pub(crate) foreground: bool,
}

/// A process whose program runs.
pub(crate) struct Entered {
    pub(crate) pid: i32,
    /// The other side of its terminal.
    pub(crate) terminal: Option<OwnedFd>,
}

/// Why no process was started. The process's own words need nothing around them: engines look for them.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TenantError {
    /// A step of the process itself.
    #[error("{0}")]
    Told(String),
    /// It was killed meanwhile.
    #[error("the process was killed before its program ran")]
    Killed,
    /// A limit or priority of its description.
    #[error(transparent)]
    Scheduling(#[from] SchedulingError),
    /// The listener of its filter did not take it.
    #[error("pass the seccomp filter's listener to {path}", path = .path.display())]
    Listener {
        /// linux.seccomp.listenerPath.
        path: PathBuf,
        /// The errno.
        #[source]
        source: io::Error,
    },
    /// A call of the runtime itself.
    #[error("{operation}")]
    System {
        /// A verb.
        operation: &'static str,
        /// The errno.
        #[source]
        source: io::Error,
    },
}

impl TenantError {
    fn at(operation: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { operation, source }
    }
}

impl Tenant<'_> {
    /// Has the process made, and returns when its program runs.
    pub(crate) fn enter(self) -> Result<Entered, TenantError> {
        let (ours, its) = dialogue::pair().map_err(TenantError::at("make a socket pair"))?;
        let newcomer = Newcomer {
            tenant: &self,
            end: its,
            runtime: rustix::process::getpid(),
            root: self
                .root()
                .map_err(TenantError::at("open the container's root"))?,
        };
        // the copy of our end has to go, or the process would never see that we are gone
        let ours = RefCell::new(Some(ours));
        let helper = fork(Parent::This, || {
            drop(ours.take());
            newcomer.help()
        })
        .map_err(TenantError::at("make a process"))?;
        drop(newcomer);
        let mut unfinished = Unfinished {
            helper: helper.pid,
            process: None,
        };
        let ours = ours.into_inner().ok_or(TenantError::Killed)?;
        let terminal = self.attend(&ours, &mut unfinished)?;
        let pid = unfinished.process.take().ok_or(TenantError::Killed)?;
        Ok(Entered { pid, terminal })
    }

    /// The container's root where it is not that of a mount namespace to join.
    fn root(&self) -> io::Result<Option<OwnedFd>> {
        let Some(init) = self.record.init.filter(|_| !self.namespaces.has("mnt")) else {
            return Ok(None);
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let path = format!("/proc/{}/root", init.pid);
        Ok(Some(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// Does what the process needs done, until its program runs; its terminal.
    fn attend(
        &self,
        end: &End,
        unfinished: &mut Unfinished,
    ) -> Result<Option<OwnedFd>, TenantError> {
        let fail = || TenantError::at("talk to the process");
        let mut terminal = None;
        let mut ready = false;
        while let Some(report) = end.hear().map_err(fail())? {
            match report {
                Report::Number(pid) => {
                    unfinished.process = Some(pid);
                    scheduling::apply(pid, self.process())?;
                    end.allow().map_err(fail())?;
                }
                Report::Terminal(master) => {
                    if self.foreground {
                        // a program may ask for the size in its first instruction
                        crate::lifecycle::console::copy_size(&master);
                    }
                    terminal = Some(master);
                    end.allow().map_err(fail())?;
                }
                Report::Ready => ready = true,
                Report::Filter(number) => {
                    self.pass_listener(unfinished.process.unwrap_or_default(), number)?;
                    end.allow().map_err(fail())?;
                }
                Report::Failed(words) => return Err(TenantError::Told(words)),
            }
        }
        if ready {
            Ok(terminal)
        } else {
            Err(TenantError::Killed)
        }
    }

    fn pass_listener(&self, pid: i32, number: i32) -> Result<(), TenantError> {
        let Some(filter) = &self.executor.seccomp else {
            return Ok(());
        };
        let path = filter.listener_path().clone().unwrap_or_default();
        let passed = || -> io::Result<()> {
            let pid = Pid::from_raw(pid).ok_or(Errno::SRCH)?;
            // our child, not waited for: the number is its own
            let process = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
            let descriptor =
                rustix::process::pidfd_getfd(process, number, PidfdGetfdFlags::empty())?;
            let pid = pid.as_raw_nonzero().get();
            let state = listener::process_state(filter, self.record, self.status, pid);
            sockets::send(&path, state.to_string().as_bytes(), descriptor.as_fd())
        };
        passed().map_err(|source| TenantError::Listener {
            path: path.clone(),
            source,
        })
    }

    fn process(&self) -> &Process {
        &self.executor.process
    }
}

/// Processes that are to end unless everything has gone well.
struct Unfinished {
    helper: i32,
    process: Option<i32>,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let process = self.process.and_then(Pid::from_raw);
        if let Some(process) = process {
            // our child, not waited for yet: nobody else can have its number
            let _ = rustix::process::kill_process(process, Signal::KILL);
        }
        let helper = Pid::from_raw(self.helper);
        for child in process.into_iter().chain(helper) {
            while let Err(Errno::INTR) = rustix::process::waitpid(Some(child), WaitOptions::empty())
            {
            }
        }
    }
}

/// The process on its way, and the helper before it.
struct Newcomer<'a> {
    tenant: &'a Tenant<'a>,
    end: End,
    runtime: Pid,
    root: Option<OwnedFd>,
}

impl Newcomer<'_> {
    /// What the helper does; its exit code.
    fn help(&self) -> i32 {
        match self.lead_in() {
            Ok(()) => 0,
            Err(error) => self.report(&error),
        }
    }

    fn report(&self, error: &StepError) -> i32 {
        // with nobody there to hear it there is nobody to tell
        let _ = self.end.say(&Report::Failed(error.to_string()));
        1
    }

    fn lead_in(&self) -> Result<(), StepError> {
        end_with_runtime()?;
        if rustix::process::getppid() != Some(self.runtime) {
            return Err(StepError::at("look for the runtime")(Errno::CHILD.into()));
        }
        let process = self.tenant.process();
        if let Some(score) = process.oom_score_adj() {
            // while this is the host's /proc and the process may write to it
            std::fs::write("/proc/self/oom_score_adj", score.to_string())
                .map_err(StepError::at("set oom_score_adj"))?;
        }
        let affinity = process.exec_cpu_affinity().as_ref();
        if let Some(cpus) = affinity.and_then(|affinity| affinity.initial().as_deref()) {
            scheduling::pin(0, cpus)?;
        }
        // in the container's namespaces its processes may trace this one unless it says no (CVE-2016-9962)
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .map_err(|errno| StepError::at("become undumpable")(errno.into()))?;
        tracing::debug!("join the container's namespaces");
        self.tenant.namespaces.join()?;
        let forked = fork(Parent::Ours, || match self.become_program() {
            Err(error) => self.report(&error),
        })
        .map_err(StepError::at("make a process"))?;
        let said = self.end.say(&Report::Number(forked.pid));
        said.map_err(StepError::at("tell the process's number"))
    }

    fn become_program(&self) -> Result<Infallible, StepError> {
        end_with_runtime()?;
        self.end
            .await_leave()
            .map_err(StepError::at("wait for the runtime"))?;
        tracing::debug!("enter the container's cgroup");
        // from here on it may be frozen
        self.tenant.admission.enter()?;
        let affinity = self.tenant.process().exec_cpu_affinity().as_ref();
        if let Some(cpus) = affinity.and_then(|affinity| affinity.cpu_affinity_final().as_deref()) {
            // only now: a move into a cgroup with a cpuset widens it (cpuset(7))
            scheduling::pin(0, cpus)?;
        }
        rustix::process::setsid().map_err(|errno| StepError::at("make a session")(errno.into()))?;
        if self.tenant.namespaces.has("user") {
            privileges::become_user(0, 0)
                .map_err(StepError::at("become root in the user namespace"))?;
        }
        if let Some(root) = &self.root {
            rustix::process::fchdir(root)
                .and_then(|()| rustix::process::chroot("."))
                .map_err(|errno| StepError::at("enter the container's root")(errno.into()))?;
        }
        self.take_terminal()?;
        self.take_identity()?;
        let executor = self.tenant.executor;
        let kept = self.tenant.preserved + executor.activated();
        close_at_exec(3 + kept).map_err(StepError::at("close descriptors"))?;
        // a change of user has taken it away (PR_SET_PDEATHSIG(2const)), and the runtime may have ended since
        end_with_runtime()?;
        self.end
            .check()
            .map_err(StepError::at("look for the runtime"))?;
        executor.get_ready()?;
        tracing::debug!("ready to execute the program");
        self.end
            .say(&Report::Ready)
            .map_err(StepError::at("report"))?;
        rustix::process::set_parent_process_death_signal(None)
            .map_err(|errno| StepError::at("outlive the runtime")(errno.into()))?;
        executor.execute(&|listener| {
            // closed at exec
            self.end.say(&Report::Filter(listener.into_raw_fd()))?;
            self.end.await_leave()
        })
    }

    fn take_terminal(&self) -> Result<(), StepError> {
        if self.tenant.process().terminal() != Some(true) {
            return Ok(());
        }
        let connect = || {
            let (master, program) = pty::open()?;
            self.end.say(&Report::Terminal(master))?;
            self.end.await_leave()?;
            pty::take(&program)
        };
        connect().map_err(StepError::at("open a terminal in the container"))
    }

    /// Personality, profile, umask, groups and user, in this order: some of them need rights the user may not have.
    fn take_identity(&self) -> Result<(), StepError> {
        let process = self.tenant.process();
        if let Some(personality) = &self.tenant.personality {
            // personality(2): PER_LINUX, PER_LINUX32
            let persona = match personality.domain() {
                LinuxPersonalityDomain::PerLinux => 0,
                LinuxPersonalityDomain::PerLinux32 => 8,
            };
            set_personality(persona).map_err(StepError::at("set personality"))?;
        }
        // config-linux.md, "Memory policy": of the container; the kernel knows it of threads only (set_mempolicy(2))
        setup_memory_policy(&self.tenant.memory_policy, create_syscall().as_ref())
            .map_err(|error| StepError::at("set the memory policy")(io::Error::other(error)))?;
        let profile = process.apparmor_profile().as_deref();
        if let Some(profile) = profile.filter(|profile| !profile.is_empty()) {
            libcontainer::apparmor::apply_profile(profile).map_err(|error| {
                StepError::at("apply AppArmor profile")(io::Error::other(error))
            })?;
        }
        let user = process.user();
        rustix::process::umask(Mode::from_raw_mode(user.umask().unwrap_or(0o022)));
        let gids = user.additional_gids().as_deref().unwrap_or_default();
        if !gids.is_empty() {
            let gids: Vec<Gid> = gids.iter().map(|gid| Gid::from_raw(*gid)).collect();
            rustix::thread::set_thread_groups(&gids)
                .map_err(|errno| StepError::at("set additional groups")(errno.into()))?;
        }
        privileges::become_user(user.uid(), user.gid()).map_err(StepError::at("set user and group"))
    }
}

/// Has the kernel kill this process when the runtime ends.
fn end_with_runtime() -> Result<(), StepError> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|errno| StepError::at("end with the runtime")(errno.into()))
}
