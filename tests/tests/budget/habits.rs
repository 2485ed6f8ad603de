//! What a start does once, never, or beside something else: what counts alone do not tell.

use fragment_tests::Scene;
use serde_json::json;

use crate::{binary, scenario, strace, system_calls};

/// Has `check` look at the log of a `run` that needs components, with a plan that was kept, and at the number of the command's process.
fn of_a_composed_run(check: impl FnOnce(&str, &str)) {
    of_a_run(scenario::composed, check);
}

fn of_a_run(scene: impl FnOnce() -> Scene, check: impl FnOnce(&str, &str)) {
    if let Some(reason) = binary::is_no_release() {
        return println!("skipped: {reason}");
    }
    let scene = scene();
    scenario::warm(&scene);
    let log = system_calls::log_of(&scene, scenario::kept(&scene, scene.run_call(&[])));
    check(&log, strace::first_process(&log));
}

/// Calls of a process until it executes the container's program, without their process numbers.
fn calls<'a>(log: &'a str, process: &'a str) -> impl Iterator<Item = &'a str> {
    log.lines()
        .filter_map(move |line| Some(line.strip_prefix(process)?.trim_start()))
}

fn count(log: &str, words: &[&str]) -> usize {
    let has_all = |line: &&str| words.iter().all(|word| line.contains(word));
    log.lines().filter(has_all).count()
}

#[test]
fn config_json_is_opened_once() {
    of_a_composed_run(|log, _| {
        let opened = |line: &&str| line.contains("open") && line.contains("/bundle/config.json\"");
        assert_eq!(log.lines().filter(opened).count(), 1, "{log}");
    });
}

#[test]
fn a_kept_plan_maps_no_catalogue_and_opens_no_program() {
    of_a_composed_run(|log, command| {
        let maps = |line: &&str| line.contains("mmap(") && line.contains("/catalogue>");
        assert_eq!(log.lines().filter(maps).count(), 0, "{log}");
        let opens = |call: &&str| call.starts_with("open") && call.contains("openssl");
        let opened: Vec<&str> = calls(log, command).filter(opens).collect();
        let reads = |call: &&&str| !call.contains("O_PATH") && !call.contains("ENOENT");
        assert_eq!(opened.iter().filter(reads).count(), 0, "{opened:#?}");
    });
}

#[test]
fn nothing_is_flushed_to_a_disk() {
    of_a_composed_run(|log, _| {
        for call in ["fsync(", "fdatasync(", "syncfs(", "sync("] {
            let flushes = |line: &&str| {
                line.split_once(' ')
                    .is_some_and(|(_, rest)| rest.trim_start().starts_with(call))
            };
            assert_eq!(log.lines().filter(flushes).count(), 0, "{call} in {log}");
        }
    });
}

#[test]
fn the_network_namespace_is_made_beside_the_plan() {
    of_a_composed_run(|log, command| {
        assert_eq!(count(log, &["unshare(CLONE_NEWNET"]), 1, "{log}");
        let maker = log
            .lines()
            .find(|line| line.contains("unshare(CLONE_NEWNET"));
        let maker = maker
            .and_then(|line| line.split_whitespace().next())
            .expect("a process");
        assert_ne!(maker, command, "the command makes it itself: {log}");
        // between its begin and its end the command reads the plan
        let at = |words: &[&str]| {
            let found = log
                .lines()
                .position(|line| words.iter().all(|word| line.contains(word)));
            found.unwrap_or_else(|| panic!("no line with {words:?} in {log}"))
        };
        let begun = at(&[command, "CLONE_VM|CLONE_FILES"]);
        let plan = at(&[command, "open", "kept/plans/"]);
        let waited = at(&[command, "wait4(", "__WALL"]);
        assert!(
            begun < plan && plan < waited,
            "{begun} {plan} {waited} in {log}"
        );
    });
}

#[test]
fn the_program_is_executed_twice_and_nothing_else_is() {
    of_a_composed_run(|log, command| {
        let executes = |call: &&str| call.starts_with("execve");
        // strace itself begins the first
        assert_eq!(calls(log, command).filter(executes).count(), 2, "{log}");
        let all = log.lines().filter(|line| {
            line.split_once(' ')
                .is_some_and(|(_, rest)| rest.trim_start().starts_with("execve"))
        });
        assert_eq!(
            all.count(),
            3,
            "the third is the container's program: {log}"
        );
    });
}

#[test]
fn the_first_process_asks_for_no_memory_once_its_calls_are_filtered() {
    // a filter that forbids it need not allow it for us: the program may do without
    let scene = || {
        let mut scene = scenario::plain();
        scene.bundle.edit(|spec| {
            spec["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                { "names": ["acct", "reboot"], "action": "SCMP_ACT_ERRNO" }
            ] });
        });
        scene
    };
    of_a_run(scene, |log, _| {
        let filtered = log
            .lines()
            .position(|line| line.contains("seccomp(SECCOMP_SET_MODE_FILTER"))
            .expect("a filter");
        let first = log
            .lines()
            .nth(filtered)
            .and_then(|line| line.split(' ').next());
        let first = first.expect("a process");
        let after = log
            .lines()
            .skip(filtered + 1)
            .filter_map(|line| line.strip_prefix(first));
        let calls: Vec<&str> = after
            .map(str::trim_start)
            .take_while(|call| !call.starts_with("execve"))
            .collect();
        let asks = |call: &&&str| {
            ["mmap(", "madvise(", "brk("]
                .iter()
                .any(|name| call.starts_with(name))
        };
        assert_eq!(calls.iter().filter(asks).count(), 0, "{calls:#?}");
    });
}
