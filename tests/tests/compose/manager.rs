//! The library as one value: batches of tasks, what a node has, limits of tasks.

use std::fs;

use fragment_tests::{Call, fragment};
use serde_json::{Value, json};

/// A state directory of its own; the library is everybody's.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn call(&self, words: &[&str]) -> Call {
        fragment::call(words).env("FRAGMENT_STATE", self.0.path().join("state"))
    }

    /// The batch of these lines, and what was printed.
    fn batch(&self, options: &[&str], lines: &str, code: i32) -> Vec<Value> {
        let words = [&["batch"], options, &["-"]].concat();
        let output = self.call(&words).stdin(lines).output();
        let lines = output.code(code).stdout.lines();
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        lines.map(parse).collect()
    }

    fn leases(&self) -> usize {
        let name = self.0.path().to_string_lossy().into_owned();
        fragment::leases(&name).len()
    }
}

#[test]
fn a_batch_answers_in_order_and_one_failure_stops_none() {
    let place = Place::new();
    let lines = "{\"command\": [\"echo\", \"one\"]}\n\n{\"command\": [\"no-such-command\"]}\nnonsense\n\
        {\"command\": [\"sh\", \"-c\", \"echo $A; exit 3\"], \"env\": {\"A\": \"two\"}}\n{\"comand\": []}\n{\"command\": [\"echo\", \"one\"]}\n";
    let told = place.batch(&["--run"], lines, 1);
    let numbers: Vec<_> = told
        .iter()
        .map(|one| one["line"].as_u64().expect("a number"))
        .collect();
    assert_eq!(numbers, [1, 3, 4, 5, 6, 7]);
    assert_eq!(
        told[0]["run"],
        json!({"code": 0, "stdout": "one\n", "stderr": ""})
    );
    assert!(
        told[1]["error"]
            .as_str()
            .expect("an error")
            .contains("no-such-command"),
        "{}",
        told[1]
    );
    assert!(
        told[2]["error"]
            .as_str()
            .expect("an error")
            .contains("this is not a task"),
        "{}",
        told[2]
    );
    assert_eq!(
        told[3]["run"],
        json!({"code": 3, "stdout": "two\n", "stderr": ""})
    );
    assert!(
        told[4]["error"]
            .as_str()
            .expect("an error")
            .contains("`comand`"),
        "{}",
        told[4]
    );
    assert_eq!(told[0]["fragment"]["id"], told[5]["fragment"]["id"]);
    let components = told[0]["fragment"]["components"]
        .as_array()
        .expect("components");
    assert!(components.contains(&json!("core")), "{components:?}");
    assert_eq!(place.leases(), 0);
}

#[test]
fn decisions_are_kept_for_the_next_process() {
    let place = Place::new();
    let line = "{\"command\": [\"python3\", \"-c\", \"import ssl\"]}\n";
    let first = place.batch(&[], line, 0);
    assert_eq!(first[0]["fragment"]["cached"], false);
    let second = place.batch(&[], line, 0);
    assert_eq!(second[0]["fragment"]["cached"], true);
    for what in ["id", "components", "unpacked", "capabilities"] {
        assert_eq!(first[0]["fragment"][what], second[0]["fragment"][what]);
    }
    let other = place.batch(
        &[],
        "{\"command\": [\"python3\", \"-c\", \"import sqlite3\"]}\n",
        0,
    );
    assert_eq!(other[0]["fragment"]["cached"], false);
    // an entry that is damaged is made again
    for entry in fs::read_dir(place.0.path().join("state/plans")).expect("plans") {
        fs::write(entry.expect("an entry").path(), "damaged").expect("an entry");
    }
    let third = place.batch(&[], line, 0);
    assert_eq!(third[0]["fragment"]["cached"], false);
    assert_eq!(third[0]["fragment"]["id"], first[0]["fragment"]["id"]);
    assert_eq!(place.batch(&[], line, 0)[0]["fragment"]["cached"], true);
}

#[test]
fn a_large_batch_is_made_at_once() {
    let place = Place::new();
    let lines: String = (0..60)
        .map(|number| format!("{{\"command\": [\"echo\", \"{number}\"]}}\n"))
        .collect();
    let told = place.batch(&[], &lines, 0);
    assert_eq!(told.len(), 60);
    assert!(told.iter().all(|one| one["error"].is_null()), "{told:?}");
    assert_eq!(place.leases(), 0);
}

#[test]
fn tasks_are_held_to_their_limits() {
    let place = Place::new();
    let run = |words: &[&str]| place.call(&[&["run"], words].concat()).output();
    let many = "for n in 1 2 3 4 5 6 7 8 9; do sleep 2 & done; wait; echo all";
    let refused = run(&["--processes", "4", "--", "sh", "-c", many]);
    assert!(!refused.stdout.contains("all"), "{refused}");
    refused.fails_with("fork");
    run(&["--processes", "40", "--", "sh", "-c", many])
        .ok()
        .stdout("all\n");
    // a variable of 64 MB in a container of 16
    let large = "x=0123456789abcdef; for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22; do x=$x$x; done; echo ${#x}";
    run(&["--memory", "16MB", "--", "sh", "-c", large]).code(137);
    run(&[
        "--cpus", "0.5", "--memory", "400MB", "--", "sh", "-c", "echo ok",
    ])
    .ok()
    .stdout("ok\n");
    run(&["--memory", "1", "--", "true"])
        .fails_with("memory of 1 is no limit that a task can run in");
    run(&["--memory", "lots", "--", "true"]).fails_with("give a size");
}

#[test]
fn a_node_says_what_it_has() {
    let place = Place::new();
    let info = place.call(&["system", "--json"]).output().ok().json();
    assert!(info["components"].as_u64() > Some(20), "{info}");
    assert!(info["stored"].as_u64() > Some(10_000_000), "{info}");
    assert_eq!(
        info["store"],
        fragment::store()
            .canonicalize()
            .expect("a store")
            .to_str()
            .expect("a path")
    );
    place
        .call(&["system"])
        .output()
        .ok()
        .says("components  ")
        .says("in memory   ");
    let none = place.call(&["--store", "/nowhere", "system"]).output();
    none.fails_with("there is no component library at /nowhere");
}

#[test]
fn what_a_node_does_is_counted() {
    let place = Place::new();
    let counted = || {
        let all = place.call(&["metrics", "--json"]).output().ok().json();
        let counters = all["counted"]["counters"]
            .as_array()
            .expect("counters")
            .clone();
        move |name: &str| {
            let found = counters.iter().find(|one| one["name"] == name);
            found
                .and_then(|one| one["value"].as_u64())
                .unwrap_or_else(|| panic!("no {name}"))
        }
    };
    assert_eq!(counted()("containers_total"), 0);
    let line = "{\"command\": [\"echo\", \"x\"]}\n";
    place.batch(&[], line, 0);
    place.batch(&[], line, 0);
    place.batch(&[], "{\"command\": [\"no-such-command\"]}\n", 1);
    place.call(&["run", "--", "echo", "x"]).output().ok();
    place
        .call(&["run", "--", "no-such-command"])
        .output()
        .code(127);
    let now = counted();
    for (name, expected) in [
        ("fragments_total", 2),
        ("containers_total", 2),
        ("containers_composed_total", 1),
        ("failures_total", 2),
        ("plan_cache_hits_total", 1),
        ("component_loads_total", 0),
    ] {
        assert_eq!(now(name), expected, "{name}");
    }
    let text = place.call(&["metrics", "--prometheus"]).output();
    text.ok()
        .says("\n# TYPE fragment_compose_seconds histogram\n")
        .says("\nfragment_compose_seconds_count 3\n")
        .says("\nfragment_components{state=\"library\"} ")
        .says("\nfragment_leases ");
    // every line is a comment or a sample
    for line in text.stdout.lines().filter(|line| !line.starts_with("# ")) {
        let (name, value) = line.rsplit_once(' ').expect(line);
        assert!(
            name.starts_with("fragment_") && value.parse::<f64>().is_ok(),
            "{line}"
        );
    }
    place
        .call(&["metrics"])
        .output()
        .ok()
        .says("containers_composed_total");
}
