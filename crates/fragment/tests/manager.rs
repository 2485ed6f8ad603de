//! The manager as a program that embeds it uses it, with a library made on the spot.

#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml allows it in tests; helpers of an integration test do not count as such"
)]

mod sample;

use std::collections::BTreeSet;

use fragment::settings::Settings;
use fragment::store::{Load, Store, StoreError};
use fragment::{ComponentName, Manager, ManagerError, Task};

use sample::{component, name};

struct Node {
    directory: tempfile::TempDir,
    manager: Manager,
}

impl Node {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let artifacts = [
            component(directory.path(), "core", "echo", &["process_execution"]),
            component(directory.path(), "tool", "tool", &[]),
            component(directory.path(), "other", "other", &[]),
        ];
        let store = Store::open_or_create(directory.path().join("library")).unwrap();
        store.ingest(&artifacts).unwrap();
        let settings = Settings {
            store: store.root().to_owned(),
            state: directory.path().join("state"),
            ..Settings::default()
        };
        let manager = Manager::open(settings).unwrap();
        Self { directory, manager }
    }
}

fn task(command: &str) -> Task {
    Task::new([command]).unwrap()
}

#[test]
fn a_fragment_has_its_components_unpacked_and_keeps_them() {
    let node = Node::new();
    let manager = &node.manager;
    manager.unload(&name("tool")).unwrap();
    let fragment = manager.process_task(&task("tool")).unwrap();
    let names: Vec<_> = fragment
        .components()
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(
        names.iter().copied().collect::<BTreeSet<_>>(),
        ["core", "tool"].into()
    );
    assert!(
        fragment
            .loads()
            .iter()
            .any(|load| matches!(load, Load::Unpacked { .. }))
    );
    assert!(!fragment.evidence().is_empty());
    assert_eq!(
        fragment.total_size(),
        fragment
            .components()
            .iter()
            .map(|one| one.size.plain)
            .sum::<u64>()
    );
    let info = manager.component(&name("tool")).unwrap();
    assert_eq!(
        (info.status.usage.users, info.status.usage.loaded),
        (1, true)
    );
    let error = manager.unload(&name("tool")).unwrap_err();
    assert!(
        matches!(error, ManagerError::Store(StoreError::InUse { .. })),
        "{error:?}"
    );
    drop(fragment);
    assert!(manager.unload(&name("tool")).unwrap() > 0);
    let error = manager.component(&name("none")).unwrap_err();
    assert_eq!(
        error.to_string().split(':').next(),
        Some("component `none` is not in the library")
    );
}

#[test]
fn a_batch_keeps_its_order_and_counts() {
    let node = Node::new();
    let tasks = ["echo", "none", "tool", "other", "echo"].map(task);
    let results = node.manager.process_batch(&tasks);
    let told: Vec<_> = results
        .iter()
        .map(|one| one.as_ref().map(|made| made.task().argv()[0].as_str()).ok())
        .collect();
    assert_eq!(
        told,
        [
            Some("echo"),
            None,
            Some("tool"),
            Some("other"),
            Some("echo")
        ]
    );
    let (first, last) = (results[0].as_ref().unwrap(), results[4].as_ref().unwrap());
    assert_eq!(first.id(), last.id());
    let info = node.manager.system_info().unwrap();
    assert_eq!(
        (info.components, info.loaded, info.in_use, info.leases),
        (3, 3, 3, 4)
    );
    assert!(node.manager.process_task(&tasks[0]).unwrap().is_cached());
    let metrics = node.manager.performance_metrics().unwrap();
    assert_eq!(
        (
            metrics.tasks_processed,
            metrics.fragments_created,
            metrics.tasks_failed
        ),
        (6, 5, 1)
    );
    assert!(
        metrics.cache_hit_rate > 0.0 && metrics.cache_hit_rate < 1.0,
        "{metrics:?}"
    );
    assert_eq!(metrics.components_loaded, 0, "all were unpacked");
    assert!(metrics.total_memory > 0);
    drop(results);
    assert_eq!(node.manager.system_info().unwrap().leases, 0);
    node.manager.shutdown().unwrap();
}

#[test]
fn limits_of_the_settings_hold_after_a_cleanup() {
    let node = Node::new();
    let mut settings = node.manager.settings().clone();
    let stored: u64 = node
        .manager
        .components()
        .unwrap()
        .iter()
        .map(|one| one.size.stored)
        .sum();
    settings.life.disk.limit = Some(stored);
    let manager = Manager::open(settings).unwrap();
    let held = manager.process_task(&task("tool")).unwrap();
    let collected = manager.cleanup_unused().unwrap();
    let unloaded: Vec<_> = collected
        .tidied
        .unloaded
        .iter()
        .map(ComponentName::as_str)
        .collect();
    assert_eq!(unloaded, ["other"], "core always stays, tool is held");
    drop(held);
    let again = manager.cleanup_unused().unwrap();
    assert_eq!(again.tidied.unloaded, [name("tool")]);
    // what is needed comes back
    assert!(manager.process_task(&task("other")).is_ok());
    let loads = manager.preload(&[name("tool")]).unwrap();
    assert!(matches!(loads[..], [Load::Unpacked { .. }]), "{loads:?}");
    assert!(matches!(
        manager.preload(&[name("none")]),
        Err(ManagerError::Store(StoreError::Unknown { .. }))
    ));
}

#[test]
fn components_are_taken_from_an_exported_layout() {
    let node = Node::new();
    let layout = node.directory.path().join("layout");
    Store::open(&node.manager.settings().store)
        .unwrap()
        .export(&layout, &[])
        .unwrap();
    let own = node.directory.path().join("own");
    Store::open_or_create(&own).unwrap();
    let settings = Settings {
        store: own,
        state: node.directory.path().join("state-of-own"),
        ..Settings::default()
    };
    let manager = Manager::open(settings).unwrap();
    assert!(manager.process_task(&task("tool")).is_err());
    let added = manager
        .add_component(&layout, &[name("core"), name("tool")])
        .unwrap();
    assert_eq!(
        added.iter().collect::<BTreeSet<_>>(),
        [&name("core"), &name("tool")].into()
    );
    assert!(
        manager
            .add_component(&layout, &[name("tool")])
            .unwrap()
            .is_empty(),
        "it is there"
    );
    assert!(manager.process_task(&task("tool")).is_ok());
    let error = manager.add_component(&layout, &[name("none")]).unwrap_err();
    assert!(
        matches!(error, ManagerError::Store(StoreError::Unknown { .. })),
        "{error:?}"
    );
}

#[test]
fn a_program_that_cannot_be_called_anew_runs_nothing() {
    let node = Node::new();
    let fragment = node.manager.process_task(&task("tool")).unwrap();
    // or this test would be run again, and that again
    let error = node.manager.run(&fragment).unwrap_err();
    assert!(matches!(error, ManagerError::NotBegun), "{error}");
    assert!(error.to_string().contains("fragment::begin"), "{error}");
}
