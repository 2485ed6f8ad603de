//! Why a path of a rootfs cannot be looked up or read.

use std::path::PathBuf;

use rustix::io::Errno;

use super::found::{Kind, Link};

/// A path that cannot be looked up or read. A path that is not there is no error.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// The rootfs itself cannot be opened.
    #[error("open root filesystem {}", path.display())]
    Open {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: Errno,
    },
    /// The rootfs is a file, or something on the way to it is.
    #[error("root filesystem {} is not a directory", path.display())]
    NotARootDirectory {
        /// Its path.
        path: PathBuf,
    },
    /// The links on the way to the rootfs form a loop.
    #[error("root filesystem {} is reached by a loop of symbolic links", path.display())]
    RootLoop {
        /// Its path.
        path: PathBuf,
    },
    /// openat2(2) came with Linux 5.6.
    #[error(
        "this kernel has no openat2: Linux 5.6 or newer is needed to look into a root filesystem safely"
    )]
    NoOpenat2,
    /// A directory on the way cannot be searched, or the file cannot be read, by this user.
    #[error("permission denied on {path} of the root filesystem")]
    PermissionDenied {
        /// The path.
        path: String,
    },
    /// The symbolic links on the way do not end.
    #[error(
        "{path} of the root filesystem: too many levels of symbolic links: {}",
        Chain(links)
    )]
    Loop {
        /// The path.
        path: String,
        /// The links that were followed, in order; at most [`super::MAX_LINKS`].
        links: Vec<Link>,
    },
    /// A file stands where a directory is needed.
    #[error("{path} of the root filesystem leads through something that is not a directory")]
    NotADirectory {
        /// The path.
        path: String,
    },
    /// Not a regular file, so it is not opened (opening a FIFO or device can block or have effects).
    #[error("{path} of the root filesystem is a {kind}, not a regular file")]
    NotRegular {
        /// The path.
        path: String,
        /// What it is.
        kind: Kind,
    },
    /// A link target or file name that is not UTF-8, which plans cannot express.
    #[error("{path} of the root filesystem involves a name that is not UTF-8")]
    NotUtf8 {
        /// The path.
        path: String,
    },
    /// Anything else.
    #[error("{operation} {path} of the root filesystem")]
    Io {
        /// What was done.
        operation: &'static str,
        /// The path.
        path: String,
        /// Why it was not possible.
        source: std::io::Error,
    },
}

/// Renders followed links as `a -> b -> c`, cut after a few.
struct Chain<'a>(&'a [Link]);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SHOWN: usize = 4;
        for (index, link) in self.0.iter().take(SHOWN).enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{} -> {}", link.path, link.target)?;
        }
        if self.0.len() > SHOWN {
            f.write_str(", …")
        } else {
            Ok(())
        }
    }
}
