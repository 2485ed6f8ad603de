//! `exec`.

use std::fs;

use fragment_tests::{Scene, child};
use serde_json::{Value, json};

/// A scene with a running container, in which `test` is done.
fn running(prepare: impl FnOnce(&mut Scene), test: impl FnOnce(&Scene)) {
    let mut scene = Scene::sleeper();
    prepare(&mut scene);
    scene.up();
    test(&scene);
    assert_eq!(scene.status(), "running");
    scene.delete();
}

fn process_file(scene: &Scene, process: &Value) -> String {
    let path = scene.file("process.json");
    fs::write(&path, process.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn exit_codes_and_streams_are_passed_on() {
    running(
        |_| {},
        |scene| {
            for code in [0, 1, 7, 255] {
                scene
                    .exec(&["sh", "-c", &format!("exit {code}")])
                    .code(code);
            }
            scene
                .exec(&["sh", "-c", "echo out; echo err >&2"])
                .ok()
                .stdout("out\n")
                .stderr("err\n");
            scene
                .exec_call(&[], &["cat"])
                .stdin("typed")
                .output()
                .ok()
                .stdout("typed");
        },
    );
}

#[test]
fn death_by_a_signal_is_128_plus_its_number() {
    running(
        |_| {},
        |scene| {
            scene.exec(&["sh", "-c", "kill -KILL $$"]).code(137);
            scene.exec(&["sh", "-c", "kill -TERM $$"]).code(143);
        },
    );
}

#[test]
fn it_runs_in_the_containers_namespaces_root_and_cgroup() {
    running(
        |_| {},
        |scene| {
            let pid = scene.pid();
            for namespace in ["pid", "net", "ipc", "uts", "mnt"] {
                let expected = fs::read_link(format!("/proc/{pid}/ns/{namespace}")).unwrap();
                let output = scene.exec(&["readlink", &format!("/proc/self/ns/{namespace}")]);
                assert_eq!(output.ok().stdout.trim(), expected.to_str().unwrap());
            }
            let cgroups = scene.exec(&["cat", "/proc/self/cgroup"]);
            let expected = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
            // every v1 hierarchy (the unified one has no controllers here and runc leaves it alone)
            let v1 = |text: &str| {
                text.lines()
                    .filter(|line| !line.starts_with("0::"))
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            };
            assert_eq!(v1(&cgroups.ok().stdout), v1(&expected));
            scene.exec(&["cat", "/etc/passwd"]).ok().says("user:x:1000");
        },
    );
}

#[test]
fn env_adds_and_replaces() {
    running(
        |_| {},
        |scene| {
            let output = scene
                .exec_call(
                    &["--env", "A=1", "--env", "TERM=new", "--env", "B=x=y z"],
                    &["env"],
                )
                .output();
            for line in ["A=1\n", "TERM=new\n", "B=x=y z\n", "PATH=/usr/local/sbin"] {
                output.ok().says(line);
            }
        },
    );
}

#[test]
fn cwd_user_and_additional_gids() {
    running(
        |_| {},
        |scene| {
            scene
                .exec_call(&["--cwd", "/home"], &["pwd"])
                .output()
                .ok()
                .stdout("/home\n");
            scene
                .exec_call(&["--user", "1000:100"], &["sh", "-c", "id -u; id -g"])
                .output()
                .ok()
                .stdout("1000\n100\n");
            scene
                .exec_call(&["-u", "1000"], &["id", "-u"])
                .output()
                .ok()
                .stdout("1000\n");
            let groups = scene
                .exec_call(&["-u", "1000:1000", "-g", "7", "-g", "8"], &["id", "-G"])
                .output();
            groups.ok().stdout("1000 7 8\n");
        },
    );
}

#[test]
fn options_after_the_command_belong_to_the_command() {
    running(
        |_| {},
        |scene| {
            scene
                .exec(&["echo", "--env", "-d", "--help"])
                .ok()
                .stdout("--env -d --help\n");
        },
    );
}

#[test]
fn process_file_describes_everything() {
    running(
        |_| {},
        |scene| {
            let script = "pwd; id -u; id -g; echo $A; grep CapEff /proc/self/status";
            let process = json!({
                "terminal": false, "cwd": "/home", "user": { "uid": 1000, "gid": 100 },
                "args": ["/bin/sh", "-c", script], "env": ["PATH=/bin", "A=b c"],
                "capabilities": { "bounding": ["CAP_KILL"] }
            });
            let path = process_file(scene, &process);
            let output = scene.call(["exec", "--process", &path, &scene.id]).output();
            output
                .ok()
                .stdout("/home\n1000\n100\nb c\nCapEff:\t0000000000000000\n");
        },
    );
}

#[test]
fn a_bad_process_file_is_refused() {
    running(
        |_| {},
        |scene| {
            let path = scene.file("bad.json");
            for text in ["", "{", "[]", r#"{"args": 7}"#] {
                fs::write(&path, text).unwrap();
                let output = scene
                    .call(["exec", "-p", path.to_str().unwrap(), &scene.id])
                    .output();
                assert!(
                    output.status.code().is_some_and(|code| code != 0),
                    "{text:?} was taken\n{output}"
                );
            }
            let missing = scene
                .call(["exec", "-p", "/no/such/file", &scene.id])
                .output();
            missing.fails_with("no such file or directory");
        },
    );
}

#[test]
fn without_a_command_it_is_refused() {
    running(
        |_| {},
        |scene| {
            let output = scene.call(["exec", &scene.id]).output();
            assert!(!output.status.success(), "{output}");
        },
    );
}

#[test]
fn detached_it_returns_at_once_and_leaves_a_pid_file() {
    running(
        |_| {},
        |scene| {
            let path = scene.file("pid");
            let options = ["--detach", "--pid-file", path.to_str().unwrap()];
            scene
                .exec_call(&options, &["sleep", "1000"])
                .output()
                .ok()
                .stdout("");
            let pid: u32 = fs::read_to_string(&path).unwrap().parse().unwrap();
            assert!(child::is_alive(pid));
            assert_eq!(
                fs::read_link(format!("/proc/{pid}/ns/pid")).unwrap(),
                fs::read_link(format!("/proc/{}/ns/pid", scene.pid())).unwrap()
            );
            child::until("it is the command", || {
                fs::read_to_string(format!("/proc/{pid}/cmdline"))
                    .is_ok_and(|line| line == "sleep\x001000\0")
            });
        },
    );
}

#[test]
fn detached_as_engines_call_it() {
    running(
        |_| {},
        |scene| {
            let process = json!({
                "cwd": "/", "user": { "uid": 0, "gid": 0 }, "args": ["sh", "-c", "echo detached > /dev/shm/result"],
                "env": ["PATH=/bin"]
            });
            let path = process_file(scene, &process);
            let pid_file = scene.file("pid");
            let words = [
                "exec",
                "--process",
                &path,
                "--detach",
                "--pid-file",
                pid_file.to_str().unwrap(),
                &scene.id,
            ];
            scene.call(words).output().ok();
            child::until("it has written", || {
                scene.exec(&["cat", "/dev/shm/result"]).stdout == "detached\n"
            });
            assert!(
                fs::read_to_string(&pid_file)
                    .unwrap()
                    .parse::<u32>()
                    .is_ok()
            );
        },
    );
}

#[test]
fn capabilities_are_the_containers() {
    running(
        |_| {},
        |scene| {
            // CAP_KILL 5, CAP_NET_BIND_SERVICE 10, CAP_AUDIT_WRITE 29
            let output = scene.exec(&[
                "sh",
                "-c",
                "grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status",
            ]);
            output
                .ok()
                .stdout("CapEff:\t0000000020000420\nCapBnd:\t0000000020000420\nNoNewPrivs:\t1\n");
        },
    );
}

#[test]
fn cap_adds_a_capability() {
    running(
        |_| {},
        |scene| {
            let output = scene
                .exec_call(
                    &["--cap", "CAP_NET_RAW"],
                    &["grep", "CapEff", "/proc/self/status"],
                )
                .output();
            output.ok().stdout("CapEff:\t0000000020002420\n");
        },
    );
}

#[test]
fn a_stopped_container_refuses_it() {
    let scene = Scene::new();
    scene.up().stopped();
    scene.exec(&["true"]).fails_with("stopped");
    scene.verb("delete", &[]).ok();
}

#[test]
fn a_created_container_accepts_it() {
    // podman and the CRI exec into containers before start; so does runc
    let scene = Scene::sleeper();
    scene.create().ok();
    scene.exec(&["echo", "early"]).ok().stdout("early\n");
    assert_eq!(scene.status(), "created");
    scene.delete();
}

#[test]
fn many_at_the_same_time() {
    running(
        |_| {},
        |scene| {
            std::thread::scope(|scope| {
                for thread in 0..4 {
                    scope.spawn(move || {
                        for turn in 0..5 {
                            let text = format!("{thread}-{turn}");
                            scene
                                .exec(&["echo", &text])
                                .ok()
                                .stdout(&format!("{text}\n"));
                        }
                    });
                }
            });
        },
    );
}

#[test]
fn a_killed_exec_leaves_the_container_running() {
    running(
        |_| {},
        |scene| {
            let mut exec = scene
                .exec_call(&[], &["sleep", "1000"])
                .command()
                .spawn()
                .unwrap();
            child::until("the process runs", || {
                scene.verb("ps", &[]).stdout.contains("sleep 1000")
            });
            exec.kill().unwrap();
            exec.wait().unwrap();
        },
    );
}

#[test]
fn signals_to_a_foreground_exec_reach_its_process() {
    running(
        |_| {},
        |scene| {
            let script = "trap 'exit 9' TERM; echo > /dev/shm/trap; while :; do sleep 0.05; done";
            let mut exec = scene
                .exec_call(&[], &["sh", "-c", script])
                .command()
                .spawn()
                .unwrap();
            child::until("the trap is set", || {
                scene
                    .exec(&["test", "-e", "/dev/shm/trap"])
                    .status
                    .success()
            });
            child::signal(exec.id(), rustix::process::Signal::TERM).unwrap();
            assert_eq!(
                child::wait_or_kill(&mut exec, child::LIMIT, "exec").code(),
                Some(9)
            );
        },
    );
}

#[test]
fn a_missing_cwd_is_an_error_or_created() {
    running(
        |_| {},
        |scene| {
            // the root is read-only here: creating it cannot work
            let output = scene.exec_call(&["--cwd", "/no/such"], &["pwd"]).output();
            assert!(
                output.status.code().is_some_and(|code| code != 0),
                "{output}"
            );
        },
    );
}
