//! `delete`.

use fragment_tests::{Scene, child};

#[test]
fn a_running_container_is_refused() {
    let scene = Scene::sleeper();
    scene.up();
    let pid = scene.pid();
    scene.verb("delete", &[]).fails_with("running");
    assert!(child::is_alive(pid));
    scene.delete();
    assert!(!child::is_alive(pid));
}

#[test]
fn a_created_container_is_deleted_with_its_process() {
    let scene = Scene::sleeper();
    scene.create().ok();
    let pid = scene.pid();
    scene.verb("delete", &[]).ok();
    assert!(!child::is_alive(pid));
}

#[test]
fn force_kills_first() {
    for created_only in [true, false] {
        let scene = Scene::sleeper();
        scene.create().ok();
        if !created_only {
            scene.start().ok();
        }
        scene.verb("delete", &["-f"]).ok();
        scene.nothing_left();
    }
}

// engines clean up with it after a create that failed (FACTS.md 2)
#[test]
fn force_of_an_unknown_id_exits_with_0() {
    let scene = Scene::new();
    scene.call(["delete", "--force", &scene.id]).output().ok();
    scene.nothing_left();
}

#[test]
fn without_force_an_unknown_id_is_an_error() {
    let scene = Scene::new();
    scene
        .call(["delete", &scene.id])
        .output()
        .fails_with("does not exist");
}

#[test]
fn deleting_twice_is_an_error() {
    let scene = Scene::new();
    scene.up().stopped();
    scene.verb("delete", &[]).ok();
    scene.verb("delete", &[]).fails_with("does not exist");
}

#[test]
fn force_ends_every_process_without_a_pid_namespace() {
    let mut scene = Scene::sh("sleep 1000 & sleep 1001 & wait");
    scene.bundle.without_namespace("pid");
    scene.up();
    child::until("all three run", || {
        fragment_tests::leftovers::processes(&scene.id).len() >= 3
    });
    scene.delete();
}

#[test]
fn a_container_whose_init_was_killed_from_outside_is_stopped_and_deletable() {
    let scene = Scene::sleeper();
    scene.up();
    child::signal(scene.pid(), rustix::process::Signal::KILL).unwrap();
    scene.stopped();
    scene.verb("delete", &[]).ok();
}

#[test]
fn a_damaged_state_directory_is_removed_by_force() {
    let scene = Scene::new();
    let state = scene.runtime.root().join(&scene.id);
    std::fs::create_dir(&state).unwrap();
    scene.verb("delete", &["--force"]).ok();
    assert!(!state.exists());
}

#[test]
fn a_library_that_cannot_be_written_does_not_keep_a_container() {
    // unlink(2) on a read-only mount is EROFS, whether there is a lease or not
    let scene = Scene::new();
    scene.create().ok();
    let script = r#"
test -d "$FRAGMENT_STORE" || exec "$@"
exec unshare --mount sh -ec 'mount --bind -o ro "$FRAGMENT_STORE" "$FRAGMENT_STORE"; exec "$@"' sh "$@""#;
    let call = scene.call(["delete", "--force", &scene.id]);
    call.within(script).output().ok();
}

#[test]
fn a_run_in_the_foreground_tells_how_its_program_ended_when_another_deletes_the_container() {
    for round in 0..10 {
        let scene = Scene::sleeper();
        let mut running = scene.run_call(&[]).command().spawn().unwrap();
        child::until("the container runs", || {
            scene
                .call(["state", &scene.id])
                .output()
                .stdout
                .contains("\"running\"")
        });
        scene.call(["delete", "--force", &scene.id]).output().ok();
        let status = child::wait_or_kill(&mut running, child::LIMIT, "the run");
        assert_eq!(status.code(), Some(137), "round {round}");
        scene.nothing_left();
    }
}
