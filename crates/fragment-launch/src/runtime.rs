//! Creating and running containers.

use std::ffi::CString;
use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use fragment_sys::lock::FileLock;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::container::{Container, ContainerStatus};
use libcontainer::oci_spec::runtime::{LinuxNamespaceType, LinuxSeccomp, Process};
use libcontainer::syscall::syscall::SyscallType;
use rustix::fs::Mode;
use serde::{Deserialize, Serialize};

use crate::bundle::Bundle;
use crate::capture;
use crate::cgroup::{self, Cgroup};
use crate::console::Console;
use crate::delete;
use crate::derived::{self, Derived};
use crate::error::{ContainerSide, LaunchError};
use crate::executor::{FragmentExecutor, Init};
use crate::foreground::Foreground;
use crate::hook;
use crate::id::ContainerId;
use crate::process::Identity;
use crate::record::{self, Place, Record, Stage};

/// What exec needs of the container's own process, as the bundle said it when the container was created.
const PROCESS: &str = "process.json";

/// A runtime: a state directory and how containers are made.
#[derive(Debug, Clone)]
pub struct Runtime {
    root: PathBuf,
    systemd_cgroup: bool,
}

/// How a [`Runtime`] works.
#[derive(Debug, Clone)]
pub struct RuntimeOptions {
    /// The state directory; made when a container is created.
    pub root: PathBuf,
    /// Whether systemd is to make the cgroups.
    pub systemd_cgroup: bool,
}

/// How one container is created.
#[derive(Debug, Clone)]
#[allow(clippy::struct_excessive_bools)] // one per flag of runc's command line
pub struct CreateOptions {
    /// Its name.
    pub id: ContainerId,
    /// Written with the first process's number before create returns.
    pub pid_file: Option<PathBuf>,
    /// Where the container's terminal is sent.
    pub console_socket: Option<PathBuf>,
    /// Where a descriptor of the first process is sent (pidfd_open(2)).
    pub pidfd_socket: Option<PathBuf>,
    /// Descriptors 3 up to 3 + N - 1 that the program is to have.
    pub preserve_fds: i32,
    /// MS_MOVE and chroot(2) instead of pivot_root(2), for a root on a ramdisk.
    pub no_pivot: bool,
    /// Leave the program in the caller's session keyring.
    pub no_new_keyring: bool,
    /// For `run`: return when the program has started.
    pub detach: bool,
    /// For `run`: leave the container when the program has ended.
    pub keep: bool,
    /// For `run` in the foreground: do not reap the container's orphans.
    pub no_subreaper: bool,
}

impl CreateOptions {
    /// The defaults of runc's flags.
    #[must_use]
    pub fn new(id: ContainerId) -> Self {
        Self {
            id,
            pid_file: None,
            console_socket: None,
            pidfd_socket: None,
            preserve_fds: 0,
            no_pivot: false,
            no_new_keyring: false,
            detach: false,
            keep: false,
            no_subreaper: false,
        }
    }
}

/// An overlay to mount as the container's root, inside its own mount namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootfsOverlay {
    /// Ready for fsconfig(2): `lowerdir+=…` per layer, topmost first, `upperdir=…`, `workdir=…`; each value at most 255 bytes.
    pub options: Vec<String>,
}

/// What exec reads back.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Original {
    pub(crate) process: Process,
    pub(crate) seccomp: Option<LinuxSeccomp>,
    pub(crate) user_namespace: bool,
}

impl Original {
    pub(crate) fn load(place: &Place) -> Result<Self, LaunchError> {
        let path = place.ours().join(PROCESS);
        let text = fs::read(&path).map_err(LaunchError::io("read", path.clone()))?;
        serde_json::from_slice(&text).map_err(|source| LaunchError::Record { path, source })
    }
}

impl Runtime {
    /// A runtime. Nothing is made or changed yet.
    #[must_use]
    pub fn new(options: RuntimeOptions) -> Self {
        // libcontainer compares and joins this path: it has to be the real one
        let absolute = std::path::absolute(&options.root).unwrap_or(options.root);
        let root = absolute.canonicalize().unwrap_or(absolute);
        Self {
            root,
            systemd_cgroup: options.systemd_cgroup,
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn place(&self, id: &ContainerId) -> Place {
        Place::new(&self.root, id)
    }

    /// Creates a container: everything is set up, the program waits for [`Runtime::start`]. `extra` is kept for the caller and
    /// given back by [`Runtime::record`] and [`Runtime::delete`].
    ///
    /// # Errors
    /// Everything that can be wrong with a bundle; nothing of the container is left then.
    pub fn create(
        &self,
        bundle: &Bundle,
        options: &CreateOptions,
        overlay: Option<&RootfsOverlay>,
        extra: serde_json::Value,
    ) -> Result<(), LaunchError> {
        check_terminal(terminal(bundle), true, options.console_socket.as_deref())?;
        let creation = self.prepare(bundle, options, overlay, extra)?;
        creation.build(options.console_socket.as_deref()).map(drop)
    }

    /// Creates a container and starts it. In the foreground: waits for the program, removes the container and returns the
    /// program's exit code (128 and the signal's number when one ended it). With `detach`: returns 0 after the start.
    ///
    /// # Errors
    /// As for [`Runtime::create`] and [`Runtime::start`]; nothing of the container is left then.
    pub fn run(
        &self,
        bundle: &Bundle,
        options: &CreateOptions,
        overlay: Option<&RootfsOverlay>,
        extra: serde_json::Value,
    ) -> Result<i32, LaunchError> {
        let terminal = terminal(bundle);
        check_terminal(terminal, options.detach, options.console_socket.as_deref())?;
        if options.detach {
            let creation = self.prepare(bundle, options, overlay, extra)?;
            creation.build(options.console_socket.as_deref())?;
            self.start(&options.id)
                .inspect_err(|_| self.abandon(&options.id))?;
            return Ok(0);
        }
        let foreground = Foreground::prepare(!options.no_subreaper)?;
        let creation = self.prepare(bundle, options, overlay, extra)?;
        let console = if terminal {
            Some(Console::listen(&creation.place.ours())?)
        } else {
            None
        };
        let init = creation.build(console.as_ref().map(Console::path))?;
        let finish = || {
            let relay = console.map(Console::accept).transpose()?;
            self.start(&options.id)?;
            foreground.wait(init, relay)
        };
        let code = finish().inspect_err(|_| self.abandon(&options.id))?;
        if !options.keep {
            self.delete(&options.id, true)?;
        }
        Ok(code)
    }

    /// Removes a container after an error that is already on its way to the caller.
    fn abandon(&self, id: &ContainerId) {
        if let Err(error) = self.delete(id, true) {
            tracing::warn!("clean up container {id}: {error}");
        }
    }

    fn prepare(
        &self,
        bundle: &Bundle,
        options: &CreateOptions,
        overlay: Option<&RootfsOverlay>,
        extra: serde_json::Value,
    ) -> Result<Creation, LaunchError> {
        if self.systemd_cgroup {
            check_systemd()?;
        }
        check_preserved(options.preserve_fds)?;
        let place = self.place(&options.id);
        let linux = bundle.spec.linux().as_ref();
        let named = linux.and_then(|linux| linux.cgroups_path().as_deref());
        let cgroup_path = match named {
            // slice:prefix:name, which only systemd's driver understands
            Some(path) if self.systemd_cgroup => path.to_owned(),
            named => cgroup::path_for(named, options.id.as_str()),
        };
        let mount_point = place.mount_point();
        let derived = Derived::new(
            bundle,
            overlay.map(|overlay| (overlay, mount_point.as_path())),
            &cgroup_path,
        )?;
        let lock = place.reserve()?;
        let mut creation = Creation {
            record: new_record(bundle, options, &derived, extra),
            place,
            lock: Some(lock),
            derived,
            options: options.clone(),
            systemd_cgroup: self.systemd_cgroup,
            reached_hooks: false,
        };
        let cgroup = Cgroup::at(&cgroup_path)?;
        cgroup.check_unused()?;
        creation.record.cgroup = cgroup.directories().to_vec();
        creation.write(
            linux.and_then(|linux| linux.seccomp().clone()),
            overlay.is_some(),
        )?;
        Ok(creation)
    }
}

/// A container being created: dropped before it is done, it leaves nothing behind.
struct Creation {
    place: Place,
    record: Record,
    lock: Option<FileLock>,
    derived: Derived,
    options: CreateOptions,
    systemd_cgroup: bool,
    reached_hooks: bool,
}

impl Creation {
    /// Writes what a later process has to find, before anything exists that has to be found.
    fn write(&self, seccomp: Option<LinuxSeccomp>, composed: bool) -> Result<(), LaunchError> {
        let ours = self.place.ours();
        if composed {
            let mount_point = self.place.mount_point();
            fs::create_dir(&mount_point).map_err(LaunchError::io("create", mount_point))?;
        }
        let namespaces = self
            .derived
            .spec
            .linux()
            .iter()
            .filter_map(|linux| linux.namespaces().as_ref())
            .flatten();
        let original = Original {
            process: self.derived.process.clone(),
            seccomp,
            user_namespace: namespaces
                .into_iter()
                .any(|namespace| namespace.typ() == LinuxNamespaceType::User),
        };
        write_json(&ours.join("config.json"), &self.derived.spec)?;
        write_json(&ours.join(PROCESS), &original)?;
        self.place.save(&self.record)
    }

    /// Has libcontainer make the container; the number of its first process.
    fn build(mut self, console: Option<&Path>) -> Result<i32, LaunchError> {
        self.reached_hooks = true;
        let container = self.call_libcontainer(console)?;
        let pid = container.state.pid.unwrap_or_default();
        // libcontainer refuses exec in a container it holds for created; where it is in its life is ours to know
        let mut state = container.state;
        state.status = ContainerStatus::Running;
        write_json(
            &libcontainer::container::State::file_path(&self.place.libcontainer()),
            &state,
        )?;
        self.record.init =
            Some(Identity::of(pid).map_err(LaunchError::system("find the container's process"))?);
        self.record.stage = Stage::Created;
        self.place.save(&self.record)?;
        announce(
            pid,
            self.options.pid_file.as_deref(),
            self.options.pidfd_socket.as_deref(),
        )?;
        self.lock = None;
        Ok(pid)
    }

    fn call_libcontainer(&self, console: Option<&Path>) -> Result<Container, LaunchError> {
        let mark = capture::mark();
        let _surroundings = Surroundings::calm();
        let mut builder = ContainerBuilder::new(self.place.id().to_owned(), SyscallType::default())
            .with_executor(self.executor())
            .with_preserved_fds(self.options.preserve_fds)
            .with_console_socket(console);
        builder = builder
            .with_root_path(self.place.root())
            .map_err(|error| process_error(&error, &mark))?;
        builder
            .as_init(self.place.ours())
            .with_systemd(self.systemd_cgroup)
            .with_no_pivot(self.options.no_pivot)
            // the foreground loop is ours, and so is its terminal
            .with_detach(true)
            .build()
            .map_err(|error| process_error(&error, &mark))
    }

    fn executor(&self) -> FragmentExecutor {
        let linux = self.derived.spec.linux().as_ref();
        let namespaces = linux.and_then(|linux| linux.namespaces().as_ref());
        let new_network = namespaces.into_iter().flatten().any(|namespace| {
            namespace.typ() == LinuxNamespaceType::Network && namespace.path().is_none()
        });
        // what is left in the derived specification is loaded by libcontainer
        let ours = linux.is_none_or(|linux| linux.seccomp().is_none());
        let seccomp = Original::load(&self.place)
            .ok()
            .and_then(|original| original.seccomp)
            .filter(|_| ours);
        let init = Init {
            new_network,
            propagations: self.derived.propagations.clone(),
            start_container: self.derived.start_container.clone(),
            state: hook::state_of(&self.record, ContainerStatus::Created),
        };
        let keyring = keyring(self.options.no_new_keyring, self.place.id());
        FragmentExecutor::new(self.derived.process.clone(), seccomp, keyring, Some(init))
    }
}

impl Drop for Creation {
    fn drop(&mut self) {
        if self.lock.is_none() {
            return;
        }
        // the error that brought us here is on its way to the caller; what cannot be removed now, delete --force can
        if self.reached_hooks {
            if let Err(error) = delete::end_processes(&self.record) {
                tracing::warn!("clean up after a failed create: {error}");
                return;
            }
            // config.md, "Lifecycle": after a failed hook of creation the container is destroyed, poststop included
            hook::run_poststop(&self.record);
        }
        if let Err(error) = self.place.remove() {
            tracing::warn!("clean up after a failed create: {error}");
        }
    }
}

fn new_record(
    bundle: &Bundle,
    options: &CreateOptions,
    derived: &Derived,
    extra: serde_json::Value,
) -> Record {
    Record {
        id: options.id.to_string(),
        bundle: bundle.dir.clone(),
        rootfs: bundle.rootfs().unwrap_or_default(),
        annotations: bundle.spec.annotations().clone().unwrap_or_default(),
        created: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Nanos, true),
        owner: rustix::process::geteuid().as_raw(),
        stage: Stage::Creating,
        init: None,
        cgroup: Vec::new(),
        no_new_keyring: options.no_new_keyring,
        poststart: derived.poststart.clone(),
        poststop: derived.poststop.clone(),
        extra,
    }
}

/// The session keyring of a container, by runc's name for it.
pub(crate) fn keyring(no_new: bool, id: &str) -> Option<CString> {
    if no_new {
        None
    } else {
        CString::new(format!("_ses.{id}")).ok()
    }
}

pub(crate) fn process_error(
    error: &libcontainer::error::LibcontainerError,
    mark: &capture::Mark,
) -> LaunchError {
    LaunchError::Process {
        source: ContainerSide::new(error, &capture::since(mark)),
    }
}

fn terminal(bundle: &Bundle) -> bool {
    bundle
        .spec
        .process()
        .as_ref()
        .and_then(Process::terminal)
        .unwrap_or(false)
}

/// A terminal that nobody holds needs a socket to be sent to; without a terminal there is nothing to send.
pub(crate) fn check_terminal(
    terminal: bool,
    detach: bool,
    socket: Option<&Path>,
) -> Result<(), LaunchError> {
    match (terminal && detach, socket) {
        (true, None) => Err(LaunchError::ConsoleMissing),
        (false, Some(_)) => Err(LaunchError::ConsoleUnused),
        _ => Ok(()),
    }
}

/// A descriptor that is not open now would be one of the runtime's own by the time the program starts.
pub(crate) fn check_preserved(count: i32) -> Result<(), LaunchError> {
    match (3..3_i32.saturating_add(count)).find(|fd| !fragment_sys::process::is_open(*fd)) {
        Some(fd) => Err(LaunchError::PreservedFd { fd }),
        None => Ok(()),
    }
}

fn check_systemd() -> Result<(), LaunchError> {
    // sd_booted(3)
    let booted = Path::new("/run/systemd/system").is_dir();
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    if booted && unified {
        Ok(())
    } else {
        Err(LaunchError::NoSystemd)
    }
}

/// Tells the caller which process it is.
pub(crate) fn announce(
    pid: i32,
    pid_file: Option<&Path>,
    pidfd_socket: Option<&Path>,
) -> Result<(), LaunchError> {
    if let Some(path) = pid_file {
        record::replace(path, pid.to_string().as_bytes(), 0o644)?;
    }
    if let Some(path) = pidfd_socket {
        send_pidfd(pid, path).map_err(LaunchError::io("send the process's descriptor to", path))?;
    }
    Ok(())
}

fn send_pidfd(pid: i32, socket: &Path) -> std::io::Result<()> {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
    let process = Identity::of(pid)?
        .open()?
        .ok_or(std::io::ErrorKind::NotFound)?;
    let stream = std::os::unix::net::UnixStream::connect(socket)?;
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [process.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    rustix::net::sendmsg(
        &stream,
        &[std::io::IoSlice::new(b"pidfd")],
        &mut control,
        SendFlags::empty(),
    )?;
    Ok(())
}

pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), LaunchError> {
    let text = serde_json::to_vec(value).map_err(|source| LaunchError::Record {
        path: path.to_owned(),
        source,
    })?;
    record::replace(path, &text, 0o600)
}

/// What libcontainer takes from this process and should not: restored when dropped.
pub(crate) struct Surroundings {
    umask: Mode,
}

impl Surroundings {
    /// A umask that lets the directories made for mounts be entered, and a working directory that exists: libcontainer
    /// changes to its own and back.
    pub(crate) fn calm() -> Self {
        if std::env::current_dir().is_err() {
            let _ = std::env::set_current_dir("/");
        }
        Self {
            umask: rustix::process::umask(Mode::from_raw_mode(0o022)),
        }
    }
}

impl Drop for Surroundings {
    fn drop(&mut self) {
        rustix::process::umask(self.umask);
    }
}

/// The process of exec in the form libcontainer is to see it.
pub(crate) fn stripped(process: &Process) -> Process {
    derived::stripped(process, false)
}
