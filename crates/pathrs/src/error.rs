//! Errors.

use std::path::PathBuf;

/// What could not be done with which path, and the kernel's reason.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {path:?}: {source}")]
pub struct Error {
    operation: &'static str,
    path: PathBuf,
    source: std::io::Error,
}

impl Error {
    pub(crate) fn new(
        operation: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<std::io::Error>,
    ) -> Self {
        Self {
            operation,
            path: path.into(),
            source: source.into(),
        }
    }
}
