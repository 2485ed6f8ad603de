//! `linux.seccomp`.

use std::fs;

use fragment_tests::console::Socket;
use fragment_tests::{Scene, child};
use serde_json::{Value, json};

fn with_filter(script: &str, filter: Value) -> Scene {
    let mut scene = Scene::sh(script);
    scene.bundle.edit(|spec| spec["linux"]["seccomp"] = filter);
    scene
}

fn deny(names: &[&str], action: &str, errno: Option<u32>) -> Value {
    let mut call = json!({ "names": names, "action": action });
    if let Some(errno) = errno {
        call["errnoRet"] = json!(errno);
    }
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [call] })
}

#[test]
fn a_denied_call_fails_with_eperm() {
    let scene = with_filter(
        "mkdir /dev/shm/d; echo status $?",
        deny(&["mkdir", "mkdirat"], "SCMP_ACT_ERRNO", None),
    );
    let output = scene.run();
    output.ok().stdout("status 1\n");
    assert!(
        output.stderr.contains("Operation not permitted"),
        "{output}"
    );
}

#[test]
fn a_denied_call_fails_with_the_errno_of_the_spec() {
    // 28 is ENOSPC
    let scene = with_filter(
        "mkdir /dev/shm/d",
        deny(&["mkdir", "mkdirat"], "SCMP_ACT_ERRNO", Some(28)),
    );
    let output = scene.run();
    output.code(1);
    assert!(
        output.stderr.contains("No space left on device"),
        "{output}"
    );
}

#[test]
fn the_filter_is_in_force_for_an_exec_and_for_children() {
    let scene = with_filter(
        "sleep 1000",
        deny(&["mkdir", "mkdirat"], "SCMP_ACT_ERRNO", None),
    );
    scene.up();
    scene
        .exec(&["grep", "Seccomp:", "/proc/self/status"])
        .ok()
        .stdout("Seccomp:\t2\n");
    scene
        .exec(&["sh", "-c", "sh -c 'mkdir /dev/shm/d'"])
        .code(1);
    scene.delete();
}

#[test]
fn kill_process_kills() {
    let scene = with_filter(
        "mkdir /dev/shm/d; echo status $?",
        deny(&["mkdir", "mkdirat"], "SCMP_ACT_KILL_PROCESS", None),
    );
    // SIGSYS is 31
    scene.run().ok().stdout("status 159\n");
}

#[test]
fn arguments_are_compared() {
    let filter = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{
            "names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28,
            "args": [{ "index": 1, "value": 10, "op": "SCMP_CMP_EQ" }]
        }]
    });
    let scene = with_filter(
        "sleep 9 & kill -10 $!; echo $?; kill -9 $!; echo $?",
        filter,
    );
    scene.run().ok().stdout("1\n0\n");
}

/// libcontainer has mask and value the wrong way round: docker's profile then forbids every clone(2).
#[test]
fn a_masked_comparison_has_the_mask_first() {
    let filter = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{
            "names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28,
            "args": [{ "index": 1, "value": 6, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ" }]
        }]
    });
    let scene = with_filter(
        "sleep 9 & kill -10 $!; echo $?; kill -9 $!; echo $?",
        filter,
    );
    scene.run().ok().stdout("1\n0\n");
}

#[test]
fn a_start_container_hook_is_under_the_filter() {
    let mut scene = with_filter(
        "echo started",
        deny(&["mkdir", "mkdirat"], "SCMP_ACT_ERRNO", None),
    );
    scene.bundle.edit(|spec| {
        spec["process"]["noNewPrivileges"] = json!(true);
        spec["hooks"] = json!({ "startContainer": [{ "path": "/bin/mkdir", "args": ["mkdir", "/dev/shm/d"] }] });
    });
    scene.run().fails_with("error running hook");
}

#[test]
fn names_the_kernel_does_not_know_are_ignored() {
    // engines list calls of newer kernels and of other architectures
    let filter = deny(
        &["mkdir", "mkdirat", "no_such_call"],
        "SCMP_ACT_ERRNO",
        None,
    );
    let output = with_filter("mkdir /dev/shm/d", filter).run();
    assert!(
        output.stderr.contains("Operation not permitted"),
        "{output}"
    );
    output.code(1);
}

#[test]
fn an_allow_list_works_without_no_new_privileges_too() {
    let mut scene = with_filter(
        "grep Seccomp: /proc/self/status",
        deny(&["mkdir"], "SCMP_ACT_ERRNO", None),
    );
    scene
        .bundle
        .edit(|spec| spec["process"]["noNewPrivileges"] = json!(false));
    scene.run().ok().stdout("Seccomp:\t2\n");
}

#[test]
fn a_bad_action_is_refused() {
    let scene = with_filter("true", deny(&["mkdir"], "SCMP_ACT_NOSUCH", None));
    scene.create().fails_with("SCMP_ACT_NOSUCH");
    scene.nothing_left();
}

#[test]
fn without_a_filter_there_is_none() {
    Scene::sh("grep Seccomp: /proc/self/status")
        .run()
        .ok()
        .stdout("Seccomp:\t0\n");
}

/// A filter that asks its listener about mkdir(2).
pub(crate) fn asking_of_mkdir(socket: &Socket) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "listenerPath": socket.path(), "listenerMetadata": "for the agent",
        "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY" }]
    })
}

/// The same, which does `action` to calls of `names`.
fn asking(socket: &Socket, names: &[&str], action: &str) -> Value {
    let mut filter = asking_of_mkdir(socket);
    let rules = filter["syscalls"].as_array_mut().unwrap();
    rules.push(json!({ "names": names, "action": action }));
    filter
}

/// What libcontainer's own loader needs between create and start.
const OF_THE_RUNTIME: &[&str] = &[
    "accept", "accept4", "connect", "recvfrom", "recvmsg", "sendto", "sendmsg", "socket",
];

#[test]
fn a_listener_is_passed_on_during_create_and_the_filter_forbids_what_it_likes() {
    for no_new_privileges in [false, true] {
        for action in ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS"] {
            let mut scene = Scene::sh("mkdir /dev/shm/d; echo status $?");
            let socket = Socket::bind(scene.file("agent"));
            scene.bundle.edit(|spec| {
                spec["linux"]["seccomp"] = asking(&socket, OF_THE_RUNTIME, action);
                spec["process"]["noNewPrivileges"] = json!(no_new_privileges);
            });
            scene.create().ok();
            let (state, listener) = socket.message();
            let state: Value = serde_json::from_str(&state).unwrap();
            assert_eq!(state["fds"], json!(["seccompFd"]));
            assert_eq!(state["metadata"], "for the agent");
            assert_eq!(state["pid"], json!(scene.pid()));
            assert_eq!(state["state"]["id"], json!(scene.id));
            assert_eq!(state["state"]["status"], "creating");
            assert_eq!(state["state"]["pid"], json!(scene.pid()));
            assert_eq!(state["state"]["bundle"], json!(scene.bundle.path()));
            assert_eq!(scene.status(), "created");
            scene.start().ok();
            let status = format!("/proc/{}/status", scene.pid());
            child::until("the program is filtered, in one thread", || {
                let status = fs::read_to_string(&status).unwrap();
                ["Seccomp:\t2\n", "Threads:\t1\n"]
                    .iter()
                    .all(|line| status.contains(line))
            });
            // its call waits for an answer, and without an agent there is none: ENOSYS (seccomp_unotify(2))
            std::thread::sleep(std::time::Duration::from_millis(100));
            assert_eq!(scene.status(), "running");
            drop(listener);
            scene.stopped().delete();
        }
    }
}

#[test]
fn a_filter_with_a_listener_may_allow_little_more_than_the_program_needs() {
    let mut scene = Scene::new();
    unless_runc!(scene, "runc is written in Go, whose threads need more");
    let socket = Socket::bind(scene.file("agent"));
    // strace busybox true
    let program = [
        "execve",
        "arch_prctl",
        "brk",
        "exit_group",
        "prctl",
        "set_tid_address",
        "set_robust_list",
        "rseq",
        "prlimit64",
        "readlink",
        "getrandom",
        "mprotect",
        "getuid",
    ];
    for (no_new_privileges, more) in [
        (true, &["read"][..]),
        (false, &["read", "capget", "capset"]),
    ] {
        let allowed: Vec<&str> = program.iter().chain(more).copied().collect();
        scene.bundle.edit(|spec| {
            let mut filter = asking(&socket, &allowed, "SCMP_ACT_ALLOW");
            filter["defaultAction"] = json!("SCMP_ACT_KILL_PROCESS");
            spec["linux"]["seccomp"] = filter;
            spec["process"]["noNewPrivileges"] = json!(no_new_privileges);
        });
        scene.run().ok();
        drop(socket.message());
    }
}

#[test]
fn a_filter_that_kills_the_thread_that_waits_with_it_is_told() {
    let mut scene = Scene::new();
    unless_runc!(scene, "runc has one thread there, and dies without a word");
    let socket = Socket::bind(scene.file("agent"));
    scene
        .bundle
        .edit(|spec| spec["linux"]["seccomp"] = asking(&socket, &["read"], "SCMP_ACT_KILL"));
    let output = scene.run();
    drop(socket.message());
    output.code(1);
    assert!(
        output.stderr.contains("the seccomp filter kills"),
        "{output}"
    );
    // capabilities come after the filter where that needs them
    scene.bundle.edit(|spec| {
        spec["linux"]["seccomp"] = asking(&socket, &["capset"], "SCMP_ACT_KILL");
        spec["process"]["noNewPrivileges"] = json!(false);
    });
    scene.create().fails_with("the seccomp filter kills");
    scene.nothing_left();
}

#[test]
fn hooks_in_the_container_are_asked_about_too() {
    for no_new_privileges in [false, true] {
        let mut scene = Scene::sh("echo started");
        let socket = Socket::bind(scene.file("agent"));
        scene.bundle.edit(|spec| {
            spec["linux"]["seccomp"] = asking(&socket, &["reboot"], "SCMP_ACT_ERRNO");
            spec["process"]["noNewPrivileges"] = json!(no_new_privileges);
            let hook = json!({ "path": "/bin/mkdir", "args": ["mkdir", "/dev/shm/d"] });
            spec["hooks"] = json!({ "startContainer": [hook] });
        });
        scene.create().ok();
        let listener = socket.message();
        // runc's start waits for the hook
        let mut start = scene.call(["start", &scene.id]).command().spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(200));
        assert_ne!(scene.status(), "stopped");
        drop(listener);
        child::wait_or_kill(&mut start, child::LIMIT, "start");
        scene.stopped().delete();
    }
}

#[test]
fn a_program_that_cannot_be_executed_under_a_listener_ends_the_container() {
    let mut scene = Scene::new();
    let socket = Socket::bind(scene.file("agent"));
    scene.bundle.file("bin/broken", "not a program", 0o755);
    scene.bundle.args(&["/bin/broken"]);
    scene
        .bundle
        .edit(|spec| spec["linux"]["seccomp"] = asking(&socket, &["reboot"], "SCMP_ACT_ERRNO"));
    let output = scene.run();
    drop(socket.message());
    output.code(1);
    assert!(output.stderr.contains("exec format error"), "{output}");
    scene.nothing_left();
}

#[test]
fn a_create_without_an_agent_fails() {
    let mut scene = Scene::new();
    let socket = Socket::bind(scene.file("agent"));
    scene
        .bundle
        .edit(|spec| spec["linux"]["seccomp"] = asking(&socket, &["reboot"], "SCMP_ACT_ERRNO"));
    fs::remove_file(socket.path()).unwrap();
    scene
        .create()
        .fails_with("failed to connect with seccomp agent");
    scene.nothing_left();
}
