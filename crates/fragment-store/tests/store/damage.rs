//! Verification finds each kind of damage, and repair mends it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use fragment_store::{Finding, LayoutSource, LoadOptions, Store, StoreError};
use fragment_types::manifest::PathKind;

use crate::sample::{Place, name, varied};

fn findings(store: &Store) -> Vec<Finding> {
    let report = store.verify(|_| {}).unwrap();
    assert_eq!(report.is_intact(), report.damaged().next().is_none());
    assert!(
        report
            .damaged()
            .all(|damaged| damaged.name == name("damaged"))
    );
    report
        .components
        .into_iter()
        .flat_map(|component| component.findings)
        .collect()
}

/// Overwrites without changing the mode, though the directory may be read-only.
fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

type Damage = (&'static str, fn(&Path), fn(&str) -> Vec<Finding>);

fn damages() -> Vec<Damage> {
    vec![
        (
            "missing file",
            |tree| fs::remove_file(tree.join("etc/config")).unwrap(),
            |_| {
                vec![Finding::Missing {
                    path: "/etc/config".to_owned(),
                }]
            },
        ),
        (
            "missing directory",
            |tree| fs::remove_dir_all(tree.join("etc")).unwrap(),
            |_| {
                vec![Finding::Missing {
                    path: "/etc".to_owned(),
                }]
            },
        ),
        (
            "extra file",
            |tree| fs::write(tree.join("etc/extra"), "").unwrap(),
            |_| {
                vec![Finding::Extra {
                    path: "/etc/extra".to_owned(),
                }]
            },
        ),
        (
            "content",
            |tree| fs::write(tree.join("etc/config"), "CONTENT").unwrap(),
            |_| {
                vec![Finding::ContentChanged {
                    path: "/etc/config".to_owned(),
                }]
            },
        ),
        (
            "length",
            |tree| fs::write(tree.join("etc/config"), "content and more").unwrap(),
            |_| {
                vec![Finding::ContentChanged {
                    path: "/etc/config".to_owned(),
                }]
            },
        ),
        (
            "mode",
            |tree| set_mode(&tree.join("etc/config"), 0o4755),
            |_| {
                vec![Finding::ModeChanged {
                    path: "/etc/config".to_owned(),
                    expected: 0o640,
                    found: 0o4755,
                }]
            },
        ),
        (
            "mode of a directory",
            |tree| set_mode(&tree.join("etc"), 0o777),
            |_| {
                vec![Finding::ModeChanged {
                    path: "/etc".to_owned(),
                    expected: 0o755,
                    found: 0o777,
                }]
            },
        ),
        (
            "target",
            |tree| {
                set_mode(&tree.join("usr/bin"), 0o755);
                fs::remove_file(tree.join("usr/bin/alias")).unwrap();
                symlink("other", tree.join("usr/bin/alias")).unwrap();
                set_mode(&tree.join("usr/bin"), 0o555);
            },
            |_| {
                vec![Finding::TargetChanged {
                    path: "/usr/bin/alias".to_owned(),
                }]
            },
        ),
        (
            "kind",
            |tree| {
                fs::remove_file(tree.join("etc/config")).unwrap();
                symlink("/etc/passwd", tree.join("etc/config")).unwrap();
            },
            |_| {
                vec![Finding::KindChanged {
                    path: "/etc/config".to_owned(),
                    expected: PathKind::File,
                }]
            },
        ),
    ]
}

#[test]
fn each_damage_to_a_tree_is_found_and_mended() {
    let place = Place::new();
    let store = place.store();
    let artifact = place.artifact("damaged", &varied("content"));
    store
        .ingest(&[artifact.clone(), place.artifact("whole", &varied("other"))])
        .unwrap();
    let tree = store.tree_path(&artifact.manifest.layer.diff_id);
    for (what, damage, expected) in damages() {
        damage(&tree);
        assert_eq!(findings(&store), expected(what), "{what}");
        store
            .repair(&name("damaged"), &LoadOptions::default())
            .unwrap();
        assert_eq!(findings(&store), [], "{what}, repaired");
    }
    assert_eq!(
        fs::read_dir(place.store_path().join("tmp"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn a_damaged_layer_is_found_and_cannot_be_repaired_from() {
    let place = Place::new();
    let store = place.store();
    let artifact = place.artifact("damaged", &varied("content"));
    store.ingest(std::slice::from_ref(&artifact)).unwrap();
    let blob = store.blob_path(&artifact.manifest.layer.digest);
    let mut bytes = fs::read(&blob).unwrap();
    bytes[20] ^= 1;
    fs::write(&blob, &bytes).unwrap();
    assert!(matches!(
        findings(&store)[..],
        [Finding::LayerDamaged { .. }]
    ));
    assert!(matches!(
        store.repair(&name("damaged"), &LoadOptions::default()),
        Err(StoreError::Quarantined { .. })
    ));
    assert!(!blob.exists(), "a damaged layer is put aside");
    assert!(matches!(
        findings(&store)[..],
        [Finding::LayerUnreadable { .. }]
    ));
    // taking it in again mends it
    store.ingest(&[artifact]).unwrap();
    assert_eq!(findings(&store), []);
}

#[test]
fn a_damaged_layer_is_taken_from_a_source() {
    let place = Place::new();
    let store = place.store();
    let artifact = place.artifact("damaged", &varied("content"));
    store.ingest(std::slice::from_ref(&artifact)).unwrap();
    let layout = place.path().join("layout");
    store.export(&layout, &[]).unwrap();
    let blob = store.blob_path(&artifact.manifest.layer.digest);
    fs::write(&blob, "").unwrap();
    let source = LayoutSource::new(layout);
    let options = LoadOptions {
        sources: &[&source],
        ..LoadOptions::default()
    };
    // a container that runs from the tree, which is whole, is no obstacle
    let digest = store.digest_of(&name("damaged")).unwrap();
    crate::leases::lease(&store, "box", &artifact, digest).unwrap();
    store.repair(&name("damaged"), &options).unwrap();
    assert_eq!(findings(&store), []);
}

#[test]
fn a_damaged_manifest_is_found() {
    let place = Place::new();
    let store = place.store();
    let digest = store
        .ingest(&[place.artifact("damaged", &varied("content"))])
        .unwrap()[0];
    fs::write(store.blob_path(&digest), "{}").unwrap();
    assert!(matches!(findings(&store)[..], [Finding::Document { .. }]));
    assert!(matches!(
        store.manifest(&digest),
        Err(StoreError::BlobDigest { .. })
    ));
}

#[test]
fn a_damaged_manifest_stops_changes_until_its_component_is_replaced_or_removed() {
    let place = Place::new();
    let store = place.store();
    let damaged = place.artifact("damaged", &varied("content"));
    for way_out in ["replace", "remove"] {
        let digest = store.ingest(std::slice::from_ref(&damaged)).unwrap()[0];
        fs::write(store.blob_path(&digest), "{}").unwrap();
        let other = place.artifact("other", &varied(way_out));
        assert!(matches!(
            store.ingest(std::slice::from_ref(&other)),
            Err(StoreError::BlobDigest { .. })
        ));
        assert_eq!(
            store.components().unwrap().len(),
            1,
            "the library is as it was"
        );
        assert!(store.remove_unreferenced().is_err());
        // even without a catalogue, which cannot be made now
        fs::remove_file(place.store_path().join("catalogue")).unwrap();
        assert!(store.rebuild_catalogue().is_err());
        if way_out == "replace" {
            store.ingest(std::slice::from_ref(&damaged)).unwrap();
            assert_eq!(findings(&store), []);
        } else {
            store.remove(&name("damaged")).unwrap();
            assert!(store.components().unwrap().is_empty());
        }
    }
}

#[test]
fn a_damaged_catalogue_is_found_and_rebuilt() {
    let place = Place::new();
    let store = place.store();
    store
        .ingest(&[place.artifact("whole", &varied("content"))])
        .unwrap();
    let path = place.store_path().join("catalogue");
    let good = fs::read(&path).unwrap();
    for at in [0, 9, 60, good.len() / 2, good.len() - 1] {
        let mut bytes = good.clone();
        bytes[at] ^= 0x40;
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
        let report = store.verify(|_| {}).unwrap();
        assert!(report.catalogue.is_some(), "byte {at}");
        assert!(!report.is_intact());
        store.rebuild_catalogue().unwrap();
        assert_eq!(fs::read(&path).unwrap(), good);
        assert!(store.verify(|_| {}).unwrap().is_intact());
    }
}

#[test]
fn progress_ends_at_the_total() {
    let place = Place::new();
    let store = place.store();
    let tree = crate::sample::tree([("big", crate::sample::Node::File(vec![1; 700_000], 0o644))]);
    store
        .ingest(&[
            place.artifact("one", &tree),
            place.artifact("two", &varied("x")),
        ])
        .unwrap();
    let mut last = (0, 0);
    store
        .verify(|progress| {
            assert!(progress.done >= last.0);
            last = (progress.done, progress.total);
        })
        .unwrap();
    // the second name of a hard link is read once more
    assert!(last.0 >= last.1 && last.0 < last.1 + 100, "{last:?}");
}

#[test]
fn a_tree_in_use_is_not_exchanged() {
    let place = Place::new();
    let store = place.store();
    let artifact = place.artifact("damaged", &varied("content"));
    let digest = store.ingest(std::slice::from_ref(&artifact)).unwrap()[0];
    crate::leases::lease(&store, "box", &artifact, digest).unwrap();
    let tree = store.tree_path(&artifact.manifest.layer.diff_id);
    fs::write(tree.join("etc/config"), "other").unwrap();
    let error = store
        .repair(&name("damaged"), &LoadOptions::default())
        .unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }));
    assert!(error.to_string().contains("`box`"), "{error}");
    store.release("box").unwrap();
    store
        .repair(&name("damaged"), &LoadOptions::default())
        .unwrap();
}
