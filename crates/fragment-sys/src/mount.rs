//! Attributes of mounts (mount_setattr(2)).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// What to change about a mount.
#[derive(Debug, Clone, Copy, Default)]
pub struct Change<'fd> {
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear; done before setting.
    pub clear: u64,
    /// The user namespace whose mappings the mount is seen through (`MOUNT_ATTR_IDMAP`): for a mount that was never
    /// attached, of a file system that allows it.
    pub identities: Option<BorrowedFd<'fd>>,
}

/// Changes a mount, and with `recursive` every mount below it.
///
/// # Errors
/// As mount_setattr(2).
pub fn change(mount: BorrowedFd<'_>, change: Change<'_>, recursive: bool) -> io::Result<()> {
    let mut attributes = libc::mount_attr {
        attr_set: change.set,
        attr_clr: change.clear,
        propagation: 0,
        userns_fd: 0,
    };
    if change.set & ATIME != 0 || change.clear & ATIME != 0 {
        // an enumeration, not bits: it is cleared whole or not at all (mount_setattr(2))
        attributes.attr_clr |= ATIME;
    }
    if let Some(namespace) = change.identities {
        attributes.attr_set |= libc::MOUNT_ATTR_IDMAP;
        // descriptors are never negative
        attributes.userns_fd = namespace.as_raw_fd().unsigned_abs().into();
    }
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is the empty string AT_EMPTY_PATH asks for, the attributes are a valid mount_attr of the size given
    // (mount_setattr(2)).
    let failed = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if failed == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Sets `attributes` on a mount, and with `recursive` on every mount below it. Attributes that are set stay set.
///
/// # Errors
/// As mount_setattr(2).
pub fn set_attributes(mount: &OwnedFd, attributes: u64, recursive: bool) -> io::Result<()> {
    let wanted = Change {
        set: attributes,
        ..Change::default()
    };
    change(mount.as_fd(), wanted, recursive)
}

/// What an option of a specification's mount says about a mount's attributes: which one, and whether it is set or cleared.
/// Options of the file system, of propagation and of bind mounts are none.
#[must_use]
pub fn attribute_of(option: &str) -> Option<(u64, bool)> {
    Some(match option {
        "ro" => (libc::MOUNT_ATTR_RDONLY, true),
        "rw" => (libc::MOUNT_ATTR_RDONLY, false),
        "nosuid" => (libc::MOUNT_ATTR_NOSUID, true),
        "suid" => (libc::MOUNT_ATTR_NOSUID, false),
        "nodev" => (libc::MOUNT_ATTR_NODEV, true),
        "dev" => (libc::MOUNT_ATTR_NODEV, false),
        "noexec" => (libc::MOUNT_ATTR_NOEXEC, true),
        "exec" => (libc::MOUNT_ATTR_NOEXEC, false),
        "nodiratime" => (libc::MOUNT_ATTR_NODIRATIME, true),
        "diratime" => (libc::MOUNT_ATTR_NODIRATIME, false),
        "nosymfollow" => (libc::MOUNT_ATTR_NOSYMFOLLOW, true),
        "symfollow" => (libc::MOUNT_ATTR_NOSYMFOLLOW, false),
        "noatime" => (libc::MOUNT_ATTR_NOATIME, true),
        "atime" => (libc::MOUNT_ATTR_NOATIME, false),
        "strictatime" => (libc::MOUNT_ATTR_STRICTATIME, true),
        "nostrictatime" => (libc::MOUNT_ATTR_STRICTATIME, false),
        // all bits of ATIME cleared is relatime
        "relatime" | "norelatime" => (ATIME, false),
        _ => return None,
    })
}

/// `MOUNT_ATTR__ATIME`: the bits of the access time's setting.
const ATIME: u64 = 0x70;

/// Puts this process into a mount namespace of its own, a copy of the one it is in (unshare(2), CLONE_NEWNS).
///
/// # Errors
/// As unshare(2).
pub fn unshare() -> io::Result<()> {
    // SAFETY: CLONE_NEWNS separates mounts, and root and working directory of this thread, from others; no memory and no
    // descriptor is affected.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Gives the restrictions among `options` (ro, nosuid, nodev, noexec) to the mount at `path` and everything below it.
///
/// # Errors
/// As open(2) and mount_setattr(2).
pub fn restrict(path: &Path, options: &[String]) -> io::Result<()> {
    let attributes = options
        .iter()
        .fold(0, |attributes, option| attributes | attribute(option));
    if attributes == 0 {
        return Ok(());
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mount = rustix::fs::open(path, flags, Mode::empty())?;
    set_attributes(&mount, attributes, true)
}

fn attribute(option: &str) -> u64 {
    const RESTRICTIONS: u64 = libc::MOUNT_ATTR_RDONLY
        | libc::MOUNT_ATTR_NOSUID
        | libc::MOUNT_ATTR_NODEV
        | libc::MOUNT_ATTR_NOEXEC;
    match attribute_of(option) {
        Some((bit, true)) => bit & RESTRICTIONS,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_restrict_nothing_need_no_mount() {
        assert!(restrict(Path::new("/nonexistent"), &["relatime".to_owned()]).is_ok());
        assert!(restrict(Path::new("/nonexistent"), &["ro".to_owned()]).is_err());
    }

    #[test]
    fn restrictions_are_the_kernel_s_bits() {
        assert_eq!(attribute("ro"), 1);
        assert_eq!(attribute("noexec"), 8);
    }
}
