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

use crate::derived::DeriveError;
use crate::error::LaunchError;
use crate::record::Record;

/// `argv[0]` of this program when it is to become a hook.
const NAME: &str = "fragment-hook";
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
    let bundle = PathBuf::from(arguments.next().ok_or(HookStartError::Usage)?);
    let path = PathBuf::from(arguments.next().ok_or(HookStartError::Usage)?);
    Err(become_hook(&bundle, path, arguments.collect()))
}

fn become_hook(bundle: &Path, path: PathBuf, arguments: Vec<OsString>) -> HookStartError {
    if let Err(error) = replace_state(bundle) {
        return error;
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
fn replace_state(bundle: &Path) -> Result<(), HookStartError> {
    let mut text = Vec::new();
    io::stdin()
        .take(LARGEST_STATE)
        .read_to_end(&mut text)
        .map_err(HookStartError::Pass)?;
    let mut state: serde_json::Value =
        serde_json::from_slice(&text).map_err(HookStartError::State)?;
    state["bundle"] = serde_json::Value::from(bundle.to_string_lossy().into_owned());
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
pub(crate) fn wrapped(hooks: &Hooks, bundle: &Path) -> Result<Option<Hooks>, DeriveError> {
    let wrap = |hooks: &Option<Vec<Hook>>| {
        hooks.as_ref().map(|hooks| {
            hooks
                .iter()
                .map(|hook| wrapped_hook(hook, bundle))
                .collect::<Vec<Hook>>()
        })
    };
    // the specification calls prestart deprecated; docker still uses nothing else
    #[allow(deprecated)]
    let (prestart, create_runtime, create_container) = (
        wrap(hooks.prestart()),
        wrap(hooks.create_runtime()),
        wrap(hooks.create_container()),
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

fn wrapped_hook(hook: &Hook, bundle: &Path) -> Hook {
    let path = hook.path().to_string_lossy().into_owned();
    let mut arguments = vec![
        NAME.to_owned(),
        bundle.to_string_lossy().into_owned(),
        path.clone(),
    ];
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
            tracing::warn!("poststop hook {}: {error}", hook.path().display());
        }
    }
}

fn run(hook: &Hook, state: &State) -> Result<(), libcontainer::hooks::HookError> {
    let default = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    libcontainer::hooks::run_hooks(
        Some(&vec![hook.clone()]),
        Some(state),
        None,
        None,
        Some(&default),
    )
}
