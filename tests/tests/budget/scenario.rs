//! The commands that have budgets, each in a world that depends on the machine as little as can be.

use fragment_tests::{Call, Scene};
use serde_json::json;

/// A program that ends at once, of a bundle that lacks nothing.
pub(crate) fn plain() -> Scene {
    settled(Scene::new())
}

/// A program that ends at once and needs several components.
pub(crate) fn composed() -> Scene {
    settled(Scene::only("/usr/bin/openssl", &["version"]))
}

/// A container that lives until it is killed.
fn living() -> Scene {
    settled(Scene::sleeper())
}

fn settled(mut scene: Scene) -> Scene {
    // runc's default mentions files that kernels have or lack; these all kernels have, in the same proportions
    let masked = [
        "/proc/version",
        "/proc/loadavg",
        "/proc/driver",
        "/sys/firmware",
        "/proc/absent-1",
        "/proc/absent-2",
        "/proc/absent-3",
        "/proc/absent-4",
    ];
    let read_only = [
        "/proc/bus",
        "/proc/fs",
        "/proc/irq",
        "/proc/sys",
        "/proc/absent-5",
    ];
    scene.bundle.edit(|spec| {
        spec["linux"]["maskedPaths"] = json!(masked);
        spec["linux"]["readonlyPaths"] = json!(read_only);
    });
    // what changed a moment ago is not relied on, and no plan is kept of it
    std::thread::sleep(std::time::Duration::from_millis(200));
    scene
}

/// `run` of what lacks nothing, with a plan that was kept. `measured` is given the command's name in the tables, its world, and what
/// gives the call, each time anew.
pub(crate) fn run(measured: impl FnOnce(&str, &Scene, &dyn Fn() -> Call)) {
    running("run", &plain(), |_| {}, measured);
}

/// The same without a kept plan.
pub(crate) fn run_first(measured: impl FnOnce(&str, &Scene, &dyn Fn() -> Call)) {
    running("run-first", &plain(), forget, measured);
}

/// `run` of what needs components, with a plan that was kept.
pub(crate) fn run_composed(measured: impl FnOnce(&str, &Scene, &dyn Fn() -> Call)) {
    running("run-composed", &composed(), |_| {}, measured);
}

/// The same without a kept plan.
pub(crate) fn run_composed_first(measured: impl FnOnce(&str, &Scene, &dyn Fn() -> Call)) {
    running("run-composed-first", &composed(), forget, measured);
}

fn running(
    command: &str,
    scene: &Scene,
    before: fn(&Scene),
    measured: impl FnOnce(&str, &Scene, &dyn Fn() -> Call),
) {
    warm(scene);
    measured(command, scene, &|| {
        before(scene);
        kept(scene, scene.run_call(&[]))
    });
}

/// `create` of what lacks nothing, with a plan that was kept, until the command ends and the first process waits.
pub(crate) fn create(measured: impl FnOnce(&str, &Scene, &dyn Fn() -> Call)) {
    let scene = plain();
    warm(&scene);
    measured("create", &scene, &|| {
        scene.delete();
        kept(&scene, scene.create_call(&[]))
    });
    scene.delete();
}

/// `start` of it, without the first process.
pub(crate) fn start(measured: impl FnOnce(&str, &Scene, &dyn Fn() -> Call)) {
    let scene = plain();
    warm(&scene);
    measured("start", &scene, &|| {
        scene.delete();
        kept(&scene, scene.create_call(&[])).output().ok();
        kept(&scene, scene.call(["start", &scene.id]))
    });
    scene.delete();
}

/// `delete` of it when its program has ended.
pub(crate) fn delete(measured: impl FnOnce(&str, &Scene, &dyn Fn() -> Call)) {
    let scene = plain();
    warm(&scene);
    measured("delete", &scene, &|| {
        scene.up().stopped();
        kept(&scene, scene.call(["delete", &scene.id]))
    });
}

/// `state` of a container that runs.
pub(crate) fn state(measured: impl FnOnce(&str, &Scene, &dyn Fn() -> Call)) {
    let scene = living();
    scene.up();
    measured("state", &scene, &|| {
        kept(&scene, scene.call(["state", &scene.id]))
    });
    scene.delete();
}

/// `exec` in one.
pub(crate) fn exec(measured: impl FnOnce(&str, &Scene, &dyn Fn() -> Call)) {
    let scene = living();
    scene.up();
    measured("exec", &scene, &|| {
        kept(&scene, scene.exec_call(&[], &["/bin/true"]))
    });
    scene.delete();
}

/// The same call with plans and metrics kept in the scene.
pub(crate) fn kept(scene: &Scene, call: Call) -> Call {
    call.env("FRAGMENT_STATE", scene.file("kept"))
}

/// `run` once, so that the plan is kept and all that it needs is loaded.
pub(crate) fn warm(scene: &Scene) {
    kept(scene, scene.run_call(&[])).output().ok();
}

/// Forgets the plans that were kept, and nothing else.
fn forget(scene: &Scene) {
    let plans = std::fs::read_dir(scene.file("kept/plans")).expect("kept plans");
    for plan in plans {
        std::fs::remove_file(plan.expect("an entry").path()).expect("remove a plan");
    }
}
