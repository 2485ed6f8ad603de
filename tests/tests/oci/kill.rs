//! `kill`.

use fragment_tests::{FOREVER, Scene, child};

#[test]
fn signals_by_name_and_number() {
    for signal in ["TERM", "SIGTERM", "15", "term"] {
        let scene = Scene::sleeper();
        scene.up().ready();
        scene.call(["kill", &scene.id, signal]).output().ok();
        scene.stopped();
        scene.verb("delete", &[]).ok();
    }
}

#[test]
fn the_default_signal_is_term() {
    let mut scene = Scene::sh(&format!(
        "trap 'echo term > /tmp/result; exit' TERM; {FOREVER}"
    ));
    scene.bundle.writable().expect("rootfs/tmp/result");
    scene.up().ready();
    scene.verb("kill", &[]).ok();
    scene.stopped();
    assert_eq!(
        std::fs::read_to_string(scene.bundle.rootfs().join("tmp/result")).unwrap(),
        "term\n"
    );
    scene.verb("delete", &[]).ok();
}

// youki's kill marks the container stopped whatever the signal was (FACTS.md 1)
#[test]
fn a_signal_that_does_not_end_the_process_leaves_it_running() {
    let mut scene = Scene::sh(&format!("trap 'echo usr1 > /tmp/result' USR1; {FOREVER}"));
    scene.bundle.writable().expect("rootfs/tmp/result");
    scene.up().ready();
    scene.call(["kill", &scene.id, "USR1"]).output().ok();
    child::until("the trap ran", || {
        scene.bundle.rootfs().join("tmp/result").exists()
    });
    assert_eq!(scene.status(), "running");
    scene.delete();
}

/// The first process of a PID namespace gets no signal that it has no handler for: one that comes while it is still the runtime
/// is lost, and the program never hears of it.
#[test]
fn start_returns_when_the_program_is_there() {
    let scene = Scene::sleeper();
    if scene.runtime.is_runc() {
        eprintln!("skipped: runc's start returns when the process has been told to go on");
        return;
    }
    scene.create().ok();
    let program = || std::fs::read_link(format!("/proc/{}/exe", scene.pid())).unwrap();
    let before = program();
    scene.verb("start", &[]).ok();
    assert_ne!(program(), before);
    scene.delete();
}

#[test]
fn signal_0_asks_whether_it_lives() {
    let scene = Scene::sleeper();
    scene.up();
    let output = scene.call(["kill", &scene.id, "0"]).output();
    output.ok();
    assert_eq!(scene.status(), "running");
    scene.delete();
}

#[test]
fn an_unknown_signal_is_refused() {
    let scene = Scene::sleeper();
    scene.up();
    for signal in ["NOSUCH", "-1", "SIG", "9x"] {
        let output = scene
            .call(["kill", &scene.id, "--"])
            .args([signal])
            .output();
        assert!(!output.status.success(), "{signal} was taken\n{output}");
    }
    assert_eq!(scene.status(), "running");
    scene.delete();
}

#[test]
fn a_created_container_can_be_killed() {
    let scene = Scene::sleeper();
    scene.create().ok();
    scene.call(["kill", &scene.id, "KILL"]).output().ok();
    scene.stopped();
    scene.verb("delete", &[]).ok();
}

#[test]
fn a_stopped_container_refuses_a_signal_and_accepts_all() {
    let scene = Scene::new();
    scene.up().stopped();
    scene
        .call(["kill", &scene.id, "KILL"])
        .output()
        .fails_with("not running");
    scene.call(["kill", "--all", &scene.id, "9"]).output().ok();
    scene.call(["kill", "-a", &scene.id, "TERM"]).output().ok();
    scene.verb("delete", &[]).ok();
}

#[test]
fn all_reaches_every_process_of_the_container() {
    let mut scene = Scene::sh("sleep 1000 & sleep 1001 & wait");
    // without a pid namespace the end of the first process ends nobody else
    scene.bundle.without_namespace("pid");
    scene.up();
    let count = || fragment_tests::leftovers::processes(&scene.id).len();
    child::until("all three run", || count() >= 3);
    scene
        .call(["kill", "--all", &scene.id, "KILL"])
        .output()
        .ok();
    child::until("all are gone", || count() == 0);
    scene.stopped();
    scene.verb("delete", &[]).ok();
}
