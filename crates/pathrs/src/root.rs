//! Directories and files of a rootfs, found and made without leaving it.

use std::fs::{File, Permissions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path};

use rustix::fs::{self, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::Error;
use crate::flags::OpenFlags;

const INSIDE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);

/// A directory that look-ups take for `/`.
#[derive(Debug)]
pub struct Root(OwnedFd);

/// Something in it, by a descriptor that can neither be read nor written (`O_PATH`).
#[derive(Debug)]
pub struct Handle(OwnedFd);

impl From<Handle> for OwnedFd {
    fn from(handle: Handle) -> Self {
        handle.0
    }
}

impl Root {
    /// Opens the directory at `path` of this mount namespace.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        fs::open(path, DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map(Self)
            .map_err(|errno| Error::new("open the root directory", path, errno))
    }

    /// What `path` leads to, all links followed inside.
    ///
    /// # Errors
    /// The kernel's: `ENOENT` when there is nothing, `ELOOP`.
    pub fn resolve(&self, path: impl AsRef<Path>) -> Result<Handle, Error> {
        let path = path.as_ref();
        self.look(path, OFlags::PATH)
            .map(Handle)
            .map_err(|errno| Error::new("find", path, errno))
    }

    /// The directory `path`, made with the directories above it where they are missing. Links that exist are followed inside; a
    /// link that leads to nothing is an error, as is a `..` below what is missing.
    ///
    /// # Errors
    /// The kernel's: `ENOTDIR` where something else is in the way.
    pub fn mkdir_all(
        &self,
        path: impl AsRef<Path>,
        permissions: &Permissions,
    ) -> Result<Handle, Error> {
        let path = path.as_ref();
        self.make_directories(path, Mode::from_raw_mode(permissions.mode()))
            .map(Handle)
            .map_err(|errno| Error::new("make the directory", path, errno))
    }

    fn make_directories(&self, path: &Path, mode: Mode) -> Result<OwnedFd, Errno> {
        let missing = match self.look(path, DIRECTORY) {
            Err(Errno::NOENT) => path,
            done => return done,
        };
        // the nearest directory above it that is there
        let mut names = Vec::new();
        let mut above = missing;
        let mut here = loop {
            match above.components().next_back() {
                Some(Component::Normal(name)) => names.push(name),
                // the root is there, and what is above something that is missing cannot be known
                _ => return Err(Errno::NOENT),
            }
            above = above.parent().unwrap_or(Path::new("/"));
            match self.look(above, DIRECTORY) {
                Err(Errno::NOENT) => {}
                found => break found?,
            }
        };
        while let Some(name) = names.pop() {
            match fs::mkdirat(&here, name, mode) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
            // somebody else may have made it, or a link of that name that leads to nothing was there
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
            here = crate::open(
                here.as_fd(),
                Path::new(name),
                DIRECTORY,
                Mode::empty(),
                resolve,
            )?;
        }
        Ok(here)
    }

    /// Opens `path`, made with `permissions` where `flags` ask for it. A link in its last component is not followed.
    ///
    /// # Errors
    /// The kernel's.
    pub fn create_file(
        &self,
        path: impl AsRef<Path>,
        flags: impl Into<OpenFlags>,
        permissions: &Permissions,
    ) -> Result<File, Error> {
        let path = path.as_ref();
        let mode = Mode::from_raw_mode(permissions.mode());
        let flags = flags.into().0 | OFlags::CREATE | OFlags::NOFOLLOW;
        let refused = |errno| Error::new("make the file", path, errno);
        // openat2(2) would take `/a/..` for a directory: it must be a name
        let Some(Component::Normal(name)) = path.components().next_back() else {
            return Err(refused(Errno::ISDIR));
        };
        let directory = path.parent().unwrap_or(Path::new("/"));
        let directory = self.look(directory, DIRECTORY).map_err(refused)?;
        let made = crate::open(directory.as_fd(), Path::new(name), flags, mode, INSIDE);
        made.map(File::from).map_err(refused)
    }

    fn look(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        crate::open(self.0.as_fd(), path, flags, Mode::empty(), INSIDE)
    }
}

#[cfg(test)]
mod tests {
    use std::fs as std_fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn permissions(mode: u32) -> Permissions {
        Permissions::from_mode(mode)
    }

    /// A rootfs, and a directory beside it that nothing may reach.
    fn scene() -> (tempfile::TempDir, Root) {
        let scene = tempfile::tempdir().unwrap();
        let rootfs = scene.path().join("rootfs");
        std_fs::create_dir_all(rootfs.join("usr/bin")).unwrap();
        std_fs::create_dir(scene.path().join("outside")).unwrap();
        std_fs::write(rootfs.join("file"), "").unwrap();
        symlink("usr/bin", rootfs.join("bin")).unwrap();
        symlink("../../../../outside", rootfs.join("up")).unwrap();
        symlink(scene.path().join("outside"), rootfs.join("absolute")).unwrap();
        symlink("/usr", rootfs.join("inside")).unwrap();
        symlink("loop", rootfs.join("loop")).unwrap();
        symlink("/proc/self/root", rootfs.join("magic")).unwrap();
        let root = Root::open(&rootfs).unwrap();
        (scene, root)
    }

    fn errno(error: &Error) -> Option<Errno> {
        let reason = std::error::Error::source(error)?.downcast_ref::<std::io::Error>()?;
        reason.raw_os_error().map(Errno::from_raw_os_error)
    }

    #[test]
    fn directories_are_made_inside_whatever_the_links_say() {
        let (scene, root) = scene();
        let rootfs = scene.path().join("rootfs");
        for (path, made) in [
            ("/a/b/c", "a/b/c"),
            ("/a/./b//d/", "a/b/d"),
            ("/bin/x/y", "usr/bin/x/y"),
            ("/inside/z", "usr/z"),
            ("/usr/../e", "e"),
            ("/", ""),
            ("relative", "relative"),
        ] {
            root.mkdir_all(path, &permissions(0o755)).unwrap();
            assert!(rootfs.join(made).is_dir(), "{path}");
            // again: it is there
            root.mkdir_all(path, &permissions(0o755)).unwrap();
        }
        assert_eq!(
            std_fs::read_dir(scene.path().join("outside"))
                .unwrap()
                .count(),
            0
        );
    }

    #[test]
    fn what_is_no_directory_and_cannot_become_one_is_refused() {
        let (scene, root) = scene();
        for (path, expected) in [
            ("/file", Errno::NOTDIR),
            ("/file/below", Errno::NOTDIR),
            ("/loop/below", Errno::LOOP),
            // no directory is made behind a link that leads to nothing
            ("/up", Errno::LOOP),
            ("/up/below", Errno::LOOP),
            ("/absolute/below", Errno::LOOP),
            ("/missing/../below", Errno::NOENT),
        ] {
            let error = root.mkdir_all(path, &permissions(0o755)).unwrap_err();
            let told = errno(&error);
            assert!(
                told == Some(expected) || told == Some(Errno::NOTDIR),
                "{path}: {error}"
            );
        }
        assert_eq!(
            std_fs::read_dir(scene.path().join("outside"))
                .unwrap()
                .count(),
            0
        );
        assert!(!scene.path().join("rootfs/missing").exists());
    }

    #[test]
    fn files_are_made_inside_and_never_through_a_link() {
        let (scene, root) = scene();
        let flags = OpenFlags::O_CREAT | OpenFlags::O_EXCL | OpenFlags::O_NOFOLLOW;
        root.create_file("/bin/new", flags, &permissions(0o644))
            .unwrap();
        assert!(scene.path().join("rootfs/usr/bin/new").is_file());
        for path in ["/file", "/up", "/absolute", "/bin/new"] {
            let error = root
                .create_file(path, flags, &permissions(0o644))
                .unwrap_err();
            assert_eq!(errno(&error), Some(Errno::EXIST), "{path}");
        }
        for path in ["/", "/usr/..", "/missing/file"] {
            root.create_file(path, flags, &permissions(0o644))
                .unwrap_err();
        }
        assert_eq!(
            std_fs::read_dir(scene.path().join("outside"))
                .unwrap()
                .count(),
            0
        );
    }

    #[test]
    fn links_are_followed_inside_and_magic_links_not_at_all() {
        let (_scene, root) = scene();
        root.resolve("/bin").unwrap();
        root.resolve("/inside/bin").unwrap();
        assert_eq!(errno(&root.resolve("/up").unwrap_err()), Some(Errno::NOENT));
        assert_eq!(
            errno(&root.resolve("/absolute").unwrap_err()),
            Some(Errno::NOENT)
        );
        assert_eq!(
            errno(&root.resolve("/loop").unwrap_err()),
            Some(Errno::LOOP)
        );
        // there is no /proc inside
        assert_eq!(
            errno(&root.resolve("/magic").unwrap_err()),
            Some(Errno::NOENT)
        );
    }
}
