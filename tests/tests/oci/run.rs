//! `run` in the foreground: exit codes, standard streams, environment, words of the command.

use std::io::{Read as _, Write as _};
use std::process::Stdio;

use fragment_tests::{Scene, child};
use serde_json::json;

#[test]
fn the_exit_code_is_passed_on() {
    for code in [0, 1, 7, 127, 255] {
        Scene::sh(&format!("exit {code}")).run().code(code);
    }
}

#[test]
fn death_by_a_signal_is_128_plus_its_number() {
    // pid 1 of a pid namespace cannot signal itself to death (pid_namespaces(7)): the runtime's caller does
    let mut scene = Scene::sleeper();
    scene.bundle.args(&["/bin/sleep", "1000"]);
    for (signal, code) in [("KILL", 137), ("SIGKILL", 137), ("9", 137)] {
        let mut run = scene.run_call(&[]).command().spawn().unwrap();
        child::until("the container runs", || {
            let output = scene.verb("state", &[]);
            output.status.success() && output.json()["status"] == "running"
        });
        scene.call(["kill", &scene.id, signal]).output().ok();
        assert_eq!(
            child::wait_or_kill(&mut run, child::LIMIT, "run").code(),
            Some(code)
        );
    }
}

#[test]
fn without_a_pid_namespace_a_signal_to_oneself_is_128_plus_its_number() {
    for (signal, code) in [("TERM", 143), ("KILL", 137), ("SEGV", 139)] {
        let mut scene = Scene::sh(&format!("kill -{signal} $$; sleep 1000"));
        scene.bundle.without_namespace("pid");
        scene.run().code(code);
    }
}

#[test]
fn stdout_and_stderr_are_the_callers() {
    Scene::sh("echo out; echo err >&2")
        .run()
        .ok()
        .stdout("out\n")
        .stderr("err\n");
}

#[test]
fn stdin_is_the_callers_file() {
    let mut scene = Scene::new();
    scene.bundle.args(&["/bin/cat"]);
    scene
        .run_call(&[])
        .stdin("one\ntwo")
        .output()
        .ok()
        .stdout("one\ntwo");
}

#[test]
fn pipes_carry_both_ways_and_close() {
    let mut scene = Scene::new();
    scene.bundle.args(&["/bin/cat"]);
    let mut run = scene
        .run_call(&[])
        .command()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, mut stdout) = (run.stdin.take().unwrap(), run.stdout.take().unwrap());
    let mut echoed = [0; 5];
    stdin.write_all(b"hello").unwrap();
    stdout.read_exact(&mut echoed).unwrap();
    assert_eq!(&echoed, b"hello");
    drop(stdin);
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"");
    assert_eq!(
        child::wait_or_kill(&mut run, child::LIMIT, "run").code(),
        Some(0)
    );
}

#[test]
fn a_megabyte_goes_through_a_pipe_whole() {
    let mut scene = Scene::new();
    scene.bundle.args(&["/bin/cat"]);
    let bytes: Vec<u8> = (0..1_000_000_u32)
        .map(|n| b'a' + u8::try_from(n % 26).unwrap())
        .collect();
    let output = scene.run_call(&[]).stdin(bytes.clone()).output();
    assert!(output.ok().stdout.as_bytes() == bytes);
}

// libcontainer reopens /dev/null read-only over fds 0-2 when they are on it (FACTS.md 1): every write is then EBADF
#[test]
fn writing_to_a_stdout_on_dev_null_works() {
    let script = "echo out && echo err >&2 && echo done > /tmp/result";
    for options in [&[][..], &["--detach"]] {
        let mut scene = Scene::sh(script);
        scene.bundle.writable().expect("rootfs/tmp/result");
        let mut call = scene.run_call(options).command();
        let mut run = call
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        assert_eq!(
            child::wait_or_kill(&mut run, child::LIMIT, "run").code(),
            Some(0)
        );
        if !options.is_empty() {
            scene.stopped().delete();
        }
        assert_eq!(
            std::fs::read_to_string(scene.bundle.rootfs().join("tmp/result")).unwrap(),
            "done\n"
        );
    }
}

#[test]
fn the_containers_dev_null_is_its_own_when_stdio_is_on_the_hosts() {
    // runc's reopenDevNull: an fd on the host's /dev/null would keep a host inode reachable in the container
    let mut scene = Scene::sh("stat -L -c %d /proc/self/fd/0 /dev/null > /tmp/result");
    scene.bundle.writable().expect("rootfs/tmp/result");
    // detached: in the foreground a runtime may put pipes in between
    scene.run_call(&["--detach"]).output().ok();
    scene.stopped().delete();
    let result = std::fs::read_to_string(scene.bundle.rootfs().join("tmp/result")).unwrap();
    let devices: Vec<_> = result.lines().collect();
    assert_eq!(devices.len(), 2);
    assert_eq!(devices[0], devices[1]);
}

#[test]
fn the_environment_is_the_specs_and_nothing_else() {
    let mut scene = Scene::new();
    scene
        .bundle
        .args(&["/bin/env"])
        .edit(|spec| spec["process"]["env"] = json!(["PATH=/bin", "A=1", "B=x y=z"]));
    let output = scene.run_call(&[]).env("LEAK", "1").output();
    let mut lines: Vec<_> = output.ok().stdout.lines().collect();
    lines.sort_unstable();
    // runc sets HOME from /etc/passwd of the container where the spec does not
    assert_eq!(lines, ["A=1", "B=x y=z", "HOME=/root", "PATH=/bin"]);
}

#[test]
fn home_is_the_users_entry_in_the_containers_passwd() {
    let mut scene = Scene::sh("echo $HOME");
    scene
        .bundle
        .edit(|spec| spec["process"]["user"] = json!({ "uid": 1000, "gid": 1000 }));
    scene.run().ok().stdout("/home\n");
    scene
        .bundle
        .edit(|spec| spec["process"]["env"] = json!(["PATH=/bin", "HOME=/set"]));
    scene.run().ok().stdout("/set\n");
}

// DefaultExecutor fails when PATH is unset even for an absolute argv[0] (FACTS.md 1): Kubernetes' pause has no Env
#[test]
fn without_env_an_absolute_command_runs() {
    let mut scene = Scene::sh("echo ran");
    scene.bundle.edit(|spec| {
        spec["process"].as_object_mut().unwrap().remove("env");
    });
    scene.run().ok().stdout("ran\n");
}

#[test]
fn with_an_env_that_has_no_path_an_absolute_command_runs() {
    let mut scene = Scene::sh("echo ran");
    scene
        .bundle
        .edit(|spec| spec["process"]["env"] = json!(["A=1"]));
    scene.run().ok().stdout("ran\n");
}

// DefaultExecutor refuses an executable that is 0700 root (FACTS.md 1)
#[test]
fn an_executable_of_root_with_mode_0700_runs() {
    let mut scene = Scene::new();
    scene
        .bundle
        .file("root/tool", "#!/bin/sh\necho ran\n", 0o700)
        .args(&["/root/tool"]);
    scene.run().ok().stdout("ran\n");
}

#[test]
fn a_command_without_a_slash_is_searched_in_the_specs_path() {
    let mut scene = Scene::new();
    scene.bundle.directory("opt/x", 0o755).file(
        "opt/x/tool",
        "#!/bin/sh\necho opt \"$@\"\n",
        0o755,
    );
    scene
        .bundle
        .args(&["tool", "a b", ""])
        .edit(|spec| spec["process"]["env"] = json!(["PATH=/nothing:/opt/x:/bin"]));
    scene.run().ok().stdout("opt a b \n");
}

#[test]
fn a_relative_command_is_taken_from_cwd() {
    let mut scene = Scene::new();
    scene
        .bundle
        .file("home/tool", "#!/bin/sh\necho home\n", 0o755)
        .args(&["./tool"]);
    scene
        .bundle
        .edit(|spec| spec["process"]["cwd"] = json!("/home"));
    scene.run().ok().stdout("home\n");
}

#[test]
fn argv0_is_passed_as_given() {
    let mut scene = Scene::sh("echo $0");
    scene.run().ok().stdout("/bin/sh\n");
    scene.bundle.args(&["sh", "-c", "echo $0"]);
    scene.run().ok().stdout("sh\n");
}

#[test]
fn cwd_is_where_the_process_starts() {
    let mut scene = Scene::new();
    scene
        .bundle
        .args(&["/bin/pwd"])
        .edit(|spec| spec["process"]["cwd"] = json!("/home"));
    scene.run().ok().stdout("/home\n");
}

#[test]
fn a_missing_cwd_is_created() {
    let mut scene = Scene::new();
    scene.bundle.writable().expect("rootfs/work");
    scene
        .bundle
        .args(&["/bin/pwd"])
        .edit(|spec| spec["process"]["cwd"] = json!("/work/deep"));
    scene.run().ok().stdout("/work/deep\n");
}

#[test]
fn an_id_runs_again_once_its_container_has_ended() {
    let scene = Scene::sh("echo ran");
    for _ in 0..3 {
        scene.run().ok().stdout("ran\n");
    }
}

#[test]
fn the_bundle_is_the_working_directory_unless_named() {
    let scene = Scene::sh("echo ran");
    scene
        .call(["run", &scene.id])
        .directory(scene.bundle.path())
        .output()
        .ok()
        .stdout("ran\n");
    let relative = scene
        .call(["run", "-b", "bundle", &scene.id])
        .directory(scene.path());
    relative.output().ok().stdout("ran\n");
}

#[test]
fn run_detached_returns_and_leaves_a_running_container() {
    let scene = Scene::sleeper();
    let pid_file = scene.file("pid");
    scene
        .run_call(&["--detach", "--pid-file", pid_file.to_str().unwrap()])
        .output()
        .ok();
    assert_eq!(scene.status(), "running");
    assert_eq!(
        std::fs::read_to_string(&pid_file).unwrap(),
        scene.pid().to_string()
    );
    scene.delete();
}

#[test]
fn run_keep_leaves_a_stopped_container() {
    let scene = Scene::sh("exit 3");
    scene.run_call(&["--keep"]).output().code(3);
    assert_eq!(scene.status(), "stopped");
    scene.verb("delete", &[]).ok();
}
