//! Cgroups: this machine has the v1 controllers, and the unified hierarchy beside them.

use std::fs;
use std::path::{Path, PathBuf};

use fragment_tests::{Scene, child};
use serde_json::{Value, json};

/// Where this machine keeps a v1 controller, unless it has none.
fn controller(name: &str) -> Option<PathBuf> {
    let path = Path::new("/sys/fs/cgroup").join(name);
    if path.join("cgroup.procs").exists() {
        return Some(path);
    }
    println!("skipped: no v1 controller {name} on this machine");
    None
}

/// A limit in config.json and the file that must then hold a value.
fn written(resources: &Value, controller_name: &str, expected: &[(&str, &str)]) {
    let Some(top) = controller(controller_name) else {
        return;
    };
    let mut scene = Scene::sleeper();
    scene.bundle.edit(|spec| {
        for (key, value) in resources.as_object().unwrap() {
            spec["linux"]["resources"][key] = value.clone();
        }
    });
    scene.create().ok();
    for (file, value) in expected {
        let path = top.join(&scene.id).join(file);
        let text =
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(text.trim(), *value, "{file}");
    }
    scene.delete();
}

#[test]
fn memory_limit() {
    written(
        &json!({ "memory": { "limit": 33_554_432 } }),
        "memory",
        &[("memory.limit_in_bytes", "33554432")],
    );
}

#[test]
fn memory_reservation() {
    let resources = json!({ "memory": { "limit": 67_108_864, "reservation": 33_554_432 } });
    written(
        &resources,
        "memory",
        &[
            ("memory.limit_in_bytes", "67108864"),
            ("memory.soft_limit_in_bytes", "33554432"),
        ],
    );
}

#[test]
fn pids_limit() {
    written(
        &json!({ "pids": { "limit": 17 } }),
        "pids",
        &[("pids.max", "17")],
    );
}

#[test]
fn cpu_shares() {
    written(
        &json!({ "cpu": { "shares": 512 } }),
        "cpu",
        &[("cpu.shares", "512")],
    );
}

#[test]
fn cpu_quota() {
    let resources = json!({ "cpu": { "quota": 50_000, "period": 100_000 } });
    let Some(top) = controller("cpu") else { return };
    if !top.join("cpu.cfs_quota_us").exists() {
        println!("skipped: this kernel has no CFS bandwidth control");
        return;
    }
    written(
        &resources,
        "cpu",
        &[
            ("cpu.cfs_quota_us", "50000"),
            ("cpu.cfs_period_us", "100000"),
        ],
    );
}

#[test]
fn cpuset() {
    written(
        &json!({ "cpu": { "cpus": "0", "mems": "0" } }),
        "cpuset",
        &[("cpuset.cpus", "0"), ("cpuset.mems", "0")],
    );
}

#[test]
fn device_rules() {
    let resources = json!({ "devices": [
        { "allow": false, "access": "rwm" },
        { "allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw" }
    ] });
    let Some(top) = controller("devices") else {
        return;
    };
    let mut scene = Scene::sleeper();
    scene
        .bundle
        .edit(|spec| spec["linux"]["resources"] = resources);
    scene.create().ok();
    let list = fs::read_to_string(top.join(&scene.id).join("devices.list")).unwrap();
    scene.delete();
    assert!(list.contains("c 10:229 rw"), "{list}");
    assert!(!list.contains("a *:* rwm"), "{list}");
}

#[test]
fn a_device_that_is_not_allowed_cannot_be_used() {
    if controller("devices").is_none() {
        return;
    }
    // /dev/kmsg: c 1:11
    let mut scene = Scene::sh("mknod /dev/kmsg c 1 11 && head -c 1 /dev/kmsg");
    scene.bundle.capabilities(&["CAP_MKNOD", "CAP_SYSLOG"]);
    let output = scene.run();
    assert!(
        output.stderr.contains("Operation not permitted"),
        "{output}"
    );
    output.code(1);
}

#[test]
fn a_pids_limit_is_kept() {
    if controller("pids").is_none() {
        return;
    }
    let mut scene = Scene::sh("for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done; echo unlimited");
    scene
        .bundle
        .edit(|spec| spec["linux"]["resources"]["pids"] = json!({ "limit": 5 }));
    let output = scene.run();
    assert!(!output.stdout.contains("unlimited"), "{output}");
    assert!(output.stderr.contains("fork"), "{output}");
}

#[test]
fn a_memory_limit_is_kept() {
    if controller("memory").is_none() {
        return;
    }
    // dd's buffer is touched: 64 MB do not fit
    let mut scene = Scene::sh("dd if=/dev/zero of=/dev/null bs=64M count=1; echo status $?");
    scene.bundle.edit(|spec| {
        spec["linux"]["resources"]["memory"] = json!({ "limit": 16_777_216, "swap": 16_777_216 });
    });
    let swap =
        controller("memory").is_some_and(|top| top.join("memory.memsw.limit_in_bytes").exists());
    if !swap {
        scene
            .bundle
            .edit(|spec| spec["linux"]["resources"]["memory"] = json!({ "limit": 16_777_216 }));
    }
    scene.run().ok().stdout("status 137\n");
}

#[test]
fn the_path_is_the_specs_in_every_controller() {
    let scene = Scene::sleeper();
    scene.up();
    let cgroups = fs::read_to_string(format!("/proc/{}/cgroup", scene.pid())).unwrap();
    let expected = format!("/{}", scene.id);
    for line in cgroups.lines() {
        let [_, controllers, path] = line.splitn(3, ':').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        if !controllers.is_empty() && !controllers.starts_with("name=") {
            assert_eq!(path, expected, "{line}");
        }
    }
    scene.delete();
}

#[test]
fn a_nested_path_is_made_and_its_leaf_removed() {
    let mut scene = Scene::sleeper();
    let path = format!("/{0}-parent/{0}", scene.id);
    scene
        .bundle
        .edit(|spec| spec["linux"]["cgroupsPath"] = json!(path));
    scene.up();
    let cgroups = fs::read_to_string(format!("/proc/{}/cgroup", scene.pid())).unwrap();
    assert!(cgroups.contains(&format!(":{path}\n")), "{cgroups}");
    scene.delete();
    // parents are the engine's: they stay or go, but nothing is below them
    for parent in fragment_tests::leftovers::cgroups(&scene.id) {
        assert!(
            parent.ends_with(format!("{}-parent", scene.id)),
            "{}",
            parent.display()
        );
        fs::remove_dir(parent).unwrap();
    }
}

#[test]
fn without_a_path_the_container_has_a_cgroup_of_its_own() {
    let mut scene = Scene::sleeper();
    scene.bundle.edit(|spec| {
        spec["linux"].as_object_mut().unwrap().remove("cgroupsPath");
    });
    // the runtime runs in cgroups of the test, so that its children are made there
    let own = format!("{}-own", scene.id);
    let tops: Vec<_> = [
        "cpu", "cpuacct", "memory", "devices", "freezer", "blkio", "pids",
    ]
    .into_iter()
    .filter_map(controller)
    .map(|top| top.join(&own))
    .collect();
    for top in &tops {
        fs::create_dir(top).unwrap();
    }
    let words: Vec<_> = tops
        .iter()
        .map(|top| format!("echo $$ > {}/cgroup.procs;", top.display()))
        .collect();
    scene
        .create_call(&[])
        .within(&format!("{} exec \"$@\"", words.join(" ")))
        .output()
        .ok();
    let cgroups = fs::read_to_string(format!("/proc/{}/cgroup", scene.pid())).unwrap();
    // where is the runtime's choice (the specification: it may define a default); a cgroup of its own it must be
    let controllers = cgroups
        .lines()
        .filter(|line| !line.contains("::") && !line.contains(":name="));
    for line in controllers {
        assert!(line.ends_with(&scene.id), "{cgroups}");
    }
    scene.delete();
    for top in &tops {
        // EBUSY while something is left below
        fs::remove_dir(top).unwrap_or_else(|error| panic!("{}: {error}", top.display()));
    }
}

#[test]
fn the_container_sees_its_cgroups_read_only() {
    let script = "ls /sys/fs/cgroup | grep -c pids; cat /sys/fs/cgroup/pids/pids.max; echo 1 > /sys/fs/cgroup/pids/pids.max";
    let mut scene = Scene::sh(script);
    if controller("pids").is_none() {
        return;
    }
    scene
        .bundle
        .edit(|spec| spec["linux"]["resources"]["pids"] = json!({ "limit": 23 }));
    let output = scene.run();
    output.code(1).stdout("1\n23\n");
    assert!(output.stderr.contains("Read-only file system"), "{output}");
}

#[test]
fn exec_joins_every_cgroup_of_the_container() {
    let scene = Scene::sleeper();
    scene.up();
    let pid_file = scene.file("pid");
    let options = ["--detach", "--pid-file", pid_file.to_str().unwrap()];
    scene.exec_call(&options, &["sleep", "1000"]).output().ok();
    let pid = fs::read_to_string(&pid_file).unwrap();
    let of = |pid: &str| {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        text.lines()
            .filter(|line| !line.starts_with("0::"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(of(&pid), of(&scene.pid().to_string()));
    scene.delete();
    child::until("the process is gone", || {
        !child::is_alive(pid.parse().unwrap())
    });
}

#[test]
fn exec_brings_no_process_of_the_host_along() {
    // a process outside the pid namespace reads as 0 in cgroup.procs, and makes systemctl status in the container give up
    let unified = Path::new("/sys/fs/cgroup/unified/cgroup.procs");
    let pure = Path::new("/sys/fs/cgroup/cgroup.procs");
    if !unified.exists() && !pure.exists() {
        println!("skipped: no cgroup v2 hierarchy is mounted on this machine");
        return;
    }
    let mut scene = Scene::sleeper();
    scene.bundle.namespace(json!({ "type": "cgroup" }));
    scene.bundle.edit(|spec| {
        let mounts = spec["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| mount["destination"] != "/sys/fs/cgroup");
    });
    scene.bundle.mount(json!({
        "destination": "/sys/fs/cgroup", "type": "cgroup2", "source": "cgroup",
        "options": ["nosuid", "noexec", "nodev", "ro"]
    }));
    scene.up().ready();
    for _ in 0..20 {
        let output = scene.exec(&["sh", "-c", "cat /sys/fs/cgroup/cgroup.procs; echo $$"]);
        output.ok();
        let pids: Vec<&str> = output.stdout.lines().collect();
        let (own, members) = pids.split_last().expect("the shell's own number");
        assert!(members.contains(&"1") && members.contains(own), "{output}");
        assert!(!members.contains(&"0"), "{output}");
    }
    scene.delete();
}
