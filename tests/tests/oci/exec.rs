//! `exec`.

use std::fs;

use fragment_tests::console::Socket;
use fragment_tests::{Scene, child, leftovers};
use serde_json::{Value, json};

use crate::seccomp::asking_of_mkdir;

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

#[test]
fn a_process_file_without_a_user_is_roots() {
    running(
        |_| {},
        |scene| {
            let process = json!({ "args": ["id", "-u"], "cwd": "/", "env": ["PATH=/bin"] });
            let path = process_file(scene, &process);
            let output = scene.call(["exec", "--process", &path, &scene.id]).output();
            output.ok().stdout("0\n");
        },
    );
}

#[test]
fn what_a_process_file_leaves_out_is_the_containers() {
    unless_runc!(
        Scene::new(),
        "runc 1.1 takes the caller's limits and a umask of its own"
    );
    let limits = json!([{ "type": "RLIMIT_NOFILE", "hard": 77, "soft": 66 }]);
    running(
        |scene| {
            scene.bundle.edit(|spec| {
                spec["process"]["rlimits"] = limits;
                spec["process"]["user"]["umask"] = json!(0o027);
                spec["process"]["oomScoreAdj"] = json!(345);
            });
        },
        |scene| {
            let script = "ulimit -n; ulimit -Hn; umask; cat /proc/self/oom_score_adj; grep CapEff /proc/self/status";
            let process = json!({ "args": ["sh", "-c", script], "cwd": "/", "env": ["PATH=/bin"] });
            let path = process_file(scene, &process);
            let output = scene.call(["exec", "--process", &path, &scene.id]).output();
            output
                .ok()
                .stdout("66\n77\n0027\n345\nCapEff:\t0000000020000420\n");
            // and its own counts
            let process = json!({
                "args": ["sh", "-c", "ulimit -n; umask"], "cwd": "/", "env": ["PATH=/bin"],
                "user": { "umask": 0o002 }, "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 55, "soft": 44 }]
            });
            let path = process_file(scene, &process);
            let output = scene.call(["exec", "--process", &path, &scene.id]).output();
            output.ok().stdout("44\n0002\n");
        },
    );
}

#[test]
fn affinity_priorities_and_personality_are_set() {
    unless_runc!(
        Scene::new(),
        "runc 1.1 knows neither scheduler, ioPriority, execCPUAffinity nor personality"
    );
    running(
        |scene| {
            scene
                .bundle
                .edit(|spec| spec["linux"]["personality"] = json!({ "domain": "LINUX32" }));
        },
        |scene| {
            let script = "cut -d ' ' -f 19 /proc/self/stat; grep Cpus_allowed_list /proc/self/status; uname -m; cat /proc/self/personality";
            let process = json!({
                "args": ["sh", "-c", script], "cwd": "/", "env": ["PATH=/bin"],
                "scheduler": { "policy": "SCHED_BATCH", "nice": 5 },
                "ioPriority": { "class": "IOPRIO_CLASS_IDLE", "priority": 4 },
                "execCPUAffinity": { "initial": "0", "final": "0" }
            });
            let path = process_file(scene, &process);
            let output = scene.call(["exec", "--process", &path, &scene.id]).output();
            output.says("5\nCpus_allowed_list:\t0\ni686\n");
            // not on this machine, and not in words of libcontainer
            let process = json!({
                "args": ["true"], "cwd": "/", "env": ["PATH=/bin"], "execCPUAffinity": { "final": "9-3" }
            });
            let path = process_file(scene, &process);
            let output = scene.call(["exec", "--process", &path, &scene.id]).output();
            output.fails_with("set process.execcpuaffinity \"9-3\"");
        },
    );
}

#[test]
fn an_unknown_capability_is_ignored() {
    running(
        |_| {},
        |scene| {
            let options = ["--cap", "CAP_UNKNOWN"];
            let output = scene.exec_call(&options, &["grep", "CapEff", "/proc/self/status"]);
            output.output().ok().stdout("CapEff:\t0000000020000420\n");
        },
    );
}

#[test]
fn a_wrong_cgroup_is_named_in_runcs_words() {
    running(
        |_| {},
        |scene| {
            let exec = |cgroup: &str| scene.exec_call(&["--cgroup", cgroup], &["true"]).output();
            exec("..").fails_with(".. is not a sub cgroup path");
            exec("whaaat:/").fails_with("unknown controller ");
            let missing = |cgroup: &str| {
                let output = exec(cgroup);
                output.fails_with("adding pid ");
                output.fails_with("/nonexistent/cgroup.procs: no such file or directory");
            };
            missing("nonexistent");
            if std::path::Path::new("/sys/fs/cgroup/pids").exists() {
                missing("pids:nonexistent");
            } else {
                // cgroup v2 has no hierarchy of one controller
                exec("pids:nonexistent").fails_with("unknown controller pids in ");
            }
            exec("/").ok();
        },
    );
}

#[test]
fn a_cgroup_of_one_controller() {
    if !std::path::Path::new("/sys/fs/cgroup/pids").exists() {
        println!("skipped: no cgroup v1 here");
        return;
    }
    running(
        |_| {},
        |scene| {
            let sub = format!("/sys/fs/cgroup/pids/{}/sub", scene.id);
            fs::create_dir(&sub).unwrap();
            let output = scene
                .exec_call(&["--cgroup", "pids:sub"], &["cat", "/proc/self/cgroup"])
                .output();
            let line = |controller: &str| {
                let named = |line: &&str| line.contains(&format!(":{controller}:"));
                output.ok().stdout.lines().find(named).unwrap().to_owned()
            };
            assert!(line("pids").ends_with("/sub"), "{output}");
            assert!(!line("freezer").ends_with("/sub"), "{output}");
        },
    );
}

#[test]
fn a_paused_container_refuses_it_in_runcs_words() {
    let frozen = |scene: &Scene, word: &str| {
        let file = format!("/sys/fs/cgroup/freezer/{}/freezer.state", scene.id);
        fs::write(file, word).unwrap();
    };
    if !std::path::Path::new("/sys/fs/cgroup/freezer").exists() {
        println!("skipped: no freezer of cgroup v1 here");
        return;
    }
    running(
        |_| {},
        |scene| {
            frozen(scene, "FROZEN");
            child::until("it is paused", || scene.status() == "paused");
            let refused = "cannot exec in a paused container (use --ignore-paused to override)";
            scene.exec(&["true"]).fails_with(refused);
            let mut exec = scene
                .exec_call(&["--ignore-paused"], &["true"])
                .command()
                .spawn()
                .unwrap();
            std::thread::sleep(std::time::Duration::from_millis(200));
            assert!(
                exec.try_wait().unwrap().is_none(),
                "it ran in a paused container"
            );
            frozen(scene, "THAWED");
            let status = child::wait_or_kill(&mut exec, child::LIMIT, "exec");
            assert_eq!(status.code(), Some(0));
        },
    );
}

#[test]
fn a_stopped_container_refuses_it_in_runcs_words() {
    let scene = Scene::new();
    scene.up().stopped();
    scene
        .exec(&["true"])
        .code(255)
        .fails_with("cannot exec in a stopped container");
    scene.verb("delete", &[]).ok();
}

#[test]
fn a_pid_file_that_cannot_be_written_ends_the_process() {
    running(
        |_| {},
        |scene| {
            let options = ["--pid-file", "/no/such/directory"];
            let output = scene.exec_call(&options, &["sleep", "1111"]).output();
            output.code(255).fails_with("no such file or directory");
            assert!(!scene.verb("ps", &[]).ok().stdout.contains("sleep 1111\n"));
        },
    );
}

#[test]
fn a_runtime_killed_at_any_time_leaves_no_process_of_its_own_inside() {
    running(
        |_| {},
        |scene| {
            for delay in 0..40_u64 {
                let call = scene.exec_call(&[], &["sleep", "1234"]);
                let mut exec = call.command().spawn().unwrap();
                std::thread::sleep(std::time::Duration::from_micros(delay * 700));
                exec.kill().unwrap();
                exec.wait().unwrap();
                child::until("only programs of the container are left", || {
                    let found = leftovers::processes(&scene.id).into_iter();
                    found.map(|process| process.pid).all(|pid| {
                        let command = fs::read_to_string(format!("/proc/{pid}/cmdline"));
                        let program = scene.runtime.program().to_string_lossy();
                        !command.is_ok_and(|command| command.starts_with(&*program))
                    })
                });
            }
        },
    );
}

#[test]
fn it_races_with_a_delete_and_nothing_is_left() {
    for delay in 0..12_u64 {
        let scene = Scene::sleeper();
        scene.up();
        let mut execs: Vec<_> = (0..3)
            .map(|_| {
                let call = scene.exec_call(&[], &["sleep", "1000"]);
                let mut command = call.command();
                command.stderr(std::process::Stdio::null());
                command.spawn().unwrap()
            })
            .collect();
        std::thread::sleep(std::time::Duration::from_millis(delay * 3));
        scene.delete();
        for exec in &mut execs {
            child::wait_or_kill(exec, child::LIMIT, "exec");
        }
        scene.nothing_left();
    }
}

#[test]
fn a_listener_of_its_filter_is_passed_on() {
    let mut scene = Scene::sleeper();
    let socket = Socket::bind(scene.file("agent"));
    scene
        .bundle
        .edit(|spec| spec["linux"]["seccomp"] = asking_of_mkdir(&socket));
    scene.create().ok();
    let (_, init) = socket.message();
    scene.start().ok();
    let mut exec = scene
        .exec_call(&[], &["mkdir", "/dev/shm/d"])
        .command()
        .spawn()
        .unwrap();
    let (state, listener) = socket.message();
    let state: Value = serde_json::from_str(&state).unwrap();
    assert_eq!(state["fds"], json!(["seccompFd"]));
    assert_eq!(state["metadata"], "for the agent");
    assert_eq!(state["state"]["id"], json!(scene.id));
    assert_eq!(state["state"]["status"], "running");
    assert_eq!(state["state"]["pid"], json!(scene.pid()));
    assert_ne!(state["pid"], state["state"]["pid"]);
    // its call waits for an answer, and without an agent there is none: ENOSYS (seccomp_unotify(2))
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert!(exec.try_wait().unwrap().is_none());
    drop(listener);
    let status = child::wait_or_kill(&mut exec, child::LIMIT, "exec");
    assert_eq!(status.code(), Some(1));
    drop(init);
    scene.delete();
}

#[test]
fn a_listener_that_is_not_there_is_an_error() {
    let mut scene = Scene::sleeper();
    let socket = Socket::bind(scene.file("agent"));
    scene
        .bundle
        .edit(|spec| spec["linux"]["seccomp"] = asking_of_mkdir(&socket));
    scene.create().ok();
    let init = socket.message();
    scene.start().ok();
    fs::remove_file(socket.path()).unwrap();
    scene
        .exec(&["sleep", "1000"])
        .code(255)
        .fails_with("agent: ")
        .fails_with("no such file or directory");
    drop(init);
    scene.delete();
}

#[test]
fn sockets_of_activation_are_passed_with_the_right_number() {
    running(
        |_| {},
        |scene| {
            unless_runc!(
                scene,
                "runc 1.1 says LISTEN_PID=1, which is another process's"
            );
            let script = "cat <&3; echo $LISTEN_FDS $((LISTEN_PID == $$))";
            fs::write(scene.file("three"), "third\n").unwrap();
            let call = scene
                .exec_call(&[], &["sh", "-c", script])
                .directory(scene.path());
            let call = call.within("exec 3<three; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\"");
            call.output().ok().stdout("third\n1 1\n");
        },
    );
}

/// The process a descriptor stands for (proc_pid_fdinfo(5)).
fn process_of(descriptor: &fs::File) -> i64 {
    use std::os::fd::AsRawFd as _;
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", descriptor.as_raw_fd())).unwrap();
    let pid = text
        .lines()
        .find_map(|line| line.strip_prefix("Pid:"))
        .unwrap();
    pid.trim().parse().unwrap()
}

#[test]
fn a_pidfd_is_sent_by_create_run_and_exec() {
    let scene = Scene::sleeper();
    unless_runc!(scene, "runc 1.1 has no --pidfd-socket");
    let socket = Socket::bind(scene.file("pidfd"));
    let options = ["--pidfd-socket", socket.path().to_str().unwrap()];
    scene.create_call(&options).output().ok();
    let (_, descriptors) = socket.message();
    assert_eq!(process_of(&descriptors[0]), i64::from(scene.pid()));
    scene.start().ok();
    let pid_file = scene.file("pid");
    let mut all = vec!["--detach", "--pid-file", pid_file.to_str().unwrap()];
    all.extend(options);
    scene.exec_call(&all, &["sleep", "1000"]).output().ok();
    let (_, descriptors) = socket.message();
    let pid = fs::read_to_string(&pid_file).unwrap();
    assert_eq!(process_of(&descriptors[0]).to_string(), pid);
    scene.delete();
    let mut all = vec!["--detach"];
    all.extend(options);
    scene.run_call(&all).output().ok();
    let (_, descriptors) = socket.message();
    assert_eq!(process_of(&descriptors[0]), i64::from(scene.pid()));
    scene.delete();
}

#[test]
fn a_missing_working_directory_is_not_made() {
    running(
        |scene| {
            scene.bundle.writable();
        },
        |scene| {
            let output = scene.exec_call(&["--cwd", "/no/such"], &["pwd"]).output();
            output.code(255);
            output.fails_with(
                "chdir to cwd (\"/no/such\") set in config.json failed: no such file or directory",
            );
        },
    );
}
