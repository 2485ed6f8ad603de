//! Generated layers: made once, kept by leases, and nothing half-made that stays.

use std::fs::{self, File};
use std::path::Path;

use fragment_store::{Holder, Store, StoreError};
use fragment_sys::lock::{FileLock, LockMode};
use fragment_types::Digest;

fn digest() -> Digest {
    Digest::of(b"what it is made from")
}

fn store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open_or_create(directory.path().join("store")).unwrap();
    (directory, store)
}

fn names(store: &Store) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(store.root().join("generated"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn make(directory: &Path) -> Result<(), StoreError> {
    fs::write(directory.join("file"), "content").unwrap();
    Ok(())
}

#[test]
fn a_layer_is_made_once() {
    let (_directory, store) = store();
    let path = store.generated(&digest(), make).unwrap();
    assert_eq!(fs::read_to_string(path.join("file")).unwrap(), "content");
    let again = store.generated::<StoreError>(&digest(), |_| panic!("made again"));
    assert_eq!(again.unwrap(), path);
    assert_eq!(names(&store), [digest().hex()]);
}

#[test]
fn a_store_of_an_earlier_release_gets_its_directory() {
    let (_directory, store) = store();
    fs::remove_dir(store.root().join("generated")).unwrap();
    assert_eq!(store.remove_unreferenced().unwrap().generated, []);
    store.generated(&digest(), make).unwrap();
}

#[test]
fn nothing_is_left_of_one_that_fails() {
    let (_directory, store) = store();
    let made = store.generated(&digest(), |directory| {
        make(directory)?;
        Err(StoreError::Absent {
            path: directory.to_owned(),
        })
    });
    assert!(made.is_err());
    assert_eq!(names(&store), [""; 0]);
}

#[test]
fn what_a_killed_maker_left_is_removed_and_what_a_living_one_makes_is_not() {
    let (_directory, store) = store();
    let generated = store.root().join("generated");
    for name in [".new-1-0", ".new-2-0"] {
        fs::create_dir_all(generated.join(name).join("etc")).unwrap();
    }
    let living = File::open(generated.join(".new-2-0")).unwrap();
    let lock = FileLock::wait(living.into(), LockMode::Exclusive).unwrap();
    store.generated(&digest(), make).unwrap();
    assert_eq!(names(&store), [".new-2-0".to_owned(), digest().hex()]);
    drop(lock);
    store.remove_unreferenced().unwrap();
    assert_eq!(names(&store), [""; 0]);
}

#[test]
fn a_lease_keeps_it() {
    let (_directory, store) = store();
    let holder = Holder {
        runtime_root: "/run/x".into(),
        id: "box".to_owned(),
        process: None,
    };
    // taken before the layer is there: a removal between the two finds the lease
    store.lease("box", holder, &[], Some(digest())).unwrap();
    store.generated(&digest(), make).unwrap();
    assert_eq!(store.remove_unreferenced().unwrap().generated, []);
    assert_eq!(names(&store), [digest().hex()]);
    store.release("box").unwrap();
    assert_eq!(store.remove_unreferenced().unwrap().generated, [digest()]);
    assert_eq!(names(&store), [""; 0]);
}

#[test]
fn makers_at_once_make_one() {
    let (_directory, store) = store();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| store.generated(&digest(), make).unwrap());
        }
    });
    assert_eq!(names(&store), [digest().hex()]);
}
