//! Another process in a running container.

use std::fs;
use std::path::{Path, PathBuf};

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::oci_spec::runtime::{Capability, LinuxCapabilities, Process};
use libcontainer::syscall::syscall::SyscallType;

use crate::capture;
use crate::cgroup::Cgroup;
use crate::console::Console;
use crate::derived;
use crate::error::LaunchError;
use crate::executor::FragmentExecutor;
use crate::foreground::Foreground;
use crate::id::ContainerId;
use crate::record::{Place, Record};
use crate::runtime::{
    Original, Runtime, Surroundings, announce, check_preserved, check_terminal, keyring,
    process_error, stripped, write_json,
};
use crate::seccomp;
use crate::state::{Status, status_of};

/// How a process is started in a container.
#[derive(Debug, Clone, Default)]
pub struct ExecOptions {
    /// Written with the process's number before exec returns.
    pub pid_file: Option<PathBuf>,
    /// Where the terminal is sent.
    pub console_socket: Option<PathBuf>,
    /// Where a descriptor of the process is sent.
    pub pidfd_socket: Option<PathBuf>,
    /// Descriptors 3 up to 3 + N - 1 that the program is to have.
    pub preserve_fds: i32,
    /// Return when the program has started.
    pub detach: bool,
    /// Also in a paused container: the process is frozen with the others.
    pub ignore_paused: bool,
    /// A cgroup below the container's, which must exist.
    pub cgroup: Option<String>,
    /// Do not reap orphans while waiting.
    pub no_subreaper: bool,
}

/// A user as given on a command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserChange {
    /// User id.
    pub uid: u32,
    /// Group id; the container's own process's when not given.
    pub gid: Option<u32>,
}

/// How a process differs from the container's own.
#[derive(Debug, Clone, Default)]
pub struct ProcessChanges {
    /// The command.
    pub args: Vec<String>,
    /// Whether it gets a terminal.
    pub terminal: bool,
    /// Working directory.
    pub cwd: Option<PathBuf>,
    /// Added to the environment.
    pub env: Vec<String>,
    /// Another user.
    pub user: Option<UserChange>,
    /// Added to the additional groups.
    pub additional_gids: Vec<u32>,
    /// Added to the capabilities.
    pub capabilities: Vec<Capability>,
    /// Sets no_new_privs.
    pub no_new_privileges: Option<bool>,
    /// Another AppArmor profile.
    pub apparmor_profile: Option<String>,
    /// Another SELinux label.
    pub selinux_label: Option<String>,
}

impl ProcessChanges {
    /// The container's process with these changes.
    fn apply(self, mut process: Process) -> Process {
        process
            .set_args(Some(self.args))
            .set_terminal(Some(self.terminal));
        if let Some(cwd) = self.cwd {
            process.set_cwd(cwd);
        }
        let mut env = process.env().clone().unwrap_or_default();
        for entry in self.env {
            let name = entry.split('=').next().unwrap_or_default();
            env.retain(|old| old.split('=').next() != Some(name));
            env.push(entry);
        }
        process.set_env(Some(env));
        let mut user = process.user().clone();
        if let Some(change) = self.user {
            let gid = change.gid.unwrap_or(user.gid());
            user.set_uid(change.uid).set_gid(gid);
        }
        if !self.additional_gids.is_empty() {
            let mut gids = user.additional_gids().clone().unwrap_or_default();
            gids.extend(self.additional_gids);
            user.set_additional_gids(Some(gids));
        }
        process.set_user(user);
        if !self.capabilities.is_empty() {
            process.set_capabilities(Some(widened(
                process.capabilities().as_ref(),
                &self.capabilities,
            )));
        }
        if let Some(on) = self.no_new_privileges {
            process.set_no_new_privileges(Some(on));
        }
        if self.apparmor_profile.is_some() {
            process.set_apparmor_profile(self.apparmor_profile);
        }
        if self.selinux_label.is_some() {
            process.set_selinux_label(self.selinux_label);
        }
        process
    }
}

/// Adds to bounding, effective and permitted, as runc: inheritable would reach programs nobody gave it (CVE-2022-29162), and
/// ambient needs inheritable.
fn widened(old: Option<&LinuxCapabilities>, added: &[Capability]) -> LinuxCapabilities {
    let mut empty = LinuxCapabilities::default();
    empty
        .set_bounding(None)
        .set_effective(None)
        .set_inheritable(None)
        .set_permitted(None)
        .set_ambient(None);
    let mut all = old.cloned().unwrap_or(empty);
    let widen = |set: &Option<libcontainer::oci_spec::runtime::Capabilities>| {
        let mut set = set.clone().unwrap_or_default();
        set.extend(added.iter().copied());
        Some(set)
    };
    let (bounding, effective, permitted) = (
        widen(all.bounding()),
        widen(all.effective()),
        widen(all.permitted()),
    );
    all.set_bounding(bounding)
        .set_effective(effective)
        .set_permitted(permitted);
    all
}

impl Runtime {
    /// The process exec is to start: the container's own with changes.
    ///
    /// # Errors
    /// When there is no such container.
    pub fn exec_process(
        &self,
        id: &ContainerId,
        changes: ProcessChanges,
    ) -> Result<Process, LaunchError> {
        let place = self.place(id);
        place.load_complete()?;
        Ok(changes.apply(Original::load(&place)?.process))
    }

    /// Starts a process in a running container. In the foreground: waits for it and returns its exit code. With `detach`:
    /// returns 0 when it has started.
    ///
    /// # Errors
    /// When the container does not run or the process cannot be started.
    pub fn exec(
        &self,
        id: &ContainerId,
        mut process: Process,
        options: &ExecOptions,
    ) -> Result<i32, LaunchError> {
        let place = self.place(id);
        let record = place.load_complete()?;
        let original = Original::load(&place)?;
        self.check_exec(&place, &record, &original, options)?;
        if process.capabilities().is_none() {
            process.set_capabilities(original.process.capabilities().clone());
        }
        derived::check_process(&process)?;
        let terminal = process.terminal().unwrap_or(false);
        check_terminal(terminal, options.detach, options.console_socket.as_deref())?;
        check_preserved(options.preserve_fds)?;
        let seccomp = original.seccomp.clone();
        let executor = FragmentExecutor::new(
            process.clone(),
            seccomp,
            keyring(record.no_new_keyring, place.id()),
            None,
        );
        if options.detach {
            let pid = enter(
                &place,
                &process,
                executor,
                options,
                options.console_socket.as_deref(),
            )?;
            announce(
                pid,
                options.pid_file.as_deref(),
                options.pidfd_socket.as_deref(),
            )?;
            return Ok(0);
        }
        let foreground = Foreground::prepare(!options.no_subreaper)?;
        let directory = ExecDirectory::new(&place)?;
        let console = if terminal {
            Some(Console::listen(&directory.0)?)
        } else {
            None
        };
        let pid = enter(
            &place,
            &process,
            executor,
            options,
            console.as_ref().map(Console::path),
        )?;
        announce(
            pid,
            options.pid_file.as_deref(),
            options.pidfd_socket.as_deref(),
        )?;
        let relay = console.map(Console::accept).transpose()?;
        foreground.wait(pid, relay, None)
    }

    fn check_exec(
        &self,
        place: &Place,
        record: &Record,
        original: &Original,
        options: &ExecOptions,
    ) -> Result<(), LaunchError> {
        match status_of(place, record)? {
            Status::Running | Status::Created => {}
            Status::Paused if options.ignore_paused => {}
            status => {
                return Err(LaunchError::Status {
                    operation: "exec in",
                    id: record.id.clone(),
                    status,
                });
            }
        }
        if original.user_namespace {
            // libcontainer joins every namespace of the container but this one: the process would be the host's root
            return Err(LaunchError::ExecUnsupported("a user namespace"));
        }
        if original.seccomp.as_ref().is_some_and(seccomp::notifies) {
            return Err(LaunchError::ExecUnsupported(
                "a seccomp filter that notifies a listener",
            ));
        }
        let missing = |path: &str| {
            let inside = path.trim_start_matches('/');
            let cgroup = Cgroup::recorded(record.cgroup.clone());
            cgroup
                .directories()
                .iter()
                .map(|directory| directory.join(inside))
                .find(|path| !path.is_dir())
        };
        match options.cgroup.as_deref().and_then(missing) {
            Some(path) => Err(LaunchError::NoSubCgroup { path }),
            None => Ok(()),
        }
    }
}

/// Has libcontainer start the process; its number.
fn enter(
    place: &Place,
    process: &Process,
    mut executor: FragmentExecutor,
    options: &ExecOptions,
    console: Option<&Path>,
) -> Result<i32, LaunchError> {
    let directory = ExecDirectory::new(place)?;
    let file = directory.0.join("process.json");
    write_json(&file, &stripped(process))?;
    let _one_at_a_time = place.lock_exec()?;
    let leftovers = Leftovers::of(place);
    let mark = capture::mark();
    let _surroundings = Surroundings::calm();
    executor.entrances = Cgroup::recorded(place.load_complete()?.cgroup).entrances()?;
    let builder = ContainerBuilder::new(place.id().to_owned(), SyscallType::default())
        .with_executor(executor)
        .with_preserved_fds(options.preserve_fds)
        .with_console_socket(console)
        .with_root_path(place.root())
        .map_err(|error| process_error(&error, &mark, None))?;
    let cgroup = options
        .cgroup
        .as_deref()
        .map(|path| path.trim_start_matches('/').to_owned());
    let built = builder
        .as_tenant()
        .with_process(Some(&file))
        .with_detach(true)
        .with_ignore_paused(options.ignore_paused)
        .with_sub_cgroup(cgroup.filter(|path| !path.is_empty()))
        .build();
    drop(leftovers);
    let pid = built.map_err(|error| process_error(&error, &mark, None))?;
    Ok(pid.as_raw())
}

/// A directory for one exec.
struct ExecDirectory(PathBuf);

impl ExecDirectory {
    fn new(place: &Place) -> Result<Self, LaunchError> {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = place
            .ours()
            .join(format!("exec-{}-{count}", std::process::id()));
        // left by an exec that was killed and had the same number
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).map_err(LaunchError::io("create", path.clone()))?;
        Ok(Self(path))
    }
}

impl Drop for ExecDirectory {
    fn drop(&mut self) {
        // the container may have been deleted meanwhile
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The sockets libcontainer makes for an exec and never removes: those that are new when this is dropped.
struct Leftovers {
    directory: PathBuf,
    before: Vec<std::ffi::OsString>,
}

impl Leftovers {
    fn of(place: &Place) -> Self {
        let directory = place.libcontainer();
        let before = names(&directory);
        Self { directory, before }
    }
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        for name in names(&self.directory) {
            if name.to_string_lossy().starts_with("tenant-") && !self.before.contains(&name) {
                let _ = fs::remove_file(self.directory.join(name));
            }
        }
    }
}

fn names(directory: &Path) -> Vec<std::ffi::OsString> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .map(|entry| entry.file_name())
        .collect()
}
