//! Layers and manifests that lie.

use std::fs;
use std::path::Path;

use fragment_store::{Artifact, LayerError, Refusal, StoreError};
use fragment_types::Digest;
use fragment_types::manifest::{PathEntry, PathKind};
use tar::{EntryType, Header};

use crate::sample::{Packing, Place, directory, file, layer_artifact, paths, tree, varied};

/// Appends an entry with exactly these fields: the tar crate would refuse to write some of them.
fn entry(tar: &mut Vec<u8>, kind: EntryType, name: &str, target: &str, mode: u32, content: &str) {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(content.len() as u64);
    header.set_mtime(1);
    header.set_uid(0);
    header.set_gid(0);
    header.set_cksum();
    tar.extend(header.as_bytes());
    tar.extend(content.as_bytes());
    tar.resize(tar.len().next_multiple_of(512), 0);
}

struct Attack {
    tar: Vec<u8>,
    paths: Vec<PathEntry>,
}

impl Attack {
    fn new() -> Self {
        Self {
            tar: Vec::new(),
            paths: Vec::new(),
        }
    }

    /// An entry that is in the archive only.
    fn hidden(mut self, kind: EntryType, name: &str, target: &str, mode: u32) -> Self {
        entry(&mut self.tar, kind, name, target, mode, "");
        self
    }

    fn directory(mut self, name: &str) -> Self {
        entry(&mut self.tar, EntryType::Directory, name, "", 0o755, "");
        self.list(name, PathKind::Directory, 0o755, None, None)
    }

    fn file(mut self, name: &str, mode: u32, content: &str) -> Self {
        entry(&mut self.tar, EntryType::Regular, name, "", mode, content);
        self.list(name, PathKind::File, mode & 0o777, Some(content), None)
    }

    fn symlink(mut self, name: &str, target: &str) -> Self {
        entry(&mut self.tar, EntryType::Symlink, name, target, 0o777, "");
        self.list(name, PathKind::Symlink, 0o777, None, Some(target))
    }

    fn hard_link(mut self, name: &str, target: &str, content: &str) -> Self {
        entry(&mut self.tar, EntryType::Link, name, target, 0o644, "");
        self.list(name, PathKind::File, 0o644, Some(content), None)
    }

    fn list(
        mut self,
        name: &str,
        kind: PathKind,
        mode: u32,
        content: Option<&str>,
        target: Option<&str>,
    ) -> Self {
        self.paths.push(PathEntry {
            path: format!("/{name}"),
            kind,
            mode,
            size: content.map_or(0, |content| content.len() as u64),
            digest: content.map(|content| Digest::of(content.as_bytes())),
            target: target.map(str::to_owned),
        });
        self
    }

    fn artifact(mut self, directory: &Path) -> Artifact {
        self.tar.extend([0; 1024]);
        layer_artifact(directory, "attack", &self.tar, Packing::Zstd, self.paths)
    }
}

/// Everything below a directory with its content, to see that nothing was touched.
fn snapshot(root: &Path) -> Vec<(String, Option<Vec<u8>>)> {
    let mut found: Vec<_> = fs::read_dir(root)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.display().to_string(), fs::read(&path).ok())
        })
        .collect();
    found.sort();
    found
}

#[test]
fn every_attack_is_refused_and_touches_nothing() {
    let place = Place::new();
    let store = place.store();
    let outside = place.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("victim"), "untouched").unwrap();
    let outside_text = outside.to_str().unwrap();
    let victim = outside.join("victim");
    let before = snapshot(&outside);
    let attacks: Vec<(&str, Attack, Refusal)> = vec![
        (
            "parent directory",
            Attack::new().hidden(EntryType::Regular, "../x", "", 0o644),
            Refusal::Dots,
        ),
        (
            "absolute",
            Attack::new().hidden(EntryType::Regular, victim.to_str().unwrap(), "", 0o644),
            Refusal::Absolute,
        ),
        (
            "file through a symbolic link",
            Attack::new()
                .symlink("door", outside_text)
                .file("door/victim", 0o644, "hit"),
            Refusal::Parent,
        ),
        (
            "directory in the place of a symbolic link",
            Attack::new().symlink("door", outside_text).hidden(
                EntryType::Directory,
                "door",
                "",
                0o755,
            ),
            Refusal::Duplicate,
        ),
        (
            "file in the place of a symbolic link",
            Attack::new()
                .symlink("door", victim.to_str().unwrap())
                .hidden(EntryType::Regular, "door", "", 0o644),
            Refusal::Duplicate,
        ),
        (
            "hard link to an absolute path",
            Attack::new().hard_link("x", victim.to_str().unwrap(), "untouched"),
            Refusal::LinkTarget,
        ),
        (
            "hard link upwards",
            Attack::new().hard_link("x", "../../../outside/victim", "untouched"),
            Refusal::LinkTarget,
        ),
        (
            "hard link through a symbolic link",
            Attack::new()
                .symlink("door", outside_text)
                .hard_link("x", "door/victim", "untouched"),
            Refusal::LinkTarget,
        ),
        (
            "hard link to a symbolic link",
            Attack::new()
                .symlink("door", victim.to_str().unwrap())
                .hard_link("x", "door", "untouched"),
            Refusal::LinkTarget,
        ),
        (
            "hard link to a later entry",
            Attack::new().hard_link("a", "b", "x").file("b", 0o644, "x"),
            Refusal::LinkTarget,
        ),
        (
            "device",
            Attack::new().hidden(EntryType::Char, "null", "", 0o666),
            Refusal::Kind('3'),
        ),
        (
            "fifo",
            Attack::new().hidden(EntryType::Fifo, "pipe", "", 0o666),
            Refusal::Kind('6'),
        ),
        (
            "set-user-id",
            Attack::new().file("su", 0o4755, "x"),
            Refusal::SetId,
        ),
        (
            "set-group-id",
            Attack::new().file("wall", 0o2755, "x"),
            Refusal::SetId,
        ),
        (
            "set-user-id root directory",
            Attack::new().hidden(EntryType::Directory, "./", "", 0o4755),
            Refusal::Unlisted,
        ),
        (
            "duplicate",
            Attack::new()
                .file("x", 0o644, "1")
                .hidden(EntryType::Regular, "x", "", 0o644),
            Refusal::Duplicate,
        ),
        (
            "duplicate by another spelling",
            Attack::new()
                .file("x", 0o644, "1")
                .hidden(EntryType::Regular, "./x", "", 0o644),
            Refusal::Duplicate,
        ),
        (
            "more entries than listed",
            Attack::new()
                .directory("a")
                .hidden(EntryType::Directory, "b", "", 0o755),
            Refusal::Unlisted,
        ),
        (
            "parent after its child",
            Attack::new().file("d/x", 0o644, "x").directory("d"),
            Refusal::Parent,
        ),
        (
            "whiteout",
            Attack::new().hidden(EntryType::Regular, ".wh.etc", "", 0o644),
            Refusal::Whiteout,
        ),
        (
            "mode",
            Attack::new()
                .hidden(EntryType::Directory, "d", "", 0o777)
                .list("d", PathKind::Directory, 0o755, None, None),
            Refusal::ModeDiffers {
                expected: 0o755,
                found: 0o777,
            },
        ),
        (
            "kind",
            Attack::new()
                .hidden(EntryType::Directory, "d", "", 0o755)
                .list("d", PathKind::File, 0o755, Some(""), None),
            Refusal::KindDiffers,
        ),
        (
            "target",
            Attack::new()
                .hidden(EntryType::Symlink, "l", "elsewhere", 0o777)
                .list("l", PathKind::Symlink, 0o777, None, Some("here")),
            Refusal::TargetDiffers,
        ),
        (
            "size",
            Attack::new()
                .hidden(EntryType::Regular, "f", "", 0o644)
                .list("f", PathKind::File, 0o644, Some("four"), None),
            Refusal::SizeDiffers {
                expected: 4,
                found: 0,
            },
        ),
    ];
    for (what, attack, expected) in attacks {
        match store.ingest(&[attack.artifact(place.path())]) {
            Err(StoreError::Layer {
                source: LayerError::Entry { refusal, .. },
                ..
            }) => {
                assert_eq!(refusal, expected, "{what}");
            }
            other => panic!("{what}: {other:?}"),
        }
        assert_eq!(snapshot(&outside), before, "{what}");
        assert!(store.components().unwrap().is_empty(), "{what}");
    }
}

#[test]
fn set_id_bits_survive_where_the_manifest_lists_them() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let tree = tree([("su", file("x", 0o4755))]);
    let artifact = place.artifact("sudo", &tree);
    place
        .store()
        .ingest(std::slice::from_ref(&artifact))
        .unwrap();
    let su = place
        .store()
        .tree_path(&artifact.manifest.layer.diff_id)
        .join("su");
    assert_eq!(
        fs::metadata(su).unwrap().permissions().mode() & 0o7777,
        0o4755
    );
}

#[test]
fn content_that_is_not_the_manifests_is_refused() {
    let place = Place::new();
    let store = place.store();
    let mut artifact = place.artifact("liar", &varied("content"));
    let listed = artifact
        .manifest
        .provides
        .paths
        .iter_mut()
        .find(|p| p.path == "/etc/config");
    listed.unwrap().digest = Some(Digest::of(b"other c"));
    assert!(matches!(
        store.ingest(&[artifact]),
        Err(StoreError::Layer {
            source: LayerError::Entry {
                refusal: Refusal::DigestDiffers { .. },
                ..
            },
            ..
        })
    ));
}

#[test]
fn paths_that_the_layer_lacks_are_refused() {
    let place = Place::new();
    let mut artifact = place.artifact("liar", &varied("content"));
    let mut listed = artifact.manifest.provides.paths[0].clone();
    listed.path = "/not-there".to_owned();
    artifact.manifest.provides.paths.push(listed);
    match place.store().ingest(&[artifact]) {
        Err(StoreError::Layer {
            source: LayerError::Missing { path },
            ..
        }) => {
            assert_eq!(path, "/not-there");
        }
        other => panic!("{other:?}"),
    }
}

/// A change to an artifact, and whether the error is the one it must bring.
type Lie = (&'static str, fn(&mut Artifact), fn(&StoreError) -> bool);

#[test]
fn digests_and_sizes_are_checked() {
    let lies: [Lie; 6] = [
        (
            "blob digest",
            |a| a.manifest.layer.digest = Digest::of(b"other"),
            |e| matches!(e, StoreError::BlobDigest { .. }),
        ),
        (
            "diff_id",
            |a| a.manifest.layer.diff_id = Digest::of(b"other"),
            |e| {
                matches!(
                    e,
                    StoreError::Layer {
                        source: LayerError::DiffId { .. },
                        ..
                    }
                )
            },
        ),
        (
            "stored size too small",
            |a| a.manifest.size.stored -= 1,
            |e| matches!(e, StoreError::BlobSize { .. }),
        ),
        (
            "stored size too large",
            |a| a.manifest.size.stored += 1,
            |e| matches!(e, StoreError::BlobSize { .. }),
        ),
        (
            "plain size",
            |a| a.manifest.size.plain += 1,
            |e| {
                matches!(
                    e,
                    StoreError::Layer {
                        source: LayerError::Size { .. },
                        ..
                    }
                )
            },
        ),
        (
            "number of entries",
            |a| a.manifest.size.entries += 1,
            |e| {
                matches!(
                    e,
                    StoreError::Layer {
                        source: LayerError::Size { .. },
                        ..
                    }
                )
            },
        ),
    ];
    let place = Place::new();
    let store = place.store();
    for (what, lie, is_right) in lies {
        let mut artifact = place.artifact("liar", &varied("content"));
        lie(&mut artifact);
        let error = store.ingest(&[artifact]).unwrap_err();
        assert!(is_right(&error), "{what}: {error:?}");
    }
}

/// A change to an artifact.
type ManifestLie = (&'static str, fn(&mut Artifact));

#[test]
fn impossible_manifests_are_refused_before_the_layer_is_read() {
    let lies: [ManifestLie; 7] = [
        ("schema", |a| {
            a.manifest.schema = "dev.fragment.component/9".to_owned();
        }),
        ("relative path", |a| {
            a.manifest.provides.paths[0].path = "etc".to_owned();
        }),
        ("path upwards", |a| {
            a.manifest.provides.paths[0].path = "/../etc".to_owned();
        }),
        ("path twice", |a| {
            let again = a.manifest.provides.paths[0].clone();
            a.manifest.provides.paths.push(again);
        }),
        ("mode", |a| a.manifest.provides.paths[0].mode = 0o40755),
        ("file without a digest", |a| {
            a.manifest.provides.paths[0].kind = PathKind::File;
        }),
        ("more bytes than any component", |a| {
            a.manifest.provides.paths[1].size = u64::MAX;
        }),
    ];
    let place = Place::new();
    let store = place.store();
    for (what, lie) in lies {
        let mut artifact = place.artifact("liar", &varied("content"));
        lie(&mut artifact);
        artifact.layer = place.path().join("not-there");
        let error = store.ingest(&[artifact]).unwrap_err();
        assert!(
            matches!(error, StoreError::Manifest { .. }),
            "{what}: {error:?}"
        );
    }
}

#[test]
fn commands_that_are_not_among_the_paths_are_refused() {
    let place = Place::new();
    let mut artifact = place.artifact("liar", &varied("content"));
    artifact
        .manifest
        .provides
        .commands
        .push(fragment_types::manifest::Command {
            name: "ghost".to_owned(),
            path: "/usr/bin/ghost".to_owned(),
        });
    let error = place.store().ingest(&[artifact]).unwrap_err();
    assert!(error.to_string().contains("/usr/bin/ghost"), "{error}");
}

#[test]
fn blobs_of_other_kinds_are_refused() {
    let place = Place::new();
    let store = place.store();
    let content = tree([("etc", directory(0o755))]);
    let plain = crate::sample::tar_of(&content);
    for (what, blob) in [
        ("not compressed", plain.clone()),
        ("empty", Vec::new()),
        ("cut", {
            let mut blob = crate::sample::compress(&plain, Packing::Zstd);
            blob.truncate(blob.len() - 5);
            blob
        }),
        ("garbage after the frame", {
            let mut blob = crate::sample::compress(&plain, Packing::Zstd);
            blob.extend(b"garbage!");
            blob
        }),
    ] {
        let mut artifact =
            layer_artifact(place.path(), "odd", &plain, Packing::Zstd, paths(&content));
        fs::write(&artifact.layer, &blob).unwrap();
        artifact.manifest.size.stored = blob.len() as u64;
        artifact.manifest.layer.digest = Digest::of(&blob);
        let error = store.ingest(&[artifact]).unwrap_err();
        assert!(
            matches!(error, StoreError::Layer { .. }),
            "{what}: {error:?}"
        );
    }
}

#[test]
fn a_bomb_stops_where_the_manifest_ends() {
    // 64 MiB of zeros in a few KiB: nothing after the listed file may even be unpacked
    let place = Place::new();
    let mut tar = Vec::new();
    entry(&mut tar, EntryType::Regular, "small", "", 0o644, "x");
    tar.resize(tar.len() + (64 << 20), 0);
    let content = tree([("small", file("x", 0o644))]);
    let artifact = layer_artifact(place.path(), "bomb", &tar, Packing::Zstd, paths(&content));
    assert!(matches!(
        place.store().ingest(&[artifact]),
        Err(StoreError::Layer {
            source: LayerError::Trailing,
            ..
        })
    ));
}
