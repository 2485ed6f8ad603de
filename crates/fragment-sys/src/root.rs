//! The view of a root filesystem that cannot be left.
//!
//! Everything in a rootfs is hostile input: symbolic links that point out of it, loops, FIFOs in place of files. All
//! look-ups go through openat2(2) with `RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS` on one directory descriptor, so that an
//! absolute link resolves inside the root exactly as it will in the container. Nothing here needs privileges.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self as sys, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

mod error;
mod found;
mod witness;

pub use error::RootError;
pub use found::{End, Entry, Found, Kind, Link, Trace};
pub use witness::Witnesses;
use witness::{Recorder, Way};

/// How many symbolic links the kernel follows in one look-up (path_resolution(7)).
pub const MAX_LINKS: usize = 40;

/// How many links are followed before a path is walked step by step.
const QUICK_LINKS: usize = 4;

/// Largest buffer that is made before a file's size is known.
const READ_AHEAD: usize = 64 << 10;

/// How often a look-up that raced with a rename is tried again (openat2(2), EAGAIN).
const RETRIES: usize = 16;

const RESOLVE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// A root filesystem, seen from inside.
#[derive(Debug)]
pub struct Root {
    /// None: a root that holds nothing.
    directory: Option<OwnedFd>,
    path: PathBuf,
    recorder: Option<Recorder>,
}

impl Root {
    /// Opens the directory at `path` of this host. Links on the way to it, and `path` itself, are followed.
    ///
    /// # Errors
    /// When it is not a directory, cannot be reached, or the kernel lacks openat2(2).
    pub fn open(path: impl AsRef<Path>) -> Result<Self, RootError> {
        let path = path.as_ref();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = sys::open(path, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::NOTDIR => RootError::NotARootDirectory {
                path: path.to_owned(),
            },
            Errno::LOOP => RootError::RootLoop {
                path: path.to_owned(),
            },
            source => RootError::Open {
                path: path.to_owned(),
                source,
            },
        })?;
        let root = Self {
            directory: Some(directory),
            path: path.to_owned(),
            recorder: None,
        };
        // Asked once here, so that an old kernel is one clear error and not one for every file.
        root.open_at("/", OFlags::PATH | OFlags::DIRECTORY, ResolveFlags::empty())?;
        Ok(root)
    }

    /// A root that holds nothing, backed by nothing: every path is missing.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            directory: None,
            path: PathBuf::new(),
            recorder: None,
        }
    }

    /// The path of this host by which it was opened, for messages.
    #[must_use]
    pub fn host_path(&self) -> &Path {
        &self.path
    }

    /// What `path` leads to, all links followed inside the root. `None` when it does not exist.
    ///
    /// # Errors
    /// `EACCES`, `ELOOP` and `ENOTDIR` are told apart.
    pub fn lookup(&self, path: &str) -> Result<Option<Found>, RootError> {
        // Most paths hold no link, or one in their last component (`libx.so.1`): that takes one openat2 or three, and the
        // spelling that was asked for is the canonical one. Everything else is walked.
        let mut plain = canonical_spelling(path);
        for _ in 0..QUICK_LINKS {
            let Some(spelling) = plain.take() else { break };
            match self.stat_no_links(&spelling) {
                Ok(found) => return Ok(found),
                Err(Errno::LOOP) => plain = self.follow_last(&spelling)?,
                Err(errno) => return Err(self.error("look up", path, errno)),
            }
        }
        match self.trace(path)?.end {
            End::Found(found) => Ok(Some(found)),
            End::Missing(_) => Ok(None),
        }
    }

    /// Where the link `path` points if it is the only link on its way and its target is plain.
    fn follow_last(&self, path: &str) -> Result<Option<String>, RootError> {
        match self.stat_last(path) {
            Ok(Some(found)) if found.kind == Kind::Symlink => {}
            _ => return Ok(None),
        }
        let target = self.read_link(path)?;
        if target.starts_with('/') {
            return Ok(canonical_spelling(&target));
        }
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        Ok(canonical_spelling(&format!("{parent}/{target}")))
    }

    /// What `path` is, a link in its last component not followed. `None` when it does not exist.
    ///
    /// # Errors
    /// As [`Root::lookup`].
    pub fn lookup_nofollow_last(&self, path: &str) -> Result<Option<Found>, RootError> {
        let absolute = format!("/{}", path.trim_matches('/'));
        let Some((parent, name)) = absolute.rsplit_once('/') else {
            return Ok(None);
        };
        if matches!(name, "" | "." | "..") {
            return self.lookup(path);
        }
        let Some(parent) = self.lookup(if parent.is_empty() { "/" } else { parent })? else {
            return Ok(None);
        };
        let full = join(&parent.path, name);
        self.stat_last(&full)
            .map_err(|errno| self.error("look up", &full, errno))
    }

    /// Every symbolic link that is followed on the way to `path`, in order.
    ///
    /// # Errors
    /// As [`Root::lookup`]; more than [`MAX_LINKS`] links are [`RootError::Loop`].
    pub fn link_chain(&self, path: &str) -> Result<Vec<Link>, RootError> {
        self.trace(path).map(|trace| trace.links)
    }

    /// Resolves `path` step by step and tells the links and where it ends.
    ///
    /// # Errors
    /// As [`Root::link_chain`].
    pub fn trace(&self, path: &str) -> Result<Trace, RootError> {
        let mut links = Vec::new();
        // Components still to be walked, last first; `done` holds no link.
        let mut todo: Vec<String> = components(path);
        let must_be_directory = path.ends_with('/');
        let mut done = String::from("/");
        let mut here = self
            .stat_last("/")
            .map_err(|errno| self.error("look up", "/", errno))?;
        while let Some(name) = todo.pop() {
            if name == ".." {
                done.truncate(done.rfind('/').unwrap_or(0).max(1));
                here = self
                    .stat_last(&done)
                    .map_err(|errno| self.error("look up", path, errno))?;
                continue;
            }
            let next = join(&done, &name);
            here = self
                .stat_last(&next)
                .map_err(|errno| self.error("look up", path, errno))?;
            match &here {
                None => {
                    todo.push(next);
                    todo.reverse();
                    return Ok(Trace {
                        links,
                        end: End::Missing(todo.join("/")),
                    });
                }
                Some(found) if found.kind == Kind::Symlink => {
                    let target = self.read_link(&next)?;
                    if target.starts_with('/') {
                        done = String::from("/");
                    }
                    todo.extend(components(&target));
                    links.push(Link { path: next, target });
                    if links.len() > MAX_LINKS {
                        links.truncate(MAX_LINKS);
                        return Err(RootError::Loop {
                            path: path.to_owned(),
                            links,
                        });
                    }
                    here = self
                        .stat_last(&done)
                        .map_err(|errno| self.error("look up", path, errno))?;
                }
                Some(_) => done = next,
            }
        }
        match here {
            Some(found) if must_be_directory && found.kind != Kind::Directory => {
                Err(RootError::NotADirectory {
                    path: path.to_owned(),
                })
            }
            Some(found) => Ok(Trace {
                links,
                end: End::Found(found),
            }),
            None => Ok(Trace {
                links,
                end: End::Missing(done),
            }),
        }
    }

    /// Opens a regular file for reading, links followed. How much of it is read is the caller's to bound.
    ///
    /// # Errors
    /// As [`Root::lookup`]; also when it is missing or not a regular file.
    pub fn open_file(&self, path: &str) -> Result<File, RootError> {
        // Opening a device can have effects before fstat tells what it is: ask first, and again afterwards.
        let probe = self.open_noting(path, OFlags::PATH, Way::Followed);
        let probe = probe.map_err(|errno| self.error("open", path, errno))?;
        self.require_regular(path, probe.as_fd())?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = self.open_at(path, flags, ResolveFlags::empty())?;
        self.require_regular(path, fd.as_fd())?;
        Ok(File::from(fd))
    }

    /// Opens a regular file that a look-up has found, by the path that it gave; also its size in bytes. It is not asked again what it is
    /// before it is opened, as [`Root::open_file`] does, but afterwards.
    ///
    /// # Errors
    /// As [`Root::open_file`].
    pub fn open_found(&self, found: &Found) -> Result<(File, u64), RootError> {
        let path = found.path.as_str();
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = self.open_at(path, flags, ResolveFlags::empty())?;
        let stat = sys::fstat(&fd).map_err(|errno| self.error("stat", path, errno))?;
        if let Some(recorder) = &self.recorder {
            recorder.note(path, Way::Followed, Ok(&stat));
        }
        match Found::new(String::new(), &stat) {
            Found {
                kind: Kind::File,
                size,
                ..
            } => Ok((File::from(fd), size)),
            Found { kind, .. } => Err(RootError::NotRegular {
                path: path.to_owned(),
                kind,
            }),
        }
    }

    /// The first `limit` bytes of a regular file, fewer if it is shorter.
    ///
    /// # Errors
    /// As [`Root::open_file`].
    pub fn read_prefix(&self, path: &str, limit: usize) -> Result<Vec<u8>, RootError> {
        // One read, mostly: a buffer of the full size and one more byte to see the end.
        let file = self.open_file(path)?;
        let mut bytes = Vec::with_capacity(limit.min(READ_AHEAD) + 1);
        file.take(limit as u64)
            .read_to_end(&mut bytes)
            .map_err(|source| RootError::Io {
                operation: "read",
                path: path.to_owned(),
                source,
            })?;
        Ok(bytes)
    }

    /// At most `limit` entries of a directory, sorted, without `.`, `..` and names that are not UTF-8. `None` when it does
    /// not exist.
    ///
    /// # Errors
    /// As [`Root::lookup`].
    pub fn read_dir(&self, path: &str, limit: usize) -> Result<Option<Vec<Entry>>, RootError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let fd = match self.open_noting(path, flags, Way::Listed) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(self.error("open", path, errno)),
        };
        let io = |source: Errno| RootError::Io {
            operation: "read directory",
            path: path.to_owned(),
            source: source.into(),
        };
        let mut entries = Vec::new();
        for entry in sys::Dir::new(fd).map_err(io)? {
            let entry = entry.map_err(io)?;
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            if matches!(name, "." | "..") {
                continue;
            }
            if entries.len() == limit {
                break;
            }
            let kind = entry.file_type();
            entries.push(Entry {
                name: name.to_owned(),
                is_directory: kind == FileType::Directory,
                may_be_link: matches!(kind, FileType::Symlink | FileType::Unknown),
            });
        }
        entries.sort();
        Ok(Some(entries))
    }

    fn require_regular(&self, path: &str, fd: BorrowedFd<'_>) -> Result<(), RootError> {
        let stat = sys::fstat(fd).map_err(|errno| self.error("stat", path, errno))?;
        match Found::new(String::new(), &stat).kind {
            Kind::File => Ok(()),
            kind => Err(RootError::NotRegular {
                path: path.to_owned(),
                kind,
            }),
        }
    }

    fn open_at(&self, path: &str, flags: OFlags, more: ResolveFlags) -> Result<OwnedFd, RootError> {
        self.openat2(path, flags, RESOLVE | more)
            .map_err(|errno| self.error("open", path, errno))
    }

    fn openat2(&self, path: &str, flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { "/" } else { path };
        let directory = self.directory.as_ref().ok_or(Errno::NOENT)?;
        let mut tries = 0;
        loop {
            let flags = flags | OFlags::CLOEXEC;
            match sys::openat2(directory, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) if tries < RETRIES => tries += 1,
                result => return result,
            }
        }
    }

    /// Opens a path in one of the ways that a recording root notes.
    fn open_noting(&self, path: &str, flags: OFlags, way: Way) -> Result<OwnedFd, Errno> {
        let opened = self.openat2(path, flags, way.flags().1);
        if let Some(recorder) = &self.recorder {
            let stat = opened.as_ref().map_err(|errno| *errno).and_then(sys::fstat);
            recorder.note(path, way, stat.as_ref().map_err(|errno| *errno));
        }
        opened
    }

    /// `stat` of a path in canonical spelling; a link anywhere is `ELOOP`.
    fn stat_no_links(&self, path: &str) -> Result<Option<Found>, Errno> {
        self.stat(path, Way::NoLinks)
    }

    /// `stat` of a path whose last component alone may be a link, which is not followed.
    fn stat_last(&self, path: &str) -> Result<Option<Found>, Errno> {
        self.stat(path, Way::LastLink)
    }

    fn stat(&self, path: &str, way: Way) -> Result<Option<Found>, Errno> {
        let (flags, resolve) = way.flags();
        let stat = self.openat2(path, flags, resolve).and_then(sys::fstat);
        if let Some(recorder) = &self.recorder {
            recorder.note(path, way, stat.as_ref().map_err(|errno| *errno));
        }
        match stat {
            Ok(stat) => Ok(Some(Found::new(path.to_owned(), &stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    fn read_link(&self, path: &str) -> Result<String, RootError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let fd = self.open_at(path, flags, ResolveFlags::NO_SYMLINKS)?;
        let target = sys::readlinkat(fd, "", Vec::new())
            .map_err(|errno| self.error("read link", path, errno))?;
        target.into_string().map_err(|_| RootError::NotUtf8 {
            path: path.to_owned(),
        })
    }

    fn error(&self, operation: &'static str, path: &str, errno: Errno) -> RootError {
        let path = path.to_owned();
        match errno {
            Errno::NOSYS => RootError::NoOpenat2,
            Errno::ACCESS | Errno::PERM => RootError::PermissionDenied { path },
            Errno::NOTDIR => RootError::NotADirectory { path },
            Errno::LOOP => RootError::Loop {
                path,
                links: Vec::new(),
            },
            errno => RootError::Io {
                operation,
                path,
                source: errno.into(),
            },
        }
    }
}

/// The absolute spelling of `path` without `.`, empty components and trailing slashes; `None` when it holds `..` (which
/// must not be removed before links are followed) or demands a directory by a trailing slash.
fn canonical_spelling(path: &str) -> Option<String> {
    if path.len() > 1 && path.ends_with('/') {
        return None;
    }
    let mut out = String::with_capacity(path.len() + 1);
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => return None,
            name => {
                out.push('/');
                out.push_str(name);
            }
        }
    }
    Some(if out.is_empty() {
        String::from("/")
    } else {
        out
    })
}

/// Components of a path, last first, without empty ones and `.`.
fn components(path: &str) -> Vec<String> {
    path.split('/')
        .rev()
        .filter(|name| !matches!(*name, "" | "."))
        .map(str::to_owned)
        .collect()
}

fn join(directory: &str, name: &str) -> String {
    if directory == "/" {
        format!("/{name}")
    } else {
        format!("{directory}/{name}")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn scene() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let at = |p: &str| dir.path().join(p);
        std::fs::create_dir_all(at("usr/bin")).unwrap();
        std::fs::create_dir_all(at("etc")).unwrap();
        std::fs::write(at("usr/bin/app"), b"hello world").unwrap();
        std::fs::set_permissions(at("usr/bin/app"), PermissionsExt::from_mode(0o755)).unwrap();
        symlink("usr/bin", at("bin")).unwrap();
        symlink("/usr/bin/app", at("abs")).unwrap();
        symlink("../../../../../../etc", at("etc/out")).unwrap();
        symlink("loop2", at("loop1")).unwrap();
        symlink("loop1", at("loop2")).unwrap();
        symlink("/usr/bin/gone/x", at("dangling")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        (dir, root)
    }

    #[test]
    fn links_resolve_inside_the_root() {
        let (_dir, root) = scene();
        for (path, canonical) in [
            ("/usr/bin/app", "/usr/bin/app"),
            ("usr//bin/./app", "/usr/bin/app"),
            ("/bin/app", "/usr/bin/app"),
            ("/abs", "/usr/bin/app"),
            ("/bin/../bin/app", "/usr/bin/app"),
            ("/../../../usr", "/usr"),
            ("/etc/out", "/etc"),
            ("/", "/"),
            ("", "/"),
            ("/bin/", "/usr/bin"),
        ] {
            assert_eq!(
                root.lookup(path).unwrap().unwrap().path,
                canonical,
                "{path}"
            );
        }
        let found = root.lookup("/abs").unwrap().unwrap();
        assert_eq!(
            (found.kind, found.size, found.mode),
            (Kind::File, 11, 0o755)
        );
        assert!(found.is_executable());
    }

    #[test]
    fn what_is_missing_is_told_from_what_is_wrong() {
        let (_dir, root) = scene();
        assert!(root.lookup("/nothing/here").unwrap().is_none());
        assert!(root.lookup("/dangling").unwrap().is_none());
        assert!(matches!(
            root.lookup("/usr/bin/app/x"),
            Err(RootError::NotADirectory { .. })
        ));
        assert!(matches!(
            root.lookup("/bin/app/x"),
            Err(RootError::NotADirectory { .. })
        ));
        assert!(matches!(
            root.lookup("/usr/bin/app/"),
            Err(RootError::NotADirectory { .. })
        ));
        let Err(RootError::Loop { links, .. }) = root.lookup("/loop1") else {
            panic!("no loop")
        };
        assert_eq!(links.len(), MAX_LINKS);
        let text = root.lookup("/loop1").unwrap_err().to_string();
        assert!(text.contains("/loop1 -> loop2, /loop2 -> loop1"), "{text}");
    }

    #[test]
    fn a_trace_names_links_and_the_missing_target() {
        let (_dir, root) = scene();
        let trace = root.trace("/bin/../../bin/nope").unwrap();
        assert_eq!(trace.end, End::Missing("/usr/bin/nope".into()));
        assert_eq!(trace.links.len(), 2, "{:?}", trace.links);
        let trace = root.trace("/dangling").unwrap();
        assert_eq!(trace.end, End::Missing("/usr/bin/gone/x".into()));
        assert_eq!(
            trace.links,
            [Link {
                path: "/dangling".into(),
                target: "/usr/bin/gone/x".into()
            }]
        );
        assert_eq!(root.link_chain("/usr/bin/app").unwrap(), []);
    }

    #[test]
    fn the_last_link_can_be_seen_itself() {
        let (_dir, root) = scene();
        let found = root.lookup_nofollow_last("/abs").unwrap().unwrap();
        assert_eq!((found.kind, found.path.as_str()), (Kind::Symlink, "/abs"));
        let found = root.lookup_nofollow_last("/bin/app").unwrap().unwrap();
        assert_eq!(
            (found.kind, found.path.as_str()),
            (Kind::File, "/usr/bin/app")
        );
        assert!(root.lookup_nofollow_last("/gone").unwrap().is_none());
    }

    #[test]
    fn only_regular_files_are_opened_and_nothing_hangs() {
        let (dir, root) = scene();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            dir.path().join("fifo"),
            FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert!(matches!(
            root.open_file("/fifo"),
            Err(RootError::NotRegular {
                kind: Kind::Special,
                ..
            })
        ));
        assert!(matches!(
            root.open_file("/usr"),
            Err(RootError::NotRegular {
                kind: Kind::Directory,
                ..
            })
        ));
        assert_eq!(root.read_prefix("/abs", 5).unwrap(), b"hello");
        assert_eq!(root.read_prefix("/abs", 500).unwrap(), b"hello world");
    }

    #[test]
    fn directories_are_listed_sorted_and_bounded() {
        let (_dir, root) = scene();
        let names: Vec<_> = root
            .read_dir("/", 100)
            .unwrap()
            .unwrap()
            .into_iter()
            .map(|e| e.name)
            .collect();
        assert_eq!(
            names,
            ["abs", "bin", "dangling", "etc", "loop1", "loop2", "usr"]
        );
        assert_eq!(root.read_dir("/", 2).unwrap().unwrap().len(), 2);
        assert!(root.read_dir("/nope", 2).unwrap().is_none());
        assert!(matches!(
            root.read_dir("/abs", 2),
            Err(RootError::NotADirectory { .. })
        ));
    }

    #[test]
    fn a_root_that_is_no_directory_is_refused() {
        let (dir, _root) = scene();
        assert!(matches!(
            Root::open(dir.path().join("usr/bin/app")),
            Err(RootError::NotARootDirectory { .. })
        ));
        assert!(matches!(
            Root::open(dir.path().join("loop1")),
            Err(RootError::RootLoop { .. })
        ));
        assert!(matches!(
            Root::open(dir.path().join("none")),
            Err(RootError::Open {
                source: Errno::NOENT,
                ..
            })
        ));
        let empty = tempfile::tempdir().unwrap();
        assert!(
            Root::open(empty.path())
                .unwrap()
                .lookup("/etc/passwd")
                .unwrap()
                .is_none()
        );
    }
}
