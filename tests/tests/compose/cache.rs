//! Plans that are kept: the second start of the same thing decides nothing anew, and decides the same.

use std::fs;
use std::time::Duration;

use fragment_tests::{Scene, fragment};
use serde_json::Value;

/// Starts the scene's container under strace(1) with plans kept in the scene; returns what was opened to be read in the rootfs
/// (look-ups open with `O_PATH`), and the plan.
fn start(scene: &Scene) -> (Vec<String>, Value) {
    let log = scene.file("trace");
    let strace = format!(
        "exec strace -qq -e trace=openat2 -o {} \"$@\"",
        log.display()
    );
    scene
        .create_call(&[])
        .env("FRAGMENT_STATE", scene.file("kept"))
        .within(&strace)
        .output()
        .ok();
    let inspected = fragment::call(&["inspect", "--json", "--root"])
        .args([scene.runtime.root().to_str().expect("UTF-8"), &scene.id])
        .output();
    let plan = inspected.ok().json()["composition"]["plan"].clone();
    scene.call(["delete", "-f", &scene.id]).output().ok();
    let read = fs::read_to_string(log)
        .expect("strace's log")
        .lines()
        .filter(|line| line.contains("RESOLVE_IN_ROOT") && !line.contains("O_PATH"))
        .map(str::to_owned)
        .collect();
    (read, plan)
}

/// Rootfs and times have settled: what changed a moment ago is not relied on.
fn settle() {
    std::thread::sleep(Duration::from_millis(200));
}

fn kept(scene: &Scene) -> usize {
    fs::read_dir(scene.file("kept/plans")).map_or(0, Iterator::count)
}

#[test]
fn a_second_start_reads_no_file_of_the_rootfs_and_plans_the_same() {
    let scene = Scene::only("/usr/bin/openssl", &["version"]);
    settle();
    let (read, first) = start(&scene);
    assert!(
        read.iter().any(|line| line.contains("/usr/bin/openssl")),
        "the entry was parsed: {read:#?}"
    );
    assert_eq!(kept(&scene), 1);
    let (read, second) = start(&scene);
    assert_eq!(read, Vec::<String>::new());
    assert_eq!(first, second);
    assert!(
        first["layers"]
            .as_array()
            .is_some_and(|layers| layers.len() > 1)
    );
}

#[test]
fn what_decides_makes_a_new_plan() {
    let mut scene = Scene::only("/usr/bin/openssl", &["version"]);
    settle();
    let (_, first) = start(&scene);
    let with = |plan: &Value, name: &str| {
        let layers = plan["layers"].as_array().expect("layers");
        layers.iter().any(|layer| layer["name"] == name)
    };
    assert!(!with(&first, "tzdata"));
    // the environment
    scene.bundle.edit(|spec| {
        spec["process"]["env"] = serde_json::json!(["PATH=/usr/bin", "TZ=Europe/Berlin"]);
    });
    let (read, second) = start(&scene);
    assert!(!read.is_empty() && with(&second, "tzdata"), "{second:#}");
    // the policy
    scene.bundle.edit(|spec| {
        spec["annotations"] = serde_json::json!({"dev.fragment.exclude": "tzdata"});
    });
    let (read, third) = start(&scene);
    assert!(!read.is_empty() && !with(&third, "tzdata"), "{third:#}");
    assert_eq!(kept(&scene), 3);
    // the entry itself, by another file of the same name
    let entry = scene.bundle.rootfs().join("usr/bin/openssl");
    fs::remove_file(&entry).expect("remove the entry");
    fs::copy("/usr/bin/sleep", &entry).expect("another entry");
    scene.bundle.note(&entry);
    settle();
    let (read, fourth) = start(&scene);
    assert!(!read.is_empty(), "the new entry was parsed");
    assert_ne!(first["layers"], fourth["layers"]);
}

#[test]
fn a_damaged_entry_is_made_anew() {
    let scene = Scene::only("/usr/bin/openssl", &["version"]);
    settle();
    let (_, first) = start(&scene);
    let entry = fs::read_dir(scene.file("kept/plans"))
        .expect("kept plans")
        .next()
        .expect("one")
        .expect("an entry")
        .path();
    let mut text = fs::read(&entry).expect("the entry");
    let middle = text.len() / 2;
    text[middle] ^= 1;
    fs::write(&entry, text).expect("damage it");
    let (read, second) = start(&scene);
    assert!(!read.is_empty());
    assert_eq!(first, second);
    assert_eq!(start(&scene).0, Vec::<String>::new(), "mended");
}
