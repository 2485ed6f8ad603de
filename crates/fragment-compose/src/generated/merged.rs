//! Many layers as one, where the kernel does not take them all: the topmost become a tree of hard links, which costs no space
//! and shares the page cache as the trees themselves do.

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, lchown};
use std::path::{Path, PathBuf};

use fragment_types::plan::{Generated, Layer, Part, PartKind};

use super::GeneratedError;
use crate::kernel::KernelVersion;
use crate::overlay::LOWERDIR_PLUS;

/// Most layers of components that are mounted one by one: overlayfs takes 500 (`OVL_MAX_STACK`), the engine's among them.
const MOST: usize = 400;
/// The same for kernels that take all names in one value, of which some eighty fit.
const MOST_OLD: usize = 64;
/// Deepest directory that is merged.
const MAX_DEPTH: usize = 128;

/// How many of the topmost of `count` layers have to become one for `kernel`; 0 where all can be mounted.
#[must_use]
pub fn excess(count: usize, kernel: KernelVersion) -> usize {
    let most = if kernel >= LOWERDIR_PLUS {
        MOST
    } else {
        MOST_OLD
    };
    match count.checked_sub(most) {
        None | Some(0) => 0,
        // they leave one, and what is generated may be one more
        Some(more) => more + 2,
    }
}

/// What is generated when the topmost `merged` of `layers` are one with it.
#[must_use]
pub fn with_layers(generated: Option<Generated>, layers: &[Layer], merged: usize) -> Generated {
    let from = layers.iter().take(merged).map(|layer| layer.diff_id);
    let mut parts = vec![Part {
        path: "/".to_owned(),
        kind: PartKind::Merged,
        from: from.collect(),
    }];
    parts.extend(generated.into_iter().flat_map(|made| made.parts));
    super::decision::named(parts)
}

/// The union of `trees`, topmost first, in the empty `directory`.
pub(super) fn make(trees: &[PathBuf], directory: &Path) -> Result<(), GeneratedError> {
    for tree in trees {
        add(tree, directory, 0)?;
    }
    // times of directories last: what is put into one changes them
    for tree in trees.iter().rev() {
        times(tree, directory)?;
    }
    // whole after a power failure: one call for all of it
    let opened = fs::File::open(directory).map_err(failed(directory))?;
    rustix::fs::syncfs(opened).map_err(|error| failed(directory)(error.into()))
}

/// Adds what `from` has and `to` lacks. What `to` has as anything but a directory hides what lies below.
fn add(from: &Path, to: &Path, depth: usize) -> Result<(), GeneratedError> {
    if depth > MAX_DEPTH {
        let deep = io::Error::from(io::ErrorKind::InvalidInput);
        return Err(failed(to)(deep));
    }
    for entry in fs::read_dir(from).map_err(failed(from))? {
        let entry = entry.map_err(failed(from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let meta = entry.metadata().map_err(failed(&source))?;
        let there = match target.symlink_metadata() {
            Ok(there) => Some(there),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(&target)(error)),
        };
        match there {
            None if meta.is_dir() => {
                make_directory(&source, &target, &meta).map_err(failed(&target))?;
                add(&source, &target, depth + 1)?;
            }
            None => fs::hard_link(&source, &target).map_err(failed(&target))?,
            Some(there) if there.is_dir() && meta.is_dir() => add(&source, &target, depth + 1)?,
            Some(_) => {}
        }
    }
    Ok(())
}

/// A directory like another one.
fn make_directory(source: &Path, target: &Path, meta: &Metadata) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(target)?;
    if rustix::process::geteuid().is_root() {
        lchown(target, Some(meta.uid()), Some(meta.gid()))?;
    }
    fs::set_permissions(target, Permissions::from_mode(meta.mode() & 0o7777))?;
    copy_attributes(source, target)
}

/// Extended attributes of a directory, but those of overlayfs, which mean something in their own tree alone.
fn copy_attributes(source: &Path, target: &Path) -> io::Result<()> {
    let mut names = vec![0; 64 << 10];
    let len = match rustix::fs::llistxattr(source, &mut names) {
        Ok(len) => len,
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        Err(error) => return Err(error.into()),
    };
    let mut value = vec![0; 64 << 10];
    let names = names[..len].split(|byte| *byte == 0);
    for name in names.filter(|name| !name.is_empty()) {
        let text = String::from_utf8_lossy(name);
        if text.contains(".overlay.") || text.starts_with("system.") {
            continue;
        }
        let len = rustix::fs::lgetxattr(source, name, &mut value)?;
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::lsetxattr(target, name, &value[..len], flags)?;
    }
    Ok(())
}

/// Gives directories the times that they have in `from`: called from the lowest tree to the topmost, whose count. Trees are no
/// deeper than [`add`] has found them.
fn times(from: &Path, to: &Path) -> Result<(), GeneratedError> {
    for entry in fs::read_dir(from).map_err(failed(from))? {
        let entry = entry.map_err(failed(from))?;
        let meta = entry.metadata().map_err(failed(from))?;
        let target = to.join(entry.file_name());
        let is_directory = target.symlink_metadata().is_ok_and(|there| there.is_dir());
        if meta.is_dir() && is_directory {
            times(&entry.path(), &target)?;
            let time = |seconds, nanoseconds| rustix::fs::Timespec {
                tv_sec: seconds,
                tv_nsec: nanoseconds,
            };
            let times = rustix::fs::Timestamps {
                last_access: time(meta.atime(), meta.atime_nsec()),
                last_modification: time(meta.mtime(), meta.mtime_nsec()),
            };
            let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
            rustix::fs::utimensat(rustix::fs::CWD, &target, &times, flags)
                .map_err(|error| failed(&target)(error.into()))?;
        }
    }
    Ok(())
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> GeneratedError {
    let path = path.to_path_buf();
    move |source| GeneratedError::Make { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topmost_become_one_where_there_are_too_many() {
        let new = LOWERDIR_PLUS;
        let old = KernelVersion::new(6, 1);
        for (count, kernel, expected) in [
            (0, new, 0),
            (400, new, 0),
            (401, new, 3),
            (692, new, 294),
            (64, old, 0),
            (65, old, 3),
        ] {
            assert_eq!(excess(count, kernel), expected, "{count}");
            assert!(count - expected + 2 <= 500);
        }
    }

    #[test]
    fn a_merged_tree_is_what_overlayfs_would_show() {
        let place = tempfile::tempdir().unwrap();
        let at = |path: &str| place.path().join(path);
        let file = |path: &str, text: &str| {
            fs::create_dir_all(at(path).parent().unwrap()).unwrap();
            fs::write(at(path), text).unwrap();
        };
        file("top/etc/a", "top");
        file("top/usr/lib/x", "top");
        std::os::unix::fs::symlink("a", at("top/etc/link")).unwrap();
        file("low/etc/a", "low");
        file("low/etc/b", "low");
        // a file hides a directory, and a link what has its name
        file("low/usr/lib/x/hidden", "low");
        file("low/etc/link/hidden", "low");
        file("low/opt/y", "low");
        fs::set_permissions(at("low/opt"), Permissions::from_mode(0o750)).unwrap();
        fs::create_dir(at("out")).unwrap();
        make(&[at("top"), at("low")], &at("out")).unwrap();
        let read = |path: &str| fs::read_to_string(at("out").join(path)).unwrap_or_default();
        assert_eq!(
            [read("etc/a"), read("etc/b"), read("opt/y")],
            ["top", "low", "low"]
        );
        assert_eq!(read("usr/lib/x"), "top");
        assert_eq!(fs::read_link(at("out/etc/link")).unwrap(), Path::new("a"));
        let meta = |path: &str| fs::symlink_metadata(at(path)).unwrap();
        assert_eq!(meta("out/opt").mode() & 0o7777, 0o750);
        assert_eq!(meta("out/etc/a").ino(), meta("top/etc/a").ino());
        let modified = |path: &str| (meta(path).mtime(), meta(path).mtime_nsec());
        assert_eq!(modified("out/etc"), modified("top/etc"));
        assert_eq!(modified("out/opt"), modified("low/opt"));
    }
}
