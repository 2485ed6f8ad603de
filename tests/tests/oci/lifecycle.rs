//! create, start, state, and what is refused in which state.

use std::fs;

use fragment_tests::{Scene, child};
use serde_json::json;

#[test]
fn created_running_stopped_gone() {
    let mut scene = Scene::sh("echo ran > /tmp/result");
    scene.bundle.writable().expect("rootfs/tmp/result");
    scene.create().ok().stdout("");
    assert_eq!(scene.status(), "created");
    assert!(
        !scene.bundle.rootfs().join("tmp/result").exists(),
        "the program runs before start"
    );
    scene.start().ok().stdout("");
    scene.stopped();
    assert_eq!(
        fs::read_to_string(scene.bundle.rootfs().join("tmp/result")).unwrap(),
        "ran\n"
    );
    scene.verb("delete", &[]).ok();
    scene.verb("state", &[]).fails_with("does not exist");
}

#[test]
fn state_has_the_fields_of_the_specification() {
    let mut scene = Scene::sleeper();
    scene
        .bundle
        .edit(|spec| spec["annotations"] = json!({ "org.example/key": "value with \"quotes\"" }));
    scene.create().ok();
    let created = scene.state();
    assert!(
        created["ociVersion"].as_str().unwrap().starts_with("1."),
        "{created}"
    );
    assert_eq!(created["id"], scene.id.as_str());
    assert_eq!(created["status"], "created");
    assert_eq!(created["bundle"], scene.bundle.path().to_str().unwrap());
    assert_eq!(
        created["annotations"]["org.example/key"],
        "value with \"quotes\""
    );
    let pid = scene.pid();
    assert!(child::is_alive(pid));
    scene.start().ok();
    assert_eq!((scene.status().as_str(), scene.pid()), ("running", pid));
    scene.call(["kill", &scene.id, "KILL"]).output().ok();
    scene.stopped();
    assert_eq!(scene.state()["pid"].as_u64().unwrap_or_default(), 0);
    scene.verb("delete", &[]).ok();
}

#[test]
fn state_has_runcs_extra_fields() {
    let scene = Scene::sleeper();
    scene.create().ok();
    let state = scene.state();
    assert_eq!(state["rootfs"], scene.bundle.rootfs().to_str().unwrap());
    // RFC 3339 in UTC, as `podman ps` and people read it
    let created = state["created"].as_str().unwrap();
    assert!(
        created.starts_with("20") && created.ends_with('Z') && created.contains('T'),
        "{created}"
    );
    assert!(state.get("owner").is_some(), "{state}");
    scene.delete();
}

#[test]
fn the_pid_file_holds_the_pid_without_a_newline() {
    let scene = Scene::sleeper();
    let path = scene.file("pid");
    scene
        .create_call(&["--pid-file", path.to_str().unwrap()])
        .output()
        .ok();
    assert_eq!(fs::read_to_string(&path).unwrap(), scene.pid().to_string());
    scene.delete();
}

#[test]
fn a_pid_file_that_cannot_be_written_fails_the_create() {
    let scene = Scene::sleeper();
    scene
        .create_call(&["--pid-file", "/no/such/directory/pid"])
        .output()
        .fails_with("no such file or directory");
    scene.nothing_left();
}

#[test]
fn the_pid_is_the_containers_first_process() {
    let scene = Scene::sleeper();
    scene.up();
    let own = fs::read_link("/proc/self/ns/pid").unwrap();
    let pid = scene.pid();
    assert_ne!(fs::read_link(format!("/proc/{pid}/ns/pid")).unwrap(), own);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("NSpid:"))
        .unwrap();
    assert_eq!(line.split_whitespace().last(), Some("1"));
    scene.delete();
}

#[test]
fn an_id_in_use_is_refused_and_its_container_left_alone() {
    let scene = Scene::sleeper();
    scene.up();
    let pid = scene.pid();
    scene.create().fails_with("exist");
    scene.run().fails_with("exist");
    assert_eq!((scene.status().as_str(), scene.pid()), ("running", pid));
    assert!(child::is_alive(pid));
    scene.delete();
}

#[test]
fn an_unknown_id_is_an_error_of_every_verb() {
    let scene = Scene::new();
    for arguments in [
        &["state", "unknown"][..],
        &["start", "unknown"],
        &["kill", "unknown", "TERM"],
        &["delete", "unknown"],
        &["ps", "unknown"],
        &["exec", "unknown", "/bin/true"],
    ] {
        let output = scene.call(arguments).output();
        output.fails_with("does not exist");
    }
}

#[test]
fn an_id_that_is_not_a_name_is_refused() {
    let scene = Scene::new();
    for id in ["", "..", ".", "a/b", "../../escape", "a b", "ü"] {
        let output = scene
            .call(["create", "--bundle"])
            .args([scene.bundle.path()])
            .args([id])
            .output();
        assert!(
            output.status.code().is_some_and(|code| code != 0),
            "{id:?} was taken\n{output}"
        );
        scene.nothing_left();
    }
}

#[test]
fn ids_with_every_allowed_character_work() {
    let mut scene = Scene::new();
    scene.id += "_aZ0+-.x";
    let id = scene.id.clone();
    scene
        .bundle
        .edit(|spec| spec["linux"]["cgroupsPath"] = json!(format!("/{id}")));
    scene.run().ok();
}

#[test]
fn starting_twice_is_refused() {
    let scene = Scene::sleeper();
    scene.up();
    scene.start().fails_with("cannot start");
    assert_eq!(scene.status(), "running");
    scene.delete();
}

#[test]
fn starting_a_stopped_container_is_refused() {
    let scene = Scene::new();
    scene.up().stopped();
    scene.start().fails_with("cannot start");
    scene.verb("delete", &[]).ok();
}

#[test]
fn a_container_outlives_the_runtime_and_its_callers_directory() {
    let scene = Scene::sleeper();
    let elsewhere = scene.file("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    scene.create_call(&[]).directory(&elsewhere).output().ok();
    fs::remove_dir(&elsewhere).unwrap();
    scene.start().ok();
    assert_eq!(scene.status(), "running");
    scene.delete();
}

#[test]
fn config_json_is_read_at_create_only() {
    let mut scene = Scene::sh("echo first > /tmp/result");
    scene.bundle.writable().expect("rootfs/tmp/result");
    scene.create().ok();
    scene.bundle.sh("echo second > /tmp/result");
    scene.start().ok();
    scene.stopped();
    assert_eq!(
        fs::read_to_string(scene.bundle.rootfs().join("tmp/result")).unwrap(),
        "first\n"
    );
    scene.verb("delete", &[]).ok();
}

#[test]
fn state_survives_the_removal_of_the_bundle() {
    // engines remove the bundle and delete afterwards
    let mut scene = Scene::sleeper();
    scene.up();
    fs::remove_dir_all(scene.bundle.path()).unwrap();
    assert_eq!(scene.status(), "running");
    scene.delete();
    fs::create_dir(scene.bundle.path()).unwrap();
    scene.bundle.note_all();
}

#[test]
fn two_containers_of_one_bundle_live_side_by_side() {
    let scene = Scene::sleeper();
    let (second, bundle) = scene.another("second");
    scene.up();
    scene
        .call(["run", "--detach", "--bundle"])
        .args([bundle.path()])
        .args([&second])
        .output()
        .ok();
    let state = scene.call(["state", &second]).output().ok().json();
    assert_eq!(
        (state["status"].as_str(), scene.status().as_str()),
        (Some("running"), "running")
    );
    assert_ne!(state["pid"], scene.state()["pid"]);
    scene.call(["delete", "--force", &second]).output().ok();
    assert_eq!(scene.status(), "running");
    scene.delete();
}

#[test]
fn the_root_directory_is_made_when_it_is_missing() {
    let scene = Scene::sh("echo ran");
    let root = scene.file("deep/er/state");
    let call = scene
        .runtime
        .bare()
        .args(["--root"])
        .args([&root])
        .args(["run", "--bundle"]);
    call.args([scene.bundle.path()])
        .args([&scene.id])
        .output()
        .ok()
        .stdout("ran\n");
    assert!(!root.join(&scene.id).exists());
}

#[test]
fn a_container_of_another_root_is_unknown() {
    let scene = Scene::sleeper();
    scene.up();
    let other = scene.file("other");
    let call = scene
        .runtime
        .bare()
        .args(["--root"])
        .args([&other])
        .args(["state", &scene.id]);
    call.output().fails_with("does not exist");
    scene.delete();
}

/// A script that makes the call in a pid namespace of its own, whose first process, `$first`, reaps nobody.
const IN_OWN_PIDS: &str = "
    unshare --pid --fork --mount-proc sleep 1000 &
    until first=$(echo $(cat /proc/$!/task/$!/children)) && [ \"$first\" ]; do :; done
    trap 'kill -KILL $first' EXIT
    until [ $(cat /proc/$first/comm) = sleep ]; do :; done
    inside() { nsenter --target $first --pid --mount \"$@\"; }
    inside \"$@\"";

// the record of libcontainer has no start time of the process (FACTS.md 1)
#[test]
fn a_process_that_got_the_containers_pid_is_not_the_container() {
    let scene = Scene::sleeper();
    let (runtime, root, id) = (scene.runtime.program(), scene.runtime.root(), &scene.id);
    let call = format!("inside {} --root {}", runtime.display(), root.display());
    // the pid is given out anew by ns_last_pid (proc_sys_kernel(5)); the container's parent never reaps it, so the
    // namespace's first process is replaced by a shell, which does
    let script = format!(
        "exec unshare --pid --fork --mount-proc sh -ec '
        inside() {{ \"$@\"; }}
        \"$@\"
        pid=$({call} state {id} | sed -n \"s/.*\\\"pid\\\": *\\([0-9]*\\).*/\\1/p\")
        kill -KILL $pid
        while [ -e /proc/$pid ]; do sleep 0.05; done
        sleep 0.1
        echo $((pid - 1)) > /proc/sys/kernel/ns_last_pid
        sleep 1000 & test $! = $pid || {{ echo got $! instead of $pid; exit 9; }}
        {call} state {id} | grep -o stopped
        {call} kill {id} KILL && echo killed || echo refused
        {call} delete {id} && echo deleted
        kill -0 $pid && echo untouched
        kill -KILL $pid' sh \"$@\""
    );
    let output = scene.run_call(&["--detach"]).within(&script).output();
    output.ok().stdout("stopped\nrefused\ndeleted\nuntouched\n");
}

#[test]
fn a_container_whose_parent_does_not_reap_it_is_stopped() {
    let scene = Scene::new();
    let (runtime, root, id) = (scene.runtime.program(), scene.runtime.root(), &scene.id);
    let call = format!("inside {} --root {}", runtime.display(), root.display());
    let script = format!(
        "{IN_OWN_PIDS}
        for turn in 1 2 3 4 5 6 7 8 9; do
            {call} state {id} | grep -o stopped && break
            sleep 0.2
        done
        {call} delete {id}"
    );
    scene
        .run_call(&["--detach"])
        .within(&script)
        .output()
        .ok()
        .stdout("stopped\n");
}

/// A signal that is sent before the program runs finds no handler, and process 1 of a PID namespace does not get it.
#[test]
fn start_returns_when_the_program_runs_however_long_hooks_take() {
    let mut scene = Scene::sleeper();
    scene.bundle.edit(|spec| {
        let hook = json!({ "path": "/bin/sleep", "args": ["sleep", "0.3"] });
        spec["hooks"] = json!({ "startContainer": [hook] });
    });
    scene.up();
    let program = std::fs::read_link(format!("/proc/{}/exe", scene.pid())).unwrap();
    assert!(program.ends_with("bin/busybox"), "{}", program.display());
    scene.delete();
}

#[test]
fn start_does_not_wait_for_a_program_that_cannot_run() {
    let mut scene = Scene::new();
    scene.bundle.file("bin/broken", "not a program", 0o755);
    scene.bundle.args(&["/bin/broken"]);
    scene.up();
    scene.stopped().delete();
}
