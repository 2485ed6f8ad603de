//! Mount points of a container that is to be restored: create made them, and whoever moved or cleaned the root since then has
//! removed them.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use fragment_sys::mount;
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::rootfs::utils::is_bind;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountPropagationFlags;

use crate::specification::target;

/// A mount point: its place in the root and, of a bind mount, what is mounted there.
type Point = (PathBuf, Option<PathBuf>);

/// The mount points that lie in the root or in what is bound into it. Those in other file systems are saved with these.
pub(crate) fn of(spec: &Spec, rootfs: &Path, bundle: &Path) -> Vec<Point> {
    let mut covered = Vec::new();
    let mut saved: Vec<PathBuf> = Vec::new();
    let mut points = Vec::new();
    for mount in spec.mounts().iter().flatten() {
        let place = target::resolve(rootfs, mount.destination(), &covered);
        covered.push(place.clone());
        if saved.iter().any(|other| place.starts_with(other)) {
            continue;
        }
        // a source that is not absolute is the bundle's
        let source = mount.source().as_ref().filter(|_| is_bind(mount));
        let source = source.map(|source| bundle.join(source));
        if source.is_none() {
            saved.push(place.clone());
        }
        points.push((place, source));
    }
    points
}

/// Makes those that are missing, in a mount namespace that is to end with this process: what is bound over one is bound meanwhile,
/// since the next one may lie in it.
pub(crate) fn make(rootfs: &Path, points: &[Point]) -> io::Result<()> {
    mount::unshare()?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(rootfs, flags, Mode::empty())?;
    for (place, source) in points {
        let metadata = source.as_ref().map(fs::metadata).transpose()?;
        let directory = metadata.is_none_or(|metadata| metadata.is_dir());
        let opened = reach(&root, place, directory)?;
        if let Some(source) = source {
            let opened = format!("/proc/self/fd/{}", opened.as_raw_fd());
            rustix::mount::mount_bind_recursive(source, opened)?;
        }
    }
    Ok(())
}

/// Opens a place below a root whose links have been followed; what is missing is made. A link that is there all the same is an
/// error: nothing is made outside.
fn reach(root: &OwnedFd, place: &Path, directory: bool) -> io::Result<OwnedFd> {
    let mut reached = root.try_clone()?;
    let mut words = place
        .components()
        .filter_map(|component| match component {
            Component::Normal(word) => Some(word),
            _ => None,
        })
        .peekable();
    while let Some(word) = words.next() {
        let mut flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = directory || words.peek().is_some();
        flags.set(OFlags::DIRECTORY, directory);
        let open = || rustix::fs::openat(&reached, word, flags, Mode::empty());
        let opened = match open() {
            Err(Errno::NOENT) if directory => {
                rustix::fs::mkdirat(&reached, word, Mode::from_raw_mode(0o755))?;
                open()
            }
            Err(Errno::NOENT) => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                rustix::fs::openat(&reached, word, flags, Mode::from_raw_mode(0o644))?;
                open()
            }
            other => other,
        };
        reached = opened?;
    }
    Ok(reached)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_made_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let root = OwnedFd::from(fs::File::open(dir.path()).unwrap());
        reach(&root, Path::new("/a/b"), true).unwrap();
        reach(&root, Path::new("/a/file"), false).unwrap();
        reach(&root, Path::new("/a/file"), false).unwrap();
        assert!(dir.path().join("a/b").is_dir());
        assert!(dir.path().join("a/file").is_file());
        std::os::unix::fs::symlink("/", dir.path().join("out")).unwrap();
        assert!(reach(&root, Path::new("/out/x"), true).is_err());
    }

    #[test]
    fn what_lies_in_a_file_system_that_is_saved_is_left_out() {
        let spec: Spec = serde_json::from_value(serde_json::json!({
            "ociVersion": "1.0.2", "root": { "path": "rootfs" },
            "mounts": [
                { "destination": "/dev", "type": "tmpfs", "source": "tmpfs" },
                { "destination": "/dev/shm", "type": "tmpfs", "source": "shm" },
                { "destination": "/mnt", "type": "bind", "source": "here", "options": ["bind"] },
                { "destination": "/mnt/in", "type": "bind", "source": "/there", "options": ["bind"] }
            ]
        }))
        .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let found = of(&spec, dir.path(), Path::new("/bundle"));
        assert_eq!(
            found,
            [
                ("/dev".into(), None),
                ("/mnt".into(), Some("/bundle/here".into())),
                ("/mnt/in".into(), Some("/there".into()))
            ]
        );
    }
}
