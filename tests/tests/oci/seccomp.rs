//! `linux.seccomp`.

use fragment_tests::Scene;
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
