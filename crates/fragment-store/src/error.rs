//! What can go wrong with a store, one variant an operation.

use std::io;
use std::path::{Path, PathBuf};

use fragment_types::{CatalogueError, ComponentName, Digest};

use crate::layer::LayerError;

/// An operation on the store that could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Something is in the directory that is to be written.
    #[error("the directory {path} is not empty: name a new one", path = .path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// There is no store at the path.
    #[error("there is no component library at {path}: make one with `fragment library build`")]
    Absent {
        /// The directory.
        path: PathBuf,
    },
    /// A file of the store is not what this release writes.
    #[error("{path}: {detail}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, for people.
        detail: String,
    },
    /// A file of the store is not the JSON document it should be.
    #[error("{path} is not a document of this library")]
    Json {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: serde_json::Error,
    },
    /// open(2).
    #[error("open {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// open(2) with O_CREAT, or mkdir(2).
    #[error("create {path}")]
    Create {
        /// The file or directory.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// read(2), readdir(3), stat(2).
    #[error("read {path}")]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// write(2), fchmod(2).
    #[error("write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// fsync(2), syncfs(2).
    #[error("flush {path} to disk")]
    Sync {
        /// The file or directory.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// rename(2).
    #[error("move {from} to {to}")]
    Rename {
        /// Former name.
        from: PathBuf,
        /// New name.
        to: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// unlink(2), rmdir(2).
    #[error("remove {path}")]
    Remove {
        /// The file or directory.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// flock(2).
    #[error("lock {path}")]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// Another process held a lock for too long.
    #[error(
        "{path} is still locked after {seconds} s: another process is changing the library; try again when it is done"
    )]
    Busy {
        /// The lock file.
        path: PathBuf,
        /// How long was waited.
        seconds: u64,
    },
    /// A manifest contradicts itself or a limit.
    #[error("the manifest of component `{component}` is refused: {detail}")]
    Manifest {
        /// The component.
        component: ComponentName,
        /// The rule it breaks, for people.
        detail: String,
    },
    /// A blob is not what its digest says.
    #[error("{path} has digest {found}, not {expected}")]
    BlobDigest {
        /// The file.
        path: PathBuf,
        /// Digest it should have.
        expected: Digest,
        /// Digest it has.
        found: Digest,
    },
    /// A blob is not as long as its descriptor says.
    #[error("{path} has {found} bytes, not {expected}")]
    BlobSize {
        /// The file.
        path: PathBuf,
        /// Length it should have.
        expected: u64,
        /// Length it has.
        found: u64,
    },
    /// The layer of a component is refused.
    #[error("the layer of component `{component}` is refused")]
    Layer {
        /// The component.
        component: ComponentName,
        /// Cause.
        source: LayerError,
    },
    /// One call was to ingest two components of one name.
    #[error("component `{component}` is given twice")]
    Twice {
        /// The component.
        component: ComponentName,
    },
    /// The store holds no component of this name.
    #[error("component `{component}` is not in the library: `fragment library list` shows what is")]
    Unknown {
        /// The name.
        component: ComponentName,
    },
    /// A component cannot be changed while containers use it.
    #[error("component `{component}` is in use by {holders}: delete the container first")]
    InUse {
        /// The component.
        component: ComponentName,
        /// Ids of the containers, for people.
        holders: String,
    },
    /// A component of a plan has left the store since the plan was made.
    #[error("component `{component}` ({diff_id}) is no longer in the library: plan again")]
    TreeGone {
        /// The component.
        component: ComponentName,
        /// Name of its tree.
        diff_id: Digest,
    },
    /// A component was not loaded in time.
    #[error(
        "component `{component}` was not loaded within {seconds} s ({phase}): try again, or allow more time with `load_timeout`"
    )]
    LoadTimeout {
        /// The component.
        component: ComponentName,
        /// What was being done, for people.
        phase: &'static str,
        /// The time allowed.
        seconds: u64,
    },
    /// The layer of a component is damaged and nobody has another.
    #[error(
        "the layer of component `{component}` is damaged and was put aside as {path}: build the component again, or fetch it with `fragment library repair --from DIR`",
        path = .path.display()
    )]
    Quarantined {
        /// The component.
        component: ComponentName,
        /// Where the damaged blob is.
        path: PathBuf,
    },
    /// The layer of a component is gone and nobody has another.
    #[error(
        "the layer of component `{component}` is not in the library ({path}): build the component again, or fetch it with `fragment library repair --from DIR`",
        path = .path.display()
    )]
    LayerGone {
        /// The component.
        component: ComponentName,
        /// Where the blob should be.
        path: PathBuf,
    },
    /// A source could not say whether it has a blob, or not give it.
    #[error("{origin}: blob {digest} of component `{component}`")]
    Source {
        /// The source.
        origin: String,
        /// The component.
        component: ComponentName,
        /// The blob.
        digest: Digest,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A lease file cannot be read, so nobody knows what it keeps alive.
    #[error("lease {path} is damaged: remove it if its container is gone")]
    LeaseDamaged {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: serde_json::Error,
    },
    /// The catalogue cannot be searched.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

/// Constructors that take the cause last, for `map_err`.
macro_rules! constructors {
    ($($name:ident => $variant:ident),* $(,)?) => {
        impl StoreError {
            $(pub(crate) fn $name<E: Into<io::Error>>(path: &Path) -> impl FnOnce(E) -> Self + '_ {
                move |source| Self::$variant { path: path.to_owned(), source: source.into() }
            })*
        }
    };
}

constructors! {
    open => Open,
    create => Create,
    read => Read,
    write => Write,
    sync => Sync,
    remove => Remove,
    lock => Lock,
}

impl StoreError {
    pub(crate) fn rename<'a, E: Into<io::Error>>(
        from: &'a Path,
        to: &'a Path,
    ) -> impl FnOnce(E) -> Self + 'a {
        move |source| Self::Rename {
            from: from.to_owned(),
            to: to.to_owned(),
            source: source.into(),
        }
    }

    pub(crate) fn json(path: &Path) -> impl FnOnce(serde_json::Error) -> Self + '_ {
        move |source| Self::Json {
            path: path.to_owned(),
            source,
        }
    }
}
