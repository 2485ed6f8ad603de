//! Masked paths, read-only paths and a read-only root: the last thing that is done about a container's files.
//!
//! libcontainer would do all three, but before the mounts that are left to our executor, and it takes nosuid, nodev and noexec
//! for part of read-only: a read-only /usr could not be executed. mount_setattr(2) adds one attribute and leaves the others,
//! which also keeps what a user namespace must not change (mount_namespaces(7), locked flags).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use fragment_sys::mount;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags};
use thiserror::Error;

use crate::specification::options::read_only_bit;

/// What is restricted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Masks {
    /// `root.readonly`.
    pub(crate) root_read_only: bool,
    /// `linux.readonlyPaths`.
    pub(crate) read_only: Vec<PathBuf>,
    /// `linux.maskedPaths`.
    pub(crate) masked: Vec<PathBuf>,
    /// `linux.mountLabel`, for what is mounted over directories.
    pub(crate) label: Option<String>,
}

/// A restriction that could not be put on. Engines read these words.
#[derive(Debug, Error)]
pub(crate) enum MaskError {
    #[error("remount / read-only")]
    Root(#[source] io::Error),
    #[error("make {path} read-only", path = .path.display())]
    ReadOnly { path: PathBuf, source: io::Error },
    #[error("mask {path}", path = .path.display())]
    Masked { path: PathBuf, source: io::Error },
}

impl Masks {
    /// Puts everything on, from inside the container's root.
    pub(crate) fn apply(&self) -> Result<(), MaskError> {
        for path in &self.read_only {
            make_read_only(path).map_err(|source| MaskError::ReadOnly {
                path: path.clone(),
                source,
            })?;
        }
        let mut covers = Covers::new(self.label.as_deref());
        for path in &self.masked {
            covers.put_on(path).map_err(|source| MaskError::Masked {
                path: path.clone(),
                source,
            })?;
        }
        if self.root_read_only {
            read_only_at(Path::new("/")).map_err(MaskError::Root)?;
        }
        Ok(())
    }
}

/// Makes the mount whose top is `path` read-only.
pub(crate) fn read_only_at(path: &Path) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let top = rustix::fs::open(path, flags, Mode::empty())?;
    mount::set_attributes(&top, read_only_bit(), false)
}

fn make_read_only(path: &Path) -> io::Result<()> {
    let Some(place) = existing(path)? else {
        return Ok(());
    };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = rustix::mount::open_tree(&place, "", flags)?;
    mount::set_attributes(&tree, read_only_bit(), false)?;
    attach(tree.as_fd(), place.as_fd())
}

/// The place of that name; `None` where there is none, which is nothing to restrict.
fn existing(path: &Path) -> io::Result<Option<OwnedFd>> {
    match rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Ok(place) => Ok(Some(place)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Mounts a detached tree at a place that is open: what is checked is what is covered.
pub(crate) fn attach(tree: BorrowedFd<'_>, place: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(tree, "", place, "", flags)?)
}

/// What paths are covered with, made when the first needs it.
struct Covers<'label> {
    label: Option<&'label str>,
    null: Option<OwnedFd>,
    empty: Option<OwnedFd>,
}

impl<'label> Covers<'label> {
    fn new(label: Option<&'label str>) -> Self {
        Self {
            label,
            null: None,
            empty: None,
        }
    }

    fn put_on(&mut self, path: &Path) -> io::Result<()> {
        let Some(place) = existing(path)? else {
            return Ok(());
        };
        let status = rustix::fs::fstat(&place)?;
        let is_directory = FileType::from_raw_mode(status.st_mode) == FileType::Directory;
        let tree = match (is_directory, &self.empty) {
            (false, _) => clone_of(self.null()?)?,
            (true, Some(empty)) => clone_of(empty.as_fd())?,
            (true, None) => {
                // Attached first and cloned afterwards: clones of what is nowhere need Linux 6.15.
                let empty = self.empty_directory()?;
                attach(empty.as_fd(), place.as_fd())?;
                self.empty = Some(empty);
                return Ok(());
            }
        };
        attach(tree.as_fd(), place.as_fd())
    }

    /// The container's /dev/null, if it is the null device and nothing the image put there (CVE-2025-31133).
    fn null(&mut self) -> io::Result<BorrowedFd<'_>> {
        if self.null.is_none() {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let null = rustix::fs::open("/dev/null", flags, Mode::empty())?;
            let status = rustix::fs::fstat(&null)?;
            let is_device = FileType::from_raw_mode(status.st_mode) == FileType::CharacterDevice;
            if !is_device || status.st_rdev != rustix::fs::makedev(1, 3) {
                return Err(Errno::NXIO.into());
            }
            self.null = Some(null);
        }
        let null = self.null.as_ref().ok_or(io::ErrorKind::NotFound)?;
        Ok(null.as_fd())
    }

    /// One read-only tmpfs for all of them.
    fn empty_directory(&self) -> io::Result<OwnedFd> {
        let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_set_string(&context, "source", "tmpfs")?;
        if let Some(label) = self.label {
            rustix::mount::fsconfig_set_string(&context, "context", label)?;
        }
        rustix::mount::fsconfig_create(&context)?;
        let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY;
        Ok(rustix::mount::fsmount(
            &context,
            FsMountFlags::FSMOUNT_CLOEXEC,
            attributes,
        )?)
    }
}

fn clone_of(mount: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    Ok(rustix::mount::open_tree(mount, "", flags)?)
}
