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
    // on the host /usr/bin/env exists; in this rootfs it does not
    refused("/bin/out", "no such file or directory", |scene| {
        scene
            .bundle
            .link("../../../../../../usr/bin/env", "bin/out");
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
