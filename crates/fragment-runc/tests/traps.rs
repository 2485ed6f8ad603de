//! What libcontainer does otherwise than engines expect, one test a trap. Needs root.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use support::{World, eventually, wait};

fn hook(script: &str) -> Value {
    json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"] }])
}

#[test]
fn state_shows_the_callers_bundle_and_not_the_derived_one() {
    let world = World::new(&["sleep", "1000"]);
    world.create().good();
    let state: Value = serde_json::from_str(&world.call(&["state", world.id()]).stdout).unwrap();
    assert_eq!(state["bundle"], world.bundle().to_str().unwrap());
}

#[test]
fn every_hook_is_given_the_callers_bundle() {
    let world = World::new(&["true"]);
    let log = world.file("hooks");
    let append = format!("cat >> {}; echo >> {}", log.display(), log.display());
    world.edit(|spec| {
        for stage in [
            "prestart",
            "createRuntime",
            "createContainer",
            "poststart",
            "poststop",
        ] {
            spec["hooks"][stage] = hook(&append);
        }
    });
    world.run().good();
    let text = fs::read_to_string(&log).unwrap();
    let states: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(states.len(), 5, "{text}");
    for state in &states {
        assert_eq!(state["bundle"], world.bundle().to_str().unwrap(), "{text}");
        assert_eq!(state["id"], world.id());
    }
    let status: Vec<&str> = states
        .iter()
        .map(|state| state["status"].as_str().unwrap())
        .collect();
    assert_eq!(
        status,
        ["creating", "creating", "creating", "running", "stopped"]
    );
}

#[test]
fn an_executable_of_mode_0700_runs_as_root() {
    let world = World::new(&["/bin/busybox", "echo", "ran"]);
    fs::set_permissions(
        world.rootfs().join("bin/busybox"),
        fs::Permissions::from_mode(0o700),
    )
    .unwrap();
    assert_eq!(world.run().good().stdout, "ran\n");
}

#[test]
fn an_absolute_command_runs_without_path() {
    let world = World::new(&["/bin/echo", "ran"]);
    world.edit(|spec| spec["process"]["env"] = json!([]));
    assert_eq!(world.run().good().stdout, "ran\n");
    // Kubernetes' pause image has no environment at all
    world.edit(|spec| {
        spec["process"].as_object_mut().unwrap().remove("env");
    });
    assert_eq!(world.run().good().stdout, "ran\n");
}

#[test]
fn stdio_on_dev_null_stays_writable() {
    let world = World::new(&["sh", "-c", "echo out && echo err >&2"]);
    let status = world
        .command()
        .args(["run", "-b", world.bundle().to_str().unwrap(), world.id()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_program_that_ends_at_once_does_not_hang_run() {
    let world = World::new(&["true"]);
    for _ in 0..50 {
        let mut child = world
            .command()
            .args(["run", "-b", world.bundle().to_str().unwrap(), world.id()])
            .spawn()
            .unwrap();
        let code = wait(&mut child, Duration::from_secs(20));
        if code.is_none() {
            child.kill().unwrap();
        }
        assert_eq!(code, Some(0));
    }
    world.assert_clean();
}

#[test]
fn run_returns_128_and_the_signal() {
    let world = World::new(&["sh", "-c", "sh -c 'kill -9 $$'; exit $?"]);
    assert_eq!(world.run().code, Some(137));
    // without a PID namespace nothing protects the first process
    let world = World::new(&["sh", "-c", "kill -TERM $$"]);
    world.edit(|spec| {
        spec["linux"]["namespaces"]
            .as_array_mut()
            .unwrap()
            .retain(|namespace| namespace["type"] != "pid");
    });
    assert_eq!(world.run().code, Some(143));
}

#[test]
fn run_passes_signals_on() {
    let world = World::new(&[
        "sh",
        "-c",
        "trap 'echo got; exit 7' TERM; echo ready; while :; do sleep 0.05; done",
    ]);
    let out = world.file("run-output");
    let mut child = world
        .command()
        .args(["run", "-b", world.bundle().to_str().unwrap(), world.id()])
        .stdout(fs::File::create(&out).unwrap())
        .spawn()
        .unwrap();
    eventually("ready", || {
        fs::read_to_string(&out).unwrap().contains("ready")
    });
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(wait(&mut child, Duration::from_secs(10)), Some(7));
    assert_eq!(fs::read_to_string(&out).unwrap(), "ready\ngot\n");
}

#[test]
fn a_failed_create_leaves_nothing_and_the_name_is_free() {
    let world = World::new(&["sleep", "1000"]);
    world.edit(|spec| spec["process"]["terminal"] = json!(true));
    let socket = world.file("no-such-socket");
    let bundle = world.bundle();
    let arguments = [
        "create",
        "-b",
        bundle.to_str().unwrap(),
        "--console-socket",
        socket.to_str().unwrap(),
        world.id(),
    ];
    world.call(&arguments).bad("create failed");
    world.assert_clean();
    world.edit(|spec| spec["process"]["terminal"] = json!(false));
    world.create().good();
}

#[test]
fn a_failed_poststop_hook_does_not_keep_the_container() {
    let world = World::new(&["true"]);
    world.edit(|spec| spec["hooks"]["poststop"] = hook("exit 3"));
    let answer = world.run().good();
    assert!(answer.stderr.contains("poststop"), "{answer:?}");
    world.assert_clean();
}

#[test]
fn a_failed_poststart_hook_stops_the_container() {
    let world = World::new(&["sleep", "1000"]);
    world.edit(|spec| spec["hooks"]["poststart"] = hook("exit 3"));
    world.create().good();
    world.call(&["start", world.id()]).bad("poststart");
    assert_eq!(world.status(), "stopped");
}

#[test]
fn a_failed_create_runtime_hook_fails_the_create() {
    let world = World::new(&["sleep", "1000"]);
    world.edit(|spec| spec["hooks"]["createRuntime"] = hook("exit 3"));
    world.create().bad("hook");
    world.assert_clean();
}

#[test]
fn a_signal_does_not_make_a_container_stopped() {
    let world = World::new(&["sh", "-c", "trap '' USR1; while :; do sleep 1; done"]);
    world.up();
    world.call(&["kill", world.id(), "CONT"]).good();
    assert_eq!(world.status(), "running");
    world.call(&["kill", world.id(), "KILL"]).good();
    eventually("stopped", || world.status() == "stopped");
    world.call(&["kill", world.id()]).bad("not running");
    world.call(&["kill", "--all", world.id(), "9"]).good();
}

#[test]
fn a_reused_pid_is_not_the_container() {
    let world = World::new(&["sleep", "1000"]);
    world.up();
    let pid = world.pid();
    let mut record: Value = serde_json::from_slice(&fs::read(world.record()).unwrap()).unwrap();
    // start times are counted in ticks of 10 ms (proc_pid_stat(5), sysconf(_SC_CLK_TCK))
    std::thread::sleep(std::time::Duration::from_millis(50));
    let mut innocent = std::process::Command::new("sleep")
        .arg("1000")
        .spawn()
        .unwrap();
    record["init"]["pid"] = json!(innocent.id());
    fs::write(world.record(), record.to_string()).unwrap();
    assert_eq!(world.status(), "stopped");
    world.call(&["kill", world.id(), "KILL"]).bad("not running");
    world.call(&["delete", "--force", world.id()]).good();
    assert!(
        innocent.try_wait().unwrap().is_none(),
        "a stranger was killed"
    );
    innocent.kill().unwrap();
    innocent.wait().unwrap();
    // the real process is found by its cgroup
    eventually("end of the container's process", || {
        fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z"))
    });
    world.assert_clean();
}

#[test]
fn propagation_rprivate_and_mounts_without_source_are_taken() {
    let world = World::new(&["cat", "/proc/self/mountinfo"]);
    world.edit(|spec| {
        spec["linux"]["rootfsPropagation"] = json!("rprivate");
        spec["mounts"]
            .as_array_mut()
            .unwrap()
            .push(json!({ "destination": "/tmp", "type": "tmpfs" }));
    });
    let answer = world.run().good();
    assert!(answer.stdout.contains(" /tmp "), "{answer:?}");
    assert!(
        !answer.stdout.contains("master:") && !answer.stdout.contains("shared:"),
        "{answer:?}"
    );
}

#[test]
fn the_propagation_of_a_mount_is_set() {
    let world = World::new(&["cat", "/proc/self/mountinfo"]);
    let mount = json!({ "destination": "/tmp", "type": "tmpfs", "options": ["shared"] });
    world.edit(|spec| spec["mounts"].as_array_mut().unwrap().push(mount));
    let answer = world.run().good();
    let line = answer
        .stdout
        .lines()
        .find(|line| line.contains(" /tmp "))
        .unwrap();
    assert!(line.contains(" shared:"), "{line}");
}

#[test]
fn tmpcopyup_starts_a_tmpfs_with_what_lies_below() {
    let script = "cat /run/file /run/deep/file; stat -c '%a %u' /run/deep /run/file; [ -L /run/link ] && echo link; \
                  cat /run/bound; echo new > /run/file";
    let world = World::new(&["sh", "-c", script]);
    let run = world.rootfs().join("run");
    fs::create_dir_all(run.join("deep")).unwrap();
    fs::write(run.join("file"), "one\n").unwrap();
    fs::write(run.join("deep/file"), "two\n").unwrap();
    fs::set_permissions(run.join("deep"), fs::Permissions::from_mode(0o711)).unwrap();
    fs::set_permissions(run.join("file"), fs::Permissions::from_mode(0o664)).unwrap();
    std::os::unix::fs::chown(run.join("file"), Some(7), None).unwrap();
    std::os::unix::fs::symlink("/etc/shadow", run.join("link")).unwrap();
    let bound = world.file("bound");
    fs::write(&bound, "three\n").unwrap();
    world.edit(|spec| {
        let mounts = spec["mounts"].as_array_mut().unwrap();
        mounts.push(json!({ "destination": "/run", "type": "tmpfs", "options": ["tmpcopyup", "notmpcopyup"] }));
        // a later mount inside is not written to
        mounts.push(json!({ "destination": "/run/bound", "source": bound, "options": ["bind"] }));
    });
    let answer = world.run().good();
    assert_eq!(answer.stdout, "one\ntwo\n711 0\n664 7\nlink\nthree\n");
    assert_eq!(fs::read_to_string(run.join("file")).unwrap(), "one\n");
}

#[test]
fn tmpcopyup_of_something_else_is_refused_by_name() {
    let world = World::new(&["true"]);
    let mount = json!({ "destination": "/run", "type": "mqueue", "options": ["tmpcopyup"] });
    world.edit(|spec| spec["mounts"].as_array_mut().unwrap().push(mount));
    world.create().bad("tmpcopyup of /run");
    world.assert_clean();
}

#[test]
fn a_failed_mount_names_type_place_and_errno() {
    let world = World::new(&["true"]);
    let mount = json!({ "destination": "/mnt", "type": "tmpfs", "source": "x", "options": ["size=nonsense"] });
    world.edit(|spec| spec["mounts"].as_array_mut().unwrap().push(mount));
    let answer = world.create().bad("mount tmpfs (x) on /mnt");
    assert!(answer.stderr.contains("invalid argument"), "{answer:?}");
}

#[test]
fn a_mount_target_behind_a_dangling_link_is_made_inside() {
    let world = World::new(&["cat", "/etc/resolv.conf"]);
    let source = world.file("resolv.conf");
    fs::write(&source, "nameserver ::1\n").unwrap();
    fs::create_dir(world.rootfs().join("etc")).unwrap();
    std::os::unix::fs::symlink("../run/stub.conf", world.rootfs().join("etc/resolv.conf")).unwrap();
    let mount = json!({ "destination": "/etc/resolv.conf", "type": "bind", "source": source, "options": ["bind"] });
    world.edit(|spec| spec["mounts"].as_array_mut().unwrap().push(mount));
    assert_eq!(world.run().good().stdout, "nameserver ::1\n");
}

#[test]
fn a_process_of_exec_is_filtered_like_the_container() {
    let world = World::new(&["sleep", "1000"]);
    world.edit(|spec| {
        spec["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 }]
        });
    });
    world.up();
    let answer = world.call(&["exec", world.id(), "/bin/busybox", "mkdir", "/new"]);
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert!(answer.stderr.contains("not implemented"), "{answer:?}");
    let status = world
        .call(&["exec", world.id(), "grep", "Seccomp:", "/proc/self/status"])
        .good();
    assert_eq!(status.stdout, "Seccomp:\t2\n");
}

#[test]
fn a_filter_that_allows_only_the_program_works_with_no_new_privileges() {
    // libcontainer loads the filter before it waits for the start, for which it needs calls no program needs
    let world = World::new(&["/bin/echo", "ran"]);
    world.edit(|spec| {
        spec["process"]["noNewPrivileges"] = json!(true);
        spec["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["accept", "accept4", "recvfrom", "recvmsg", "sendmsg", "sendto", "close_range",
                "setresuid", "capset", "socket"], "action": "SCMP_ACT_KILL_PROCESS" }]
        });
    });
    assert_eq!(world.run().good().stdout, "ran\n");
}

#[test]
fn a_filter_that_allows_only_the_program_works_without_no_new_privileges() {
    let world = World::new(&["sh", "-c", "grep -E 'Seccomp:|CapEff' /proc/self/status"]);
    world.edit(|spec| {
        spec["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["accept", "accept4", "recvfrom", "recvmsg", "sendmsg", "sendto", "close_range",
                "setresuid", "socket"], "action": "SCMP_ACT_KILL_PROCESS" }]
        });
    });
    // CAP_KILL, as the specification has it: nothing of what the filter was loaded with is left
    assert_eq!(
        world.run().good().stdout,
        "CapEff:\t0000000000000020\nSeccomp:\t2\n"
    );
}

#[test]
fn no_new_privileges_false_is_the_same_as_absent() {
    let world = World::new(&["grep", "Seccomp:", "/proc/self/status"]);
    world.edit(|spec| {
        spec["process"]["noNewPrivileges"] = json!(false);
        spec["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["mount"], "action": "SCMP_ACT_ERRNO" }] });
    });
    assert_eq!(world.run().good().stdout, "Seccomp:\t2\n");
}

#[test]
fn without_capabilities_in_the_spec_there_are_none() {
    let world = World::new(&["grep", "-E", "Cap(Eff|Bnd)", "/proc/self/status"]);
    world.edit(|spec| {
        spec["process"]
            .as_object_mut()
            .unwrap()
            .remove("capabilities");
    });
    assert_eq!(
        world.run().good().stdout,
        "CapEff:\t0000000000000000\nCapBnd:\t0000000000000000\n"
    );
}

#[test]
fn the_runtime_cannot_be_overwritten_from_a_container() {
    // CVE-2019-5736: the created container's process is still the runtime. The attack keeps its file open until it runs no
    // more, for while it runs the kernel refuses to write anyway (ETXTBSY), and then opens the descriptor for writing.
    let world = World::new(&["sleep", "1000"]);
    world.create().good();
    let program = fs::File::open(format!("/proc/{}/exe", world.pid())).unwrap();
    world.call(&["delete", "--force", world.id()]).good();
    let kept = format!(
        "/proc/self/fd/{}",
        std::os::fd::AsRawFd::as_raw_fd(&program)
    );
    let errno = || {
        let opened = fs::OpenOptions::new().write(true).open(&kept);
        opened.err().and_then(|error| error.raw_os_error())
    };
    let busy = Some(rustix::io::Errno::TXTBSY.raw_os_error());
    eventually("the end of the runtime's process", || errno() != busy);
    // a read-only mount, or a sealed copy
    let refusals =
        [rustix::io::Errno::ROFS, rustix::io::Errno::PERM].map(|errno| Some(errno.raw_os_error()));
    assert!(refusals.contains(&errno()), "{:?}", errno());
}

#[test]
fn delete_force_cleans_up_after_a_create_killed_at_any_point() {
    let world = World::new(&["sleep", "1000"]);
    for step in 0..60 {
        let mut child = world
            .command()
            .args(["create", "-b", world.bundle().to_str().unwrap(), world.id()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_micros(step * 400));
        child.kill().unwrap();
        child.wait().unwrap();
        world.call(&["delete", "--force", world.id()]).good();
        world.assert_clean();
    }
    world.up();
}

#[test]
fn delete_force_of_an_unknown_name_is_fine() {
    let world = World::new(&["true"]);
    world.call(&["delete", "--force", world.id()]).good();
    world.call(&["delete", world.id()]).bad("does not exist");
    world.call(&["state", world.id()]).bad("does not exist");
}

#[test]
fn a_name_in_use_is_refused_and_its_container_left_alone() {
    let world = World::new(&["sleep", "1000"]);
    world.up();
    world.create().bad("container with given ID already exists");
    assert_eq!(world.status(), "running");
}

#[test]
fn the_log_is_json_lines_appended() {
    let world = World::new(&["nosuch"]);
    let log = world.file("log");
    fs::write(&log, "{\"before\":true}\n").unwrap();
    let bundle = world.bundle();
    let arguments = [
        "--log",
        log.to_str().unwrap(),
        "--log-format",
        "json",
        "create",
        "-b",
        bundle.to_str().unwrap(),
        world.id(),
    ];
    world
        .call(&arguments)
        .bad("exec: \"nosuch\": executable file not found in $PATH");
    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0], json!({ "before": true }));
    let last = lines.last().unwrap().as_object().unwrap();
    assert_eq!(last.keys().collect::<Vec<_>>(), ["level", "msg", "time"]);
    assert_eq!(last["level"], "error");
    assert!(
        last["msg"]
            .as_str()
            .unwrap()
            .contains("executable file not found in $PATH")
    );
}

#[test]
fn descriptors_leak_only_where_asked() {
    let world = World::new(&["ls", "/proc/self/fd"]);
    let run = format!(
        "exec 3</dev/zero 4</dev/zero 5</dev/zero; exec {} --root {} run -b {} --preserve-fds 1 {}",
        env!("CARGO_BIN_EXE_fragment-runc"),
        world.state().display(),
        world.bundle().display(),
        world.id()
    );
    let output = support::output(std::process::Command::new("bash").args(["-c", &run]));
    // 4 is ls reading the directory
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "0\n1\n2\n3\n4\n",
        "{output:?}"
    );
    let bundle = world.bundle();
    let arguments = [
        "run",
        "-b",
        bundle.to_str().unwrap(),
        "--preserve-fds",
        "7",
        world.id(),
    ];
    world.call(&arguments).bad("unable to preserve fd");
}

#[test]
fn exec_leaves_no_sockets_behind() {
    let world = World::new(&["sleep", "1000"]);
    world.up();
    for _ in 0..3 {
        world.call(&["exec", world.id(), "true"]).good();
    }
    assert_eq!(
        world.call(&["exec", world.id(), "sh", "-c", "exit 9"]).code,
        Some(9)
    );
    assert_eq!(world.call(&["exec", world.id(), "nosuch"]).code, Some(255));
    let names: Vec<String> = fs::read_dir(world.state().join(world.id()))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("tenant"))
        .collect();
    assert!(names.is_empty(), "{names:?}");
}

#[test]
fn a_missing_working_directory_is_made() {
    let world = World::new(&["sh", "-c", "pwd; stat -c '%u %a' ."]);
    world.edit(|spec| spec["process"]["cwd"] = json!("/srv/app/data"));
    assert_eq!(world.run().good().stdout, "/srv/app/data\n0 755\n");
}

#[test]
fn home_comes_from_the_containers_passwd_without_nss() {
    let world = World::new(&["sh", "-c", "echo $HOME"]);
    fs::create_dir(world.rootfs().join("etc")).unwrap();
    fs::write(
        world.rootfs().join("etc/passwd"),
        "root:x:0:0::/root-home:/bin/sh\n",
    )
    .unwrap();
    fs::write(world.rootfs().join("etc/nsswitch.conf"), "passwd: evil\n").unwrap();
    assert_eq!(world.run().good().stdout, "/root-home\n");
}

#[test]
fn signals_start_at_their_defaults() {
    let world = World::new(&["grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"]);
    assert_eq!(
        world.run().good().stdout,
        "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"
    );
}

#[test]
fn device_rules_of_cgroup_v1_are_in_force() {
    let world = World::new(&["sh", "-c", "mknod /tmp/x b 7 0 && cat /tmp/x"]);
    if !std::path::Path::new("/sys/fs/cgroup/devices").exists() {
        println!("skipped: no cgroup v1 devices controller");
        return;
    }
    fs::create_dir(world.rootfs().join("tmp")).unwrap();
    world.edit(|spec| {
        for set in ["bounding", "effective", "permitted"] {
            spec["process"]["capabilities"][set] = json!(["CAP_MKNOD"]);
        }
    });
    world.run().bad("Operation not permitted");
}

#[test]
fn a_cgroup_with_processes_is_refused_and_they_live() {
    let world = World::new(&["sleep", "1000"]);
    world.up();
    let mut other = World::new(&["sleep", "1000"]);
    let path = format!("/{}", world.id());
    other.edit(|spec| spec["linux"]["cgroupsPath"] = json!(path));
    other.create().bad("is not empty");
    assert_eq!(world.status(), "running");
    other = World::new(&["true"]);
    other.run().good();
}

#[test]
fn exec_joins_the_user_namespace() {
    // libcontainer joins every namespace but this one: the process would be the host's root
    let world = World::new(&["sleep", "1000"]);
    world.edit(|spec| {
        spec["linux"]["namespaces"]
            .as_array_mut()
            .unwrap()
            .push(json!({ "type": "user" }));
        for mapping in ["uidMappings", "gidMappings"] {
            spec["linux"][mapping] = json!([{ "containerID": 0, "hostID": 0, "size": 65536 }]);
        }
    });
    world.up();
    let namespace = |process: &str| {
        let path = format!("/proc/{process}/ns/user");
        let answer = world.call(&["exec", world.id(), "readlink", &path]).good();
        answer.stdout
    };
    assert_eq!(namespace("self"), namespace("1"));
    let own = fs::read_link("/proc/self/ns/user").unwrap();
    assert_ne!(namespace("self").trim(), own.to_str().unwrap());
    let answer = world.call(&["exec", "--user", "7:8", world.id(), "id"]);
    assert!(answer.good().stdout.starts_with("uid=7 gid=8"));
}

#[test]
fn two_creates_of_one_name_at_once_make_one_container() {
    let world = World::new(&["sleep", "1000"]);
    let spawn = || {
        let mut command = world.command();
        command.args(["create", "-b", world.bundle().to_str().unwrap(), world.id()]);
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut children: Vec<_> = (0..4).map(|_| spawn()).collect();
    let won = children
        .iter_mut()
        .filter_map(|child| wait(child, Duration::from_secs(20)))
        .filter(|code| *code == 0);
    assert_eq!(won.count(), 1);
    assert_eq!(world.status(), "created");
}
