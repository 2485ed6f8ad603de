//! Files of /proc, of the kernel's own and of nobody else's.
//!
//! In a container everything can be mounted over /proc and over what is in it, and what is written there (a label, a sysctl, a
//! profile) would go elsewhere without a word (CVE-2019-16884, CVE-2019-19921, CVE-2025-52881). So the directory has to be the
//! root of a procfs, and no look-up in it crosses a mount or follows a link other than `self` and `thread-self`.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::Error;
use crate::flags::OpenFlags;

const PROC: &str = "/proc";
/// The link to the directory of whoever looks.
const SELF: &str = "self";
/// statfs(2), PROC_SUPER_MAGIC.
const MAGIC: fs::FsWord = 0x9fa0;
/// The number of a procfs's root directory (fs/proc/root.c).
const ROOT: u64 = 1;

/// Where a path of /proc starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcfsBase {
    /// At /proc itself.
    ProcRoot,
    /// At /proc/self.
    ProcSelf,
}

/// /proc, looked at before it is used.
#[derive(Debug)]
pub struct ProcfsHandle(OwnedFd);

impl ProcfsHandle {
    /// The /proc of this mount namespace.
    ///
    /// # Errors
    /// When it is missing or not the root of a procfs.
    pub fn new() -> Result<Self, Error> {
        let refused = |errno: Errno| Error::new("open", PROC, errno);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let proc = fs::open(PROC, flags, Mode::empty()).map_err(refused)?;
        let is_procfs = fs::fstatfs(&proc).map_err(refused)?.f_type == MAGIC;
        if !is_procfs || fs::fstat(&proc).map_err(refused)?.st_ino != ROOT {
            let reason = std::io::Error::other("not the root of a procfs");
            return Err(Error::new("open", PROC, reason));
        }
        Ok(Self(proc))
    }

    /// Opens `path` below `base`.
    ///
    /// # Errors
    /// The kernel's, `EXDEV` where something is mounted over it or over a directory on the way, `ELOOP` for a link.
    pub fn open(
        &self,
        base: ProcfsBase,
        path: impl AsRef<Path>,
        flags: impl Into<OpenFlags>,
    ) -> Result<File, Error> {
        let path = path.as_ref();
        let (shown, below) = match base {
            ProcfsBase::ProcRoot => (PathBuf::from(PROC), Ok(PathBuf::new())),
            ProcfsBase::ProcSelf => (Path::new(PROC).join(SELF), self.own_directory()),
        };
        below
            .and_then(|below| self.open_plain(&below.join(path), flags.into().0))
            .map(File::from)
            .map_err(|errno| Error::new("open", shown.join(path), errno))
    }

    /// The name of this process's directory. Not getpid(2): this procfs can be another PID namespace's.
    fn own_directory(&self) -> Result<PathBuf, Errno> {
        let link = self.open_plain(Path::new(SELF), OFlags::PATH)?;
        let target = fs::readlinkat(&link, "", Vec::new())?;
        target
            .to_str()
            .ok()
            .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
            .map(PathBuf::from)
            .ok_or(Errno::LOOP)
    }

    fn open_plain(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
        // `self` itself is wanted; no other link is
        let resolve = match path == Path::new(SELF) {
            true => resolve,
            false => resolve | ResolveFlags::NO_SYMLINKS,
        };
        let flags = flags | OFlags::NOFOLLOW;
        crate::open(self.0.as_fd(), path, flags, Mode::empty(), resolve)
    }
}

/// How a [`ProcfsHandle`] is made.
#[derive(Debug, Default)]
pub struct ProcfsHandleBuilder(());

impl ProcfsHandleBuilder {
    /// As [`ProcfsHandle::new`] makes it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With everything that is in /proc; so it always is here.
    #[must_use]
    pub fn unmasked(self) -> Self {
        self
    }

    /// Makes it.
    ///
    /// # Errors
    /// As [`ProcfsHandle::new`].
    pub fn build(self) -> Result<ProcfsHandle, Error> {
        ProcfsHandle::new()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn files_of_this_process_and_of_the_kernel_are_read() {
        let proc = ProcfsHandleBuilder::new().unmasked().build().unwrap();
        let mut text = String::new();
        let mut file = proc
            .open(ProcfsBase::ProcSelf, "status", OpenFlags::O_RDONLY)
            .unwrap();
        file.read_to_string(&mut text).unwrap();
        assert!(
            text.contains(&format!("Pid:\t{}\n", std::process::id())),
            "{text}"
        );
        proc.open(
            ProcfsBase::ProcRoot,
            "sys/kernel/ostype",
            OpenFlags::O_RDONLY,
        )
        .unwrap();
    }

    #[test]
    fn nothing_leads_out_of_it() {
        let proc = ProcfsHandle::new().unwrap();
        for (path, errno) in [
            ("root/etc/passwd", Errno::LOOP),
            ("cwd", Errno::LOOP),
            ("../../etc/passwd", Errno::XDEV),
            ("no-such-file", Errno::NOENT),
        ] {
            let error = proc
                .open(ProcfsBase::ProcSelf, path, OpenFlags::O_RDONLY)
                .unwrap_err();
            let reason = std::error::Error::source(&error).unwrap();
            let reason = reason.downcast_ref::<std::io::Error>().unwrap();
            assert_eq!(reason.raw_os_error(), Some(errno.raw_os_error()), "{error}");
        }
    }
}
