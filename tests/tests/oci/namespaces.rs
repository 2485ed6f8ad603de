//! Namespaces, host name, sysctl, network.

use std::fs;
use std::path::Path;

use fragment_tests::{Call, Scene, child, leftovers};
use serde_json::json;

fn host(namespace: &str) -> String {
    fs::read_link(format!("/proc/self/ns/{namespace}"))
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned()
}

#[test]
fn the_spec_s_are_new_and_the_others_the_hosts() {
    let output =
        Scene::sh("for n in pid net ipc uts mnt user; do readlink /proc/self/ns/$n; done").run();
    let inside: Vec<_> = output.ok().stdout.lines().collect();
    for (namespace, link) in ["pid", "net", "ipc", "uts", "mnt"].iter().zip(&inside) {
        assert_ne!(*link, host(namespace), "{namespace}");
    }
    assert_eq!(inside[5], host("user"));
}

#[test]
fn without_a_namespace_the_hosts_is_used() {
    for (kind, name) in [("pid", "pid"), ("network", "net"), ("ipc", "ipc")] {
        let mut scene = Scene::sh(&format!("readlink /proc/self/ns/{name}"));
        scene.bundle.without_namespace(kind);
        scene.run().ok().stdout(&format!("{}\n", host(name)));
    }
}

#[test]
fn a_namespace_with_a_path_is_joined() {
    let scene = Scene::sleeper();
    scene.up();
    let (id, mut bundle) = scene.another("joined");
    bundle.sh("readlink /proc/self/ns/net; readlink /proc/self/ns/ipc");
    for (kind, name) in [("network", "net"), ("ipc", "ipc")] {
        bundle
            .namespace(json!({ "type": kind, "path": format!("/proc/{}/ns/{name}", scene.pid()) }));
    }
    let link = |name: &str| fs::read_link(format!("/proc/{}/ns/{name}", scene.pid())).unwrap();
    let output = scene
        .call(["run", "--bundle"])
        .args([bundle.path()])
        .args([&id])
        .output();
    output.ok().stdout(&format!(
        "{}\n{}\n",
        link("net").display(),
        link("ipc").display()
    ));
    scene.delete();
}

#[test]
fn a_pid_namespace_with_a_path_is_joined() {
    // Kubernetes' shareProcessNamespace
    let scene = Scene::sleeper();
    scene.up();
    let (id, mut bundle) = scene.another("joined");
    bundle.sh("readlink /proc/self/ns/pid; test $$ -gt 1 && echo not first");
    bundle.namespace(json!({ "type": "pid", "path": format!("/proc/{}/ns/pid", scene.pid()) }));
    let link = fs::read_link(format!("/proc/{}/ns/pid", scene.pid())).unwrap();
    let output = scene
        .call(["run", "--bundle"])
        .args([bundle.path()])
        .args([&id])
        .output();
    output
        .ok()
        .stdout(&format!("{}\nnot first\n", link.display()));
    assert_eq!(scene.status(), "running");
    scene.delete();
}

#[test]
fn a_process_number_that_nobody_has_outside_finds_its_cgroup() {
    // libcontainer looks the number it has inside up in the runtime's /proc
    let mut scene = Scene::sleeper();
    scene.bundle.capabilities(&["CAP_SYS_ADMIN"]);
    scene
        .bundle
        .edit(|spec| spec["linux"]["readonlyPaths"] = json!([]));
    scene.up();
    let highest = fs::read_to_string("/proc/sys/kernel/pid_max").unwrap();
    let nobodys = (300..highest.trim().parse::<u32>().unwrap() - 1000)
        .rev()
        .find(|pid| (0..20).all(|more| !Path::new(&format!("/proc/{}", pid + more)).exists()))
        .unwrap();
    let script = format!("echo {nobodys} >/proc/sys/kernel/ns_last_pid");
    scene
        .call(["exec", &scene.id, "sh", "-c", &script])
        .output()
        .ok();
    let (id, mut bundle) = scene.another("joined");
    bundle.sh(
        "cd /sys/fs/cgroup; own=$(sed -n s,^0::/,,p /proc/self/cgroup)
         cat memory/cgroup.procs cgroup.procs $own/cgroup.procs 2>/dev/null | grep -qx $$ && test $$ -gt 299 && echo found",
    );
    bundle.namespace(json!({ "type": "pid", "path": format!("/proc/{}/ns/pid", scene.pid()) }));
    let output = scene
        .call(["run", "--bundle"])
        .args([bundle.path()])
        .args([&id])
        .output();
    output.ok().stdout("found\n");
    scene.delete();
}

#[test]
fn a_namespace_path_that_is_missing_is_named() {
    let mut scene = Scene::new();
    scene
        .bundle
        .namespace(json!({ "type": "network", "path": "/no/such/namespace" }));
    scene.create().fails_with("/no/such/namespace");
    scene.nothing_left();
}

#[test]
fn the_host_name_is_the_specs() {
    let mut scene = Scene::sh("hostname");
    scene
        .bundle
        .edit(|spec| spec["hostname"] = json!("black-box"));
    let before = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    scene.run().ok().stdout("black-box\n");
    assert_eq!(
        fs::read_to_string("/proc/sys/kernel/hostname").unwrap(),
        before
    );
}

#[test]
fn loopback_is_up() {
    let output = Scene::sh("ip -o addr show lo; ip -o link show lo").run();
    output.ok().says("127.0.0.1/8").says("UP");
}

#[test]
fn loopback_carries_a_connection() {
    // nc ends when its peer has nothing more to say: the listener's input stays open until the word is there
    let script = "sleep 2 | nc -l -p 4000 > /dev/shm/got & for i in 1 2 3 4 5 6 7 8 9; do echo over | nc 127.0.0.1 4000 && break; sleep 0.1; done; wait; cat /dev/shm/got";
    Scene::sh(script).run().ok().says("over");
}

#[test]
fn a_network_sysctl_is_set_in_the_containers_namespace() {
    let mut scene = Scene::sh("cat /proc/sys/net/ipv4/ip_unprivileged_port_start");
    scene.bundle.edit(|spec| {
        spec["linux"]["sysctl"] = json!({ "net.ipv4.ip_unprivileged_port_start": "81" });
    });
    let host = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    assert_ne!(host, "81\n");
    scene.run().ok().stdout("81\n");
    assert_eq!(
        fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap(),
        host
    );
}

#[test]
fn a_sysctl_of_the_whole_machine_is_refused() {
    let before = fs::read_to_string("/proc/sys/vm/swappiness").unwrap();
    let mut scene = Scene::new();
    scene
        .bundle
        .edit(|spec| spec["linux"]["sysctl"] = json!({ "vm.swappiness": before.trim() }));
    scene.create().fails_with("vm.swappiness");
    scene.nothing_left();
}

#[test]
fn a_network_sysctl_without_a_network_namespace_is_refused() {
    let mut scene = Scene::new();
    scene.bundle.without_namespace("network");
    scene.bundle.edit(|spec| {
        spec["linux"]["sysctl"] = json!({ "net.ipv4.ip_unprivileged_port_start": "1024" });
    });
    scene
        .create()
        .fails_with("net.ipv4.ip_unprivileged_port_start");
    scene.nothing_left();
}

#[test]
fn a_user_namespace_maps_the_users() {
    let mut scene = Scene::sh(
        "id -u; cat /proc/self/uid_map /proc/self/gid_map | tr -s ' '; readlink /proc/self/ns/user",
    );
    scene.bundle.namespace(json!({ "type": "user" }));
    scene.bundle.edit(|spec| {
        let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
        spec["linux"]["uidMappings"] = map.clone();
        spec["linux"]["gidMappings"] = map;
    });
    let output = scene.run();
    output.ok().says("0\n 0 100000 65536\n 0 100000 65536\n");
    assert!(!output.stdout.contains(&host("user")), "{output}");
}

#[test]
fn a_cgroup_namespace_hides_the_hosts_paths() {
    let mut scene = Scene::sh("grep -m 1 -e :pids: -e ^0:: /proc/self/cgroup | cut -d: -f3");
    scene.bundle.namespace(json!({ "type": "cgroup" }));
    scene.run().ok().stdout("/\n");
}

#[test]
fn without_a_mount_namespace_it_is_refused() {
    let mut scene = Scene::new();
    scene.bundle.without_namespace("mount");
    scene.create().fails_with("namespace");
    scene.nothing_left();
    scene.run().fails_with("namespace");
    scene.nothing_left();
}

#[test]
fn the_callers_mount_table_is_the_same_before_and_after() {
    // in a mount namespace of the test's own, where nobody else mounts: equal, line by line
    let scene = Scene::sh("echo ran");
    let (before, after) = (scene.file("before"), scene.file("after"));
    let script = format!(
        "cat /proc/self/mountinfo > {}; for i in 1 2 3; do \"$@\"; done; cat /proc/self/mountinfo > {}",
        before.display(),
        after.display()
    );
    let script = format!(
        "export SCRIPT='{script}'; exec unshare --mount --propagation private sh -ec \"$SCRIPT\" sh \"$@\""
    );
    scene
        .run_call(&[])
        .within(&script)
        .output()
        .ok()
        .stdout("ran\nran\nran\n");
    assert_eq!(
        fs::read_to_string(before).unwrap(),
        fs::read_to_string(after).unwrap()
    );
}

#[test]
fn a_failed_create_leaves_the_callers_mount_table_as_it_was() {
    let mut scene = Scene::new();
    scene.bundle.args(&["no-such-command"]);
    let (before, after) = (scene.file("before"), scene.file("after"));
    let script = format!(
        "cat /proc/self/mountinfo > {}; ! \"$@\"; cat /proc/self/mountinfo > {}",
        before.display(),
        after.display()
    );
    let script = format!(
        "export SCRIPT='{script}'; exec unshare --mount --propagation private sh -ec \"$SCRIPT\" sh \"$@\""
    );
    scene.run_call(&[]).within(&script).output().ok();
    assert_eq!(
        fs::read_to_string(before).unwrap(),
        fs::read_to_string(after).unwrap()
    );
}

#[test]
fn shared_mounts_of_the_host_stay_untouched() {
    // a runtime that does not make its root private leaks every mount into a host whose / is shared (systemd's default)
    let scene = Scene::sh("echo ran");
    let after = scene.file("after");
    let script = format!(
        "cat /proc/self/mountinfo | wc -l; \"$@\"; cat /proc/self/mountinfo | wc -l; cp /proc/self/mountinfo {}",
        after.display()
    );
    let script = format!(
        "export SCRIPT='{script}'; exec unshare --mount --propagation shared sh -ec \"$SCRIPT\" sh \"$@\""
    );
    let output = scene.run_call(&[]).within(&script).output();
    let lines: Vec<_> = output.ok().stdout.lines().collect();
    assert_eq!(
        (lines[0], lines[1]),
        (lines[2], "ran"),
        "{}",
        fs::read_to_string(after).unwrap()
    );
    assert_eq!(
        leftovers::mounts(&scene.id, scene.path()),
        Vec::<String>::new()
    );
}

/// A mount namespace in which a container without one of its own cannot harm the machine's, kept by a process.
struct Sandbox(std::process::Child);

impl Sandbox {
    fn new() -> Self {
        let host = host("mnt");
        let child = std::process::Command::new("/usr/bin/unshare")
            .args(["--mount", "--propagation", "private", "/bin/sleep", "1000"])
            .spawn()
            .unwrap();
        let own = format!("/proc/{}/ns/mnt", child.id());
        child::until("the sandbox has mounts of its own", || {
            fs::read_link(&own).is_ok_and(|link| link.to_str() != Some(&host))
        });
        Self(child)
    }

    fn enter(&self, call: Call) -> Call {
        let enter = format!("exec nsenter --mount=/proc/{}/ns/mnt \"$@\"", self.0.id());
        call.within(&enter)
    }

    fn mounts(&self) -> String {
        fs::read_to_string(format!("/proc/{}/mountinfo", self.0.id())).unwrap()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn without_mount_namespace(script: &str) -> Scene {
    let mut scene = Scene::sh(script);
    scene.bundle.without_namespace("mount");
    scene.bundle.writable().edit(|spec| {
        // nothing can be masked in mounts that are the machine's
        spec["linux"]["maskedPaths"] = json!([]);
        spec["linux"]["readonlyPaths"] = json!([]);
    });
    scene
}

/// runc leaves every mount of such a container where it is.
#[test]
fn a_container_without_a_mount_namespace_leaves_no_mounts() {
    let scene = without_mount_namespace("cat /proc/mounts; sleep 1000");
    unless_runc!(scene, "1.1 unmounts nothing of such a container");
    let sandbox = Sandbox::new();
    let before = sandbox.mounts();
    let call = |verb: &str| sandbox.enter(scene.call([verb, &scene.id]));
    sandbox.enter(scene.create_call(&[])).output().ok();
    call("start").output().ok();
    let during = sandbox.mounts();
    assert!(
        during.lines().count() > before.lines().count() + 5,
        "{during}"
    );
    let delete = || sandbox.enter(scene.call(["delete", "--force", &scene.id]));
    delete().output().ok();
    assert_eq!(sandbox.mounts(), before);
    scene.nothing_left();

    // a mount of somebody else on the same root stays
    let rootfs = scene.bundle.rootfs();
    let bind = "nsenter --mount=/proc/$0/ns/mnt mount --bind \"$1\" \"$1\"";
    let bound = std::process::Command::new("/bin/sh")
        .args(["-c", bind, &sandbox.0.id().to_string()])
        .arg(&rootfs)
        .status();
    assert!(bound.unwrap().success());
    let before = sandbox.mounts();
    sandbox.enter(scene.run_call(&["--detach"])).output().ok();
    delete().output().ok();
    assert_eq!(sandbox.mounts(), before);
}

#[test]
fn a_create_without_a_mount_namespace_that_fails_or_is_killed_leaves_no_mounts() {
    let mut scene = without_mount_namespace("true");
    unless_runc!(scene, "1.1 unmounts nothing of such a container");
    let sandbox = Sandbox::new();
    let before = sandbox.mounts();
    scene.bundle.args(&["/no/such/program"]);
    sandbox.enter(scene.create_call(&[])).output().code(1);
    assert_eq!(sandbox.mounts(), before);
    scene.nothing_left();

    scene.bundle.args(&["/bin/true"]);
    let kill = |options: &str, number: u32| {
        let call = options.rsplit('=').next().unwrap();
        let kill = format!(
            "exec nsenter --mount=/proc/{}/ns/mnt strace -qq -o /dev/null {options} -e \
             inject={call}:signal=KILL:when={number} \"$@\"",
            sandbox.0.id()
        );
        let output = scene.create_call(&[]).within(&kill).output();
        assert!(!output.status.success(), "{options} {number}: {output}");
    };
    // the container's first process, which mounts what the bundle lists: the runtime cleans up
    for number in [1, 4, 7] {
        kill("-f -e trace=move_mount", number);
        assert_eq!(sandbox.mounts(), before, "{number}");
        scene.nothing_left();
    }
    // the runtime, which binds the root
    for number in [1, 2] {
        kill("-e trace=mount", number);
        let delete = scene.call(["delete", "--force", &scene.id]);
        sandbox.enter(delete).output().ok();
        assert_eq!(sandbox.mounts(), before, "{number}");
        scene.nothing_left();
    }
    // the bundle's files are checked when the scene ends
}

#[test]
fn without_a_mount_namespace_and_pivot_root_the_machines_proc_stays() {
    let scene = without_mount_namespace("true");
    unless_runc!(scene, "1.1 unmounts nothing of such a container");
    let sandbox = Sandbox::new();
    let before = sandbox.mounts();
    sandbox.enter(scene.run_call(&["--no-pivot"])).output().ok();
    assert_eq!(sandbox.mounts(), before);
}
