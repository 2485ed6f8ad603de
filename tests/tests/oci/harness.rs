//! The harness itself: its checks must be able to fail.

use fragment_tests::{Scene, child, leftovers};

#[test]
fn the_leftover_check_sees_process_cgroup_state_and_bundle() {
    let mut scene = Scene::sleeper();
    scene.up();
    let found = scene.leftovers().join("\n");
    for kind in [
        "process ",
        "in a mount namespace",
        "cgroup /sys/fs/cgroup/",
        "state ",
    ] {
        assert!(found.contains(kind), "{kind} is missing in:\n{found}");
    }
    scene.delete();
    scene.nothing_left();

    std::fs::write(scene.bundle.rootfs().join("new"), "").unwrap();
    assert!(scene.bundle.changes().join("\n").contains("/new is new"));
    scene.bundle.expect("rootfs/new");
    assert_eq!(scene.bundle.changes(), Vec::<String>::new());
}

#[test]
fn the_leftover_check_sees_mounts_below_the_test_directory() {
    let scene = Scene::new();
    let target = scene.file("mounted");
    std::fs::create_dir(&target).unwrap();
    rustix::mount::mount(
        "leftover",
        &target,
        "tmpfs",
        rustix::mount::MountFlags::empty(),
        None,
    )
    .unwrap();
    let found = leftovers::mounts(&scene.id, scene.path());
    rustix::mount::unmount(&target, rustix::mount::UnmountFlags::empty()).unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn the_leftover_check_sees_processes_by_their_environment() {
    let scene = Scene::new();
    let call = scene
        .runtime
        .with_program("/bin/sleep")
        .bare()
        .args(["1000"]);
    let mut sleeper = call.command().spawn().unwrap();
    // exec shows the new environment a moment after spawn returns
    child::until("the process has its environment", || {
        !leftovers::processes(&scene.id).is_empty()
    });
    let found = leftovers::processes(&scene.id);
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    assert_eq!(
        found.iter().map(|process| process.pid).collect::<Vec<_>>(),
        [sleeper.id()]
    );
}

#[test]
fn the_deadline_ends_a_call_that_hangs() {
    let scene = Scene::new();
    let call = scene
        .runtime
        .with_program("/bin/sleep")
        .bare()
        .args(["1000"]);
    let mut sleeper = call.command().spawn().unwrap();
    assert_eq!(
        child::wait(&mut sleeper, std::time::Duration::from_millis(50)),
        None
    );
    sleeper.kill().unwrap();
    assert!(child::wait(&mut sleeper, child::LIMIT).is_some());
}
