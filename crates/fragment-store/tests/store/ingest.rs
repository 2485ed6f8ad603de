//! What goes in comes out.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use fragment_store::{Store, StoreError};
use fragment_types::manifest::ARTIFACT_TYPE;
use fragment_types::{Catalogue, Digest};
use proptest::prelude::*;

use crate::sample::{
    MTIME, Node, Packing, Place, Tree, directory, file, name, packed, tree, varied,
};

/// Asserts that the directory holds exactly `tree`.
fn assert_tree(root: &Path, tree: &Tree) {
    let mut found = 0;
    let mut pending = vec![root.to_owned()];
    while let Some(at) = pending.pop() {
        for entry in fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            let relative = path.strip_prefix(root).unwrap().to_str().unwrap();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let node = tree
                .get(relative)
                .unwrap_or_else(|| panic!("extra {relative}"));
            found += 1;
            let mode = metadata.permissions().mode() & 0o7777;
            assert_eq!(metadata.mtime().cast_unsigned(), MTIME, "{relative}");
            match node {
                Node::Directory(expected) => {
                    assert!(
                        metadata.is_dir() && mode == *expected,
                        "{relative} {mode:o}"
                    );
                    pending.push(path);
                }
                Node::File(content, expected) => {
                    assert!(
                        metadata.is_file() && mode == *expected,
                        "{relative} {mode:o}"
                    );
                    assert_eq!(&fs::read(&path).unwrap(), content);
                }
                Node::Symlink(target) => {
                    assert_eq!(fs::read_link(&path).unwrap(), Path::new(target));
                }
                Node::HardLink(target) => {
                    let original = fs::metadata(root.join(target)).unwrap();
                    assert_eq!(metadata.ino(), original.ino(), "{relative}");
                }
            }
        }
    }
    assert_eq!(found, tree.len());
}

#[test]
fn a_component_comes_out_as_it_went_in() {
    let place = Place::new();
    let store = place.store();
    for packing in [Packing::Zstd, Packing::Gzip] {
        let tree = varied(&format!("{packing:?}"));
        let artifact = packed(place.path(), "sample", &tree, packing);
        let digests = store.ingest(std::slice::from_ref(&artifact)).unwrap();
        assert_tree(&store.tree_path(&artifact.manifest.layer.diff_id), &tree);
        assert_eq!(store.manifest(&digests[0]).unwrap(), artifact.manifest);
        assert_eq!(store.digest_of(&name("sample")).unwrap(), digests[0]);
        let components = store.components().unwrap();
        assert_eq!(components.len(), 1);
        assert_eq!(components[0].digest, digests[0]);
        assert_eq!(components[0].diff_id, artifact.manifest.layer.diff_id);
        assert!(store.verify(|_| {}).unwrap().is_intact());
    }
    assert_eq!(
        fs::read_dir(place.store_path().join("tmp"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn the_same_input_has_the_same_digest() {
    let (here, there) = (Place::new(), Place::new());
    let digests = [&here, &there].map(|place| {
        place
            .store()
            .ingest(&[place.artifact("sample", &varied("x"))])
            .unwrap()
    });
    assert_eq!(digests[0], digests[1]);
    let again = here
        .store()
        .ingest(&[here.artifact("sample", &varied("x"))])
        .unwrap();
    assert_eq!(again, digests[0]);
}

#[test]
fn the_store_is_an_oci_image_layout() {
    let place = Place::new();
    let store = place.store();
    let artifact = place.artifact("sample", &varied("x"));
    let digest = store.ingest(std::slice::from_ref(&artifact)).unwrap()[0];
    let read = |path: &str| -> serde_json::Value {
        serde_json::from_slice(&fs::read(place.store_path().join(path)).unwrap()).unwrap()
    };
    assert_eq!(read("oci-layout")["imageLayoutVersion"], "1.0.0");
    let index = read("index.json");
    assert_eq!(index["schemaVersion"], 2);
    let entry = &index["manifests"][0];
    assert_eq!(entry["artifactType"], ARTIFACT_TYPE);
    assert_eq!(entry["digest"], digest.to_string());
    assert_eq!(
        entry["annotations"]["org.opencontainers.image.ref.name"],
        "sample:1.2.3"
    );
    let blob = |digest: &serde_json::Value| {
        format!(
            "blobs/sha256/{}",
            digest.as_str().unwrap().strip_prefix("sha256:").unwrap()
        )
    };
    let manifest = read(&blob(&entry["digest"]));
    assert_eq!(manifest["config"]["mediaType"], ARTIFACT_TYPE);
    assert_eq!(
        manifest["layers"][0]["mediaType"],
        "application/vnd.oci.image.layer.v1.tar+zstd"
    );
    assert_eq!(
        manifest["layers"][0]["digest"],
        artifact.manifest.layer.digest.to_string()
    );
    for descriptor in [&manifest["config"], &manifest["layers"][0], entry] {
        let bytes = fs::read(place.store_path().join(blob(&descriptor["digest"]))).unwrap();
        assert_eq!(
            Digest::of(&bytes).to_string(),
            descriptor["digest"].as_str().unwrap()
        );
        assert_eq!(descriptor["size"], bytes.len());
    }
}

#[test]
fn only_the_catalogue_and_the_index_are_for_everybody() {
    let place = Place::new();
    place
        .store()
        .ingest(&[place.artifact("sample", &varied("x"))])
        .unwrap();
    for (path, mode) in [
        ("", 0o755),
        ("oci-layout", 0o644),
        ("index.json", 0o644),
        ("catalogue", 0o644),
        ("blobs", 0o700),
        ("blobs/sha256", 0o700),
        ("trees", 0o700),
        ("leases", 0o700),
        ("tmp", 0o700),
        ("lock", 0o600),
    ] {
        let metadata = fs::metadata(place.store_path().join(path)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, mode, "{path}");
    }
}

#[test]
fn a_new_version_replaces_the_old_one_whose_tree_stays_until_collected() {
    let place = Place::new();
    let store = place.store();
    let old = place.artifact("sample", &varied("old"));
    store.ingest(std::slice::from_ref(&old)).unwrap();
    let generation = store.catalogue().unwrap().generation();
    let mut new = place.artifact("sample", &varied("new"));
    new.manifest.version = "2.0.0".parse().unwrap();
    store.ingest(std::slice::from_ref(&new)).unwrap();
    assert_ne!(store.catalogue().unwrap().generation(), generation);
    let components = store.components().unwrap();
    assert_eq!(components.len(), 1);
    assert_eq!(components[0].version, new.manifest.version);
    let old_tree = store.tree_path(&old.manifest.layer.diff_id);
    assert!(old_tree.is_dir());
    let removed = store.remove_unreferenced().unwrap();
    assert_eq!(removed.trees, [old.manifest.layer.diff_id]);
    // OCI manifest, component manifest, layer
    assert_eq!(removed.blobs.len(), 3);
    assert!(removed.blob_bytes > 0);
    assert!(!old_tree.exists());
    assert!(store.verify(|_| {}).unwrap().is_intact());
    assert_eq!(
        store.remove_unreferenced().unwrap(),
        fragment_store::Removed::default()
    );
}

#[test]
fn removal_is_by_name() {
    let place = Place::new();
    let store = place.store();
    store
        .ingest(&[
            place.artifact("one", &varied("1")),
            place.artifact("two", &varied("2")),
        ])
        .unwrap();
    store.remove(&name("one")).unwrap();
    assert!(matches!(
        store.remove(&name("one")),
        Err(StoreError::Unknown { .. })
    ));
    let left: Vec<_> = store
        .components()
        .unwrap()
        .into_iter()
        .map(|c| c.name)
        .collect();
    assert_eq!(left, [name("two")]);
}

#[test]
fn artifacts_are_taken_all_or_none() {
    let place = Place::new();
    let store = place.store();
    let good = place.artifact("good", &varied("good"));
    let mut bad = place.artifact("bad", &varied("bad"));
    bad.manifest.provides.paths.pop();
    assert!(matches!(
        store.ingest(&[good.clone(), bad]),
        Err(StoreError::Layer { .. })
    ));
    assert!(store.components().unwrap().is_empty());
    for directory in ["trees", "blobs/sha256", "tmp"] {
        let left = fs::read_dir(place.store_path().join(directory))
            .unwrap()
            .count();
        assert_eq!(left, 0, "{directory}");
    }
    assert!(matches!(
        store.ingest(&[good.clone(), good]),
        Err(StoreError::Twice { .. })
    ));
}

#[test]
fn a_place_without_a_store_is_named() {
    let place = Place::new();
    for path in [place.path().join("nowhere"), place.path().to_owned()] {
        let error = Store::open(&path).unwrap_err();
        assert!(matches!(error, StoreError::Absent { .. }), "{error:?}");
        assert!(error.to_string().contains("fragment library build"));
    }
    place.store();
    fs::write(
        place.store_path().join("oci-layout"),
        r#"{"imageLayoutVersion":"9.9.9"}"#,
    )
    .unwrap();
    assert!(matches!(
        Store::open(place.store_path()),
        Err(StoreError::Format { .. })
    ));
}

#[test]
fn a_root_entry_and_dotted_names_are_understood() {
    let place = Place::new();
    let content = tree([("etc", directory(0o755)), ("etc/x", file("x", 0o644))]);
    let mut builder = tar::Builder::new(Vec::new());
    for (path, kind, mode, bytes) in [
        ("./", tar::EntryType::Directory, 0o711, ""),
        ("./etc/", tar::EntryType::Directory, 0o755, ""),
        ("./etc/x", tar::EntryType::Regular, 0o644, "x"),
    ] {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(bytes.len() as u64);
        header.set_mtime(MTIME);
        header.set_uid(0);
        header.set_gid(0);
        header.set_cksum();
        builder.append(&header, bytes.as_bytes()).unwrap();
    }
    let tar = builder.into_inner().unwrap();
    let paths = crate::sample::paths(&content);
    let mut artifact =
        crate::sample::layer_artifact(place.path(), "dotted", &tar, Packing::Zstd, paths);
    artifact.manifest.size.entries = 3;
    let store = place.store();
    store.ingest(std::slice::from_ref(&artifact)).unwrap();
    let root = store.tree_path(&artifact.manifest.layer.diff_id);
    assert_eq!(
        fs::metadata(&root).unwrap().permissions().mode() & 0o7777,
        0o711
    );
    assert_tree(&root, &content);
}

fn random_tree() -> impl Strategy<Value = Tree> {
    let part = "[a-z]{1,3}|[A-Za-z0-9 ._+@é-]{1,40}|x{200}";
    let node = prop_oneof![
        prop::sample::select(vec![0o755, 0o700, 0o555, 0o1777]).prop_map(Node::Directory),
        (
            prop::collection::vec(any::<u8>(), 0..3000),
            prop::sample::select(vec![0o644, 0o755, 0o600, 0o444, 0o4755]),
        )
            .prop_map(|(content, mode)| Node::File(content, mode)),
        "[a-z./]{1,150}".prop_map(Node::Symlink),
    ];
    prop::collection::vec((prop::collection::vec(part, 1..4), node), 0..12).prop_map(|nodes| {
        let mut tree = Tree::new();
        for (parts, node) in nodes {
            if parts
                .iter()
                .any(|p| p == "." || p == ".." || p.starts_with(".wh."))
            {
                continue;
            }
            // parents first; something else in their place drops the path
            let mut path = String::new();
            let mut blocked = false;
            for part in &parts[..parts.len() - 1] {
                if !path.is_empty() {
                    path.push('/');
                }
                path.push_str(part);
                let parent = tree.entry(path.clone()).or_insert(Node::Directory(0o755));
                if !matches!(parent, Node::Directory(_)) {
                    blocked = true;
                    break;
                }
            }
            if !blocked {
                tree.entry(parts.join("/")).or_insert(node);
            }
        }
        // in the order of the map a parent, being a prefix, comes before its children
        tree
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn random_trees_round_trip(tree in random_tree(), gzip: bool) {
        let place = Place::new();
        let store = place.store();
        let packing = if gzip { Packing::Gzip } else { Packing::Zstd };
        let artifact = packed(place.path(), "random", &tree, packing);
        store.ingest(std::slice::from_ref(&artifact)).unwrap();
        assert_tree(&store.tree_path(&artifact.manifest.layer.diff_id), &tree);
        let report = store.verify(|_| {}).unwrap();
        prop_assert!(report.is_intact(), "{report:?}");
        let catalogue = store.catalogue().unwrap();
        for entry in &artifact.manifest.provides.paths {
            let providers = catalogue.providing_path(&entry.path).unwrap();
            prop_assert_eq!(providers.len(), 1);
            prop_assert_eq!(providers[0].kind, entry.kind);
            prop_assert_eq!(providers[0].digest, entry.digest);
            prop_assert_eq!(&providers[0].target, &entry.target);
        }
    }
}
