//! `checkpoint` and `restore`. criu does not work on every kernel; what it is told and what becomes of its answer is tested with a
//! script in its place.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use fragment_tests::{Call, Scene, child};
use serde_json::json;

/// A script that criu is to be.
fn criu(scene: &Scene, script: &str) -> String {
    let path = scene.file("criu");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

fn checkpoint(scene: &Scene, criu: &str, options: &[&str]) -> Call {
    let call = scene.call(["--criu", criu, "checkpoint"]).args(options);
    call.args(["--image-path"])
        .args([scene.file("images")])
        .args([&scene.id])
}

/// What the last call of the script was told.
fn told(scene: &Scene) -> String {
    fs::read_to_string(scene.file("told")).unwrap()
}

fn recorder(scene: &Scene) -> String {
    criu(
        scene,
        &format!("echo \"$*\" > {}", scene.file("told").display()),
    )
}

#[test]
fn help_names_every_flag_of_runcs() {
    // podman asks for this to find out whether there is a checkpoint
    let scene = Scene::new();
    let output = scene.call(["checkpoint", "--help"]).output();
    for flag in [
        "image-path",
        "work-path",
        "parent-path",
        "leave-running",
        "tcp-established",
        "ext-unix-sk",
        "shell-job",
        "lazy-pages",
        "status-fd",
        "page-server",
        "file-locks",
        "pre-dump",
        "manage-cgroups-mode",
        "empty-ns",
        "auto-dedup",
    ] {
        output.ok().says(&format!("--{flag}"));
    }
}

#[test]
fn without_criu_the_error_names_it() {
    let scene = Scene::sleeper();
    unless_runc!(scene, "runc ignores --criu");
    scene.up();
    let output = checkpoint(&scene, "/no/such/criu", &[]).output();
    output.fails_with("/no/such/criu; install criu, or name its program with --criu: no such file");
    assert_eq!(scene.status(), "running");
    scene.delete();
}

#[test]
fn a_failure_of_criu_is_told_with_its_reason_and_log() {
    let scene = Scene::sleeper();
    unless_runc!(scene, "runc ignores --criu");
    scene.up();
    let log = scene.file("work").join("dump.log");
    let script = format!(
        "echo '(00.1) Error (criu/x.c:7): the kernel is too new' > {}; exit 1",
        log.display()
    );
    let failing = criu(&scene, &script);
    let work = scene.file("work");
    let output = checkpoint(&scene, &failing, &["--work-path", work.to_str().unwrap()]).output();
    output.fails_with(&format!(
        "criu failed: type dump: the kernel is too new; log file: {}",
        log.display()
    ));
    assert_eq!(scene.status(), "running");
    // one that says nothing is asked what it has against this kernel
    let mute = criu(
        &scene,
        "[ $1 = check ] && echo 'Error (criu/y.c:8): no such feature' >&2; exit 1",
    );
    let output = checkpoint(&scene, &mute, &[]).output();
    output.fails_with("criu does not work on this kernel");
    output.fails_with("no such feature");
    scene.delete();
}

#[test]
fn criu_is_told_of_the_containers_own_file_of_options() {
    let mut scene = Scene::sleeper();
    unless_runc!(scene, "runc ignores --criu");
    let config = scene.file("criu.conf");
    scene.bundle.edit(|spec| {
        spec["annotations"] = json!({ "org.criu.config": config });
    });
    scene.up();
    let recorder = recorder(&scene);
    // one that is not there is none
    checkpoint(&scene, &recorder, &["--leave-running"])
        .output()
        .ok();
    let without = told(&scene);
    assert!(!without.contains("--config"), "{without}");
    assert!(without.contains("--log-file dump.log"), "{without}");
    fs::write(&config, "log-file=other.log\n").unwrap();
    checkpoint(&scene, &recorder, &["--leave-running"])
        .output()
        .ok();
    let with = told(&scene);
    assert!(
        with.contains(&format!("--config {}", config.display())),
        "{with}"
    );
    // criu would prefer what it is told on the command line
    assert!(!with.contains("--log-file"), "{with}");
    assert!(with.contains("--manage-cgroups=soft"), "{with}");
    scene.delete();
}

#[test]
fn a_saved_container_is_removed_unless_it_is_to_go_on() {
    let scene = Scene::sleeper();
    unless_runc!(scene, "runc ignores --criu");
    scene.up();
    let recorder = recorder(&scene);
    for option in ["--leave-running", "--pre-dump"] {
        checkpoint(&scene, &recorder, &[option]).output().ok();
        assert_eq!(scene.status(), "running");
    }
    assert!(told(&scene).starts_with("pre-dump "));
    let pid = scene.pid();
    checkpoint(&scene, &recorder, &[]).output().ok();
    let told = told(&scene);
    assert!(told.starts_with("dump "), "{told}");
    assert!(told.contains(&format!("--tree {pid} ")), "{told}");
    assert!(told.contains("--manage-cgroups=soft"), "{told}");
    assert!(
        told.contains("--external mnt[/proc/keys]:/dev/null"),
        "{told}"
    );
    scene.verb("state", &[]).fails_with("does not exist");
    scene.nothing_left();
    let streams = fs::read_to_string(scene.file("images/descriptors.json")).unwrap();
    assert_eq!(streams.matches('"').count(), 6, "{streams}");
}

#[test]
fn flags_reach_criu() {
    let mut scene = Scene::sleeper();
    unless_runc!(scene, "runc ignores --criu");
    scene.bundle.mount(json!({
        "destination": "/home", "type": "bind", "source": "/tmp", "options": ["rbind", "ro"]
    }));
    scene.up();
    let recorder = recorder(&scene);
    fs::create_dir_all(scene.file("images")).unwrap();
    fs::create_dir_all(scene.file("parent")).unwrap();
    let options = [
        "--leave-running",
        "--tcp-established",
        "--ext-unix-sk",
        "--shell-job",
        "--file-locks",
        "--auto-dedup",
        "--page-server",
        "10.0.0.1:77",
        "--manage-cgroups-mode",
        "full",
        "--parent-path",
        "../parent",
        "--empty-ns",
        "network",
    ];
    checkpoint(&scene, &recorder, &options).output().ok();
    let told = told(&scene);
    for words in [
        "--leave-running",
        "--tcp-established",
        "--ext-unix-sk",
        "--shell-job",
        "--file-locks",
        "--auto-dedup",
        "--page-server --address 10.0.0.1 --port 77",
        "--manage-cgroups=full",
        "--track-mem --prev-images-dir ../parent",
        "--empty-ns net",
        "--external mnt[/home]:/home",
    ] {
        assert!(told.contains(words), "{words} is not in {told}");
    }
    scene.delete();
}

#[test]
fn runcs_words_for_what_is_refused() {
    let mut scene = Scene::sleeper();
    unless_runc!(scene, "runc needs criu to be there");
    scene.create().ok();
    let recorder = recorder(&scene);
    let refused = |options: &[&str], words: &str| {
        checkpoint(&scene, &recorder, options)
            .output()
            .fails_with(words);
    };
    refused(&[], "container cannot be checkpointed in created state");
    scene.start().ok();
    refused(&["--parent-path", "/tmp"], "--parent-path must be relative");
    refused(&["--parent-path", "nowhere"], "invalid --parent-path:");
    refused(
        &["--page-server", "nowhere"],
        "use --page-server address:port",
    );
    refused(&["--page-server", "a:x"], "invalid port number");
    refused(
        &["--manage-cgroups-mode", "hard"],
        "invalid manage cgroups mode",
    );
    refused(&["--empty-ns", "pid"], "namespace \"pid\" is not supported");
    scene.delete();
    scene
        .call(["--criu", &recorder, "checkpoint", &scene.id])
        .output()
        .fails_with("does not exist");
    scene
        .bundle
        .edit(|spec| spec["process"]["terminal"] = json!(true));
    let socket = fragment_tests::console::Socket::bind(scene.file("console"));
    let options = ["--console-socket", socket.path().to_str().unwrap()];
    scene.create_call(&options).output().ok();
    scene.start().ok();
    // its other side goes over criu's socket only; whoever ends without an answer there has saved nothing
    let script = format!(
        "[ $1 = check ] || echo \"$*\" > {}",
        scene.file("told").display()
    );
    let mute = criu(&scene, &script);
    checkpoint(&scene, &mute, &[])
        .output()
        .fails_with("criu failed: type dump: ");
    assert!(told(&scene).starts_with("swrk "));
    assert_eq!(scene.status(), "running");
    scene.delete();
}

#[test]
fn a_restore_that_fails_leaves_nothing() {
    let scene = Scene::sleeper();
    unless_runc!(scene, "runc ignores --criu");
    let images = scene.file("images");
    fs::create_dir(&images).unwrap();
    fs::write(
        images.join("descriptors.json"),
        "[\"/dev/null\",\"pipe:[1]\",\"\"]",
    )
    .unwrap();
    let restore = |criu: &str| {
        let call = scene.call(["--criu", criu, "restore", "--detach", "--image-path"]);
        let call = call
            .args([&images])
            .args(["--bundle"])
            .args([scene.bundle.path()]);
        call.args([&scene.id]).output()
    };
    let script = format!(
        "[ $1 = check ] || echo \"$*\" > {}; exit 3",
        scene.file("told").display()
    );
    restore(&criu(&scene, &script)).fails_with("criu failed: type restore: ");
    let told = told(&scene);
    for words in [
        "--restore-detached --restore-sibling",
        "--inherit-fd fd[1]:pipe:[1]",
        "mnt[/dev/null]:/dev/null",
    ] {
        assert!(told.contains(words), "{words} is not in {told}");
    }
    scene.nothing_left();
    restore("/no/such/criu").fails_with("/no/such/criu; install criu");
    scene.nothing_left();
}

#[test]
fn a_container_goes_on_where_it_was() {
    let path = PathBuf::from("/usr/sbin/criu");
    let works = std::process::Command::new(&path)
        .args(["check", "--no-default-config"])
        .output();
    if !works.is_ok_and(|done| done.status.success()) {
        println!("skipped: criu is not there or does not work on this kernel");
        return;
    }
    let script = "n=0; while [ ! -e /dev/shm/stop ]; do n=$((n+1)); echo $n > /dev/shm/n; sleep 0.1; done; exit 7";
    let scene = Scene::sh(script);
    let count = || -> u32 {
        let text = scene.exec(&["cat", "/dev/shm/n"]).ok().stdout.clone();
        text.trim().parse().unwrap_or(0)
    };
    scene.up();
    child::until("it has counted", || count() > 3);
    let before = count();
    checkpoint(&scene, "criu", &[]).output().ok();
    scene.nothing_left();
    let restore = |options: &[&str]| {
        let call = scene
            .call(["restore", "--image-path"])
            .args([scene.file("images")]);
        let call = call
            .args(options)
            .args(["--bundle"])
            .args([scene.bundle.path()]);
        call.args([&scene.id])
    };
    restore(&["--detach"]).output().ok();
    assert_eq!(scene.status(), "running");
    assert!(count() >= before);
    fs::remove_dir_all(scene.file("images")).unwrap();
    checkpoint(&scene, "criu", &[]).output().ok();
    let mut run = restore(&[]).command().spawn().unwrap();
    child::until("it runs again", || {
        scene.exec(&["touch", "/dev/shm/stop"]).status.success()
    });
    let status = child::wait_or_kill(&mut run, child::LIMIT, "restore");
    assert_eq!(status.code(), Some(7));
}
