//! What is used stays, what is not goes when a limit asks for it, and the limits hold: also over a day of many uses.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fragment_store::{
    LeasedComponent, Limits, LoadOptions, MemoryLimits, Store, StoreError, Usage,
};
use fragment_types::{Capability, ComponentName};
use proptest::prelude::*;

use crate::leases::lease;
use crate::sample::{Place, Tree, directory, file, name};

/// Milliseconds since 1970 at which the clocks of these tests begin.
pub(crate) const BEGIN: u64 = 1_800_000_000_000;

/// The component called `core` grants this and stays.
fn core() -> Option<Capability> {
    Some(Capability::new("core").unwrap())
}

/// A component whose files have about so many bytes.
fn sized(seed: usize, bytes: usize) -> Tree {
    let content: String = format!("{seed} ").chars().cycle().take(bytes).collect();
    [
        ("data".to_owned(), directory(0o755)),
        ("data/file".to_owned(), file(&content, 0o644)),
    ]
    .into()
}

/// A store whose clock the test moves, with components of these names and sizes.
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) store: Store,
    pub(crate) clock: Arc<AtomicU64>,
    pub(crate) components: BTreeMap<String, LeasedComponent>,
}

impl Node {
    pub(crate) fn new(components: &[(&str, usize)]) -> Self {
        let place = Place::new();
        let clock = Arc::new(AtomicU64::new(BEGIN));
        let store = place.store().with_clock(Arc::clone(&clock));
        let mut all = BTreeMap::new();
        for (seed, (name, bytes)) in components.iter().enumerate() {
            let mut artifact = place.artifact(name, &sized(seed, *bytes));
            if *name == "core" {
                artifact.manifest.capabilities.extend(core());
            }
            let digest = store.ingest(std::slice::from_ref(&artifact)).unwrap()[0];
            let component = LeasedComponent {
                name: artifact.manifest.name,
                digest,
                diff_id: artifact.manifest.layer.diff_id,
            };
            all.insert((*name).to_owned(), component);
        }
        Self {
            place,
            store,
            clock,
            components: all,
        }
    }

    pub(crate) fn pass(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap();
        self.clock.fetch_add(millis, Ordering::Relaxed);
    }

    pub(crate) fn begin(&self, key: &str, names: &[&str]) {
        let components: Vec<_> = names
            .iter()
            .map(|name| self.components[*name].clone())
            .collect();
        let holder = fragment_store::Holder {
            runtime_root: self.place.path().to_owned(),
            id: key.to_owned(),
            process: None,
        };
        self.store.lease(key, holder, &components, None).unwrap();
        self.store
            .ready(&components, &LoadOptions::default())
            .unwrap();
    }

    pub(crate) fn end(&self, key: &str) {
        assert!(self.store.release(key).unwrap());
    }

    pub(crate) fn use_once(&self, names: &[&str]) {
        self.begin("once", names);
        self.end("once");
    }

    pub(crate) fn loaded(&self) -> Vec<String> {
        let usages = self.store.usages(&Limits::default()).unwrap();
        let loaded = usages.into_iter().filter(|usage| usage.loaded);
        loaded.map(|usage| usage.name.to_string()).collect()
    }

    pub(crate) fn stored(&self) -> u64 {
        let usages = self.store.usages(&Limits::default()).unwrap();
        usages.iter().map(|usage| usage.stored).sum()
    }
}

fn names(found: &[ComponentName]) -> Vec<&str> {
    found.iter().map(ComponentName::as_str).collect()
}

#[test]
fn the_disk_limit_takes_the_expired_then_the_longest_unused_and_never_what_is_used() {
    let node = Node::new(&[
        ("core", 10_000),
        ("a", 10_000),
        ("b", 10_000),
        ("c", 10_000),
        ("d", 10_000),
    ]);
    node.begin("box", &["a"]);
    for component in ["d", "c", "b"] {
        node.pass(Duration::from_secs(60));
        node.use_once(&[component]);
    }
    let limit = |trees: u64| Limits {
        disk: Some(node.stored() + trees * 10_000),
        keep: core(),
        retention_of: [(name("b"), Duration::from_secs(1))].into(),
        ..Limits::default()
    };
    let tidied = node.store.tidy(&limit(5)).unwrap();
    assert!(tidied.unloaded.is_empty(), "{tidied:?}");
    node.pass(Duration::from_secs(2));
    // b's retention is over, though it was used last; then d, which was used before c
    let tidied = node.store.tidy(&limit(4)).unwrap();
    assert_eq!(names(&tidied.unloaded), ["b"]);
    assert_eq!((tidied.unloaded_bytes, tidied.disk_over), (10_000, 0));
    let tidied = node.store.tidy(&limit(3)).unwrap();
    assert_eq!(names(&tidied.unloaded), ["d"]);
    // more than can be had: what is used and what is pinned stays
    let tidied = node.store.tidy(&limit(0)).unwrap();
    assert_eq!(names(&tidied.unloaded), ["c"]);
    assert_eq!(tidied.disk_over, 20_000);
    assert_eq!(node.loaded(), ["a", "core"]);
    assert!(node.store.verify(|_| {}).unwrap().is_intact());
    node.end("box");
    let tidied = node.store.tidy(&limit(0)).unwrap();
    assert_eq!(names(&tidied.unloaded), ["a"]);
    node.use_once(&["a", "b", "c", "d"]);
    assert_eq!(node.loaded().len(), 5);
    assert!(node.store.verify(|_| {}).unwrap().is_intact());
}

#[test]
fn room_on_the_file_system_is_kept_free() {
    let node = Node::new(&[("a", 1000), ("b", 1000)]);
    let limits = Limits {
        disk_free: Some(0),
        ..Limits::default()
    };
    assert!(node.store.tidy(&limits).unwrap().unloaded.is_empty());
    let limits = Limits {
        disk_free: Some(u64::MAX),
        ..Limits::default()
    };
    let tidied = node.store.tidy(&limits).unwrap();
    assert_eq!(tidied.unloaded.len(), 2);
    assert!(tidied.disk_over > 0);
}

#[test]
fn a_clock_that_was_wrong_keeps_nothing_for_ever() {
    let node = Node::new(&[("a", 10_000), ("b", 10_000)]);
    node.pass(Duration::from_secs(86_400 * 3650));
    node.use_once(&["a"]);
    node.clock.store(BEGIN + 1000, Ordering::Relaxed);
    node.use_once(&["b"]);
    let all = Limits {
        disk: Some(node.stored() + 20_000),
        ..Limits::default()
    };
    node.store.tidy(&all).unwrap();
    node.pass(Duration::from_secs(299));
    node.use_once(&["b"]);
    node.pass(Duration::from_secs(2));
    let one = Limits {
        disk: Some(node.stored() + 10_000),
        ..Limits::default()
    };
    let tidied = node.store.tidy(&one).unwrap();
    assert_eq!(
        names(&tidied.unloaded),
        ["a"],
        "its use was ten years ahead"
    );
}

#[test]
fn memory_is_given_back_when_retention_is_over_and_where_a_limit_asks() {
    // on a disk: what is in a tmpfs cannot be evicted
    let here = std::env::current_dir().unwrap();
    let place = Place::at(&here);
    let clock = Arc::new(AtomicU64::new(BEGIN));
    let store = place.store().with_clock(Arc::clone(&clock));
    let pages = 64 << 10;
    let mut components = Vec::new();
    for (seed, name) in ["a", "b", "c"].iter().enumerate() {
        let artifact = place.artifact(name, &sized(seed, pages));
        let digest = store.ingest(std::slice::from_ref(&artifact)).unwrap()[0];
        components.push((artifact, digest));
    }
    let trees: Vec<_> = components
        .iter()
        .map(|(artifact, _)| artifact.manifest.layer.diff_id)
        .collect();
    let cached = || {
        trees
            .iter()
            .map(|tree| store.cached_bytes(tree).unwrap())
            .collect::<Vec<_>>()
    };
    let full = pages as u64;
    assert_eq!(cached(), [full; 3]);
    lease(&store, "box", &components[0].0, components[0].1).unwrap();
    store.tidy(&Limits::default()).unwrap();
    assert_eq!(cached(), [full; 3], "retention is not over");
    clock.fetch_add(1000, Ordering::Relaxed);
    lease(&store, "other", &components[1].0, components[1].1).unwrap();
    store.release("other").unwrap();
    let memory = Some(MemoryLimits {
        soft: 2 * full,
        target: 2 * full,
    });
    let tidied = store
        .tidy(&Limits {
            memory,
            ..Limits::default()
        })
        .unwrap();
    assert_eq!(
        (names(&tidied.evicted), tidied.evicted_bytes),
        (vec!["c"], full)
    );
    assert_eq!(cached(), [full, full, 0]);
    let memory = Some(MemoryLimits { soft: 0, target: 0 });
    let tidied = store
        .tidy(&Limits {
            memory,
            ..Limits::default()
        })
        .unwrap();
    assert_eq!(names(&tidied.evicted), ["b"]);
    assert_eq!(tidied.memory_over, full, "a is in use");
    store.read_ahead(&trees[1]).unwrap();
    let started = std::time::Instant::now();
    while cached()[1] < full {
        assert!(started.elapsed().as_secs() < 20, "it is never read");
    }
    store.release("box").unwrap();
    lease(&store, "other", &components[1].0, components[1].1).unwrap();
    store.release("other").unwrap();
    clock.fetch_add(300_000, Ordering::Relaxed);
    let tidied = store.tidy(&Limits::default()).unwrap();
    assert_eq!(names(&tidied.evicted), ["a", "b"]);
    assert_eq!(cached(), [0; 3]);
    assert!(
        store.verify(|_| {}).unwrap().is_intact(),
        "the disk has them"
    );
}

#[test]
fn a_component_that_is_used_is_not_unloaded_and_says_by_whom() {
    let node = Node::new(&[("a", 1000)]);
    node.begin("box", &["a"]);
    let error = node.store.unload(&name("a")).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error:?}");
    assert!(error.to_string().contains("`box`"), "{error}");
    let error = node.store.unload(&name("none")).unwrap_err();
    assert!(matches!(error, StoreError::Unknown { .. }), "{error:?}");
}

/// One thing that happens on a node.
#[derive(Debug, Clone)]
enum Event {
    /// A container begins, with components of these numbers.
    Begin(u8, Vec<usize>),
    /// A container ends.
    End(u8),
    /// The machine of a container is gone without a word; its lease is swept.
    Crash(u8),
    /// Somebody asks for a component.
    Unload(usize),
    Load(usize),
    /// Milliseconds pass; the clock may also be put back.
    Pass(i64),
    Tidy,
    /// The configured limit of the disk, in components.
    Limit(u64),
    Collect,
}

const COUNT: usize = 8;
const SIZE: usize = 3000;

fn event() -> impl Strategy<Value = Event> {
    let some = || prop::collection::vec(0..COUNT, 1..4);
    prop_oneof![
        6 => (0_u8..12, some()).prop_map(|(key, some)| Event::Begin(key, some)),
        5 => (0_u8..12).prop_map(Event::End),
        1 => (0_u8..12).prop_map(Event::Crash),
        1 => (0..COUNT).prop_map(Event::Unload),
        1 => (0..COUNT).prop_map(Event::Load),
        // a day in about ninety steps of a quarter of an hour at most
        6 => (0_i64..1_800_000).prop_map(Event::Pass),
        1 => (-4_000_000_i64..0).prop_map(Event::Pass),
        4 => Just(Event::Tidy),
        1 => (0..=COUNT as u64).prop_map(Event::Limit),
        1 => Just(Event::Collect),
    ]
}

/// What must be true after every event.
fn check(node: &Node, holders: &BTreeMap<u8, Vec<usize>>, limit: u64, tidy: bool) {
    let usages = node
        .store
        .usages(&Limits {
            keep: core(),
            ..Limits::default()
        })
        .unwrap();
    let used: Vec<BTreeSet<usize>> = holders
        .values()
        .map(|some| some.iter().copied().collect())
        .collect();
    for (number, usage) in usages.iter().enumerate() {
        let count = used.iter().filter(|some| some.contains(&number)).count();
        assert_eq!(usage.users, count, "users of {usage:?} are what leases say");
        if count > 0 {
            assert!(usage.loaded, "{usage:?} is in use");
            let tree = node.store.tree_path(&usage.diff_id);
            let about = fs::metadata(tree.join("data/file")).unwrap();
            assert_eq!(about.len(), SIZE as u64, "{usage:?} is whole");
        }
    }
    if tidy {
        let bytes: u64 = usages.iter().map(|usage| usage.stored + usage.plain).sum();
        let free = |usage: &&Usage| usage.loaded && usage.users == 0 && !usage.pinned;
        let left = usages.iter().filter(free).count();
        assert!(
            bytes <= limit || left == 0,
            "{bytes} are over {limit}, and {left} could go"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_day_of_a_node(events in prop::collection::vec(event(), 120)) {
        let all: Vec<String> = (0..COUNT).map(|n| if n == 0 { "core".to_owned() } else { format!("x{n}") }).collect();
        let sized: Vec<(&str, usize)> = all.iter().map(|name| (name.as_str(), SIZE)).collect();
        let node = Node::new(&sized);
        let stored = node.stored();
        let mut holders: BTreeMap<u8, Vec<usize>> = BTreeMap::new();
        let mut limits = Limits { keep: core(), ..Limits::default() };
        for event in events {
            let mut tidy = false;
            match event {
                Event::Begin(key, some) => {
                    let names: Vec<&str> = some.iter().map(|number| all[*number].as_str()).collect();
                    node.begin(&key.to_string(), &names);
                    holders.insert(key, some);
                }
                Event::End(key) => {
                    let there = node.store.release(&key.to_string()).unwrap();
                    prop_assert_eq!(there, holders.remove(&key).is_some());
                }
                Event::Crash(key) => {
                    let own = key.to_string();
                    let swept = node.store.sweep(|lease| lease.key != own).unwrap();
                    prop_assert_eq!(swept.len(), usize::from(holders.remove(&key).is_some()));
                }
                Event::Unload(number) => {
                    let used = holders.values().any(|some| some.contains(&number));
                    match node.store.unload(&name(&all[number])) {
                        Ok(_) => prop_assert!(!used),
                        Err(StoreError::InUse { .. }) => prop_assert!(used),
                        Err(error) => panic!("{error:?}"),
                    }
                }
                Event::Load(number) => {
                    let component = &node.components[&all[number]];
                    node.store.load(component, &LoadOptions::default()).unwrap();
                }
                Event::Pass(millis) => {
                    let now = node.clock.load(Ordering::Relaxed);
                    node.clock.store(now.saturating_add_signed(millis), Ordering::Relaxed);
                }
                Event::Tidy => {
                    let before = node.loaded().len();
                    let tidied = node.store.tidy(&limits).unwrap();
                    prop_assert_eq!(before - tidied.unloaded.len(), node.loaded().len());
                    tidy = true;
                }
                Event::Limit(trees) => limits.disk = Some(stored + trees * SIZE as u64),
                Event::Collect => {
                    let removed = node.store.remove_unreferenced().unwrap();
                    prop_assert_eq!(removed, fragment_store::Removed::default());
                }
            }
            check(&node, &holders, limits.disk.unwrap_or(u64::MAX), tidy);
        }
        for key in holders.keys() {
            node.end(&key.to_string());
        }
        let report = node.store.verify(|_| ()).unwrap();
        prop_assert!(report.is_intact());
    }
}
