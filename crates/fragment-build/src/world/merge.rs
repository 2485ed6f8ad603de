//! Many layers of a world as one: an overlay has at most 500 (overlayfs.rst), and looks into each for a name that is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};

use rustix::fs::XattrFlags;

use crate::error::Result;
use crate::world::io;

/// What makes a directory hide all that is below it (overlayfs.rst, "whiteouts and opaque directories").
const OPAQUE: &str = "trusted.overlay.opaque";
/// Longest value and list of extended attributes (xattr(7)).
const MAX_ATTRIBUTE: usize = 64 << 10;

/// Makes `to`, which does what `layers`, topmost first, do to what is below them. Files are hard links: nothing is copied, and
/// `layers` stay as they are.
pub(super) fn merge(layers: &[PathBuf], to: &Path) -> Result<()> {
    directory(layers, false, to)
}

/// Merges directories of one path, topmost first. `hides`: they lie on what is no directory.
fn directory(sources: &[PathBuf], hides: bool, to: &Path) -> Result<()> {
    let Some(top) = sources.first() else {
        return Ok(());
    };
    fs::create_dir(to).map_err(io("creating", to))?;
    let mut directories: BTreeMap<OsString, (Vec<PathBuf>, bool)> = BTreeMap::new();
    let mut settled: BTreeSet<OsString> = BTreeSet::new();
    for source in sources {
        for entry in fs::read_dir(source).map_err(io("reading", source))? {
            let entry = entry.map_err(io("reading", source))?;
            let (name, path) = (entry.file_name(), entry.path());
            if settled.contains(&name) {
                continue;
            }
            let kind = entry.file_type().map_err(io("reading", source))?;
            if kind.is_dir() {
                if is_opaque(&path) {
                    settled.insert(name.clone());
                }
                directories.entry(name).or_default().0.push(path);
                continue;
            }
            match directories.get_mut(&name) {
                Some((_, hides)) => *hides = true,
                None => {
                    let link = to.join(&name);
                    fs::hard_link(&path, &link).map_err(io("linking", &link))?;
                }
            }
            settled.insert(name);
        }
    }
    for (name, (sources, hides)) in directories {
        directory(&sources, hides, &to.join(name))?;
    }
    let opaque = hides || sources.iter().any(|s| is_opaque(s));
    take_metadata(top, to, opaque).map_err(io("describing", to))
}

fn is_opaque(directory: &Path) -> bool {
    let mut value = [0; 1];
    matches!(
        rustix::fs::lgetxattr(directory, OPAQUE, &mut value[..]),
        Ok(1)
    ) && value[0] == b'y'
}

/// Owner, mode, attributes and times of a directory, in an order in which one does not undo another.
fn take_metadata(from: &Path, to: &Path, opaque: bool) -> std::io::Result<()> {
    let metadata = fs::symlink_metadata(from)?;
    chown(to, Some(metadata.uid()), Some(metadata.gid()))?;
    fs::set_permissions(to, metadata.permissions())?;
    let mut names = vec![0; MAX_ATTRIBUTE];
    let length = rustix::fs::llistxattr(from, &mut names[..])?;
    for name in names[..length].split(|b| *b == 0).filter(|n| !n.is_empty()) {
        // the overlay's own are about this one layer
        if name.starts_with(b"trusted.overlay.") {
            continue;
        }
        let mut value = vec![0; MAX_ATTRIBUTE];
        let length = rustix::fs::lgetxattr(from, name, &mut value[..])?;
        rustix::fs::lsetxattr(to, name, &value[..length], XattrFlags::empty())?;
    }
    if opaque {
        rustix::fs::lsetxattr(to, OPAQUE, b"y", XattrFlags::empty())?;
    }
    let times = FileTimes::new()
        .set_accessed(metadata.accessed()?)
        .set_modified(metadata.modified()?);
    File::open(to)?.set_times(times)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    use std::path::{Path, PathBuf};

    use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev, mknodat};

    use super::{OPAQUE, merge};
    use crate::root::Root;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn whiteout(root: &Path, path: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        mknodat(
            CWD,
            path,
            FileType::CharacterDevice,
            Mode::empty(),
            makedev(0, 0),
        )
        .unwrap();
    }

    fn opaque(root: &Path, path: &str) {
        let path = root.join(path);
        fs::create_dir_all(&path).unwrap();
        rustix::fs::lsetxattr(path, OPAQUE, b"y", XattrFlags::empty()).unwrap();
    }

    /// What an overlay of these layers shows.
    fn shown(layers: &[PathBuf]) -> BTreeMap<String, (u32, Option<Vec<u8>>)> {
        let root = Root::new(layers.to_vec());
        let mut shown = BTreeMap::new();
        root.walk(&mut |node| {
            let content = node.is_file().then(|| fs::read(&node.source).unwrap());
            shown.insert(node.path.clone(), (node.metadata.mode(), content));
            Ok(true)
        })
        .unwrap();
        shown
    }

    #[test]
    fn one_layer_shows_what_many_did() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        let (base, low, middle, top) = (at("base"), at("low"), at("middle"), at("top"));
        for path in [
            "etc/kept",
            "etc/changed",
            "etc/gone",
            "lib/a/x",
            "lib/b/x",
            "lib/c/x",
        ] {
            write(&base, path, "base");
        }
        write(&low, "etc/changed", "low");
        write(&low, "etc/new", "low");
        write(&low, "lib/d/low", "low");
        write(&low, "lib/e", "a file, a directory later");
        write(&low, "lib/f/x", "a directory, a file later");
        whiteout(&low, "lib/a");
        whiteout(&middle, "etc/gone");
        whiteout(&middle, "etc/new");
        write(&middle, "lib/d/middle", "middle");
        opaque(&middle, "lib/b");
        write(&middle, "lib/b/only", "middle");
        opaque(&middle, "lib/e");
        write(&middle, "lib/e/x", "middle");
        opaque(&middle, "lib/a");
        write(&middle, "lib/a/again", "middle");
        write(&top, "etc/changed", "top");
        write(&top, "lib/b/more", "top");
        write(&top, "lib/f", "top");
        opaque(&top, "lib/d");
        write(&top, "lib/d/top", "top");
        fs::set_permissions(top.join("etc"), fs::Permissions::from_mode(0o750)).unwrap();
        let layers = [top, middle, low];
        let before = shown(&[&layers[..], std::slice::from_ref(&base)].concat());
        let merged = at("merged");
        merge(&layers, &merged).unwrap();
        let after = shown(&[merged.clone(), base.clone()]);
        assert_eq!(before, after);
        assert_eq!(after["/lib/b/only"].1.as_deref(), Some(&b"middle"[..]));
        assert!(!after.contains_key("/lib/a/x") && !after.contains_key("/lib/b/x"));
        assert!(!after.contains_key("/etc/gone") && after.contains_key("/lib/c/x"));
        assert_eq!(after["/etc"].0 & 0o7777, 0o750);
        // the layers are as they were: a merge that is not finished costs nothing
        assert_eq!(
            before,
            shown(&[&layers[..], std::slice::from_ref(&base)].concat())
        );
    }
}
