//! A rootfs that is an engine's overlay: the components go below its layers, and the engine sees every write.

use std::fs;

use fragment_tests::{Overlay, Scene};
use serde_json::json;

fn shell(script: &str) -> Scene {
    Scene::only("/usr/bin/bash", &["-c", script])
}

#[test]
fn the_engine_sees_what_is_written_and_unmounts_it_by_path() {
    let scene = shell("echo written > /new; rm /etc/nsswitch.conf; ls /usr/bin | grep -c .");
    let overlay = Overlay::below(&scene);
    scene.run().ok();
    assert_eq!(overlay.written("new").as_deref(), Some("written\n"));
    assert_eq!(overlay.mounts(), ["fragment:1"]);
    overlay.down();
    assert!(overlay.mounts().is_empty());
}

#[test]
fn started_again_on_a_root_that_nobody_has_unmounted() {
    let scene = shell("[ -e /once ] && echo again; echo > /once");
    let overlay = Overlay::below(&scene);
    scene.run().ok().stdout("");
    // the components of the first time lie there: they are leased all the same
    scene.run().ok().stdout("again\n");
    assert_eq!(overlay.mounts(), ["fragment:1"]);
    overlay.down();
    overlay.up();
    scene.run().ok().stdout("again\n");
    overlay.down();
}

#[test]
fn a_create_that_fails_leaves_the_engine_its_own() {
    let mut scene = shell("true");
    scene.bundle.edit(|spec| {
        spec["hooks"] = json!({"createRuntime": [{"path": "/bin/false", "args": ["false"]}]});
    });
    let overlay = Overlay::below(&scene);
    scene.create().code(1);
    assert_eq!(overlay.mounts(), ["overlay"]);
    overlay.down();
    scene.nothing_left();
}

#[test]
fn a_root_that_lacks_nothing_is_left_as_it_is() {
    let scene = Scene::sleeper();
    let overlay = Overlay::below(&scene);
    scene.up();
    assert_eq!(overlay.mounts(), ["overlay"]);
    scene.delete();
    assert_eq!(overlay.mounts(), ["overlay"]);
    overlay.down();
}

#[test]
fn directories_the_engine_has_made_hide_nothing() {
    let scene = shell("test -e /etc/passwd && test -x /usr/bin/sh");
    let overlay = Overlay::with(&scene, ",metacopy=on");
    // through the overlay, so that the kernel marks it as new
    fs::create_dir(scene.bundle.rootfs().join("etc")).unwrap();
    scene.run().ok();
    overlay.down();
}

#[test]
fn an_overlay_that_is_mounted_twice_stays_and_sees_the_changes() {
    let mut scene = shell("echo written > /new");
    let overlay = Overlay::below(&scene);
    let second = scene.file("second");
    fs::create_dir(&second).unwrap();
    let mount = |flags: &[&str]| {
        let mut command = std::process::Command::new("mount");
        let paths = [scene.bundle.rootfs(), second.clone()];
        assert!(command.args(flags).args(paths).status().unwrap().success());
    };
    mount(&["--bind"]);
    let other = second.display().to_string();
    scene
        .bundle
        .edit(|spec| spec["root"]["path"] = json!(other));
    // a name that the engine remembers as absent
    assert!(!scene.bundle.rootfs().join("new").exists());
    scene.run().ok();
    assert_eq!(overlay.mounts(), ["overlay"]);
    assert_eq!(
        fs::read_to_string(scene.bundle.rootfs().join("new")).unwrap(),
        "written\n"
    );
    let status = std::process::Command::new("umount").arg(&second).status();
    assert!(status.unwrap().success());
    overlay.down();
}

#[test]
fn in_a_user_namespace_the_components_belong_to_its_root() {
    let mut scene =
        shell("stat -c %u /usr/bin/sh; echo more >> /etc/passwd; stat -c %u /etc/passwd");
    scene.bundle.namespace(json!({"type": "user"}));
    scene.bundle.edit(|spec| {
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        spec["linux"]["uidMappings"] = map.clone();
        spec["linux"]["gidMappings"] = map;
    });
    // as podman lays a container's root out
    for path in [scene.bundle.rootfs(), scene.path().to_owned()] {
        std::os::unix::fs::chown(path, Some(100_000), Some(100_000)).unwrap();
    }
    let rootfs = scene.bundle.rootfs();
    scene.bundle.note(&rootfs);
    scene.run().ok().stdout("0\n0\n");
    let changed = scene.bundle.rootfs().join("etc/passwd");
    assert!(fs::read_to_string(changed).unwrap().ends_with("more\n"));
    fs::remove_dir_all(scene.bundle.rootfs().join("etc")).unwrap();
}
