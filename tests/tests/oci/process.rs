//! `process`: user, capabilities, limits, and what else config.json says of it.

use fragment_tests::{Output, Scene};
use serde_json::json;

fn status_line(name: &str) -> Scene {
    Scene::sh(&format!("grep ^{name}: /proc/self/status | cut -f2"))
}

#[test]
fn uid_gid_and_additional_gids() {
    let mut scene = Scene::sh("id -u; id -g; id -G");
    scene.bundle.edit(|spec| {
        spec["process"]["user"] = json!({ "uid": 1234, "gid": 567, "additionalGids": [10, 20] });
    });
    scene.run().ok().stdout("1234\n567\n567 10 20\n");
}

#[test]
fn without_additional_gids_there_are_none() {
    let mut scene = status_line("Groups");
    scene
        .bundle
        .edit(|spec| spec["process"]["user"] = json!({ "uid": 1, "gid": 2 }));
    assert_eq!(scene.run().ok().stdout.trim(), "");
}

#[test]
fn the_umask_is_0022_unless_set() {
    let mut scene = Scene::sh("umask");
    scene.run().ok().stdout("0022\n");
    scene
        .bundle
        .edit(|spec| spec["process"]["user"] = json!({ "uid": 0, "gid": 0, "umask": 0o77 }));
    scene.run().ok().stdout("0077\n");
}

#[test]
fn capability_sets_are_the_specs() {
    // CAP_KILL is 5, CAP_SYS_ADMIN 21, CAP_SYSLOG 34 (capability.h)
    let sets = [
        ("CapBnd", "bounding"),
        ("CapEff", "effective"),
        ("CapPrm", "permitted"),
        ("CapInh", "inheritable"),
    ];
    for (line, name) in sets {
        let mut scene = status_line(line);
        scene.bundle.edit(|spec| {
            let mut capabilities = json!({});
            for (_, other) in sets {
                capabilities[other] = json!([]);
            }
            // effective needs permitted, and execve recomputes both from the inheritable or ambient and bounding sets
            for set in ["bounding", "permitted", name] {
                capabilities[set] = json!(["CAP_KILL", "CAP_SYS_ADMIN", "CAP_SYSLOG"]);
            }
            spec["process"]["capabilities"] = capabilities;
        });
        scene.run().ok().stdout("0000000400200020\n");
    }
}

#[test]
fn without_capabilities_root_has_none() {
    for sets in [
        json!({}),
        json!({ "bounding": [], "effective": [], "permitted": [] }),
    ] {
        let mut scene = status_line("Cap[BE][nf][df]");
        scene
            .bundle
            .sh("grep -E '^Cap(Bnd|Eff)' /proc/self/status")
            .edit(|spec| spec["process"]["capabilities"] = sets);
        scene
            .run()
            .ok()
            .stdout("CapEff:\t0000000000000000\nCapBnd:\t0000000000000000\n");
    }
}

#[test]
fn ambient_capabilities_survive_for_another_user() {
    let mut scene = Scene::sh("grep -E '^Cap(Eff|Amb)' /proc/self/status");
    scene.bundle.edit(|spec| {
        let set = json!(["CAP_KILL"]);
        spec["process"]["capabilities"] =
            json!({ "bounding": set, "effective": set, "permitted": set, "inheritable": set, "ambient": set });
        spec["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
    });
    scene
        .run()
        .ok()
        .stdout("CapEff:\t0000000000000020\nCapAmb:\t0000000000000020\n");
}

#[test]
fn a_user_without_ambient_capabilities_has_none_effective() {
    let mut scene = status_line("CapEff");
    scene
        .bundle
        .capabilities(&["CAP_KILL"])
        .edit(|spec| spec["process"]["user"] = json!({ "uid": 1000, "gid": 1000 }));
    scene.run().ok().stdout("0000000000000000\n");
}

#[test]
fn a_capability_nobody_knows_does_not_stop_the_container() {
    // the specification: unknown or unavailable ones should be warned of
    let mut scene = status_line("CapEff");
    scene.bundle.capabilities(&["CAP_KILL", "CAP_OF_TOMORROW"]);
    scene.run().ok().says("0000000000000020\n");
}

#[test]
fn no_new_privileges() {
    for (set, expected) in [(json!(true), "1\n"), (json!(false), "0\n")] {
        let mut scene = status_line("NoNewPrivs");
        scene
            .bundle
            .edit(|spec| spec["process"]["noNewPrivileges"] = set);
        scene.run().ok().stdout(expected);
    }
}

#[test]
fn resource_limits() {
    let mut scene = Scene::sh("ulimit -S -n; ulimit -H -n; ulimit -S -c; ulimit -H -u");
    scene.bundle.edit(|spec| {
        spec["process"]["rlimits"] = json!([
            { "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 },
            { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
            { "type": "RLIMIT_NPROC", "soft": 50, "hard": 60 }
        ]);
    });
    scene.run().ok().stdout("100\n200\n0\n60\n");
}

#[test]
fn an_unknown_limit_is_refused() {
    let mut scene = Scene::new();
    scene.bundle.edit(|spec| {
        spec["process"]["rlimits"] = json!([{ "type": "RLIMIT_NOSUCH", "soft": 1, "hard": 1 }]);
    });
    scene.create().fails_with("RLIMIT_NOSUCH");
    scene.nothing_left();
}

#[test]
fn oom_score_adjustment() {
    let mut scene = Scene::new();
    scene.bundle.args(&["/bin/cat", "/proc/self/oom_score_adj"]);
    scene
        .bundle
        .edit(|spec| spec["process"]["oomScoreAdj"] = json!(321));
    scene.run().ok().stdout("321\n");
}

#[test]
fn the_first_process_is_pid_1() {
    let scene = Scene::sh("echo $$; ls -d /proc/[0-9]* | wc -l");
    scene.run().ok().says("1\n");
}

/// No signal is blocked, and ignored are only 32 and 33, if any: glibc's posix_spawn(3), by which this process starts the
/// runtime, makes children ignore the signals that its threads use among themselves.
fn at_their_defaults(output: &Output) {
    let mut masks = output.ok().stdout.lines().map(|line| {
        let (name, mask) = line.split_once(":\t").expect("a line of /proc/self/status");
        (name, u64::from_str_radix(mask, 16).expect("a mask"))
    });
    let internal = 1 << (32 - 1) | 1 << (33 - 1);
    assert_eq!(masks.next(), Some(("SigBlk", 0)), "{output}");
    let (name, ignored) = masks.next().expect("a second line");
    assert_eq!((name, ignored & !internal), ("SigIgn", 0), "{output}");
}

#[test]
fn signals_are_at_their_defaults_and_none_is_blocked() {
    // Rust ignores SIGPIPE and runtimes block signals around their loop: neither may reach the program
    let mut scene = Scene::new();
    scene
        .bundle
        .args(&["/bin/grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"]);
    at_their_defaults(&scene.run());
}

#[test]
fn signals_of_an_exec_are_at_their_defaults_and_none_is_blocked() {
    let scene = Scene::sleeper();
    scene.up();
    let output = scene.exec(&["/bin/grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"]);
    at_their_defaults(&output);
    scene.delete();
}

#[test]
fn it_leads_its_own_session() {
    let mut scene = Scene::new();
    // fields of proc_pid_stat(5): pid comm state ppid pgrp session
    scene
        .bundle
        .args(&["/bin/cut", "-d ", "-f1,4,5,6", "/proc/self/stat"]);
    scene.run().ok().stdout("1 0 1 1\n");
}
