//! Attributes of mounts (mount_setattr(2)).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// Sets `attributes` on a mount, and with `recursive` on every mount below it. Attributes that are set stay set.
///
/// # Errors
/// As mount_setattr(2).
pub fn set_attributes(mount: &OwnedFd, attributes: u64, recursive: bool) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: attributes,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
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
    match option {
        "ro" => libc::MOUNT_ATTR_RDONLY,
        "nosuid" => libc::MOUNT_ATTR_NOSUID,
        "nodev" => libc::MOUNT_ATTR_NODEV,
        "noexec" => libc::MOUNT_ATTR_NOEXEC,
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
