//! Everything in a root filesystem, by its merged-/usr path, without following a link.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use fragment_types::Digest;
use fragment_types::path::merged_usr;
use md5::Md5;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, lgetxattr, llistxattr, openat,
    openat2, readlinkat, statat,
};
use sha2::Sha256;

use crate::error::ImageError;

/// Most entries of a root filesystem.
const MAX_ENTRIES: usize = 4_000_000;
/// Deepest path: bounds recursion and open directories.
const MAX_DEPTH: usize = 128;
/// Longest attribute the kernel keeps (xattr(7)).
const MAX_XATTR: usize = 64 << 10;
/// What a runtime mounts over: what lies there is not seen.
const MOUNTED: [&str; 3] = ["/dev", "/proc", "/sys"];
const MERGED_LINKS: [&str; 4] = ["/bin", "/sbin", "/lib", "/lib64"];

/// What a path is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NodeKind {
    Directory,
    File {
        size: u64,
    },
    Symlink {
        target: String,
    },
    /// A device or fifo.
    Special {
        file_type: FileType,
        device: u64,
    },
}

/// One path.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// As it is spelled on disk.
    pub(crate) real: String,
    pub(crate) kind: NodeKind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: i64,
    pub(crate) xattrs: Vec<(String, Vec<u8>)>,
    /// Device and inode of a file with several names.
    pub(crate) shared: Option<(u64, u64)>,
}

impl Node {
    /// Whether a component can hold the same: those hold root's files, without attributes.
    pub(crate) fn is_plain(&self) -> bool {
        self.uid == 0 && self.gid == 0 && self.xattrs.is_empty()
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.kind == NodeKind::Directory
    }

    /// Bytes of content.
    pub(crate) fn size(&self) -> u64 {
        match self.kind {
            NodeKind::File { size } => size,
            _ => 0,
        }
    }
}

/// Everything in a root filesystem.
#[derive(Debug)]
pub(crate) struct Inventory {
    root: OwnedFd,
    path: PathBuf,
    /// Merged-/usr path to node; `/` itself is there too.
    pub(crate) nodes: BTreeMap<String, Node>,
    /// What was left out, for people.
    pub(crate) warnings: Vec<String>,
}

impl Inventory {
    /// Reads the directory `path`.
    pub(crate) fn read(path: &Path) -> Result<Self, ImageError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = || openat(CWD, path, flags, Mode::empty());
        let root = open().map_err(ImageError::io("open", path))?;
        let mut inventory = Self {
            root: open().map_err(ImageError::io("open", path))?,
            path: path.to_owned(),
            nodes: BTreeMap::new(),
            warnings: Vec::new(),
        };
        let stat = rustix::fs::fstat(&root).map_err(ImageError::io("look at", path))?;
        let top = node("/".to_owned(), NodeKind::Directory, &stat);
        inventory.nodes.insert("/".to_owned(), top);
        inventory.walk(&root, "", stat.st_dev, 0)?;
        Ok(inventory)
    }

    /// Its path on this host.
    pub(crate) fn host_path(&self) -> &Path {
        &self.path
    }

    fn walk(
        &mut self,
        directory: &OwnedFd,
        path: &str,
        device: u64,
        depth: usize,
    ) -> Result<(), ImageError> {
        if depth > MAX_DEPTH {
            return Err(tree(path, "too deep"));
        }
        let at = |errno| ImageError::io("read", self.path.join(&path[path.len().min(1)..]))(errno);
        let mut names = Vec::new();
        for entry in Dir::read_from(directory).map_err(at)? {
            let name = entry.map_err(at)?.file_name().to_owned();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let name = name
                .into_string()
                .map_err(|_| tree(path, "a name is not UTF-8 text"))?;
            names.push(name);
        }
        names.sort_unstable();
        for name in names {
            let child = format!("{path}/{name}");
            let stat = statat(directory, name.as_str(), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(ImageError::io("look at", &child))?;
            if stat.st_dev != device {
                self.warnings
                    .push(format!("{child} is a mount point: what is in it stays out"));
                continue;
            }
            self.add(directory, &name, child, &stat, depth)?;
        }
        Ok(())
    }

    fn add(
        &mut self,
        directory: &OwnedFd,
        name: &str,
        path: String,
        stat: &rustix::fs::Stat,
        depth: usize,
    ) -> Result<(), ImageError> {
        if self.nodes.len() >= MAX_ENTRIES {
            return Err(tree(&path, "too many files"));
        }
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => NodeKind::Directory,
            FileType::RegularFile => NodeKind::File {
                size: u64::try_from(stat.st_size).unwrap_or(0),
            },
            FileType::Symlink => NodeKind::Symlink {
                target: readlinkat(directory, name, Vec::new())
                    .map_err(ImageError::io("read the link", &path))?
                    .into_string()
                    .map_err(|_| tree(&path, "its target is not UTF-8 text"))?,
            },
            FileType::Socket => {
                self.warnings
                    .push(format!("{path} is a socket: it is nobody's after a stop"));
                return Ok(());
            }
            file_type => NodeKind::Special {
                file_type,
                device: stat.st_rdev,
            },
        };
        let mut node = node(path.clone(), kind, stat);
        node.xattrs = xattrs(directory, name, &path)?;
        let descend = node.is_directory() && !MOUNTED.contains(&path.as_str());
        let is_split = node.is_directory() && MERGED_LINKS.contains(&path.as_str());
        // of a split root, /usr/bin/x and /bin/x are one file or the image is broken already
        if !is_split {
            let merged = merged_usr(&path).into_owned();
            self.nodes.entry(merged).or_insert(node);
        }
        if descend {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let child = openat(directory, name, flags, Mode::empty())
                .map_err(ImageError::io("open", &path))?;
            self.walk(&child, &path, stat.st_dev, depth + 1)?;
        }
        Ok(())
    }

    /// Opens the regular file at a merged-/usr path.
    pub(crate) fn open(&self, path: &str) -> Result<File, ImageError> {
        let real = self.nodes.get(path).map_or(path, |node| &node.real);
        openat2(
            &self.root,
            real.trim_start_matches('/'),
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV,
        )
        .map(File::from)
        .map_err(ImageError::io("open", real))
    }

    /// The first bytes of a file.
    pub(crate) fn prefix(&self, path: &str, limit: u64) -> Result<Vec<u8>, ImageError> {
        let mut bytes = Vec::new();
        self.open(path)?
            .take(limit)
            .read_to_end(&mut bytes)
            .map_err(ImageError::io("read", path))?;
        Ok(bytes)
    }

    pub(crate) fn sha256(&self, path: &str) -> Result<Digest, ImageError> {
        self.hash::<Sha256>(path).map(|bytes| {
            let mut digest = [0; 32];
            digest.copy_from_slice(&bytes);
            Digest::from_bytes(digest)
        })
    }

    /// As dpkg writes it.
    pub(crate) fn md5(&self, path: &str) -> Result<String, ImageError> {
        use std::fmt::Write as _;
        let bytes = self.hash::<Md5>(path)?;
        let mut text = String::with_capacity(32);
        for byte in bytes {
            let _ = write!(text, "{byte:02x}");
        }
        Ok(text)
    }

    fn hash<D: sha2::Digest>(&self, path: &str) -> Result<Vec<u8>, ImageError> {
        let mut file = self.open(path)?;
        let mut hasher = D::new();
        let mut buffer = vec![0; 1 << 17];
        loop {
            match file
                .read(&mut buffer)
                .map_err(ImageError::io("read", path))?
            {
                0 => return Ok(hasher.finalize().to_vec()),
                read => hasher.update(&buffer[..read]),
            }
        }
    }

    /// Bytes of all files of which `counts` says so; a file with several names once.
    pub(crate) fn bytes(&self, mut counts: impl FnMut(&str) -> bool) -> u64 {
        let mut seen = std::collections::HashSet::new();
        self.nodes
            .iter()
            .filter(|(path, _)| counts(path))
            .filter(|(_, node)| node.shared.is_none_or(|shared| seen.insert(shared)))
            .map(|(_, node)| node.size())
            .sum()
    }
}

fn node(real: String, kind: NodeKind, stat: &rustix::fs::Stat) -> Node {
    let several = stat.st_nlink > 1 && matches!(kind, NodeKind::File { .. });
    Node {
        real,
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: stat.st_mtime,
        xattrs: Vec::new(),
        shared: several.then_some((stat.st_dev, stat.st_ino)),
    }
}

fn tree(path: &str, detail: &'static str) -> ImageError {
    ImageError::Tree {
        path: path.escape_default().to_string(),
        detail,
    }
}

/// Attributes of a name, not of what it leads to. Labels of this host's security module are not the image's.
fn xattrs(
    directory: &OwnedFd,
    name: &str,
    path: &str,
) -> Result<Vec<(String, Vec<u8>)>, ImageError> {
    use rustix::io::Errno;
    let at = format!("/proc/self/fd/{}/{name}", directory.as_fd().as_raw_fd());
    let mut list = vec![0_u8; MAX_XATTR];
    let length = match llistxattr(at.as_str(), list.as_mut_slice()) {
        Err(Errno::NOTSUP | Errno::NODATA) => 0,
        other => other.map_err(ImageError::io("list attributes of", path))?,
    };
    let mut xattrs = Vec::new();
    for name in list[..length].split(|byte| *byte == 0) {
        let Ok(name) = std::str::from_utf8(name) else {
            continue;
        };
        if name.is_empty() || name == "security.selinux" {
            continue;
        }
        let mut value = vec![0_u8; MAX_XATTR];
        let length = lgetxattr(at.as_str(), name, value.as_mut_slice())
            .map_err(ImageError::io("read an attribute of", path))?;
        value.truncate(length);
        xattrs.push((name.to_owned(), value));
    }
    xattrs.sort();
    Ok(xattrs)
}
