//! Devices of the specification, and the propagation of the root.

use fragment_tests::Scene;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use serde_json::json;

fn with_devices(script: &str, devices: &serde_json::Value) -> Scene {
    let mut scene = Scene::sh(script);
    scene
        .bundle
        .edit(|spec| spec["linux"]["devices"] = devices.clone());
    scene
}

#[test]
fn mode_and_owner_are_the_specs() {
    // the type bits that some engines leave in the mode do not matter
    let device = json!([{
        "path": "/dev/made", "type": "c", "major": 1, "minor": 7, "fileMode": 0o20640, "uid": 10, "gid": 11
    }]);
    let scene = with_devices("stat -c '%a %u %g %t,%T' /dev/made", &device);
    scene.run().ok().stdout("640 10 11 1,7\n");
}

#[test]
fn without_mode_and_owner_everybody_may_use_it() {
    let device = json!([{ "path": "/dev/made", "type": "u", "major": 1, "minor": 7 }]);
    let scene = with_devices("stat -c '%a %u %g %F' /dev/made", &device);
    scene.run().ok().stdout("666 0 0 character special file\n");
}

#[test]
fn blocks_and_pipes_too() {
    let devices = json!([
        { "path": "/dev/block", "type": "b", "major": 7, "minor": 99 },
        { "path": "/dev/pipe", "type": "p" }
    ]);
    let scene = with_devices("stat -c '%F' /dev/block /dev/pipe", &devices);
    scene.run().ok().stdout("block special file\nfifo\n");
}

#[test]
fn a_device_in_a_directory_of_its_own() {
    let devices = json!([{ "path": "/dev/a/b/made", "type": "c", "major": 1, "minor": 7 }]);
    with_devices("stat -c '%t,%T' /dev/a/b/made", &devices)
        .run()
        .ok()
        .stdout("1,7\n");
}

#[test]
fn a_device_outside_dev() {
    let devices = json!([{ "path": "/home/made", "type": "c", "major": 1, "minor": 7 }]);
    let mut scene = with_devices("stat -c '%t,%T' /home/made", &devices);
    scene.bundle.expect("rootfs/home/made");
    scene.run().ok().stdout("1,7\n");
}

#[test]
fn a_device_outside_dev_below_a_mount() {
    let devices = json!([{ "path": "/mnt/made", "type": "c", "major": 1, "minor": 7 }]);
    let mut scene = with_devices("stat -c '%t,%T' /mnt/made", &devices);
    scene
        .bundle
        .mount(json!({ "destination": "/mnt", "type": "tmpfs", "source": "tmpfs" }));
    scene.run().ok().stdout("1,7\n");
}

#[test]
fn one_that_stands_for_a_default_one_replaces_it() {
    let devices =
        json!([{ "path": "/dev/full", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600 }]);
    let scene = with_devices("stat -c '%a %t,%T' /dev/full", &devices);
    scene.run().ok().stdout("600 1,3\n");
}

#[test]
fn the_same_device_twice_is_made_once() {
    let one = json!({ "path": "/dev/made", "type": "c", "major": 1, "minor": 7 });
    let scene = with_devices("stat -c '%t,%T' /dev/made", &json!([one, one]));
    scene.run().ok().stdout("1,7\n");
}

#[test]
fn the_ptmx_of_the_host_does_not_replace_the_containers() {
    let devices = json!([{ "path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2 }]);
    let scene = with_devices("readlink /dev/ptmx", &devices);
    scene.run().ok().stdout("pts/ptmx\n");
}

/// What /proc/self/mountinfo says of the propagation of the container's root.
const ROOT: &str = "awk '$5 == \"/\" { print $7 }' /proc/self/mountinfo";

#[test]
fn the_propagation_of_the_root() {
    for (kind, shown) in [
        ("private", "-"),
        ("rprivate", "-"),
        ("slave", "master"),
        ("rslave", "master"),
        ("shared", "shared"),
        ("rshared", "shared"),
        ("unbindable", "unbindable"),
        ("runbindable", "unbindable"),
    ] {
        let mut scene = Scene::sh(ROOT);
        if scene.runtime.is_runc() && kind.contains("unbindable") {
            println!("skipped under runc: {kind} makes the root's bind mount fail there");
            continue;
        }
        // a root that is a shared mount of the host, so that there is something to be a slave of
        let rootfs = scene.bundle.rootfs();
        rustix::mount::mount_bind(&rootfs, &rootfs).unwrap();
        rustix::mount::mount_change(&rootfs, MountPropagationFlags::SHARED).unwrap();
        scene
            .bundle
            .edit(|spec| spec["linux"]["rootfsPropagation"] = json!(kind));
        let output = scene.run();
        rustix::mount::unmount(&rootfs, UnmountFlags::DETACH).unwrap();
        let field = output
            .ok()
            .stdout
            .trim()
            .split(':')
            .next()
            .unwrap_or_default()
            .to_owned();
        assert_eq!(field, shown, "{kind}\n{output}");
    }
}

#[test]
fn mounts_of_the_host_arrive_in_a_slave() {
    let mut scene = Scene::sleeper();
    let source = scene.file("source");
    std::fs::create_dir(&source).unwrap();
    rustix::mount::mount("fragment-test", &source, "tmpfs", MountFlags::empty(), None).unwrap();
    rustix::mount::mount_change(&source, MountPropagationFlags::SHARED).unwrap();
    let below = source.join("below");
    std::fs::create_dir(&below).unwrap();
    scene
        .bundle
        .mount(json!({ "destination": "/mnt", "source": source, "options": ["rbind", "rslave"] }));
    scene.up();
    rustix::mount::mount("fragment-later", &below, "tmpfs", MountFlags::empty(), None).unwrap();
    let output = scene.exec(&["grep", "-c", " /mnt/below ", "/proc/self/mounts"]);
    scene.delete();
    rustix::mount::unmount(&below, UnmountFlags::DETACH).unwrap();
    rustix::mount::unmount(&source, UnmountFlags::DETACH).unwrap();
    output.ok().stdout("1\n");
}
