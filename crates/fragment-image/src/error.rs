//! Why an image cannot be made thin.

use std::io;
use std::path::{Path, PathBuf};

use fragment::PlanError;
use fragment::store::{LayerError, StoreError};
use fragment_sys::root::RootError;
use fragment_types::{CatalogueError, Digest};

/// Why an image cannot be made thin. Nothing was written then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// A file of ours, or the source, cannot be read or written.
    #[error("{operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The image layout is not one, or damaged.
    #[error("image layout {}: {detail}", path.display())]
    Layout {
        /// The layout, or a file of it.
        path: PathBuf,
        /// What is wrong, for people.
        detail: String,
    },
    /// A layer is refused.
    #[error("layer {digest}")]
    Layer {
        /// Its digest.
        digest: Digest,
        /// Why.
        source: LayerError,
    },
    /// A root filesystem that is too large or has a name we cannot write.
    #[error("root filesystem: {path}: {detail}")]
    Tree {
        /// The path inside.
        path: String,
        /// What is wrong, for people.
        detail: &'static str,
    },
    /// The command line of the image cannot be made of what is given.
    #[error("the image has no command: give --entrypoint or --cmd")]
    NoCommand,
    /// The user of the image is not in its `/etc/passwd`.
    #[error("user `{0}` of the image is not in its /etc/passwd or /etc/group")]
    UnknownUser(String),
    /// The image was made by this command, or controls its composition by itself.
    #[error("the image holds /.fragment.yaml: it is thin already")]
    AlreadyThin,
    /// The proof failed.
    #[error("the thin image is not proven, so nothing is written:\n  {}", .0.join("\n  "))]
    NotProven(Vec<String>),
    /// There is no plan for the thin image.
    #[error("no plan for `{command}` in the thin image")]
    Plan {
        /// Its command.
        command: String,
        /// Why.
        source: Box<PlanError>,
    },
    /// A container of the proof cannot be run.
    #[error("run {what}: {detail}")]
    Run {
        /// Which.
        what: &'static str,
        /// What the runtime said.
        detail: String,
    },
    /// A path of the root filesystem cannot be read.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The library cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The library cannot be searched.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

impl ImageError {
    pub(crate) fn io<E: Into<io::Error>>(
        operation: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(E) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io {
            operation,
            path,
            source: source.into(),
        }
    }

    pub(crate) fn layout(path: impl AsRef<Path>, detail: impl Into<String>) -> Self {
        Self::Layout {
            path: path.as_ref().to_owned(),
            detail: detail.into(),
        }
    }
}
