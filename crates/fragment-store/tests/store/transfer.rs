//! Components from one store to another.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use fragment_store::{Store, StoreError};

use crate::sample::{Place, name, varied};

#[test]
fn an_exported_layout_is_readable_and_fills_another_store() {
    let place = Place::new();
    let store = place.store();
    let artifacts = ["one", "two"].map(|name| place.artifact(name, &varied(name)));
    let digests = store.ingest(&artifacts).unwrap();
    let layout = place.path().join("layout");
    assert_eq!(store.export(&layout, &[name("two")]).unwrap(), 1);
    for file in ["index.json", "oci-layout", "blobs/sha256"] {
        let mode = fs::metadata(layout.join(file))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o044, 0o044, "{file}");
    }
    // manifest, config, layer
    assert_eq!(
        fs::read_dir(layout.join("blobs/sha256")).unwrap().count(),
        3
    );

    let other = Store::open_or_create(place.path().join("other")).unwrap();
    let taken = Store::open(&layout).unwrap().artifacts(&[]).unwrap();
    assert_eq!(other.ingest(&taken).unwrap(), [digests[1]]);
    assert_eq!(other.manifest(&digests[1]).unwrap(), artifacts[1].manifest);
    let report = other.verify(|_| {}).unwrap();
    assert!(report.is_intact());
}

#[test]
fn what_cannot_be_exported_is_named() {
    let place = Place::new();
    let store = place.store();
    store
        .ingest(&[place.artifact("one", &varied("x"))])
        .unwrap();
    let layout = place.path().join("layout");
    let error = store.export(&layout, &[name("three")]).unwrap_err();
    assert!(matches!(error, StoreError::Unknown { .. }), "{error}");
    assert!(!layout.exists());
    fs::create_dir(&layout).unwrap();
    fs::write(layout.join("mine"), "kept").unwrap();
    let error = store.export(&layout, &[]).unwrap_err();
    assert!(matches!(error, StoreError::NotEmpty { .. }), "{error}");
    assert_eq!(fs::read_dir(&layout).unwrap().count(), 1);
}
