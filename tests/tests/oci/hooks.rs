//! Hooks.

use std::fs;

use fragment_tests::Scene;
use serde_json::{Value, json};

/// A hook that stores its stdin beside the bundle, under its own name, with its place in the order of all of them.
fn recorder(scene: &Scene, name: &str) -> Value {
    let directory = scene.path().to_str().unwrap();
    json!({
        "path": "/bin/sh",
        "args": ["sh", "-c", format!("cat > {directory}/{name}.json; echo {name} >> {directory}/order")],
        "env": ["PATH=/bin:/usr/bin"]
    })
}

fn failing() -> Value {
    json!({ "path": "/bin/sh", "args": ["sh", "-c", "echo hook-says-no >&2; exit 3"] })
}

fn recorded(scene: &Scene, name: &str) -> Value {
    let text = fs::read_to_string(scene.file(&format!("{name}.json"))).unwrap();
    serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{name}: stdin is not JSON: {error}: {text:?}"))
}

fn with_hooks(names: &[&str]) -> Scene {
    let mut scene = Scene::new();
    let hooks: serde_json::Map<_, _> = names
        .iter()
        .map(|name| ((*name).to_owned(), json!([recorder(&scene, name)])))
        .collect();
    scene.bundle.edit(|spec| spec["hooks"] = hooks.into());
    scene
}

#[test]
fn they_run_in_the_order_of_the_specification() {
    let scene = with_hooks(&[
        "poststop",
        "poststart",
        "createContainer",
        "createRuntime",
        "prestart",
    ]);
    scene.create().ok();
    let order = || fs::read_to_string(scene.file("order")).unwrap_or_default();
    if scene.runtime.is_runc() {
        println!(
            "not asked of runc 1.1, which runs poststart at the end of create: the order before start"
        );
    } else {
        assert_eq!(order(), "prestart\ncreateRuntime\ncreateContainer\n");
    }
    scene.start().ok();
    scene.stopped();
    assert_eq!(
        order(),
        "prestart\ncreateRuntime\ncreateContainer\npoststart\n"
    );
    scene.verb("delete", &[]).ok();
    assert_eq!(
        order(),
        "prestart\ncreateRuntime\ncreateContainer\npoststart\npoststop\n"
    );
}

#[test]
fn the_state_is_on_stdin() {
    let names = [
        "prestart",
        "createRuntime",
        "createContainer",
        "poststart",
        "poststop",
    ];
    let mut scene = with_hooks(&names);
    scene
        .bundle
        .edit(|spec| spec["annotations"] = json!({ "org.example/key": "value" }));
    scene.up().stopped();
    scene.verb("delete", &[]).ok();
    for (name, status) in [
        ("prestart", "creating"),
        ("createRuntime", "creating"),
        ("createContainer", "creating"),
        ("poststop", "stopped"),
    ] {
        let state = recorded(&scene, name);
        assert_eq!(state["id"], scene.id.as_str(), "{name}");
        assert_eq!(
            state["bundle"],
            scene.bundle.path().to_str().unwrap(),
            "{name}"
        );
        assert_eq!(state["status"], status, "{name}");
        assert_eq!(state["annotations"]["org.example/key"], "value", "{name}");
        assert!(state["ociVersion"].is_string(), "{name}");
    }
    for name in ["prestart", "createRuntime"] {
        assert!(
            recorded(&scene, name)["pid"].as_u64().unwrap() > 0,
            "{name}"
        );
    }
}

/// Wherever the runtime itself is: while it makes the container that is not always where it was called.
#[test]
fn prestart_and_create_runtime_run_in_the_bundle() {
    let mut scene = Scene::new();
    let directory = scene.path().to_str().unwrap().to_owned();
    let hook = |name: &str| {
        let script = format!("pwd -P > {directory}/{name}");
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }])
    };
    let hooks = json!({ "prestart": hook("first"), "createRuntime": hook("second") });
    scene.bundle.edit(|spec| spec["hooks"] = hooks);
    let call = scene.create_call(&[]).directory("/usr");
    call.output().ok();
    scene.delete();
    for name in ["first", "second"] {
        let seen = fs::read_to_string(scene.file(name)).unwrap();
        assert_eq!(seen.trim_end(), scene.bundle.path().to_str().unwrap());
    }
}

#[test]
fn prestart_and_create_runtime_see_the_runtimes_mounts_and_the_containers_network() {
    // what docker's and CNI's hooks do: enter /proc/PID/ns/net from the host's side
    let mut scene = Scene::new();
    let directory = scene.path().to_str().unwrap().to_owned();
    let script = format!(
        "pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/'); readlink /proc/$pid/ns/net /proc/self/ns/mnt > {directory}/namespaces"
    );
    let hook =
        json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"] });
    scene
        .bundle
        .edit(|spec| spec["hooks"] = json!({ "prestart": [hook] }));
    scene.create().ok();
    let expected = [
        fs::read_link(format!("/proc/{}/ns/net", scene.pid())),
        fs::read_link("/proc/self/ns/mnt"),
    ];
    let expected: Vec<_> = expected
        .into_iter()
        .map(|link| link.unwrap().to_str().unwrap().to_owned())
        .collect();
    let seen = fs::read_to_string(scene.file("namespaces")).unwrap();
    assert_eq!(seen.lines().collect::<Vec<_>>(), expected);
    scene.delete();
}

#[test]
fn create_container_runs_in_the_containers_namespaces_before_the_pivot() {
    let mut scene = with_hooks(&[]);
    let directory = scene.path().to_str().unwrap().to_owned();
    let script = format!("readlink /proc/self/ns/mnt /proc/self/ns/net > {directory}/namespaces");
    let hook =
        json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"] });
    scene
        .bundle
        .edit(|spec| spec["hooks"] = json!({ "createContainer": [hook] }));
    scene.create().ok();
    let link = |name: &str| fs::read_link(format!("/proc/{}/ns/{name}", scene.pid())).unwrap();
    let seen = fs::read_to_string(scene.file("namespaces")).unwrap();
    assert_eq!(
        seen,
        format!("{}\n{}\n", link("mnt").display(), link("net").display())
    );
    scene.delete();
}

#[test]
fn start_container_runs_in_the_containers_root() {
    let mut scene = Scene::sh("cat /tmp/hook");
    scene.bundle.writable().expect("rootfs/tmp/hook");
    scene.bundle.edit(|spec| {
        let script = "cat > /tmp/state; grep -o user:x /etc/passwd > /tmp/hook; rm /tmp/state";
        spec["hooks"] = json!({ "startContainer": [{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin"] }] });
    });
    scene.run().ok().stdout("user:x\n");
}

#[test]
fn args_and_env_are_the_hooks_own() {
    let mut scene = Scene::new();
    let directory = scene.path().to_str().unwrap().to_owned();
    let script = format!("echo \"$0|$1|$A|$LEAK|${{TERM-unset}}\" > {directory}/seen");
    let hook = json!({ "path": "/bin/sh", "args": ["name", "-c", script, "zero", "one two"], "env": ["A=b"] });
    scene
        .bundle
        .edit(|spec| spec["hooks"] = json!({ "createRuntime": [hook] }));
    scene.run_call(&[]).env("LEAK", "1").output().ok();
    assert_eq!(
        fs::read_to_string(scene.file("seen")).unwrap().trim(),
        "zero|one two|b||unset"
    );
}

#[test]
fn several_of_one_kind_run_in_order_and_stop_at_the_first_failure() {
    let mut scene = Scene::new();
    let hooks =
        json!({ "prestart": [recorder(&scene, "one"), failing(), recorder(&scene, "two")] });
    scene.bundle.edit(|spec| spec["hooks"] = hooks);
    scene.create().fails_with("hook");
    assert_eq!(fs::read_to_string(scene.file("order")).unwrap(), "one\n");
    scene.nothing_left();
}

#[test]
fn a_failing_hook_before_start_fails_the_create_and_leaves_nothing() {
    for name in ["prestart", "createRuntime", "createContainer"] {
        let mut scene = Scene::new();
        scene
            .bundle
            .edit(|spec| spec["hooks"] = json!({ name: [failing()] }));
        scene.create().fails_with("hook");
        scene.nothing_left();
        scene.run().fails_with("hook");
        scene.nothing_left();
    }
}

#[test]
fn a_failing_hooks_stderr_is_in_the_error() {
    let mut scene = Scene::new();
    scene
        .bundle
        .edit(|spec| spec["hooks"] = json!({ "createRuntime": [failing()] }));
    scene.create().fails_with("hook-says-no");
}

#[test]
fn a_failing_start_container_keeps_the_program_from_running() {
    let mut scene = Scene::sh("echo ran > /tmp/result");
    scene.bundle.writable().edit(|spec| {
        let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", "exit 3"] });
        spec["hooks"] = json!({ "startContainer": [hook] });
    });
    scene.create().ok();
    let _ = scene.start();
    scene.stopped();
    assert!(!scene.bundle.rootfs().join("tmp/result").exists());
    scene.delete();
}

// the OCI specification: a failed poststart hook stops the container, and it is an error
#[test]
fn a_failing_poststart_is_an_error_and_stops_the_container() {
    let mut scene = Scene::sleeper();
    unless_runc!(
        scene,
        "runc 1.1 runs poststart at the end of create, which fails"
    );
    scene
        .bundle
        .edit(|spec| spec["hooks"] = json!({ "poststart": [failing()] }));
    scene.create().ok();
    scene.start().fails_with("hook");
    let state = scene.verb("state", &[]);
    assert!(
        !state.status.success() || state.json()["status"] == "stopped",
        "{state}"
    );
    scene.delete();
}

// the OCI specification, lifecycle 13: poststop failures are logged and the delete goes on
#[test]
fn a_failing_poststop_does_not_keep_delete_from_succeeding() {
    let mut scene = Scene::new();
    let hooks = json!({ "poststop": [failing(), recorder(&scene, "second")] });
    scene.bundle.edit(|spec| spec["hooks"] = hooks);
    scene.up().stopped();
    scene.verb("delete", &[]).ok();
    scene.nothing_left();
}

#[test]
fn poststop_runs_once_after_a_foreground_run_and_after_delete_force() {
    let mut scene = Scene::new();
    let hooks = json!({ "poststop": [recorder(&scene, "poststop")] });
    scene.bundle.edit(|spec| spec["hooks"] = hooks);
    scene.run().ok();
    assert_eq!(
        fs::read_to_string(scene.file("order")).unwrap(),
        "poststop\n"
    );
    scene.bundle.args(&["/bin/sleep", "1000"]);
    scene.up();
    scene.delete();
    assert_eq!(
        fs::read_to_string(scene.file("order")).unwrap(),
        "poststop\npoststop\n"
    );
}

#[test]
fn a_hook_that_takes_too_long_is_ended() {
    let mut scene = Scene::new();
    let hook = json!({ "path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1 });
    scene
        .bundle
        .edit(|spec| spec["hooks"] = json!({ "createRuntime": [hook] }));
    scene.create().fails_with("hook");
    scene.nothing_left();
}

#[test]
fn a_hook_that_does_not_exist_fails_the_create() {
    let mut scene = Scene::new();
    scene
        .bundle
        .edit(|spec| spec["hooks"] = json!({ "prestart": [{ "path": "/no/such/hook" }] }));
    scene.create().fails_with("/no/such/hook");
    scene.nothing_left();
}

#[test]
fn a_hook_that_does_not_read_its_stdin_is_fine() {
    let mut scene = Scene::new();
    let padding = "x".repeat(200_000); // more than a pipe holds
    scene.bundle.edit(|spec| {
        spec["annotations"] = json!({ "padding": padding });
        spec["hooks"] =
            json!({ "prestart": [{ "path": "/bin/true" }], "poststop": [{ "path": "/bin/true" }] });
    });
    scene.run().ok();
}
