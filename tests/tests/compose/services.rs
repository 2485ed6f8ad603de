//! Supervised services: the small supervisor, and systemd where systemctl is asked for.

use std::fs;

use fragment_tests::{Scene, child};
use serde_json::{Value, json};

/// A container whose rootfs holds a service and nothing else, with a supervisor of the library as its first process.
fn supervised(components: &str, args: &[&str]) -> Scene {
    let mut scene = Scene::empty();
    scene.bundle.args(args).writable();
    scene.bundle.edit(|spec| {
        spec["process"]["noNewPrivileges"] = json!(false);
        spec["annotations"] = json!({ "dev.fragment.components": components });
    });
    // what supervisors and services write is the container's own
    scene.bundle.expect("rootfs");
    scene
}

/// Makes the bundle of `scene` one that systemd boots in: library/init-system-systemd.md.
fn for_systemd(scene: &mut Scene) {
    scene.bundle.capabilities(&[
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SETPCAP",
        "CAP_SYS_ADMIN",
        "CAP_DAC_READ_SEARCH",
        "CAP_SYS_PTRACE",
    ]);
    scene.bundle.namespace(json!({ "type": "cgroup" }));
    scene.bundle.edit(|spec| {
        spec["process"]["env"]
            .as_array_mut()
            .expect("env")
            .push(json!("container=oci"));
        let mounts = spec["mounts"].as_array_mut().expect("mounts");
        mounts.retain(|mount| mount["destination"] != "/sys/fs/cgroup");
        mounts.push(mount(
            "/sys/fs/cgroup",
            "cgroup2",
            &["noexec", "nodev", "rw"],
        ));
        mounts.push(mount("/run", "tmpfs", &["nodev", "mode=755"]));
        mounts.push(mount("/tmp", "tmpfs", &["nodev", "mode=1777"]));
    });
}

fn mount(destination: &str, kind: &str, options: &[&str]) -> Value {
    let options: Vec<&str> = ["nosuid"]
        .into_iter()
        .chain(options.iter().copied())
        .collect();
    json!({ "destination": destination, "type": kind, "source": kind, "options": options })
}

/// Creates and starts the container, if its first process has a control group of its own in the version 2 hierarchy:
/// systemd takes the one it finds itself in for the whole machine's.
fn boot(scene: &Scene) {
    scene.create().ok();
    let memberships = fs::read_to_string(format!("/proc/{}/cgroup", scene.pid())).expect("cgroup");
    let own = format!("0::/{}", scene.id);
    assert!(
        memberships.lines().any(|line| line == own),
        "not in {own}:\n{memberships}"
    );
    scene.start().ok();
    // the manager's socket appears a moment after its process
    child::until("systemd answers", || {
        scene
            .exec(&["test", "-S", "/run/systemd/private"])
            .status
            .success()
    });
    scene
        .exec(&["systemctl", "is-system-running", "--wait"])
        .ok()
        .stdout("running\n");
}

#[allow(
    clippy::print_stdout,
    reason = "clippy exempts #[test] functions, not what they call"
)]
fn has_unified_hierarchy() -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let found = mounts.lines().any(|line| line.contains(" - cgroup2 "));
    if !found {
        println!("skipped: no cgroup v2 hierarchy is mounted on this machine; systemd needs one");
    }
    found
}

/// What a command in the container prints, without the end of the line.
fn says(scene: &Scene, command: &[&str]) -> String {
    scene.exec(command).stdout.trim_end().to_owned()
}

#[test]
fn systemd_boots_to_running_and_answers_systemctl() {
    if !has_unified_hierarchy() {
        return;
    }
    let mut scene = supervised("service-manager", &["/usr/sbin/init"]);
    scene.bundle.directory("etc/fragment-demo", 0o755);
    for_systemd(&mut scene);
    boot(&scene);
    let status = scene.exec(&["systemctl", "status", "--no-pager"]);
    status.ok().says("State: running");
    status.says("init.scope");
    let failed = scene.exec(&["systemctl", "--failed", "--no-legend", "--no-pager"]);
    failed.ok().stdout("");
    // what it made is below the container's own control group, seen from inside as the root
    scene
        .exec(&["cat", "/proc/1/cgroup"])
        .ok()
        .says("0::/init.scope\n");
    scene.delete();
}

#[test]
fn systemd_keeps_a_service_running() {
    if !has_unified_hierarchy() {
        return;
    }
    let mut scene = supervised("service-manager", &["/usr/sbin/init"]);
    scene.bundle.directory("etc/systemd/system", 0o755).file(
        "etc/systemd/system/demo.service",
        "[Service]\nExecStart=/usr/bin/sleep 1000\nRestart=always\nRestartSec=0\n",
        0o644,
    );
    for_systemd(&mut scene);
    boot(&scene);
    scene.exec(&["systemctl", "start", "demo.service"]).ok();
    let pid = || {
        says(
            &scene,
            &["systemctl", "show", "-P", "MainPID", "demo.service"],
        )
    };
    let first = pid();
    assert!(first.parse::<u32>().is_ok_and(|pid| pid > 1), "{first}");
    scene.exec(&["kill", "-9", &first]).ok();
    child::until("the service is back under another number", || {
        let now = pid();
        now != first && now != "0"
    });
    scene
        .exec(&["systemctl", "is-active", "demo.service"])
        .ok()
        .stdout("active\n");
    let journal = [
        "journalctl",
        "--no-pager",
        "-u",
        "demo.service",
        "-o",
        "cat",
    ];
    child::until("the journal tells of it", || {
        says(&scene, &journal).contains("status=9/KILL")
    });
    scene.delete();
}

#[test]
fn systemd_stops_at_its_stop_signal() {
    if !has_unified_hierarchy() {
        return;
    }
    let mut scene = supervised("service-manager", &["/usr/sbin/init"]);
    for_systemd(&mut scene);
    boot(&scene);
    scene
        .call(["kill"])
        .args([&scene.id])
        .args(["SIGRTMIN+3"])
        .output()
        .ok();
    scene.stopped();
    // without force: it has really ended
    scene.verb("delete", &[]).ok();
    scene.nothing_left();
}

/// A service that the small supervisor is to run.
fn service(scene: &mut Scene) {
    scene.bundle.directory("etc/service/demo", 0o755).file(
        "etc/service/demo/run",
        "#!/bin/sh\nexec sleep 1000\n",
        0o755,
    );
}

fn runs(scene: &Scene) {
    child::until("the service runs", || {
        says(scene, &["sv", "status", "/etc/service/demo"]).starts_with("run: ")
    });
}

#[test]
fn runit_keeps_a_service_running_and_stops_at_hup() {
    let mut scene = supervised("init-system", &["runsvdir", "-P", "/etc/service"]);
    service(&mut scene);
    scene.up();
    runs(&scene);
    let pid = || says(&scene, &["cat", "/etc/service/demo/supervise/pid"]);
    let first = pid();
    scene.exec(&["kill", "-9", &first]).ok();
    child::until("the service is back under another number", || {
        let now = pid();
        !now.is_empty() && now != first && scene.exec(&["kill", "-0", &now]).status.success()
    });
    runs(&scene);
    scene
        .call(["kill"])
        .args([&scene.id])
        .args(["HUP"])
        .output()
        .ok();
    scene.stopped();
    scene.verb("delete", &[]).ok();
    scene.nothing_left();
}

#[test]
fn runit_as_init_stops_at_term() {
    let mut scene = supervised("init-system", &["/usr/sbin/init"]);
    service(&mut scene);
    scene.up();
    runs(&scene);
    let layers = fs::read_to_string(format!("/proc/{}/mountinfo", scene.pid())).expect("mountinfo");
    assert!(layers.contains(" - overlay "), "{layers}");
    scene.verb("kill", &[]).ok();
    scene.stopped();
    scene.verb("delete", &[]).ok();
    scene.nothing_left();
}
