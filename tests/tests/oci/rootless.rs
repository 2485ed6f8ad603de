//! Containers of a user without rights. As root the battery becomes [`fragment_tests::USER`]; called by somebody else it is that
//! user's own, in whatever cgroup it was started in.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use fragment_tests::{FOREVER, Scene, USER, child, console::Socket};
use serde_json::{Value, json};

fn user() -> u32 {
    let own = rustix::process::geteuid();
    if own.is_root() { USER } else { own.as_raw() }
}

fn scene(script: &str) -> Scene {
    Scene::sh(script).rootless()
}

fn sleeper() -> Scene {
    Scene::sleeper().rootless()
}

/// The first of the ids that newuidmap(1) may map for the user; without them the test is left out.
fn subordinate() -> Option<u32> {
    let of = |file: &str| {
        let uid = user().to_string();
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let name = passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1) == Some(&uid)).then(|| name.to_owned())
        });
        let text = fs::read_to_string(file).unwrap_or_default();
        text.lines().find_map(|line| {
            let [owner, first, _] = line.split(':').collect::<Vec<_>>()[..] else {
                return None;
            };
            (owner == uid || Some(owner) == name.as_deref()).then(|| first.parse().ok())?
        })
    };
    let first = of("/etc/subuid").filter(|first| of("/etc/subgid") == Some(*first));
    if first.is_none() || !Path::new("/usr/bin/newuidmap").exists() {
        println!(
            "skipped: no subordinate ids for uid {} on this machine",
            user()
        );
        return None;
    }
    first
}

/// Root is the user, everybody else a subordinate id.
fn map(scene: &mut Scene, first: u32) {
    let mappings = json!([
        { "containerID": 0, "hostID": user(), "size": 1 },
        { "containerID": 1, "hostID": first, "size": 65_536 }
    ]);
    scene.bundle.edit(|spec| {
        spec["linux"]["uidMappings"] = mappings.clone();
        spec["linux"]["gidMappings"] = mappings;
    });
}

/// Whether the user may make cgroups where this test runs.
fn delegated() -> bool {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let unified = own.lines().find_map(|line| line.strip_prefix("0::/"));
    let parent = unified.and_then(|path| {
        Path::new("/sys/fs/cgroup")
            .join(path)
            .parent()
            .map(Path::to_owned)
    });
    let pure = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let writable = parent.is_some_and(|parent| {
        rustix::fs::access(parent.join("cgroup.procs"), rustix::fs::Access::WRITE_OK).is_ok()
    });
    pure && writable && !rustix::process::geteuid().is_root()
}

#[test]
fn the_user_is_root_inside_and_itself_outside() {
    let mut scene = scene("id -u; id -g; tr -s ' ' < /proc/self/uid_map; touch /made");
    scene.bundle.writable().expect("rootfs/made");
    scene.run().ok().stdout(&format!("0\n0\n 0 {} 1\n", user()));
    let made = scene.bundle.rootfs().join("made");
    assert_eq!(
        std::os::unix::fs::MetadataExt::uid(&made.metadata().unwrap()),
        user()
    );
}

#[test]
fn from_create_to_delete() {
    let scene = sleeper();
    scene.create().ok();
    assert_eq!(scene.status(), "created");
    scene.start().ok();
    scene.verb("delete", &[]).fails_with("not stopped");
    scene.ready();
    assert_eq!(scene.status(), "running");
    let list = scene.call(["list", "--format", "json"]).output();
    assert_eq!(list.ok().json()[0]["id"], json!(scene.id));
    scene.call(["kill", &scene.id, "TERM"]).output().ok();
    scene.stopped();
    scene.verb("delete", &[]).ok();
    scene.nothing_left();
}

#[test]
fn detached_and_killed_by_force() {
    let scene = sleeper();
    scene.run_call(&["--detach"]).output().ok();
    scene.ready();
    let pid = scene.pid();
    scene.delete();
    assert!(!child::is_alive(pid));
}

#[test]
fn the_exit_code_is_the_programs() {
    scene("exit 7").run().code(7);
}

#[test]
fn standard_streams() {
    let scene = scene("cat; echo error >&2");
    let output = scene.run_call(&[]).stdin("in").output();
    output.ok().stdout("in").stderr("error\n");
}

#[test]
fn a_failed_create_leaves_nothing() {
    let mut scene = scene("true");
    scene.bundle.args(&["/bin/nothing"]);
    scene.create().fails_with("no such file or directory");
    scene.nothing_left();
    scene.bundle.mount(
        json!({ "destination": "/mnt", "type": "bind", "source": "/no/such", "options": ["bind"] }),
    );
    scene.create().fails_with("no such file or directory");
    scene.nothing_left();
}

#[test]
fn a_container_without_a_user_namespace_is_refused() {
    let mut scene = scene("true");
    scene.bundle.without_namespace("user");
    scene.bundle.edit(|spec| {
        let linux = spec["linux"].as_object_mut().unwrap();
        linux.remove("uidMappings");
        linux.remove("gidMappings");
    });
    scene
        .create()
        .fails_with("rootless container requires user namespaces");
}

#[test]
fn mappings_are_required() {
    for key in ["uidMappings", "gidMappings"] {
        let mut scene = scene("true");
        scene.bundle.edit(|spec| {
            spec["linux"].as_object_mut().unwrap().remove(key);
        });
        scene.create().fails_with("mapping");
        scene.nothing_left();
    }
}

#[test]
fn ids_of_others_cannot_be_mapped() {
    for host in [0, 4_000_000] {
        let mut scene = scene("true");
        let mappings = json!([{ "containerID": 0, "hostID": host, "size": 1 }]);
        scene
            .bundle
            .edit(|spec| spec["linux"]["uidMappings"] = mappings);
        let output = scene.create();
        assert_ne!(output.status.code(), Some(0), "{output}");
        scene.nothing_left();
    }
}

#[test]
fn a_user_that_is_not_mapped_is_refused() {
    let mut scene = scene("true");
    scene
        .bundle
        .edit(|spec| spec["process"]["user"] = json!({ "uid": 5, "gid": 5 }));
    let output = scene.create();
    assert_ne!(output.status.code(), Some(0), "{output}");
}

#[test]
fn groups_cannot_be_set_with_one_id_mapped() {
    let mut scene = scene("true");
    scene
        .bundle
        .edit(|spec| spec["process"]["user"]["additionalGids"] = json!([10]));
    scene
        .create()
        .fails_with("cannot set any additional groups in a rootless container");
}

#[test]
fn subordinate_ids_are_mapped() {
    let Some(first) = subordinate() else { return };
    let mut scene = scene(
        "id -u; id -g; id -G; cat /proc/self/uid_map | tr -s ' '; chown 7:8 /tmp; ls -nd /tmp | cut -c 1-20",
    );
    map(&mut scene, first);
    scene.bundle.capabilities(&["CAP_CHOWN"]);
    scene
        .bundle
        .mount(json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs" }));
    let output = scene.run();
    output
        .ok()
        .says(&format!("0\n0\n0\n 0 {} 1\n 1 {first} 65536\n", user()));
    output.says("7");
}

#[test]
fn the_program_is_a_subordinate_user() {
    let Some(first) = subordinate() else { return };
    // not its groups: those of the caller stay, setgroups(2) being forbidden
    let mut scene = scene("id -u; id -g");
    map(&mut scene, first);
    scene
        .bundle
        .edit(|spec| spec["process"]["user"] = json!({ "uid": 33, "gid": 34 }));
    scene.run().ok().stdout("33\n34\n");
}

#[test]
fn a_range_of_subordinate_ids_alone() {
    let Some(first) = subordinate() else { return };
    let mut scene = scene("id -u; tr -s ' ' < /proc/self/uid_map");
    // root inside is a subordinate id: nothing of the user's own can be written, but read
    let mappings = json!([{ "containerID": 0, "hostID": first, "size": 1000 }]);
    scene.bundle.edit(|spec| {
        spec["linux"]["uidMappings"] = mappings.clone();
        spec["linux"]["gidMappings"] = mappings;
    });
    let output = scene.run();
    output.ok().says("0\n 0 ");
}

#[test]
fn exec_is_root_of_the_same_user_namespace() {
    let scene = sleeper();
    scene.up().ready();
    let script = "id -u; id -g; for ns in user mnt; do for pid in 1 self; do readlink /proc/$pid/ns/$ns; done; done";
    let output = scene.exec(&["sh", "-c", script]);
    let lines: Vec<&str> = output.ok().stdout.lines().collect();
    assert_eq!(lines[..2], ["0", "0"], "{output}");
    assert_eq!(lines[2], lines[3], "{output}");
    assert_eq!(lines[4], lines[5], "{output}");
    scene.exec(&["sh", "-c", "exit 9"]).code(9);
    scene
        .exec(&["nothing"])
        .fails_with("executable file not found in $PATH");
    scene.delete();
}

#[test]
fn exec_before_the_start() {
    let scene = sleeper();
    scene.create().ok();
    scene.exec(&["true"]).ok();
    scene.start().ok();
    scene.ready();
    scene.exec(&["true"]).ok();
    scene.delete();
}

#[test]
fn exec_has_no_rights_outside() {
    let scene = sleeper();
    scene.up().ready();
    let own = fs::read_link(format!("/proc/{}/ns/user", std::process::id())).unwrap();
    let output = scene.exec(&["readlink", "/proc/self/ns/user"]);
    assert_ne!(output.ok().stdout.trim(), own.to_string_lossy(), "{output}");
    scene.delete();
}

#[test]
fn exec_detached() {
    let scene = sleeper();
    scene.up().ready();
    let pid_file = scene.file("state/pid");
    let options = ["--detach", "--pid-file", pid_file.to_str().unwrap()];
    scene.exec_call(&options, &["sleep", "1000"]).output().ok();
    let pid: u32 = fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    assert!(child::is_alive(pid));
    scene.delete();
    child::until("the process is gone", || !child::is_alive(pid));
    fs::remove_file(&pid_file).unwrap();
}

#[test]
fn exec_as_a_subordinate_user() {
    let Some(first) = subordinate() else { return };
    let mut scene = sleeper();
    map(&mut scene, first);
    scene.up().ready();
    let output = scene.exec_call(&["--user", "33:34"], &["id"]).output();
    output.ok().says("uid=33");
    output.says("gid=34");
    scene.delete();
}

/// The engine's end of the socket has to be the user's too.
fn socket(scene: &Scene) -> Socket {
    let path = scene.file("state/console");
    let socket = Socket::bind(path.clone());
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(path, Some(USER), Some(USER)).unwrap();
    }
    socket
}

#[test]
fn a_terminal() {
    let mut scene = scene("true");
    scene.bundle.args(&["/bin/sh"]);
    scene
        .bundle
        .edit(|spec| spec["process"]["terminal"] = json!(true));
    let socket = socket(&scene);
    let path = socket.path().to_str().unwrap().to_owned();
    scene
        .create_call(&["--console-socket", &path])
        .output()
        .ok();
    let mut terminal = socket.terminal();
    scene.start().ok();
    terminal.write("tty; echo $((6*7))\n");
    terminal.wait_for("/dev/");
    terminal.wait_for("42");
    scene.delete();
    let _ = fs::remove_file(path);
}

#[test]
fn exec_with_a_terminal() {
    let scene = sleeper();
    scene.up().ready();
    let socket = socket(&scene);
    let path = socket.path().to_str().unwrap().to_owned();
    let options = ["--tty", "--detach", "--console-socket", &path];
    scene.exec_call(&options, &["/bin/sh"]).output().ok();
    let mut terminal = socket.terminal();
    terminal.write("tty; echo $((6*7))\n");
    terminal.wait_for("/dev/pts/");
    terminal.wait_for("42");
    scene.delete();
    let _ = fs::remove_file(path);
}

#[test]
fn devices_are_the_hosts() {
    let script =
        "echo x > /dev/null && head -c 1 /dev/zero | wc -c; ls -l /dev/ptmx /dev/fd | wc -l";
    scene(script).run().ok().stdout("1\n2\n");
}

#[test]
fn the_root_is_read_only() {
    let output = scene("touch /x").run();
    output.code(1);
    assert!(output.stderr.contains("Read-only file system"), "{output}");
}

#[test]
fn masked_and_read_only_paths() {
    let output = scene("cat /proc/kcore | wc -c; echo 1 > /proc/sys/kernel/hostname").run();
    output.code(1).stdout("0\n");
    assert!(output.stderr.contains("Read-only file system"), "{output}");
}

#[test]
fn a_network_namespace_of_its_own() {
    let mut scene = scene("ip link show lo | grep -c UP; ls /sys/class/net");
    scene.bundle.namespace(json!({ "type": "network" }));
    scene.bundle.edit(|spec| {
        for mount in spec["mounts"].as_array_mut().unwrap() {
            if mount["destination"] == "/sys" {
                *mount = json!({
                    "destination": "/sys", "type": "sysfs", "source": "sysfs",
                    "options": ["nosuid", "noexec", "nodev", "ro"]
                });
            }
        }
    });
    scene.run().ok().stdout("1\nlo\n");
}

#[test]
fn a_bind_mount_keeps_its_locked_flags() {
    // /sys is read-only, nosuid, nodev and noexec or locked otherwise: asking for less than that must not fail
    let mut scene = scene("cat /mnt/data; echo 2 > /mnt/data");
    fs::create_dir(scene.file("state/shared")).unwrap();
    fs::write(scene.file("state/shared/data"), "1\n").unwrap();
    let source = scene.file("state/shared");
    scene.bundle.mount(json!({
        "destination": "/mnt", "type": "bind", "source": source, "options": ["rbind", "ro", "nosuid", "nodev"]
    }));
    let output = scene.run();
    output.code(1).stdout("1\n");
    assert!(output.stderr.contains("Read-only file system"), "{output}");
    fs::remove_dir_all(source).unwrap();
}

#[test]
fn hooks_are_the_users_outside() {
    let mut scene = scene("true");
    let told = scene.file("state/told");
    let script = format!(
        "cat > /dev/null; id -u >> {0}; tr -s ' ' < /proc/self/uid_map >> {0}",
        told.display()
    );
    let hook =
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"] }]);
    scene
        .bundle
        .edit(|spec| spec["hooks"] = json!({ "createRuntime": hook, "poststop": hook }));
    scene.run().ok();
    let own = fs::read_to_string("/proc/self/uid_map").unwrap();
    let own = own.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = format!("{}\n {own}\n", user());
    assert_eq!(fs::read_to_string(&told).unwrap(), format!("{line}{line}"));
    fs::remove_file(told).unwrap();
}

#[test]
fn spec_rootless_is_what_runs() {
    let scene = scene("true");
    let bundle = scene.bundle.path();
    fs::remove_file(bundle.join("config.json")).unwrap();
    let call = scene
        .runtime
        .bare()
        .args(["spec", "--rootless"])
        .directory(bundle);
    call.output().ok();
    let text = fs::read_to_string(bundle.join("config.json")).unwrap();
    let mut spec: Value = serde_json::from_str(&text).unwrap();
    spec["process"]["terminal"] = json!(false);
    spec["process"]["args"] = json!(["sh", "-c", "id -u"]);
    assert_eq!(spec["linux"]["uidMappings"][0]["hostID"], json!(user()));
    let mut scene = scene;
    scene.bundle.edit(|old| *old = spec);
    scene.bundle.note_all();
    scene.run().ok().stdout("0\n");
}

#[test]
fn state_is_kept_in_the_users_runtime_directory() {
    let scene = sleeper();
    let base = scene.file("state");
    let call = |verb: &str, options: &[&str]| {
        let call = scene.runtime.bare().env("XDG_RUNTIME_DIR", &base);
        call.args([verb]).args(options).args([&scene.id]).output()
    };
    let bundle = scene.bundle.path().to_str().unwrap().to_owned();
    call("create", &["--bundle", &bundle]).ok();
    let name = scene.runtime.program().file_name().unwrap();
    let name = if name == "runc" || name == "crun" {
        name
    } else {
        "fragment-runc".as_ref()
    };
    let root = base.join(name);
    let mode = root.metadata().unwrap().permissions().mode();
    // what has the sticky bit is not removed after six hours (XDG Base Directory Specification)
    assert_eq!(mode & 0o7777, 0o1700, "{mode:o}");
    assert_eq!(call("state", &[]).ok().json()["status"], json!("created"));
    call("delete", &["--force"]).ok();
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn without_a_runtime_directory_the_state_cannot_be_kept() {
    let scene = scene("true");
    let bundle = scene.bundle.path().to_str().unwrap().to_owned();
    let call = scene
        .runtime
        .bare()
        .args(["create", "--bundle", &bundle, &scene.id]);
    let output = call.output();
    assert_ne!(output.status.code(), Some(0), "{output}");
    assert!(
        output.stderr.to_lowercase().contains("permission denied"),
        "{output}"
    );
}

#[test]
fn a_limit_without_a_cgroup_is_an_error() {
    if delegated() {
        println!("skipped: a cgroup is delegated here");
        return;
    }
    let mut scene = scene("true");
    scene
        .bundle
        .edit(|spec| spec["linux"]["resources"] = json!({ "pids": { "limit": 20 } }));
    let output = scene.create();
    assert_ne!(output.status.code(), Some(0), "{output}");
    scene.nothing_left();
}

#[test]
fn pause_without_a_cgroup_is_an_error() {
    if delegated() {
        println!("skipped: a cgroup is delegated here");
        return;
    }
    let scene = sleeper();
    scene.up().ready();
    let output = scene.verb("pause", &[]);
    assert_ne!(output.status.code(), Some(0), "{output}");
    assert_eq!(scene.status(), "running");
    scene.delete();
}

#[test]
fn pause_and_resume_in_a_delegated_cgroup() {
    if !delegated() {
        println!("skipped: no cgroup is delegated to uid {} here", user());
        return;
    }
    let scene = sleeper();
    scene.up().ready();
    scene.verb("pause", &[]).ok();
    assert_eq!(scene.status(), "paused");
    scene.verb("resume", &[]).ok();
    assert_eq!(scene.status(), "running");
    scene.delete();
}

#[test]
fn limits_are_set_and_updated_in_a_delegated_cgroup() {
    if !delegated() {
        println!("skipped: no cgroup is delegated to uid {} here", user());
        return;
    }
    let mut scene = sleeper();
    scene.bundle.edit(|spec| {
        spec["linux"]["resources"] =
            json!({ "pids": { "limit": 20 }, "memory": { "limit": 67_108_864 } });
    });
    scene.up().ready();
    let own = fs::read_to_string(format!("/proc/{}/cgroup", scene.pid())).unwrap();
    let path = own.trim().trim_start_matches("0::/").to_owned();
    let file = |name: &str| {
        fs::read_to_string(Path::new("/sys/fs/cgroup").join(&path).join(name))
            .unwrap()
            .trim()
            .to_owned()
    };
    assert_eq!(file("pids.max"), "20");
    assert_eq!(file("memory.max"), "67108864");
    scene
        .call(["update", "--pids-limit", "30", &scene.id])
        .output()
        .ok();
    assert_eq!(file("pids.max"), "30");
    let ps = scene.call(["ps", "--format", "json", &scene.id]).output();
    assert_eq!(ps.ok().json()[0], json!(scene.pid()));
    scene.delete();
    assert!(!Path::new("/sys/fs/cgroup").join(path).exists());
}

/// Calls the runtime as root of a user namespace that somebody else made, as podman's rootless engine does. The test is root
/// and gives that root 65,536 ids.
fn within_a_user_namespace(scene: &mut Scene) -> bool {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root, to map ids");
        return false;
    }
    scene.bundle.without_namespace("user");
    scene.bundle.edit(|spec| {
        let linux = spec["linux"].as_object_mut().unwrap();
        linux.remove("uidMappings");
        linux.remove("gidMappings");
    });
    scene.runtime = scene.runtime.called_by(0);
    let owner =
        |path: &Path| std::os::unix::fs::lchown(path, Some(200_000), Some(200_000)).unwrap();
    let mut stack = vec![scene.path().to_owned()];
    while let Some(path) = stack.pop() {
        owner(&path);
        if path.is_dir() && !path.is_symlink() {
            stack.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
    }
    scene.bundle.note_all();
    true
}

/// Map the ids, be root there, have a mount namespace of one's own. unshare(1) by itself would ask newuidmap(1), which asks
/// /etc/subuid even for root.
const INSIDE: &str = r#"
unshare --user --keep-caps --mount sh -c 'kill -STOP $$; exec setpriv --reuid 0 --regid 0 --clear-groups "$@"' sh "$@" &
until grep -q '^State:.T' /proc/$!/status; do sleep 0.01; done
echo 0 200000 65536 > /proc/$!/uid_map
echo 0 200000 65536 > /proc/$!/gid_map
kill -CONT $!
wait $!"#;

#[test]
fn root_of_somebody_elses_user_namespace() {
    let mut scene = scene("id -u; tr -s ' ' < /proc/self/uid_map; id -G");
    if !within_a_user_namespace(&mut scene) {
        return;
    }
    scene
        .bundle
        .edit(|spec| spec["process"]["user"]["additionalGids"] = json!([10, 11]));
    let output = scene.run_call(&[]).within(INSIDE).output();
    output.ok().stdout("0\n 0 200000 65536\n0 10 11\n");
}

#[test]
fn a_user_namespace_in_somebody_elses() {
    let mut scene = scene("id -u; tr -s ' ' < /proc/self/uid_map; id -G");
    if !within_a_user_namespace(&mut scene) {
        return;
    }
    // as podman --userns=keep-id: the user keeps its number
    let mappings = json!([
        { "containerID": 0, "hostID": 1, "size": 1000 },
        { "containerID": 1000, "hostID": 0, "size": 1 },
        { "containerID": 1001, "hostID": 1001, "size": 60000 }
    ]);
    scene.bundle.namespace(json!({ "type": "user" }));
    scene.bundle.edit(|spec| {
        spec["linux"]["uidMappings"] = mappings.clone();
        spec["linux"]["gidMappings"] = mappings;
        spec["process"]["user"] = json!({ "uid": 1000, "gid": 1000, "additionalGids": [10] });
    });
    let output = scene.run_call(&[]).within(INSIDE).output();
    output
        .ok()
        .stdout("1000\n 0 1 1000\n 1000 0 1\n 1001 1001 60000\n1000 10\n");
}

#[test]
fn exec_from_somebody_elses_user_namespace() {
    let mut scene = sleeper();
    if !within_a_user_namespace(&mut scene) {
        return;
    }
    // one namespace for all calls, as an engine has it
    let script = format!(
        "\"$0\" --root {root} create --bundle {bundle} {id} && \"$0\" --root {root} start {id} && \
         \"$0\" --root {root} exec {id} id -u && \"$0\" --root {root} state {id} && \"$0\" --root {root} delete --force {id}",
        root = scene.runtime.root().display(),
        bundle = scene.bundle.path().display(),
        id = scene.id
    );
    let shell = scene.runtime.with_program("/bin/sh").bare();
    let program = scene.runtime.program().to_owned();
    let call = shell.args(["-c".as_ref(), script.as_ref(), program.as_os_str()]);
    let output = call.within(INSIDE).output();
    output.ok().says("\"status\": \"running\"");
    assert!(output.stdout.starts_with("0\n"), "{output}");
}

#[test]
fn what_goes_on_for_ever_is_found_by_another_call() {
    let scene = scene(&format!("trap 'exit 3' TERM; {FOREVER}"));
    let mut running = scene.run_call(&[]).command().spawn().unwrap();
    child::until("the container runs", || {
        let output = scene.verb("state", &[]);
        output.status.success() && output.json()["status"] == json!("running")
    });
    scene.ready();
    scene.call(["kill", &scene.id, "TERM"]).output().ok();
    let status = child::wait_or_kill(&mut running, child::LIMIT, "run");
    assert_eq!(status.code(), Some(3));
}
