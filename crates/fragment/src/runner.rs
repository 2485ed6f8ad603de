//! Runs a [`Task`] to its end: a bundle with an empty rootfs, made for it and removed with it.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use fragment_launch::{
    Bundle, BundleError, ContainerId, CreateOptions, IdError, RuntimeOptions, StartNotice,
};
use fragment_store::HolderProcess;

use crate::control::Wishes;
use crate::observe::{ObserveError, Observer, Report, Request};
use crate::process;
use crate::runtime::{Runtime, RuntimeError};
use crate::settings::Settings;
use crate::task::Task;

/// Why a task did not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// Its container could not be made or removed.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// Its bundle could not be read back.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Its name was refused.
    #[error(transparent)]
    Id(#[from] IdError),
    /// Mounting and new namespaces are for root.
    #[error("`fragment run` needs root in this release: run it with sudo")]
    NotRoot,
    /// Its bundle could not be made or removed.
    #[error("{operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it did not work.
        source: io::Error,
    },
}

impl RunError {
    /// What a shell would make of it.
    #[must_use]
    pub fn kind(&self) -> crate::PlanErrorKind {
        match self {
            Self::Runtime(error) => error.kind(),
            _ => crate::PlanErrorKind::Other,
        }
    }
}

/// Runs `task` in the foreground with the caller's stdin, stdout and stderr; its exit code, 128 and the signal's number
/// when a signal ended it, 124 when its time was up. `flags` are stronger than what environment and configuration ask for.
///
/// # Errors
/// [`RunError`]; nothing of the task is left then.
pub fn run(settings: &Settings, task: &Task, flags: Wishes) -> Result<i32, RunError> {
    Ok(run_in(settings, task, flags, Manner::default())?.0)
}

/// The same, observed: also what it opened and missed.
///
/// # Errors
/// As [`run`]; a report that cannot be had is no error of the run.
pub fn observe(
    settings: &Settings,
    task: &Task,
    flags: Wishes,
    request: Request,
) -> Result<(i32, Result<Report, ObserveError>), RunError> {
    let manner = Manner {
        request: Some(request),
        ..Manner::default()
    };
    let (code, observer) = run_in(settings, task, flags, manner)?;
    let report = observer.map_or(Err(ObserveError::NoReport), Observer::report);
    Ok((code, report))
}

/// How a task is run, beside what it is.
#[derive(Default)]
pub(crate) struct Manner<'m> {
    /// To be observed.
    pub(crate) request: Option<Request>,
    /// Who is told when the container of this name runs its program.
    pub(crate) started: Option<&'m dyn Fn(&str) -> StartNotice>,
}

/// Runs a task in the foreground.
pub(crate) fn run_in(
    settings: &Settings,
    task: &Task,
    flags: Wishes,
    manner: Manner<'_>,
) -> Result<(i32, Option<Observer>), RunError> {
    if !rustix::process::geteuid().is_root() {
        return Err(RunError::NotRoot);
    }
    let tasks = settings.state.join("tasks");
    let launch = fragment_launch::Runtime::new(RuntimeOptions {
        rootless: None,
        root: settings.state.join("containers"),
        systemd_cgroup: false,
    });
    let runtime = Runtime::new(launch, settings.clone());
    sweep(&runtime, &tasks);
    let directory = TaskDirectory::make(&tasks, &process::name("task"))?;
    fs::write(
        directory.path.join("config.json"),
        task.config().to_string(),
    )
    .map_err(io_error("write the configuration in", &directory.path))?;
    let bundle = Bundle::load(&directory.path)?;
    let mut options = CreateOptions::new(directory.id.clone());
    options.time_limit = task.time_limit();
    options.started = manner.started.map(|notice| notice(options.id.as_str()));
    Ok(runtime.run_observed(&bundle, &options, flags, manner.request)?)
}

fn is_abandoned(name: &str) -> bool {
    let mut parts = name
        .strip_prefix("task-")
        .into_iter()
        .flat_map(|rest| rest.split('-'));
    let (Some(pid), Some(started)) = (parts.next(), parts.next()) else {
        return false;
    };
    let (Ok(pid), Ok(start_time)) = (pid.parse(), started.parse()) else {
        return false;
    };
    !process::is_alive(HolderProcess { pid, start_time })
}

/// Removes what a killed `fragment run` left: its container, its lease, its bundle.
fn sweep(runtime: &Runtime, tasks: &Path) {
    let entries = fs::read_dir(tasks)
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    for name in entries.filter_map(|entry| entry.file_name().into_string().ok()) {
        if !is_abandoned(&name) {
            continue;
        }
        let Ok(id) = name.parse::<ContainerId>() else {
            continue;
        };
        // somebody else's remains are no reason not to run: the next one tries again
        if let Err(error) = runtime.delete(&id, true) {
            tracing::warn!("remove what is left of {name}: {error}");
        } else if let Err(error) = fs::remove_dir_all(tasks.join(&name)) {
            tracing::warn!("remove the bundle of {name}: {error}");
        }
    }
}

/// A bundle directory, removed with this value.
struct TaskDirectory {
    path: PathBuf,
    id: ContainerId,
}

impl TaskDirectory {
    fn make(tasks: &Path, name: &str) -> Result<Self, RunError> {
        let id = name.parse()?;
        let private = |recursive: bool, path: &Path| {
            DirBuilder::new()
                .mode(0o700)
                .recursive(recursive)
                .create(path)
                .map_err(io_error("create", path))
        };
        private(true, tasks)?;
        let path = tasks.join(name);
        private(false, &path)?;
        let made = Self { path, id };
        // the container's root directory, with the mode a root directory has
        let rootfs = made.path.join("rootfs");
        DirBuilder::new()
            .mode(0o755)
            .create(&rootfs)
            .map_err(io_error("create", &rootfs))?;
        Ok(made)
    }
}

impl Drop for TaskDirectory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!("remove {}: {error}", self.path.display());
        }
    }
}

fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RunError {
    let path = path.to_owned();
    move |source| RunError::Io {
        operation,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_abandoned_when_its_process_is_gone() {
        assert!(!is_abandoned(&process::name("task")));
        let pid = std::process::id();
        assert!(
            is_abandoned(&format!("task-{pid}-1")),
            "another process of the same number"
        );
        for other in ["", "task-", "task-x-1", "task-1", "other-1-1"] {
            assert!(!is_abandoned(other), "{other}");
        }
    }
}
