//! Whole sequences of calls, word for word as engines make them (FACTS.md 2).

use std::fs;
use std::process::Stdio;

use fragment_tests::{Call, Scene, child};
use serde_json::json;

/// A call with the global options of containerd's shim.
fn shim(scene: &Scene, words: &[&str]) -> Call {
    let log = scene.file("log.json");
    let call = scene.call(["--log", log.to_str().unwrap(), "--log-format", "json"]);
    call.args(words).directory(scene.bundle.path())
}

#[test]
fn containerd() {
    let scene = Scene::sleeper();
    let (id, pid_file) = (scene.id.as_str(), scene.file("init.pid"));
    let bundle = scene.bundle.path().to_str().unwrap();
    shim(
        &scene,
        &[
            "create",
            "--bundle",
            bundle,
            "--pid-file",
            pid_file.to_str().unwrap(),
            id,
        ],
    )
    .output()
    .ok();
    let pid: u32 = fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    assert!(child::is_alive(pid));
    shim(&scene, &["start", id]).output().ok();

    let process = json!({
        "terminal": false, "user": { "uid": 0, "gid": 0 }, "args": ["cat", "/etc/group"],
        "env": ["PATH=/bin"], "cwd": "/", "noNewPrivileges": true
    });
    let (file, exec_pid) = (scene.file("process.json"), scene.file("exec.pid"));
    fs::write(&file, process.to_string()).unwrap();
    let words = [
        "exec",
        "--process",
        file.to_str().unwrap(),
        "--detach",
        "--pid-file",
        exec_pid.to_str().unwrap(),
        id,
    ];
    let output = shim(&scene, &words).output();
    output.ok();
    let exec_pid: u32 = fs::read_to_string(&exec_pid).unwrap().parse().unwrap();
    child::until("the exec has ended", || !child::is_alive(exec_pid));

    let pids = shim(&scene, &["ps", "--format", "json", id])
        .output()
        .ok()
        .json();
    assert!(pids.as_array().unwrap().contains(&json!(pid)), "{pids}");
    shim(&scene, &["kill", id, "15"]).output();
    shim(&scene, &["kill", "--all", id, "9"]).output().ok();
    child::until("init has ended", || !child::is_alive(pid));
    // the shim has reaped init; it deletes, and once more by force when it cleans up
    shim(&scene, &["delete", id]).output().ok();
    shim(&scene, &["delete", "--force", id]).output().ok();
    let log = fs::read_to_string(scene.file("log.json")).unwrap_or_default();
    assert!(!log.contains("\"panic"), "{log}");
}

#[test]
fn containerd_after_a_failed_create() {
    let mut scene = Scene::new();
    scene.bundle.args(&["no-such-command"]);
    let id = scene.id.as_str();
    let bundle = scene.bundle.path().to_str().unwrap();
    let pid_file = scene.file("init.pid");
    let words = [
        "create",
        "--bundle",
        bundle,
        "--pid-file",
        pid_file.to_str().unwrap(),
        id,
    ];
    shim(&scene, &words).output().fails_with("");
    shim(&scene, &["kill", "--all", id, "9"]).output();
    shim(&scene, &["delete", "--force", id]).output().ok();
    scene.nothing_left();
    // the shim takes the last line of the log as the reason
    let log = fs::read_to_string(scene.file("log.json")).unwrap();
    assert!(log.contains("executable file not found in $PATH"), "{log}");
}

/// What conmon does: pipes for stdout and stderr that it reads, stdin from `/dev/null`, its own pipes open besides.
#[test]
fn conmon() {
    let scene = Scene::sh(
        "echo out; echo err >&2; ls -l /proc/$$/fd 2> /dev/null | grep -c secret; exit 3",
    );
    let (id, pid_file) = (scene.id.as_str(), scene.file("pidfile"));
    let bundle = scene.bundle.path().to_str().unwrap();
    fs::write(scene.file("secret"), "secret").unwrap();
    let log = format!("--log={}", scene.file("oci-log").display());
    let call = scene.call([
        "--log-format=json",
        &log,
        "create",
        "--bundle",
        bundle,
        "--pid-file",
    ]);
    let call = call.args([&pid_file]).args([id]).directory(scene.path());
    let call = call.env("_OCI_SYNCPIPE", "5").env("_OCI_STARTPIPE", "6");
    let mut command = call.within("exec 5<secret 6<secret; exec \"$@\"").command();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut create = command.spawn().unwrap();
    let (stdout, stderr) = (create.stdout.take().unwrap(), create.stderr.take().unwrap());
    assert_eq!(
        child::wait_or_kill(&mut create, child::LIMIT, "create").code(),
        Some(0)
    );
    scene.call(["start", id]).output().ok();
    // the pipes end when the last process of the container has ended: the runtime keeps none of them
    assert_eq!(std::io::read_to_string(stdout).unwrap(), "out\n0\n");
    assert_eq!(std::io::read_to_string(stderr).unwrap(), "err\n");
    scene.stopped();
    scene.call(["delete", "--force", id]).output().ok();
}

#[test]
fn global_options_of_engines_are_known() {
    let scene = Scene::new();
    for options in [
        &["--debug"][..],
        &["--rootless=auto"],
        &["--criu", "criu"],
        &["--log", "/dev/null"],
        &["--log=/dev/null", "--log-format=json"],
    ] {
        scene
            .call(options)
            .args(["list", "-q"])
            .output()
            .ok()
            .stdout("");
    }
}

#[test]
fn options_of_create_that_engines_use_are_known() {
    let scene = Scene::sleeper();
    scene.create_call(&["--no-new-keyring"]).output().ok();
    scene.delete();
    scene
        .create_call(&["--no-pivot", "--no-new-keyring"])
        .output()
        .ok();
    scene.start().ok();
    assert_eq!(scene.status(), "running");
    scene.delete();
}

#[test]
fn podmans_probe_of_the_version_is_quick_and_needs_no_root_directory() {
    let scene = Scene::new();
    let output = scene.runtime.bare().args(["--version"]).output();
    output.ok().says("version").stderr("");
}

/// The pause container of Kubernetes: no environment, a static program, and then another container in its namespaces.
#[test]
fn a_pod() {
    let mut pause = Scene::new();
    pause
        .bundle
        .sh("trap 'exit 0' TERM; echo > /dev/shm/ready; while :; do sleep 1000 & wait $!; done");
    pause.bundle.edit(|spec| {
        spec["process"].as_object_mut().unwrap().remove("env");
        spec["process"]["user"] = json!({ "uid": 65535, "gid": 65535 });
    });
    pause.create().ok();
    pause.start().ok();
    let (id, mut bundle) = pause.another("app");
    bundle.sh("hostname; ip -o addr show lo | grep -c 127.0.0.1");
    for (kind, name) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts")] {
        bundle
            .namespace(json!({ "type": kind, "path": format!("/proc/{}/ns/{name}", pause.pid()) }));
    }
    bundle.edit(|spec| {
        spec.as_object_mut().unwrap().remove("hostname");
    });
    let output = pause
        .call(["run", "--bundle"])
        .args([bundle.path()])
        .args([&id])
        .output();
    output.ok().stdout("fragment\n1\n");
    pause.delete();
}
