//! What can go wrong with a [`Manager`](super::Manager).

use std::io;
use std::path::{Path, PathBuf};

use fragment_store::StoreError;
use fragment_types::{CatalogueError, ComponentName};

use crate::planner::{PlanError, PlanErrorKind};

/// An operation that could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManagerError {
    /// A task that cannot run.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The library cannot be searched.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// A component that cannot be had, or a library that cannot be read or changed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A program that cannot be called anew.
    #[error(
        "this program cannot run fragments: it has to call `fragment::begin` first thing in `main`"
    )]
    NotBegun,
    /// A fragment that cannot run, or of which something could not be removed.
    #[error("{error}")]
    Run {
        /// Why, with its causes.
        error: String,
        /// What a shell would make of it.
        kind: PlanErrorKind,
    },
    /// A fragment whose end nobody saw.
    #[error(
        "the process that ran the task was killed; what is left of the task is removed by the next that is run"
    )]
    Lost,
    /// A directory that cannot be a component.
    #[error(transparent)]
    Build(#[from] fragment_build::Error),
    /// A name that is taken.
    #[error(
        "component `{component}` is made of packages: give the directory's component another name, or remove that one first"
    )]
    OfPackages {
        /// Its name.
        component: ComponentName,
    },
    /// A library or interpreter that files of a new component need and nobody has.
    #[error(
        "component `{component}` cannot run: its files need {what}, which neither the directory nor a component of the library holds: add it to the directory, or the component that has it to the library"
    )]
    Unsupplied {
        /// The new component.
        component: ComponentName,
        /// What is needed.
        what: String,
    },
    /// A class that the configuration does not have.
    #[error(
        "no strategy is called `{class}` (there are: {known}): name its components as `strategies.{class}.components` in the configuration"
    )]
    UnknownClass {
        /// The class.
        class: String,
        /// Those that there are.
        known: String,
    },
    /// A name that a task has already.
    #[error(
        "task `{task}` is assigned to this node already: `fragment strategy release {task}` takes it away"
    )]
    Assigned {
        /// The task.
        task: String,
    },
    /// A name that is none.
    #[error(
        "`{task}` is no name of a task: use letters, digits, `-`, `_` and `.`, at most 128, and no `.` first"
    )]
    TaskName {
        /// As given.
        task: String,
    },
    /// A file of the state directory.
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

impl ManagerError {
    /// What a shell would make of it.
    #[must_use]
    pub fn kind(&self) -> PlanErrorKind {
        match self {
            Self::Plan(error) => error.kind(),
            Self::Run { kind, .. } => *kind,
            _ => PlanErrorKind::Other,
        }
    }

    pub(super) fn io(
        operation: &'static str,
        path: &Path,
    ) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io {
            operation,
            path,
            source,
        }
    }
}
