//! How often components are used is known, costs a few bytes each, and is nothing where it cannot be read.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fragment_store::{Limits, LoadOptions, ONE_USE, Usage};

use crate::life::{BEGIN, Node};
use crate::sample::name;

const DAY: Duration = Duration::from_secs(86_400);

impl Node {
    fn usage(&self, name: &str) -> Usage {
        let usages = self.store.usages(&Limits::default()).unwrap();
        let mut found = usages.into_iter().filter(|one| one.name.as_str() == name);
        found.next().unwrap()
    }

    fn score(&self, name: &str) -> u64 {
        self.usage(name).score
    }

    fn uses(&self, name: &str) -> PathBuf {
        let hex = self.components[name].diff_id.hex();
        self.store.root().join("uses").join(hex)
    }
}

#[test]
fn uses_are_counted_when_they_end_and_fade() {
    let node = Node::new(&[("a", 100), ("b", 100), ("c", 100)]);
    assert_eq!(node.score("a"), 0, "a component that is new was not used");
    node.begin("box", &["a", "b"]);
    assert_eq!(node.score("a"), 0, "its use has not ended");
    node.end("box");
    node.use_once(&["a"]);
    assert_eq!((node.score("a"), node.score("b")), (2 * ONE_USE, ONE_USE));
    node.pass(DAY);
    assert_eq!((node.score("a"), node.score("b")), (ONE_USE, ONE_USE / 2));
    // a container that is gone without a word has used them too
    node.begin("box", &["b", "c"]);
    node.store.sweep(|_| false).unwrap();
    assert_eq!((node.score("b"), node.score("c")), (1500, ONE_USE));
    node.pass(DAY * 100);
    assert_eq!(node.score("a"), 0);
    assert_eq!(node.usage("c").last_used, BEGIN + 86_400_000);
}

#[test]
fn a_load_is_no_use_and_its_time_is_kept() {
    let node = Node::new(&[("a", 100)]);
    let component = &node.components["a"];
    assert_eq!(node.usage("a").loads, None);
    node.use_once(&["a"]);
    for count in 1..4 {
        node.store.unload(&name("a")).unwrap();
        let load = node.store.load(component, &LoadOptions::default()).unwrap();
        let fragment_store::Load::Unpacked { time, .. } = load else {
            panic!("{load:?}");
        };
        let times = node.usage("a").loads.unwrap();
        assert_eq!(times.count, count);
        assert_eq!(times.last().as_micros(), time.as_micros());
        assert!(times.mean() > Duration::ZERO && times.total_micros >= times.last_micros);
        assert_eq!(node.store.load_times(&component.diff_id), Some(times));
    }
    assert_eq!(node.score("a"), ONE_USE);
    node.use_once(&["a"]);
    assert_eq!(node.score("a"), 2 * ONE_USE);
    assert_eq!(node.usage("a").loads.unwrap().count, 3);
}

#[test]
fn history_does_not_grow_and_goes_with_its_component() {
    let node = Node::new(&[("a", 100), ("b", 100)]);
    for _ in 0..100 {
        node.use_once(&["a", "b"]);
    }
    let length = fs::metadata(node.uses("a")).unwrap().len();
    assert!(length <= 64, "{length}");
    assert_eq!(node.score("a"), 100 * ONE_USE);
    node.store.remove(&name("a")).unwrap();
    node.begin("box", &["b"]);
    node.store.remove(&name("b")).unwrap();
    node.store.remove_unreferenced().unwrap();
    assert!(!node.uses("a").exists());
    assert!(node.uses("b").exists(), "b is in use");
    node.end("box");
    node.store.remove_unreferenced().unwrap();
    assert_eq!(
        fs::read_dir(node.store.root().join("uses"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn what_cannot_be_read_is_no_history() {
    let node = Node::new(&[("a", 100)]);
    let path = node.uses("a");
    node.use_once(&["a"]);
    let whole = fs::read(&path).unwrap();
    let long = [whole.clone(), vec![0xff; 1 << 20]].concat();
    for (what, content, score) in [
        ("nothing", vec![], 0),
        ("zeros", vec![0; 64], 0),
        ("one half", whole[..16].to_vec(), 0),
        ("text", b"1000 uses\n".repeat(100), 0),
        ("a tail", long, ONE_USE),
    ] {
        fs::write(&path, content).unwrap();
        assert_eq!(node.score("a"), score, "{what}");
        node.use_once(&["a"]);
        assert_eq!(node.score("a"), score + ONE_USE, "{what}");
    }
    // something else than a file
    let make: [(&str, &dyn Fn()); 3] = [
        ("a directory", &|| fs::create_dir(&path).unwrap()),
        ("a link", &|| {
            std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        }),
        ("a fifo", &|| {
            let made = std::process::Command::new("mkfifo").arg(&path).status();
            assert!(made.unwrap().success());
        }),
    ];
    let before = fs::metadata("/etc/passwd").unwrap();
    for (what, make) in make {
        fs::remove_file(&path).unwrap();
        make();
        node.use_once(&["a"]);
        assert_eq!(
            (node.score("a"), node.usage("a").loads),
            (0, None),
            "{what}"
        );
        assert_eq!(node.usage("a").last_used, BEGIN, "{what}: when is noted");
        if path.is_dir() {
            fs::remove_dir(&path).unwrap();
            fs::write(&path, "").unwrap();
        }
    }
    let after = fs::metadata("/etc/passwd").unwrap();
    assert_eq!(before.mtime(), after.mtime());
    fs::remove_file(&path).unwrap();
    node.use_once(&["a"]);
    assert_eq!(node.score("a"), ONE_USE);
}

#[test]
fn counting_a_use_is_no_eviction() {
    let node = Node::new(&[("a", 4096)]);
    node.use_once(&["a"]);
    assert!(!node.usage("a").evicted);
    node.pass(Duration::from_secs(300));
    node.store.tidy(&Limits::default()).unwrap();
    assert!(node.usage("a").evicted);
    assert!(node.usage("a").evicted, "it was looked at");
    node.pass(Duration::from_secs(1));
    node.use_once(&["a"]);
    assert!(!node.usage("a").evicted);
    assert_eq!(
        node.score("a") / 10,
        2 * ONE_USE / 10 - 1,
        "300 s have passed"
    );
}

#[test]
fn a_clock_that_was_wrong_leaves_no_score_for_ever() {
    let node = Node::new(&[("a", 100), ("b", 100)]);
    node.pass(DAY * 3650);
    for _ in 0..50 {
        node.use_once(&["a"]);
    }
    node.clock.store(BEGIN, Ordering::Relaxed);
    node.use_once(&["b"]);
    let mut usages = node.store.usages(&Limits::default()).unwrap();
    assert!(usages[0].last_used > BEGIN);
    node.store.mend_times(&mut usages).unwrap();
    assert_eq!(
        (usages[0].last_used, node.usage("a").last_used),
        (BEGIN, BEGIN)
    );
    assert_eq!(node.score("a"), 50 * ONE_USE);
    for _ in 0..10 {
        node.pass(DAY);
        node.use_once(&["b"]);
    }
    assert!(node.score("a") < node.score("b") / 10, "a fades as all do");
    // and a use at a time that is long ago is nothing to worry about
    node.clock.store(0, Ordering::Relaxed);
    node.use_once(&["a"]);
    assert!(node.score("a") >= ONE_USE);
    node.clock.store(BEGIN + 20 * 86_400_000, Ordering::Relaxed);
    assert_eq!(node.score("a"), 0);
}
