//! Many layers as one, where the kernel does not take them all: the topmost become a tree of hard links, which costs no space
//! and shares the page cache as the trees themselves do.

use std::fs::File;
use std::path::{Path, PathBuf};

use fragment_sys::merge::merge_into;
use fragment_types::plan::{Generated, Layer, Part, PartKind};

use super::GeneratedError;
use super::layer::failed;
use crate::kernel::KernelVersion;
use crate::overlay::LOWERDIR_PLUS;

/// Most layers of components that are mounted one by one: overlayfs takes 500 (`OVL_MAX_STACK`), the engine's among them.
const MOST: usize = 400;
/// The same for kernels that take all names in one value, of which some eighty fit.
const MOST_OLD: usize = 64;

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

/// The union of `trees`, topmost first, in the empty `directory`, on disk when this returns.
pub(super) fn make(trees: &[PathBuf], directory: &Path) -> Result<(), GeneratedError> {
    merge_into(trees, directory)?;
    // whole after a power failure: one call for all of it
    let opened = File::open(directory).map_err(failed(directory))?;
    rustix::fs::syncfs(opened).map_err(|error| failed(directory)(error.into()))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

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
