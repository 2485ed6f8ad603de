//! System calls of each command, by kind.

use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use fragment_tests::{Call, Scene, child, fragment, runtime};

use crate::calls::{Counts, KINDS};
use crate::strace::{self, Places};
use crate::table::{Figures, Table, Tolerance};
use crate::{binary, scenario};

/// Where a process waits for another, how often it looks depends on who is faster. What is done seldom has no tolerance.
const TOLERANCE: Tolerance = Tolerance {
    percent: 10,
    units: 3,
};

/// A magic number of statfs(2).
const CGROUP2: rustix::fs::FsWord = 0x6367_7270;

/// The layout of the machine's control groups, on which the calls that make them depend.
fn layout() -> String {
    let is_second =
        |path: &str| rustix::fs::statfs(path).is_ok_and(|found| found.f_type == CGROUP2);
    if is_second("/sys/fs/cgroup") {
        return "v2".to_owned();
    }
    let hierarchies = fs::read_to_string("/proc/self/cgroup").expect("/proc/self/cgroup");
    let kind = if is_second("/sys/fs/cgroup/unified") {
        "hybrid"
    } else {
        "v1"
    };
    format!("{kind}-{}", hierarchies.lines().count())
}

/// Compares what `measure` counts with the budget of `command`.
fn check(command: &str, measure: impl Fn() -> Counts) {
    if let Some(reason) = binary::is_no_release() {
        return println!("skipped: {reason}");
    }
    let name = format!("system-calls-{}", layout());
    let table = Table::of(&name, TOLERANCE);
    if !table.is_there() {
        return println!(
            "skipped: no budgets/{name} for this machine's control groups (hack/budgets)"
        );
    }
    let last = RefCell::new(Counts::default());
    let figures = || -> Figures {
        let counts = measure();
        last.replace(counts.clone());
        counts.by_kind()
    };
    table.check(command, &KINDS, figures, || {
        format!(
            "each call: {}\nwhere they are made: hack/system-calls {command}",
            last.borrow().told()
        )
    });
}

fn places(scene: &Scene) -> Places {
    Places::of(&[scene.path(), &fragment::store()])
}

fn under_strace(call: Call, log: &Path) -> Call {
    call.within(&format!("exec strace -f -q -y -o {} \"$@\"", log.display()))
}

/// Makes the call, well: strace's log of it.
pub(crate) fn log_of(scene: &Scene, call: Call) -> String {
    let log = scene.file("strace");
    under_strace(call, &log).output().ok();
    fs::read_to_string(&log).expect("strace's log")
}

/// The same, and counts what it and the processes it made did.
fn traced(scene: &Scene, call: Call) -> Counts {
    let text = log_of(scene, call);
    strace::count(text.lines(), strace::first_process(&text), &places(scene))
}

/// What create, start and delete of a container did.
struct Life {
    create: Counts,
    start: Counts,
    delete: Counts,
}

/// One container from create to delete. strace follows its first process from create on: what that does until it waits is create's,
/// what it does after that start's.
fn life(scene: &Scene) -> Life {
    let log = scene.file("strace-create");
    // that of the container before
    let _ = fs::remove_file(&log);
    let read = || fs::read_to_string(&log).unwrap_or_default();
    let call = under_strace(scenario::kept(scene, scene.create_call(&[])), &log);
    let mut command = call.command();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut strace = runtime::spawn(&mut command);
    child::until("create is done", || is_quiet(&read()));
    let created = read();
    let mut start = traced(
        scene,
        scenario::kept(scene, scene.call(["start", &scene.id])),
    );
    child::wait_or_kill(&mut strace, child::LIMIT, "strace of a container");
    scene.stopped();
    let delete = traced(
        scene,
        scenario::kept(scene, scene.call(["delete", &scene.id])),
    );
    let text = read();
    let (root, places) = (strace::first_process(&text), places(scene));
    start.extend(&strace::count(text[created.len()..].lines(), root, &places));
    Life {
        create: strace::count(created.lines(), root, &places),
        start,
        delete,
    }
}

/// Whether the command has exited and what it left behind waits for something, for a while.
fn is_quiet(text: &str) -> bool {
    if text.is_empty() || !strace::has_exited(text, strace::first_process(text)) {
        return false;
    }
    let waits = |process: &&str| {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        stat.rsplit(')')
            .next()
            .is_some_and(|fields| fields.trim_start().starts_with('S'))
    };
    let all_wait = || strace::alive(text).iter().all(waits);
    // a process that is about to go on is stopped by strace at its next call
    (0..3).all(|_| {
        std::thread::sleep(Duration::from_millis(10));
        all_wait()
    })
}

fn measured(command: &str, scene: &Scene, call: &dyn Fn() -> Call) {
    check(command, || traced(scene, call()));
}

#[test]
fn run() {
    scenario::run(measured);
}

#[test]
fn run_without_a_kept_plan() {
    scenario::run_first(measured);
}

#[test]
fn run_composed() {
    scenario::run_composed(measured);
}

#[test]
fn run_composed_without_a_kept_plan() {
    scenario::run_composed_first(measured);
}

#[test]
fn state() {
    scenario::state(measured);
}

#[test]
fn exec() {
    scenario::exec(measured);
}

/// Compares one step of a container's life with its budget.
fn check_life(command: &str, scene: &Scene, step: fn(Life) -> Counts) {
    scenario::warm(scene);
    check(command, || step(life(scene)));
}

#[test]
fn create() {
    check_life("create", &scenario::plain(), |life| life.create);
}

#[test]
fn start() {
    check_life("start", &scenario::plain(), |life| life.start);
}

#[test]
fn delete() {
    check_life("delete", &scenario::plain(), |life| life.delete);
}

#[test]
fn create_composed() {
    check_life("create-composed", &scenario::composed(), |life| life.create);
}

#[test]
fn start_composed() {
    check_life("start-composed", &scenario::composed(), |life| life.start);
}

#[test]
fn delete_composed() {
    check_life("delete-composed", &scenario::composed(), |life| life.delete);
}

/// All of them once more where this machine's control groups look like pure v2, which most machines have. Where they are that anyway, the
/// others do it.
#[test]
fn under_pure_v2() {
    const VIEW: &str =
        r#"umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec "$@""#;
    if layout() == "v2" {
        return println!("skipped: this machine has pure v2, the other tests are of it");
    }
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: another view of control groups needs root");
    }
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "slave", "sh", "-ec", VIEW, "sh"])
        .arg(std::env::current_exe().expect("this program"))
        .args(["system_calls::", "--skip", "under_pure_v2", "--nocapture"])
        .args(["--test-threads", "1"])
        .output()
        .expect("unshare(1)");
    let told = String::from_utf8_lossy(&output.stdout);
    println!("{told}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert!(told.contains(" passed;"), "{told}{errors}");
}
