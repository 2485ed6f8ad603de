//! `--log` and `--log-format`: podman and containerd read the last JSON line of the file to know why a call failed.

use std::fs;

use fragment_tests::Scene;
use serde_json::Value;

fn objects(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}")))
        .collect()
}

#[test]
fn json_lines_hold_exactly_level_msg_and_time() {
    let mut scene = Scene::new();
    scene.bundle.args(&["no-such-command"]);
    let log = scene.file("log.json");
    let global = ["--log", log.to_str().unwrap(), "--log-format", "json"];
    let call = scene
        .call(global)
        .args(["create", "--bundle"])
        .args([scene.bundle.path()])
        .args([&scene.id]);
    call.output().fails_with("");
    let objects = objects(&fs::read_to_string(&log).unwrap());
    for object in &objects {
        let mut keys: Vec<_> = object
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        keys.sort_unstable();
        assert_eq!(keys, ["level", "msg", "time"], "{object}");
        let time = object["time"].as_str().unwrap();
        assert!(
            time.len() >= 20 && time.as_bytes()[10] == b'T',
            "{time} is not RFC 3339"
        );
    }
    let last = objects.last().expect("a line");
    assert_eq!(last["level"], "error");
    assert!(
        last["msg"]
            .as_str()
            .unwrap()
            .contains("executable file not found in $PATH"),
        "{last}"
    );
}

#[test]
fn the_log_is_appended_to() {
    let scene = Scene::new();
    let log = scene.file("log.json");
    fs::write(
        &log,
        "{\"level\":\"info\",\"msg\":\"before\",\"time\":\"2000-01-01T00:00:00Z\"}\n",
    )
    .unwrap();
    for _ in 0..2 {
        let call = scene.call([
            "--log",
            log.to_str().unwrap(),
            "--log-format",
            "json",
            "state",
            "unknown",
        ]);
        call.output().fails_with("does not exist");
    }
    let objects = objects(&fs::read_to_string(&log).unwrap());
    assert_eq!(objects[0]["msg"], "before");
    let errors = objects
        .iter()
        .filter(|object| object["level"] == "error")
        .count();
    assert_eq!(errors, 2, "{objects:?}");
    assert!(
        objects.last().unwrap()["msg"]
            .as_str()
            .unwrap()
            .contains("does not exist")
    );
}

#[test]
fn a_call_that_succeeds_logs_no_error() {
    let scene = Scene::new();
    let log = scene.file("log.json");
    let global = ["--log", log.to_str().unwrap(), "--log-format=json"];
    scene
        .call(global)
        .args(["run", "--bundle"])
        .args([scene.bundle.path()])
        .args([&scene.id])
        .output()
        .ok();
    for object in objects(&fs::read_to_string(&log).unwrap_or_default()) {
        assert_ne!(object["level"], "error", "{object}");
    }
}

#[test]
fn the_text_format_names_the_error_too() {
    let scene = Scene::new();
    let log = scene.file("log");
    scene
        .call(["--log", log.to_str().unwrap(), "state", "unknown"])
        .output()
        .fails_with("does not exist");
    let text = fs::read_to_string(&log).unwrap();
    assert!(
        text.contains("level=error") && text.contains("does not exist"),
        "{text}"
    );
}

#[test]
fn debug_adds_lines_of_level_debug() {
    let scene = Scene::new();
    let log = scene.file("log.json");
    let global = [
        "--debug",
        "--log",
        log.to_str().unwrap(),
        "--log-format",
        "json",
    ];
    scene
        .call(global)
        .args(["run", "--bundle"])
        .args([scene.bundle.path()])
        .args([&scene.id])
        .output()
        .ok();
    let objects = objects(&fs::read_to_string(&log).unwrap());
    assert!(
        objects.iter().any(|object| object["level"] == "debug"),
        "{objects:?}"
    );
}

/// runc's own tests look for phrases of its C and Go code; in a log of another runtime they would be a lie.
#[test]
fn debug_messages_are_in_words_of_our_own() {
    let scene = Scene::sleeper();
    unless_runc!(scene, "its own words are what it has");
    let log = scene.file("log.json");
    let global = ["--debug", "--log", log.to_str().unwrap()];
    let calls = [
        scene
            .call(global)
            .args(["run", "-d", "--bundle"])
            .args([scene.bundle.path()])
            .args([&scene.id]),
        scene.call(global).args(["exec", &scene.id, "true"]),
    ];
    for call in calls {
        call.output().ok();
    }
    scene.delete();
    let text = fs::read_to_string(&log).unwrap();
    for words in [
        "finish the mounts",
        "enter the container's cgroup",
        "ready to execute the program",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    for words in ["nsexec", "setns_init", "in init()", "closing the pipe"] {
        assert!(!text.contains(words), "{words}: {text}");
    }
}

#[test]
fn an_unknown_format_is_refused() {
    let scene = Scene::new();
    let output = scene.call(["--log-format", "xml", "list"]).output();
    assert!(
        output.status.code().is_some_and(|code| code != 0),
        "{output}"
    );
}

#[test]
fn a_log_that_cannot_be_opened_is_an_error() {
    let scene = Scene::new();
    let output = scene
        .call(["--log", "/no/such/directory/log", "list"])
        .output();
    output.fails_with("no such file or directory");
}

#[test]
fn without_log_the_error_is_on_stderr_and_nothing_on_stdout() {
    let scene = Scene::new();
    scene
        .call(["state", "unknown"])
        .output()
        .fails_with("does not exist")
        .stdout("");
}
