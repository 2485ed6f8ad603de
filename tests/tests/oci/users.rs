//! User namespaces: mappings, joined ones, and everything else of a container inside one.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};

use fragment_tests::Scene;
use fragment_tests::console::Socket;
use serde_json::{Value, json};

/// Where the container's root is on the host.
const ROOT: u32 = 200_000;

fn mapping(inside: u32, host: u32, size: u32) -> Value {
    json!({ "containerID": inside, "hostID": host, "size": size })
}

fn mapped(scene: &mut Scene, uid: &[Value], gid: &[Value]) {
    scene.bundle.namespace(json!({ "type": "user" }));
    scene.bundle.edit(|spec| {
        spec["linux"]["uidMappings"] = json!(uid);
        spec["linux"]["gidMappings"] = json!(gid);
    });
}

/// A scene whose container has a user namespace with one range.
fn scene(script: &str) -> Scene {
    let mut scene = Scene::sh(script);
    let range = [mapping(0, ROOT, 65536)];
    mapped(&mut scene, &range, &range);
    scene
}

#[test]
fn root_inside_is_somebody_else_outside() {
    let scene =
        scene("id -u; id -g; awk '{ print $1, $2, $3 }' /proc/self/uid_map /proc/self/gid_map");
    let map = format!("0 {ROOT} 65536\n");
    scene.run().ok().stdout(&format!("0\n0\n{map}{map}"));
}

#[test]
fn several_ranges_are_written_by_root_itself() {
    let mut scene = Scene::sh("awk '{ print $1, $2, $3 }' /proc/self/uid_map");
    let ranges = [
        mapping(0, ROOT, 1),
        mapping(1, 300_000, 1000),
        mapping(5000, 400_000, 10),
    ];
    mapped(&mut scene, &ranges, &ranges);
    scene
        .run()
        .ok()
        .stdout(&format!("0 {ROOT} 1\n1 300000 1000\n5000 400000 10\n"));
}

#[test]
fn ranges_that_overlap_are_refused_with_the_kernel_s_reason() {
    let mut scene = Scene::new();
    let ranges = [mapping(0, ROOT, 10), mapping(5, 300_000, 10)];
    mapped(&mut scene, &ranges, &ranges);
    let output = scene.create();
    unless_runc!(scene, "runc 1.1 says no more than exit status 1");
    output.fails_with("uid_map").fails_with("invalid argument");
    scene.nothing_left();
}

#[test]
fn the_process_is_seen_from_outside_as_mapped() {
    let mut scene = scene("");
    scene.bundle.edit(|spec| {
        spec["process"]["args"] = json!(["/bin/sleep", "1000"]);
        spec["process"]["user"] = json!({ "uid": 1000, "gid": 1001, "additionalGids": [5, 1002] });
    });
    scene.up();
    let status = fs::read_to_string(format!("/proc/{}/status", scene.pid())).unwrap();
    let line = |key: &str| {
        let line = status.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace()
            .skip(1)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(line("Uid:")[0], (ROOT + 1000).to_string());
    assert_eq!(line("Gid:")[0], (ROOT + 1001).to_string());
    assert_eq!(
        line("Groups:"),
        [ROOT + 5, ROOT + 1002].map(|id| id.to_string())
    );
    scene.delete();
}

#[test]
fn default_devices_are_the_hosts_and_work() {
    let script = "echo x > /dev/null && head -c 3 /dev/zero | wc -c && head -c 1 /dev/urandom | wc -c && ls /dev/fd/ > /dev/null && stat -c '%t,%T' /dev/full /dev/tty";
    scene(script).run().ok().stdout("3\n1\n1,7\n5,0\n");
}

#[test]
fn a_device_of_the_specification_is_bound() {
    let mut scene = scene("stat -c '%t,%T' /dev/fuse");
    let Ok(host) = fs::metadata("/dev/fuse") else {
        println!("skipped: no /dev/fuse on this machine");
        return;
    };
    let (major, minor) = (host.rdev() >> 8, host.rdev() & 0xff);
    scene.bundle.edit(|spec| {
        spec["linux"]["devices"] =
            json!([{ "path": "/dev/fuse", "type": "c", "major": major, "minor": minor }]);
    });
    scene.run().ok().stdout(&format!("{major:x},{minor:x}\n"));
}

#[test]
fn proc_sys_and_cgroups_are_there() {
    let script = "test -e /proc/self/stat && test -d /sys/class/net/lo && ls /sys/fs/cgroup | grep -c . > /dev/null && echo all";
    scene(script).run().ok().stdout("all\n");
}

#[test]
fn masks_hold() {
    let script =
        "cat /proc/keys; ls /sys/firmware; echo x > /proc/sys/kernel/domainname || echo no";
    let output = scene(script).run();
    output.ok().stdout("no\n");
}

#[test]
fn a_read_only_root_refuses_writes() {
    let output = scene("echo x > /tmp/x").run();
    assert!(output.stderr.contains("Read-only file system"), "{output}");
}

#[test]
fn files_of_a_writable_root_are_roots_of_the_namespace() {
    let mut scene = scene("echo x > /home/x && stat -c %u /home/x");
    scene.bundle.writable().expect("rootfs/home");
    let home = scene.bundle.rootfs().join("home");
    chown(&home, Some(ROOT), Some(ROOT)).unwrap();
    scene.run().ok().stdout("0\n");
    assert_eq!(fs::metadata(home.join("x")).unwrap().uid(), ROOT);
}

#[test]
fn a_bind_mount_behind_a_private_directory_is_made() {
    let mut scene = scene("cat /mnt/file");
    unless_runc!(scene, "runc 1.1 opens only some sources itself");
    let private = scene.file("private");
    fs::create_dir_all(private.join("shown")).unwrap();
    fs::write(private.join("shown/file"), "shown\n").unwrap();
    fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).unwrap();
    scene.bundle.mount(json!({
        "destination": "/mnt", "source": private.join("shown"), "options": ["rbind", "ro"]
    }));
    scene.run().ok().stdout("shown\n");
}

#[test]
fn a_read_only_bind_of_a_mount_with_locked_flags_keeps_them() {
    let mut scene = scene("grep ' /mnt ' /proc/mounts");
    unless_runc!(scene, "runc 1.1 does not keep flags that are locked");
    let source = scene.file("locked");
    fs::create_dir(&source).unwrap();
    let flags = rustix::mount::MountFlags::NOSUID
        | rustix::mount::MountFlags::NODEV
        | rustix::mount::MountFlags::NOEXEC;
    rustix::mount::mount("locked", &source, "tmpfs", flags, None).unwrap();
    scene.bundle.mount(json!({
        "destination": "/mnt", "source": source, "options": ["bind", "ro"]
    }));
    let output = scene.run();
    rustix::mount::unmount(&source, rustix::mount::UnmountFlags::empty()).unwrap();
    output
        .ok()
        .says("ro,")
        .says("nosuid")
        .says("nodev")
        .says("noexec");
}

#[test]
fn a_locked_flag_cannot_be_taken_away() {
    let mut scene = scene("true");
    unless_runc!(scene, "runc 1.1 leaves the flag without a word");
    let source = scene.file("locked");
    fs::create_dir(&source).unwrap();
    let flags = rustix::mount::MountFlags::NOEXEC;
    rustix::mount::mount("locked", &source, "tmpfs", flags, None).unwrap();
    scene.bundle.mount(json!({
        "destination": "/mnt", "source": source, "options": ["bind", "exec"]
    }));
    let output = scene.create();
    rustix::mount::unmount(&source, rustix::mount::UnmountFlags::empty()).unwrap();
    output
        .fails_with("/mnt")
        .fails_with("operation not permitted");
    scene.nothing_left();
}

#[test]
fn hooks_run_outside_and_inside() {
    let mut scene = scene("");
    scene.bundle.args(&["/bin/true"]);
    let hook = |name: &str| {
        let file = scene.file(name);
        let script = format!("readlink /proc/self/ns/user > {}", file.display());
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"] }])
    };
    let hooks = json!({ "createRuntime": hook("runtime"), "createContainer": hook("container") });
    let inside = scene.file("container");
    fs::write(&inside, "").unwrap();
    fs::set_permissions(&inside, fs::Permissions::from_mode(0o666)).unwrap();
    scene.bundle.edit(|spec| spec["hooks"] = hooks);
    scene.run().ok();
    let own = fs::read_link("/proc/self/ns/user").unwrap();
    let own = format!("{}\n", own.display());
    assert_eq!(fs::read_to_string(scene.file("runtime")).unwrap(), own);
    let inside = fs::read_to_string(inside).unwrap();
    assert!(inside.starts_with("user:[") && inside != own, "{inside}");
}

#[test]
fn a_terminal_is_made_inside() {
    let mut scene = scene("tty; echo on > /dev/console");
    scene
        .bundle
        .edit(|spec| spec["process"]["terminal"] = json!(true));
    let socket = Socket::bind(scene.file("console"));
    let mut terminal = scene.up_with_terminal(&socket);
    terminal.wait_for("/dev/pts/0");
    terminal.wait_for("on");
    scene.delete();
}

#[test]
fn a_namespace_with_a_path_is_joined() {
    let first = {
        let mut first = Scene::sleeper();
        let range = [mapping(0, ROOT, 65536)];
        mapped(&mut first, &range, &range);
        first
    };
    unless_runc!(first, "runc 1.1 wants the mappings once more");
    first.up();
    let (id, mut bundle) = first.another("joined");
    bundle.sh("readlink /proc/self/ns/user; readlink /proc/self/ns/net; id -u");
    bundle.edit(|spec| {
        let linux = spec["linux"].as_object_mut().unwrap();
        linux.remove("uidMappings");
        linux.remove("gidMappings");
    });
    for (kind, name) in [("user", "user"), ("network", "net")] {
        let path = format!("/proc/{}/ns/{name}", first.pid());
        bundle.namespace(json!({ "type": kind, "path": path }));
    }
    let link = |name: &str| fs::read_link(format!("/proc/{}/ns/{name}", first.pid())).unwrap();
    let output = first
        .call(["run", "--bundle"])
        .args([bundle.path()])
        .args([&id])
        .output();
    output.ok().stdout(&format!(
        "{}\n{}\n0\n",
        link("user").display(),
        link("net").display()
    ));
    first.delete();
}

#[test]
fn namespaces_of_the_host_are_joined_by_a_container_with_its_own_users() {
    // a pod's network that belongs to the host: joined before the user namespace, as by runc
    let first = Scene::sleeper();
    first.up();
    let (id, mut bundle) = first.another("joined");
    bundle.sh(
        "readlink /proc/self/ns/net; readlink /proc/self/ns/ipc; readlink /proc/self/ns/uts; id -u",
    );
    let range = json!([mapping(0, ROOT, 65536)]);
    bundle.edit(|spec| {
        spec["linux"]["uidMappings"] = range.clone();
        spec["linux"]["gidMappings"] = range;
        spec.as_object_mut().unwrap().remove("hostname");
        // mqueue and sysfs belong to namespaces that are not this container's
        let mounts = spec["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| {
            mount["type"] != "mqueue" && mount["type"] != "sysfs" && mount["type"] != "cgroup"
        });
    });
    bundle.namespace(json!({ "type": "user" }));
    let kinds = [("network", "net"), ("ipc", "ipc"), ("uts", "uts")];
    for (kind, name) in kinds {
        let path = format!("/proc/{}/ns/{name}", first.pid());
        bundle.namespace(json!({ "type": kind, "path": path }));
    }
    let link = |name: &str| fs::read_link(format!("/proc/{}/ns/{name}", first.pid())).unwrap();
    let mut expected = String::new();
    for (_, name) in kinds {
        expected.push_str(&format!("{}\n", link(name).display()));
    }
    let output = first
        .call(["run", "--bundle"])
        .args([bundle.path()])
        .args([&id])
        .output();
    output.ok().stdout(&format!("{expected}0\n"));
    first.delete();
}

#[test]
fn mappings_without_a_namespace_and_the_other_way_round() {
    unless_runc!(
        Scene::new(),
        "runc 1.1 drops mappings without a namespace in silence"
    );
    let range = json!([mapping(0, ROOT, 65536)]);
    let refused = |change: &dyn Fn(&mut Value), words: &str| {
        let mut scene = Scene::new();
        scene.bundle.edit(|spec| change(spec));
        scene.create().code(1).fails_with(words);
        scene.nothing_left();
    };
    refused(
        &|spec| spec["linux"]["uidMappings"] = range.clone(),
        "user namespace mappings specified, but user namespace isn't enabled in the config",
    );
    refused(
        &|spec| {
            let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.push(json!({ "type": "user" }));
        },
        "user namespaces enabled, but no namespace path to join nor mappings to apply specified",
    );
}
