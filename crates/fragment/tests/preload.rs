//! Preloading by the history of use, and loads that take longer than they should, with a library made on the spot.

#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml allows it in tests; helpers of an integration test do not count as such"
)]

mod sample;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use fragment::adaptive::{Adaptive, Stopped, Why};
use fragment::pressure::{Machine, Percent, Pressure, PressureError};
use fragment::settings::Settings;
use fragment::settings::life::Declared;
use fragment::store::{Holder, LeasedComponent, Load, Store};
use fragment::{Manager, Task};

use sample::{component, name};

const DAY: Duration = Duration::from_secs(86_400);

struct Node {
    _directory: tempfile::TempDir,
    settings: Settings,
}

impl Node {
    /// With components that were used four times (core), three times (tool) and once (other), and are not loaded.
    fn new() -> Self {
        // on a disk: what is in a tmpfs cannot be evicted
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let artifacts = [
            component(directory.path(), "core", "echo", &["process_execution"]),
            component(directory.path(), "tool", "tool", &[]),
            component(directory.path(), "other", "other", &[]),
            component(directory.path(), "unused", "unused", &[]),
        ];
        let store = Store::open_or_create(directory.path().join("library")).unwrap();
        store.ingest(&artifacts).unwrap();
        let mut settings = Settings {
            store: store.root().to_owned(),
            state: directory.path().join("state"),
            ..Settings::default()
        };
        settings.life.disk.min_free = 0;
        let node = Self {
            _directory: directory,
            settings,
        };
        let manager = node.manager();
        for command in ["tool", "tool", "tool", "other"] {
            let task = Task::new([command]).unwrap();
            drop(manager.process_task(&task).unwrap());
        }
        node.unload();
        node
    }

    fn unload(&self) {
        for component in self.manager().components().unwrap() {
            self.manager().unload(&component.name).unwrap();
        }
    }

    fn manager(&self) -> Manager {
        Manager::open(self.settings.clone()).unwrap()
    }

    fn preload(&self, machine: Machine) -> Adaptive {
        let mut look = || Ok(machine);
        self.manager().preload_adaptive_on(&mut look).unwrap()
    }

    fn loaded(&self) -> Vec<String> {
        let all = fragment::life::status(&self.store(), &self.settings.life).unwrap();
        let loaded = all.into_iter().filter(|one| one.usage.loaded);
        loaded.map(|one| one.usage.name.to_string()).collect()
    }

    fn store(&self) -> Store {
        Store::open(&self.settings.store).unwrap()
    }

    /// Bytes of layers in the library.
    fn stored(&self) -> u64 {
        let components = self.manager().components().unwrap();
        components.iter().map(|one| one.size.stored).sum()
    }

    fn files(&self, component: &str) -> u64 {
        self.store().component(&name(component)).unwrap().size.plain
    }

    fn slow_loads(&self) -> u64 {
        let counted = self.manager().node_metrics();
        let mut counters = counted.counters.iter();
        let slow = counters.find(|one| one.name == "component_slow_loads_total");
        slow.unwrap().value
    }
}

fn machine(memory: u8, io: u8) -> Machine {
    Machine {
        pressure: Some(Pressure {
            memory: Percent::whole(memory),
            io: Percent::whole(io),
        }),
        memory: 8 << 30,
        available: 4 << 30,
    }
}

fn preloaded(adaptive: &Adaptive) -> Vec<&str> {
    let names = adaptive.preloaded.iter().map(|one| one.name.as_str());
    names.collect()
}

fn left(adaptive: &Adaptive) -> Vec<(&str, &Why)> {
    let all = adaptive.left.iter();
    all.map(|one| (one.name.as_str(), &one.why)).collect()
}

#[test]
fn what_was_used_most_is_loaded_first_and_what_was_not_used_stays() {
    let node = Node::new();
    let adaptive = node.preload(machine(0, 0));
    assert_eq!(preloaded(&adaptive), ["core", "tool", "other"]);
    assert_eq!(
        (&adaptive.left[..], &adaptive.stopped),
        (&[][..], &Stopped::Done)
    );
    for one in &adaptive.preloaded {
        assert!(matches!(one.load, Load::Unpacked { .. }), "{one:?}");
    }
    assert_eq!(node.loaded(), ["core", "other", "tool"]);
    let again = node.preload(machine(0, 0));
    assert_eq!(
        (preloaded(&again), &again.stopped),
        (vec![], &Stopped::Done)
    );
    // a load is no use: nothing keeps itself alive
    let scores = |adaptive: &Adaptive| {
        adaptive
            .preloaded
            .iter()
            .map(|one| one.score)
            .collect::<Vec<_>>()
    };
    node.unload();
    let later = node.preload(machine(0, 0));
    let pairs = scores(&adaptive).into_iter().zip(scores(&later));
    assert!(pairs.into_iter().all(|(before, now)| now <= before));
}

#[test]
fn this_machine_is_asked_where_nobody_brings_another() {
    let mut node = Node::new();
    let preload = &mut node.settings.life.preload;
    (preload.memory_pressure, preload.io_pressure) = (0, 100);
    let adaptive = node.manager().preload_adaptive().unwrap();
    assert!(
        matches!(adaptive.stopped, Stopped::MemoryPressure { .. }),
        "{adaptive:?}"
    );
    let text = serde_json::to_value(&adaptive).unwrap();
    assert_eq!(text["stopped"]["reason"], "memory-pressure");
    assert_eq!(text["stopped"]["limit"], 0.0);
    assert_eq!(node.loaded(), [""; 0]);
}

#[test]
fn pressure_that_comes_meanwhile_ends_it() {
    let node = Node::new();
    let mut looks = vec![machine(0, 90), machine(4, 19), machine(0, 0)];
    let mut look = || Ok(looks.pop().unwrap());
    let adaptive = node.manager().preload_adaptive_on(&mut look).unwrap();
    assert_eq!(preloaded(&adaptive), ["core", "tool"]);
    let stopped = Stopped::IoPressure {
        now: Some(Percent::whole(90)),
        limit: Percent::whole(20),
    };
    assert_eq!(adaptive.stopped, stopped);
    assert_eq!(node.loaded(), ["core", "tool"]);
}

#[test]
fn a_machine_that_cannot_be_asked_is_left_alone() {
    let node = Node::new();
    let mut looks = 0;
    let mut look = || {
        looks += 1;
        match looks {
            1 => Ok(machine(0, 0)),
            _ => Err(PressureError::Read {
                path: "/proc/pressure/io".into(),
                source: std::io::ErrorKind::InvalidData.into(),
            }),
        }
    };
    let adaptive = node.manager().preload_adaptive_on(&mut look).unwrap();
    assert_eq!(preloaded(&adaptive), ["core"]);
    assert!(
        matches!(adaptive.stopped, Stopped::Unknown { .. }),
        "{adaptive:?}"
    );
}

#[test]
fn without_pressure_a_quarter_of_the_memory_has_to_stay_available() {
    let node = Node::new();
    let of_memory = |part: u64, pressure: Option<Pressure>| Machine {
        pressure,
        memory: 100 << 20,
        available: (100 << 20) * part / 100,
    };
    let adaptive = node.preload(of_memory(24, None));
    assert_eq!(preloaded(&adaptive), [""; 0]);
    assert!(
        left(&adaptive)
            .iter()
            .all(|(_, why)| matches!(why, Why::Available { room: 0, .. }))
    );
    assert_eq!(adaptive.left.len(), 3);
    assert_eq!(
        (adaptive.pressure, &adaptive.stopped),
        (None, &Stopped::Done)
    );
    assert_eq!(
        node.preload(of_memory(9, machine(0, 0).pressure)).preloaded,
        []
    );
    assert_eq!(
        node.preload(of_memory(11, machine(0, 0).pressure))
            .preloaded
            .len(),
        3
    );
    node.unload();
    assert_eq!(node.preload(of_memory(26, None)).preloaded.len(), 3);
}

#[test]
fn limits_of_the_disk_hold_and_nothing_goes_for_it() {
    let mut node = Node::new();
    // loaded and used by nobody: the first to go, if anything had to
    node.manager().preload(&[name("unused")]).unwrap();
    let all: u64 = ["unused", "core", "other"]
        .map(|one| node.files(one))
        .iter()
        .sum();
    node.settings.life.disk.limit = Some(node.stored() + all);
    let adaptive = node.preload(machine(0, 0));
    assert_eq!(preloaded(&adaptive), ["core", "tool"]);
    let [("other", Why::Disk { bytes, room })] = left(&adaptive)[..] else {
        panic!("{adaptive:?}");
    };
    assert!(*bytes == node.files("other") && room < bytes);
    assert_eq!(node.loaded(), ["core", "tool", "unused"]);
    // nor has anything to go after it, and what comes next finds it as it is
    for _ in 0..3 {
        let collected = node.manager().cleanup_unused().unwrap();
        assert_eq!(collected.tidied.unloaded, []);
        assert_eq!(node.preload(machine(0, 0)).preloaded, []);
    }
    node.unload();
    node.settings.life.disk.limit = None;
    node.settings.life.disk.min_free = u64::MAX;
    let adaptive = node.preload(machine(0, 0));
    assert_eq!(preloaded(&adaptive), [""; 0]);
    assert_eq!(left(&adaptive).len(), 3);
    assert_eq!(node.loaded(), [""; 0]);
}

#[test]
fn the_memory_s_limit_holds_and_nothing_has_to_go_after_it() {
    let mut node = Node::new();
    let two = node.files("core") + node.files("tool");
    node.settings.life.memory.soft_limit = Some(10 * two);
    node.settings.life.memory.target = Some(two);
    let adaptive = node.preload(machine(0, 0));
    assert_eq!(preloaded(&adaptive), ["core", "tool"]);
    assert!(matches!(
        left(&adaptive)[..],
        [("other", Why::Memory { .. })]
    ));
    let collected = node.manager().cleanup_unused().unwrap();
    assert_eq!(
        (&collected.tidied.evicted[..], collected.tidied.memory_over),
        (&[][..], 0)
    );
}

#[test]
fn what_retention_dropped_is_read_again_only_where_a_use_is_expected() {
    let mut node = Node::new();
    node.manager()
        .preload(&["core", "tool", "other"].map(name))
        .unwrap();
    node.settings.life.retention = Some(Duration::ZERO);
    let collected = node.manager().cleanup_unused().unwrap();
    assert_eq!(collected.tidied.evicted.len(), 2, "core always stays");
    for retention in [Duration::ZERO, Duration::from_secs(300)] {
        node.settings.life.retention = Some(retention);
        let adaptive = node.preload(machine(0, 0));
        assert_eq!(preloaded(&adaptive), [""; 0]);
        let retention_ms = u64::try_from(retention.as_millis()).unwrap();
        let why = Why::Retention { retention_ms };
        assert_eq!(left(&adaptive), [("tool", &why), ("other", &why)]);
    }
    // three uses within a day make one within six hours likely; one does not
    node.settings.life.retention = Some(DAY / 4);
    let adaptive = node.preload(machine(0, 0));
    assert_eq!(preloaded(&adaptive), ["tool"]);
    assert_eq!(adaptive.preloaded[0].load, Load::Present);
    assert!(adaptive.preloaded[0].bytes >= node.files("tool"));
    assert_eq!(left(&adaptive).len(), 1);
    // neither undoes what the other did, however often they take turns
    let started = std::time::Instant::now();
    while !node.preload(machine(0, 0)).preloaded.is_empty() {
        assert!(started.elapsed().as_secs() < 20, "it is never read");
    }
    for _ in 0..3 {
        assert_eq!(node.manager().cleanup_unused().unwrap().tidied.evicted, []);
        assert_eq!(node.preload(machine(0, 0)).preloaded, []);
    }
}

#[test]
fn a_component_that_is_not_to_be_preloaded_or_cannot_be_is_left() {
    let mut node = Node::new();
    let not = Declared {
        preload: Some(false),
        ..Declared::default()
    };
    node.settings.life.components.insert(name("core"), not);
    let manifest = node.manager().component(&name("tool")).unwrap().manifest;
    std::fs::remove_file(node.store().blob_path(&manifest.layer.digest)).unwrap();
    let adaptive = node.preload(machine(0, 0));
    assert_eq!(preloaded(&adaptive), ["other"]);
    let [("tool", Why::Failed { error })] = left(&adaptive)[..] else {
        panic!("{adaptive:?}");
    };
    assert!(
        error.contains("the layer of component `tool` is not in the library"),
        "{error}"
    );
    assert_eq!(adaptive.stopped, Stopped::Done);
}

#[test]
fn uses_at_a_time_that_is_yet_to_come_fade_from_now_on() {
    let node = Node::new();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap();
    let clock = |time: Duration| Arc::new(AtomicU64::new(u64::try_from(time.as_millis()).unwrap()));
    let ahead = node.store().with_clock(clock(now + DAY * 3650));
    let component = LeasedComponent::from(ahead.component(&name("unused")).unwrap());
    for _ in 0..100 {
        let holder = Holder {
            runtime_root: "/nowhere".into(),
            id: "x".to_owned(),
            process: None,
        };
        ahead
            .lease("x", holder, std::slice::from_ref(&component), None)
            .unwrap();
        ahead.release("x").unwrap();
    }
    assert_eq!(preloaded(&node.preload(machine(0, 0)))[0], "unused");
    // ten days later, with a use of another every day
    let later = node.store().with_clock(clock(now + DAY * 10));
    let usages = later.usages(&fragment::store::Limits::default()).unwrap();
    let unused = usages
        .iter()
        .find(|one| one.name == name("unused"))
        .unwrap();
    assert!(unused.score < 200, "{unused:?}");
    assert!(unused.last_used < u64::try_from((now + DAY).as_millis()).unwrap());
}

#[test]
fn loads_that_take_longer_than_they_should_are_counted() {
    let mut node = Node::new();
    let expects = |load_time| Declared {
        load_time: Some(load_time),
        ..Declared::default()
    };
    let (none, long) = (Duration::from_nanos(1), Duration::from_secs(60));
    let load = |node: &Node| {
        node.unload();
        node.manager().preload(&["tool", "core"].map(name)).unwrap();
        node.slow_loads()
    };
    assert_eq!(load(&node), 0, "nothing is expected");
    node.settings
        .life
        .components
        .insert(name("tool"), expects(long));
    node.settings
        .life
        .components
        .insert(name("other"), expects(none));
    assert_eq!(load(&node), 0);
    node.settings
        .life
        .components
        .insert(name("tool"), expects(none));
    assert_eq!(load(&node), 1);
    // what is there takes no time
    node.manager().preload(&[name("tool")]).unwrap();
    assert_eq!(node.slow_loads(), 1);
    // the core component has an expectation of its own
    node.settings.life.core = expects(none);
    assert_eq!(load(&node), 3);
    node.unload();
    drop(
        node.manager()
            .process_task(&Task::new(["tool"]).unwrap())
            .unwrap(),
    );
    assert_eq!(node.slow_loads(), 5);
    node.unload();
    assert_eq!(node.preload(machine(0, 0)).preloaded.len(), 3);
    assert_eq!(node.slow_loads(), 8);
}
