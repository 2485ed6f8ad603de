//! Bad configurations: each a clear error, and nothing left.

use fragment_tests::Scene;
use serde_json::{Value, json};

fn refused(change: impl FnOnce(&mut Value), words: &str) {
    let mut scene = Scene::new();
    scene.bundle.edit(change);
    scene.create().fails_with(words).stdout("");
    scene.nothing_left();
}

#[test]
fn a_bundle_that_does_not_exist() {
    let scene = Scene::new();
    let output = scene
        .call(["create", "--bundle", "/no/such/bundle", &scene.id])
        .output();
    output.fails_with("no such file or directory");
}

#[test]
fn a_bundle_without_config_json() {
    let mut scene = Scene::new();
    std::fs::remove_file(scene.bundle.path().join("config.json")).unwrap();
    scene.bundle.note_all();
    scene.create().fails_with("config.json");
    scene.nothing_left();
}

#[test]
fn text_that_is_not_json() {
    for text in [
        "",
        "{",
        "not json",
        "{\"ociVersion\": \"1.0.2\"",
        "[]",
        "7",
        "\u{0}",
    ] {
        let mut scene = Scene::new();
        scene.bundle.config(text);
        let output = scene.create();
        assert!(
            output.status.code().is_some_and(|code| code != 0),
            "{text:?} was taken\n{output}"
        );
        assert!(
            !output.stderr.trim().is_empty(),
            "{text:?} is refused without a word\n{output}"
        );
        assert!(
            !output.stderr.contains("panicked") && !output.stderr.contains("goroutine"),
            "{output}"
        );
        scene.nothing_left();
    }
}

#[test]
fn null() {
    let mut scene = Scene::new();
    unless_runc!(scene, "runc 1.1 dereferences a nil pointer");
    scene.bundle.config("null");
    scene.create().fails_with("config.json");
    scene.nothing_left();
}

#[test]
fn every_truncation_is_refused_without_a_panic() {
    let mut scene = Scene::new();
    let text = scene.bundle.spec().to_string();
    for length in (0..text.len()).step_by(text.len() / 12) {
        scene.bundle.config(&text[..length]);
        let output = scene.create();
        assert!(
            output
                .status
                .code()
                .is_some_and(|code| code != 0 && code != 101 && code != 2),
            "{output}"
        );
        scene.nothing_left();
    }
}

#[test]
fn wrong_types() {
    for (pointer, value) in [
        ("/process", json!("sh")),
        ("/process/args", json!("sh")),
        ("/process/args/0", json!(7)),
        ("/process/user/uid", json!("root")),
        ("/process/user/uid", json!(-1)),
        ("/process/env", json!({ "A": "b" })),
        ("/root", json!("rootfs")),
        ("/mounts", json!({})),
        ("/linux/namespaces", json!("pid")),
        ("/linux/resources/devices", json!([7])),
    ] {
        let mut scene = Scene::new();
        scene
            .bundle
            .edit(|spec| *spec.pointer_mut(pointer).unwrap() = value.clone());
        let output = scene.create();
        assert!(
            output.status.code().is_some_and(|code| code != 0),
            "{pointer} = {value} was taken\n{output}"
        );
        assert!(!output.stderr.contains("panicked"), "{output}");
        scene.nothing_left();
    }
}

#[test]
fn no_process() {
    refused(
        |spec| {
            spec.as_object_mut().unwrap().remove("process");
        },
        "process",
    );
}

#[test]
fn no_words_of_a_command() {
    refused(|spec| spec["process"]["args"] = json!([]), "args");
    refused(
        |spec| {
            spec["process"].as_object_mut().unwrap().remove("args");
        },
        "args",
    );
}

#[test]
fn no_cwd() {
    refused(|spec| spec["process"]["cwd"] = json!(""), "cwd");
}

#[test]
fn a_relative_cwd() {
    refused(|spec| spec["process"]["cwd"] = json!("home"), "cwd");
}

#[test]
fn a_duplicate_namespace() {
    refused(
        |spec| {
            spec["linux"]["namespaces"]
                .as_array_mut()
                .unwrap()
                .push(json!({ "type": "pid" }));
        },
        "duplicat",
    );
}

#[test]
fn an_unknown_namespace() {
    refused(
        |spec| {
            spec["linux"]["namespaces"]
                .as_array_mut()
                .unwrap()
                .push(json!({ "type": "nosuch" }));
        },
        "namespace",
    );
}

#[test]
fn a_hostname_without_a_uts_namespace() {
    let mut scene = Scene::new();
    scene.bundle.without_namespace("uts");
    scene.create().fails_with("uts");
    scene.nothing_left();
}

#[test]
fn unknown_properties_are_ignored() {
    // the specification, extensibility: runtimes must not fail for unknown properties
    let mut scene = Scene::sh("echo ran");
    scene.bundle.edit(|spec| {
        spec["org.example.unknown"] = json!({ "a": [1, 2] });
        spec["process"]["unknown"] = json!(true);
        spec["linux"]["unknown"] = json!("x");
    });
    scene.run().ok().stdout("ran\n");
}

#[test]
fn versions_of_the_specification_1_x_are_accepted() {
    for version in ["1.0.0", "1.0.2", "1.0.2-dev", "1.1.0", "1.2.0"] {
        let mut scene = Scene::sh("echo ran");
        scene
            .bundle
            .edit(|spec| spec["ociVersion"] = json!(version));
        scene.run().ok().stdout("ran\n");
    }
}

#[test]
fn a_version_that_is_not_one_is_refused() {
    let mut scene = Scene::new();
    unless_runc!(scene, "runc 1.1 does not look at ociVersion");
    for version in [json!("not-a-version"), json!("2.0.0"), json!("")] {
        scene.bundle.edit(|spec| spec["ociVersion"] = version);
        scene.create().fails_with("ociVersion");
        scene.nothing_left();
    }
}

#[test]
fn a_configuration_of_a_megabyte_is_read() {
    let mut scene = Scene::sh("echo ran");
    scene
        .bundle
        .edit(|spec| spec["annotations"] = json!({ "big": "x".repeat(1_000_000) }));
    scene.run().ok().stdout("ran\n");
}

#[test]
fn deeply_nested_json_is_no_crash() {
    let mut scene = Scene::new();
    let mut text = scene.bundle.spec().to_string();
    text.truncate(text.len() - 1);
    let deep = format!(
        "{text},\"deep\":{}1{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    scene.bundle.config(&deep);
    let output = scene.create();
    assert!(output.status.code().is_some(), "{output}");
    if output.status.success() {
        scene.delete();
    }
    scene.nothing_left();
}
