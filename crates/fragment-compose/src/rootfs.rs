//! What the rootfs of a bundle is. Looking changes nothing and needs no more rights than the rootfs itself asks for.
//!
//! A rootfs is hostile: its entries are looked at by name in one open directory and no link in it is followed.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, StatVfsMountFlags, StatxAttributes, StatxFlags,
};
use rustix::io::Errno;

use crate::error::ComposeError;
use crate::filesystem::Filesystem;

/// Entries of the root directory that decide about a composition.
const TELLING: [&str; 8] = ["dev", "proc", "sys", "usr", "bin", "sbin", "lib", "lib64"];

/// An entry of the root directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A directory.
    Directory,
    /// A symbolic link, with its target.
    Link(PathBuf),
    /// Anything else.
    Other,
}

impl Entry {
    /// For people.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Directory => "a directory".to_owned(),
            Self::Link(target) => format!("a symbolic link to `{}`", target.display()),
            Self::Other => "neither a directory nor a link".to_owned(),
        }
    }
}

/// Where a directory is mounted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MountPlace {
    /// Device number.
    pub device: (u32, u32),
    /// Mount id, where the kernel tells it (Linux 5.8).
    pub mount: Option<u64>,
}

/// What the rootfs of a bundle is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootfsFacts {
    /// Absolute path without links.
    pub path: PathBuf,
    /// Whether something is mounted exactly there.
    pub is_mount_point: bool,
    /// Where it is mounted from.
    pub place: MountPlace,
    /// Its filesystem.
    pub filesystem: Filesystem,
    /// Whether its filesystem or mount is read-only.
    pub read_only: bool,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
    entries: Vec<(&'static str, Entry)>,
}

impl RootfsFacts {
    /// Looks at the rootfs at `path`.
    ///
    /// # Errors
    /// When it is no directory, is itself a symbolic link, or cannot be read.
    pub fn probe(path: &Path) -> Result<Self, ComposeError> {
        let look = |operation| {
            move |errno: Errno| ComposeError::Look {
                operation,
                path: path.to_path_buf(),
                source: errno.into(),
            }
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| not_a_directory(path, errno))?;
        let canonical = path.canonicalize().map_err(|source| ComposeError::Look {
            operation: "resolve the path of the rootfs",
            path: path.to_path_buf(),
            source,
        })?;
        let (place, stat) = place_of(&root).map_err(look("examine the rootfs"))?;
        let statfs =
            rustix::fs::fstatfs(&root).map_err(look("examine the filesystem of the rootfs"))?;
        let statvfs =
            rustix::fs::fstatvfs(&root).map_err(look("examine the filesystem of the rootfs"))?;
        let mut entries = Vec::new();
        for name in TELLING {
            let looked = look("examine an entry of the rootfs");
            if let Some(entry) = entry(&root, name).map_err(looked)? {
                entries.push((name, entry));
            }
        }
        Ok(Self {
            path: canonical,
            is_mount_point: stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
            place,
            filesystem: Filesystem::of(&statfs),
            read_only: statvfs.f_flag.contains(StatVfsMountFlags::RDONLY),
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            mode: u32::from(stat.stx_mode) & 0o7777,
            entries,
        })
    }

    /// Whether the rootfs itself holds `path`; links in it lead to no other place than the rootfs.
    #[must_use]
    pub fn holds(&self, path: &str) -> bool {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let directory = flags | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let confined = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::open(&self.path, directory, Mode::empty())
            .and_then(|root| rustix::fs::openat2(root, path, flags, Mode::empty(), confined))
            .is_ok()
    }

    /// The entry `name` of the root directory, one of those that decide about a composition.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, entry)| entry)
    }
}

/// Where the directory `path` is mounted from.
pub(crate) fn place(path: &Path) -> Result<MountPlace, ComposeError> {
    let look = |errno: Errno| ComposeError::Look {
        operation: "examine the bundle directory",
        path: path.to_path_buf(),
        source: errno.into(),
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(path, flags, Mode::empty()).map_err(look)?;
    Ok(place_of(&directory).map_err(look)?.0)
}

fn place_of(directory: &rustix::fd::OwnedFd) -> Result<(MountPlace, rustix::fs::Statx), Errno> {
    let mask = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    let stat = rustix::fs::statx(directory, "", AtFlags::EMPTY_PATH, mask)?;
    let known = stat.stx_mask & StatxFlags::MNT_ID.bits() != 0;
    let place = MountPlace {
        device: (stat.stx_dev_major, stat.stx_dev_minor),
        mount: known.then_some(stat.stx_mnt_id),
    };
    Ok((place, stat))
}

/// What stands in the way of opening `path` as a directory.
fn not_a_directory(path: &Path, errno: Errno) -> ComposeError {
    if let Ok(target) = std::fs::read_link(path) {
        return ComposeError::RootfsIsLink {
            path: path.to_path_buf(),
            target,
        };
    }
    match errno {
        Errno::NOTDIR => ComposeError::RootfsIsNoDirectory {
            path: path.to_path_buf(),
        },
        errno => ComposeError::Look {
            operation: "open the rootfs",
            path: path.to_path_buf(),
            source: errno.into(),
        },
    }
}

/// The entry `name` of `directory`, no link followed.
fn entry(directory: &rustix::fd::OwnedFd, name: &str) -> Result<Option<Entry>, Errno> {
    let stat = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Entry::Directory,
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(directory, name, Vec::new())?;
            Entry::Link(PathBuf::from(OsStr::from_bytes(target.as_bytes())))
        }
        _ => Entry::Other,
    }))
}
