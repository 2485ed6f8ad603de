//! Pure cgroup v2 with controllers, as on today's distributions. Left out where the machine has another layout.

use std::fs;
use std::path::{Path, PathBuf};

use fragment_tests::{Scene, child};
use serde_json::{Value, json};

/// A container that lives until it is killed, on a machine with pure cgroup v2.
fn scene() -> Option<Scene> {
    let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.subtree_control");
    let usable = controllers.is_ok_and(|text| text.contains("memory") && text.contains("pids"));
    if !usable || !rustix::process::geteuid().is_root() {
        println!("skipped: no pure cgroup v2 with controllers for root on this machine");
        return None;
    }
    Some(Scene::sleeper())
}

fn top(scene: &Scene) -> PathBuf {
    Path::new("/sys/fs/cgroup").join(&scene.id)
}

fn file(scene: &Scene, name: &str) -> String {
    let path = top(scene).join(name);
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.trim().to_owned()
}

/// Limits in config.json and what the files must then hold.
fn written(resources: &Value, expected: &[(&str, &str)]) {
    let Some(mut scene) = scene() else { return };
    scene.bundle.edit(|spec| {
        for (key, value) in resources.as_object().unwrap() {
            spec["linux"]["resources"][key] = value.clone();
        }
    });
    scene.create().ok();
    for (name, value) in expected {
        assert_eq!(file(&scene, name), *value, "{name}");
    }
    scene.delete();
}

#[test]
fn memory() {
    let limits = json!({ "memory": { "limit": 67_108_864, "reservation": 33_554_432, "swap": 100_663_296 } });
    let expected = [
        ("memory.max", "67108864"),
        ("memory.low", "33554432"),
        // v1 counts both together
        ("memory.swap.max", "33554432"),
    ];
    written(&limits, &expected);
}

#[test]
fn processor_time() {
    let limits = json!({ "cpu": { "shares": 1024, "quota": 50_000, "period": 100_000 } });
    written(
        &limits,
        &[("cpu.weight", "39"), ("cpu.max", "50000 100000")],
    );
}

#[test]
fn processors_and_memory_nodes() {
    let limits = json!({ "cpu": { "cpus": "0", "mems": "0" } });
    written(&limits, &[("cpuset.cpus", "0"), ("cpuset.mems", "0")]);
}

#[test]
fn number_of_processes() {
    written(&json!({ "pids": { "limit": 17 } }), &[("pids.max", "17")]);
}

#[test]
fn huge_pages() {
    if !Path::new("/sys/kernel/mm/hugepages/hugepages-2048kB").exists() {
        println!("skipped: this kernel has no huge pages of 2 MB");
        return;
    }
    let limits = json!({ "hugepageLimits": [{ "pageSize": "2MB", "limit": 4_194_304 }] });
    written(&limits, &[("hugetlb.2MB.max", "4194304")]);
}

#[test]
fn files_by_their_names() {
    let limits = json!({ "unified": { "memory.high": "50331648", "pids.max": "23", "cgroup.max.descendants": "7" } });
    let expected = [
        ("memory.high", "50331648"),
        ("pids.max", "23"),
        ("cgroup.max.descendants", "7"),
    ];
    written(&limits, &expected);
}

#[test]
fn a_file_that_does_not_exist_is_an_error() {
    let Some(mut scene) = scene() else { return };
    scene
        .bundle
        .edit(|spec| spec["linux"]["resources"]["unified"] = json!({ "memory.nothing": "1" }));
    scene.create().fails_with("memory.nothing");
    scene.nothing_left();
}

#[test]
fn limits_are_kept() {
    let Some(mut scene) = scene() else { return };
    // dd's buffer is touched: 64 MB do not fit
    scene
        .bundle
        .sh("dd if=/dev/zero of=/dev/null bs=64M count=1; echo status $?");
    let limit = json!({ "limit": 16_777_216, "swap": 16_777_216 });
    scene
        .bundle
        .edit(|spec| spec["linux"]["resources"]["memory"] = limit);
    scene.run().ok().stdout("status 137\n");
}

#[test]
fn a_device_that_is_not_allowed_cannot_be_used() {
    let Some(mut scene) = scene() else { return };
    // /dev/kmsg: c 1:11
    scene
        .bundle
        .sh("head -c 1 /dev/zero > /dev/null && mknod /dev/kmsg c 1 11 && head -c 1 /dev/kmsg");
    scene.bundle.capabilities(&["CAP_MKNOD", "CAP_SYSLOG"]);
    let output = scene.run();
    assert!(
        output.stderr.contains("Operation not permitted"),
        "{output}"
    );
    output.code(1);
}

#[test]
fn a_device_that_is_allowed_can_be_used() {
    let Some(mut scene) = scene() else { return };
    scene
        .bundle
        .sh("mknod /dev/kmsg c 1 11 && head -c 1 /dev/kmsg | wc -c");
    scene.bundle.capabilities(&["CAP_MKNOD", "CAP_SYSLOG"]);
    scene.bundle.edit(|spec| {
        spec["linux"]["resources"]["devices"] = json!([
            { "allow": false, "access": "rwm" },
            { "allow": true, "type": "c", "major": 1, "minor": 11, "access": "rwm" }
        ]);
    });
    scene.run().ok().stdout("1\n");
}

#[test]
fn pause_and_resume() {
    let Some(scene) = scene() else { return };
    scene.up().ready();
    scene.verb("pause", &[]).ok();
    assert_eq!(scene.status(), "paused");
    assert_eq!(file(&scene, "cgroup.freeze"), "1");
    scene.exec(&["true"]).fails_with("paused");
    scene.verb("resume", &[]).ok();
    assert_eq!(file(&scene, "cgroup.freeze"), "0");
    scene.exec(&["true"]).ok();
    scene.verb("pause", &[]).ok();
    scene.delete();
}

#[test]
fn update() {
    let Some(scene) = scene() else { return };
    scene.up().ready();
    let flags = [
        "--memory",
        "67108864",
        "--pids-limit",
        "30",
        "--cpu-quota",
        "70000",
        "--cpu-period",
        "100000",
        "--cpu-share",
        "512",
        "--cpuset-cpus",
        "0",
    ];
    scene.verb("update", &flags).ok();
    let expected = [
        ("memory.max", "67108864"),
        ("pids.max", "30"),
        ("cpu.max", "70000 100000"),
        ("cpu.weight", "20"),
        ("cpuset.cpus", "0"),
    ];
    for (name, value) in expected {
        assert_eq!(file(&scene, name), value, "{name}");
    }
    let resources =
        json!({ "memory": { "limit": 100_663_296 }, "pids": { "limit": -1 } }).to_string();
    let call = scene.call(["update", "--resources", "-", &scene.id]);
    call.stdin(resources).output().ok();
    assert_eq!(file(&scene, "memory.max"), "100663296");
    assert_eq!(file(&scene, "pids.max"), "max");
    scene.delete();
}

#[test]
fn statistics() {
    let Some(scene) = scene() else { return };
    scene.up().ready();
    let stats = scene.verb("events", &["--stats"]).ok().json();
    assert_eq!(stats["type"], json!("stats"));
    assert_eq!(stats["id"], json!(scene.id));
    let data = &stats["data"];
    assert!(
        data["cpu"]["usage"]["total"].as_u64().unwrap() > 0,
        "{stats}"
    );
    assert!(
        data["memory"]["usage"]["usage"].as_u64().unwrap() > 0,
        "{stats}"
    );
    assert_eq!(data["pids"]["current"], json!(2), "{stats}");
    scene.delete();
}

#[test]
fn processes_are_listed_and_all_killed() {
    let Some(mut scene) = scene() else { return };
    scene.bundle.without_namespace("pid");
    scene.up().ready();
    scene
        .exec_call(&["--detach"], &["sleep", "1000"])
        .output()
        .ok();
    let pids = scene.verb("ps", &["--format", "json"]).ok().json();
    let pids: Vec<u32> = serde_json::from_value(pids).unwrap();
    assert!(pids.contains(&scene.pid()) && pids.len() == 3, "{pids:?}");
    scene
        .call(["kill", "--all", &scene.id, "KILL"])
        .output()
        .ok();
    child::until("all are gone", || {
        !pids.iter().any(|pid| child::is_alive(*pid))
    });
    scene.delete();
}

#[test]
fn the_container_sees_its_own_cgroup_as_the_root() {
    let Some(mut scene) = scene() else { return };
    scene
        .bundle
        .sh("cat /proc/self/cgroup /sys/fs/cgroup/pids.max; echo 1 > /sys/fs/cgroup/pids.max");
    scene.bundle.namespace(json!({ "type": "cgroup" }));
    scene
        .bundle
        .edit(|spec| spec["linux"]["resources"]["pids"] = json!({ "limit": 23 }));
    let output = scene.run();
    output.code(1).stdout("0::/\n23\n");
    assert!(output.stderr.contains("Read-only file system"), "{output}");
}

#[test]
fn cgroups_the_container_made_go_with_it() {
    let Some(mut scene) = scene() else { return };
    scene.bundle.sh(
        "mkdir -p /sys/fs/cgroup/a/b && echo 0 > /sys/fs/cgroup/a/b/cgroup.procs; trap 'exit 0' TERM; \
         echo > /dev/shm/ready; while :; do sleep 1000 & wait $!; done",
    );
    scene.bundle.namespace(json!({ "type": "cgroup" }));
    scene.bundle.edit(|spec| {
        for mount in spec["mounts"].as_array_mut().unwrap() {
            if mount["destination"] == "/sys/fs/cgroup" {
                mount["options"] = json!(["nosuid", "noexec", "nodev"]);
            }
        }
    });
    scene.up().ready();
    assert!(top(&scene).join("a/b").is_dir());
    // exec goes where it can, though the first process has moved
    scene.exec(&["cat", "/proc/self/cgroup"]).ok().says("0::/");
    scene.delete();
    assert!(!top(&scene).exists());
}
