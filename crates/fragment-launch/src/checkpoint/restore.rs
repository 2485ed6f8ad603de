//! Making a container of the images of another (criu(8)).

use std::ffi::{CString, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

use fragment_sys::fork::{Parent, fork};
use fragment_sys::{mount, process, signal};
use libcontainer::oci_spec::runtime::Spec;
use rustix::mount::MountPropagationFlags;
use rustix::process::{Pid, WaitOptions};

use crate::checkpoint::criu::{
    Conversation, Criu, CriuError, CriuOptions, foreign_network, host_mounts,
};
use crate::checkpoint::mount_points;
use crate::checkpoint::protocol::Answer;
use crate::checkpoint::save::{DESCRIPTORS, NETWORK};
use crate::creation::hook;
use crate::creation::network::Underway;
use crate::error::LaunchError;
use crate::inside::program;
use crate::lifecycle::console::{ConsoleSocket, Relay};
use crate::lifecycle::foreground::Foreground;
use crate::records::record::Record;
use crate::runtime::{CreateOptions, Runtime, check_preserved, check_terminal, terminal};
use crate::specification::bundle::Bundle;

const CGROUPS: &str = "/sys/fs/cgroup";

/// How a container is restored.
#[derive(Debug, Clone, Default)]
pub struct RestoreOptions {
    /// What checkpoint was told too.
    pub criu: CriuOptions,
    /// Another LSM profile: `selinux:NAME` or `apparmor:NAME`.
    pub lsm_profile: Option<String>,
    /// Another context for mounts.
    pub lsm_mount_context: Option<String>,
}

impl Runtime {
    /// Makes a container of images. In the foreground: waits for its program, removes it and gives the program's exit code.
    ///
    /// # Errors
    /// As for [`Runtime::create`], and when criu is not there or fails; nothing of the container is left then.
    pub fn restore(
        &self,
        bundle: &Bundle,
        options: &CreateOptions,
        restore: &RestoreOptions,
    ) -> Result<i32, LaunchError> {
        let terminal = terminal(&bundle.spec);
        check_terminal(terminal, options.detach, options.console_socket.as_deref())?;
        check_hooks(&bundle.spec)?;
        let foreground = match options.detach {
            true => None,
            false => Some(Foreground::prepare(!options.no_subreaper)?),
        };
        check_preserved(options.preserve_fds)?;
        // criu makes all namespaces
        let underway = Underway::default();
        let mut creation = self.prepare(bundle, options, underway, None, &[])?;
        let console = ConsoleSocket::connect(options.console_socket.as_deref())?;
        let number = creation.directory().join("criu.pid");
        let record = creation.begin_processes().clone();
        let (pid, master) = revive(&bundle.spec, &record, restore, &number)?;
        let record = creation.adopt(pid)?;
        if let (Some(console), Some(master)) = (console, &master) {
            console
                .send(master)
                .inspect_err(|_| self.abandon(&options.id))?;
        }
        hook::run_poststart(&record).inspect_err(|_| self.abandon(&options.id))?;
        let Some(foreground) = foreground else {
            return Ok(0);
        };
        let relay = master.map(Relay::new).transpose();
        let relay = relay.inspect_err(|_| self.abandon(&options.id))?;
        let code = foreground.wait(pid, relay, None);
        let code = code.inspect_err(|_| self.abandon(&options.id))?;
        self.delete(&options.id, true)?;
        Ok(code)
    }
}

/// Hooks that run before there is a process need criu to stop on its way.
fn check_hooks(spec: &Spec) -> Result<(), CriuError> {
    let Some(hooks) = spec.hooks() else {
        return Ok(());
    };
    #[allow(deprecated)] // prestart, which engines still write
    let early = [
        hooks.prestart(),
        hooks.create_runtime(),
        hooks.create_container(),
    ];
    if early.into_iter().flatten().any(|hooks| !hooks.is_empty()) {
        return Err(CriuError::Unsupported(
            "prestart, createRuntime or createContainer hooks",
        ));
    }
    Ok(())
}

/// Has criu make the processes; gives the first one's number, a child of this process, and its terminal's other side. `number` is
/// where criu may write that number.
fn revive(
    spec: &Spec,
    record: &Record,
    options: &RestoreOptions,
    number: &Path,
) -> Result<(i32, Option<OwnedFd>), LaunchError> {
    let images = &options.criu.images;
    let rootfs = &record.rootfs;
    let mut criu = Criu::new("restore", &options.criu, spec, rootfs, &record.annotations)?;
    criu.flag(true, "--restore-detached");
    criu.flag(true, "--restore-sibling");
    criu.value("--pidfile", number);
    for (place, source) in host_mounts(spec, rootfs) {
        // a source that is not absolute is the bundle's
        let source = record.bundle.join(source);
        criu.value(
            "--external",
            format!("mnt[{}]:{}", place.display(), source.display()),
        );
    }
    criu.value("--external", "mnt[/dev/null]:/dev/null");
    for root in cgroup_roots(record.cgroup.directories()) {
        criu.value("--cgroup-root", root);
    }
    for (stream, name) in streams(images)?.iter().enumerate() {
        if name.starts_with("pipe:") {
            criu.value("--inherit-fd", format!("fd[{stream}]:{name}"));
        }
    }
    if let Some(profile) = &options.lsm_profile {
        criu.value("--lsm-profile", profile);
    }
    if let Some(context) = &options.lsm_mount_context {
        criu.value("--lsm-mount-context", context);
    }
    let network = foreign_network(spec).map(inheritable).transpose()?;
    if let Some(network) = &network {
        criu.value(
            "--inherit-fd",
            format!("fd[{}]:{NETWORK}", network.as_raw_fd()),
        );
    }
    criu.name_work(&number.with_extension("conf"))?;
    let conversation = criu.conversation()?;
    let mut words = vec![c_string(options.criu.program.clone().into_os_string())];
    words.extend(
        criu.arguments(conversation.as_ref())
            .into_iter()
            .map(c_string),
    );
    let path = std::env::var("PATH").unwrap_or_default();
    let name = options.criu.program.to_string_lossy();
    let program = program::find(&name, Some(&path)).map_err(|_| CriuError::Start {
        program: options.criu.program.clone(),
        source: io::ErrorKind::NotFound.into(),
    })?;
    let program = c_string(program.into_os_string());
    let environment: Vec<CString> = std::env::vars_os()
        .map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            c_string(name)
        })
        .collect();
    let points = mount_points::of(spec, rootfs, &record.bundle);
    let maker = fork(Parent::This, || {
        mount_points::make(rootfs, &points)
            .map_or_else(|error| error.raw_os_error().unwrap_or(1), |()| 0)
    })
    .map_err(LaunchError::system("make a process"))?;
    let made = wait(maker.pid).map_err(LaunchError::system("wait for a process"))?;
    if let Some(errno) = made.code().filter(|errno| *errno != 0) {
        let error = io::Error::from_raw_os_error(errno);
        return Err(LaunchError::io("make mount points in", rootfs)(error));
    }
    let helper = fork(Parent::This, || {
        // what is mounted for criu goes with it, whatever becomes of us
        let Err(error) = become_criu(rootfs, &program, &words, &environment);
        eprint(&error);
        1
    })
    .map_err(LaunchError::system("make a process"))?;
    let answer = conversation.map(Conversation::answer);
    let status = wait(helper.pid).map_err(LaunchError::system("wait for criu"))?;
    let answer = answer.transpose()?;
    if !status.success() || answer.as_ref().is_some_and(|answer| !answer.success) {
        return Err(criu.failure(status, b"").into());
    }
    if let Some(Answer {
        pid: Some(pid),
        terminal,
        ..
    }) = answer
    {
        return Ok((pid, terminal));
    }
    let text = fs::read_to_string(number).map_err(LaunchError::io("read", number))?;
    let pid = text.trim().parse().map_err(|_| {
        LaunchError::io("read a process's number from", number)(io::ErrorKind::InvalidData.into())
    })?;
    Ok((pid, None))
}

/// criu wants the container's root to be a mount point, and shared where the container's own was a slave of the host's.
fn become_criu(
    rootfs: &Path,
    program: &CString,
    words: &[CString],
    environment: &[CString],
) -> io::Result<std::convert::Infallible> {
    mount::unshare()?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private)?;
    rustix::mount::mount_bind_recursive(rootfs, rootfs)?;
    rustix::mount::mount_change(rootfs, MountPropagationFlags::SHARED)?;
    // a foreground holds signals back that criu waits for
    signal::restore_for_exec()?;
    Err(process::execve(program, words, environment))
}

/// For a process that is about to end and has no log of its own.
fn eprint(error: &io::Error) {
    let text = format!("start criu: {error}\n");
    let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
}

fn wait(pid: i32) -> io::Result<ExitStatus> {
    loop {
        match rustix::process::waitpid(Pid::from_raw(pid), WaitOptions::empty()) {
            Ok(Some((_, status))) => return Ok(ExitStatus::from_raw(status.as_raw())),
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Opens a file so that a program executed later has it too.
fn inheritable(path: &Path) -> Result<OwnedFd, LaunchError> {
    let file = File::open(path).map_err(LaunchError::io("open", path))?;
    rustix::io::dup(&file)
        .map_err(|errno| LaunchError::system("duplicate a descriptor")(errno.into()))
}

/// What the standard streams of the saved container were.
fn streams(images: &Path) -> Result<Vec<String>, LaunchError> {
    let path = images.join(DESCRIPTORS);
    let text = fs::read(&path).map_err(LaunchError::io("read", path.clone()))?;
    serde_json::from_slice(&text).map_err(|source| LaunchError::Images { path, source })
}

/// Where the cgroups of the images go: `CONTROLLERS:PATH` for hierarchies of v1, `PATH` for v2.
fn cgroup_roots<'a>(directories: impl Iterator<Item = &'a Path>) -> Vec<String> {
    let root = |directory: &Path| {
        let below = directory.strip_prefix(CGROUPS).ok()?;
        if Path::new(CGROUPS).join("cgroup.controllers").exists() {
            return Some(format!("/{}", below.display()));
        }
        let mut names = below.iter();
        let controllers = names.next()?.to_str().filter(|name| *name != "unified")?;
        Some(format!("{controllers}:/{}", names.as_path().display()))
    };
    directories.filter_map(root).collect()
}

fn c_string(text: OsString) -> CString {
    CString::new(text.into_vec()).unwrap_or_default()
}
