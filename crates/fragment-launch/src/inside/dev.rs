//! Device nodes, and a /dev that is not a fresh file system.
//!
//! libcontainer makes the default nodes and links of every container and fails where one exists. In a /dev that is part of the
//! root file system, or the host's by a bind mount, they may. It is then given a /dev of its own to work on, a tmpfs, which our
//! executor takes away again: what was mounted below it moves over, and nodes are made where they are missing.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libcontainer::oci_spec::runtime::{LinuxDevice, LinuxDeviceType, Mount, MountBuilder};
use libcontainer::rootfs::utils::default_devices;
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Uid};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, UnmountFlags};
use thiserror::Error;

use crate::inside::deferred::{Deferred, DeferredError, make_directories, mount_point};
use crate::inside::masks::attach;

/// Where it all happens.
pub(crate) const DEV: &str = "/dev";

/// Links every container has (config-linux.md, "Default Devices" and "Default symlinks").
const LINKS: [(&str, &str); 4] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

/// Why a node was not made. Engines read these words.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DevError {
    /// One node.
    #[error("create device {path}", path = .path.display())]
    Node {
        /// Which.
        path: PathBuf,
        /// The errno.
        #[source]
        source: io::Error,
    },
    /// One link.
    #[error("create link {path}", path = .path.display())]
    Link {
        /// Which.
        path: PathBuf,
        /// The errno.
        #[source]
        source: io::Error,
    },
    /// A mount that moves from libcontainer's /dev to the real one.
    #[error("move the mount on {path}", path = .path.display())]
    Moved {
        /// Which.
        path: PathBuf,
        /// The errno.
        #[source]
        source: io::Error,
    },
    /// The bind mount of /dev.
    #[error(transparent)]
    Bind(#[from] DeferredError),
}

/// A device node for our executor.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    device: LinuxDevice,
    tree: Option<Arc<OwnedFd>>,
}

impl Node {
    pub(crate) fn new(device: LinuxDevice) -> Self {
        Self { device, tree: None }
    }

    /// Opens the host's node of the same name, which is what a user namespace gets: nobody makes device nodes in one.
    pub(crate) fn open(&mut self) -> Result<(), DevError> {
        let path = self.device.path();
        let tree = clone_of(path).map_err(|source| DevError::Node {
            path: path.clone(),
            source,
        })?;
        self.tree = Some(Arc::new(tree));
        Ok(())
    }

    /// Makes the node inside the container; one that is there stays as it is, as with runc.
    pub(crate) fn make(&self) -> Result<(), DevError> {
        let path = self.device.path();
        let made = match &self.tree {
            Some(tree) => {
                mount_point(path, false).and_then(|place| attach(tree.as_fd(), place.as_fd()))
            }
            None => make_node(&self.device),
        };
        made.map_err(|source| DevError::Node {
            path: path.clone(),
            source,
        })
    }
}

/// A /dev that libcontainer does not touch.
#[derive(Debug, Clone, Default)]
pub(crate) struct RealDev {
    /// The bind mount on it; then nothing is made in it.
    pub(crate) bind: Option<Deferred>,
    /// Mounts below it, made by libcontainer in its own.
    pub(crate) below: Vec<PathBuf>,
    /// The specification's devices.
    pub(crate) devices: Vec<LinuxDevice>,
}

impl RealDev {
    /// What libcontainer is given instead.
    pub(crate) fn decoy() -> Mount {
        // the builder fails on fields without default only, and all have one
        MountBuilder::default()
            .destination(DEV)
            .typ("tmpfs")
            .source("tmpfs")
            .options(["nosuid", "strictatime", "mode=755"].map(str::to_owned))
            .build()
            .unwrap_or_default()
    }

    /// Takes libcontainer's /dev away and puts the real one in its place, inside the container.
    pub(crate) fn put_back(&self) -> Result<(), DevError> {
        let moved = |path: &Path| {
            let path = path.to_owned();
            move |source: io::Error| DevError::Moved { path, source }
        };
        let mut below = self.below.clone();
        let console = PathBuf::from("/dev/console");
        if is_mounted(&console) {
            below.push(console);
        }
        let mut trees = Vec::new();
        for path in outermost(&below) {
            let directory = path.is_dir();
            trees.push((path, directory, clone_of(path).map_err(moved(path))?));
        }
        let nodes = self.nodes();
        let hidden: Vec<Option<OwnedFd>> = nodes
            .iter()
            .map(|device| clone_of(device.path()).ok())
            .collect();
        rustix::mount::unmount(DEV, UnmountFlags::DETACH)
            .map_err(|errno| moved(Path::new(DEV))(errno.into()))?;
        if let Some(bind) = &self.bind {
            bind.attach()?;
        }
        for (path, directory, tree) in &trees {
            mount_point(path, *directory)
                .and_then(|place| attach(tree.as_fd(), place.as_fd()))
                .map_err(moved(path))?;
        }
        if self.bind.is_none() {
            make_links()?;
            for (device, hidden) in nodes.iter().zip(hidden) {
                make_or_attach(device, hidden)?;
            }
        }
        Ok(())
    }

    /// The specification's devices and those of every container.
    fn nodes(&self) -> Vec<LinuxDevice> {
        let mut nodes = self.devices.clone();
        for device in default_devices() {
            if nodes.iter().all(|given| given.path() != device.path()) {
                nodes.push(device);
            }
        }
        nodes.retain(|device| device.path() != Path::new("/dev/ptmx"));
        nodes
    }
}

/// Paths of which none lies below another: a clone takes what lies below with it.
fn outermost(paths: &[PathBuf]) -> Vec<&PathBuf> {
    let nested = |path: &PathBuf| {
        let mut others = paths.iter();
        others.any(|other| other != path && path.starts_with(other))
    };
    let mut outermost: Vec<&PathBuf> = paths.iter().filter(|path| !nested(path)).collect();
    outermost.dedup();
    outermost
}

fn is_mounted(path: &Path) -> bool {
    let device = |path: &Path| rustix::fs::stat(path).ok().map(|status| status.st_dev);
    rustix::fs::stat(path).is_ok() && device(path) != device(Path::new(DEV))
}

fn clone_of(path: &Path) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    Ok(rustix::mount::open_tree(CWD, path, flags)?)
}

fn make_or_attach(device: &LinuxDevice, hidden: Option<OwnedFd>) -> Result<(), DevError> {
    let path = device.path();
    let made = match (make_node(device), hidden) {
        (Err(error), Some(hidden)) if error.kind() == io::ErrorKind::PermissionDenied => {
            mount_point(path, false).and_then(|place| attach(hidden.as_fd(), place.as_fd()))
        }
        (made, _) => made,
    };
    made.map_err(|source| DevError::Node {
        path: path.clone(),
        source,
    })
}

fn make_node(device: &LinuxDevice) -> io::Result<()> {
    let path = device.path();
    if let Some(parent) = path.parent() {
        make_directories(parent)?;
    }
    let kind = match device.typ() {
        LinuxDeviceType::B => FileType::BlockDevice,
        LinuxDeviceType::P => FileType::Fifo,
        _ => FileType::CharacterDevice,
    };
    let number = |part: i64| u32::try_from(part).map_err(|_| io::Error::from(Errno::INVAL));
    let numbers = rustix::fs::makedev(number(device.major())?, number(device.minor())?);
    let mode = Mode::from_raw_mode(device.file_mode().unwrap_or(0o666) & 0o7777);
    match rustix::fs::mknodat(CWD, path, kind, mode, numbers) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    }
    let uid = Uid::from_raw(device.uid().unwrap_or(0));
    let gid = Gid::from_raw(device.gid().unwrap_or(0));
    rustix::fs::chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    // what the umask took away; chown(2) may clear bits too
    Ok(rustix::fs::chmodat(CWD, path, mode, AtFlags::empty())?)
}

fn make_links() -> Result<(), DevError> {
    let link = |path: &str, target: &str| match rustix::fs::symlink(target, path) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(DevError::Link {
            path: path.into(),
            source: errno.into(),
        }),
    };
    make_directories(Path::new(DEV)).map_err(|source| DevError::Link {
        path: DEV.into(),
        source,
    })?;
    for (path, target) in LINKS {
        link(path, target)?;
    }
    if Path::new("/proc/kcore").exists() {
        link("/dev/kcore", "/proc/kcore")?;
    }
    // always the container's own, as with runc
    match rustix::fs::unlink("/dev/ptmx") {
        Ok(()) | Err(Errno::NOENT) => link("/dev/ptmx", "pts/ptmx"),
        Err(errno) => Err(DevError::Link {
            path: "/dev/ptmx".into(),
            source: errno.into(),
        }),
    }
}

/// Whether a mount goes where every container has a node or link: libcontainer makes those after the mounts and fails.
pub(crate) fn is_node(path: &Path) -> bool {
    let is_link = LINKS.iter().any(|(link, _)| path == Path::new(link));
    let others = ["/dev/kcore", "/dev/ptmx"];
    is_link
        || others.iter().any(|other| path == Path::new(other))
        || default_devices().iter().any(|device| path == device.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_of_the_outer_mount_holds_the_inner() {
        let paths: Vec<PathBuf> = ["/dev/shm/a", "/dev/shm", "/dev/pts"]
            .map(PathBuf::from)
            .to_vec();
        assert_eq!(
            outermost(&paths),
            [Path::new("/dev/shm"), Path::new("/dev/pts")]
        );
    }

    #[test]
    fn default_nodes_and_links_are_known() {
        for path in ["/dev/null", "/dev/stdout", "/dev/ptmx"] {
            assert!(is_node(Path::new(path)), "{path}");
        }
        assert!(!is_node(Path::new("/dev/shm")));
    }
}
