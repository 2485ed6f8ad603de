//! What config.json says about the process and the kernel's view of it: scheduling, memory, time, labels, limits.

use std::fs;
use std::process::Command;

use fragment_tests::Scene;
use serde_json::{Value, json};

fn refused(change: impl Fn(&mut Value), words: &str) {
    let mut scene = Scene::new();
    scene.bundle.edit(|spec| change(spec));
    scene.create().code(1).fails_with(words).stdout("");
    scene.nothing_left();
}

/// The same, of what runc 1.1 does not know or tells in other words.
fn refused_by_ours(change: impl Fn(&mut Value), words: &str) {
    if Scene::new().runtime.is_runc() {
        println!("skipped under runc: 1.1 has other words or none: {words}");
        return;
    }
    refused(change, words);
}

fn process(scene: &mut Scene, key: &str, value: Value) {
    scene.bundle.edit(|spec| spec["process"][key] = value);
}

#[test]
fn a_nice_value_of_the_scheduler() {
    let mut scene = Scene::sh("awk '{ print $19 }' /proc/self/stat");
    unless_runc!(scene, "schedulers came with runc 1.2");
    process(
        &mut scene,
        "scheduler",
        json!({ "policy": "SCHED_OTHER", "nice": 7 }),
    );
    scene.run().ok().stdout("7\n");
}

#[test]
fn a_batch_scheduler() {
    let mut scene = Scene::sh(
        "awk '/policy/ { print $3 }' /proc/self/sched; awk '{ print $41 }' /proc/self/stat",
    );
    unless_runc!(scene, "schedulers came with runc 1.2");
    process(&mut scene, "scheduler", json!({ "policy": "SCHED_BATCH" }));
    let output = scene.run();
    assert!(output.ok().stdout.trim().ends_with('3'), "{output}");
}

#[test]
fn a_real_time_scheduler_with_its_priority() {
    let mut scene = Scene::sh("awk '{ print $40, $41 }' /proc/self/stat");
    unless_runc!(scene, "schedulers came with runc 1.2");
    process(
        &mut scene,
        "scheduler",
        json!({ "policy": "SCHED_RR", "priority": 5, "flags": ["SCHED_FLAG_RESET_ON_FORK"] }),
    );
    let output = scene.run();
    if output.stderr.contains("sched_setattr") {
        println!("skipped: no real-time budget in this cgroup");
        return;
    }
    // children go back to the default, so the shell itself is asked
    let mut scene = Scene::new();
    scene.bundle.args(&["/bin/cat", "/proc/self/stat"]);
    process(
        &mut scene,
        "scheduler",
        json!({ "policy": "SCHED_RR", "priority": 5 }),
    );
    let output = scene.run();
    let fields: Vec<_> = output.ok().stdout.split(' ').map(str::to_owned).collect();
    assert_eq!((fields[39].as_str(), fields[40].as_str()), ("5", "2"));
}

#[test]
fn schedulers_that_contradict_themselves() {
    for (scheduler, words) in [
        (json!({ "policy": "SCHED_OTHER", "nice": 20 }), "nice"),
        (
            json!({ "policy": "SCHED_OTHER", "priority": 5 }),
            "priority",
        ),
        (json!({ "policy": "SCHED_BATCH", "runtime": 5 }), "runtime"),
        (json!({ "policy": "SCHED_NOSUCH" }), "SCHED_NOSUCH"),
    ] {
        refused_by_ours(
            |spec| spec["process"]["scheduler"] = scheduler.clone(),
            words,
        );
    }
}

#[test]
fn an_io_priority() {
    for (class, number) in [("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3)] {
        let mut scene = Scene::sleeper();
        unless_runc!(scene, "I/O priorities came with runc 1.1.10");
        process(
            &mut scene,
            "ioPriority",
            json!({ "class": class, "priority": 4 }),
        );
        scene.up();
        let pid = scene.pid().to_string();
        let output = Command::new("ionice").args(["-p", &pid]).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let expected = if number == 2 {
            "best-effort: prio 4"
        } else {
            "idle"
        };
        assert!(said.contains(expected), "{class}: {said}");
        scene.delete();
    }
    refused_by_ours(
        |spec| spec["process"]["ioPriority"] = json!({ "class": "IOPRIO_CLASS_BE", "priority": 8 }),
        "priority",
    );
}

#[test]
fn a_memory_policy() {
    let mut scene = Scene::sh("awk '{ print $2; exit }' /proc/self/numa_maps");
    unless_runc!(scene, "memory policies came with runc 1.4");
    if !std::path::Path::new("/proc/self/numa_maps").exists() {
        println!("skipped: no NUMA in this kernel");
        return;
    }
    scene.bundle.edit(|spec| {
        spec["linux"]["memoryPolicy"] =
            json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"] });
    });
    scene.run().ok().says("bind");
}

/// The kernel knows a policy of threads only; the specification has it for the container.
#[test]
fn a_memory_policy_is_that_of_a_process_of_exec_too() {
    let mut scene = Scene::sleeper();
    unless_runc!(scene, "memory policies came with runc 1.4");
    if !std::path::Path::new("/proc/self/numa_maps").exists() {
        println!("skipped: no NUMA in this kernel");
        return;
    }
    scene.bundle.edit(|spec| {
        spec["linux"]["memoryPolicy"] = json!({ "mode": "MPOL_BIND", "nodes": "0" });
    });
    scene.up();
    let policy = ["awk", "{ print $2; exit }", "/proc/self/numa_maps"];
    scene.exec(&policy).ok().says("bind");
    scene.delete();
}

#[test]
fn memory_policies_that_contradict_themselves() {
    for (policy, words) in [
        (json!({ "mode": "MPOL_BIND" }), "MPOL_BIND requires"),
        (
            json!({ "mode": "MPOL_DEFAULT", "nodes": "0" }),
            "MPOL_DEFAULT",
        ),
        (json!({ "mode": "MPOL_BIND", "nodes": "0-" }), "node range"),
        (
            json!({ "mode": "MPOL_NOSUCH", "nodes": "0" }),
            "MPOL_NOSUCH",
        ),
    ] {
        refused_by_ours(|spec| spec["linux"]["memoryPolicy"] = policy.clone(), words);
    }
}

#[test]
fn a_personality() {
    let mut scene = Scene::sh("uname -m; cat /proc/self/personality");
    unless_runc!(scene, "personalities came with runc 1.2");
    scene
        .bundle
        .edit(|spec| spec["linux"]["personality"] = json!({ "domain": "LINUX32" }));
    let output = scene.run();
    assert!(output.ok().stdout.contains("i686"), "{output}");
}

#[test]
fn flags_of_a_personality_are_warned_of() {
    let mut scene = Scene::sh("uname -m");
    unless_runc!(scene, "personalities came with runc 1.2");
    scene.bundle.edit(|spec| {
        spec["linux"]["personality"] = json!({ "domain": "LINUX", "flags": ["SOMETHING"] });
    });
    let output = scene.run();
    output.ok();
    assert!(output.stderr.contains("personality flags"), "{output}");
}

#[test]
fn a_time_namespace_with_offsets() {
    let mut scene =
        Scene::sh("cut -d. -f1 /proc/uptime; awk '{ print $1, $2 }' /proc/self/timens_offsets");
    unless_runc!(scene, "time namespaces came with runc 1.2");
    scene.bundle.namespace(json!({ "type": "time" }));
    scene.bundle.edit(|spec| {
        spec["linux"]["timeOffsets"] =
            json!({ "boottime": { "secs": 1_000_000 }, "monotonic": { "secs": 500_000, "nanosecs": 3 } });
    });
    let output = scene.run();
    let uptime: u64 = output.ok().stdout.lines().next().unwrap().parse().unwrap();
    assert!(uptime >= 1_000_000, "{output}");
    output.says("monotonic 500000").says("boottime 1000000");
}

#[test]
fn a_time_namespace_in_a_user_namespace() {
    let mut scene = Scene::sh("cut -d. -f1 /proc/uptime");
    unless_runc!(scene, "time namespaces came with runc 1.2");
    scene.bundle.namespace(json!({ "type": "time" }));
    scene.bundle.namespace(json!({ "type": "user" }));
    scene.bundle.edit(|spec| {
        let map = json!([{ "containerID": 0, "hostID": 200_000, "size": 65536 }]);
        spec["linux"]["uidMappings"] = map.clone();
        spec["linux"]["gidMappings"] = map;
        spec["linux"]["timeOffsets"] = json!({ "boottime": { "secs": 1_000_000 } });
    });
    let uptime: u64 = scene.run().ok().stdout.trim().parse().unwrap();
    assert!(uptime >= 1_000_000);
}

#[test]
fn offsets_want_a_new_time_namespace() {
    refused_by_ours(
        |spec| spec["linux"]["timeOffsets"] = json!({ "boottime": { "secs": 1 } }),
        "time namespace offsets specified, but time namespace isn't enabled in the config",
    );
    refused_by_ours(
        |spec| {
            spec["linux"]["timeOffsets"] = json!({ "boottime": { "secs": 1 } });
            let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.push(json!({ "type": "time", "path": "/proc/self/ns/time" }));
        },
        "both namespace path and time offsets specified",
    );
}

#[test]
fn labels_and_profiles_want_their_kernel() {
    let selinux = std::path::Path::new("/sys/fs/selinux/enforce").exists();
    let words = "selinux label is specified in config, but selinux is disabled or not supported";
    if !selinux {
        refused(
            |spec| spec["process"]["selinuxLabel"] = json!("system_u:system_r:container_t:s0"),
            words,
        );
        refused_by_ours(
            |spec| spec["linux"]["mountLabel"] = json!("system_u:object_r:container_file_t:s0"),
            words,
        );
    }
    if !std::path::Path::new("/sys/module/apparmor").exists() {
        refused(
            |spec| spec["process"]["apparmorProfile"] = json!("docker-default"),
            "apparmor",
        );
    }
}

#[test]
fn a_limit_given_twice_is_refused() {
    refused_by_ours(
        |spec| {
            spec["process"]["rlimits"] = json!([
                { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
                { "type": "RLIMIT_CORE", "soft": 1, "hard": 1 }
            ]);
        },
        "duplicate",
    );
}

#[test]
fn resource_director_technology_wants_its_hardware() {
    if std::path::Path::new("/sys/fs/resctrl/info").exists() {
        println!("skipped: it is there");
        return;
    }
    refused(
        |spec| spec["linux"]["intelRdt"] = json!({ "l3CacheSchema": "L3:0=f" }),
        "intelRdt.l3CacheSchema is specified in config, but Intel RDT/CAT is not enabled",
    );
    refused(
        |spec| spec["linux"]["intelRdt"] = json!({ "memBwSchema": "MB:0=10" }),
        "intelRdt.memBwSchema is specified in config, but Intel RDT/MBA is not enabled",
    );
    refused(
        |spec| spec["linux"]["intelRdt"] = json!({ "closID": "a/b" }),
        "invalid intelRdt.ClosID",
    );
}

#[test]
fn sysctls_by_namespace() {
    for (key, words) in [
        ("vm.swappiness", "is not in a separate kernel namespace"),
        (
            "kernel.hostname",
            "is not allowed as it conflicts with the OCI \"hostname\" field",
        ),
    ] {
        refused(|spec| spec["linux"]["sysctl"] = json!({ key: "1" }), words);
    }
    let without = |kind: &'static str, key: &'static str, words: &str| {
        refused(
            move |spec| {
                let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
                namespaces.retain(|namespace| namespace["type"] != kind);
                spec["linux"]["sysctl"] = json!({ key: "1" });
            },
            words,
        );
    };
    without(
        "ipc",
        "kernel.shm_rmid_forced",
        "is not allowed in the hosts ipc namespace",
    );
    without(
        "network",
        "net.ipv4.ip_forward",
        "not allowed in host network namespace",
    );
}

#[test]
fn sysctls_are_set() {
    let mut scene = Scene::sh(
        "cat /proc/sys/kernel/shm_rmid_forced /proc/sys/kernel/domainname /proc/sys/fs/mqueue/msg_max",
    );
    scene.bundle.edit(|spec| {
        spec["linux"]["sysctl"] = json!({
            "kernel.shm_rmid_forced": "1", "kernel.domainname": "example.org", "fs.mqueue.msg_max": "77"
        });
    });
    scene.run().ok().stdout("1\nexample.org\n77\n");
}

#[test]
fn a_domain_name() {
    let mut scene = Scene::sh("cat /proc/sys/kernel/domainname");
    unless_runc!(scene, "domain names came with runc 1.2");
    scene
        .bundle
        .edit(|spec| spec["domainname"] = json!("example.org"));
    scene.run().ok().stdout("example.org\n");
}

#[test]
fn names_want_a_namespace() {
    for (key, words) in [
        (
            "hostname",
            "unable to set hostname without a private UTS namespace",
        ),
        (
            "domainname",
            "unable to set domainname without a private UTS namespace",
        ),
    ] {
        refused_by_ours(
            |spec| {
                spec.as_object_mut().unwrap().remove("hostname");
                spec[key] = json!("name");
                let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
                namespaces.retain(|namespace| namespace["type"] != "uts");
            },
            words,
        );
    }
}

#[test]
fn the_session_keyring_is_the_containers() {
    let script = "awk '$9 ~ /^_ses/ { print $9 }' /proc/keys; grep -c . /proc/keys > /dev/null";
    let mut scene = Scene::sh(script);
    scene
        .bundle
        .edit(|spec| spec["linux"]["maskedPaths"] = json!([]));
    let output = scene.run();
    output.ok().says(&format!("_ses.{}", scene.id));
    let (id, mut bundle) = scene.another("kept");
    bundle.sh("awk '$9 ~ /^_ses/ { print $9 }' /proc/keys");
    let output = scene
        .call(["run", "--no-new-keyring", "--bundle"])
        .args([bundle.path()])
        .args([&id])
        .output();
    assert!(
        !output.ok().stdout.contains(&format!("_ses.{id}")),
        "{output}"
    );
}

#[test]
fn inheritable_capabilities_alone() {
    let mut scene = Scene::sh("grep -E 'Cap(Inh|Prm|Eff|Amb)' /proc/self/status | tr -d '\\t'");
    process(
        &mut scene,
        "capabilities",
        json!({ "inheritable": ["CAP_KILL"] }),
    );
    for user in [0, 1000] {
        process(&mut scene, "user", json!({ "uid": user, "gid": user }));
        let output = scene.run();
        if scene.runtime.is_runc() && output.status.code() != Some(0) {
            println!("runc 1.1 cannot: the bounding set is empty by then");
            return;
        }
        // with no_new_privs root's execve adds nothing
        output
            .ok()
            .says("CapInh:0000000000000020")
            .says("CapPrm:0000000000000000");
    }
}

#[test]
fn a_missing_directory_is_made_before_the_root_is_read_only() {
    let mut scene = Scene::sh("pwd");
    scene.bundle.expect("rootfs/not");
    process(&mut scene, "cwd", json!("/not/yet/there"));
    scene.run().ok().stdout("/not/yet/there\n");
}

#[test]
fn without_pivot_root_the_hosts_proc_is_hidden() {
    // runc: mount(2) of a proc that is not masked is refused while only masked ones are visible
    let mut scene = Scene::new();
    let script = "unshare -mrpf sh -c 'mount -t proc none /proc && echo bare'";
    scene.bundle.sh(script);
    scene.bundle.link("busybox", "bin/unshare");
    scene.bundle.edit(|spec| {
        let sets = spec["process"]["capabilities"].as_object_mut().unwrap();
        for set in ["bounding", "permitted"] {
            sets[set].as_array_mut().unwrap().push(json!("CAP_SETFCAP"));
        }
    });
    let output = scene.run_call(&["--no-pivot"]).output();
    assert!(!output.stdout.contains("bare"), "{output}");
    assert!(
        output.stderr.to_lowercase().contains("permission denied"),
        "{output}"
    );
}

/// A network namespace of the test's own with one end of a veth pair in it, and the other end.
fn veth(scene: &Scene) -> Option<(String, String)> {
    let tail = &scene.id[scene.id.len() - 6..];
    let names = (format!("a{tail}"), format!("b{tail}"));
    let made = Command::new("ip")
        .args([
            "link", "add", &names.0, "type", "veth", "peer", "name", &names.1,
        ])
        .status();
    made.is_ok_and(|status| status.success()).then_some(names)
}

#[test]
fn a_network_device_is_moved_in_with_its_addresses() {
    let mut scene = Scene::sh("ip -o addr show inner; ip -o link show inner");
    unless_runc!(scene, "network devices came with runc 1.4");
    let Some((moved, _peer)) = veth(&scene) else {
        println!("skipped: no veth in this kernel");
        return;
    };
    let set = |arguments: &[&str]| {
        assert!(
            Command::new("ip")
                .args(arguments)
                .status()
                .unwrap()
                .success()
        );
    };
    set(&["addr", "add", "192.0.2.7/24", "dev", &moved]);
    scene.bundle.edit(|spec| {
        spec["linux"]["netDevices"] = json!({ moved.clone(): { "name": "inner" } });
    });
    let output = scene.run();
    // a pair is gone when one end's namespace is
    let _ = Command::new("ip").args(["link", "del", &moved]).output();
    output.ok().says("192.0.2.7/24").says("UP");
}

#[test]
fn network_devices_that_cannot_be() {
    for (devices, words) in [
        (json!({ "no-such-device0": {} }), "no-such-device0"),
        (json!({ "a/b": {} }), "a/b"),
    ] {
        refused_by_ours(|spec| spec["linux"]["netDevices"] = devices.clone(), words);
    }
    refused_by_ours(
        |spec| {
            spec["linux"]["netDevices"] = json!({ "lo": {} });
            let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.retain(|namespace| namespace["type"] != "network");
        },
        "network",
    );
}

#[test]
fn hooks_of_the_container_run_in_its_root_and_know_its_number() {
    let mut scene = Scene::new();
    let file = scene.file("seen");
    fs::write(&file, "").unwrap();
    let hook = |place: &str| {
        let script = format!(
            "pwd >> {file}; sed 's/.*\"pid\": *\\([0-9]*\\).*/{place} \\1/' >> {file}; echo >> {file}",
            file = file.display()
        );
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"] }])
    };
    let hooks = json!({ "createRuntime": hook("out"), "createContainer": hook("in") });
    scene.bundle.edit(|spec| spec["hooks"] = hooks);
    scene.create().ok();
    let seen = fs::read_to_string(&file).unwrap();
    let seen: Vec<_> = seen.lines().filter(|line| !line.is_empty()).collect();
    let pid = scene.pid();
    assert_eq!(
        seen,
        [
            scene.bundle.path().to_str().unwrap(),
            &format!("out {pid}"),
            scene.bundle.rootfs().to_str().unwrap(),
            "in 1"
        ]
    );
    scene.delete();
}
