//! The runtime killed at every step it takes: strace(1) ends it, or a child of it, on entering the N-th call of each system
//! call that changes something, for every N of the whole run; then `delete --force` has to clean up, as an engine does.
//!
//! The kernel does not carry a system call out when a SIGKILL is pending at its entry, so each step is "everything before
//! this call, and not this one". The `…_of_all` tests do the same with every system call, and are ignored for their length.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::time::Duration;

use fragment_tests::{Call, Output, Overlay, Scene, child};
use serde_json::json;

/// System calls after which something is different outside of the process.
const CHANGING: &[&str] = &[
    "mkdir",
    "mkdirat",
    "mknod",
    "mknodat",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "rmdir",
    "symlink",
    "symlinkat",
    "link",
    "linkat",
    "chmod",
    "fchmod",
    "fchmodat",
    "chown",
    "fchown",
    "fchownat",
    "ftruncate",
    "write",
    "pwrite64",
    "mount",
    "umount2",
    "move_mount",
    "open_tree",
    "fsopen",
    "fsmount",
    "fsconfig",
    "mount_setattr",
    "clone",
    "clone3",
    "fork",
    "vfork",
    "execve",
    "kill",
    "pidfd_send_signal",
    "flock",
    "connect",
    "bind",
    "sendto",
    "sendmsg",
    "recvfrom",
    "recvmsg",
    "accept4",
    "wait4",
    "waitid",
    "poll",
    "setns",
    "unshare",
    "prctl",
    "keyctl",
    "memfd_create",
    "pivot_root",
    "chroot",
    "chdir",
    "fchdir",
    "sethostname",
    "setsid",
    "setresuid",
    "setresgid",
    "setgroups",
    "capset",
    "close_range",
    "exit_group",
];

/// Where a process is killed: on entering the N-th call of one system call.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    system_call: String,
    number: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    Changing,
    All,
}

fn strace(options: &str) -> String {
    assert!(
        Path::new("/usr/bin/strace").exists(),
        "strace is missing: hack/setup test installs it"
    );
    format!("exec strace -qq {options} \"$@\"")
}

/// A call that keeps no plan and finds none: a kept plan spares steps, and every call here has to take the same.
fn without_kept_plans(call: Call) -> Call {
    call.env("FRAGMENT_STATE", "/proc/none")
}

/// Whether a line of strace's is a call that counts for `extent`; openat counts where it can make or change a file.
fn counts(name: &str, line: &str, extent: Extent) -> bool {
    extent == Extent::All
        || CHANGING.contains(&name)
        || (name == "openat"
            && ["O_CREAT", "O_WRONLY", "O_RDWR"]
                .iter()
                .any(|flag| line.contains(flag)))
}

/// The calls of each traced process, in order: with their lines.
fn calls(log: &Path, follow: bool) -> Vec<(String, Vec<(String, String)>)> {
    let text = fs::read_to_string(log).expect("strace's log");
    let mut processes: Vec<(String, Vec<(String, String)>)> = Vec::new();
    for line in text.lines() {
        let (process, line) = if follow {
            line.trim_start().split_once(' ').expect("a pid")
        } else {
            ("", line)
        };
        let line = line.trim_start();
        // signals, exits and the second halves of interrupted calls begin with other characters
        let Some(name) = line.split('(').next().filter(|name| {
            !name.is_empty()
                && name
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        }) else {
            continue;
        };
        let entry = (name.to_owned(), line.to_owned());
        match processes.iter_mut().find(|(known, _)| known == process) {
            Some((_, calls)) => calls.push(entry),
            None => processes.push((process.to_owned(), vec![entry])),
        }
    }
    processes
}

/// The steps of a process, in order.
fn steps(calls: &[(String, String)], extent: Extent) -> Vec<Step> {
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    let mut steps = Vec::new();
    for (name, line) in calls {
        let number = numbers.entry(name).or_default();
        *number += 1;
        if counts(name, line, extent) {
            steps.push(Step {
                system_call: name.clone(),
                number: *number,
            });
        }
    }
    steps
}

fn check(scene: &Scene, step: &Step, output: &Output, when: &str) {
    let mut left = scene.leftovers();
    // the runtime's own empty directory goes with the next container that ends well
    let own = scene.runtime.root().join(".fragment");
    if fs::read_dir(&own).is_ok_and(|mut entries| entries.next().is_none()) {
        let own = format!("state {}", own.display());
        left.retain(|line| *line != own);
    }
    assert!(
        left.is_empty(),
        "killed at {step:?}, {when}, left behind:\n{}\n{output}",
        left.join("\n")
    );
}

/// Kills the runtime itself at every step of the call.
fn killed_at_every_step(
    scene: &Scene,
    extent: Extent,
    prepare: impl Fn(),
    call: impl Fn() -> Call,
) {
    killed_and_cleaned(scene, extent, prepare, call, || scene.delete());
    scene.create().ok();
    scene.delete();
}

/// The same with more to do than `delete --force`.
fn killed_and_cleaned(
    scene: &Scene,
    extent: Extent,
    prepare: impl Fn(),
    call: impl Fn() -> Call,
    clean: impl Fn(),
) {
    if scene.runtime.is_runc() {
        println!(
            "skipped under runc: 1.1 forgets the cgroups of what was killed before it wrote its state"
        );
        return;
    }
    let call = || without_kept_plans(call());
    let log = scene.file("trace");
    prepare();
    call()
        .within(&strace(&format!("-o {}", log.display())))
        .output()
        .ok();
    clean();
    scene.nothing_left();
    let steps = steps(&calls(&log, false)[0].1, extent);
    assert!(steps.len() > 3, "{steps:?}");
    for step in &steps {
        prepare();
        let inject = format!(
            "-o /dev/null -e trace={0} -e inject={0}:signal=KILL:when={1}",
            step.system_call, step.number
        );
        let output = call()
            .within(&strace(&inject))
            .limit(Duration::from_secs(60))
            .output();
        clean();
        check(scene, step, &output, "after delete --force");
    }
    println!("killed at {} steps", steps.len());
}

/// Kills children of the runtime at every step that only they take: the runtime has to notice, say so and leave nothing.
fn children_killed_at_every_step(
    scene: &Scene,
    extent: Extent,
    call: impl Fn() -> Call,
    check: impl Fn(&Step, &Output),
) {
    if scene.runtime.is_runc() {
        println!("skipped under runc: asked of ours");
        return;
    }
    let call = || without_kept_plans(call());
    let log = scene.file("trace");
    call()
        .within(&strace(&format!("-f -o {}", log.display())))
        .output()
        .ok();
    let processes = calls(&log, true);
    let (runtime, children) = processes.split_first().expect("the runtime");
    assert!(children.len() >= 2, "an intermediate process and init");
    let own = steps(&runtime.1, Extent::All);
    let mut targets: Vec<Step> = Vec::new();
    for step in children.iter().flat_map(|(_, calls)| steps(calls, extent)) {
        if !own.contains(&step) && !targets.contains(&step) {
            targets.push(step);
        }
    }
    assert!(targets.len() > 10, "{targets:?}");
    for step in &targets {
        let inject = format!(
            "-f -o /dev/null -e trace={0} -e inject={0}:signal=KILL:when={1}",
            step.system_call, step.number
        );
        let call = call().within(&strace(&inject));
        check(step, &call.limit(Duration::from_secs(60)).output());
    }
    println!("children killed at {} steps", targets.len());
}

fn create(extent: Extent) {
    let scene = Scene::sleeper();
    killed_at_every_step(&scene, extent, || {}, || scene.create_call(&[]));
}

/// Where no cgroup can be written the processes of a create have nothing on them that names the container.
fn create_rootless(extent: Extent) {
    let scene = Scene::sleeper().rootless();
    killed_at_every_step(&scene, extent, || {}, || scene.create_call(&[]));
}

/// The first process has two threads then, one of which waits under the filter.
fn create_with_a_listener(extent: Extent) {
    let mut scene = Scene::sleeper();
    let path = scene.file("agent");
    let agent = UnixListener::bind(&path).expect("bind the agent's socket");
    scene.bundle.edit(|spec| {
        spec["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path,
            "syscalls": [{ "names": ["reboot"], "action": "SCMP_ACT_NOTIFY" }]
        });
    });
    // it ends with the test's process
    std::thread::spawn(move || {
        for stream in agent.incoming() {
            let _ = stream.and_then(std::io::read_to_string);
        }
    });
    killed_at_every_step(&scene, extent, || {}, || scene.create_call(&[]));
}

fn create_on_an_engines_overlay(extent: Extent) {
    let scene = Scene::only("/usr/bin/sleep", &["1000"]);
    let overlay = Overlay::below(&scene);
    let clean = || {
        scene.delete();
        // of a container that has come to be the engine unmounts ours; of any other it finds its own
        let mounts = overlay.mounts();
        assert!(
            mounts == ["overlay"] || mounts == ["fragment:1"],
            "{mounts:?}"
        );
        overlay.down();
    };
    let create = || scene.create_call(&[]);
    killed_and_cleaned(&scene, extent, || overlay.up(), create, clean);
    overlay.up();
    scene.create().ok();
    clean();
}

fn run(extent: Extent) {
    let scene = Scene::new();
    killed_at_every_step(&scene, extent, || {}, || scene.run_call(&[]));
}

fn run_detached(extent: Extent) {
    let scene = Scene::sleeper();
    let pid_file = scene.file("pid").display().to_string();
    let options = ["--detach", "--pid-file", &pid_file];
    killed_at_every_step(&scene, extent, || {}, || scene.run_call(&options));
}

fn start(extent: Extent) {
    let scene = Scene::sleeper();
    let prepare = || {
        scene.create().ok();
    };
    killed_at_every_step(&scene, extent, prepare, || scene.call(["start", &scene.id]));
}

fn exec(extent: Extent) {
    let scene = Scene::sleeper();
    let prepare = || {
        scene.up();
    };
    killed_at_every_step(&scene, extent, prepare, || scene.exec_call(&[], &["true"]));
}

fn delete(extent: Extent) {
    let scene = Scene::sleeper();
    let prepare = || {
        scene.up();
    };
    killed_at_every_step(&scene, extent, prepare, || {
        scene.call(["delete", "-f", &scene.id])
    });
}

fn delete_stopped(extent: Extent) {
    let scene = Scene::new();
    let prepare = || {
        scene.up().stopped();
    };
    killed_at_every_step(&scene, extent, prepare, || {
        scene.call(["delete", &scene.id])
    });
}

/// A second command on a running container.
fn verb(extent: Extent, verb: &'static str, options: &'static [&'static str]) {
    let scene = Scene::sleeper();
    let prepare = || {
        scene.up();
    };
    killed_at_every_step(&scene, extent, prepare, || {
        scene.call([verb]).args(options).args([&scene.id])
    });
}

fn resume(extent: Extent) {
    let scene = Scene::sleeper();
    let prepare = || {
        scene.up();
        scene.verb("pause", &[]).ok();
    };
    killed_at_every_step(&scene, extent, prepare, || {
        scene.call(["resume", &scene.id])
    });
}

fn children_of_run(extent: Extent) {
    let scene = Scene::new();
    let call = || scene.run_call(&[]);
    children_killed_at_every_step(&scene, extent, call, |step, output| {
        // the runtime takes other steps after a failure, some of which only children took before
        if output.status.signal().is_some() {
            scene.delete();
        }
        check(&scene, step, output, "with the runtime alive");
    });
}

fn children_of_exec(extent: Extent) {
    let scene = Scene::sleeper();
    scene.up().ready();
    let files = || {
        let entries = fs::read_dir(scene.runtime.root().join(&scene.id))
            .into_iter()
            .flatten();
        entries
            .filter_map(Result::ok)
            .map(|entry| entry.file_name())
            .collect::<Vec<_>>()
    };
    let before = (scene.verb("ps", &["--format", "json"]).ok().json(), files());
    let call = || scene.exec_call(&[], &["true"]);
    children_killed_at_every_step(&scene, extent, call, |step, output| {
        let what = format!("nothing of the exec is left: {step:?} {output}");
        child::until(&what, || {
            scene.verb("ps", &["--format", "json"]).ok().json() == before.0
        });
        // an exec that ends well clears away what one that was killed left
        if output.status.signal().is_some() {
            scene.exec(&["true"]).ok();
        }
        assert_eq!(files(), before.1, "{step:?} {output}");
    });
    assert_eq!(scene.status(), "running");
    scene.delete();
}

macro_rules! tests {
    ($($name:ident, $all:ident: $body:expr;)*) => { $(
        #[test]
        fn $name() {
            let body: fn(Extent) = $body;
            body(Extent::Changing);
        }

        #[test]
        #[ignore = "every system call: minutes; cargo nextest run --run-ignored only crash::"]
        fn $all() {
            let body: fn(Extent) = $body;
            body(Extent::All);
        }
    )* };
}

tests! {
    a_create_killed_at_every_change, a_create_killed_at_every_call_of_all: create;
    a_rootless_create_killed_at_every_change, a_rootless_create_killed_at_every_call_of_all: create_rootless;
    a_create_on_an_engines_overlay_killed_at_every_change,
        a_create_on_an_engines_overlay_killed_at_every_call_of_all: create_on_an_engines_overlay;
    a_create_with_a_listener_killed_at_every_change, a_create_with_a_listener_killed_at_every_call_of_all:
        create_with_a_listener;
    a_run_killed_at_every_change, a_run_killed_at_every_call_of_all: run;
    a_detached_run_killed_at_every_change, a_detached_run_killed_at_every_call_of_all: run_detached;
    a_start_killed_at_every_change, a_start_killed_at_every_call_of_all: start;
    an_exec_killed_at_every_change, an_exec_killed_at_every_call_of_all: exec;
    a_delete_force_killed_at_every_change, a_delete_force_killed_at_every_call_of_all: delete;
    a_delete_killed_at_every_change, a_delete_killed_at_every_call_of_all: delete_stopped;
    a_kill_killed_at_every_change, a_kill_killed_at_every_call_of_all: |extent| verb(extent, "kill", &[]);
    a_pause_killed_at_every_change, a_pause_killed_at_every_call_of_all: |extent| verb(extent, "pause", &[]);
    an_update_killed_at_every_change, an_update_killed_at_every_call_of_all: |extent| {
        verb(extent, "update", &["--pids-limit", "100"]);
    };
    a_resume_killed_at_every_change, a_resume_killed_at_every_call_of_all: resume;
    children_of_a_run_killed_at_every_change, children_of_a_run_killed_at_every_call_of_all: children_of_run;
    children_of_an_exec_killed_at_every_change, children_of_an_exec_killed_at_every_call_of_all: children_of_exec;
}
