//! `fragment inspect`: what a container was composed of.

use fragment_tests::{Scene, fragment};
use serde_json::Value;

fn inspected(arguments: &[&str]) -> Value {
    let call = fragment::call(&["inspect", "--json"]).args(arguments);
    call.output().ok().json()
}

#[test]
fn components_with_digest_evidence_and_who_else_holds_them() {
    let first = Scene::only("/usr/bin/sleep", &["1000"]);
    first.up();
    let second = Scene::only("/usr/bin/sleep", &["1000"]);
    second.up();
    let found = inspected(&[&first.id]);
    assert_eq!(found["status"], "running");
    assert_eq!(found["root"], first.runtime.root().to_str().unwrap());
    assert_eq!(found["bundle"], first.bundle.path().to_str().unwrap());
    let composition = &found["composition"];
    let components = composition["components"].as_array().unwrap();
    assert!(!components.is_empty(), "{found:#}");
    let mut total = 0;
    for component in components {
        assert!(component["sharedWith"].as_u64().unwrap() >= 1, "{found:#}");
        assert!(!component["steps"].as_array().unwrap().is_empty());
        total += component["bytes"].as_u64().unwrap();
        // the digest is the library's
        let name = component["component"].as_str().unwrap();
        let info = fragment::call(&["library", "info", name]).output();
        info.ok().says(component["digest"].as_str().unwrap());
    }
    assert_eq!(composition["bytes"], total);
    assert_eq!(composition["sharedBytes"], total);
    // the plan is the one it was started with
    let plan = fragment::call(&["plan", "--json", "--bundle"]).args([first.bundle.path()]);
    assert_eq!(
        composition["plan"]["layers"],
        plan.output().ok().json()["plan"]["layers"]
    );
    second.delete();
    first.delete();
}

#[test]
fn a_stopped_container_by_the_beginning_of_its_name() {
    let scene = Scene::only("/usr/bin/true", &[]);
    scene.up().stopped();
    let beginning = &scene.id[..scene.id.len() - 1];
    let output = fragment::call(&["inspect", beginning]).output();
    output.ok();
    for words in [
        format!("container {} (stopped)", scene.id),
        "-> coreutils ".to_owned(),
        "sha256:".to_owned(),
    ] {
        output.says(&words);
    }
    scene.delete();
    let output = fragment::call(&["inspect", beginning]).output();
    output.code(1).fails_with("no container");
}

#[test]
fn a_container_that_lacks_nothing_is_found_in_its_state_directory() {
    let scene = Scene::sleeper();
    scene.up();
    let output = fragment::call(&["inspect", &scene.id]).output();
    output.code(1).fails_with("--root DIR");
    let root = scene.runtime.root().to_str().unwrap();
    let found = inspected(&["--root", root, &scene.id]);
    assert_eq!(found["composition"], Value::Null);
    let output = fragment::call(&["inspect", "--root", root, "nobody"]).output();
    output.code(1).fails_with("container does not exist");
    scene.delete();
}
