//! Where a mount really goes: its destination with the rootfs's own symlinks followed, never out of the rootfs.
//!
//! libcontainer follows links to what exists, and fails where they lead to something that is still to be made: images of
//! Debian and Ubuntu link /etc/resolv.conf to a file below /run, and every engine binds its own over it.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// How many links are followed, as by the kernel (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// Entries of /proc that engines such as lxcfs replace one by one; runc's list.
const REPLACEABLE: [&str; 11] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// The destination inside `rootfs` with links followed; what does not exist is taken as written. Below one of `covered`, the
/// destinations of earlier mounts, the rootfs is hidden and nothing is followed.
///
/// This is a plan, not a check: libcontainer opens the result confined to the root once more.
pub(crate) fn resolve(rootfs: &Path, destination: &Path, covered: &[PathBuf]) -> PathBuf {
    let mut waiting: VecDeque<OsString> = words(destination).collect();
    let mut reached = PathBuf::from("/");
    let mut links = 0;
    while let Some(word) = waiting.pop_front() {
        if word == ".." {
            reached.pop();
            continue;
        }
        let next = reached.join(&word);
        let hidden = covered.iter().any(|mount| next.starts_with(mount));
        let on_host = rootfs.join(next.strip_prefix("/").unwrap_or(&next));
        let link = if hidden || links >= MOST_LINKS {
            None
        } else {
            fs::read_link(on_host).ok()
        };
        let Some(link) = link else {
            reached = next;
            continue;
        };
        links += 1;
        if link.is_absolute() {
            reached = PathBuf::from("/");
        }
        for word in words(&link).collect::<Vec<_>>().into_iter().rev() {
            waiting.push_front(word);
        }
    }
    reached
}

/// Whether the destination is a directory or still to be made, and not a link: where a link of the image's leads, nothing would
/// mask what a procfs or sysfs shows (CVE-2019-19921).
pub(crate) fn is_ordinary(rootfs: &Path, destination: &Path, covered: &[PathBuf]) -> bool {
    let (Some(parent), Some(name)) = (destination.parent(), destination.file_name()) else {
        return true;
    };
    let path = resolve(rootfs, parent, covered).join(name);
    if covered.iter().any(|mount| path.starts_with(mount)) {
        return true;
    }
    let on_host = rootfs.join(path.strip_prefix("/").unwrap_or(&path));
    fs::symlink_metadata(on_host).map_or(true, |found| found.is_dir())
}

fn words(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(word) => Some(word.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    })
}

/// Why nothing may be mounted there, if so: what /proc says about a container is what its security rests on
/// (CVE-2019-16884, CVE-2023-27561). `is_procfs`: the mount is a procfs or a bind of one.
pub(crate) fn proc_rule(destination: &Path, is_procfs: bool) -> Option<&'static str> {
    if destination == Path::new("/proc") {
        return if is_procfs {
            None
        } else {
            Some("it is not of type proc")
        };
    }
    let inside = destination.starts_with("/proc");
    let replaceable = REPLACEABLE
        .iter()
        .any(|entry| destination == Path::new(entry));
    if inside && !replaceable {
        Some("it is inside /proc")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_and_never_leave_the_root() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path();
        fs::create_dir_all(path.join("etc")).unwrap();
        fs::create_dir_all(path.join("run")).unwrap();
        symlink("../run/systemd/stub.conf", path.join("etc/resolv.conf")).unwrap();
        symlink("/../../outside", path.join("out")).unwrap();
        symlink("loop", path.join("loop")).unwrap();
        let at = |destination: &str, covered: &[&str]| {
            let covered: Vec<PathBuf> = covered.iter().map(PathBuf::from).collect();
            resolve(path, Path::new(destination), &covered)
        };
        assert_eq!(
            at("/etc/resolv.conf", &[]),
            Path::new("/run/systemd/stub.conf")
        );
        assert_eq!(at("/out/x", &[]), Path::new("/outside/x"));
        assert_eq!(
            at("/etc/resolv.conf", &["/etc"]),
            Path::new("/etc/resolv.conf")
        );
        assert_eq!(at("etc/../../a", &[]), Path::new("/a"));
        assert_eq!(at("/loop", &[]), Path::new("/loop"));
    }

    #[test]
    fn only_procfs_covers_proc() {
        assert!(proc_rule(Path::new("/proc"), true).is_none());
        assert!(proc_rule(Path::new("/proc"), false).is_some());
        assert!(proc_rule(Path::new("/proc/sys"), true).is_some());
        assert!(proc_rule(Path::new("/proc/meminfo"), false).is_none());
        assert!(proc_rule(Path::new("/process"), false).is_none());
    }
}
