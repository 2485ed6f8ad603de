//! What can go wrong with a container's cgroup. Engines and test suites read these words: they are runc's.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// A failed operation on a cgroup.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CgroupError {
    /// A file of the kernel's that describes the layout, or one of the cgroup's own.
    #[error("read {path}", path = .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Errno,
    },
    /// A setting the kernel did not take.
    #[error("failed to write {value:?} to {path}", path = .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What was written.
        value: String,
        /// Why not.
        #[source]
        source: Errno,
    },
    /// A file that does not hold what the kernel documents.
    #[error("unable to parse {path}: {line:?}", path = .path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The line.
        line: String,
    },
    /// The directory could not be made.
    #[error("mkdir {path}", path = .path.display())]
    Create {
        /// The directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Errno,
    },
    /// A process could not be moved.
    #[error("join cgroup {path}", path = .path.display())]
    Join {
        /// The directory or file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Errno,
    },
    /// Limits without rights on the cgroup.
    #[error("rootless needs no limits + no cgrouppath when no permission is granted for cgroups")]
    Unprivileged(#[source] Box<CgroupError>),
    /// A limit for a controller the container has no cgroup of.
    #[error("cannot set {controller} limit: container could not join or create cgroup")]
    NoController {
        /// pids, memory, …
        controller: &'static str,
    },
    /// The named cgroup has processes that are not ours.
    #[error(
        "container's cgroup is not empty: {processes} process(es) found in {path}; give linux.cgroupsPath another value",
        path = .path.display()
    )]
    InUse {
        /// The cgroup's directory.
        path: PathBuf,
        /// How many processes.
        processes: usize,
    },
    /// The named cgroup exists and is frozen: a process put into it would hang.
    #[error("container's cgroup unexpectedly frozen")]
    Frozen,
    /// The named cgroup cannot have controllers that work on whole processes.
    #[error("cannot enter cgroupv2 {path:?} with domain controllers -- it is in {mode} mode")]
    Threaded {
        /// The cgroup's directory.
        path: PathBuf,
        /// invalid, threaded, domain threaded
        mode: String,
    },
    /// Settings that contradict each other or the layout.
    #[error("invalid configuration: {0}")]
    Invalid(String),
    /// The kernel rounded a weight.
    #[error("the {which} allowed cpu-shares is {limit}")]
    Shares {
        /// minimum or maximum
        which: &'static str,
        /// The bound.
        limit: u64,
    },
    /// Less memory than is in use.
    #[error("unable to set memory limit to {limit} (current usage: {usage}, peak usage: {peak})")]
    MemoryInUse {
        /// Asked for.
        limit: String,
        /// In use.
        usage: u64,
        /// In use at most so far.
        peak: u64,
    },
    /// Less memory than is in use, found before it was tried (memory.checkBeforeUpdate).
    #[error("rejecting memory{swap} limit {limit} <= usage {usage}", swap = if *.swap { "+swap" } else { "" })]
    MemoryRejected {
        /// Whether swap is counted.
        swap: bool,
        /// Asked for.
        limit: i64,
        /// In use.
        usage: u64,
    },
    /// A key of the unified map that names no controller.
    #[error("unified resource {0:?} must be in the form CONTROLLER.PARAMETER")]
    UnifiedForm(String),
    /// A key of the unified map for a controller that is not there.
    #[error("unified resource {key:?} can't be set: controller {controller:?} not available")]
    UnifiedController {
        /// The key.
        key: String,
        /// Its first part.
        controller: String,
    },
    /// The kernel did not take a value of the unified map.
    #[error("unable to set unified resource {key:?}")]
    Unified {
        /// The key.
        key: String,
        /// Why not.
        #[source]
        source: Errno,
    },
    /// A device rule that cannot be had.
    #[error("device access rule {index}: {reason}")]
    DeviceRule {
        /// Its place in linux.resources.devices.
        index: usize,
        /// What is wrong.
        reason: String,
    },
    /// The device program could not be loaded or attached.
    #[error("{operation} the device program of {path}", path = .path.display())]
    DeviceProgram {
        /// load, attach, …
        operation: &'static str,
        /// The cgroup.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Errno,
    },
    /// There is nothing to freeze with.
    #[error("cannot toggle freezer: cgroups not configured for container")]
    NoFreezer,
    /// The freezer did not come to rest.
    #[error("unable to freeze")]
    Unfreezable,
    /// There is no memory controller to watch.
    #[error("memory controller missing")]
    NoMemory,
    /// A cgroup path that the systemd driver cannot read.
    #[error(
        "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {0:?} instead"
    )]
    SystemdPath(String),
    /// A name or property systemd would not take.
    #[error("systemd: {0}")]
    SystemdValue(String),
    /// systemd is not there.
    #[error("systemd not running on this host, cannot use systemd cgroups manager")]
    NoSystemd,
    /// The conversation with systemd failed.
    #[error("{operation} over D-Bus ({address})")]
    Bus {
        /// connect to, …
        operation: &'static str,
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: Errno,
    },
    /// systemd refused.
    #[error("unable to {operation} unit {unit:?}: {message}")]
    Unit {
        /// start, …
        operation: &'static str,
        /// Its name.
        unit: String,
        /// systemd's words.
        message: String,
    },
}

impl CgroupError {
    pub(crate) fn read(path: &Path, source: io::Error) -> Self {
        Self::Read {
            path: path.to_owned(),
            source: Errno(source),
        }
    }

    pub(crate) fn write(path: &Path, value: &str, source: io::Error) -> Self {
        Self::Write {
            path: path.to_owned(),
            value: value.to_owned(),
            source: Errno(source),
        }
    }

    pub(crate) fn join(path: &Path, source: io::Error) -> Self {
        Self::Join {
            path: path.to_owned(),
            source: Errno(source),
        }
    }

    /// Whether this is a matter of rights, in the widest sense: what a user without them meets.
    pub(crate) fn is_permission(&self) -> bool {
        let (Self::Create { source, .. }
        | Self::Join { source, .. }
        | Self::Read { source, .. }
        | Self::Write { source, .. }) = self
        else {
            return false;
        };
        matches!(
            source.0.kind(),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
        )
    }
}

/// An errno in the words everybody knows: lower case, without the number.
#[derive(Debug)]
pub struct Errno(pub io::Error);

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let words = text.split(" (os error").next().unwrap_or_default();
        let mut letters = words.chars();
        let first = letters.next().map(|letter| letter.to_ascii_lowercase());
        f.write_str(&first.into_iter().chain(letters).collect::<String>())
    }
}

impl std::error::Error for Errno {}
