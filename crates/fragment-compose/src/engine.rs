//! The overlay that a container engine has mounted as the rootfs: read from the mount table, and trusted only as far as the
//! directory it shows agrees.

pub(crate) mod marks;
pub(crate) mod mountinfo;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::error::ComposeError;
use crate::filesystem::Filesystem;
use crate::mounting::OverlayMount;
use crate::rootfs::RootfsFacts;
use mountinfo::MountInfo;

/// Start of the source of a mount of ours; the number of the engine's lower layers follows.
const OURS: &str = "fragment:";
/// What the engines we know write as the source of theirs.
const THEIRS: &str = "overlay";
/// Options that are not given back to the kernel as they are shown.
const SHOWN_ONLY: [&str; 3] = ["rw", "ro", "seclabel"];

/// What an engine has mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Engine {
    /// An overlay that nothing else uses: another can take its place.
    Alone(OverlayMount),
    /// An overlay that is mounted elsewhere too, or holds mounts.
    Shared(OverlayMount),
    /// An overlay whose layers cannot be used otherwise, and why.
    Closed(String),
}

impl Engine {
    /// Looks at the overlay that is the rootfs.
    ///
    /// # Errors
    /// When the mount table cannot be read.
    pub(crate) fn of(facts: &RootfsFacts) -> Result<Self, ComposeError> {
        let mounts = table(&facts.path)?;
        Ok(match find(&mounts, facts) {
            Some(mount) => Self::from_table(&mounts, mount),
            None => Self::Closed("it is not in this process's mount table".to_owned()),
        })
    }

    fn from_table(mounts: &[MountInfo], mount: &MountInfo) -> Self {
        let same = mounts.iter().filter(|other| other.device == mount.device);
        match described(mount, same.map(|mount| mount.point.as_path())) {
            Err(reason) => Self::Closed(reason),
            Ok(overlay) => {
                let shared = mounts.iter().any(|other| {
                    other.id != mount.id && other.device == mount.device || other.parent == mount.id
                });
                if shared {
                    Self::Shared(overlay)
                } else {
                    Self::Alone(overlay)
                }
            }
        }
    }
}

/// The engine's own form of the overlay at `rootfs`, if the mount there is one of ours.
pub(crate) fn replaced(rootfs: &Path) -> Result<Option<OverlayMount>, ComposeError> {
    let overlay = rustix::fs::statfs(rootfs)
        .is_ok_and(|statfs| Filesystem::of(&statfs) == Filesystem::Overlay);
    if !overlay {
        return Ok(None);
    }
    let mounts = table(rootfs)?;
    let topmost = mounts.iter().rev().find(|mount| mount.point == rootfs);
    Ok(topmost.and_then(|mount| {
        let kept: usize = mount.source.strip_prefix(OURS)?.parse().ok()?;
        let mut overlay = spelled(mount).ok()?;
        overlay.lowers.truncate(kept);
        THEIRS.clone_into(&mut overlay.source);
        Some(overlay)
    }))
}

/// How many mounts lie at `point`, one above the other.
pub(crate) fn mounts_at(point: &Path) -> Result<usize, ComposeError> {
    let mounts = table(point)?;
    Ok(mounts.iter().filter(|mount| mount.point == point).count())
}

/// The source of the topmost mount at `point`.
pub(crate) fn source_at(point: &Path) -> Result<Option<String>, ComposeError> {
    let mounts = table(point)?;
    let topmost = mounts.into_iter().rev().find(|mount| mount.point == point);
    Ok(topmost.map(|mount| mount.source))
}

/// The source of a mount that takes the place of one with `lowers` layers.
pub(crate) fn source_of_ours(lowers: usize) -> String {
    format!("{OURS}{lowers}")
}

/// Where a directory of a mount can be reached through another mount of the same filesystem, with room beside it.
///
/// # Errors
/// When the mount table cannot be read.
pub(crate) fn other_way(facts: &RootfsFacts) -> Result<Option<PathBuf>, ComposeError> {
    let mounts = table(&facts.path)?;
    let Some(mount) = find(&mounts, facts) else {
        return Ok(None);
    };
    let Ok(wanted) = facts.path.symlink_metadata() else {
        return Ok(None);
    };
    let same = |path: &PathBuf| {
        path.symlink_metadata()
            .is_ok_and(|found| (found.dev(), found.ino()) == (wanted.dev(), wanted.ino()))
    };
    let others = mounts.iter().filter(|other| {
        other.id != mount.id
            && other.device == mount.device
            && other.root != mount.root
            && other.attributes.iter().any(|attribute| attribute == "rw")
    });
    Ok(others
        .filter_map(|other| other.shows(&mount.root))
        .find(same))
}

fn table(rootfs: &Path) -> Result<Vec<MountInfo>, ComposeError> {
    mountinfo::read().map_err(|source| ComposeError::Look {
        operation: "find the mount of the rootfs",
        path: rootfs.to_path_buf(),
        source,
    })
}

/// The mount whose root is the rootfs.
fn find<'a>(mounts: &'a [MountInfo], facts: &RootfsFacts) -> Option<&'a MountInfo> {
    match facts.place.mount {
        Some(id) => mounts.iter().find(|mount| mount.id == id),
        None => mounts.iter().rev().find(|mount| mount.point == facts.path),
    }
}

/// The mount with all its layers found, or why it cannot be made again. `points` is where its filesystem lies.
fn described<'a>(
    mount: &MountInfo,
    points: impl Iterator<Item = &'a Path>,
) -> Result<OverlayMount, String> {
    if mount.kind != "overlay" || mount.root != Path::new("/") {
        return Err("only a part of an overlay is mounted there".to_owned());
    }
    for feature in ["index", "nfs_export"] {
        if on(&mount.options, feature) {
            return Err(format!(
                "it is mounted with {feature}=on, which ties it to its layers"
            ));
        }
    }
    let mut overlay = spelled(mount)?;
    let bases = bases(&overlay, points);
    let found = bases.into_iter().find_map(|base| based(&overlay, &base));
    overlay = found.ok_or("its layers are not where the mount table says")?;
    agrees(&overlay)?;
    Ok(overlay)
}

/// The mount as it is written: layers may be relative.
fn spelled(mount: &MountInfo) -> Result<OverlayMount, String> {
    let mut lowers = Vec::new();
    let mut options = Vec::new();
    for option in &mount.options {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        match key {
            "lowerdir" => lowers.extend(value.split(':').map(PathBuf::from)),
            "lowerdir+" => lowers.push(value.into()),
            "datadir+" => return Err("it has data-only layers".to_owned()),
            "upperdir" | "workdir" => {}
            key if SHOWN_ONLY.contains(&key) => {}
            _ => options.push(option.replace('"', "")),
        }
    }
    let directory = |key| mount.option(key).map(PathBuf::from);
    let (upper, work) = (directory("upperdir"), directory("workdir"));
    let named = lowers.iter().chain(&upper).chain(&work);
    // overlayfs's own escapes, which differ between kernels; an empty name is what `::` stands for: data-only layers
    let plain = |path: &PathBuf| {
        !path.as_os_str().is_empty() && !path.to_string_lossy().contains(['\\', '\u{fffd}'])
    };
    if lowers.is_empty() || !named.clone().all(plain) {
        return Err("its layers have names that cannot be read back".to_owned());
    }
    let read_only = mount.options.iter().any(|option| option == "ro");
    Ok(OverlayMount {
        point: mount.point.clone(),
        source: mount.source.clone(),
        lowers,
        upper: upper.filter(|_| !read_only),
        work: work.filter(|_| !read_only),
        options,
        attributes: mount.attributes.clone(),
    })
}

/// Whether a feature of overlayfs is on, be it by option or by default.
fn on(options: &[String], feature: &str) -> bool {
    let mut values = options
        .iter()
        .filter_map(|option| option.strip_prefix(feature)?.strip_prefix('='));
    match values.next() {
        Some(value) => value == "on",
        None => std::fs::read_to_string(format!("/sys/module/overlay/parameters/{feature}"))
            .is_ok_and(|value| value.starts_with(['Y', '1'])),
    }
}

/// Where relative names may start: engines change into their storage directory before they mount, so that many layers fit into
/// the one page that mount(2) takes. It lies two above the upper directory (containerd: `snapshots/N/fs`; docker and podman:
/// `overlay/ID/diff`) and two above the mount point (`overlay/ID/merged`).
fn bases<'a>(overlay: &OverlayMount, points: impl Iterator<Item = &'a Path>) -> Vec<PathBuf> {
    let two_above = |path: &Path| Some(path.parent()?.parent()?.to_path_buf());
    let upper = overlay.upper.as_deref().filter(|upper| upper.is_absolute());
    let mut bases: Vec<_> = upper.and_then(two_above).into_iter().collect();
    bases.extend(points.filter_map(two_above));
    bases
}

fn based(overlay: &OverlayMount, base: &Path) -> Option<OverlayMount> {
    let mut overlay = overlay.clone();
    let directories = overlay
        .lowers
        .iter_mut()
        .chain(&mut overlay.upper)
        .chain(&mut overlay.work);
    for directory in directories {
        *directory = base.join(&*directory);
        if !directory.is_dir() {
            return None;
        }
    }
    Some(overlay)
}

/// Compares what the overlay shows with what its layers would: another directory of the same name, a layer seen through
/// mapped identities, or one that has been mounted over since would be another root.
fn agrees(overlay: &OverlayMount) -> Result<(), String> {
    let shown = listed(&overlay.point).map_err(|error| error.to_string())?;
    let mut expected: BTreeMap<OsString, Option<Metadata>> = BTreeMap::new();
    for layer in overlay.upper.iter().chain(&overlay.lowers) {
        for (name, metadata) in listed(layer).map_err(|error| error.to_string())? {
            let whiteout = metadata.file_type().is_char_device() && metadata.rdev() == 0;
            let entry = Some(metadata).filter(|_| !whiteout);
            expected.entry(name).or_insert(entry);
        }
    }
    expected.retain(|_, entry| entry.is_some());
    let same = |name: &OsString, shown: &Metadata| {
        let entry = expected.get(name).and_then(Option::as_ref);
        entry.is_some_and(|entry| {
            (entry.mode(), entry.uid(), entry.gid()) == (shown.mode(), shown.uid(), shown.gid())
        })
    };
    if shown.len() == expected.len() && shown.iter().all(|(name, entry)| same(name, entry)) {
        return Ok(());
    }
    Err(
        "its layers show other files than the overlay itself (engines map the owners of a layer that way)"
            .to_owned(),
    )
}

fn listed(directory: &Path) -> std::io::Result<BTreeMap<OsString, Metadata>> {
    std::fs::read_dir(directory)?
        .map(|entry| {
            let entry = entry?;
            Ok((entry.file_name(), entry.metadata()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(options: &[&str]) -> MountInfo {
        MountInfo {
            id: 2,
            parent: 1,
            device: "0:7".to_owned(),
            root: "/".into(),
            point: "/var/lib/engine/overlay/ID/merged".into(),
            attributes: vec!["rw".to_owned(), "nodev".to_owned()],
            kind: "overlay".to_owned(),
            source: "overlay".to_owned(),
            options: options.iter().map(|&option| option.to_owned()).collect(),
        }
    }

    #[test]
    fn layers_are_read_in_either_spelling() {
        let old = spelled(&mount(&[
            "rw",
            "lowerdir=l/A:l/B",
            "upperdir=ID/diff",
            "workdir=ID/work",
            "metacopy=on",
        ]))
        .unwrap();
        assert_eq!(old.lowers, [PathBuf::from("l/A"), PathBuf::from("l/B")]);
        assert_eq!(old.options, ["metacopy=on"]);
        assert_eq!(old.upper.as_deref(), Some(Path::new("ID/diff")));
        let new = spelled(&mount(&["lowerdir+=/l/A", "lowerdir+=/l/B"])).unwrap();
        assert_eq!(new.lowers, [PathBuf::from("/l/A"), PathBuf::from("/l/B")]);
        assert_eq!(new.upper, None);
    }

    #[test]
    fn what_cannot_be_made_again_is_told() {
        for (options, words) in [
            (&["lowerdir=/a::/b"][..], "names"),
            (&["lowerdir=/a\\:b"], "names"),
            (&["lowerdir+=/a", "datadir+=/b"], "data-only"),
            (&["upperdir=/u"], "names"),
            (&["lowerdir=/a", "index=on"], "index=on"),
            (&["lowerdir=/nonesuch"], "not where"),
        ] {
            let reason = described(&mount(options), std::iter::empty()).unwrap_err();
            assert!(reason.contains(words), "{options:?}: {reason}");
        }
        let mut part = mount(&["lowerdir=/a"]);
        part.root = "/etc".into();
        assert!(
            described(&part, std::iter::empty())
                .unwrap_err()
                .contains("part")
        );
    }

    #[test]
    fn relative_names_start_two_above_the_upper_directory_or_the_mount_point() {
        let overlay = spelled(&mount(&[
            "lowerdir=1/fs",
            "upperdir=/c/snapshots/2/fs",
            "workdir=/c/snapshots/2/work",
        ]))
        .unwrap();
        assert_eq!(
            bases(&overlay, [Path::new("/run/task/ID/rootfs")].into_iter()),
            [PathBuf::from("/c/snapshots"), PathBuf::from("/run/task")]
        );
    }
}
