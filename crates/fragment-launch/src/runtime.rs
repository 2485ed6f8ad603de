//! Creating and running containers.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fragment_cgroup::{Resources, in_user_namespace};
use fragment_compose::{Composition, Route};
use libcontainer::oci_spec::runtime::{
    LinuxMemoryPolicy, LinuxPersonality, LinuxSeccomp, Process, Spec,
};
use rustix::fs::Mode;
use serde::{Deserialize, Serialize};

use crate::creation::capture;
use crate::creation::cgroup;
use crate::creation::create::Creation;
use crate::creation::network::Underway;
use crate::error::{ContainerSide, LaunchError};
use crate::lifecycle::console::Console;
use crate::lifecycle::foreground::{self, Foreground};
use crate::records::id::ContainerId;
use crate::records::process::Identity;
use crate::records::record::{self, Place, Stage};
use crate::records::state::Status;
use crate::specification::bundle::{self, Bundle};
use crate::specification::derived::Derived;

/// What exec needs of the container's own process, as the bundle said it when the container was created.
const PROCESS: &str = "process.json";
/// How long a run in the foreground waits for the program to be there before it passes on what comes from it: hooks inside the
/// container may write to its terminal.
const BECOMING: Duration = Duration::from_millis(100);

/// A runtime: a state directory and how containers are made.
#[derive(Debug, Clone)]
pub struct Runtime {
    root: PathBuf,
    systemd_cgroup: bool,
    rootless: Option<bool>,
}

/// How a [`Runtime`] works.
#[derive(Debug, Clone)]
pub struct RuntimeOptions {
    /// The state directory; made when a container is created.
    pub root: PathBuf,
    /// Whether systemd is to make the cgroups.
    pub systemd_cgroup: bool,
    /// Whether a lack of rights over cgroups is expected; found out when not said.
    pub rootless: Option<bool>,
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
    /// For `run` in the foreground: how long the program may run; then it is killed and the exit code is 124, as by timeout(1).
    pub time_limit: Option<Duration>,
    /// For `run` in the foreground: told when the program runs.
    pub started: Option<StartNotice>,
}

/// Somebody who is told when a program runs.
#[derive(Debug, Clone)]
pub struct StartNotice {
    to: Arc<File>,
    words: Vec<u8>,
}

impl StartNotice {
    /// These words are written to the file.
    #[must_use]
    pub fn new(to: Arc<File>, words: Vec<u8>) -> Self {
        Self { to, words }
    }

    fn give(&self) {
        // who does not listen any more need not be told
        let _ = (&*self.to).write_all(&self.words);
    }
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
            time_limit: None,
            started: None,
        }
    }
}

/// What exec reads back.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Original {
    pub(crate) process: Process,
    pub(crate) seccomp: Option<LinuxSeccomp>,
    #[serde(default)]
    pub(crate) personality: Option<LinuxPersonality>,
    #[serde(default)]
    pub(crate) memory_policy: Option<LinuxMemoryPolicy>,
}

impl Original {
    /// A process's description, with what it leaves out and a container's processes have in common.
    pub(crate) fn complete(&self, mut process: Process) -> Process {
        let own = &self.process;
        if process.capabilities().is_none() {
            process.set_capabilities(own.capabilities().clone());
        }
        if process.rlimits().as_ref().is_none_or(Vec::is_empty) {
            process.set_rlimits(own.rlimits().clone());
        }
        if process.oom_score_adj().is_none() {
            process.set_oom_score_adj(own.oom_score_adj());
        }
        if process.scheduler().is_none() {
            process.set_scheduler(own.scheduler().clone());
        }
        if process.io_priority().is_none() {
            process.set_io_priority(*own.io_priority());
        }
        if process.exec_cpu_affinity().is_none() {
            process.set_exec_cpu_affinity(own.exec_cpu_affinity().clone());
        }
        let given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        if !given(process.apparmor_profile()) {
            process.set_apparmor_profile(own.apparmor_profile().clone());
        }
        if !given(process.selinux_label()) {
            process.set_selinux_label(own.selinux_label().clone());
        }
        if process.user().umask().is_none() {
            let umask = own.user().umask();
            process.user_mut().set_umask(umask);
        }
        process
    }

    pub(crate) fn save(&self, place: &Place) -> Result<(), LaunchError> {
        write_json(&place.ours().join(PROCESS), self)
    }

    pub(crate) fn load(place: &Place) -> Result<Self, LaunchError> {
        let path = place.ours().join(PROCESS);
        let text = fs::read(&path).map_err(LaunchError::io("read", path.clone()))?;
        bundle::read_as(&text).map_err(|source| LaunchError::Record { path, source })
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
            rootless: options.rootless,
        }
    }

    /// Whether there is a container of this name, whatever its state.
    #[must_use]
    pub fn exists(&self, id: &ContainerId) -> bool {
        self.place(id).exists()
    }

    /// A directory of this container alone, which goes with it: for what a composition makes beside the bundle. It is made
    /// by create.
    #[must_use]
    pub fn scratch(&self, id: &ContainerId) -> PathBuf {
        self.place(id).ours()
    }

    /// The state directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn place(&self, id: &ContainerId) -> Place {
        Place::new(&self.root, id)
    }

    /// Begins with what takes long and depends on the bundle alone, for [`Runtime::create`] or [`Runtime::run`] to go on with.
    ///
    /// # Errors
    /// When a descriptor that is to be handed on is not open.
    pub fn begin(&self, bundle: &Bundle, options: &CreateOptions) -> Result<Underway, LaunchError> {
        // first: what is opened from here on would have such a number
        check_preserved(options.preserve_fds)?;
        Ok(Underway::of(&bundle.spec))
    }

    /// Creates a container: everything is set up, the program waits for [`Runtime::start`]. `extra` is kept for the caller and
    /// given back by [`Runtime::extra`] and [`Runtime::delete`].
    ///
    /// # Errors
    /// Everything that can be wrong with a bundle; nothing of the container is left then.
    pub fn create(
        &self,
        bundle: &Bundle,
        options: &CreateOptions,
        underway: Underway,
        composition: Option<&Composition>,
        extra: &[u8],
    ) -> Result<(), LaunchError> {
        check_terminal(
            terminal(&bundle.spec),
            true,
            options.console_socket.as_deref(),
        )?;
        let creation = self.prepare(bundle, options, underway, composition, extra)?;
        creation
            .build(options.console_socket.as_deref(), Stage::Created)
            .map(drop)
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
        underway: Underway,
        composition: Option<&Composition>,
        extra: &[u8],
    ) -> Result<i32, LaunchError> {
        let terminal = terminal(&bundle.spec);
        check_terminal(terminal, options.detach, options.console_socket.as_deref())?;
        if options.detach {
            let creation = self.prepare(bundle, options, underway, composition, extra)?;
            let made = creation.build(options.console_socket.as_deref(), Stage::Started)?;
            made.start(None)
                .inspect_err(|_| self.abandon(&options.id))?;
            return Ok(0);
        }
        let foreground = Foreground::prepare(!options.no_subreaper)?;
        let creation = self.prepare(bundle, options, underway, composition, extra)?;
        let console = if terminal {
            Some(Console::listen(&creation.directory())?)
        } else {
            None
        };
        let made = creation.build(console.as_ref().map(Console::path), Stage::Started)?;
        let init = made.pid();
        let finish = || {
            let relay = console.map(Console::accept).transpose()?;
            made.start(Some(BECOMING))
                .map_err(|error| ended_early(error, init))?;
            if let Some(notice) = &options.started {
                notice.give();
            }
            foreground.wait(init, relay, options.time_limit)
        };
        let code = finish().inspect_err(|_| self.abandon(&options.id))?;
        if !options.keep {
            self.delete(&options.id, true)?;
        }
        Ok(code)
    }

    /// Removes a container after an error that is already on its way to the caller.
    pub(crate) fn abandon(&self, id: &ContainerId) {
        if let Err(error) = self.delete(id, true) {
            tracing::warn!("clean up container {id}: {error}");
        }
    }

    /// Without the machine's root rights: as an ordinary user, or as root of a user namespace, as rootless engines run it.
    fn is_rootless(&self) -> bool {
        let found = || !rustix::process::geteuid().is_root() || in_user_namespace();
        self.rootless.unwrap_or_else(found)
    }

    pub(crate) fn prepare(
        &self,
        bundle: &Bundle,
        options: &CreateOptions,
        underway: Underway,
        composition: Option<&Composition>,
        extra: &[u8],
    ) -> Result<Creation, LaunchError> {
        let _span = tracing::debug_span!("prepare").entered();
        let place = self.place(&options.id);
        let linux = bundle.spec.linux().as_ref();
        let cgroup = cgroup::place(
            &bundle.spec,
            &options.id,
            self.is_rootless(),
            self.systemd_cgroup,
        )?;
        let resources = Resources::of(cgroup::resources(&bundle.spec))?;
        // nothing to make: the bundle is complete
        let composition = composition.filter(|composition| !composition.residue.is_empty());
        let moved = composition.is_some_and(|composition| composition.route == Route::Inside);
        let derived = Derived::new(bundle, &place.mount_point(), moved)?;
        let cgroup = (cgroup, resources);
        let mut creation = Creation::reserve(place, bundle, options, derived, cgroup)?;
        let seccomp = linux.and_then(|linux| linux.seccomp().clone());
        creation.prepare(composition, seccomp, underway, extra)?;
        Ok(creation)
    }
}

/// The start of a container that is stopped, explained by how its first process, a child of ours, ended.
fn ended_early(error: LaunchError, init: i32) -> LaunchError {
    match error {
        LaunchError::Status {
            id,
            status: Status::Stopped,
            ..
        } => match foreground::ended(init) {
            Some(code) => LaunchError::EndedEarly { id, code },
            None => LaunchError::NotRunning { id },
        },
        other => other,
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
    spec: Option<&Spec>,
) -> LaunchError {
    LaunchError::Process {
        source: ContainerSide::new(error, &capture::since(mark), spec),
    }
}

pub(crate) fn terminal(spec: &Spec) -> bool {
    spec.process()
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

/// Writes a file that is read when the record says that the container is created, and not before.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), LaunchError> {
    let text = serde_json::to_vec(value).map_err(|source| LaunchError::Record {
        path: path.to_owned(),
        source,
    })?;
    record::write(path, &text, 0o600)
}

/// What libcontainer takes from this process and should not: restored when dropped.
pub(crate) struct Surroundings {
    umask: Mode,
    before: Option<PathBuf>,
}

impl Surroundings {
    /// A umask that lets the directories made for mounts be entered, and a working directory that exists, `directory` where
    /// one is named: libcontainer changes to its own and back.
    pub(crate) fn calm_in(directory: Option<&Path>) -> std::io::Result<Self> {
        let before = std::env::current_dir();
        if before.is_err() || directory.is_some() {
            std::env::set_current_dir(directory.unwrap_or(Path::new("/")))?;
        }
        Ok(Self {
            umask: rustix::process::umask(Mode::from_raw_mode(0o022)),
            before: before.ok().filter(|_| directory.is_some()),
        })
    }
}

impl Drop for Surroundings {
    fn drop(&mut self) {
        rustix::process::umask(self.umask);
        if let Some(before) = &self.before {
            // it can have gone meanwhile
            let _ = std::env::set_current_dir(before);
        }
    }
}
