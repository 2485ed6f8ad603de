//! File descriptors: what reaches the container and what must not.

use std::os::unix::fs::MetadataExt as _;

use fragment_tests::{Scene, child};

/// Lists the open descriptors of the shell itself, by number: `ls` opens one more, for the directory.
const LIST: &str = "for fd in /proc/$$/fd/*; do n=${fd##*/}; [ -e $fd ] && echo $n; done; true";

#[test]
fn other_descriptors_do_not_leak() {
    let scene = Scene::sh(LIST);
    let call = scene
        .run_call(&[])
        .within("exec 3</etc/hostname 5</etc/hostname 9</etc/hostname; exec \"$@\"");
    let output = call.output();
    // 10 and more are the shell's own (dash and ash keep a script's descriptor there)
    assert_eq!(output.ok().stdout, "0\n1\n2\n", "{output}");
}

#[test]
fn preserved_descriptors_are_3_and_up_and_no_more() {
    let scene = Scene::sh(&format!("{LIST}; cat <&3; cat <&4"));
    std::fs::write(scene.file("three"), "third\n").unwrap();
    std::fs::write(scene.file("four"), "fourth\n").unwrap();
    let call = scene
        .run_call(&["--preserve-fds", "2"])
        .directory(scene.path());
    let output = call
        .within("exec 3<three 4<four 5</etc/hostname; exec \"$@\"")
        .output();
    output.ok().stdout("0\n1\n2\n3\n4\nthird\nfourth\n");
}

#[test]
fn preserved_descriptors_reach_an_exec() {
    let scene = Scene::sleeper();
    scene.up();
    std::fs::write(scene.file("three"), "third\n").unwrap();
    let call = scene.exec_call(
        &["--preserve-fds", "1"],
        &["sh", "-c", &format!("{LIST}; cat <&3")],
    );
    let call = call
        .directory(scene.path())
        .within("exec 3<three 4</etc/hostname; exec \"$@\"");
    call.output().ok().stdout("0\n1\n2\n3\nthird\n");
    let call = scene
        .exec_call(&[], &["sh", "-c", LIST])
        .within("exec 3</etc/hostname; exec \"$@\"");
    call.output().ok().stdout("0\n1\n2\n");
    scene.delete();
}

#[test]
fn more_preserved_descriptors_than_are_open_is_refused() {
    let scene = Scene::sh(LIST);
    let output = scene.run_call(&["--preserve-fds", "50"]).output();
    assert!(
        output.status.code().is_some_and(|code| code != 0),
        "{output}"
    );
}

#[test]
fn listen_fds_are_passed_with_their_variables() {
    let scene = Scene::sh(&format!(
        "{LIST}; cat <&3; echo $LISTEN_FDS $((LISTEN_PID == $$))"
    ));
    std::fs::write(scene.file("three"), "third\n").unwrap();
    let call = scene.run_call(&[]).directory(scene.path());
    // sd_listen_fds(3): the variables are meant for the process whose pid they name
    call.within("exec 3<three; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\"")
        .output()
        .ok()
        .stdout("0\n1\n2\n3\nthird\n1 1\n");
}

#[test]
fn a_created_container_keeps_no_descriptor_of_the_runtime() {
    let scene = Scene::sleeper();
    scene.up();
    fragment_tests::child::until("the shell runs", || {
        std::fs::read_to_string(format!("/proc/{}/comm", scene.pid()))
            .is_ok_and(|name| name == "sh\n")
    });
    let fds = std::fs::read_dir(format!("/proc/{}/fd", scene.pid())).unwrap();
    let mut fds: Vec<_> = fds
        .map(|fd| fd.unwrap().file_name().into_string().unwrap())
        .collect();
    fds.sort();
    assert_eq!(fds, ["0", "1", "2"]);
    scene.delete();
}

#[test]
fn a_runtime_that_waits_holds_no_file_of_the_cgroup() {
    // else the kernel keeps what it knows of the directories in its caches when they are removed
    let scene = Scene::sleeper();
    let mut run = scene.run_call(&[]).command().spawn().unwrap();
    child::until("the program runs", || {
        let state = scene.call(["state", &scene.id]).output();
        state.status.success() && state.json()["status"] == "running"
    });
    let open = std::fs::read_dir(format!("/proc/{}/fd", run.id())).unwrap();
    let files: Vec<_> = open
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .collect();
    assert!(files.len() > 3, "{files:?}");
    let held = files.iter().find(|file| file.starts_with("/sys/fs/cgroup"));
    assert_eq!(held, None);
    scene.delete();
    child::wait_or_kill(&mut run, child::LIMIT, "run");
}

#[test]
fn the_process_cannot_reach_the_runtime_binary() {
    // CVE-2019-5736: /proc/1/exe of a process that has not exec'ed yet must not be the runtime's file on the host
    let scene = Scene::sleeper();
    scene.create().ok();
    let path = format!("/proc/{}/exe", scene.pid());
    let exe = std::fs::metadata(&path).unwrap();
    let read_only = rustix::fs::statvfs(&path)
        .unwrap()
        .f_flag
        .contains(rustix::fs::StatVfsMountFlags::RDONLY);
    scene.delete();
    let runtime = std::fs::metadata(scene.runtime.program()).expect("FRAGMENT_RUNC is a path");
    let same = (exe.dev(), exe.ino()) == (runtime.dev(), runtime.ino());
    assert!(
        read_only || !same,
        "{path} is the runtime's own file, on a writable mount"
    );
}
