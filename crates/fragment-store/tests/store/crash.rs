//! Killed writers.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use fragment_store::Store;
use fragment_types::Catalogue;

use crate::sample::{Place, artifact, name, varied};

/// Where the child of [`a_killed_writer_leaves_a_whole_library`] works.
const CHILD: &str = "FRAGMENT_STORE_TEST_INGEST";

#[test]
fn leftovers_are_removed_by_the_next_writer() {
    let place = Place::new();
    let store = place.store();
    let tmp = place.store_path().join("tmp");
    let nested = tmp.join("0.tree/usr/bin");
    fs::create_dir_all(&nested).unwrap();
    fs::write(nested.join("tool"), "half").unwrap();
    fs::set_permissions(&nested, Permissions::from_mode(0o555)).unwrap();
    fs::write(tmp.join("index.json"), "{").unwrap();
    let outside = place.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("victim"), "").unwrap();
    std::os::unix::fs::symlink(&outside, tmp.join("link")).unwrap();
    store
        .ingest(&[place.artifact("sample", &varied("x"))])
        .unwrap();
    assert_eq!(fs::read_dir(&tmp).unwrap().count(), 0);
    assert!(outside.join("victim").exists());
}

#[test]
fn a_writer_that_died_before_the_catalogue_is_finished_by_the_next() {
    let place = Place::new();
    let store = place.store();
    store
        .ingest(&[place.artifact("one", &varied("1"))])
        .unwrap();
    let old = fs::read(place.store_path().join("catalogue")).unwrap();
    store
        .ingest(&[place.artifact("two", &varied("2"))])
        .unwrap();
    // as if killed between the index and the catalogue
    let path = place.store_path().join("catalogue");
    fs::remove_file(&path).unwrap();
    fs::write(&path, old).unwrap();
    assert_eq!(store.components().unwrap().len(), 1);
    assert!(
        store
            .verify(|_| {})
            .unwrap()
            .catalogue
            .unwrap()
            .contains("another state")
    );
    store.remove_unreferenced().unwrap();
    assert_eq!(store.components().unwrap().len(), 2);
    assert!(store.verify(|_| {}).unwrap().is_intact());
}

#[test]
fn a_catalogue_that_is_gone_is_made_again() {
    let place = Place::new();
    let store = place.store();
    store
        .ingest(&[place.artifact("one", &varied("1"))])
        .unwrap();
    fs::remove_file(place.store_path().join("catalogue")).unwrap();
    assert!(store.catalogue().is_err());
    store.rebuild_catalogue().unwrap();
    assert_eq!(store.catalogue().unwrap().len(), 1);
}

#[test]
fn a_killed_writer_leaves_a_whole_library() {
    if let Some(place) = std::env::var_os(CHILD) {
        return write_for_ever(Path::new(&place));
    }
    let place = Place::new();
    let store = place.store();
    store
        .ingest(&[place.artifact("constant", &varied("constant"))])
        .unwrap();
    for round in 0..12 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::a_killed_writer_leaves_a_whole_library"])
            .env(CHILD, place.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(40 + 17 * round));
        assert!(
            child.try_wait().unwrap().is_none(),
            "the child must be killed, not end"
        );
        child.kill().unwrap();
        child.wait().unwrap();
        // readable at once, without any writer in between
        let components = store.components().unwrap();
        assert!(
            components.iter().any(|c| c.name == name("constant")),
            "round {round}"
        );
        for component in &components {
            assert_eq!(
                store.manifest(&component.digest).unwrap().name,
                component.name
            );
            assert!(store.open_tree(&component.diff_id).is_ok());
        }
        let report = store.verify(|_| {}).unwrap();
        assert!(
            report.damaged().next().is_none(),
            "round {round}: {report:?}"
        );
        store.remove_unreferenced().unwrap();
        assert!(store.verify(|_| {}).unwrap().is_intact());
        assert_eq!(
            fs::read_dir(place.store_path().join("tmp"))
                .unwrap()
                .count(),
            0
        );
    }
}

/// What the child does until it is killed.
fn write_for_ever(place: &Path) {
    let store = Store::open(place.join("library")).unwrap();
    for number in 0u64.. {
        let changing = artifact(place, "changing", &varied(&number.to_string()));
        store.ingest(&[changing]).unwrap();
        if number % 3 == 0 {
            store.remove(&name("changing")).unwrap();
        }
    }
}
