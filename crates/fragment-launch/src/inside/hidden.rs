//! Takes the host's own proc and sysfs away from a container that is entered without pivot_root(2).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

/// Unmounts every whole proc and sysfs outside `rootfs` in this mount namespace, or covers what cannot be unmounted.
pub(crate) fn hide_host(rootfs: &Path) -> io::Result<()> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    for path in revealing(&table, rootfs) {
        // the host's mounts stay
        let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
        match rustix::mount::mount_change(&path, slave) {
            // hidden below another mount of the list that is gone by now
            Err(Errno::INVAL | Errno::NOENT) => continue,
            other => other?,
        }
        match rustix::mount::unmount(&path, UnmountFlags::DETACH) {
            Ok(()) => {}
            // locked in a user namespace (mount_namespaces(7))
            Err(Errno::INVAL | Errno::PERM) => {
                rustix::mount::mount("tmpfs", &path, "tmpfs", MountFlags::empty(), None)?;
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Mount points of a whole proc or sysfs outside `rootfs` (proc_pid_mountinfo(5)).
fn revealing(table: &str, rootfs: &Path) -> Vec<PathBuf> {
    let found = table.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let (root, point) = (before.next()?, PathBuf::from(before.next()?));
        let kind = after.split(' ').next()?;
        let whole = root == "/" && matches!(kind, "proc" | "sysfs");
        (whole && !point.starts_with(rootfs)).then_some(point)
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_file_systems_outside_the_root_reveal() {
        let table = "1 0 0:1 / /proc rw - proc proc rw\n2 0 0:2 / /sys rw shared:1 - sysfs sysfs rw\n\
                     3 0 0:1 /sys /part rw - proc proc rw\n4 0 0:1 / /c/rootfs/proc rw - proc proc rw\n\
                     5 0 0:3 / /tmp rw - tmpfs tmpfs rw";
        assert_eq!(
            revealing(table, Path::new("/c/rootfs")),
            [Path::new("/proc"), Path::new("/sys")]
        );
    }
}
