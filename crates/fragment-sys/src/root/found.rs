//! What a look-up in a rootfs finds.

use rustix::fs::{FileType, Stat};

/// Kind of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Regular file.
    File,
    /// Directory.
    Directory,
    /// Symbolic link.
    Symlink,
    /// Device, FIFO or socket.
    Special,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::File => "regular file",
            Self::Directory => "directory",
            Self::Symlink => "symbolic link",
            Self::Special => "device, FIFO or socket",
        })
    }
}

/// A path that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Absolute path inside the root, free of links, `.` and `..` (the last component may be a link after
    /// [`super::Root::lookup_nofollow_last`]).
    pub path: String,
    /// Kind.
    pub kind: Kind,
    /// Size in bytes.
    pub size: u64,
    /// Permission bits (12 bits).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Inode number.
    pub ino: u64,
    /// Device number.
    pub dev: u64,
    /// Modification time: seconds and nanoseconds since the epoch.
    pub mtime: (i64, i64),
}

impl Found {
    /// Whether it is a regular file that somebody may execute.
    #[must_use]
    pub fn is_executable(&self) -> bool {
        self.kind == Kind::File && self.mode & 0o111 != 0
    }

    pub(super) fn new(path: String, stat: &Stat) -> Self {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Symlink,
            _ => Kind::Special,
        };
        #[allow(
            clippy::unnecessary_cast,
            clippy::useless_conversion,
            reason = "types differ by target"
        )]
        Self {
            path,
            kind,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            ino: stat.st_ino as u64,
            dev: stat.st_dev as u64,
            mtime: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
        }
    }
}

/// A symbolic link that was followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Absolute path of the link inside the root.
    pub path: String,
    /// Its target, as written.
    pub target: String,
}

/// How a path resolves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// Every symbolic link followed, in order.
    pub links: Vec<Link>,
    /// Where the path ends.
    pub end: End,
}

/// Where a path ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// At something that exists.
    Found(Found),
    /// Nowhere: this absolute path, with all links before it followed, does not exist.
    Missing(String),
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// File name.
    pub name: String,
    /// Whether the directory says it is a directory.
    pub is_directory: bool,
    /// Whether it may be a symbolic link: not every file system says.
    pub may_be_link: bool,
}
