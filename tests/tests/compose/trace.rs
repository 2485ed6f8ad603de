//! Where the time of a start goes: the phases of docs/tracing.md, in a file that viewers read and in the log.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use fragment_tests::Scene;
use serde_json::Value;

/// The table of phases: each with the one it is part of, if any.
fn told() -> Vec<(String, Option<String>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/tracing.md");
    let text = fs::read_to_string(path).expect("docs/tracing.md");
    let cell = |text: &str| Some(text.trim().trim_matches('`').to_owned());
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.map(|line| {
        let cells: Vec<&str> = line.split('|').collect();
        let name = cell(cells[1]).expect("a name");
        (name, cell(cells[2]).filter(|parent| !parent.is_empty()))
    })
    .collect()
}

/// A trace as a viewer reads it: the end of the array is missing.
fn events(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("the trace");
    let array = text.trim_end().trim_end_matches(',').to_owned() + "]";
    serde_json::from_str(&array).expect("JSON")
}

fn span(event: &Value) -> (f64, f64) {
    let number = |key: &str| event[key].as_f64().expect("a number");
    (number("ts"), number("ts") + number("dur"))
}

/// A composed container that is created, entered and removed.
fn live(scene: &Scene, variables: &[(&str, &str)]) {
    let exec = scene.call(["exec", &scene.id, "/usr/bin/sleep", "0"]);
    for call in [
        scene.create_call(&[]),
        scene.call(["start", &scene.id]),
        exec,
        scene.call(["delete", "-f", &scene.id]),
    ] {
        let state = scene.file("kept");
        let call = variables
            .iter()
            .fold(call, |call, (name, value)| call.env(name, value));
        call.env("FRAGMENT_STATE", state).output().ok();
    }
}

#[test]
fn every_phase_is_in_the_trace_within_the_one_it_is_part_of() {
    let mut scene = Scene::only("/usr/bin/sleep", &["1000"]);
    // a component with users, of which a file is made
    scene.bundle.edit(|spec| {
        spec["annotations"] = serde_json::json!({ "dev.fragment.components": "redis" });
    });
    // what changed a moment ago is not relied on, nor kept
    std::thread::sleep(std::time::Duration::from_millis(200));
    let path = scene.file("trace.json");
    live(&scene, &[("FRAGMENT_TRACE", path.to_str().expect("UTF-8"))]);
    let events = events(&path);
    let phases = |name: &str| {
        let name = name.to_owned();
        let named = events
            .iter()
            .filter(move |event| event["name"] == name.as_str());
        named.filter(|event| event["ph"] == "X").collect::<Vec<_>>()
    };
    let told = told();
    for (name, parent) in &told {
        let found = phases(name);
        assert!(!found.is_empty(), "no phase {name}: {events:#?}");
        let Some(parent) = parent else { continue };
        for inner in found {
            let (began, ended) = span(inner);
            let holds = |outer: &&&Value| {
                let (from, to) = span(outer);
                outer["pid"] == inner["pid"] && from <= began && ended <= to
            };
            let parents = phases(parent);
            assert!(
                parents.iter().any(|outer| holds(&outer)),
                "{name} is not within {parent}: {events:#?}"
            );
        }
    }
    let known: BTreeSet<&str> = told.iter().map(|(name, _)| name.as_str()).collect();
    let written = events.iter().filter(|event| event["ph"] == "X");
    let names: BTreeSet<&str> = written.filter_map(|event| event["name"].as_str()).collect();
    assert_eq!(names, known, "docs/tracing.md");
    let processes = events.iter().filter(|event| event["ph"] == "M").count();
    assert_eq!(processes, 4, "each command names itself");
    // the container's first process is on it until it executes the program, libcontainer's steps among it
    let executes = |event: &&Value| event["name"] == "execute the program";
    assert!(events.iter().any(|event| executes(&event)), "{events:#?}");
    let moments = events.iter().filter(|event| event["ph"] == "i").count();
    assert!(moments > 10, "{moments}");
}

#[test]
fn without_a_trace_nothing_is_written_and_with_debug_the_log_has_the_phases() {
    let scene = Scene::only("/usr/bin/sleep", &["0"]);
    let log = scene.file("log");
    let with = |debug: &str| {
        let log = log.to_str().expect("UTF-8");
        let words = ["--log", log, "--log-format", "json", "run", "--bundle"];
        let call = scene.call(words).args([scene.bundle.path()]);
        call.args([&scene.id])
            .env("PHANTOM_FRAGMENT_DEBUG", debug)
            .output()
            .ok();
        fs::read_to_string(log).expect("the log")
    };
    assert_eq!(with("0"), "");
    let text = with("1");
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    let debug = lines.filter(|line: &Value| line["level"] == "debug");
    let told: Vec<String> = debug
        .filter_map(|line| line["msg"].as_str().map(str::to_owned))
        .collect();
    for phase in [
        "phase begin took ",
        "phase command/plan took ",
        "phase command/prepare/cgroup took ",
        "phase command took ",
    ] {
        let found = told.iter().any(|line| line.starts_with(phase));
        assert!(found, "no {phase}: {told:#?}");
    }
}

#[test]
fn a_trace_that_cannot_be_written_is_told_before_anything_is_done() {
    let scene = Scene::only("/usr/bin/sleep", &["0"]);
    let directory = scene.path().to_str().expect("UTF-8");
    let failed = scene
        .run_call(&[])
        .env("FRAGMENT_TRACE", directory)
        .output();
    failed.fails_with("open trace file");
    failed.fails_with(directory);
}
