//! `--systemd-cgroup`: systemd makes the container's cgroup, as a scope. Needs systemd as process 1 and cgroup v2; as root by the
//! system's manager, otherwise by the user's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fragment_tests::{Scene, child};
use serde_json::{Value, json};

const SLICE: &str = "fragmenttests.slice";

/// A container that lives until it is killed, below systemd; `None` where there is none.
fn scene() -> Option<Scene> {
    let booted = Path::new("/run/systemd/system").is_dir();
    if !booted || !Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        println!("skipped: no systemd as process 1 with cgroup v2 on this machine");
        return None;
    }
    let mut scene = Scene::sleeper();
    if !rustix::process::geteuid().is_root() {
        if std::env::var_os("DBUS_SESSION_BUS_ADDRESS").is_none() {
            println!("skipped: this user has no session bus");
            return None;
        }
        scene = scene.rootless();
    }
    scene.runtime = scene.runtime.clone().flag("--systemd-cgroup").in_session();
    let path = format!("{SLICE}:test:{}", scene.id);
    scene
        .bundle
        .edit(|spec| spec["linux"]["cgroupsPath"] = json!(path));
    Some(scene)
}

fn systemctl(arguments: &[&str]) -> String {
    let mut command = Command::new("systemctl");
    if !rustix::process::geteuid().is_root() {
        command.arg("--user");
    }
    let output = command.args(arguments).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn unit(scene: &Scene) -> String {
    format!("test-{}.scope", scene.id)
}

fn property(scene: &Scene, name: &str) -> String {
    systemctl(&["show", "--value", "--property", name, &unit(scene)])
}

/// The cgroup of the container's first process.
fn cgroup(scene: &Scene) -> PathBuf {
    let text = fs::read_to_string(format!("/proc/{}/cgroup", scene.pid())).unwrap();
    let path = text.trim().trim_start_matches("0::/");
    Path::new("/sys/fs/cgroup").join(path)
}

fn file(scene: &Scene, name: &str) -> String {
    let path = cgroup(scene).join(name);
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.trim().to_owned()
}

/// No unit of the scene is known to systemd, not even a failed one.
#[track_caller]
fn no_unit(scene: &Scene) {
    child::until("the unit is gone", || {
        systemctl(&[
            "list-units",
            "--all",
            "--plain",
            "--no-legend",
            &format!("*{}*", scene.id),
        ])
        .is_empty()
    });
}

#[test]
fn the_scope_is_made_in_its_slice_and_goes_with_the_container() {
    let Some(scene) = scene() else { return };
    scene.up().ready();
    let path = cgroup(&scene);
    assert!(
        path.ends_with(format!("{SLICE}/{}", unit(&scene))),
        "{}",
        path.display()
    );
    assert_eq!(property(&scene, "ActiveState"), "active");
    assert_eq!(property(&scene, "Slice"), SLICE);
    // the container may make cgroups of its own there (systemd's CGROUP_DELEGATION.md)
    assert_eq!(property(&scene, "Delegate"), "yes");
    scene.call(["kill", &scene.id, "TERM"]).output().ok();
    scene.stopped();
    scene.verb("delete", &[]).ok();
    no_unit(&scene);
    assert!(!path.exists());
}

#[test]
fn delete_by_force_removes_the_unit() {
    let Some(scene) = scene() else { return };
    scene.up().ready();
    let path = cgroup(&scene);
    scene.delete();
    no_unit(&scene);
    assert!(!path.exists());
}

#[test]
fn run_in_the_foreground_leaves_no_unit() {
    let Some(mut scene) = scene() else { return };
    scene.bundle.sh("exit 5");
    scene.run().code(5);
    no_unit(&scene);
}

#[test]
fn a_failed_create_leaves_no_unit() {
    let Some(mut scene) = scene() else { return };
    scene.bundle.args(&["/bin/nothing"]);
    scene.create().fails_with("no such file or directory");
    scene.nothing_left();
    no_unit(&scene);
}

#[test]
fn limits_are_properties_of_the_unit() {
    let Some(mut scene) = scene() else { return };
    scene.bundle.edit(|spec| {
        spec["linux"]["resources"]["memory"] =
            json!({ "limit": 67_108_864, "reservation": 33_554_432 });
        spec["linux"]["resources"]["pids"] = json!({ "limit": 20 });
        spec["linux"]["resources"]["cpu"] =
            json!({ "shares": 1024, "quota": 50_000, "period": 100_000 });
    });
    scene.up().ready();
    assert_eq!(property(&scene, "MemoryMax"), "67108864");
    assert_eq!(property(&scene, "TasksMax"), "20");
    assert_eq!(property(&scene, "CPUQuotaPerSecUSec"), "500ms");
    assert_eq!(file(&scene, "memory.max"), "67108864");
    assert_eq!(file(&scene, "memory.low"), "33554432");
    assert_eq!(file(&scene, "pids.max"), "20");
    assert_eq!(file(&scene, "cpu.max"), "50000 100000");
    assert_eq!(file(&scene, "cpu.weight"), "39");
    scene.delete();
}

#[test]
fn a_processor_set() {
    let Some(mut scene) = scene() else { return };
    scene
        .bundle
        .edit(|spec| spec["linux"]["resources"]["cpu"] = json!({ "cpus": "0", "mems": "0" }));
    scene.up().ready();
    assert_eq!(property(&scene, "AllowedCPUs"), "0");
    assert_eq!(file(&scene, "cpuset.cpus.effective"), "0");
    scene.delete();
}

#[test]
fn update_changes_unit_and_cgroup() {
    let Some(mut scene) = scene() else { return };
    scene
        .bundle
        .edit(|spec| spec["linux"]["resources"]["pids"] = json!({ "limit": 20 }));
    scene.up().ready();
    let flags = [
        "--pids-limit",
        "30",
        "--memory",
        "67108864",
        "--cpu-quota",
        "70000",
        "--cpu-period",
        "100000",
    ];
    scene.verb("update", &flags).ok();
    assert_eq!(property(&scene, "TasksMax"), "30");
    assert_eq!(property(&scene, "MemoryMax"), "67108864");
    assert_eq!(file(&scene, "pids.max"), "30");
    assert_eq!(file(&scene, "memory.max"), "67108864");
    assert_eq!(file(&scene, "cpu.max"), "70000 100000");
    // what systemd does not know of it would undo here
    systemctl(&["daemon-reload"]);
    assert_eq!(file(&scene, "pids.max"), "30");
    assert_eq!(file(&scene, "cpu.max"), "70000 100000");
    scene.delete();
}

#[test]
fn pause_and_resume() {
    let Some(scene) = scene() else { return };
    scene.up().ready();
    scene.verb("pause", &[]).ok();
    assert_eq!(scene.status(), "paused");
    assert_eq!(file(&scene, "cgroup.freeze"), "1");
    scene.verb("resume", &[]).ok();
    assert_eq!(scene.status(), "running");
    scene.verb("pause", &[]).ok();
    scene.delete();
    no_unit(&scene);
}

#[test]
fn exec_joins_the_scope() {
    let Some(scene) = scene() else { return };
    scene.up().ready();
    let pid_file = scene.file("state/pid");
    let options = ["--detach", "--pid-file", pid_file.to_str().unwrap()];
    scene.exec_call(&options, &["sleep", "1000"]).output().ok();
    let pid = fs::read_to_string(&pid_file).unwrap();
    let of = |pid: &str| fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert_eq!(of(&pid), of(&scene.pid().to_string()));
    fs::remove_file(pid_file).unwrap();
    let ps = scene.verb("ps", &["--format", "json"]);
    let Value::Array(pids) = ps.ok().json() else {
        panic!("{ps}")
    };
    assert_eq!(pids.len(), 3, "the shell, its sleep, and ours: {ps}");
    scene.delete();
}

#[test]
fn slices_of_slices() {
    let Some(mut scene) = scene() else { return };
    let path = format!("fragmenttests-inner.slice:test:{}", scene.id);
    scene
        .bundle
        .edit(|spec| spec["linux"]["cgroupsPath"] = json!(path));
    scene.up().ready();
    let end = format!("{SLICE}/fragmenttests-inner.slice/{}", unit(&scene));
    assert!(
        cgroup(&scene).ends_with(end),
        "{}",
        cgroup(&scene).display()
    );
    scene.delete();
    no_unit(&scene);
}

#[test]
fn without_a_slice_and_without_a_path() {
    for path in [Some(format!(":test:{}", "ID")), None] {
        let Some(mut scene) = scene() else { return };
        let id = scene.id.clone();
        scene.bundle.edit(|spec| {
            let linux = spec["linux"].as_object_mut().unwrap();
            match &path {
                Some(path) => {
                    linux.insert("cgroupsPath".to_owned(), json!(path.replace("ID", &id)))
                }
                None => linux.remove("cgroupsPath"),
            };
        });
        scene.up().ready();
        let slice = if rustix::process::geteuid().is_root() {
            "system.slice"
        } else {
            "user.slice"
        };
        let (cgroup, name) = (cgroup(&scene), cgroup(&scene));
        let name = name.file_name().unwrap().to_string_lossy();
        assert!(
            name.ends_with(&format!("-{id}.scope")),
            "{}",
            cgroup.display()
        );
        assert!(
            cgroup.parent().unwrap().ends_with(slice),
            "{}",
            cgroup.display()
        );
        scene.delete();
        no_unit(&scene);
    }
}

#[test]
fn a_path_of_another_form_is_refused() {
    for path in ["/a/path", "a:b", "a:b:c:d"] {
        let Some(mut scene) = scene() else { return };
        scene
            .bundle
            .edit(|spec| spec["linux"]["cgroupsPath"] = json!(path));
        scene.create().fails_with(
            "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups",
        );
        scene.nothing_left();
    }
}

#[test]
fn annotations_are_properties() {
    let Some(mut scene) = scene() else { return };
    scene.bundle.edit(|spec| {
        spec["annotations"] = json!({
            "org.systemd.property.TimeoutStopUSec": "uint64 123456789",
            "org.systemd.property.CollectMode": "'inactive-or-failed'"
        });
    });
    scene.up().ready();
    assert_eq!(property(&scene, "TimeoutStopUSec"), "2min 3.456789s");
    assert_eq!(property(&scene, "CollectMode"), "inactive-or-failed");
    scene.delete();
}

#[test]
fn a_scope_that_systemd_stops_is_a_container_that_has_stopped() {
    let Some(scene) = scene() else { return };
    scene.up().ready();
    systemctl(&["stop", &unit(&scene)]);
    scene.stopped();
    scene.verb("delete", &[]).ok();
    no_unit(&scene);
}

#[test]
fn a_device_that_is_not_allowed_cannot_be_used() {
    let Some(mut scene) = scene() else { return };
    if !rustix::process::geteuid().is_root() {
        println!("skipped: device rules need root");
        return;
    }
    // /dev/kmsg: c 1:11
    scene
        .bundle
        .sh("mknod /dev/kmsg c 1 11 && head -c 1 /dev/kmsg");
    scene.bundle.capabilities(&["CAP_MKNOD", "CAP_SYSLOG"]);
    let output = scene.run();
    assert!(
        output.stderr.contains("Operation not permitted"),
        "{output}"
    );
    output.code(1);
}

#[test]
fn device_rules_stay_after_a_reload() {
    let Some(mut scene) = scene() else { return };
    if !rustix::process::geteuid().is_root() {
        println!("skipped: device rules need root");
        return;
    }
    scene.bundle.capabilities(&["CAP_MKNOD", "CAP_SYSLOG"]);
    scene.up().ready();
    systemctl(&["daemon-reload"]);
    scene
        .exec(&["sh", "-c", "head -c 1 /dev/zero > /dev/null"])
        .ok();
    let output = scene.exec(&["sh", "-c", "mknod /dev/kmsg c 1 11 && head -c 1 /dev/kmsg"]);
    assert!(
        output.stderr.contains("Operation not permitted"),
        "{output}"
    );
    scene.delete();
}

#[test]
fn a_second_container_of_the_same_unit_is_refused() {
    let Some(scene) = scene() else { return };
    unless_runc!(
        scene,
        "version 1.1 warns of it and puts both into one cgroup"
    );
    scene.up().ready();
    let (id, mut bundle) = scene.another("second");
    let path = scene.bundle.spec()["linux"]["cgroupsPath"].clone();
    bundle.edit(|spec| spec["linux"]["cgroupsPath"] = path);
    let path = bundle.path().to_str().unwrap().to_owned();
    let output = scene.call(["create", "--bundle", &path, &id]).output();
    assert_ne!(output.status.code(), Some(0), "{output}");
    // the first one is not touched
    assert_eq!(scene.status(), "running");
    assert_eq!(property(&scene, "ActiveState"), "active");
    scene.delete();
}
