//! Hooks, with the state they are promised.
//!
//! libcontainer runs prestart, createRuntime and createContainer hooks itself and hands them a state that names *its* bundle,
//! the derived one. So it is given this very program to run, under the name of [`NAME`], which puts the caller's bundle into
//! the state and becomes the hook. startContainer hooks are run by our executor; poststart and poststop by start and delete.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use fragment_sys::process;
use libcontainer::container::{ContainerStatus, State};
use libcontainer::oci_spec::runtime::{Hook, HookBuilder, Hooks};
use rustix::fs::MemfdFlags;
use thiserror::Error;

use crate::creation::hook_run::{self, HookError, Stderr};
use crate::error::LaunchError;
use crate::inside::hidden;
use crate::records::record::Record;
use crate::specification::derived::DeriveError;

/// `argv[0]` of this program when it is to become a hook.
const NAME: &str = "fragment-hook";
/// What its first argument says: a hook of the runtime's namespaces, one of the container's, or no hook at all.
const OUTSIDE: &str = "outside";
const INSIDE: &str = "inside";
const HIDE: &str = "hide";
/// A state is a few hundred bytes and its annotations.
const LARGEST_STATE: u64 = 4 << 20;

static SERVED: AtomicBool = AtomicBool::new(false);

/// Why a hook could not be started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HookStartError {
    /// Called by somebody else than libcontainer.
    #[error("{NAME} wants a bundle and a hook; it is not for calling by hand")]
    Usage,
    /// The state on stdin is not one.
    #[error("state on stdin")]
    State(#[source] serde_json::Error),
    /// Reading it, or passing it on.
    #[error("pass the container's state on")]
    Pass(#[source] io::Error),
    /// The directory a hook runs in.
    #[error("change to {path} for a hook", path = .path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// The errno.
        #[source]
        source: io::Error,
    },
    /// Before a container without pivot_root: what the host shows of itself.
    #[error("hide the host's proc and sysfs")]
    Hide(#[source] io::Error),
    /// The hook's program.
    #[error("execute hook {path}", path = .path.display())]
    Execute {
        /// Which.
        path: PathBuf,
        /// The errno.
        #[source]
        source: io::Error,
    },
}

/// Becomes the hook when this program was called as one; returns at once otherwise.
///
/// To be called first thing in `main` by every program that creates containers.
///
/// # Errors
/// Why the hook could not be started; the program then ends with a code other than 0.
pub fn serve() -> Result<(), HookStartError> {
    SERVED.store(true, Ordering::Relaxed);
    let mut arguments = std::env::args_os();
    if arguments.next().is_none_or(|name| name != NAME) {
        return Ok(());
    }
    let mut next = || arguments.next().ok_or(HookStartError::Usage);
    let place = next()?;
    let bundle = PathBuf::from(next()?);
    let directory = PathBuf::from(next()?);
    let path = PathBuf::from(next()?);
    if place == HIDE {
        hidden::hide_host(&directory).map_err(HookStartError::Hide)?;
        process::exit_now(0);
    }
    let inside = place == INSIDE;
    Err(become_hook(
        &bundle,
        &directory,
        inside,
        path,
        arguments.collect(),
    ))
}

fn become_hook(
    bundle: &Path,
    directory: &Path,
    inside: bool,
    path: PathBuf,
    arguments: Vec<OsString>,
) -> HookStartError {
    if let Err(error) = replace_state(bundle, inside) {
        return error;
    }
    if let Err(errno) = rustix::process::chdir(directory) {
        return HookStartError::Directory {
            path: directory.to_owned(),
            source: errno.into(),
        };
    }
    let text = |value: OsString| CString::new(value.into_vec()).unwrap_or_default();
    let program = text(path.clone().into_os_string());
    let arguments: Vec<CString> = arguments.into_iter().map(text).collect();
    let environment: Vec<CString> = std::env::vars_os()
        .map(|(name, value)| {
            text(OsString::from_vec(
                [name.as_bytes(), value.as_bytes()].join(&b'='),
            ))
        })
        .collect();
    let source = process::execve(&program, &arguments, &environment);
    HookStartError::Execute { path, source }
}

/// Reads the state from stdin and puts one with the caller's bundle there. The process stays the same one, so libcontainer's
/// time-out still ends it.
fn replace_state(bundle: &Path, inside: bool) -> Result<(), HookStartError> {
    let mut text = Vec::new();
    io::stdin()
        .take(LARGEST_STATE)
        .read_to_end(&mut text)
        .map_err(HookStartError::Pass)?;
    let mut state: serde_json::Value =
        serde_json::from_slice(&text).map_err(HookStartError::State)?;
    state["bundle"] = serde_json::Value::from(bundle.to_string_lossy().into_owned());
    if inside {
        // the container's first process, by its number in its own PID namespace, where the hook runs
        let first = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
        state["pid"] = serde_json::Value::from(first);
    }
    let passed = || -> io::Result<()> {
        let memory = rustix::fs::memfd_create("fragment-state", MemfdFlags::CLOEXEC)?;
        let mut file = File::from(memory);
        file.write_all(state.to_string().as_bytes())?;
        rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
        rustix::stdio::dup2_stdin(&file)?;
        Ok(())
    };
    passed().map_err(HookStartError::Pass)
}

/// The hooks libcontainer is to run, each through this program; `None` when there are none, which saves it a round trip.
/// Hooks of the runtime's namespaces run in the bundle, those of the container's in its root, as with runc.
pub(crate) fn wrapped(
    hooks: &Hooks,
    bundle: &Path,
    rootfs: &Path,
) -> Result<Option<Hooks>, DeriveError> {
    let wrap = |hooks: &Option<Vec<Hook>>, place: &str, directory: &Path| {
        hooks.as_ref().map(|hooks| {
            hooks
                .iter()
                .map(|hook| wrapped_hook(hook, [place.as_ref(), bundle, directory]))
                .collect::<Vec<Hook>>()
        })
    };
    // the specification calls prestart deprecated; docker still uses nothing else
    #[allow(deprecated)]
    let (prestart, create_runtime, create_container) = (
        wrap(hooks.prestart(), OUTSIDE, bundle),
        wrap(hooks.create_runtime(), OUTSIDE, bundle),
        wrap(hooks.create_container(), INSIDE, rootfs),
    );
    let any = [&prestart, &create_runtime, &create_container]
        .into_iter()
        .any(|hooks| hooks.as_ref().is_some_and(|hooks| !hooks.is_empty()));
    if !any {
        return Ok(None);
    }
    if !SERVED.load(Ordering::Relaxed) {
        return Err(DeriveError::HooksUnserved);
    }
    let mut wrapped = Hooks::default();
    #[allow(deprecated)]
    wrapped.set_prestart(prestart);
    wrapped
        .set_create_runtime(create_runtime)
        .set_create_container(create_container);
    Ok(Some(wrapped))
}

/// One step more after the createContainer hooks: without pivot_root(2) the host's mounts stay below the container's root, and
/// a proc or sysfs that nothing is masked in lets a user namespace mount an unmasked one (mount_too_revealing() in the kernel).
pub(crate) fn hiding(hooks: Option<Hooks>, rootfs: &Path) -> Hooks {
    let hide = Hook::default();
    let mut hide = wrapped_hook(&hide, [HIDE.as_ref(), rootfs, rootfs]);
    hide.set_env(Some(Vec::new()));
    let mut hooks = hooks.unwrap_or_else(|| {
        // Hooks::default() is empty
        Hooks::default()
    });
    let mut inside = hooks.create_container().clone().unwrap_or_default();
    inside.push(hide);
    hooks.set_create_container(Some(inside));
    hooks
}

fn wrapped_hook(hook: &Hook, places: [&Path; 3]) -> Hook {
    let path = hook.path().to_string_lossy().into_owned();
    let mut arguments = vec![NAME.to_owned()];
    arguments.extend(places.map(|place| place.to_string_lossy().into_owned()));
    arguments.push(path.clone());
    match hook
        .args()
        .as_ref()
        .filter(|arguments| !arguments.is_empty())
    {
        Some(given) => arguments.extend(given.iter().cloned()),
        None => arguments.push(path),
    }
    // without an environment of its own a hook has the runtime's, as with runc; libcontainer would give it none
    let environment = hook.env().clone().unwrap_or_else(|| {
        std::env::vars_os()
            .filter_map(|(name, value)| Some(format!("{}={}", name.to_str()?, value.to_str()?)))
            .collect()
    });
    let builder = HookBuilder::default()
        .path("/proc/self/exe")
        .args(arguments)
        .env(environment);
    let builder = match hook.timeout() {
        Some(seconds) => builder.timeout(seconds),
        None => builder,
    };
    // the builder fails on fields without default only, and all have one
    builder.build().unwrap_or_default()
}

/// The state hooks are given: the caller's bundle, not libcontainer's.
pub(crate) fn state_of(record: &Record, status: ContainerStatus) -> State {
    let pid = record.init.map(|init| init.pid);
    let mut state = State::new(&record.id, status, pid, record.bundle.clone());
    state.annotations = Some(record.annotations.clone());
    state
}

/// Runs poststart hooks.
pub(crate) fn run_poststart(record: &Record) -> Result<(), LaunchError> {
    let state = state_of(record, ContainerStatus::Running);
    for hook in &record.poststart {
        run(hook, &state).map_err(|source| LaunchError::Hook {
            stage: "poststart",
            path: hook.path().clone(),
            source,
        })?;
    }
    Ok(())
}

/// Runs poststop hooks: one that fails is logged, the container is gone all the same (config.md, "Posix-platform hooks").
pub(crate) fn run_poststop(record: &Record) {
    let mut state = state_of(record, ContainerStatus::Stopped);
    state.pid = None;
    for hook in &record.poststop {
        if let Err(error) = run(hook, &state) {
            let error = crate::creation::diagnosis::chain(&error);
            tracing::warn!("poststop hook {}: {error}", hook.path().display());
        }
    }
}

fn run(hook: &Hook, state: &State) -> Result<(), HookError> {
    let environment: Vec<_> = std::env::vars_os().collect();
    hook_run::run(hook, state, &environment, Stderr::Kept)
}
