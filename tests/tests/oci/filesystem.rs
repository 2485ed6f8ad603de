//! The root, mounts, devices, masked and read-only paths.

use std::fs;

use fragment_tests::Scene;
use serde_json::{Value, json};

fn bind(source: &str, destination: &str, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": "bind", "source": source, "options": options })
}

#[test]
fn a_read_only_root_refuses_writes() {
    let scene = Scene::sh("touch /tmp/x");
    let output = scene.run();
    output.code(1);
    assert!(output.stderr.contains("Read-only file system"), "{output}");
}

#[test]
fn a_writable_roots_changes_are_in_the_bundle() {
    let mut scene = Scene::sh("echo new > /tmp/x; rm /etc/group; mkdir /var/d");
    scene
        .bundle
        .writable()
        .expect("rootfs/tmp/x")
        .expect("rootfs/etc/group")
        .expect("rootfs/var/d");
    scene.run().ok();
    let rootfs = scene.bundle.rootfs();
    assert_eq!(fs::read_to_string(rootfs.join("tmp/x")).unwrap(), "new\n");
    assert!(!rootfs.join("etc/group").exists() && rootfs.join("var/d").is_dir());
}

#[test]
fn an_absolute_root_path_works() {
    let mut scene = Scene::sh("echo ran");
    let rootfs = scene.bundle.rootfs();
    scene
        .bundle
        .edit(|spec| spec["root"]["path"] = json!(rootfs));
    scene.run().ok().stdout("ran\n");
}

#[test]
fn masked_files_are_empty_and_masked_directories_too() {
    let mut scene = Scene::sh("cat /etc/secret; ls /home");
    scene
        .bundle
        .file("etc/secret", "secret\n", 0o644)
        .file("home/secret", "secret\n", 0o644);
    scene.bundle.edit(|spec| {
        spec["linux"]["maskedPaths"] = json!(["/etc/secret", "/home", "/no/such/path"]);
    });
    scene.run().ok().stdout("");
}

/// CVE-2019-19921: what masks /proc would be mounted elsewhere.
#[test]
fn proc_and_sys_are_not_mounted_through_a_link_of_the_image() {
    for name in ["proc", "sys"] {
        let mut scene = Scene::sh("echo ran");
        let _ = fs::remove_dir(scene.bundle.rootfs().join(name));
        scene.bundle.link("/tmp", name);
        scene
            .run()
            .fails_with("must be mounted on ordinary directory");
    }
}

#[test]
fn the_default_masked_paths_of_proc_are_masked() {
    // a path that this kernel lacks is not made
    let script =
        "for f in /proc/timer_list /proc/keys; do [ -e $f ] && cat $f; done; ls /sys/firmware";
    assert!(
        std::fs::metadata("/proc/keys").is_ok() && std::fs::metadata("/sys/firmware").is_ok(),
        "nothing to mask on this machine"
    );
    Scene::sh(script).run().ok().stdout("");
}

#[test]
fn read_only_paths_refuse_writes_and_stay_readable() {
    let mut scene = Scene::sh(
        "cat /var/fixed/file; echo x > /var/fixed/file && echo written; echo y > /var/free && echo free",
    );
    scene
        .bundle
        .writable()
        .directory("var/fixed", 0o755)
        .file("var/fixed/file", "fixed\n", 0o644);
    scene.bundle.expect("rootfs/var/free");
    scene
        .bundle
        .edit(|spec| spec["linux"]["readonlyPaths"] = json!(["/var/fixed", "/no/such/path"]));
    scene.run().ok().stdout("fixed\nfree\n");
}

#[test]
fn proc_sys_is_read_only_by_default() {
    let output = Scene::sh("echo x > /proc/sys/kernel/domainname").run();
    assert!(output.stderr.contains("Read-only file system"), "{output}");
}

#[test]
fn tmpfs_with_size_and_mode() {
    let mut scene = Scene::sh("echo x > /mnt/x && cat /mnt/x; grep ' /mnt ' /proc/mounts");
    scene.bundle.mount(json!({
        "destination": "/mnt", "type": "tmpfs", "source": "tmpfs",
        "options": ["nosuid", "nodev", "noexec", "mode=0700", "size=64k"]
    }));
    let output = scene.run();
    output.ok().says("x\n");
    for option in ["rw", "nosuid", "nodev", "noexec", "size=64k", "mode=700"] {
        output.says(option);
    }
}

#[test]
fn bind_a_directory_read_write_and_read_only() {
    let mut scene =
        Scene::sh("cat /mnt/rw/in /mnt/ro/in; echo out > /mnt/rw/out; echo x > /mnt/ro/x");
    scene
        .bundle
        .directory("mnt/rw", 0o755)
        .directory("mnt/ro", 0o755);
    for name in ["rw", "ro"] {
        let source = scene.file(name);
        fs::create_dir(&source).unwrap();
        fs::write(source.join("in"), name).unwrap();
        scene.bundle.mount(bind(
            source.to_str().unwrap(),
            &format!("/mnt/{name}"),
            &["bind", name],
        ));
    }
    let output = scene.run();
    output.code(1).stdout("rwro");
    assert!(output.stderr.contains("Read-only file system"), "{output}");
    assert_eq!(
        fs::read_to_string(scene.file("rw").join("out")).unwrap(),
        "out\n"
    );
    assert!(!scene.file("ro").join("x").exists());
}

#[test]
fn bind_a_file_makes_its_target() {
    let mut scene = Scene::sh("cat /etc/made /etc/passwd");
    let source = scene.file("source");
    fs::write(&source, "bound\n").unwrap();
    scene.bundle.writable().expect("rootfs/etc/made");
    for target in ["/etc/made", "/etc/passwd"] {
        scene
            .bundle
            .mount(bind(source.to_str().unwrap(), target, &["rbind", "ro"]));
    }
    scene.run().ok().stdout("bound\nbound\n");
}

#[test]
fn a_bind_without_a_type_works_as_engines_write_it() {
    let mut scene = Scene::sh("cat /mnt/in");
    let source = scene.file("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("in"), "in\n").unwrap();
    let mount =
        json!({ "destination": "/mnt", "source": source, "options": ["rbind", "rprivate"] });
    scene.bundle.mount(mount);
    scene.run().ok().stdout("in\n");
}

#[test]
fn a_relative_bind_source_is_relative_to_the_bundle() {
    let mut scene = Scene::sh("cat /mnt/in");
    let source = scene.bundle.path().join("data");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("in"), "in\n").unwrap();
    scene
        .bundle
        .note_all()
        .mount(bind("data", "/mnt", &["bind"]));
    scene.run().ok().stdout("in\n");
}

#[test]
fn a_bind_source_that_is_missing_is_named() {
    let mut scene = Scene::new();
    scene
        .bundle
        .mount(bind("/no/such/source", "/mnt", &["bind"]));
    scene.create().fails_with("/no/such/source");
    scene.nothing_left();
    scene.run().fails_with("no such file or directory");
    scene.nothing_left();
}

// libcontainer rejects any mount without a source (FACTS.md 1); containerd and podman write tmpfs mounts so
#[test]
fn a_mount_without_a_source_works() {
    let mut scene = Scene::sh("grep -c -E ' /(mnt|home) tmpfs ' /proc/mounts");
    scene
        .bundle
        .mount(json!({ "destination": "/mnt", "type": "tmpfs" }));
    scene.bundle.mount(
        json!({ "destination": "/home", "type": "tmpfs", "source": "", "options": ["nosuid"] }),
    );
    scene.run().ok().stdout("2\n");
}

#[test]
fn mounts_are_made_in_order() {
    let mut scene = Scene::sh("cat /mnt/deep/in; ls /mnt");
    let source = scene.file("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("in"), "in\n").unwrap();
    scene
        .bundle
        .mount(json!({ "destination": "/mnt", "type": "tmpfs", "source": "tmpfs" }));
    scene
        .bundle
        .mount(bind(source.to_str().unwrap(), "/mnt/deep", &["bind"]));
    scene.run().ok().stdout("in\ndeep\n");
}

#[test]
fn a_mount_target_that_is_a_link_out_of_the_root_stays_inside() {
    let mut scene = Scene::sh("cat /target/in");
    let (source, outside) = (scene.file("source"), scene.file("outside"));
    fs::create_dir(&source).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(source.join("in"), "in\n").unwrap();
    // as a container-side path it does not exist; runtimes make it, below the root
    scene
        .bundle
        .writable()
        .link(outside.to_str().unwrap(), "target")
        .expect("rootfs/tmp");
    scene
        .bundle
        .mount(bind(source.to_str().unwrap(), "/target", &["bind"]));
    scene.run().ok().stdout("in\n");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn a_mount_over_proc_is_refused() {
    // CVE-2019-16884 and its kin: only procfs may cover /proc
    let mut scene = Scene::new();
    let source = scene.file("source");
    fs::create_dir(&source).unwrap();
    scene
        .bundle
        .mount(bind(source.to_str().unwrap(), "/proc", &["bind"]));
    scene.create().fails_with("proc");
    scene.nothing_left();
}

#[test]
fn an_unknown_file_system_type_is_an_error() {
    let mut scene = Scene::new();
    scene
        .bundle
        .mount(json!({ "destination": "/mnt", "type": "nosuchfs", "source": "x" }));
    scene.create().fails_with("no such device");
    scene.nothing_left();
}

// libcontainer rejects `rprivate` (FACTS.md 1); every engine writes it
#[test]
fn rootfs_propagation_values_of_engines_are_accepted() {
    for value in ["rprivate", "private", "rslave", "slave", ""] {
        let mut scene = Scene::sh("echo ran");
        scene
            .bundle
            .edit(|spec| spec["linux"]["rootfsPropagation"] = json!(value));
        scene.run().ok().stdout("ran\n");
    }
}

#[test]
fn an_unknown_rootfs_propagation_is_refused() {
    let mut scene = Scene::new();
    scene
        .bundle
        .edit(|spec| spec["linux"]["rootfsPropagation"] = json!("sideways"));
    scene.create().fails_with("propagation");
    scene.nothing_left();
}

#[test]
fn mounts_of_the_container_do_not_reach_the_host() {
    let mut scene = Scene::sh("mount -t tmpfs inside /mnt && grep -c inside /proc/mounts");
    scene.bundle.capabilities(&["CAP_SYS_ADMIN"]);
    let id = scene.id.clone();
    let before = fragment_tests::leftovers::mounts(&id, scene.path());
    scene.run().ok().stdout("1\n");
    assert_eq!(fragment_tests::leftovers::mounts(&id, scene.path()), before);
}

#[test]
fn nothing_of_the_host_is_mounted_in_the_container() {
    let scene = Scene::sh("cut -d' ' -f5 /proc/self/mountinfo");
    let output = scene.run();
    let expected_tops = ["/", "/proc", "/dev", "/sys"];
    for line in output.ok().stdout.lines() {
        let below = |top: &str| line == top || (top != "/" && line.starts_with(&format!("{top}/")));
        assert!(
            expected_tops.iter().any(|top| below(top)),
            "{line} is mounted\n{output}"
        );
    }
}

#[test]
fn the_default_devices_are_there() {
    let script =
        "for d in null zero full random urandom tty; do stat -c '%n %F %t:%T %a' /dev/$d; done";
    Scene::sh(script).run().ok().stdout(
        "/dev/null character special file 1:3 666\n/dev/zero character special file 1:5 666\n\
         /dev/full character special file 1:7 666\n/dev/random character special file 1:8 666\n\
         /dev/urandom character special file 1:9 666\n/dev/tty character special file 5:0 666\n",
    );
}

#[test]
fn the_default_links_of_dev_are_there() {
    let script = "for l in fd stdin stdout stderr ptmx; do readlink /dev/$l; done";
    Scene::sh(script)
        .run()
        .ok()
        .stdout("/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx\n");
}

#[test]
fn the_default_devices_work() {
    let script = "echo x > /dev/null && head -c 4 /dev/zero | wc -c && head -c 8 /dev/urandom | wc -c && echo x > /dev/full";
    let output = Scene::sh(script).run();
    output.code(1).stdout("4\n8\n");
    assert!(
        output.stderr.contains("No space left on device"),
        "{output}"
    );
}

#[test]
fn devices_of_the_spec_are_made() {
    let mut scene = Scene::sh("stat -c '%F %t:%T %a %u:%g' /dev/mine; head -c 3 /dev/mine | wc -c");
    scene.bundle.edit(|spec| {
        spec["linux"]["devices"] = json!([
            { "path": "/dev/mine", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 0, "gid": 7 }
        ]);
        spec["linux"]["resources"]["devices"] = json!([
            { "allow": false, "access": "rwm" },
            { "allow": true, "type": "c", "major": 1, "minor": 5, "access": "rwm" }
        ]);
    });
    scene
        .run()
        .ok()
        .stdout("character special file 1:5 640 0:7\n3\n");
}

#[test]
fn dev_pts_is_the_containers_own() {
    Scene::sh("ls /dev/pts").run().ok().stdout("ptmx\n");
}

#[test]
fn a_root_that_is_missing_is_named() {
    let mut scene = Scene::new();
    scene
        .bundle
        .edit(|spec| spec["root"]["path"] = json!("no-such-root"));
    scene.create().fails_with("no-such-root");
    scene.nothing_left();
}

#[test]
fn a_root_that_is_a_file_is_refused() {
    let mut scene = Scene::new();
    fs::write(scene.bundle.path().join("file"), "").unwrap();
    scene
        .bundle
        .note_all()
        .edit(|spec| spec["root"]["path"] = json!("file"));
    scene.create().fails_with("not a directory");
    scene.nothing_left();
}

#[test]
fn a_root_that_is_a_link_is_refused_or_followed_but_never_half() {
    // runc refuses it: the check that keeps a bundle from pointing at somebody else's root
    let mut scene = Scene::sh("echo ran");
    std::os::unix::fs::symlink("rootfs", scene.bundle.path().join("link")).unwrap();
    scene
        .bundle
        .note_all()
        .edit(|spec| spec["root"]["path"] = json!("link"));
    let output = scene.run();
    assert!(
        output.status.success() || !output.stderr.is_empty(),
        "{output}"
    );
    if output.status.success() {
        output.stdout("ran\n");
    }
    scene.nothing_left();
}

#[test]
fn without_a_root_it_is_refused() {
    let mut scene = Scene::new();
    scene.bundle.edit(|spec| {
        spec.as_object_mut().unwrap().remove("root");
    });
    scene.create().fails_with("root");
    scene.nothing_left();
}

#[test]
fn dev_shm_takes_files() {
    Scene::sh("echo x > /dev/shm/x && cat /dev/shm/x; stat -c %a /dev/shm")
        .run()
        .ok()
        .stdout("x\n1777\n");
}

#[test]
fn a_root_that_is_a_link_out_of_the_bundle_is_never_written_to() {
    let mut scene = Scene::new();
    let outside = scene.file("outside");
    fs::create_dir(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, scene.bundle.path().join("link")).unwrap();
    scene
        .bundle
        .note_all()
        .edit(|spec| spec["root"]["path"] = json!("link"));
    let output = scene.run();
    assert!(
        output.status.code().is_some_and(|code| code != 0),
        "{output}"
    );
    assert!(!output.stderr.is_empty(), "{output}");
    scene.nothing_left();
}

#[test]
fn a_file_bound_on_a_dangling_link_appears_where_the_link_leads() {
    // images of Debian and Ubuntu: /etc/resolv.conf -> ../run/systemd/resolve/stub-resolv.conf, and engines bind theirs on it
    let mut scene = Scene::sh("cat /etc/resolv.conf");
    let source = scene.file("resolv.conf");
    fs::write(&source, "nameserver 192.0.2.1\n").unwrap();
    scene
        .bundle
        .writable()
        .directory("run", 0o755)
        .expect("rootfs/run");
    scene
        .bundle
        .link("../run/systemd/resolve/stub-resolv.conf", "etc/resolv.conf");
    scene.bundle.mount(bind(
        source.to_str().unwrap(),
        "/etc/resolv.conf",
        &["rbind", "rprivate"],
    ));
    scene.run().ok().stdout("nameserver 192.0.2.1\n");
}
