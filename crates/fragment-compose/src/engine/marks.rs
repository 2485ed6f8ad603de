//! Marks that hide what lies below a directory of the upper layer.
//!
//! Where an overlay has metacopy, redirect_dir, index or xino on, the kernel marks every new directory opaque whose name no
//! lower layer has (`ovl_create_upper` in fs/overlayfs/dir.c: an optimisation). Engines make /etc, /dev, /proc and more
//! before they call the runtime: with layers put below, the marks would hide what these layers hold there. Such a mark says
//! nothing to the engine's own overlay, and is taken away, once for an upper directory: one that is made later, when the layers are
//! there, means that the container has removed what they hold.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, XattrFlags};
use rustix::io::Errno;

/// The mark. Attributes of this name are shown to nobody who looks through the overlay.
const OPAQUE: &str = "trusted.overlay.opaque";
/// Ours, on the upper directory: its marks have been looked through.
const DONE: &str = "trusted.overlay.fragment";
/// Deeper than any directory of a component.
const DEEPEST: usize = 64;

/// The layers of an overlay that is to get `added` ones at the bottom.
#[derive(Debug)]
pub(crate) struct Marks<'a> {
    pub(crate) upper: &'a Path,
    pub(crate) lowers: &'a [PathBuf],
    pub(crate) added: &'a [PathBuf],
}

impl Marks<'_> {
    /// Takes the marks away.
    ///
    /// # Errors
    /// When an attribute cannot be read or removed.
    pub(crate) fn clear(&self) -> io::Result<()> {
        let upper = open(CWD, self.upper)?;
        if has(&upper, DONE)? {
            return Ok(());
        }
        self.clear_in(&upper, Path::new(""), 0)?;
        match rustix::fs::fsetxattr(&upper, DONE, b"y", XattrFlags::empty()) {
            // where there are no attributes there are no marks either
            Err(Errno::NOTSUP) => Ok(()),
            other => Ok(other?),
        }
    }

    /// The same below `at`.
    fn clear_in(&self, directory: &OwnedFd, at: &Path, depth: usize) -> io::Result<()> {
        for entry in rustix::fs::Dir::read_from(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") || depth > DEEPEST {
                continue;
            }
            let path = at.join(Path::new(&*name.to_string_lossy()));
            if !self.added.iter().any(|layer| layer.join(&path).is_dir()) {
                continue;
            }
            let inner = match open(directory, Path::new(&*name.to_string_lossy())) {
                Ok(inner) => inner,
                Err(Errno::NOTDIR | Errno::NOENT | Errno::LOOP) => continue,
                Err(errno) => return Err(errno.into()),
            };
            let hidden_below = self
                .lowers
                .iter()
                .any(|layer| layer.join(&path).symlink_metadata().is_ok());
            if !hidden_below && has(&inner, OPAQUE)? {
                rustix::fs::fremovexattr(&inner, OPAQUE)?;
            }
            self.clear_in(&inner, &path, depth + 1)?;
        }
        Ok(())
    }
}

/// A directory of the upper layer: the container has written there, so no link is followed.
fn open(directory: impl std::os::fd::AsFd, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(directory, path, flags, Mode::empty(), resolve)
}

fn has(directory: &OwnedFd, attribute: &str) -> Result<bool, Errno> {
    match rustix::fs::fgetxattr(directory, attribute, &mut [0_u8; 0][..]) {
        Ok(_) | Err(Errno::RANGE) => Ok(true),
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(false),
        Err(errno) => Err(errno),
    }
}
