//! Unpacked trees as a whole: comparing one with its manifest, removing one.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::sync::OnceLock;

use fragment_types::manifest::{PathEntry, PathKind};
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Timespec, fchmod, futimens, openat, readlinkat, statat,
    unlinkat,
};
use sha2::{Digest as _, Sha256};

use crate::expected::Expected;
use crate::layer::digest_all;
use crate::times;
use crate::unpack::open_beneath;
use crate::verify::Finding;

/// Compares the tree at `root` with what its manifest promises; `done` hears of every piece of content read.
///
/// Symbolic links are never followed: the tree is hostile when it is damaged.
pub(crate) fn compare(
    root: BorrowedFd<'_>,
    expected: &Expected<'_>,
    done: &mut dyn FnMut(u64),
) -> Vec<Finding> {
    let mut comparison = Comparison {
        root,
        expected,
        findings: Vec::new(),
        seen: 0,
        done,
    };
    comparison.root_mode();
    let mut pending = vec![String::new()];
    while let Some(directory) = pending.pop() {
        if let Err(source) = comparison.directory(&directory, &mut pending) {
            comparison.unreadable(&directory, &source.into());
        }
    }
    comparison.missing()
}

struct Comparison<'c> {
    root: BorrowedFd<'c>,
    expected: &'c Expected<'c>,
    findings: Vec<Finding>,
    seen: usize,
    done: &'c mut dyn FnMut(u64),
}

impl Comparison<'_> {
    fn unreadable(&mut self, path: &str, source: &io::Error) {
        self.findings.push(Finding::Unreadable {
            path: format!("/{path}"),
            error: source.to_string(),
        });
    }

    fn root_mode(&mut self) {
        let (Some(listed), Ok(stat)) = (self.expected.get(""), rustix::fs::fstat(self.root)) else {
            return;
        };
        self.mode(listed, stat.st_mode & 0o7777);
    }

    fn directory(&mut self, path: &str, pending: &mut Vec<String>) -> rustix::io::Result<()> {
        let directory = open_beneath(self.root, path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        for name in names(directory.as_fd())? {
            let Some(name) = name.to_str().ok() else {
                let name = name.to_string_lossy();
                self.findings.push(Finding::Extra {
                    path: format!("/{path}/{name}"),
                });
                continue;
            };
            let child = if path.is_empty() {
                name.to_owned()
            } else {
                format!("{path}/{name}")
            };
            let Some(listed) = self.expected.get(&child) else {
                self.findings.push(Finding::Extra {
                    path: format!("/{child}"),
                });
                continue;
            };
            self.seen += 1;
            if let Err(source) = self.path(directory.as_fd(), name, listed) {
                self.unreadable(&child, &source);
            } else if listed.kind == PathKind::Directory {
                pending.push(child);
            }
        }
        Ok(())
    }

    fn path(&mut self, parent: BorrowedFd<'_>, name: &str, listed: &PathEntry) -> io::Result<()> {
        let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Some(PathKind::Directory),
            FileType::RegularFile => Some(PathKind::File),
            FileType::Symlink => Some(PathKind::Symlink),
            _ => None,
        };
        let path = || listed.path.clone();
        if kind != Some(listed.kind) {
            self.findings.push(Finding::KindChanged {
                path: path(),
                expected: listed.kind,
            });
            return Ok(());
        }
        match listed.kind {
            PathKind::Directory => self.mode(listed, stat.st_mode & 0o7777),
            PathKind::Symlink => {
                let target = readlinkat(parent, name, Vec::new())?;
                if listed.target.as_ref().map(String::as_bytes) != Some(target.to_bytes()) {
                    self.findings.push(Finding::TargetChanged { path: path() });
                }
            }
            PathKind::File => {
                self.mode(listed, stat.st_mode & 0o7777);
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let file = File::from(openat(parent, name, flags, Mode::empty())?);
                let done = &mut *self.done;
                let (digest, length) = digest_all(file, std::convert::identity, |piece| {
                    done(piece.len() as u64);
                    Ok(())
                })?;
                if listed.digest != Some(digest) || listed.size != length {
                    self.findings.push(Finding::ContentChanged { path: path() });
                }
            }
        }
        Ok(())
    }

    fn mode(&mut self, listed: &PathEntry, found: u32) {
        if listed.mode != found {
            self.findings.push(Finding::ModeChanged {
                path: listed.path.clone(),
                expected: listed.mode,
                found,
            });
        }
    }

    /// Adds the paths that were not found. Of a missing directory only the topmost is named.
    fn missing(mut self) -> Vec<Finding> {
        let paths = self.expected.paths();
        if self.seen < paths.len() {
            let mut above: Option<String> = None;
            for path in paths {
                if above
                    .as_ref()
                    .is_some_and(|above| path.starts_with(above.as_str()))
                {
                    continue;
                }
                let Some((parent, name)) = Some(path.rsplit_once('/').unwrap_or(("", path))) else {
                    continue;
                };
                let found = open_beneath(self.root, parent, OFlags::PATH | OFlags::DIRECTORY)
                    .and_then(|parent| statat(parent, name, AtFlags::SYMLINK_NOFOLLOW));
                if found.is_err() {
                    self.findings.push(Finding::Missing {
                        path: format!("/{path}"),
                    });
                    above = Some(format!("{path}/"));
                }
            }
        }
        self.findings
    }
}

/// Removes `name` in `parent`, whatever it is, without following links.
pub(crate) fn remove(parent: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if FileType::from_raw_mode(statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode)
        != FileType::Directory
    {
        return unlinkat(parent, name, AtFlags::empty());
    }
    let directory = match openat(parent, name, flags, Mode::empty()) {
        Err(rustix::io::Errno::ACCESS) => {
            // without CAP_DAC_OVERRIDE a directory of mode 0555 has to be opened up first; it is ours, in a 0700 parent
            rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
            openat(parent, name, flags, Mode::empty())?
        }
        other => other?,
    };
    remove_children(directory.as_fd())?;
    unlinkat(parent, name, AtFlags::REMOVEDIR)
}

/// Empties `directory`.
pub(crate) fn remove_children(directory: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let names = names(directory)?;
    if !names.is_empty() {
        fchmod(directory, Mode::RWXU)?;
    }
    for name in names {
        remove(directory, &name)?;
    }
    Ok(())
}

/// Names in a directory but `.` and `..`, sorted.
fn names(directory: BorrowedFd<'_>) -> rustix::io::Result<Vec<std::ffi::CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Opens a directory of the store.
pub(crate) fn open(path: &std::path::Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(rustix::fs::CWD, path, flags, Mode::empty())
}

/// Whether a tree is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// It is.
    Yes,
    /// It was unpacked since the machine started, and is whole in memory.
    NotYet,
    /// It was unpacked before, and never flushed: it may be incomplete.
    Doubtful,
}

/// What the time of a tree's root says: see [`mark`].
pub(crate) fn flushed(root: &fs::Metadata) -> Flushed {
    match (root.mtime_nsec(), boot_mark()) {
        (0, _) => Flushed::Yes,
        // who cannot tell this boot from others must not doubt a tree that may be in use
        (_, None) => Flushed::NotYet,
        (nanoseconds, Some(own)) if nanoseconds == own => Flushed::NotYet,
        _ => Flushed::Doubtful,
    }
}

/// Marks a tree as one that this boot of the machine has unpacked and not yet flushed. Whether the file system keeps the mark.
pub(crate) fn mark(root: BorrowedFd<'_>) -> io::Result<bool> {
    let Some(mark) = boot_mark() else {
        return Ok(false);
    };
    set_nanoseconds(root, mark)?;
    Ok(i64::try_from(rustix::fs::fstat(root)?.st_mtime_nsec).is_ok_and(|kept| kept == mark))
}

/// Takes the mark away: the tree is on the disk.
pub(crate) fn unmark(root: BorrowedFd<'_>) -> io::Result<()> {
    set_nanoseconds(root, 0)
}

fn set_nanoseconds(root: BorrowedFd<'_>, nanoseconds: i64) -> io::Result<()> {
    let seconds = rustix::fs::fstat(root)?.st_mtime;
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    Ok(futimens(root, &times::modified(time))?)
}

/// A number of nanoseconds, not 0, for this boot of the machine (random(4), boot_id).
fn boot_mark() -> Option<i64> {
    static MARK: OnceLock<Option<i64>> = OnceLock::new();
    *MARK.get_or_init(|| {
        let id = fragment_sys::file::read("/proc/sys/kernel/random/boot_id").ok()?;
        let digest = Sha256::digest(id.trim_ascii());
        let number = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
        Some(i64::from(number % 999_999_999) + 1)
    })
}
