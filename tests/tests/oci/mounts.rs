//! Options of mounts, one by one: what each does, and what is asked of combinations.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};

use fragment_tests::Scene;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use serde_json::{Value, json};

/// A tmpfs on the host that is gone at the end of the test, also of one that fails.
struct Mounted(Vec<std::path::PathBuf>);

impl Mounted {
    fn tmpfs(path: &std::path::Path, flags: MountFlags) -> Self {
        fs::create_dir_all(path).unwrap();
        rustix::mount::mount("fragment-test", path, "tmpfs", flags, None).unwrap();
        Self(vec![path.to_owned()])
    }

    fn with(mut self, path: &std::path::Path) -> Self {
        self.0
            .extend(Self::tmpfs(path, MountFlags::empty()).forget());
        self
    }

    fn forget(mut self) -> Vec<std::path::PathBuf> {
        std::mem::take(&mut self.0)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        for path in self.0.iter().rev() {
            let _ = rustix::mount::unmount(path, UnmountFlags::DETACH);
        }
    }
}

fn bind(scene: &mut Scene, options: &[&str]) {
    let source = scene.file("source");
    fs::create_dir_all(&source).unwrap();
    scene
        .bundle
        .mount(json!({ "destination": "/mnt", "source": source, "options": options }));
}

/// What /proc/self/mountinfo says about the mounts at and below /mnt: place, options of the mount, propagation.
const SHOW: &str = "awk '$5 ~ \"^/mnt\" { print $5, $6, $7 }' /proc/self/mountinfo";

#[test]
fn attributes_of_a_bind_mount() {
    for (option, shown) in [
        ("ro", "ro"),
        ("nosuid", "nosuid"),
        ("nodev", "nodev"),
        ("noexec", "noexec"),
        ("noatime", "noatime"),
        ("nodiratime", "nodiratime"),
    ] {
        let mut scene = Scene::sh(SHOW);
        bind(&mut scene, &["bind", option]);
        let output = scene.run();
        let line = output.ok().stdout.clone();
        let options: Vec<_> = line.split(' ').nth(1).unwrap().split(',').collect();
        assert!(options.contains(&shown), "{option}: {line}");
    }
}

#[test]
fn attributes_of_a_new_file_system() {
    let mut scene = Scene::sh(SHOW);
    scene.bundle.mount(json!({
        "destination": "/mnt", "type": "tmpfs", "source": "tmpfs",
        "options": ["ro", "nosuid", "nodev", "noexec", "noatime", "size=1m"]
    }));
    scene.run().ok().says("/mnt ro,nosuid,nodev,noexec,noatime");
}

#[test]
fn nosymfollow_is_a_restriction_of_the_mount() {
    for kind in ["bind", "tmpfs"] {
        let script =
            "ln -s target /mnt/link; echo x > /mnt/target; cat /mnt/link || echo not followed";
        let mut scene = Scene::sh(script);
        unless_runc!(scene, "runc 1.1 does not know nosymfollow");
        if kind == "bind" {
            bind(&mut scene, &["bind", "nosymfollow"]);
        } else {
            scene.bundle.mount(json!({
                "destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["nosymfollow"]
            }));
        }
        scene.run().ok().stdout("not followed\n");
    }
}

#[test]
fn synchronous_file_systems() {
    let mut scene = Scene::sh("grep ' /mnt ' /proc/mounts");
    scene.bundle.mount(json!({
        "destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["sync", "dirsync"]
    }));
    scene.run().ok().says("sync").says("dirsync");
}

#[test]
fn a_read_only_tmpfs_takes_mounts_inside_first() {
    let mut scene = Scene::sh("touch /mnt/x; touch /mnt/inner/x && ls /mnt");
    scene.bundle.mount(json!({
        "destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]
    }));
    scene
        .bundle
        .mount(json!({ "destination": "/mnt/inner", "type": "tmpfs", "source": "tmpfs" }));
    unless_runc!(scene, "runc 1.1 makes the tmpfs read-only at once");
    let output = scene.run();
    output.ok().stdout("inner\n");
    assert!(output.stderr.contains("Read-only file system"), "{output}");
}

#[test]
fn a_read_only_dev_has_its_devices() {
    let mut scene = Scene::sh("echo x > /dev/null && touch /dev/x || echo read-only");
    scene.bundle.edit(|spec| {
        let mounts = spec["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev/"));
        for mount in mounts {
            if mount["destination"] == "/dev" {
                mount["options"] = json!(["nosuid", "mode=755", "ro"]);
            }
        }
    });
    scene.run().ok().stdout("read-only\n");
}

#[test]
fn recursive_attributes_reach_what_is_mounted_below() {
    for (option, shown) in [
        ("rro", "ro"),
        ("rnosuid", "nosuid"),
        ("rnodev", "nodev"),
        ("rnoexec", "noexec"),
        ("rnoatime", "noatime"),
        ("rnodiratime", "nodiratime"),
        ("rnosymfollow", "nosymfollow"),
    ] {
        let mut scene = Scene::sh(SHOW);
        unless_runc!(scene, "runc 1.1 on Debian may lack some of them");
        let source = scene.file("source");
        let _mounted = Mounted::tmpfs(&source, MountFlags::empty()).with(&source.join("below"));
        bind(&mut scene, &["rbind", option]);
        let output = scene.run();
        let lines: Vec<_> = output.ok().stdout.lines().collect();
        assert_eq!(lines.len(), 2, "{output}");
        for line in lines {
            let options: Vec<_> = line.split(' ').nth(1).unwrap().split(',').collect();
            assert!(options.contains(&shown), "{option}: {line}");
        }
    }
}

#[test]
fn recursive_attributes_are_taken_away() {
    for (option, hidden) in [
        ("rrw", "ro"),
        ("rsuid", "nosuid"),
        ("rdev", "nodev"),
        ("rexec", "noexec"),
        ("rrelatime", "noatime"),
        ("rdiratime", "nodiratime"),
        ("ratime", "noatime"),
    ] {
        let mut scene = Scene::sh(SHOW);
        unless_runc!(scene, "runc 1.1 on Debian may lack some of them");
        let source = scene.file("source");
        let flags = MountFlags::RDONLY
            | MountFlags::NOSUID
            | MountFlags::NODEV
            | MountFlags::NOEXEC
            | MountFlags::NOATIME
            | MountFlags::NODIRATIME;
        let _mounted = Mounted::tmpfs(&source, flags);
        bind(&mut scene, &["rbind", option]);
        let output = scene.run();
        let line = output.ok().stdout.clone();
        let options: Vec<_> = line.split(' ').nth(1).unwrap().split(',').collect();
        assert!(!options.contains(&hidden), "{option}: {line}");
    }
}

#[test]
fn a_bind_mount_keeps_the_attributes_of_its_source() {
    let mut scene = Scene::sh(SHOW);
    let source = scene.file("source");
    let _mounted = Mounted::tmpfs(&source, MountFlags::NOEXEC | MountFlags::NOATIME);
    bind(&mut scene, &["bind"]);
    scene.run().ok().says("noexec").says("noatime");
}

#[test]
fn what_is_cleared_by_name_is_cleared() {
    let mut scene = Scene::sh(SHOW);
    unless_runc!(scene, "runc 1.1 clears nothing");
    let source = scene.file("source");
    let _mounted = Mounted::tmpfs(&source, MountFlags::RDONLY | MountFlags::NOEXEC);
    bind(&mut scene, &["bind", "rw", "exec"]);
    let output = scene.run();
    assert!(
        output.ok().stdout.starts_with("/mnt rw,relatime"),
        "{output}"
    );
}

#[test]
fn an_id_mapped_mount_shows_other_owners() {
    let mut scene = Scene::sh("stat -c '%u %g' /mnt/file; echo x > /mnt/new");
    unless_runc!(scene, "id-mapped mounts came with runc 1.2");
    let source = scene.file("source");
    let _mounted = Mounted::tmpfs(&source, MountFlags::empty());
    fs::write(source.join("file"), "").unwrap();
    chown(source.join("file"), Some(1000), Some(1001)).unwrap();
    chown(&source, Some(1000), Some(1000)).unwrap();
    let map = json!([{ "containerID": 1000, "hostID": 0, "size": 10 }]);
    scene.bundle.mount(json!({
        "destination": "/mnt", "source": source, "options": ["bind", "idmap"],
        "uidMappings": map, "gidMappings": map
    }));
    scene.run().ok().stdout("0 1\n");
    assert_eq!(fs::metadata(source.join("new")).unwrap().uid(), 1000);
}

#[test]
fn mappings_alone_make_an_id_mapped_mount() {
    let mut scene = Scene::sh("stat -c %u /mnt");
    unless_runc!(scene, "id-mapped mounts came with runc 1.2");
    let source = scene.file("source");
    let _mounted = Mounted::tmpfs(&source, MountFlags::empty());
    let map = json!([{ "containerID": 0, "hostID": 77, "size": 10 }]);
    scene.bundle.mount(json!({
        "destination": "/mnt", "source": source, "options": ["bind"],
        "uidMappings": map, "gidMappings": map
    }));
    scene.run().ok().stdout("77\n");
}

#[test]
fn ridmap_maps_what_is_mounted_below_and_idmap_does_not() {
    for (option, below) in [("idmap", 0), ("ridmap", 77)] {
        let mut scene = Scene::sh("stat -c %u /mnt /mnt/below");
        unless_runc!(scene, "id-mapped mounts came with runc 1.2");
        let source = scene.file("source");
        let _mounted = Mounted::tmpfs(&source, MountFlags::empty()).with(&source.join("below"));
        let map = json!([{ "containerID": 0, "hostID": 77, "size": 10 }]);
        scene.bundle.mount(json!({
            "destination": "/mnt", "source": source, "options": ["rbind", option],
            "uidMappings": map, "gidMappings": map
        }));
        scene.run().ok().stdout(&format!("77\n{below}\n"));
    }
}

#[test]
fn idmap_without_mappings_is_that_of_the_containers_namespace() {
    let mut scene = Scene::sh("stat -c %u /mnt/file /mnt/deeper; touch /mnt/new");
    unless_runc!(scene, "id-mapped mounts came with runc 1.2");
    let source = scene.file("source");
    let _mounted = Mounted::tmpfs(&source, MountFlags::empty());
    fs::write(source.join("file"), "").unwrap();
    let map = json!([{ "containerID": 0, "hostID": 200_000, "size": 65536 }]);
    scene.bundle.namespace(json!({ "type": "user" }));
    scene.bundle.edit(|spec| {
        spec["linux"]["uidMappings"] = map.clone();
        spec["linux"]["gidMappings"] = map;
    });
    scene.bundle.mount(json!({
        "destination": "/mnt", "source": source, "options": ["bind", "idmap"]
    }));
    // a later mount below it, and the mask over that, come in their turn
    fs::create_dir(source.join("deeper")).unwrap();
    scene
        .bundle
        .mount(json!({ "destination": "/mnt/deeper", "type": "tmpfs", "source": "tmpfs" }));
    scene.bundle.edit(|spec| {
        spec["linux"]["maskedPaths"]
            .as_array_mut()
            .unwrap()
            .push(json!("/mnt/file"));
    });
    scene.run().ok().stdout("65534\n0\n");
    assert_eq!(fs::metadata(source.join("new")).unwrap().uid(), 0);
}

#[test]
fn an_id_mapped_mount_has_to_be_a_bind_with_both_mappings() {
    let map = json!([{ "containerID": 0, "hostID": 77, "size": 10 }]);
    let refused = |mount: Value, words: &str| {
        let mut scene = Scene::new();
        if scene.runtime.is_runc() {
            println!("skipped under runc: id-mapped mounts came with runc 1.2");
            return;
        }
        scene.bundle.mount(mount);
        scene.create().code(1).fails_with(words);
        scene.nothing_left();
    };
    refused(
        json!({ "destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["idmap"],
                "uidMappings": map, "gidMappings": map }),
        "id-mapped mounts are only supported for bind-mounts",
    );
    refused(
        json!({ "destination": "/mnt", "source": "/tmp", "options": ["bind", "idmap"], "uidMappings": map }),
        "id-mapped mounts must have both uid and gid mappings specified",
    );
    refused(
        json!({ "destination": "/mnt", "source": "/tmp", "options": ["bind", "idmap"] }),
        "id-mapped mounts must have both uid and gid mappings specified",
    );
}

#[test]
fn every_kind_of_propagation() {
    for (option, own, below) in [
        ("private", "-", "-"),
        ("rprivate", "-", "-"),
        ("slave", "master", "-"),
        ("rslave", "master", "master"),
        ("shared", "shared", "-"),
        ("rshared", "shared", "shared"),
        ("unbindable", "unbindable", "-"),
        ("runbindable", "unbindable", "unbindable"),
    ] {
        let mut scene = Scene::sh(SHOW);
        let source = scene.file("source");
        let _mounted = Mounted::tmpfs(&source, MountFlags::empty()).with(&source.join("below"));
        for path in [source.clone(), source.join("below")] {
            rustix::mount::mount_change(&path, MountPropagationFlags::SHARED).unwrap();
        }
        bind(&mut scene, &["rbind", option]);
        let output = scene.run();
        let kinds: Vec<String> = output
            .ok()
            .stdout
            .lines()
            .map(|line| {
                let field = line.split(' ').nth(2).unwrap();
                field.split(':').next().unwrap().to_owned()
            })
            .collect();
        assert_eq!(kinds[0], own, "{option}\n{output}");
        if option.starts_with('r') {
            assert_eq!(kinds[1], below, "{option}\n{output}");
        }
    }
}

#[test]
fn a_file_is_bound_on_one_that_is_missing() {
    let mut scene = Scene::sh("cat /var/deep/file");
    scene.bundle.expect("rootfs/var/deep");
    let source = scene.file("file");
    fs::write(&source, "content\n").unwrap();
    scene.bundle.mount(json!({
        "destination": "/var/deep/file", "source": source, "options": ["bind"]
    }));
    scene.run().ok().stdout("content\n");
}

#[test]
fn a_relative_destination_is_below_the_root() {
    let mut scene = Scene::sh("cat /mnt/file");
    let source = scene.file("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "content\n").unwrap();
    scene
        .bundle
        .mount(json!({ "destination": "mnt", "source": source, "options": ["bind"] }));
    scene.run().ok().stdout("content\n");
}

#[test]
fn a_destination_behind_links_stays_inside() {
    let mut scene = Scene::sh("cat /home/inner/file");
    scene
        .bundle
        .link("../../../home", "var/link")
        .directory("home/inner", 0o755);
    let source = scene.file("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "content\n").unwrap();
    scene.bundle.mount(json!({
        "destination": "/var/link/inner", "source": source, "options": ["bind"]
    }));
    scene.run().ok().stdout("content\n");
}

#[test]
fn a_mount_over_a_device_node_covers_it() {
    let mut scene = Scene::sh("cat /dev/full; echo x > /dev/null; stat -c %t,%T /dev/null");
    let source = scene.file("file");
    fs::write(&source, "not full\n").unwrap();
    for (source, path) in [
        (source.to_str().unwrap(), "/dev/full"),
        ("/dev/null", "/dev/null"),
    ] {
        scene
            .bundle
            .mount(json!({ "destination": path, "source": source, "options": ["bind"] }));
    }
    scene.run().ok().stdout("not full\n1,3\n");
}

#[test]
fn the_hosts_dev_by_bind_is_taken_as_it_is() {
    let mut scene = Scene::sh(
        "ls /dev/pts > /dev/null && echo x > /dev/null && test ! -e /dev/fragment-made && echo fine; ls /dev/shm",
    );
    let source = scene.file("dev");
    let _mounted = Mounted::tmpfs(&source, MountFlags::empty());
    for (name, minor) in [("null", 3), ("zero", 5)] {
        let mode = rustix::fs::Mode::from_raw_mode(0o666);
        let device = rustix::fs::makedev(1, minor);
        let kind = rustix::fs::FileType::CharacterDevice;
        rustix::fs::mknodat(rustix::fs::CWD, source.join(name), kind, mode, device).unwrap();
    }
    for directory in ["pts", "shm"] {
        fs::create_dir(source.join(directory)).unwrap();
    }
    scene.bundle.edit(|spec| {
        for mount in spec["mounts"].as_array_mut().unwrap() {
            if mount["destination"] == "/dev" {
                *mount = json!({ "destination": "/dev", "source": source, "options": ["rbind"] });
            }
        }
        let mounts = spec["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| mount["destination"] != "/dev/mqueue");
    });
    scene.run().ok().stdout("fine\n");
    let mut names: Vec<_> = fs::read_dir(&source)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["null", "pts", "shm", "zero"],
        "nothing is made in it"
    );
}

#[test]
fn a_root_with_devices_of_its_own_needs_no_dev_mount() {
    let mut scene =
        Scene::sh("echo x > /dev/null; stat -c %t,%T /dev/null /dev/zero; readlink /dev/fd");
    scene.bundle.writable().expect("rootfs/dev");
    scene.bundle.edit(|spec| {
        let mounts = spec["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
    });
    // the second time, everything is there already
    for _ in 0..2 {
        scene.run().ok().stdout("1,3\n1,5\n/proc/self/fd\n");
    }
}

#[test]
fn options_of_a_file_system_on_a_bind_mount_are_ignored() {
    // as by crun and by runc before 1.2
    let mut scene = Scene::sh(SHOW);
    bind(&mut scene, &["bind", "nosuid", "size=1m", "mode=700"]);
    let run = scene.run();
    assert!(run.ok().stdout.starts_with("/mnt "), "{}", run.stdout);
    if !scene.runtime.is_runc() {
        let words = "ignoring size=1m,mode=700";
        assert!(run.stderr.contains(words), "{run}");
    }
}

#[test]
fn a_read_only_path_stays_executable() {
    // libcontainer takes noexec and nosuid for part of read-only
    let mut scene = Scene::sh("/bin/true && touch /bin/x || echo read-only");
    scene.bundle.writable();
    scene
        .bundle
        .edit(|spec| spec["linux"]["readonlyPaths"] = json!(["/bin"]));
    scene.run().ok().stdout("read-only\n");
}

// podman's image volumes and `:O`: fsconfig(2), which libcontainer mounts with, takes 255 bytes a value
#[test]
fn an_overlay_with_long_names_of_layers() {
    let mut scene = Scene::sh("cat /mnt/first /mnt/second");
    let layers = ["first", "second"].map(|name| {
        let layer = scene.file(&format!("{name}-{}", "x".repeat(150)));
        fs::create_dir_all(&layer).unwrap();
        fs::write(layer.join(name), format!("{name}\n")).unwrap();
        layer.display().to_string()
    });
    scene.bundle.mount(json!({
        "destination": "/mnt", "type": "overlay", "source": "overlay",
        "options": [format!("lowerdir={}", layers.join(":")), "private"],
    }));
    scene.run().ok().stdout("first\nsecond\n");
}
