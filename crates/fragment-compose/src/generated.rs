//! Files that a root has once and components hold in parts: lists of users, the loader's cache, links between two layouts.
//!
//! | module | its job |
//! |---|---|
//! | `decision` | what has to be made for these layers and this rootfs: pure, from the catalogue, for the plan |
//! | [`accounts`] | the union of lists of users |
//! | [`loader`] | the dynamic loader's cache |
//! | [`layer`] | making it, from the trees of the layers |
//! | [`merged`] | many layers as one, where the kernel does not take them all |
//!
//! What is made lies in a layer above all components and below the rootfs, whose own files win. It is named by the digest of
//! what it is made from, so containers of the same components share it, and one that is there is used unseen.

pub mod accounts;
mod decision;
pub mod layer;
pub mod loader;
pub mod merged;

use std::io;
use std::path::PathBuf;

use fragment_sys::merge::MergeError;
use fragment_sys::root::RootError;
use fragment_types::{CatalogueError, ComponentName};

pub use decision::{Decision, decide};

/// Why files of a composition cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GeneratedError {
    /// Two components mean different users by one name or number.
    #[error(
        "components `{first}` and `{second}` do not fit together: {what}; exclude one of them, or build it with another \
         number (`users` of its recipe)"
    )]
    AccountClash {
        /// The one above.
        first: ComponentName,
        /// The one below.
        second: ComponentName,
        /// `the user id 100 is redis in one and web in the other`.
        what: String,
    },
    /// A rootfs whose directories cannot be bridged.
    #[error(
        "more than {limit} directories below {path} of the rootfs lie where components have theirs: move the content of \
         {path} to /usr{path} and make it a link (ln -s usr{path} {path})"
    )]
    TooManyDirectories {
        /// The directory.
        path: String,
        /// The limit.
        limit: usize,
    },
    /// Layers cannot be made one.
    #[error("make many layers one")]
    Merge(#[from] MergeError),
    /// The rootfs or a tree cannot be looked at.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The library cannot be searched.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// A file or directory cannot be made.
    #[error("make `{}`", path.display())]
    Make {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}
