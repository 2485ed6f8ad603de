//! `fragment run`: a command that need not exist anywhere but in the library.

use std::ffi::OsStr;
use std::fs;
use std::time::{Duration, Instant};

use fragment_tests::{Call, Runtime, child, fragment};
use rustix::process::Signal;

/// A state directory of its own for `fragment run`; dropped, it checks that nothing is left there or mounted.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(
            tempfile::Builder::new()
                .prefix("fragment-run-")
                .tempdir()
                .expect("a directory"),
        )
    }

    fn call<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Call {
        fragment::call(&["run"])
            .args(arguments)
            .env("FRAGMENT_STATE", self.0.path())
    }

    fn leftovers(&self) -> Vec<String> {
        let path = self.0.path().to_string_lossy().into_owned();
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        let mut found: Vec<String> = mounts
            .lines()
            .filter(|line| line.contains(&path))
            .map(str::to_owned)
            .collect();
        for directory in ["tasks", "containers"] {
            let entries = fs::read_dir(self.0.path().join(directory))
                .into_iter()
                .flatten();
            found
                .extend(entries.map(|entry| entry.expect("an entry").path().display().to_string()));
        }
        found
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.leftovers(), Vec::<String>::new(), "left behind");
        }
    }
}

#[test]
fn a_command_of_the_library_without_any_bundle() {
    let place = Place::new();
    place
        .call(&["--", "echo", "hello"])
        .output()
        .ok()
        .stdout("hello\n");
    place
        .call(&["--", "sqlite3", ":memory:", "select 6*7"])
        .output()
        .ok()
        .stdout("42\n");
}

#[test]
fn languages_and_services_of_the_library() {
    let place = Place::new();
    for (command, stdout) in [
        (
            &["perl", "-MJSON::PP", "-e", "print encode_json([6*7])"][..],
            "[42]",
        ),
        (
            &["node", "-p", "new Intl.NumberFormat('de').format(1234.5)"],
            "1.234,5\n",
        ),
        (
            &["redis-cli", "--no-auth-warning", "--version"],
            "redis-cli 7.0.15\n",
        ),
    ] {
        place
            .call(&[&["--"], command].concat())
            .output()
            .ok()
            .stdout(stdout);
    }
    let output = place.call(&["--", "nginx", "-v"]).output();
    output.ok();
    assert!(output.stderr.contains("nginx/1.22"), "{output}");
    place
        .call(&[
            "--",
            "sh",
            "-c",
            "redis-server --save '' --daemonize yes > /dev/null; until redis-cli ping; do sleep 0.1; done",
        ])
        .output()
        .ok()
        .says("PONG\n");
}

#[test]
fn env_and_workdir_reach_the_command() {
    let place = Place::new();
    place
        .call(&[
            "--env",
            "GREETING=hello",
            "--workdir",
            "/srv/work",
            "--",
            "sh",
            "-c",
            "echo $GREETING; pwd",
        ])
        .output()
        .ok()
        .stdout("hello\n/srv/work\n");
}

#[test]
fn the_exit_code_is_the_command_s() {
    let place = Place::new();
    place.call(&["--", "sh", "-c", "exit 7"]).output().code(7);
    place
        .call(&["--", "sh", "-c", "sh -c 'kill -9 $$'; exit $?"])
        .output()
        .code(137);
}

#[test]
fn stdin_is_the_caller_s() {
    let place = Place::new();
    place
        .call(&["--", "wc", "-c"])
        .stdin("12345")
        .output()
        .ok()
        .stdout("5\n");
}

#[test]
fn a_timeout_ends_it_with_124() {
    let place = Place::new();
    let start = Instant::now();
    place
        .call(&["--timeout", "1", "--", "sleep", "60"])
        .output()
        .code(124);
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[test]
fn there_is_no_network_unless_asked_for() {
    let place = Place::new();
    let links = "for link in /sys/class/net/*; do echo ${link##*/}; done";
    place
        .call(&["--", "sh", "-c", links])
        .output()
        .ok()
        .stdout("lo\n");
    let host = std::fs::read_dir("/sys/class/net").expect("links").count();
    let output = place
        .call(&["--network", "host", "--", "sh", "-c", links])
        .output();
    assert_eq!(output.ok().stdout.lines().count(), host, "{output}");
}

#[test]
fn priority_is_nice_and_cpu_weight() {
    let place = Place::new();
    for (priority, nice) in [("low", "10"), ("normal", "0"), ("critical", "-10")] {
        // field 19 of proc_pid_stat(5)
        place
            .call(&[
                "--priority",
                priority,
                "--",
                "cut",
                "-d",
                " ",
                "-f",
                "19",
                "/proc/self/stat",
            ])
            .output()
            .ok()
            .stdout(&format!("{nice}\n"));
    }
}

#[test]
fn bad_arguments_are_named() {
    let place = Place::new();
    for (arguments, words) in [
        (&["--priority", "urgent", "--", "true"][..], "urgent"),
        (&["--network", "wifi", "--", "true"], "wifi"),
        (&["--env", "NOVALUE", "--", "true"], "NOVALUE"),
        (&["--workdir", "srv", "--", "true"], "srv"),
        (&["--timeout", "soon", "--", "true"], "soon"),
        (&["--", "nobody-has-this"], "nobody-has-this"),
    ] {
        place.call(arguments).output().fails_with(words);
    }
}

#[test]
fn an_unknown_command_is_127_as_in_a_shell() {
    let place = Place::new();
    place.call(&["--", "nobody-has-this"]).output().code(127);
}

#[test]
fn what_a_killed_run_left_is_removed_by_the_next() {
    let place = Place::new();
    let mut command = place.call(&["--", "sleep", "1000"]).command();
    let mut child = fragment_tests::runtime::spawn(&mut command);
    let tasks = place.0.path().join("tasks");
    fragment_tests::child::until("the task runs", || {
        let containers = place.0.path().join("containers");
        fs::read_dir(&containers).is_ok_and(|entries| entries.count() > 1)
    });
    child.kill().expect("kill");
    child.wait().expect("wait");
    assert_eq!(
        fs::read_dir(&tasks).expect("tasks").count(),
        1,
        "the killed one left its bundle"
    );
    place.call(&["--", "true"]).output().ok();
}

#[test]
fn a_detached_command_outlives_its_caller_and_leaves_nothing() {
    let place = Place::new();
    let log = place.0.path().join("log");
    let log_name = log.to_str().expect("UTF-8");
    let script = "echo begun; trap 'echo ended; exit 0' TERM; while :; do sleep 0.05; done";
    // it returns while the command runs
    let words = ["--detach", "--log", log_name, "--", "sh", "-c", script];
    let trace = place.0.path().join("trace");
    let call = place.call(&words).env("FRAGMENT_TRACE", &trace);
    let name = call.output().ok().stdout.trim().to_owned();
    let root = place.0.path().join("containers");
    let runtime = Runtime::under_test(root, &name);
    let said = |word: &str| fs::read_to_string(&log).is_ok_and(|text| text.contains(word));
    child::until("the command has begun", || said("begun"));
    let told = runtime.call(["state", &name]).output().ok().json();
    assert_eq!(told["status"], "running");
    assert_eq!(fragment::leases(&name).len(), 1);
    // another command does not take it for what a killed one left
    place.call(&["--", "true"]).output().ok();
    runtime.call(["kill", &name, "TERM"]).output().ok();
    child::until("the container is removed", || place.leftovers().is_empty());
    assert!(said("ended"));
    // what it did is in the trace, beside what its caller did
    let phases = fs::read_to_string(trace).expect("the trace");
    assert_eq!(phases.matches("\"process_name\"").count(), 2, "{phases}");
    assert!(phases.contains("\"libcontainer\""), "{phases}");
    assert_eq!(fragment::leases(&name), Vec::<String>::new());
    runtime
        .call(["state", &name])
        .output()
        .fails_with("does not exist");
}

#[test]
fn a_detached_command_that_cannot_run_is_told_to_the_caller() {
    let place = Place::new();
    let missing = place.call(&["--detach", "--", "no-such-command"]).output();
    missing.code(127).fails_with("no-such-command");
    // what only its own process sees
    let words = [
        "--detach",
        "--network",
        "ns:/proc/self/no-such",
        "--",
        "true",
    ];
    let failed = place.call(&words).output();
    failed.fails_with("/proc/self/no-such");
    assert_eq!(failed.stdout, "");
}

#[test]
fn what_ran_a_detached_command_and_was_killed_is_cleaned_up_after() {
    let place = Place::new();
    let name = place
        .call(&["--detach", "--", "sleep", "1000"])
        .output()
        .ok()
        .stdout
        .trim()
        .to_owned();
    let number = name.split('-').nth(1).expect("a number");
    let number: u32 = number.parse().expect("a number");
    child::signal(number, Signal::KILL).expect("kill");
    child::until("it is gone", || !child::is_alive(number));
    assert!(!place.leftovers().is_empty());
    place.call(&["--", "true"]).output().ok();
}
