//! Signals to the runtime itself.

use std::process::Child;

use fragment_tests::{FOREVER, Scene, child};
use rustix::process::Signal;

fn start(scene: &Scene) -> Child {
    let run = scene.run_call(&[]).command().spawn().unwrap();
    child::until("the container runs", || {
        let output = scene.verb("state", &[]);
        output.status.success() && output.json()["status"] == "running"
    });
    scene.ready();
    run
}

#[test]
fn a_foreground_run_forwards_signals() {
    for (name, signal, code) in [
        ("TERM", Signal::TERM, 5),
        ("INT", Signal::INT, 6),
        ("HUP", Signal::HUP, 7),
        ("USR1", Signal::USR1, 8),
        ("QUIT", Signal::QUIT, 9),
    ] {
        let scene = Scene::sh(&format!("trap 'exit {code}' {name}; {FOREVER}"));
        let mut run = start(&scene);
        child::signal(run.id(), signal).unwrap();
        assert_eq!(
            child::wait_or_kill(&mut run, child::LIMIT, "run").code(),
            Some(code),
            "{name}"
        );
    }
}

#[test]
fn a_foreground_run_that_is_killed_leaves_a_container_that_can_be_deleted() {
    let scene = Scene::sleeper();
    let mut run = start(&scene);
    let pid = scene.pid();
    run.kill().unwrap();
    run.wait().unwrap();
    assert!(child::is_alive(pid), "the container ended with its runtime");
    assert_eq!(scene.status(), "running");
    scene.delete();
}

#[test]
fn a_foreground_run_ends_when_its_container_is_deleted_from_elsewhere() {
    let scene = Scene::sleeper();
    let mut run = start(&scene);
    scene.delete();
    let code = child::wait_or_kill(&mut run, child::LIMIT, "run").code();
    assert!(code.is_some_and(|code| code != 0), "{code:?}");
}

#[test]
fn orphans_of_the_container_do_not_keep_a_foreground_run() {
    // the daemon's stdout is closed: a runtime that waits for the end of the output must not wait for it
    let mut scene = Scene::sh("setsid sleep 1000 > /dev/null 2>&1 < /dev/null & exit 4");
    scene.run().code(4);
    scene.bundle.without_namespace("pid");
    let output = scene.run();
    output.code(4);
}
