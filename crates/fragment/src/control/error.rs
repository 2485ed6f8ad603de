//! A wish that cannot be followed.

use std::path::PathBuf;

use fragment_sys::root::RootError;

use super::annotation::PREFIX;
use super::document::DocumentError;

/// A wish that cannot be followed: it is not ignored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// A key under [`PREFIX`] that this release does not know.
    #[error(
        "annotation `{key}` is not one this release knows: use {PREFIX}compose, {PREFIX}components, {PREFIX}exclude, {PREFIX}require or {PREFIX}lock"
    )]
    UnknownAnnotation {
        /// The key.
        key: String,
    },
    /// A value outside its grammar.
    #[error("{place}: `{value}` is not valid: {expected}")]
    Value {
        /// Where it is: an annotation or a variable.
        place: String,
        /// The value, or the item of the list.
        value: String,
        /// What would be.
        expected: String,
    },
    /// A YAML document that cannot be followed.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The rootfs cannot be opened, or its document cannot be read.
    #[error(transparent)]
    Root(#[from] RootError),
    /// A configuration file cannot be read.
    #[error("read the configuration {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}
