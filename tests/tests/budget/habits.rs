//! What a start does once, never, or beside something else: what counts alone do not tell.

use fragment_tests::Scene;
use serde_json::json;

use crate::{binary, scenario, strace, system_calls};

/// What a process did, as strace tells it.
type Line<'a> = (&'a str, &'a str);

/// Has `check` look at the log of a `run` that needs components, with a plan that was kept, and at the number of the command's process.
fn of_a_composed_run(check: impl FnOnce(&[Line<'_>], &str)) {
    of_a_run(scenario::composed(), check);
}

fn of_a_run(scene: Scene, check: impl FnOnce(&[Line<'_>], &str)) {
    if let Some(reason) = binary::is_no_release() {
        return println!("skipped: {reason}");
    }
    scenario::warm(&scene);
    let log = system_calls::log_of(&scene, scenario::kept(&scene, scene.run_call(&[])));
    let lines: Vec<Line<'_>> = log.lines().filter_map(strace::process_and_rest).collect();
    check(&lines, strace::first_process(&log));
}

fn count(lines: &[Line<'_>], is_one: impl Fn(&str) -> bool) -> usize {
    lines.iter().filter(|(_, call)| is_one(call)).count()
}

/// The first line of a process, any where it is none, that has all the words.
fn first(lines: &[Line<'_>], process: Option<&str>, words: &[&str]) -> usize {
    let is_it = |(who, call): &Line<'_>| {
        process.is_none_or(|it| it == *who) && words.iter().all(|word| call.contains(word))
    };
    let found = lines.iter().position(is_it);
    found.unwrap_or_else(|| panic!("no line with {words:?} in {lines:#?}"))
}

#[test]
fn config_json_is_opened_once() {
    of_a_composed_run(|lines, _| {
        let opened = |call: &str| call.contains("open") && call.contains("/bundle/config.json\"");
        assert_eq!(count(lines, opened), 1, "{lines:#?}");
    });
}

#[test]
fn a_kept_plan_maps_no_catalogue_and_opens_no_program() {
    of_a_composed_run(|lines, command| {
        let maps = |call: &str| call.contains("mmap(") && call.contains("/catalogue>");
        assert_eq!(count(lines, maps), 0, "{lines:#?}");
        let reads = |(process, call): &&Line<'_>| {
            *process == command
                && call.starts_with("open")
                && call.contains("openssl")
                && !call.contains("O_PATH")
                && !call.contains("ENOENT")
        };
        let read: Vec<_> = lines.iter().filter(reads).collect();
        assert!(read.is_empty(), "{read:#?}");
    });
}

#[test]
fn nothing_is_flushed_to_a_disk() {
    of_a_composed_run(|lines, _| {
        for name in ["fsync(", "fdatasync(", "syncfs(", "sync("] {
            let flushes = count(lines, |call| call.starts_with(name));
            assert_eq!(flushes, 0, "{name} in {lines:#?}");
        }
    });
}

#[test]
fn the_network_namespace_is_made_beside_the_plan() {
    of_a_composed_run(|lines, command| {
        let makes = |call: &str| call.contains("unshare(CLONE_NEWNET");
        assert_eq!(count(lines, makes), 1, "{lines:#?}");
        let (maker, _) = lines[first(lines, None, &["unshare(CLONE_NEWNET"])];
        assert_ne!(maker, command, "the command makes it itself: {lines:#?}");
        // between its begin and its end the command reads the plan
        let begun = first(lines, Some(command), &["CLONE_VM|CLONE_FILES"]);
        let plan = first(lines, Some(command), &["open", "kept/plans/"]);
        let waited = first(lines, Some(command), &["wait4(", "__WALL"]);
        assert!(
            begun < plan && plan < waited,
            "{begun} {plan} {waited} in {lines:#?}"
        );
    });
}

#[test]
fn the_program_is_executed_twice_and_nothing_else_is() {
    of_a_composed_run(|lines, command| {
        let executes = |call: &str| call.starts_with("execve");
        // strace itself begins the first
        let own: Vec<_> = lines
            .iter()
            .copied()
            .filter(|(process, _)| *process == command)
            .collect();
        assert_eq!(count(&own, executes), 2, "{lines:#?}");
        assert_eq!(
            count(lines, executes),
            3,
            "the third is the container's program: {lines:#?}"
        );
    });
}

#[test]
fn the_first_process_asks_for_no_memory_once_its_calls_are_filtered() {
    // a filter that forbids it need not allow it for us: the program may do without
    let mut scene = scenario::plain();
    scene.bundle.edit(|spec| {
        spec["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            { "names": ["acct", "reboot"], "action": "SCMP_ACT_ERRNO" }
        ] });
    });
    of_a_run(scene, |lines, _| {
        let filtered = first(lines, None, &["seccomp(SECCOMP_SET_MODE_FILTER"]);
        let (process, _) = lines[filtered];
        let after = lines[filtered + 1..]
            .iter()
            .filter(|(who, _)| *who == process);
        let calls: Vec<&str> = after
            .map(|(_, call)| *call)
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
