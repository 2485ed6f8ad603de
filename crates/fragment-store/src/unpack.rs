//! Unpacks a layer into a directory, entry by entry, exactly as its manifest says and nowhere else.
//!
//! Every entry must be one that the manifest lists, which bounds entries and bytes before anything is written. Directories
//! are opened with openat2(2) RESOLVE_NO_SYMLINKS beneath the root of the tree, so even a symbolic link that somehow got
//! into the way leads nowhere.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use fragment_types::manifest::{PathEntry, PathKind};
use fragment_types::{Digest, Manifest};
use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid, chownat, fchmod,
    fchown, fstat, futimens, linkat, mkdirat, openat, openat2, statat, symlinkat, utimensat,
};
use sha2::{Digest as _, Sha256};

use crate::archive::Archive;
use crate::entry::{Entry, Kind, Refusal, file_name, parent};
use crate::expected::Expected;
use crate::layer::{Hashing, LayerError};

/// What is known of the content of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    /// Nothing: every file is digested.
    Unknown,
    /// What its manifest says.
    Known,
}

/// Bytes of an archive that are read, and written, at a time.
pub(crate) const PIECE: usize = 1 << 17;

/// Unpacks the archive that `source` yields into the empty directory `root`, and checks that it is what `manifest` says:
/// content, sizes and `diff_id`.
///
/// Owners are set if this process may set them (it is root); else everything belongs to the caller.
pub(crate) fn unpack(
    source: impl Read,
    manifest: &Manifest,
    expected: &Expected<'_>,
    root: BorrowedFd<'_>,
) -> Result<(), LayerError> {
    let mut source = Hashing::new(source);
    let pieces = BufReader::with_capacity(PIECE, &mut source);
    unpack_entries(pieces, manifest, expected, root, Content::Unknown)?;
    let found = source.digest();
    if found != manifest.layer.diff_id {
        return Err(LayerError::DiffId {
            expected: manifest.layer.diff_id,
            found,
        });
    }
    Ok(())
}

/// The same where the caller checks the digest of the blob, and a blob of that digest was compared with the manifest before: names,
/// kinds, modes and sizes are checked all the same.
pub(crate) fn unpack_known(
    source: impl BufRead,
    manifest: &Manifest,
    expected: &Expected<'_>,
    root: BorrowedFd<'_>,
) -> Result<(), LayerError> {
    unpack_entries(source, manifest, expected, root, Content::Known)
}

fn unpack_entries(
    source: impl BufRead,
    manifest: &Manifest,
    expected: &Expected<'_>,
    root: BorrowedFd<'_>,
    content: Content,
) -> Result<(), LayerError> {
    let mut archive = Archive::new(source);
    let mut tree = Tree::new(root, content);
    let mut made = HashSet::new();
    let mut directories = Vec::new();
    let (mut entries, mut plain) = (0, 0);
    while let Some(entry) = archive.next_entry()? {
        entries += 1;
        let listed = check(&entry, expected, &made)
            .map_err(|refusal| LayerError::entry(&entry.path, refusal))?;
        match &entry.kind {
            Kind::Directory => tree.make_directory(&entry)?,
            Kind::File { size } => {
                plain += size;
                tree.make_file(&entry, listed, &mut archive)?;
            }
            Kind::Symlink { target } => tree.make_symlink(&entry, target)?,
            Kind::HardLink { target } => tree.make_link(&entry, target)?,
            Kind::Special { kind, .. } => {
                return Err(LayerError::entry(&entry.path, Refusal::Kind(*kind)));
            }
        }
        made.insert(entry.path.clone());
        if entry.kind == Kind::Directory {
            directories.push(entry);
        }
    }
    if !made.contains("") {
        directories.insert(0, Entry::root());
    }
    // deepest first: a directory may take away our own right to enter it, and making its children changed its time
    for directory in directories.iter().rev() {
        tree.finish_directory(directory)?;
    }
    // the root counts on neither side
    made.remove("");
    if made.len() < expected.count() {
        let mut paths = expected.paths().into_iter();
        let missing = paths.find(|&path| !made.contains(path));
        return Err(LayerError::Missing {
            path: format!("/{}", missing.unwrap_or_default()),
        });
    }
    check_sizes(manifest, plain, entries)
}

fn check_sizes(manifest: &Manifest, plain: u64, entries: u64) -> Result<(), LayerError> {
    for (what, expected, found) in [
        ("size of all files", manifest.size.plain, plain),
        ("number of entries", manifest.size.entries, entries),
    ] {
        if expected != found {
            return Err(LayerError::Size {
                what,
                expected,
                found,
            });
        }
    }
    Ok(())
}

impl Entry {
    /// The root of a tree whose archive does not mention it.
    fn root() -> Self {
        Self {
            path: String::new(),
            kind: Kind::Directory,
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: 0,
            xattrs: Vec::new(),
        }
    }
}

/// Whether the manifest and what was made before allow `entry`; returns what the manifest says of it (`None` for a root
/// that it does not list).
fn check<'m>(
    entry: &Entry,
    expected: &Expected<'m>,
    made: &HashSet<String>,
) -> Result<Option<&'m PathEntry>, Refusal> {
    if made.contains(&entry.path) {
        return Err(Refusal::Duplicate);
    }
    let listed = expected.get(&entry.path);
    let Some(listed) = listed else {
        // manifests may leave the root out
        return match entry.kind {
            Kind::Directory if entry.path.is_empty() && entry.mode & 0o6000 == 0 => Ok(None),
            _ => Err(Refusal::Unlisted),
        };
    };
    if let Some(parent) = parent(&entry.path)
        && !parent.is_empty()
        && !(made.contains(parent)
            && expected
                .get(parent)
                .is_some_and(|parent| parent.kind == PathKind::Directory))
    {
        return Err(Refusal::Parent);
    }
    let (kind, has_mode) = match &entry.kind {
        Kind::Directory => (PathKind::Directory, true),
        Kind::File { .. } => (PathKind::File, true),
        Kind::Symlink { .. } => (PathKind::Symlink, false),
        // its mode is that of the file it is a link to
        Kind::HardLink { .. } => (PathKind::File, false),
        Kind::Special { kind, .. } => return Err(Refusal::Kind(*kind)),
    };
    if listed.kind != kind {
        return Err(Refusal::KindDiffers);
    }
    if has_mode {
        check_mode(listed.mode, entry.mode)?;
    }
    match &entry.kind {
        Kind::File { size } if *size != listed.size => Err(Refusal::SizeDiffers {
            expected: listed.size,
            found: *size,
        }),
        Kind::Symlink { target } if listed.target.as_ref() != Some(target) => {
            Err(Refusal::TargetDiffers)
        }
        Kind::HardLink { target } => check_link(
            listed,
            expected.get(target).filter(|_| made.contains(target)),
        )
        .map(|()| Some(listed)),
        _ => Ok(Some(listed)),
    }
}

fn check_mode(expected: u32, found: u32) -> Result<(), Refusal> {
    if expected == found {
        Ok(())
    } else if found & !expected & 0o6000 != 0 {
        Err(Refusal::SetId)
    } else {
        Err(Refusal::ModeDiffers { expected, found })
    }
}

/// Both names of a hard link must be the same file in the manifest too.
fn check_link(listed: &PathEntry, target: Option<&PathEntry>) -> Result<(), Refusal> {
    let target = target
        .filter(|target| target.kind == PathKind::File)
        .ok_or(Refusal::LinkTarget)?;
    check_mode(listed.mode, target.mode)?;
    if listed.size != target.size {
        return Err(Refusal::SizeDiffers {
            expected: listed.size,
            found: target.size,
        });
    }
    match target.digest {
        Some(found) if listed.digest != Some(found) => Err(Refusal::DigestDiffers { found }),
        _ => Ok(()),
    }
}

/// The directory that is being filled.
struct Tree<'r> {
    root: BorrowedFd<'r>,
    /// Open directories, each below the one before it, with their paths: entries of one directory follow each other.
    way: Vec<(String, OwnedFd)>,
    set_owner: bool,
    content: Content,
}

impl<'r> Tree<'r> {
    fn new(root: BorrowedFd<'r>, content: Content) -> Self {
        Self {
            root,
            way: Vec::new(),
            set_owner: rustix::process::geteuid().is_root(),
            content,
        }
    }

    /// The directory `path`, opened from the nearest one on the way to it that is open.
    fn directory(&mut self, path: &str) -> Result<BorrowedFd<'_>, LayerError> {
        while self
            .way
            .last()
            .is_some_and(|(open, _)| below(path, open).is_none())
        {
            self.way.pop();
        }
        let (from, rest) = match self.way.last() {
            Some((open, from)) => (from.as_fd(), below(path, open).unwrap_or_default()),
            None => (self.root, path),
        };
        if !rest.is_empty() {
            let directory = open_beneath(from, rest, OFlags::PATH | OFlags::DIRECTORY)
                .map_err(LayerError::write(path))?;
            self.way.push((path.to_owned(), directory));
        }
        Ok(self.way.last().map_or(self.root, |(_, open)| open.as_fd()))
    }

    /// The directory that holds `path`.
    fn parent(&mut self, path: &str) -> Result<BorrowedFd<'_>, LayerError> {
        self.directory(parent(path).unwrap_or_default())
    }

    fn make_directory(&mut self, entry: &Entry) -> Result<(), LayerError> {
        if entry.path.is_empty() {
            return Ok(());
        }
        // we have to be able to fill it
        let mode = creation_mode(entry) | Mode::RWXU;
        mkdirat(self.parent(&entry.path)?, file_name(&entry.path), mode)
            .map_err(LayerError::write(&entry.path))
    }

    fn finish_directory(&mut self, entry: &Entry) -> Result<(), LayerError> {
        if entry.path.is_empty() {
            return self.finish(self.root, entry);
        }
        let set_owner = self.set_owner;
        let parent = self.parent(&entry.path)?;
        let name = file_name(&entry.path);
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        let result = (|| {
            if Change::of(&statat(parent, name, nofollow)?, entry, set_owner) == Change::NONE {
                return utimensat(parent, name, &times(entry.mtime), nofollow).map(|()| true);
            }
            Ok(false)
        })();
        if result.map_err(LayerError::write(&entry.path))? {
            return Ok(());
        }
        let directory = open_beneath(parent, name, OFlags::RDONLY | OFlags::DIRECTORY)
            .map_err(LayerError::write(&entry.path))?;
        self.finish(directory.as_fd(), entry)
    }

    /// Owner, mode and time, in this order: chown(2) clears set-id bits, and all change the status only.
    fn finish(&self, file: BorrowedFd<'_>, entry: &Entry) -> Result<(), LayerError> {
        let result = (|| {
            let change = Change::of(&fstat(file)?, entry, self.set_owner);
            if change.owner {
                fchown(
                    file,
                    Some(Uid::from_raw(entry.uid)),
                    Some(Gid::from_raw(entry.gid)),
                )?;
            }
            if change.mode {
                fchmod(file, Mode::from_raw_mode(entry.mode))?;
            }
            futimens(file, &times(entry.mtime))
        })();
        result.map_err(LayerError::write(&entry.path))
    }

    fn make_file<R: BufRead>(
        &mut self,
        entry: &Entry,
        listed: Option<&PathEntry>,
        archive: &mut Archive<R>,
    ) -> Result<(), LayerError> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(
            self.parent(&entry.path)?,
            file_name(&entry.path),
            flags,
            creation_mode(entry),
        )
        .map_err(LayerError::write(&entry.path))?;
        let mut file = File::from(file);
        let mut hasher = (self.content == Content::Unknown).then(Sha256::new);
        archive.each_piece(|piece| {
            if let Some(hasher) = &mut hasher {
                hasher.update(piece);
            }
            file.write_all(piece)
                .map_err(LayerError::write(&entry.path))
        })?;
        if let Some(hasher) = hasher {
            let found = Digest::from_bytes(hasher.finalize().into());
            if listed.and_then(|listed| listed.digest) != Some(found) {
                return Err(LayerError::entry(
                    &entry.path,
                    Refusal::DigestDiffers { found },
                ));
            }
        }
        self.finish(file.as_fd(), entry)
    }

    fn make_symlink(&mut self, entry: &Entry, target: &str) -> Result<(), LayerError> {
        let set_owner = self.set_owner;
        let parent = self.parent(&entry.path)?;
        let name = file_name(&entry.path);
        let result = (|| {
            symlinkat(target, parent, name)?;
            let nofollow = AtFlags::SYMLINK_NOFOLLOW;
            if Change::of(&statat(parent, name, nofollow)?, entry, set_owner).owner {
                let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
                chownat(parent, name, Some(uid), Some(gid), nofollow)?;
            }
            utimensat(parent, name, &times(entry.mtime), nofollow)
        })();
        result.map_err(LayerError::write(&entry.path))
    }

    fn make_link(&mut self, entry: &Entry, target: &str) -> Result<(), LayerError> {
        let from = open_beneath(
            self.root,
            parent(target).unwrap_or_default(),
            OFlags::PATH | OFlags::DIRECTORY,
        )
        .map_err(LayerError::write(target))?;
        // without AT_SYMLINK_FOLLOW linkat(2) does not follow a link at the last part
        linkat(
            from,
            file_name(target),
            self.parent(&entry.path)?,
            file_name(&entry.path),
            AtFlags::empty(),
        )
        .map_err(LayerError::write(&entry.path))
    }
}

/// What is to be changed of a path that was just made. A stat tells it, whatever umask, set-group-id directory, default access
/// control list or mount option had their say, and costs less than to change what is as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Change {
    owner: bool,
    mode: bool,
}

impl Change {
    const NONE: Self = Self {
        owner: false,
        mode: false,
    };

    fn of(about: &Stat, entry: &Entry, set_owner: bool) -> Self {
        let owner = set_owner && (about.st_uid, about.st_gid) != (entry.uid, entry.gid);
        Self {
            owner,
            // chown(2) clears set-id bits
            mode: about.st_mode & 0o7777 != entry.mode || (owner && entry.mode & 0o6000 != 0),
        }
    }
}

/// The mode to make a path with: nobody but us gets as far as here before the tree is whole, but set-id bits come last.
fn creation_mode(entry: &Entry) -> Mode {
    Mode::from_raw_mode(entry.mode & 0o777)
}

/// What leads from the directory `open` to `path`, which is it or below it.
fn below<'p>(path: &'p str, open: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(open)?;
    if rest.is_empty() {
        return Some(rest);
    }
    rest.strip_prefix('/')
}

/// Opens a relative path without following any symbolic link and without leaving `root` or its filesystem.
pub(crate) fn open_beneath(
    root: BorrowedFd<'_>,
    path: &str,
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    openat2(
        root,
        if path.is_empty() { "." } else { path },
        flags | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV,
    )
}

fn times(seconds: i64) -> Timestamps {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: 0,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}
