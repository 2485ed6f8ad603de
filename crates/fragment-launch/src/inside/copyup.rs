//! `tmpcopyup`: a tmpfs that starts with what lies below it, as podman asks for with --tmpfs, --read-only and --systemd.
//!
//! libcontainer knows no such mount. When our executor runs, the tmpfs is mounted and the rootfs below it hidden; a clone of
//! just the mount around it (open_tree(2), without what is mounted on top) shows it again. What is copied is the container's
//! and hostile: no link is followed, nothing but directories, files and links is taken, and mounts inside are left alone.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Uid};
use rustix::mount::OpenTreeFlags;

use crate::specification::options::Options;

/// Deeper nesting than any image has; the copy is recursive.
const DEEPEST: usize = 128;

/// A tmpfs to fill.
#[derive(Debug, Clone)]
pub(crate) struct Copied {
    pub(crate) path: PathBuf,
    /// Of its own directory: what the specification names, or that of what lies below.
    has_owner: bool,
    has_mode: bool,
}

impl Copied {
    pub(crate) fn new(path: &Path, options: &Options) -> Self {
        let names = |name: &str| {
            let mut data = options.data.iter();
            data.any(|option| option.split_once('=').is_some_and(|it| it.0 == name))
        };
        Self {
            path: path.to_owned(),
            has_owner: names("uid") || names("gid"),
            has_mode: names("mode"),
        }
    }

    /// Copies what its path holds below the file system mounted there into that file system.
    pub(crate) fn copy_up(&self) -> io::Result<()> {
        let (Some(parent), Some(name)) = (self.path.parent(), self.path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let below = rustix::mount::open_tree(
            CWD,
            parent,
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
        )?;
        let source = open_directory(below.as_fd(), Path::new(name))?;
        let target = open_directory(CWD, &self.path)?;
        let device = rustix::fs::fstat(&target)?.st_dev;
        let status = rustix::fs::fstat(&source)?;
        if !self.has_owner {
            chown(&status, target.as_fd())?;
        }
        if !self.has_mode {
            chmod(&status, target.as_fd())?;
        }
        copy_directory(source, target, device, 0)
    }
}

fn open_directory(at: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(at, path, flags, Mode::empty())?)
}

fn copy_directory(source: OwnedFd, target: OwnedFd, device: u64, depth: usize) -> io::Result<()> {
    if depth > DEEPEST {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for entry in Dir::read_from(&source)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let status = rustix::fs::statat(&source, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(status.st_mode) {
            FileType::Directory => {
                match rustix::fs::mkdirat(&target, name, Mode::from_raw_mode(0o700)) {
                    Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                    Err(errno) => return Err(errno.into()),
                }
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let inner_source = rustix::fs::openat(&source, name, flags, Mode::empty())?;
                let inner_target = rustix::fs::openat(&target, name, flags, Mode::empty())?;
                if rustix::fs::fstat(&inner_target)?.st_dev != device {
                    // a later mount of the specification: not ours to fill
                    continue;
                }
                own(&inner_source, inner_target.as_fd())?;
                copy_directory(inner_source, inner_target, device, depth + 1)?;
            }
            FileType::RegularFile => copy_file(&source, &target, name)?,
            FileType::Symlink => {
                let link = rustix::fs::readlinkat(&source, name, Vec::new())?;
                match rustix::fs::symlinkat(&link, &target, name) {
                    Ok(()) => {
                        let (uid, gid) = owner(&status);
                        rustix::fs::chownat(&target, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
                    }
                    Err(rustix::io::Errno::EXIST) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
            // sockets, FIFOs and devices mean nothing without who made them
            _ => {}
        }
    }
    Ok(())
}

fn copy_file(source: &OwnedFd, target: &OwnedFd, name: &std::ffi::CStr) -> io::Result<()> {
    let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut from = File::from(rustix::fs::openat(source, name, read, Mode::empty())?);
    let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let to = match rustix::fs::openat(target, name, write, Mode::from_raw_mode(0o600)) {
        Ok(to) => to,
        // the mount point of a later mount, made by libcontainer
        Err(rustix::io::Errno::EXIST) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    let mut to = File::from(to);
    io::copy(&mut from, &mut to)?;
    own(&from, to.as_fd())
}

/// Owner first: chown(2) clears set-id bits, and those are not copied at all.
fn own(source: &impl AsFd, target: BorrowedFd<'_>) -> io::Result<()> {
    let status = rustix::fs::fstat(source)?;
    chown(&status, target)?;
    chmod(&status, target)
}

fn chown(status: &rustix::fs::Stat, target: BorrowedFd<'_>) -> io::Result<()> {
    let (uid, gid) = owner(status);
    Ok(rustix::fs::fchown(target, uid, gid)?)
}

fn chmod(status: &rustix::fs::Stat, target: BorrowedFd<'_>) -> io::Result<()> {
    let mode = Mode::from_raw_mode(status.st_mode & 0o1777);
    Ok(rustix::fs::fchmod(target, mode)?)
}

fn owner(status: &rustix::fs::Stat) -> (Option<Uid>, Option<Gid>) {
    (
        Some(Uid::from_raw(status.st_uid)),
        Some(Gid::from_raw(status.st_gid)),
    )
}
