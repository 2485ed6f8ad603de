//! Another process in a running container.

use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::{Capability, LinuxCapabilities, Process};
use rustix::process::{Pid, Signal, WaitOptions};

use crate::error::LaunchError;
use crate::inside::executor::FragmentExecutor;
use crate::joining::admission::{Admission, SubCgroups};
use crate::joining::namespaces::Namespaces;
use crate::joining::tenant::{Entered, Tenant};
use crate::lifecycle::console::{ConsoleSocket, Relay};
use crate::lifecycle::foreground::Foreground;
use crate::records::id::ContainerId;
use crate::records::record::{Place, Record};
use crate::records::state::{Status, status_of};
use crate::runtime::{Original, Runtime, announce, check_preserved, check_terminal, keyring};
use crate::specification::derived;

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
    /// The cgroup below the container's to put the process into, which must exist.
    pub cgroup: SubCgroups,
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
        process: Process,
        options: &ExecOptions,
    ) -> Result<i32, LaunchError> {
        let _span = tracing::debug_span!("exec").entered();
        let place = self.place(id);
        let record = place.load_complete()?;
        let original = Original::load(&place)?;
        let status = check_exec(&place, &record, options)?;
        let process = original.complete(process);
        derived::check_process(&process)?;
        let terminal = process.terminal().unwrap_or(false);
        check_terminal(terminal, options.detach, options.console_socket.as_deref())?;
        check_preserved(options.preserve_fds)?;
        let console = ConsoleSocket::connect(options.console_socket.as_deref())?;
        let foreground = match options.detach {
            true => None,
            // an orphan of the process is the container's first process's to reap, or the host's
            false => Some(Foreground::prepare(false)?),
        };
        let gone = || LaunchError::Exec {
            status: Status::Stopped,
        };
        let init = record.init.ok_or_else(gone)?;
        let namespaces = Namespaces::of(init)
            .map_err(LaunchError::system("open the container's namespaces"))?
            .ok_or_else(gone)?;
        let keyring = keyring(record.no_new_keyring, place.id());
        let directories: Vec<PathBuf> = record.cgroup.directories().map(Path::to_owned).collect();
        let tenant = Tenant {
            executor: &FragmentExecutor::new(process, original.seccomp, keyring, None),
            namespaces,
            admission: Admission::open(&directories, &options.cgroup, init.pid)?,
            personality: original.personality,
            memory_policy: original.memory_policy,
            preserved: u32::try_from(options.preserve_fds).unwrap_or(0),
            record: &record,
            status,
            foreground: foreground.is_some(),
        };
        let entered = tenant.enter()?;
        follow(entered, console, foreground, options)
    }
}

/// What is left to do for a process whose program runs; it is killed when that cannot be done.
fn follow(
    entered: Entered,
    console: Option<ConsoleSocket>,
    foreground: Option<Foreground>,
    options: &ExecOptions,
) -> Result<i32, LaunchError> {
    let Entered { pid, terminal } = entered;
    let announced = || -> Result<(), LaunchError> {
        announce(
            pid,
            options.pid_file.as_deref(),
            options.pidfd_socket.as_deref(),
        )?;
        if let (Some(console), Some(terminal)) = (&console, &terminal) {
            console.send(terminal)?;
        }
        Ok(())
    };
    announced().inspect_err(|_| end(pid))?;
    drop(console);
    let Some(foreground) = foreground else {
        return Ok(0);
    };
    let relay = terminal.map(Relay::new).transpose();
    foreground.wait(pid, relay.inspect_err(|_| end(pid))?, None)
}

/// Kills a child of ours that has not been waited for, and waits for it.
fn end(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, Signal::KILL);
        let _ = rustix::process::waitpid(Some(pid), WaitOptions::empty());
    }
}

fn check_exec(
    place: &Place,
    record: &Record,
    options: &ExecOptions,
) -> Result<Status, LaunchError> {
    match status_of(place, record)? {
        status @ (Status::Running | Status::Created) => Ok(status),
        status @ Status::Paused if options.ignore_paused => Ok(status),
        status => Err(LaunchError::Exec { status }),
    }
}
