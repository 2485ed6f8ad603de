//! The last steps inside the container, from its new root to the program's first instruction.
//!
//! They begin when root, user and namespaces are set and all capabilities are still there, and follow runc's order: terminal and
//! keys, working directory, filter and privileges, look for the program; after the start hooks, the filter where it needs no
//! privilege, exec. In a container's first process [`crate::inside::first`] calls them, in a process of exec [`crate::joining::tenant`].

use std::cell::OnceCell;
use std::convert::Infallible;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use fragment_sys::{mount, network, process, signal};
use libcontainer::container::State;
use libcontainer::oci_spec::runtime::{Hook, LinuxSeccomp, Process};
use rustix::fs::{Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::mount::MountPropagationFlags;
use rustix::termios::Winsize;
use thiserror::Error;

use crate::creation::diagnosis::{chain, words};
use crate::creation::hook_run::{self, HookError, Stderr};
use crate::creation::joined;
use crate::creation::scheduling::SchedulingError;
use crate::inside::deferred::{self, DeferredError};
use crate::inside::dev::DevError;
use crate::inside::environment;
use crate::inside::masks::MaskError;
use crate::inside::privileges;
use crate::inside::program::{self, ProgramError};
use crate::inside::seccomp::{self, SeccompError};
use crate::joining::admission::AdmissionError;
use crate::joining::namespaces::JoinError;
use crate::specification::mounts::AfterMounts;
use crate::specification::options::Attributes;

/// What the program is to get, and get done to it.
#[derive(Clone)]
pub(crate) struct FragmentExecutor {
    /// As the caller described it.
    pub(crate) process: Process,
    /// The filter.
    pub(crate) seccomp: Option<LinuxSeccomp>,
    /// The session keyring to join; `None` keeps the caller's.
    pub(crate) keyring: Option<CString>,
    /// What only the first process of a container does; `None` for exec.
    pub(crate) init: Option<Init>,
    found: OnceCell<Found>,
}

/// What is done once for a container.
#[derive(Clone)]
pub(crate) struct Init {
    /// The network namespace is new.
    pub(crate) new_network: bool,
    /// What is left to do about mounts.
    pub(crate) after_mounts: AfterMounts,
    /// Kernel parameters that libcontainer does not set.
    pub(crate) sysctls: Vec<(String, String)>,
    /// Hooks to run just before the program.
    pub(crate) start_container: Vec<Hook>,
    /// The state for those hooks.
    pub(crate) state: State,
}

#[derive(Clone)]
struct Found {
    program: PathBuf,
    environment: Vec<String>,
    /// What execve(2) takes, made before a filter is in force.
    call: Call,
}

#[derive(Clone)]
struct Call {
    program: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

/// Takes a filter's listener. A close(2) of this thread's own may be what the filter asks the listener about.
type HandOver<'a> = &'a dyn Fn(OwnedFd) -> io::Result<()>;

/// A step that failed. Engines read these words.
#[derive(Debug, Error)]
pub(crate) enum StepError {
    #[error("{step}: {}", words(.source))]
    Step {
        step: &'static str,
        source: io::Error,
    },
    #[error("chdir to cwd ({path:?}) set in config.json failed: {}", words(&(*.source).into()))]
    Cwd { path: PathBuf, source: Errno },
    #[error("current working directory is outside of container mount namespace root")]
    CwdOutside,
    #[error("mount {path}: set propagation {kind}: {source}", path = .path.display())]
    Propagation {
        path: PathBuf,
        kind: String,
        source: Errno,
    },
    #[error("copy up into the tmpfs on {path}: {}", words(.source), path = .path.display())]
    CopyUp { path: PathBuf, source: io::Error },
    #[error("{}", chain(.0))]
    Mount(DeferredError),
    #[error("{}", chain(.0))]
    Dev(DevError),
    #[error("{}", chain(.0))]
    Mask(MaskError),
    #[error("mount {path}: set its options: {}", words(.source), path = .path.display())]
    Attributes { path: PathBuf, source: io::Error },
    #[error("set sysctl {key}: {}", words(.source))]
    Sysctl { key: String, source: io::Error },
    #[error("error loading seccomp filter into kernel: {0}")]
    Seccomp(SeccompError),
    #[error(
        "the seccomp filter kills the process before its program runs: it has to allow execve, read where it has a listener, \
         capget, capset and prctl without noNewPrivileges"
    )]
    Killed,
    #[error("set capabilities: {0}")]
    Capabilities(libcontainer::syscall::SyscallError),
    #[error("error running startContainer hook #{index}: {}", chain(.source))]
    Hook { index: usize, source: HookError },
    #[error(transparent)]
    Join(#[from] JoinError),
    #[error(transparent)]
    Scheduling(#[from] SchedulingError),
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error("exec {path}: {}", words(.source), path = .path.display())]
    Exec { path: PathBuf, source: io::Error },
}

impl StepError {
    pub(crate) fn at(step: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Step { step, source }
    }
}

impl FragmentExecutor {
    pub(crate) fn new(
        process: Process,
        seccomp: Option<LinuxSeccomp>,
        keyring: Option<CString>,
        init: Option<Init>,
    ) -> Self {
        Self {
            process,
            seccomp,
            keyring,
            init,
            found: OnceCell::new(),
        }
    }

    fn prepare(&self, passed: &[(String, String)]) -> Result<Found, StepError> {
        if let Some(init) = &self.init {
            init.prepare(self.process.cwd())?;
        }
        if let Some(name) = &self.keyring {
            join_keyring(name)?;
        }
        let user = self.process.user();
        own_standard_streams(user.uid());
        self.size_terminal();
        if user.additional_gids().as_ref().is_none_or(Vec::is_empty) {
            privileges::drop_groups();
        }
        enter_directory(self.process.cwd(), self.init.is_some())?;
        let environment = environment::complete(
            self.process.env().as_deref().unwrap_or_default(),
            user.uid(),
            passed,
        );
        self.label()?;
        if self.no_new_privileges() {
            rustix::thread::set_no_new_privs(true)
                .map_err(|errno| StepError::at("set no_new_privs")(errno.into()))?;
        }
        if self.is_filtered_late() {
            // what the program may execute is asked with the capabilities it will have
            privileges::narrow_effective(self.process.capabilities().as_ref())
                .map_err(StepError::Capabilities)?;
        } else {
            if !self.no_new_privileges() {
                self.load_filter(&|_| Ok(()))?;
            }
            self.drop_capabilities()?;
        }
        let command = self
            .process
            .args()
            .iter()
            .flatten()
            .next()
            .map_or("", String::as_str);
        let program = program::find(command, environment::value(&environment, "PATH"))?;
        let call = Call {
            program: CString::new(program.as_os_str().as_bytes()).map_err(|_| StepError::Exec {
                path: program.clone(),
                source: Errno::INVAL.into(),
            })?,
            arguments: environment::c_strings(self.process.args().as_deref().unwrap_or_default()),
            environment: environment::c_strings(&environment),
        };
        Ok(Found {
            program,
            environment,
            call,
        })
    }

    pub(crate) fn drop_capabilities(&self) -> Result<(), StepError> {
        privileges::drop_capabilities(self.process.capabilities().as_ref())
            .map_err(StepError::Capabilities)
    }

    /// Gives the program its SELinux label (setexeccon(3)). libcontainer has none; that there is an SELinux was checked.
    fn label(&self) -> Result<(), StepError> {
        match self.process.selinux_label().as_deref() {
            None | Some("") => Ok(()),
            Some(label) => std::fs::write("/proc/thread-self/attr/exec", label)
                .map_err(StepError::at("set the SELinux label of the process")),
        }
    }

    fn no_new_privileges(&self) -> bool {
        self.process.no_new_privileges() == Some(true)
    }

    /// Whether the filter and with it the capabilities wait for the start. Without no_new_privs a filter needs CAP_SYS_ADMIN
    /// to be loaded (seccomp(2)), and one that is loaded early has to allow what libcontainer does until the start. Only hooks
    /// inside the container do not wait: they are not to run with more than the program. One with a listener is confined to a
    /// thread, which libcontainer knows nothing of.
    fn is_filtered_late(&self) -> bool {
        let notifies = self.seccomp.as_ref().map(seccomp::notifies);
        notifies.is_some_and(|notifies| notifies || !self.has_hooks()) && !self.no_new_privileges()
    }

    pub(crate) fn has_hooks(&self) -> bool {
        self.init
            .as_ref()
            .is_some_and(|init| !init.start_container.is_empty())
    }

    /// process.consoleSize, which libcontainer reads and forgets.
    fn size_terminal(&self) {
        let Some(size) = self
            .process
            .console_size()
            .filter(|_| self.process.terminal() == Some(true))
        else {
            return;
        };
        let cells = |count: u64| u16::try_from(count).unwrap_or(u16::MAX);
        let size = Winsize {
            ws_row: cells(size.height()),
            ws_col: cells(size.width()),
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // a terminal of another size is still one
        let _ = rustix::termios::tcsetwinsize(rustix::stdio::stdin(), size);
    }

    /// Loads the filter, and hands its listener over where it has one.
    fn load_filter(&self, hand_over: HandOver<'_>) -> Result<(), StepError> {
        let Some(filter) = &self.seccomp else {
            return Ok(());
        };
        let listener = seccomp::load(filter).map_err(StepError::Seccomp)?;
        listener
            .map_or(Ok(()), hand_over)
            .map_err(StepError::at("hand the seccomp filter's listener over"))
    }

    /// How many descriptors the program is to get because the runtime was activated by them (sd_listen_fds(3)).
    pub(crate) fn activated(&self) -> u32 {
        std::env::var("LISTEN_FDS")
            .ok()
            .and_then(|count| count.parse().ok())
            .unwrap_or(0)
    }

    /// Everything that can be done before the start; [`FragmentExecutor::execute`] then does the rest.
    pub(crate) fn get_ready(&self) -> Result<(), StepError> {
        // The variables of socket activation are in this process's environment when the runtime itself was activated. This
        // process is the one that becomes the program: its number is the program's.
        let passed = match self.activated() {
            0 => Vec::new(),
            count => vec![
                ("LISTEN_FDS".to_owned(), count.to_string()),
                ("LISTEN_PID".to_owned(), std::process::id().to_string()),
            ],
        };
        let found = self.prepare(&passed)?;
        let _ = self.found.set(found);
        Ok(())
    }

    /// Becomes the program.
    pub(crate) fn execute(&self, hand_over: HandOver<'_>) -> Result<Infallible, StepError> {
        // hooks inside the container are not to do more than the program may
        let hooks = self.has_hooks();
        if hooks && self.no_new_privileges() {
            self.load_filter(hand_over)?;
        }
        self.run_hooks()?;
        self.reset_signals()?;
        if !hooks {
            // as late as can be: a filter may forbid everything but execve
            self.confine(hand_over)?;
        }
        self.call_program()
    }

    /// Loads the filter, and drops the capabilities that were kept for it.
    pub(crate) fn confine(&self, hand_over: HandOver<'_>) -> Result<(), StepError> {
        if self.is_filtered_late() {
            privileges::widen_effective().map_err(StepError::Capabilities)?;
            self.load_filter(hand_over)?;
            self.drop_capabilities()
        } else if self.no_new_privileges() {
            self.load_filter(hand_over)
        } else {
            Ok(())
        }
    }

    /// Runs the hooks inside the container.
    pub(crate) fn run_hooks(&self) -> Result<(), StepError> {
        match &self.init {
            Some(init) => init.run_hooks(&self.found()?.environment),
            None => Ok(()),
        }
    }

    pub(crate) fn reset_signals(&self) -> Result<(), StepError> {
        signal::restore_for_exec().map_err(StepError::at("reset signals"))
    }

    /// One system call.
    pub(crate) fn call_program(&self) -> Result<Infallible, StepError> {
        let Found { program, call, .. } = self.found()?;
        Err(StepError::Exec {
            path: program.clone(),
            source: process::execve(&call.program, &call.arguments, &call.environment),
        })
    }

    fn found(&self) -> Result<&Found, StepError> {
        self.found.get().ok_or_else(|| StepError::Step {
            step: "exec before validate",
            source: io::ErrorKind::InvalidInput.into(),
        })
    }
}

impl Init {
    fn prepare(&self, directory: &Path) -> Result<(), StepError> {
        let after = &self.after_mounts;
        if let Some(dev) = &after.dev {
            dev.put_back().map_err(StepError::Dev)?;
        }
        for mount in &after.deferred {
            mount.attach().map_err(StepError::Mount)?;
        }
        for node in &after.nodes {
            node.make().map_err(StepError::Dev)?;
        }
        repair_dev_null()?;
        if self.new_network {
            raise_loopback()?;
        }
        for tmpfs in &after.copied {
            tmpfs.copy_up().map_err(|source| StepError::CopyUp {
                path: tmpfs.path.clone(),
                source,
            })?;
        }
        for (path, options) in &after.cgroups {
            mount::restrict(path, options).map_err(StepError::at("restrict the cgroup mounts"))?;
        }
        for (path, kind) in &after.propagations {
            rustix::mount::mount_change(path, propagation(kind)).map_err(|source| {
                StepError::Propagation {
                    path: path.clone(),
                    kind: kind.clone(),
                    source,
                }
            })?;
        }
        for (path, attributes) in &after.attributes {
            set_attributes(path, *attributes).map_err(|source| StepError::Attributes {
                path: path.clone(),
                source,
            })?;
        }
        for (key, value) in &self.sysctls {
            joined::set_sysctl(key, value).map_err(|source| StepError::Sysctl {
                key: key.clone(),
                source,
            })?;
        }
        // Images name a WORKDIR that no layer holds. Made while the root can be written; what cannot be made is told on entering.
        let _ = deferred::make_directories(directory);
        after.masks.apply().map_err(StepError::Mask)
    }

    fn run_hooks(&self, environment: &[String]) -> Result<(), StepError> {
        if self.start_container.is_empty() {
            return Ok(());
        }
        let mut state = self.state.clone();
        // in the container's own PID namespace, where the hook runs
        state.pid = i32::try_from(std::process::id()).ok();
        let variables: Vec<_> = environment
            .iter()
            .filter_map(|entry| entry.split_once('='))
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        for (index, hook) in self.start_container.iter().enumerate() {
            hook_run::run(hook, &state, &variables, Stderr::Callers)
                .map_err(|source| StepError::Hook { index, source })?;
        }
        Ok(())
    }
}

fn raise_loopback() -> Result<(), StepError> {
    match network::raise_loopback() {
        // ENODEV: a kernel without one; EPERM: a network namespace owned by somebody else
        Err(error)
            if !matches!(
                error.raw_os_error(),
                Some(libc_errno::ENODEV | libc_errno::EPERM)
            ) =>
        {
            Err(StepError::at("bring loopback up")(error))
        }
        _ => Ok(()),
    }
}

fn set_attributes(path: &Path, attributes: Attributes) -> io::Result<()> {
    let top = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    deferred::apply(top.as_fd(), attributes, false)
}

mod libc_errno {
    pub(super) const EPERM: i32 = rustix::io::Errno::PERM.raw_os_error();
    pub(super) const ENODEV: i32 = rustix::io::Errno::NODEV.raw_os_error();
}

fn propagation(kind: &str) -> MountPropagationFlags {
    let (recursive, plain) = match kind.strip_prefix('r') {
        Some(plain) => (MountPropagationFlags::REC, plain),
        None => (MountPropagationFlags::empty(), kind),
    };
    recursive
        | match plain {
            "shared" => MountPropagationFlags::SHARED,
            "slave" => MountPropagationFlags::DOWNSTREAM,
            "unbindable" => MountPropagationFlags::UNBINDABLE,
            _ => MountPropagationFlags::PRIVATE,
        }
}

/// libcontainer reopens standard streams that are on the host's /dev/null read-only on the container's: every write of the
/// program then fails with EBADF. containerd without IO passes exactly these.
fn repair_dev_null() -> Result<(), StepError> {
    let fail = |errno: Errno| StepError::at("reopen /dev/null")(errno.into());
    let standard = [
        rustix::stdio::stdin(),
        rustix::stdio::stdout(),
        rustix::stdio::stderr(),
    ];
    let null = rustix::fs::makedev(1, 3);
    for (number, stream) in standard.into_iter().enumerate() {
        let Ok(status) = rustix::fs::fstat(stream) else {
            continue;
        };
        let is_null = status.st_rdev == null
            && rustix::fs::FileType::from_raw_mode(status.st_mode)
                == rustix::fs::FileType::CharacterDevice;
        let read_only = rustix::fs::fcntl_getfl(stream)
            .is_ok_and(|flags| flags & OFlags::RWMODE == OFlags::RDONLY);
        if !is_null || !read_only {
            continue;
        }
        let opened = rustix::fs::open(
            "/dev/null",
            OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            Mode::empty(),
        )
        .map_err(fail)?;
        if rustix::fs::fstat(&opened).map_err(fail)?.st_rdev != null {
            return Err(fail(Errno::NXIO));
        }
        match number {
            0 => rustix::stdio::dup2_stdin(&opened),
            1 => rustix::stdio::dup2_stdout(&opened),
            _ => rustix::stdio::dup2_stderr(&opened),
        }
        .map_err(fail)?;
    }
    Ok(())
}

/// A session keyring of the container's own, so that keys of whoever started the runtime are out of reach.
fn join_keyring(name: &CString) -> Result<(), StepError> {
    match process::join_session_keyring(name) {
        // no keyrings in this kernel: then there is nothing to keep apart
        Err(error)
            if error.kind() != io::ErrorKind::Unsupported
                && error.raw_os_error() != Some(Errno::NOSYS.raw_os_error()) =>
        {
            Err(StepError::at("join session keyring")(error))
        }
        _ => Ok(()),
    }
}

/// Gives the standard streams to the program's user, as runc does: a program that is not root opens /dev/stdout again, and
/// for a pipe that means permissions of the pipe's inode.
fn own_standard_streams(uid: u32) {
    for stream in [
        rustix::stdio::stdin(),
        rustix::stdio::stdout(),
        rustix::stdio::stderr(),
    ] {
        let Ok(status) = rustix::fs::fstat(stream) else {
            continue;
        };
        let null = status.st_rdev == rustix::fs::makedev(1, 3);
        if status.st_uid != uid && !null {
            // not possible for every kind of file (sockets of others, read-only file systems): the stream still works
            let _ = rustix::fs::fchown(stream, Some(Uid::from_raw(uid)), None);
        }
    }
}

/// Changes to the working directory. With `make`, for the container's first process, it is made where it is missing, as runc does:
/// images name a WORKDIR that no layer holds, and engines leave it to the runtime.
fn enter_directory(path: &Path, make: bool) -> Result<(), StepError> {
    let fail = |source| StepError::Cwd {
        path: path.to_owned(),
        source,
    };
    if let Err(errno) = rustix::process::chdir(path) {
        if errno != Errno::NOENT || !make {
            return Err(fail(errno));
        }
        deferred::make_directories(path)
            .map_err(|error| fail(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
        rustix::process::chdir(path).map_err(fail)?;
    }
    // GHSA-xr7r-f8xq-vfvv: a leaked descriptor of a host directory as working directory leads out of the container; the
    // kernel then answers with "(unreachable)…" (getcwd(3))
    let inside =
        rustix::process::getcwd(Vec::new()).is_ok_and(|cwd| cwd.as_bytes().starts_with(b"/"));
    if inside {
        Ok(())
    } else {
        Err(StepError::CwdOutside)
    }
}
