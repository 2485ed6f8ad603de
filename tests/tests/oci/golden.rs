//! What a failed call says, word for word: exit code, standard error and the line in the JSON log, for every command, held in
//! `golden/failures.txt` (`FRAGMENT_BLESS=1` writes it anew; read the difference before you commit it).
//!
//! Each case names the words engines or people look for; they are asked of Debian's runc too (`integration/yardstick`), save
//! where a case says how runc 1.1 differs.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use fragment_tests::Scene;
use serde_json::{Value, json};

/// What there is of the container before the call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    Created,
    Running,
    Stopped,
}
use Before::{Created, Nothing, Running, Stopped};

/// One failure.
struct Case {
    before: Before,
    /// What is wrong with the bundle.
    bundle: fn(&mut Scene),
    /// What is wrong with its config.json.
    spec: fn(&mut Value),
    /// The command, where it is not the usual one.
    args: &'static [&'static str],
    /// `@ID`, `@BUNDLE` and `@DIR` stand for the container, its bundle and the directory around it.
    line: &'static str,
    code: i32,
    words: &'static str,
    /// How Debian's runc differs; empty where it says the same words and exits with the same code.
    runc: &'static str,
}

const fn case(before: Before, line: &'static str, code: i32, words: &'static str) -> Case {
    Case {
        before,
        bundle: |_| {},
        spec: |_| {},
        args: &[],
        line,
        code,
        words,
        runc: "",
    }
}

impl Case {
    const fn bundle(mut self, edit: fn(&mut Scene)) -> Self {
        self.bundle = edit;
        self
    }

    const fn spec(mut self, edit: fn(&mut Value)) -> Self {
        self.spec = edit;
        self
    }

    const fn args(mut self, args: &'static [&'static str]) -> Self {
        self.args = args;
        self
    }

    const fn runc(mut self, difference: &'static str) -> Self {
        self.runc = difference;
        self
    }
}

const CREATE: &str = "create --bundle @BUNDLE @ID";
const NOT_THERE: &str = "container does not exist";

fn usage() -> Vec<Case> {
    let one = "requires exactly 1 argument(s)";
    vec![
        case(Nothing, "create", 1, one),
        case(Nothing, "create a b", 1, one),
        case(Nothing, "run", 1, one),
        case(Nothing, "start", 1, one),
        case(Nothing, "state a b", 1, one),
        case(Nothing, "delete", 1, one),
        case(Nothing, "pause", 1, one),
        case(Nothing, "resume", 1, one),
        case(Nothing, "events", 1, one),
        case(Nothing, "update", 1, one),
        case(Nothing, "checkpoint", 1, one),
        case(Nothing, "restore", 1, one),
        case(Nothing, "kill", 1, "requires a minimum of 1 argument(s)"),
        case(
            Nothing,
            "kill a 9 8",
            1,
            "requires a maximum of 2 argument(s)",
        ),
        case(Nothing, "exec", 1, "requires a minimum of 1 argument(s)"),
        case(Nothing, "ps", 1, "requires a minimum of 1 argument(s)"),
        case(Nothing, "list a", 1, "requires exactly 0 argument(s)"),
        case(Nothing, "spec a", 1, "requires exactly 0 argument(s)"),
        case(Nothing, "features a", 1, "requires exactly 0 argument(s)"),
        case(Nothing, "frobnicate", 3, "No help topic for 'frobnicate'"),
        case(
            Nothing,
            "run --nosuch a",
            1,
            "flag provided but not defined: -nosuch",
        ),
        case(Nothing, "kill -9 a", 1, "flag provided but not defined: -9"),
        case(
            Nothing,
            "list --format",
            1,
            "flag needs an argument: -format",
        ),
        case(Nothing, "list --format xml", 1, "invalid format option"),
        case(
            Nothing,
            "delete --force=x a",
            1,
            "invalid boolean value \"x\" for -force",
        ),
        case(
            Nothing,
            "create --preserve-fds x a",
            1,
            "invalid value \"x\" for flag -preserve-fds",
        ),
    ]
}

fn missing() -> Vec<Case> {
    vec![
        case(Nothing, "start @ID", 1, NOT_THERE),
        case(Nothing, "state @ID", 1, NOT_THERE),
        case(Nothing, "delete @ID", 1, NOT_THERE),
        case(Nothing, "kill @ID", 1, NOT_THERE),
        case(Nothing, "kill --all @ID KILL", 1, NOT_THERE),
        case(Nothing, "exec @ID true", 255, NOT_THERE),
        case(Nothing, "ps @ID", 1, NOT_THERE),
        case(Nothing, "pause @ID", 1, NOT_THERE),
        case(Nothing, "resume @ID", 1, NOT_THERE),
        case(Nothing, "update --pids-limit 5 @ID", 1, NOT_THERE),
        case(Nothing, "events --stats @ID", 1, NOT_THERE),
    ]
}

fn bundles() -> Vec<Case> {
    vec![
        case(Nothing, "create --bundle /no/such @ID", 1, "/no/such: no such file or directory"),
        case(Nothing, CREATE, 1, "JSON specification file config.json not found").bundle(|scene| {
            fs::remove_file(scene.bundle.path().join("config.json")).unwrap();
        }),
        case(Nothing, CREATE, 1, "").bundle(|scene| {
            fs::write(scene.bundle.path().join("config.json"), "{").unwrap();
        }),
        case(Nothing, CREATE, 1, "no such file or directory")
            .spec(|spec| spec["root"]["path"] = json!("nowhere")),
        case(Nothing, CREATE, 1, "args must not be empty")
            .spec(|spec| spec["process"]["args"] = json!([])),
        case(Nothing, CREATE, 1, "must be an absolute path")
            .spec(|spec| spec["process"]["cwd"] = json!("relative")),
        case(Nothing, CREATE, 1, "exec: \"nosuch\": executable file not found in $PATH")
            .args(&["nosuch"]),
        case(Nothing, "run --bundle @BUNDLE @ID", 1, "exec: \"nosuch\": executable file not found in $PATH")
            .args(&["nosuch"]),
        case(Nothing, CREATE, 1, "exec: \"/bin/nosuch\": stat /bin/nosuch: no such file or directory")
            .args(&["/bin/nosuch"]),
        case(Nothing, CREATE, 1, "exec: \"/home\": is a directory: permission denied")
            .args(&["/home"])
            .runc("1.1 says only \"permission denied\", 1.3 says this"),
        case(Nothing, CREATE, 1, "exec: \"/home/data\": permission denied").args(&["/home/data"]).bundle(|scene| {
            scene.bundle.file("home/data", "", 0o644);
        }),
        case(Nothing, CREATE, 1, "cannot allocate tty if")
            .spec(|spec| spec["process"]["terminal"] = json!(true)),
        case(Nothing, "create --console-socket @DIR/none --bundle @BUNDLE @ID", 1, "cannot use console socket if"),
        case(Nothing, "create --console-socket @DIR/none --bundle @BUNDLE @ID", 1, "no such file or directory")
            .spec(|spec| spec["process"]["terminal"] = json!(true)),
        case(Nothing, CREATE, 1, "no such file or directory").spec(|spec| {
            let mount = json!({ "destination": "/mnt", "type": "bind", "source": "/no/such", "options": ["bind"] });
            spec["mounts"].as_array_mut().unwrap().push(mount);
        }),
        case(Nothing, CREATE, 1, "error running").spec(|spec| spec["hooks"] = json!({ "createRuntime": [{ "path": "/bin/false" }] })),
        case(Nothing, CREATE, 1, "RLIMIT_NOSUCH").spec(|spec| spec["process"]["rlimits"] = json!([{ "type": "RLIMIT_NOSUCH", "soft": 1, "hard": 1 }])),
        case(Nothing, "create --bundle @BUNDLE a/b", 1, "invalid").runc("1.1: invalid id format, 1.3: invalid container ID format"),
        case(Created, CREATE, 1, "container with given ID already exists"),
        case(Running, "run --bundle @BUNDLE @ID", 1, "container with given ID already exists"),
        case(Stopped, CREATE, 1, "container with given ID already exists"),
        case(Nothing, "spec --bundle @BUNDLE", 1, "exists. Remove it first"),
        case(Nothing, "spec --bundle /no/such", 1, "no such file or directory"),
    ]
}

fn states() -> Vec<Case> {
    vec![
        case(
            Running,
            "start @ID",
            1,
            "cannot start an already running container",
        ),
        case(
            Stopped,
            "start @ID",
            1,
            "cannot start a container that has stopped",
        ),
        case(Running, "delete @ID", 1, "that is not stopped: running"),
        case(Stopped, "kill @ID TERM", 1, "container not running")
            .runc("1.1 says: process already finished; 1.3 says this"),
        case(Running, "kill @ID NOSUCH", 1, "unknown signal \"NOSUCH\""),
        case(
            Stopped,
            "exec @ID true",
            255,
            "cannot exec in a stopped container",
        ),
        case(Running, "exec @ID", 255, "process args cannot be empty"),
        case(
            Running,
            "exec @ID nosuch",
            255,
            "exec: \"nosuch\": executable file not found in $PATH",
        ),
        case(
            Running,
            "exec @ID /bin/nosuch",
            255,
            "no such file or directory",
        ),
        case(
            Running,
            "exec --cwd /no/such @ID true",
            255,
            "chdir to cwd (\"/no/such\")",
        )
        .runc("1.1 makes the directory; 1.3 too"),
        case(
            Running,
            "exec --process @DIR/none @ID",
            255,
            "no such file or directory",
        ),
        case(Running, "exec --user x @ID true", 255, "").runc("strconv's words"),
        case(Running, "ps @ID --nosuch-option", 1, ""),
        case(Stopped, "pause @ID", 1, "container not running"),
        case(Running, "resume @ID", 1, "container not paused"),
        case(
            Running,
            "update --resources @DIR/none @ID",
            1,
            "no such file or directory",
        ),
        case(
            Running,
            "update --memory x @ID",
            1,
            "invalid value for memory",
        ),
    ]
}

fn check(cases: Vec<Case>, title: &str) {
    let mut text = String::new();
    let mut failures = String::new();
    for case in &cases {
        let said = said(case, &mut failures);
        text.push_str(&said);
    }
    assert!(failures.is_empty(), "{failures}");
    if Scene::new().runtime.is_runc() {
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/oci/golden/{title}.txt"));
    if std::env::var_os("FRAGMENT_BLESS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    for (said, golden) in text.split("\n\n").zip(golden.split("\n\n")) {
        assert_eq!(said, golden, "see {} (FRAGMENT_BLESS=1)", path.display());
    }
    assert_eq!(
        text.len(),
        golden.len(),
        "see {} (FRAGMENT_BLESS=1)",
        path.display()
    );
}

/// Makes the call of a case; what it said, with what differs from run to run replaced.
fn said(case: &Case, failures: &mut String) -> String {
    let mut scene = match case.before {
        Stopped => Scene::new(),
        _ => Scene::sleeper(),
    };
    match case.before {
        Nothing => {}
        Created => {
            scene.create().ok();
        }
        Running => {
            scene.up();
        }
        Stopped => {
            scene.up().stopped();
        }
    }
    scene.bundle.edit(case.spec);
    if !case.args.is_empty() {
        scene.bundle.args(case.args);
    }
    (case.bundle)(&mut scene);
    scene.bundle.note_all();
    let log = scene.file("log.json");
    let places = [
        (scene.id.clone(), "@ID"),
        (scene.bundle.path().display().to_string(), "@BUNDLE"),
        (scene.path().display().to_string(), "@DIR"),
    ];
    let words = case.line.split(' ').map(|word| {
        let mut word = word.to_owned();
        for (value, place) in &places {
            word = word.replace(place, value);
        }
        word
    });
    let global = ["--log", log.to_str().unwrap(), "--log-format", "json"];
    let output = scene.call(global).args(words).output();
    let lines = fs::read_to_string(&log).unwrap_or_default();
    let last: Value = lines
        .lines()
        .last()
        .and_then(|line| serde_json::from_str(line).ok())
        .unwrap_or_default();
    let message = last["msg"].as_str().unwrap_or_default().to_owned();
    let asked_of_runc = case.runc.is_empty() || !scene.runtime.is_runc();
    let wrong = output.status.code() != Some(case.code)
        || !message.contains(case.words)
        || !output.stderr.contains(case.words)
        || last["level"] != "error";
    if asked_of_runc && wrong {
        let _ = writeln!(
            failures,
            "{}: code {} and {:?} expected\n{output}\nlog: {last}\n",
            case.line, case.code, case.words
        );
    }
    scene.delete();
    let mut said = format!(
        "$ {}\nexit code {}\nlog: {message}\nstderr: {}",
        case.line,
        output.status.code().unwrap_or(-1),
        output.stderr
    );
    for (value, place) in places.iter().rev() {
        said = said.replace(value, place);
    }
    // what carries a path of this run in another way, and numbers of processes
    said.push('\n');
    said
}

#[test]
fn usage_errors_of_every_command() {
    check(usage(), "usage");
}

#[test]
fn a_container_that_is_not_there() {
    check(missing(), "missing");
}

#[test]
fn bundles_that_cannot_be_run() {
    check(bundles(), "bundles");
}

#[test]
fn states_that_do_not_allow_it() {
    check(states(), "states");
}
