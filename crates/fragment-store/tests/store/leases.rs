//! What is leased stays; what is not goes.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use fragment_store::{
    Artifact, Holder, HolderProcess, Lease, LeasedComponent, LoadOptions, Store, StoreError,
};
use fragment_types::Digest;

use crate::sample::{Place, name, varied};

fn holder(id: &str) -> Holder {
    Holder {
        runtime_root: "/run/fragment".into(),
        id: id.to_owned(),
        process: None,
    }
}

pub(crate) fn lease(
    store: &Store,
    key: &str,
    artifact: &Artifact,
    digest: Digest,
) -> Result<Lease, StoreError> {
    let component = LeasedComponent {
        name: artifact.manifest.name.clone(),
        digest,
        diff_id: artifact.manifest.layer.diff_id,
    };
    store.lease(key, holder(key), &[component], None)
}

#[test]
fn leased_components_survive_removal_until_released() {
    let place = Place::new();
    let store = place.store();
    let artifact = place.artifact("sample", &varied("x"));
    let digest = store.ingest(std::slice::from_ref(&artifact)).unwrap()[0];
    let taken = lease(&store, "box", &artifact, digest).unwrap();
    assert_eq!(store.leases().unwrap(), [taken]);
    store.remove(&name("sample")).unwrap();
    assert_eq!(
        store.remove_unreferenced().unwrap(),
        fragment_store::Removed::default()
    );
    assert!(store.open_tree(&artifact.manifest.layer.diff_id).is_ok());
    assert_eq!(store.manifest(&digest).unwrap(), artifact.manifest);
    assert!(store.release("box").unwrap());
    assert!(!store.release("box").unwrap());
    let removed = store.remove_unreferenced().unwrap();
    assert_eq!(removed.trees, [artifact.manifest.layer.diff_id]);
    assert_eq!(removed.blobs.len(), 3);
    let late = lease(&store, "late", &artifact, digest).unwrap();
    assert!(matches!(
        store.ready(&late.components, &LoadOptions::default()),
        Err(StoreError::TreeGone { .. })
    ));
    assert!(store.release("late").unwrap());
    assert!(store.leases().unwrap().is_empty());
}

#[test]
fn keys_are_arbitrary_text() {
    let place = Place::new();
    let store = place.store();
    let keys = [
        "../../../etc/passwd",
        "",
        "a/b",
        "a\0b",
        "\u{1f980}",
        &"k".repeat(5000),
        ".lock",
    ];
    for key in keys {
        store.lease(key, holder("x"), &[], None).unwrap();
    }
    let mut found: Vec<_> = store
        .leases()
        .unwrap()
        .into_iter()
        .map(|lease| lease.key)
        .collect();
    let mut expected: Vec<_> = keys.iter().map(|key| (*key).to_owned()).collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    for key in keys {
        assert!(store.release(key).unwrap());
    }
    // the lock file only
    assert_eq!(
        fs::read_dir(place.store_path().join("leases"))
            .unwrap()
            .count(),
        1
    );
}

#[test]
fn a_second_lease_of_a_key_replaces_the_first() {
    let place = Place::new();
    let store = place.store();
    store.lease("box", holder("first"), &[], None).unwrap();
    let process = Some(HolderProcess {
        pid: 7,
        start_time: 9,
    });
    let second = Holder {
        process,
        ..holder("second")
    };
    store.lease("box", second.clone(), &[], None).unwrap();
    let leases = store.leases().unwrap();
    assert_eq!(leases.len(), 1);
    assert_eq!(leases[0].holder, second);
}

#[test]
fn stale_leases_are_swept() {
    let place = Place::new();
    let store = place.store();
    for key in ["alive", "dead", "retaken"] {
        store.lease(key, holder(key), &[], None).unwrap();
    }
    let swept = store
        .sweep(|lease| {
            if lease.key == "retaken" {
                // a new container of that key starts while we are being asked about the old one
                store.lease("retaken", holder("new"), &[], None).unwrap();
            }
            lease.key == "alive"
        })
        .unwrap();
    assert_eq!(
        swept
            .iter()
            .map(|lease| lease.key.as_str())
            .collect::<Vec<_>>(),
        ["dead"]
    );
    let left: Vec<_> = store
        .leases()
        .unwrap()
        .into_iter()
        .map(|lease| lease.holder.id)
        .collect();
    assert_eq!(left, ["alive", "new"]);
}

#[test]
fn a_damaged_lease_stops_removal_unless_it_is_older_than_the_machine_is_up() {
    let place = Place::new();
    let store = place.store();
    let path = place.store_path().join("leases/0000.json");
    fs::write(&path, "").unwrap();
    assert!(matches!(
        store.leases(),
        Err(StoreError::LeaseDamaged { .. })
    ));
    assert!(matches!(
        store.remove_unreferenced(),
        Err(StoreError::LeaseDamaged { .. })
    ));
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1))
        .unwrap();
    assert!(store.leases().unwrap().is_empty());
    assert!(!path.exists());
}

#[test]
fn half_written_leases_are_ignored_and_removed() {
    let place = Place::new();
    let store = place.store();
    let path = place.store_path().join("leases/.new-1-0");
    fs::write(&path, "{").unwrap();
    assert!(store.leases().unwrap().is_empty());
    store.remove_unreferenced().unwrap();
    assert!(!path.exists());
}

#[test]
fn a_lease_waits_for_no_writer() {
    let place = Place::new();
    let store = place.store();
    let artifact = place.artifact("sample", &varied("x"));
    let digest = store.ingest(std::slice::from_ref(&artifact)).unwrap()[0];
    // what a writer holds while it unpacks
    let lock = fs::File::open(place.store_path().join("lock")).unwrap();
    lock.lock().unwrap();
    lease(&store, "box", &artifact, digest).unwrap();
    assert!(store.release("box").unwrap());
}

#[test]
fn leases_removals_and_ingests_at_once_lose_nothing() {
    let place = Place::new();
    let store = place.store();
    let artifacts = ["one", "two"].map(|component| {
        let artifact = place.artifact(component, &varied(component));
        let digest = store.ingest(std::slice::from_ref(&artifact)).unwrap()[0];
        (artifact, digest)
    });
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = artifacts
            .iter()
            .map(|(artifact, _)| {
                let (store, stop) = (&store, &stop);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        store.remove(&artifact.manifest.name).unwrap();
                        store.remove_unreferenced().unwrap();
                        store.ingest(std::slice::from_ref(artifact)).unwrap();
                    }
                })
            })
            .collect();
        let (mut taken, mut refused) = (0, 0);
        let started = std::time::Instant::now();
        while started.elapsed() < std::time::Duration::from_millis(1500) {
            for (artifact, digest) in &artifacts {
                let taken_lease =
                    lease(&store, artifact.manifest.name.as_str(), artifact, *digest).unwrap();
                match store.ready(&taken_lease.components, &LoadOptions::default()) {
                    Ok(_) => {
                        taken += 1;
                        // as long as the lease lives the tree is there, whole
                        let tree = store.tree_path(&artifact.manifest.layer.diff_id);
                        for _ in 0..20 {
                            assert!(tree.join("usr/bin/tool").is_file());
                            assert!(tree.join("var/empty").is_dir());
                        }
                    }
                    Err(StoreError::TreeGone { .. }) => refused += 1,
                    Err(error) => panic!("{error:?}"),
                }
                store.release(artifact.manifest.name.as_str()).unwrap();
                // readers at the same time see a catalogue that is whole
                store.catalogue().unwrap().verify().unwrap();
            }
        }
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.join().unwrap();
        }
        assert!(taken > 0, "{taken} leases, {refused} refusals");
    });
    assert_eq!(store.components().unwrap().len(), 2);
    assert!(store.verify(|_| {}).unwrap().is_intact());
}
