//! Loading: one unpack however many ask, never more than allowed at a time, and nothing half-made to be seen.

use std::fs;
use std::io::{self, Read, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fragment_store::{
    Artifact, LayoutSource, LeasedComponent, Load, LoadOptions, Source, Store, StoreError,
};
use fragment_types::Digest;

use crate::leases::lease;
use crate::sample::{Place, Tree, directory, file, name, varied};

/// What a child process is to do, and where.
const CHILD: &str = "FRAGMENT_STORE_TEST_LOAD";

/// A component that takes a while to unpack.
fn large(seed: u32) -> Tree {
    let mut nodes = varied(&seed.to_string());
    nodes.insert("data".to_owned(), directory(0o755));
    for number in 0..400 {
        let content = format!("{seed} {number} ").repeat(1500);
        nodes.insert(format!("data/{number:03}"), file(&content, 0o644));
    }
    nodes
}

fn ingest(place: &Place, store: &Store, component: &str, tree: &Tree) -> LeasedComponent {
    let artifact = place.artifact(component, tree);
    let digest = store.ingest(std::slice::from_ref(&artifact)).unwrap()[0];
    leased(&artifact, digest)
}

pub(crate) fn leased(artifact: &Artifact, digest: Digest) -> LeasedComponent {
    LeasedComponent {
        name: artifact.manifest.name.clone(),
        digest,
        diff_id: artifact.manifest.layer.diff_id,
    }
}

/// The names in the directory of loads, slots left out.
pub(crate) fn leftovers(place: &Place) -> Vec<String> {
    let Ok(entries) = fs::read_dir(place.store_path().join("loads")) else {
        return Vec::new();
    };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !name.starts_with("slot-")).collect()
}

/// Another process of this test, which does `what` for the component `component`.
pub(crate) fn child(place: &Place, what: &str, component: &LeasedComponent) -> Child {
    let words = serde_json::to_string(&(what, place.path(), component)).unwrap();
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "load::as_a_child", "--nocapture"])
        .env(CHILD, words)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What children do. A test of its own only because children run this binary.
#[test]
fn as_a_child() {
    let Ok(words) = std::env::var(CHILD) else {
        return;
    };
    let (what, place, component): (String, PathBuf, LeasedComponent) =
        serde_json::from_str(&words).unwrap();
    let store = Store::open(place.join("library")).unwrap();
    match what.as_str() {
        "load" => {
            let load = store.load(&component, &LoadOptions::default()).unwrap();
            println!("\nLOAD {}", serde_json::to_string(&load).unwrap());
        }
        "fetch" => {
            let log = place.join("log");
            let source = Logging {
                log,
                source: LayoutSource::new(place.join("layout")),
            };
            let options = LoadOptions {
                sources: &[&source],
                ..LoadOptions::default()
            };
            let load = store.load(&component, &options).unwrap();
            println!("\nLOAD {}", serde_json::to_string(&load).unwrap());
        }
        _ if what.starts_with("umask ") => {
            let umask = u32::from_str_radix(&what["umask ".len()..], 8).unwrap();
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(umask));
            let load = store.load(&component, &LoadOptions::default()).unwrap();
            println!("\nLOAD {}", serde_json::to_string(&load).unwrap());
        }
        "again and again" => loop {
            store.load(&component, &LoadOptions::default()).unwrap();
            store.unload(&component.name).unwrap();
        },
        other => panic!("{other}"),
    }
}

/// What a child said.
pub(crate) fn said(child: Child) -> Load {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("LOAD "));
    let line = line.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
    serde_json::from_str(line).unwrap()
}

#[test]
fn what_was_unloaded_is_loaded_again_as_it_was() {
    let place = Place::new();
    let store = place.store();
    let component = ingest(&place, &store, "sample", &large(1));
    let tree = store.tree_path(&component.diff_id);
    let before = fs::symlink_metadata(tree.join("usr/bin/tool")).unwrap();
    assert_eq!(
        store.load(&component, &LoadOptions::default()).unwrap(),
        Load::Present
    );
    assert!(store.unload(&component.name).unwrap() > 0);
    assert!(!tree.exists());
    assert!(
        store.verify(|_| {}).unwrap().is_intact(),
        "unloaded is not damaged"
    );
    let load = store.load(&component, &LoadOptions::default()).unwrap();
    assert!(
        matches!(load, Load::Unpacked { fetched: false, bytes, .. } if bytes > 3 << 20),
        "{load:?}"
    );
    let report = store.verify(|_| {}).unwrap();
    assert!(report.is_intact(), "{report:?}");
    let after = fs::symlink_metadata(tree.join("usr/bin/tool")).unwrap();
    let what = |about: &fs::Metadata| (about.mode(), about.mtime(), about.nlink(), about.uid());
    assert_eq!(what(&before), what(&after));
    assert_eq!(leftovers(&place), [""; 0]);
}

#[test]
fn sixty_four_processes_unpack_once() {
    let place = Place::new();
    let store = place.store();
    let component = ingest(&place, &store, "sample", &large(2));
    store.unload(&component.name).unwrap();
    let children: Vec<Child> = (0..64).map(|_| child(&place, "load", &component)).collect();
    let loads: Vec<Load> = children.into_iter().map(said).collect();
    assert_eq!(loads.len(), 64);
    let unpacked = loads
        .iter()
        .filter(|load| matches!(load, Load::Unpacked { .. }));
    assert_eq!(unpacked.count(), 1, "{loads:?}");
    assert!(store.verify(|_| {}).unwrap().is_intact());
    assert_eq!(leftovers(&place), [""; 0]);
}

/// A source that writes down when it is asked and when it has given all, in a file that many processes write to.
struct Logging {
    log: PathBuf,
    source: LayoutSource,
}

impl Logging {
    fn note(&self, text: &str) {
        let mut log = fs::File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .unwrap();
        log.write_all(text.as_bytes()).unwrap();
    }
}

struct Slow<'s> {
    blob: Box<dyn Read + 's>,
    of: &'s Logging,
}

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.blob.read(buffer)?;
        if read == 0 {
            std::thread::sleep(Duration::from_millis(30));
        }
        Ok(read)
    }
}

impl Drop for Slow<'_> {
    fn drop(&mut self) {
        self.of.note("-\n");
    }
}

impl Source for Logging {
    fn name(&self) -> String {
        self.source.name()
    }

    fn open(&self, blob: &Digest) -> io::Result<Option<Box<dyn Read + '_>>> {
        self.note("+\n");
        let blob = self.source.open(blob)?;
        Ok(blob.map(|blob| Box::new(Slow { blob, of: self }) as Box<dyn Read>))
    }
}

#[test]
fn at_most_ten_load_at_a_time() {
    let place = Place::new();
    let store = place.store();
    let components: Vec<_> = (0..12)
        .map(|number| {
            ingest(
                &place,
                &store,
                &format!("sample-{number}"),
                &varied(&number.to_string()),
            )
        })
        .collect();
    store.export(&place.path().join("layout"), &[]).unwrap();
    for component in &components {
        store.unload(&component.name).unwrap();
        let manifest = store.manifest(&component.digest).unwrap();
        fs::remove_file(store.blob_path(&manifest.layer.digest)).unwrap();
    }
    let children: Vec<Child> = components
        .iter()
        .flat_map(|component| {
            [
                child(&place, "fetch", component),
                child(&place, "fetch", component),
            ]
        })
        .collect();
    let loads: Vec<Load> = children.into_iter().map(said).collect();
    let fetched = loads
        .iter()
        .filter(|load| matches!(load, Load::Unpacked { fetched: true, .. }));
    assert_eq!(fetched.count(), 12, "{loads:?}");
    let (mut now, mut most) = (0_u32, 0);
    for line in fs::read_to_string(place.path().join("log"))
        .unwrap()
        .lines()
    {
        now = if line == "+" { now + 1 } else { now - 1 };
        most = most.max(now);
    }
    assert_eq!(now, 0);
    assert!((2..=10).contains(&most), "{most} at a time");
    assert!(store.verify(|_| {}).unwrap().is_intact());
}

#[test]
fn a_killed_loader_leaves_nothing_half_made_and_the_others_finish() {
    let place = Place::new();
    let store = place.store();
    let component = ingest(&place, &store, "sample", &large(3));
    let started = Instant::now();
    store.unload(&component.name).unwrap();
    store.load(&component, &LoadOptions::default()).unwrap();
    // a kill for each part of a load
    let step = started.elapsed().max(Duration::from_millis(8)) / 8;
    for round in 0..24 {
        let mut killed = child(&place, "again and again", &component);
        std::thread::sleep(Duration::from_millis(20) + step * round);
        let waiting = child(&place, "load", &component);
        killed.kill().unwrap();
        killed.wait().unwrap();
        let tree = store.tree_path(&component.diff_id);
        if tree.is_dir() {
            // what has its name is whole, whoever was killed
            let report = store.verify(|_| {}).unwrap();
            assert!(report.is_intact(), "round {round}: {report:?}");
        }
        // also when the killed one had the turn, or had taken the tree away
        let _ = said(waiting);
        store.load(&component, &LoadOptions::default()).unwrap();
        let report = store.verify(|_| {}).unwrap();
        assert!(report.is_intact(), "round {round}: {report:?}");
        store.unload(&component.name).unwrap();
        store.load(&component, &LoadOptions::default()).unwrap();
        assert_eq!(leftovers(&place), [""; 0], "round {round}");
    }
}

/// A source that never gives its last byte.
struct Stalled(AtomicUsize);

impl Source for Stalled {
    fn name(&self) -> String {
        "stalled".to_owned()
    }

    fn open(&self, _blob: &Digest) -> io::Result<Option<Box<dyn Read + '_>>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(Some(Box::new(Forever)))
    }
}

struct Forever;

impl Read for Forever {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        std::thread::sleep(Duration::from_millis(5));
        Err(io::ErrorKind::Interrupted.into())
    }
}

#[test]
fn time_is_limited_and_the_next_call_tries_again() {
    let place = Place::new();
    let store = place.store();
    let component = ingest(&place, &store, "sample", &varied("x"));
    store.export(&place.path().join("layout"), &[]).unwrap();
    store.unload(&component.name).unwrap();
    let manifest = store.manifest(&component.digest).unwrap();
    fs::remove_file(store.blob_path(&manifest.layer.digest)).unwrap();
    let stalled = Stalled(AtomicUsize::new(0));
    let options = LoadOptions {
        timeout: Duration::from_millis(80),
        sources: &[&stalled],
        ..LoadOptions::default()
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| store.load(&component, &options)))
            .collect();
        callers
            .into_iter()
            .map(|caller| caller.join().unwrap())
            .collect()
    });
    for result in results {
        let error = result.unwrap_err();
        assert!(matches!(error, StoreError::LoadTimeout { .. }), "{error:?}");
        assert!(
            error.to_string().contains("`sample` was not loaded within"),
            "{error}"
        );
    }
    assert!(stalled.0.load(Ordering::Relaxed) >= 1);
    assert_eq!(leftovers(&place), [""; 0]);
    let source = LayoutSource::new(place.path().join("layout"));
    let options = LoadOptions {
        sources: &[&source],
        ..LoadOptions::default()
    };
    let load = store.load(&component, &options).unwrap();
    assert!(
        matches!(load, Load::Unpacked { fetched: true, .. }),
        "{load:?}"
    );
    assert!(store.verify(|_| {}).unwrap().is_intact());
}

fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x20;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_layer_is_put_aside_and_fetched_where_there_is_a_source() {
    let place = Place::new();
    let store = place.store();
    let component = ingest(&place, &store, "sample", &large(4));
    store.export(&place.path().join("layout"), &[]).unwrap();
    store.unload(&component.name).unwrap();
    let blob = store.blob_path(&store.manifest(&component.digest).unwrap().layer.digest);
    damage(&blob);
    let error = store.load(&component, &LoadOptions::default()).unwrap_err();
    let StoreError::Quarantined { path, .. } = &error else {
        panic!("{error:?}");
    };
    assert!(path.is_file() && !blob.exists());
    assert!(
        error.to_string().contains("is damaged and was put aside"),
        "{error}"
    );
    assert!(!store.is_loaded(&component.diff_id).unwrap());
    assert_eq!(leftovers(&place), [""; 0]);
    // the same without reading it again
    let again = store.load(&component, &LoadOptions::default()).unwrap_err();
    assert!(matches!(again, StoreError::Quarantined { .. }), "{again:?}");
    let source = LayoutSource::new(place.path().join("layout"));
    let options = LoadOptions {
        sources: &[&source],
        ..LoadOptions::default()
    };
    let load = store.load(&component, &options).unwrap();
    assert!(
        matches!(load, Load::Unpacked { fetched: true, .. }),
        "{load:?}"
    );
    assert!(store.verify(|_| {}).unwrap().is_intact());
    // what a source gives is checked
    store.unload(&component.name).unwrap();
    fs::remove_file(&blob).unwrap();
    damage(
        &place
            .path()
            .join("layout/blobs/sha256")
            .join(blob.file_name().unwrap()),
    );
    let error = store.load(&component, &options).unwrap_err();
    assert!(matches!(error, StoreError::BlobDigest { .. }), "{error:?}");
    assert!(!blob.exists());
    assert_eq!(leftovers(&place), [""; 0]);
}

#[test]
fn every_changed_byte_of_a_layer_is_noticed() {
    let place = Place::new();
    let store = place.store();
    let component = ingest(&place, &store, "sample", &varied("x"));
    let manifest = store.manifest(&component.digest).unwrap();
    let blob = store.blob_path(&manifest.layer.digest);
    let whole = fs::read(&blob).unwrap();
    for at in 0..whole.len() {
        store.unload(&component.name).unwrap();
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&blob, bytes).unwrap();
        let result = store.load(&component, &LoadOptions::default());
        assert!(
            matches!(result, Err(StoreError::Quarantined { .. })),
            "byte {at}: {result:?}"
        );
        assert!(!store.is_loaded(&component.diff_id).unwrap());
    }
    fs::write(&blob, &whole).unwrap();
    store.load(&component, &LoadOptions::default()).unwrap();
    assert!(store.verify(|_| {}).unwrap().is_intact());
}

#[test]
fn a_tree_that_was_never_flushed_is_doubted_after_the_machine_was_started_again() {
    let place = Place::new();
    let store = place.store();
    let component = ingest(&place, &store, "sample", &varied("x"));
    let tree = store.tree_path(&component.diff_id);
    let nanoseconds = || fs::symlink_metadata(&tree).unwrap().mtime_nsec();
    assert_eq!(nanoseconds(), 0, "an ingested tree is flushed");
    store.unload(&component.name).unwrap();
    store.load(&component, &LoadOptions::default()).unwrap();
    let mark = nanoseconds();
    assert_ne!(mark, 0);
    // as if it were of another boot, and the power had failed before its files were on the disk
    let root = fs::File::open(&tree).unwrap();
    let other = if mark == 1 { 2 } else { mark - 1 };
    let seconds = Duration::from_secs(crate::sample::MTIME);
    root.set_modified(
        std::time::UNIX_EPOCH + seconds + Duration::from_nanos(other.cast_unsigned()),
    )
    .unwrap();
    fs::write(tree.join("etc/config"), "").unwrap();
    assert!(!store.is_loaded(&component.diff_id).unwrap());
    let load = store.load(&component, &LoadOptions::default()).unwrap();
    assert!(matches!(load, Load::Unpacked { .. }), "{load:?}");
    assert!(store.verify(|_| {}).unwrap().is_intact());
    assert_eq!(nanoseconds(), mark);
    assert_eq!(store.settle().unwrap(), 1);
    assert_eq!(nanoseconds(), 0);
    assert_eq!(store.settle().unwrap(), 0);
    assert!(store.is_loaded(&component.diff_id).unwrap());
    assert_eq!(leftovers(&place), [""; 0]);
}

#[test]
fn a_lease_keeps_what_is_loaded_for_it() {
    let place = Place::new();
    let store = place.store();
    let artifacts = ["one", "two", "three"].map(|one| place.artifact(one, &varied(one)));
    let digests = store.ingest(&artifacts).unwrap();
    let components: Vec<_> = artifacts
        .iter()
        .zip(&digests)
        .map(|(a, digest)| leased(a, *digest))
        .collect();
    store.unload(&name("two")).unwrap();
    store.unload(&name("three")).unwrap();
    for (artifact, digest) in artifacts.iter().zip(&digests) {
        lease(&store, artifact.manifest.name.as_str(), artifact, *digest).unwrap();
    }
    let loads = store.ready(&components, &LoadOptions::default()).unwrap();
    assert!(
        matches!(
            loads[..],
            [Load::Present, Load::Unpacked { .. }, Load::Unpacked { .. }]
        ),
        "{loads:?}"
    );
    let error = store.unload(&name("two")).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error:?}");
    assert!(error.to_string().contains("`two`"), "{error}");
    store.release("two").unwrap();
    assert!(store.unload(&name("two")).unwrap() > 0);
    assert_eq!(store.unload(&name("two")).unwrap(), 0, "it is not loaded");
    // a component that has left the library meanwhile
    store.remove(&name("two")).unwrap();
    store.remove_unreferenced().unwrap();
    let error = store
        .ready(&components, &LoadOptions::default())
        .unwrap_err();
    assert!(matches!(error, StoreError::TreeGone { .. }), "{error:?}");
}
