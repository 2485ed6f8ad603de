//! Applies the layers of an image to a directory, as OCI image-spec `layer.md` says and nowhere else.
//!
//! A layer is hostile input. Its directories are opened with openat2(2) RESOLVE_IN_ROOT on the directory that is filled (a link
//! of a lower layer may lead to another directory of the tree, as `/bin` does, never out of it), its last names are never
//! followed, entries and bytes are counted, and what would change the meaning of an overlay above is refused.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use fragment::store::{Archive, Entry, Kind, LayerError, Refusal};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid,
    XattrFlags, chownat, fchmod, fchown, fsetxattr, futimens, linkat, makedev, mkdirat, mknodat,
    openat, openat2, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

/// Most entries of all layers together: ten times what a large image holds.
const MAX_ENTRIES: u64 = 4_000_000;
/// Most bytes of all layers together, unpacked.
const MAX_BYTES: u64 = 64 << 30;
/// Marks the directory it lies in: nothing of lower layers shows in it.
const OPAQUE: &str = ".wh..wh..opq";
const WHITEOUT: &str = ".wh.";

/// The directory that layers are applied to, lowest first.
#[derive(Debug)]
pub(crate) struct Tree {
    root: OwnedFd,
    set_owner: bool,
    entries: u64,
    bytes: u64,
    /// Directories get owner, mode and time at the end: making their children changes the time, and may be forbidden after.
    directories: BTreeMap<String, Entry>,
    buffer: Vec<u8>,
}

impl Tree {
    /// `directory` is empty and ours.
    pub(crate) fn new(directory: &std::path::Path) -> Result<Self, LayerError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root =
            openat(CWD, directory, flags, Mode::empty()).map_err(write("the directory to fill"))?;
        Ok(Self {
            root,
            set_owner: rustix::process::geteuid().is_root(),
            entries: 0,
            bytes: 0,
            directories: BTreeMap::new(),
            buffer: vec![0; 1 << 17],
        })
    }

    /// Applies one uncompressed layer.
    pub(crate) fn apply(&mut self, layer: impl Read) -> Result<(), LayerError> {
        let mut archive = Archive::of_image(layer);
        // paths of this layer: whiteouts hide lower layers only
        let mut made = HashSet::new();
        while let Some(entry) = archive.next_entry()? {
            self.count(&entry)?;
            let (directory, name) = split(&entry.path);
            if name == OPAQUE {
                self.clear(directory, &made)?;
                continue;
            }
            if let Some(hidden) = name.strip_prefix(WHITEOUT) {
                let path = join(directory, hidden);
                if !made.contains(&path) {
                    self.remove(&path)?;
                }
                continue;
            }
            if self.make(&entry, &mut archive)? {
                made.insert(entry.path.clone());
            }
        }
        Ok(())
    }

    /// Gives directories their owners, modes and times.
    pub(crate) fn finish(self) -> Result<(), LayerError> {
        for (path, entry) in self.directories.iter().rev() {
            match self.directory(path) {
                Ok(directory) => self.attributes(directory.as_fd(), entry)?,
                // a later layer removed it or put something else there
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(errno) => return Err(write(path)(errno)),
            }
        }
        Ok(())
    }

    fn count(&mut self, entry: &Entry) -> Result<(), LayerError> {
        self.entries += 1;
        if let Kind::File { size } = entry.kind {
            self.bytes = self.bytes.saturating_add(size);
        }
        for (what, limit, found) in [
            ("most entries of an image", MAX_ENTRIES, self.entries),
            ("most bytes of an image", MAX_BYTES, self.bytes),
        ] {
            if found > limit {
                return Err(LayerError::Size {
                    what,
                    expected: limit,
                    found,
                });
            }
        }
        Ok(())
    }

    /// Whether something was made.
    fn make<R: Read>(
        &mut self,
        entry: &Entry,
        archive: &mut Archive<R>,
    ) -> Result<bool, LayerError> {
        // overlayfs would take these from an image for its own marks (overlayfs.rst)
        if let Some((name, _)) = entry.xattrs.iter().find(|(name, _)| {
            name.starts_with("trusted.overlay.") || name.starts_with("user.overlay.")
        }) {
            let refusal = Refusal::Xattr(name.clone());
            return Err(refused(&entry.path, refusal));
        }
        if entry.path.is_empty() {
            self.directories.insert(String::new(), entry.clone());
            return Ok(true);
        }
        let (parent, name) = split(&entry.path);
        let parent = self.make_directory(parent)?;
        let parent = parent.as_fd();
        if self.stays(parent, name, entry) {
            self.directories.insert(entry.path.clone(), entry.clone());
            return Ok(true);
        }
        remove(parent, name).map_err(write(&entry.path))?;
        match &entry.kind {
            Kind::Directory => {
                mkdirat(parent, name, Mode::RWXU).map_err(write(&entry.path))?;
                self.directories.insert(entry.path.clone(), entry.clone());
            }
            Kind::File { .. } => self.make_file(parent, name, entry, archive)?,
            Kind::Symlink { target } => {
                symlinkat(target.as_str(), parent, name).map_err(write(&entry.path))?;
                self.named_attributes(parent, name, entry)?;
            }
            Kind::HardLink { target } => {
                let (directory, of) = split(target);
                self.directory(directory)
                    .and_then(|from| linkat(from, of, parent, name, AtFlags::empty()))
                    .map_err(write(&entry.path))?;
            }
            Kind::Special { kind, device } => {
                return self.make_special(parent, name, entry, *kind, *device);
            }
        }
        Ok(true)
    }

    /// A directory stays when the layer has one in its place.
    fn stays(&self, parent: BorrowedFd<'_>, name: &str, entry: &Entry) -> bool {
        entry.kind == Kind::Directory
            && statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    }

    fn make_file<R: Read>(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &str,
        entry: &Entry,
        archive: &mut Archive<R>,
    ) -> Result<(), LayerError> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file =
            openat(parent, name, flags, Mode::RUSR | Mode::WUSR).map_err(write(&entry.path))?;
        let mut file = File::from(file);
        loop {
            let read = archive.read_content(&mut self.buffer)?;
            if read == 0 {
                break;
            }
            file.write_all(&self.buffer[..read])
                .map_err(write(&entry.path))?;
        }
        self.attributes(file.as_fd(), entry)
    }

    /// Engines mount a /dev of their own; a device elsewhere is the image's. Without CAP_MKNOD it is left out: no program
    /// starts for want of one, and an image that holds one is refused by engines without that right, too.
    fn make_special(
        &self,
        parent: BorrowedFd<'_>,
        name: &str,
        entry: &Entry,
        kind: char,
        (major, minor): (u32, u32),
    ) -> Result<bool, LayerError> {
        let (file_type, device) = match kind {
            '6' => (FileType::Fifo, 0),
            // a character device 0/0 is overlayfs' whiteout
            '3' if (major, minor) == (0, 0) => {
                return Err(refused(&entry.path, Refusal::Kind(kind)));
            }
            _ if entry.path.starts_with("dev/") => return Ok(false),
            '3' => (FileType::CharacterDevice, makedev(major, minor)),
            _ => (FileType::BlockDevice, makedev(major, minor)),
        };
        match mknodat(parent, name, file_type, Mode::RUSR | Mode::WUSR, device) {
            Err(Errno::PERM) => return Ok(false),
            other => other.map_err(write(&entry.path))?,
        }
        self.named_attributes(parent, name, entry)?;
        Ok(true)
    }

    /// Owner, mode, attributes and time, in this order: chown(2) clears set-id bits and capabilities.
    fn attributes(&self, file: BorrowedFd<'_>, entry: &Entry) -> Result<(), LayerError> {
        let result = (|| {
            if self.set_owner {
                let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
                fchown(file, Some(uid), Some(gid))?;
            }
            fchmod(file, Mode::from_raw_mode(entry.mode))?;
            for (name, value) in &entry.xattrs {
                match fsetxattr(file, name.as_str(), value, XattrFlags::empty()) {
                    // labels of another machine's security module mean nothing here
                    Err(Errno::NOTSUP | Errno::PERM)
                        if !name.starts_with("security.capability") => {}
                    other => other?,
                }
            }
            futimens(file, &times(entry.mtime))
        })();
        result.map_err(write(&entry.path))
    }

    /// The same for what cannot be opened.
    fn named_attributes(
        &self,
        parent: BorrowedFd<'_>,
        name: &str,
        entry: &Entry,
    ) -> Result<(), LayerError> {
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        let result = (|| {
            if self.set_owner {
                let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
                chownat(parent, name, Some(uid), Some(gid), nofollow)?;
            }
            if !matches!(entry.kind, Kind::Symlink { .. }) {
                let mode = Mode::from_raw_mode(entry.mode);
                rustix::fs::chmodat(parent, name, mode, AtFlags::empty())?;
            }
            utimensat(parent, name, &times(entry.mtime), nofollow)
        })();
        result.map_err(write(&entry.path))
    }

    fn directory(&self, path: &str) -> rustix::io::Result<OwnedFd> {
        openat2(
            &self.root,
            if path.is_empty() { "." } else { path },
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV,
        )
    }

    /// The directory `path`, made where layers leave it out.
    fn make_directory(&self, path: &str) -> Result<OwnedFd, LayerError> {
        match self.directory(path) {
            Err(Errno::NOENT) => {}
            other => return other.map_err(write(path)),
        }
        let (above, name) = split(path);
        let parent = self.make_directory(above)?;
        mkdirat(parent, name, Mode::from_raw_mode(0o755)).map_err(write(path))?;
        self.directory(path).map_err(write(path))
    }

    fn remove(&self, path: &str) -> Result<(), LayerError> {
        let (directory, name) = split(path);
        match self.directory(directory) {
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            other => other
                .and_then(|parent| remove(parent.as_fd(), name))
                .map_err(write(path)),
        }
    }

    /// Removes what lower layers have in `path`.
    fn clear(&self, path: &str, made: &HashSet<String>) -> Result<(), LayerError> {
        let directory = match self.directory(path) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            other => other.map_err(write(path))?,
        };
        for name in names(directory.as_fd()).map_err(write(path))? {
            let child = join(path, &name);
            let is_directory = statat(&directory, name.as_str(), AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
            match (made.contains(&child), is_directory) {
                (true, true) => self.clear(&child, made)?,
                (true, false) => {}
                (false, _) => remove(directory.as_fd(), &name).map_err(write(&child))?,
            }
        }
        Ok(())
    }
}

/// Removes `name` with everything in it, following nothing; absent is fine.
fn remove(parent: BorrowedFd<'_>, name: &str) -> rustix::io::Result<()> {
    let stat = match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return unlinkat(parent, name, AtFlags::empty());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = openat(parent, name, flags, Mode::empty())?;
    for child in names(directory.as_fd())? {
        remove(directory.as_fd(), &child)?;
    }
    unlinkat(parent, name, AtFlags::REMOVEDIR)
}

/// Names in a directory; all were made from text.
fn names(directory: BorrowedFd<'_>) -> rustix::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_str().map(str::to_owned);
        names.extend(
            name.ok()
                .filter(|name| !matches!(name.as_str(), "." | "..")),
        );
    }
    Ok(names)
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() {
        name.to_owned()
    } else {
        format!("{directory}/{name}")
    }
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

fn write<E: Into<std::io::Error>>(path: &str) -> impl FnOnce(E) -> LayerError + '_ {
    move |source| LayerError::Write {
        path: path.to_owned(),
        source: source.into(),
    }
}

fn refused(path: &str, refusal: Refusal) -> LayerError {
    LayerError::Entry {
        path: path.escape_default().to_string(),
        refusal,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use tar::{Builder, EntryType, Header};

    use super::*;

    /// An entry of a layer: type, name, content or target.
    type Part<'p> = (EntryType, &'p str, &'p str);
    const FILE: EntryType = EntryType::Regular;
    const DIRECTORY: EntryType = EntryType::Directory;

    fn layer(parts: &[Part<'_>]) -> Vec<u8> {
        let mut archive = Builder::new(Vec::new());
        for (kind, name, content) in parts {
            let mut header = Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(if *kind == DIRECTORY { 0o755 } else { 0o644 });
            header.set_mtime(7);
            let me = (rustix::process::getuid(), rustix::process::getgid());
            header.set_uid(me.0.as_raw().into());
            header.set_gid(me.1.as_raw().into());
            // the library of the test refuses hostile names itself
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            if matches!(kind, EntryType::Symlink | EntryType::Link) {
                header.as_old_mut().linkname[..content.len()].copy_from_slice(content.as_bytes());
                header.set_size(0);
            } else {
                header.set_size(content.len() as u64);
            }
            header.set_cksum();
            let content = if header.size().is_ok_and(|size| size > 0) {
                content.as_bytes()
            } else {
                b""
            };
            archive.append(&header, content).unwrap();
        }
        archive.into_inner().unwrap()
    }

    fn unpacked(layers: &[&[Part<'_>]]) -> (tempfile::TempDir, Result<(), LayerError>) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        fs::create_dir(&root).unwrap();
        fs::write(directory.path().join("outside"), "untouched").unwrap();
        let result = (|| {
            let mut tree = Tree::new(&root)?;
            for parts in layers {
                tree.apply(layer(parts).as_slice())?;
            }
            tree.finish()
        })();
        let outside = fs::read_to_string(directory.path().join("outside")).unwrap();
        assert_eq!(outside, "untouched");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
        (directory, result)
    }

    #[track_caller]
    fn names(directory: &tempfile::TempDir, path: &str) -> Vec<String> {
        let entries = fs::read_dir(directory.path().join("root").join(path)).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn later_layers_replace_and_hide() {
        let (directory, result) = unpacked(&[
            &[
                (DIRECTORY, "etc/", ""),
                (FILE, "etc/a", "1"),
                (FILE, "etc/b", "1"),
                (DIRECTORY, "opt/", ""),
                (FILE, "opt/old", "1"),
                (DIRECTORY, "opt/sub/", ""),
                (FILE, "opt/sub/old", "1"),
                (EntryType::Symlink, "turns", "opt"),
            ],
            &[
                (FILE, "etc/.wh.a", ""),
                (FILE, "etc/b", "22"),
                (DIRECTORY, "opt/", ""),
                (DIRECTORY, "opt/sub/", ""),
                (FILE, "opt/sub/new", "2"),
                // hides lower layers only, wherever it stands
                (FILE, "opt/.wh..wh..opq", ""),
                (DIRECTORY, "turns/", ""),
                (FILE, "made/on/the/way", "2"),
                (FILE, "etc/.wh.never-there", ""),
            ],
        ]);
        result.unwrap();
        assert_eq!(names(&directory, "etc"), ["b"]);
        assert_eq!(names(&directory, "opt"), ["sub"]);
        assert_eq!(names(&directory, "opt/sub"), ["new"]);
        let root = directory.path().join("root");
        assert_eq!(fs::read_to_string(root.join("etc/b")).unwrap(), "22");
        assert_eq!(fs::metadata(root.join("etc")).unwrap().mtime(), 7);
        let turns = fs::symlink_metadata(root.join("turns")).unwrap();
        assert!(turns.is_dir());
        assert!(root.join("made/on/the/way").is_file());
    }

    #[test]
    fn links_of_lower_layers_lead_inside_only() {
        let (directory, result) = unpacked(&[
            &[
                (DIRECTORY, "usr/bin/", ""),
                (EntryType::Symlink, "bin", "usr/bin"),
                (EntryType::Symlink, "out", "../../.."),
                (EntryType::Symlink, "absolute", "/usr"),
                (EntryType::Symlink, "file", "../outside"),
            ],
            &[
                (FILE, "bin/tool", "t"),
                (FILE, "out/inside", "x"),
                (FILE, "absolute/inside", "x"),
                (FILE, "file", "replaced"),
                (FILE, "out/.wh.outside", ""),
            ],
        ]);
        result.unwrap();
        assert_eq!(names(&directory, "usr/bin"), ["tool"]);
        assert_eq!(names(&directory, "usr"), ["bin", "inside"]);
        let root = directory.path().join("root");
        assert!(
            root.join("inside").is_file(),
            "`..` of the root is the root"
        );
        let file = fs::symlink_metadata(root.join("file")).unwrap();
        assert!(file.is_file());
    }

    #[test]
    fn hostile_layers_are_refused() {
        for parts in [
            vec![(FILE, "../outside", "x")],
            vec![(FILE, "a/../../outside", "x")],
            vec![(FILE, "../.wh.outside", "")],
            vec![(EntryType::Link, "x", "../outside")],
            vec![(EntryType::Link, "x", "nothing")],
            vec![(FILE, "f", "x"), (FILE, "f/below", "x")],
            vec![(EntryType::Char, "whiteout", "")],
        ] {
            let (_, result) = unpacked(&[&parts]);
            assert!(result.is_err(), "{parts:?}");
        }
        let (directory, result) = unpacked(&[&[
            (EntryType::Symlink, "l", "../outside"),
            (EntryType::Link, "hard", "l"),
        ]]);
        result.unwrap();
        let hard = directory.path().join("root/hard");
        assert!(fs::symlink_metadata(hard).unwrap().is_symlink());
    }

    #[test]
    fn marks_of_overlays_are_refused() {
        for name in ["trusted.overlay.opaque", "user.overlay.redirect"] {
            let mut archive = Builder::new(Vec::new());
            let key = format!("SCHILY.xattr.{name}");
            let record = [(key.as_str(), b"y".as_slice())];
            archive.append_pax_extensions(record).unwrap();
            let mut header = Header::new_gnu();
            header.set_entry_type(DIRECTORY);
            header.set_size(0);
            header.set_mode(0o755);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            let nothing = std::io::empty();
            archive.append_data(&mut header, "d/", nothing).unwrap();
            let bytes = archive.into_inner().unwrap();
            let directory = tempfile::tempdir().unwrap();
            let mut tree = Tree::new(directory.path()).unwrap();
            let error = tree.apply(bytes.as_slice()).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn what_is_there_before_is_ours() {
        // the directory to fill is ours, but a link that got into it is still not followed
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        fs::create_dir(&root).unwrap();
        fs::write(directory.path().join("outside"), "untouched").unwrap();
        symlink("../outside", root.join("f")).unwrap();
        let mut tree = Tree::new(&root).unwrap();
        tree.apply(layer(&[(FILE, "f", "x")]).as_slice()).unwrap();
        let outside = fs::read_to_string(directory.path().join("outside")).unwrap();
        assert_eq!(outside, "untouched");
        let mode = fs::metadata(root.join("f")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o644);
    }
}
