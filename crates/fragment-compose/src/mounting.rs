//! Mounts of overlayfs that this process makes itself, in the namespace it is in.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    UnmountFlags,
};
use serde::{Deserialize, Serialize};

use crate::error::ComposeError;
use crate::kernel::KernelVersion;
use crate::overlay::{LOWERDIR_PLUS, MountOptions, Overlay, Room};

/// The source of an overlay that is mounted until its container is made.
pub(crate) const HOSTED: &str = "fragment";

/// A mount of overlayfs, with everything that is needed to make it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlayMount {
    /// Where it lies.
    pub point: PathBuf,
    /// What /proc/self/mountinfo shows as its source.
    pub source: String,
    /// Lower layers, topmost first; absolute.
    pub lowers: Vec<PathBuf>,
    /// The upper directory; none: the overlay is read-only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upper: Option<PathBuf>,
    /// The work directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<PathBuf>,
    /// The filesystem's other options.
    pub options: Vec<String>,
    /// Options of the mount: `ro`, `nodev`, …
    pub attributes: Vec<String>,
}

impl OverlayMount {
    /// Checks the options, everything but the layers' use: nothing is mounted and no directory is touched yet.
    ///
    /// # Errors
    /// When the kernel does not take an option, or the layers do not fit.
    pub(crate) fn ready(
        &self,
        kernel: KernelVersion,
        links: &Path,
    ) -> Result<Ready<'_>, ComposeError> {
        let overlay = Overlay {
            lowers: self.lowers.clone(),
            upper: self.upper.clone(),
            work: self.work.clone(),
            throw_away: false,
        };
        let room = if kernel >= LOWERDIR_PLUS {
            Room::Value
        } else {
            Room::Page
        };
        let options = overlay.options_with(&self.options, kernel, links, room)?;
        let context = match room {
            Room::Value => Some(self.configured(&options.list)?),
            Room::Page => None,
        };
        Ok(Ready {
            mount: self,
            options,
            context,
        })
    }

    fn configured(&self, options: &[String]) -> Result<OwnedFd, ComposeError> {
        let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
            .map_err(|errno| self.failed(errno.into(), None))?;
        let set = |context: &OwnedFd| {
            rustix::mount::fsconfig_set_string(context, "source", self.source.as_str())?;
            for option in options {
                match option.split_once('=') {
                    Some((key, value)) => {
                        rustix::mount::fsconfig_set_string(context, key, value)?;
                    }
                    None => rustix::mount::fsconfig_set_flag(context, option.as_str())?,
                }
            }
            Ok(())
        };
        set(&context)
            .map_err(|errno: rustix::io::Errno| self.failed(errno.into(), Some(&context)))?;
        Ok(context)
    }

    fn failed(&self, source: io::Error, context: Option<&OwnedFd>) -> ComposeError {
        ComposeError::Mount {
            point: self.point.clone(),
            told: context.and_then(told),
            source,
        }
    }
}

/// What the kernel says about its last refusal (fsopen(2), "Message retrieval interface").
fn told(context: &OwnedFd) -> Option<String> {
    let mut text = Vec::new();
    let mut buffer = [0_u8; 512];
    while let Ok(length @ 1..) = rustix::io::read(context, &mut buffer) {
        let message = String::from_utf8_lossy(buffer.get(..length)?).into_owned();
        text.push(message.trim_end().to_owned());
    }
    text.pop()
}

/// An overlay whose options the kernel has taken; only the mounting itself is left.
#[derive(Debug)]
pub(crate) struct Ready<'a> {
    mount: &'a OverlayMount,
    options: MountOptions,
    context: Option<OwnedFd>,
}

impl Ready<'_> {
    /// Mounts it.
    ///
    /// # Errors
    /// When the kernel refuses; nothing is mounted then.
    pub(crate) fn mount(self) -> Result<(), ComposeError> {
        let Some(context) = &self.context else {
            return self.mount_by_string();
        };
        let mount = rustix::mount::fsconfig_create(context)
            .and_then(|()| {
                let attributes = MountAttrFlags::from_bits_retain(self.attributes());
                rustix::mount::fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
            })
            .map_err(|errno| self.mount.failed(errno.into(), Some(context)))?;
        let flags =
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        directory(&self.mount.point)
            .and_then(|point| rustix::mount::move_mount(&mount, "", &point, "", flags))
            .map_err(|errno| self.mount.failed(errno.into(), None))
    }

    /// mount(2), whose options are one text of a page: for kernels that take layers in one value only, which fsconfig(2) cuts
    /// at 255 bytes.
    fn mount_by_string(&self) -> Result<(), ComposeError> {
        let text = self.options.list.join(",");
        let text =
            std::ffi::CString::new(text).map_err(|error| self.mount.failed(error.into(), None))?;
        // the same bits up to MOUNT_ATTR_NOEXEC; access times have others
        let restrictions = self.attributes() & 0xf;
        let mut flags = MountFlags::from_bits_retain(restrictions);
        let named = |name| {
            self.mount
                .attributes
                .iter()
                .any(|attribute| attribute == name)
        };
        flags.set(MountFlags::NOATIME, named("noatime"));
        let _there = self
            .options
            .directory
            .as_deref()
            .map(Elsewhere::go)
            .transpose()
            .map_err(|error| self.mount.failed(error, None))?;
        let (source, point) = (self.mount.source.as_str(), &self.mount.point);
        rustix::mount::mount(source, point, "overlay", flags, text.as_c_str())
            .map_err(|errno| self.mount.failed(errno.into(), None))
    }

    fn attributes(&self) -> u32 {
        let attributes = self.mount.attributes.iter();
        let set = attributes.filter_map(|name| fragment_sys::mount::attribute_of(name));
        set.fold(0, |all, (bit, set)| {
            // MOUNT_ATTR_* of options have 32 bits (linux/mount.h)
            let bit = u32::try_from(bit).unwrap_or_default();
            if set { all | bit } else { all & !bit }
        })
    }
}

/// The working directory is another while this lives.
struct Elsewhere {
    before: Option<PathBuf>,
}

impl Elsewhere {
    fn go(directory: &Path) -> io::Result<Self> {
        let before = std::env::current_dir().ok();
        std::env::set_current_dir(directory)?;
        Ok(Self { before })
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // it can have gone meanwhile
            let _ = std::env::set_current_dir(before);
        }
    }
}

fn directory(path: &Path) -> Result<OwnedFd, rustix::io::Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

/// Mounts above the rootfs, for a container that is being made: nothing that happens to that mount is passed on.
///
/// # Errors
/// When the kernel refuses; nothing is mounted then.
pub(crate) fn host(
    mount: &OverlayMount,
    kernel: KernelVersion,
    links: &Path,
) -> Result<(), ComposeError> {
    mount.ready(kernel, links)?.mount()?;
    rustix::mount::mount_change(&mount.point, MountPropagationFlags::PRIVATE).map_err(|errno| {
        let _ = detach(&mount.point);
        mount.failed(errno.into(), None)
    })
}

/// Takes the topmost mount at `point` out of this namespace; who has it in another keeps it.
pub(crate) fn detach(point: &Path) -> Result<(), ComposeError> {
    rustix::mount::unmount(point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).map_err(|errno| {
        ComposeError::Unmount {
            point: point.to_path_buf(),
            source: errno.into(),
        }
    })
}

/// Unmounts what lies at `point`, if nobody uses it.
pub(crate) fn unmount(point: &Path) -> Result<(), ComposeError> {
    rustix::mount::unmount(point, UnmountFlags::NOFOLLOW).map_err(|errno| ComposeError::Unmount {
        point: point.to_path_buf(),
        source: errno.into(),
    })
}

/// Has the overlay at `point` forget what it has looked up: the directories below it have been changed by another overlay.
/// Reconfiguring a filesystem without a change drops its cached names (`shrink_dcache_sb` in `reconfigure_super`, fs/super.c).
pub(crate) fn refresh(point: &Path) -> io::Result<()> {
    use rustix::mount::FsPickFlags;
    let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_SYMLINK_NOFOLLOW;
    let context = rustix::mount::fspick(CWD, point, flags)?;
    rustix::mount::fsconfig_reconfigure(context.as_fd())?;
    Ok(())
}
