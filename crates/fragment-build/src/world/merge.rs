//! Many layers of a world as one.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Makes `to`, which does what `layers`, topmost first, do to what is below them.
pub(super) fn merge(layers: &[PathBuf], to: &Path) -> Result<()> {
    fragment_sys::merge::merge(layers, to).map_err(|error| Error::Io {
        operation: error.operation,
        path: error.path,
        source: error.source,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    use std::path::{Path, PathBuf};

    use fragment_sys::merge::OPAQUE;
    use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev, mknodat};

    use super::merge;
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
