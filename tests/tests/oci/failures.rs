//! A create that fails at any stage: an error that names the cause, and nothing left, so that the id can be used again.

use fragment_tests::Scene;
use serde_json::{Value, json};

fn fails(change: impl FnOnce(&mut Value), words: &str) {
    let mut scene = Scene::sh("echo ran");
    let good = scene.bundle.spec().clone();
    scene.bundle.edit(change);
    scene.create().fails_with(words);
    scene.nothing_left();
    scene.run().fails_with(words);
    scene.nothing_left();
    scene.bundle.edit(|spec| *spec = good);
    scene.run().ok().stdout("ran\n");
}

#[test]
fn a_cpuset_that_the_machine_does_not_have() {
    if !std::path::Path::new("/sys/fs/cgroup/cpuset/cpuset.cpus").exists() {
        println!("skipped: no v1 controller cpuset on this machine");
        return;
    }
    fails(
        |spec| spec["linux"]["resources"]["cpu"] = json!({ "cpus": "4000-4001", "mems": "0" }),
        "cpuset",
    );
}

#[test]
fn a_sysctl_that_does_not_exist() {
    fails(
        |spec| spec["linux"]["sysctl"] = json!({ "net.ipv4.no_such_key": "1" }),
        "no such file or directory",
    );
}

#[test]
fn a_limit_that_nobody_may_set() {
    // above /proc/sys/fs/nr_open (getrlimit(2))
    let limit = json!([{ "type": "RLIMIT_NOFILE", "soft": 1_u64 << 40, "hard": 1_u64 << 40 }]);
    fails(
        |spec| spec["process"]["rlimits"] = limit,
        "operation not permitted",
    );
}

#[test]
fn the_last_of_several_mounts() {
    fails(
        |spec| {
            let mounts = spec["mounts"].as_array_mut().unwrap();
            mounts.push(json!({ "destination": "/mnt", "type": "tmpfs", "source": "tmpfs" }));
            mounts.push(json!({ "destination": "/mnt", "type": "tmpfs", "source": "x", "options": ["size=nonsense"] }));
        },
        "/mnt",
    );
}

#[test]
fn a_device_that_cannot_be_made() {
    fails(
        |spec| {
            spec["linux"]["devices"] =
                json!([{ "path": "/proc/no/device", "type": "c", "major": 1, "minor": 3 }]);
        },
        "/proc/no",
    );
}

#[test]
fn a_user_namespace_without_mappings() {
    fails(
        |spec| {
            spec["linux"]["namespaces"]
                .as_array_mut()
                .unwrap()
                .push(json!({ "type": "user" }));
        },
        "mapping",
    );
}

#[test]
fn a_working_directory_that_is_a_file() {
    fails(
        |spec| spec["process"]["cwd"] = json!("/etc/passwd"),
        "not a directory",
    );
}

#[test]
fn a_namespace_file_of_another_kind() {
    fails(
        |spec| {
            let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.retain(|namespace| namespace["type"] != "network");
            namespaces.push(json!({ "type": "network", "path": "/proc/self/ns/uts" }));
        },
        "invalid argument",
    );
}

#[test]
fn a_state_directory_that_cannot_be_made() {
    let scene = Scene::new();
    let call = scene
        .runtime
        .bare()
        .args(["--root", "/proc/no/state", "create", "--bundle"]);
    let output = call.args([scene.bundle.path()]).args([&scene.id]).output();
    assert!(
        output.status.code().is_some_and(|code| code != 0),
        "{output}"
    );
    assert!(output.stderr.contains("/proc/no"), "{output}");
}
