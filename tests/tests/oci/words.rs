//! Words that engines look for: a command that cannot be started ends with 127 or 126 in docker and podman because of them
//! (FACTS.md 2).

use fragment_tests::Scene;
use serde_json::json;

/// `create` fails with `words`, and so does `run`, and `exec` in a container that runs.
fn refused(command: &str, words: &str, prepare: impl Fn(&mut Scene)) {
    let mut scene = Scene::new();
    prepare(&mut scene);
    scene.bundle.args(&[command, "argument"]);
    scene.create().fails_with(words);
    scene.nothing_left();
    scene.run().fails_with(words);
    scene.nothing_left();
}

#[test]
fn a_command_that_is_not_in_path() {
    refused(
        "no-such-command",
        "exec: \"no-such-command\": executable file not found in $PATH",
        |_| {},
    );
}

#[test]
fn a_path_that_does_not_exist() {
    refused("/bin/no-such-command", "no such file or directory", |_| {});
}

#[test]
fn a_file_that_is_not_executable() {
    refused("/home/data", "permission denied", |scene| {
        scene.bundle.file("home/data", "#!/bin/sh\n", 0o644);
    });
}

#[test]
fn a_directory() {
    refused("/home", "permission denied", |_| {});
}

#[test]
fn a_path_below_a_file() {
    refused("/bin/busybox/x", "not a directory", |_| {});
}

#[test]
fn a_cyclic_link() {
    refused("/bin/cycle", "too many levels of symbolic links", |scene| {
        scene.bundle.link("cycle", "bin/cycle");
    });
}

#[test]
fn a_link_that_leads_out_of_the_rootfs_is_resolved_inside() {
    // a file of every Debian; in this rootfs it does not exist, nor in any component
    assert!(std::path::Path::new("/etc/login.defs").exists());
    refused("/bin/out", "no such file or directory", |scene| {
        scene
            .bundle
            .link("../../../../../../etc/login.defs", "bin/out");
    });
}

#[test]
fn an_unprivileged_users_missing_execute_bit() {
    refused("/home/tool", "permission denied", |scene| {
        scene.bundle.file("home/tool", "#!/bin/sh\n", 0o700);
        scene
            .bundle
            .edit(|spec| spec["process"]["user"] = json!({ "uid": 1000, "gid": 1000 }));
    });
}

#[test]
fn a_command_that_is_not_in_path_in_exec() {
    let scene = Scene::sleeper();
    scene.up();
    scene
        .exec(&["no-such-command"])
        .fails_with("exec: \"no-such-command\": executable file not found in $PATH");
    scene
        .exec(&["/bin/no-such-command"])
        .fails_with("no such file or directory");
    scene.exec(&["/etc/passwd"]).fails_with("permission denied");
    assert_eq!(scene.status(), "running");
    scene.delete();
}

/// `run` fails, with a word about it, and leaves nothing: runtimes that look before they leap fail in `create`, others when
/// the kernel refuses.
fn does_not_run(prepare: impl Fn(&mut Scene)) {
    let mut scene = Scene::new();
    scene.bundle.args(&["/home/tool"]);
    prepare(&mut scene);
    let output = scene.run();
    assert!(
        output.status.code().is_some_and(|code| code != 0),
        "{output}"
    );
    assert!(
        !output.stderr.trim().is_empty() && !output.stderr.contains("panicked"),
        "{output}"
    );
    scene.nothing_left();
}

#[test]
fn elf_files_that_are_cut_short() {
    let busybox = std::fs::read("/usr/bin/busybox").unwrap();
    for length in [4, 16, 63, 64, 100] {
        does_not_run(|scene| {
            let path = scene.bundle.rootfs().join("home/tool");
            scene.bundle.file("home/tool", "", 0o755);
            std::fs::write(&path, &busybox[..length]).unwrap();
            scene.bundle.note_all();
        });
    }
}

#[test]
fn a_file_of_another_machine() {
    let mut busybox = std::fs::read("/usr/bin/busybox").unwrap();
    // e_machine at offset 18 (elf(5)): 8 is MIPS
    busybox[18..20].copy_from_slice(&[8, 0]);
    does_not_run(|scene| {
        let path = scene.bundle.rootfs().join("home/tool");
        scene.bundle.file("home/tool", "", 0o755);
        std::fs::write(&path, &busybox).unwrap();
        scene.bundle.note_all();
    });
}

#[test]
fn an_empty_file() {
    does_not_run(|scene| {
        scene.bundle.file("home/tool", "", 0o755);
    });
}

#[test]
fn scripts_whose_interpreter_cannot_run() {
    for line in [
        "#!/no/such/interpreter\n",
        "#!/bin/sh\r\n",
        "#!/home\n",
        "#!\n",
        "#!/etc/passwd\n",
    ] {
        does_not_run(|scene| {
            scene.bundle.file("home/tool", line, 0o755);
        });
    }
}

#[test]
fn a_script_that_is_its_own_interpreter() {
    does_not_run(|scene| {
        scene.bundle.file("home/tool", "#!/home/tool\n", 0o755);
    });
}
