//! Limits that change, containers that stand still, and what is told of them.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use fragment_tests::{Scene, child};
use serde_json::json;

/// A file of the container's v1 cgroup; `None`, said aloud, where this machine has no such controller.
fn file(scene: &Scene, controller: &str, name: &str) -> Option<PathBuf> {
    let top = PathBuf::from("/sys/fs/cgroup").join(controller);
    let path = top.join(&scene.id).join(name);
    if top.join(name).exists() || path.exists() || top.join("cgroup.procs").exists() {
        return Some(path);
    }
    println!("skipped: no v1 controller {controller} on this machine");
    None
}

fn holds(scene: &Scene, controller: &str, name: &str, value: &str) {
    if let Some(path) = file(scene, controller, name) {
        let text =
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(text.trim(), value, "{name}");
    }
}

fn limited() -> Scene {
    let mut scene = Scene::sleeper();
    scene.bundle.edit(|spec| {
        spec["linux"]["resources"]["memory"] =
            json!({ "limit": 33_554_432, "reservation": 25_165_824 });
        spec["linux"]["resources"]["cpu"] =
            json!({ "shares": 100, "quota": 500_000, "period": 1_000_000 });
        spec["linux"]["resources"]["pids"] = json!({ "limit": 20 });
    });
    scene
}

#[test]
fn an_update_changes_what_it_says_and_nothing_else() {
    let scene = limited();
    scene.up();
    scene.verb("update", &["--pids-limit", "30"]).ok();
    holds(&scene, "pids", "pids.max", "30");
    holds(&scene, "memory", "memory.limit_in_bytes", "33554432");
    scene
        .verb(
            "update",
            &["--memory", "50M", "--memory-reservation", "33554432"],
        )
        .ok();
    holds(&scene, "memory", "memory.limit_in_bytes", "52428800");
    holds(&scene, "memory", "memory.soft_limit_in_bytes", "33554432");
    holds(&scene, "cpu", "cpu.shares", "100");
    scene
        .verb("update", &["--cpu-share", "200", "--cpuset-cpus", "0"])
        .ok();
    holds(&scene, "cpu", "cpu.shares", "200");
    holds(&scene, "cpuset", "cpuset.cpus", "0");
    holds(&scene, "pids", "pids.max", "30");
    scene.verb("update", &["--pids-limit", "-1"]).ok();
    holds(&scene, "pids", "pids.max", "max");
    scene.delete();
}

#[test]
fn an_update_reads_resources_from_a_file_and_from_stdin() {
    let scene = limited();
    scene.up();
    let path = scene.file("resources.json");
    fs::write(&path, r#"{"pids":{"limit":7},"CPU":{"Shares":300}}"#).unwrap();
    scene
        .verb("update", &["--resources", path.to_str().unwrap()])
        .ok();
    holds(&scene, "pids", "pids.max", "7");
    holds(&scene, "cpu", "cpu.shares", "300");
    let call = scene.call(["update", "-r", "-", scene.id.as_str()]);
    call.stdin(r#"{"pids":{"limit":8}}"#).output().ok();
    holds(&scene, "pids", "pids.max", "8");
    holds(&scene, "cpu", "cpu.shares", "300");
    scene.delete();
}

#[test]
fn names_of_config_json_are_read_in_any_case() {
    // as by Go's reader; runc's own tests write them so
    let mut scene = limited();
    scene.bundle.edit(|spec| {
        let resources = spec["linux"]["resources"].as_object_mut().unwrap();
        resources["cpu"].as_object_mut().unwrap().remove("shares");
        resources.insert("CPU".to_owned(), json!({ "Shares": 300 }));
    });
    scene.up();
    holds(&scene, "cpu", "cpu.shares", "300");
    holds(&scene, "cpu", "cpu.cfs_quota_us", "500000");
    scene.delete();
}

#[test]
fn an_update_the_kernel_refuses_is_an_error_and_changes_nothing() {
    let scene = limited();
    scene.up();
    let Some(limit) = file(&scene, "memory", "memory.limit_in_bytes") else {
        return scene.delete();
    };
    let output = scene.verb("update", &["--memory", "4096", "--pids-limit", "9"]);
    output
        .code(1)
        .fails_with("unable to set memory limit to 4096 (current usage: ");
    assert_eq!(fs::read_to_string(limit).unwrap().trim(), "33554432");
    holds(&scene, "pids", "pids.max", "20");
    let output = scene.verb("update", &["--cpu-share", "1"]);
    output
        .code(1)
        .fails_with("the minimum allowed cpu-shares is 2");
    scene
        .verb("update", &["--cpu-period", "x"])
        .code(1)
        .fails_with("invalid value for cpu-period");
    scene.delete();
}

#[test]
fn an_update_of_a_stopped_container_is_refused() {
    let scene = Scene::new();
    scene.up().stopped();
    scene
        .verb("update", &["--pids-limit", "9"])
        .code(1)
        .fails_with("container not running");
    scene.delete();
}

#[test]
fn device_rules_survive_an_update() {
    let scene = limited();
    scene.up();
    let Some(list) = file(&scene, "devices", "devices.list") else {
        return scene.delete();
    };
    // as a GPU's hook does it
    fs::write(list.with_file_name("devices.allow"), "c 195:0 rw").unwrap();
    scene.verb("update", &["--pids-limit", "9"]).ok();
    assert!(fs::read_to_string(list).unwrap().contains("c 195:0 rw"));
    scene.delete();
}

#[test]
fn a_pids_limit_of_one_is_the_programs_and_not_the_runtimes() {
    // the runtime needs more processes than that to set the container up
    let mut scene = Scene::new();
    scene
        .bundle
        .edit(|spec| spec["linux"]["resources"]["pids"] = json!({ "limit": 1 }));
    scene.run().ok();
}

#[test]
fn a_memory_limit_below_what_is_in_use_is_told_with_numbers() {
    let mut scene = Scene::sleeper();
    if file(&scene, "memory", "memory.limit_in_bytes").is_none() {
        return;
    }
    scene
        .bundle
        .edit(|spec| spec["linux"]["resources"]["memory"] = json!({ "limit": 4096 }));
    scene
        .create()
        .code(1)
        .fails_with("unable to set memory limit to 4096 (current usage: ");
}

#[test]
fn a_paused_container_stands_still_and_goes_on() {
    let mut scene =
        Scene::sh("trap 'exit 0' TERM; while :; do echo x >> /dev/shm/ticks; sleep 0.02; done");
    scene.bundle.note_all();
    if file(&scene, "freezer", "freezer.state").is_none() {
        return;
    }
    scene.up();
    let ticks = format!("/proc/{}/root/dev/shm/ticks", scene.pid());
    let count = || fs::metadata(&ticks).map_or(0, |it| it.len());
    child::until("the container ticks", || count() > 0);
    scene.verb("pause", &[]).ok();
    assert_eq!(scene.status(), "paused");
    let before = count();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(count(), before);
    scene
        .verb("pause", &[])
        .code(1)
        .fails_with("container not running");
    scene.verb("resume", &[]).ok();
    assert_eq!(scene.status(), "running");
    child::until("the container ticks again", || count() > before);
    scene
        .verb("resume", &[])
        .code(1)
        .fails_with("container not paused");
    scene.delete();
}

#[test]
fn a_paused_container_is_updated_and_stays_paused() {
    let scene = limited();
    if file(&scene, "freezer", "freezer.state").is_none() {
        return;
    }
    scene.up();
    scene.verb("pause", &[]).ok();
    scene.verb("update", &["--pids-limit", "30"]).ok();
    assert_eq!(scene.status(), "paused");
    holds(&scene, "pids", "pids.max", "30");
    scene.delete();
}

#[test]
fn a_paused_container_dies_of_sigkill() {
    let scene = Scene::sleeper();
    if file(&scene, "freezer", "freezer.state").is_none() {
        return;
    }
    scene.up();
    scene.verb("pause", &[]).ok();
    scene
        .call(["kill", scene.id.as_str(), "KILL"])
        .output()
        .ok();
    scene.stopped();
    scene.delete();
}

#[test]
fn a_frozen_cgroup_is_refused() {
    let scene = Scene::sleeper();
    let Some(state) = file(&scene, "freezer", "freezer.state") else {
        return;
    };
    let directory = state.parent().unwrap();
    fs::create_dir(directory).unwrap();
    fs::write(&state, "FROZEN").unwrap();
    let output = scene.create();
    fs::remove_dir(directory).unwrap();
    output
        .code(1)
        .fails_with("container's cgroup unexpectedly frozen");
}

#[test]
fn an_empty_cgroup_that_exists_is_used() {
    let scene = Scene::sleeper();
    let Some(limit) = file(&scene, "pids", "pids.max") else {
        return;
    };
    fs::create_dir(limit.parent().unwrap()).unwrap();
    scene.up();
    assert!(limit.exists());
    scene.delete();
}

#[test]
fn the_unified_map_needs_cgroup_v2() {
    let mut scene = Scene::sleeper();
    if file(&scene, "memory", "memory.limit_in_bytes").is_none() {
        return;
    }
    scene.bundle.edit(|spec| {
        spec["linux"]["resources"]["unified"] = json!({ "memory.min": "131072" });
    });
    scene.create().code(1).fails_with("invalid configuration");
}

#[test]
fn stats_are_one_line_in_runcs_form() {
    let scene = limited();
    scene.up();
    let output = scene.verb("events", &["--stats"]);
    output.ok();
    let beginning = format!(
        r#"{{"type":"stats","id":"{}","data":{{"cpu":{{"usage":{{"#,
        scene.id
    );
    assert!(output.stdout.starts_with(&beginning), "{output}");
    assert_eq!(output.stdout.lines().count(), 1);
    let data = &output.json()["data"];
    for key in [
        "cpu",
        "cpuset",
        "memory",
        "pids",
        "blkio",
        "hugetlb",
        "intel_rdt",
        "network_interfaces",
    ] {
        assert!(data.get(key).is_some(), "{key}: {output}");
    }
    if file(&scene, "memory", "memory.limit_in_bytes").is_some() {
        assert_eq!(data["memory"]["usage"]["limit"], 33_554_432);
        assert_eq!(data["pids"]["limit"], 20);
        assert!(data["cpu"]["usage"]["total"].as_u64().unwrap() > 0);
    }
    scene.delete();
}

#[test]
fn events_go_on_until_the_container_is_gone() {
    let scene = Scene::sleeper();
    if file(&scene, "memory", "memory.limit_in_bytes").is_none() {
        return;
    }
    scene.up();
    let path = scene.file("events");
    let mut command = scene
        .call(["events", "--interval", "100ms", scene.id.as_str()])
        .command();
    command
        .stdin(Stdio::null())
        .stdout(File::create(&path).unwrap());
    let mut events = command.spawn().unwrap();
    let lines = || fs::read_to_string(&path).unwrap().lines().count();
    child::until("there are two lines of stats", || lines() >= 2);
    scene.delete();
    let status = child::wait_or_kill(&mut events, Duration::from_secs(20), "events");
    assert!(status.success());
}

#[test]
fn a_lack_of_memory_is_an_event() {
    let mut scene = Scene::sleeper();
    if file(&scene, "memory", "memory.limit_in_bytes").is_none() {
        return;
    }
    scene.bundle.edit(|spec| {
        spec["linux"]["resources"]["memory"] = json!({ "limit": 33_554_432 });
    });
    scene.up();
    let path = scene.file("events");
    let mut command = scene.call(["events", scene.id.as_str()]).command();
    command
        .stdin(Stdio::null())
        .stdout(File::create(&path).unwrap());
    let mut events = command.spawn().unwrap();
    let expected = format!("{{\"type\":\"oom\",\"id\":\"{}\"}}\n", scene.id);
    child::until("there is an oom event", || {
        // the watch may not have been there at the first
        let hog = "dd if=/dev/zero of=/dev/null bs=64M count=1";
        let _ = scene.exec(&["sh", "-c", hog]);
        fs::read_to_string(&path).unwrap().contains(&expected)
    });
    scene.delete();
    child::wait_or_kill(&mut events, Duration::from_secs(20), "events");
}

#[test]
fn events_of_what_does_not_run_are_refused() {
    let scene = Scene::new();
    scene.up().stopped();
    scene
        .verb("events", &["--stats"])
        .code(1)
        .fails_with("is not running");
    scene
        .verb("events", &["--interval", "0s"])
        .code(1)
        .fails_with("must be greater than 0");
    scene.delete();
}
