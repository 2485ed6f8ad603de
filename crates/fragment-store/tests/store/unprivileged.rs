//! Users without rights: reading a library of root's, and having one of their own.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use fragment_store::{LoadOptions, Store, StoreError};
use fragment_types::Catalogue;

use crate::sample::{Place, artifact, name, varied};

/// Where a child that is nobody works.
const CHILD: &str = "FRAGMENT_STORE_TEST_NOBODY";
const NOBODY: u32 = 65534;

fn child_place() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

/// Runs the test `name` again as nobody, with `place`.
fn as_nobody(name: &str, place: &Place) {
    // the test program may lie where nobody may not look
    let program = place.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
    let output = Command::new(&program)
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, place.path())
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{text}");
}

fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: {test}: becoming another user needs root");
    }
    root
}

#[test]
fn anybody_can_search_a_library_of_roots() {
    if let Some(place) = child_place() {
        return search_as_nobody(&place);
    }
    if !is_root("anybody_can_search_a_library_of_roots") {
        return;
    }
    let place = Place::new();
    place
        .store()
        .ingest(&[place.artifact("sample", &varied("x"))])
        .unwrap();
    let before: Vec<_> = names(&place.store_path());
    as_nobody(
        "unprivileged::anybody_can_search_a_library_of_roots",
        &place,
    );
    assert_eq!(
        names(&place.store_path()),
        before,
        "a reader leaves nothing behind"
    );
}

fn search_as_nobody(place: &Path) {
    let store = Store::open(place.join("library")).unwrap();
    let components = store.components().unwrap();
    assert_eq!(components[0].name, name("sample"));
    assert_eq!(
        store
            .catalogue()
            .unwrap()
            .providing_path("/etc/config")
            .unwrap()
            .len(),
        1
    );
    assert!(store.unresolved().unwrap().is_empty());
    // and nothing more
    assert!(matches!(
        store.manifest(&components[0].digest),
        Err(StoreError::Open { .. })
    ));
    assert!(store.open_tree(&components[0].diff_id).is_err());
    assert!(store.remove(&name("sample")).is_err());
    assert!(store.leases().is_err());
}

fn names(directory: &Path) -> Vec<PathBuf> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    names
}

#[test]
fn a_user_can_have_a_library_of_their_own() {
    if let Some(place) = child_place() {
        let place = place.join("home");
        let store = Store::open_or_create(place.join("library")).unwrap();
        for content in ["old", "new"] {
            // holds a directory of mode 0555, which its owner cannot write to
            store
                .ingest(&[artifact(&place, "sample", &varied(content))])
                .unwrap();
            assert!(store.verify(|_| {}).unwrap().is_intact());
        }
        store
            .repair(&name("sample"), &LoadOptions::default())
            .unwrap();
        assert_eq!(store.remove_unreferenced().unwrap().trees.len(), 1);
        assert!(store.verify(|_| {}).unwrap().is_intact());
        return;
    }
    if !is_root("a_user_can_have_a_library_of_their_own") {
        return;
    }
    let place = Place::new();
    let home = place.path().join("home");
    fs::create_dir(&home).unwrap();
    std::os::unix::fs::chown(&home, Some(NOBODY), Some(NOBODY)).unwrap();
    as_nobody(
        "unprivileged::a_user_can_have_a_library_of_their_own",
        &place,
    );
}
