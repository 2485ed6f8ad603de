//! `spec`, `features`, `--version`, `--help`.

use std::path::Path;

use fragment_tests::Scene;
use serde_json::Value;

#[test]
fn version_names_the_specification() {
    let scene = Scene::new();
    for flag in ["--version", "-v"] {
        let output = scene.runtime.bare().args([flag]).output();
        // podman shows the whole, and cuts the first line at "version"
        assert!(
            output
                .ok()
                .stdout
                .lines()
                .next()
                .unwrap_or_default()
                .contains(" version "),
            "{output}"
        );
        assert!(
            output
                .stdout
                .lines()
                .any(|line| line.starts_with("spec: 1.")),
            "{output}"
        );
    }
}

#[test]
fn help_lists_the_verbs() {
    let scene = Scene::new();
    let output = scene.runtime.bare().args(["--help"]).output();
    for verb in [
        "create", "start", "state", "kill", "delete", "list", "exec", "ps", "spec", "features",
        "run",
    ] {
        output.ok().says(verb);
    }
}

#[test]
fn an_unknown_verb_is_refused() {
    let scene = Scene::new();
    let output = scene.call(["no-such-verb"]).output();
    // runc prints the help and exits with 0 or 3, depending on its version: only the silence is wrong
    assert!(
        !output.stdout.is_empty() || !output.stderr.is_empty(),
        "{output}"
    );
}

#[test]
fn an_unknown_flag_is_refused() {
    let scene = Scene::new();
    let output = scene.call(["state", "--no-such-flag", "x"]).output();
    assert!(
        output.status.code().is_some_and(|code| code != 0),
        "{output}"
    );
}

#[test]
fn spec_writes_a_configuration_that_runs() {
    let mut scene = Scene::new();
    std::fs::remove_file(scene.bundle.path().join("config.json")).unwrap();
    let path = scene.bundle.path().to_owned();
    scene
        .call(["spec"])
        .directory(&path)
        .output()
        .ok()
        .stdout("");
    let written: Value =
        serde_json::from_slice(&std::fs::read(path.join("config.json")).unwrap()).unwrap();
    assert_eq!(written["process"]["args"], serde_json::json!(["sh"]));
    assert_eq!(written["process"]["terminal"], true);
    assert_eq!(written["root"]["path"], "rootfs");
    let id = scene.id.clone();
    scene.bundle.edit(|spec| {
        *spec = written;
        spec["process"]["terminal"] = false.into();
        spec["process"]["args"] = serde_json::json!(["echo", "ran"]);
        spec["linux"]["cgroupsPath"] = format!("/{id}").into();
    });
    scene.run().ok().stdout("ran\n");
}

/// What `spec` with these options writes, without what names the runtime or its version.
fn written_by(program: &Path, options: &[&str]) -> Value {
    let directory = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(program);
    command.arg("spec").args(options);
    let status = command.current_dir(directory.path()).status().unwrap();
    assert!(status.success(), "{command:?}");
    let bytes = std::fs::read(directory.path().join("config.json")).unwrap();
    let mut spec: Value = serde_json::from_slice(&bytes).unwrap();
    for key in ["hostname", "ociVersion"] {
        assert!(spec[key].take().is_string(), "{key}");
    }
    // runc gave them until 1.2
    let capabilities = spec["process"]["capabilities"].as_object_mut().unwrap();
    capabilities.remove("ambient");
    spec
}

#[test]
fn spec_writes_what_runc_writes() {
    let scene = Scene::new();
    for options in [&[][..], &["--rootless"]] {
        let ours = written_by(scene.runtime.program(), options);
        assert_eq!(ours, written_by(Path::new("/usr/sbin/runc"), options));
    }
}

#[test]
fn spec_does_not_overwrite() {
    let scene = Scene::new();
    scene
        .call(["spec"])
        .directory(scene.bundle.path())
        .output()
        .fails_with("exist");
    let call = scene.call(["spec", "--bundle"]).args([scene.bundle.path()]);
    call.output().fails_with("exist");
}

#[test]
fn features_is_the_document_of_the_specification() {
    let scene = Scene::new();
    let features = scene.call(["features"]).output().ok().json();
    for version in ["ociVersionMin", "ociVersionMax"] {
        assert!(
            features[version].as_str().unwrap().starts_with("1."),
            "{features}"
        );
    }
    let holds = |pointer: &str, word: &str| {
        let list = features.pointer(pointer).and_then(Value::as_array);
        assert!(
            list.is_some_and(|list| list.iter().any(|entry| entry == word)),
            "{pointer} without {word}: {features}"
        );
    };
    for hook in [
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
        "poststart",
        "poststop",
    ] {
        holds("/hooks", hook);
    }
    for option in ["bind", "rbind", "ro", "rw", "nosuid", "rprivate"] {
        holds("/mountOptions", option);
    }
    for namespace in ["cgroup", "ipc", "mount", "network", "pid", "user", "uts"] {
        holds("/linux/namespaces", namespace);
    }
    holds("/linux/capabilities", "CAP_SYS_ADMIN");
    assert_eq!(features["linux"]["cgroup"]["v1"], true);
    assert_eq!(features["linux"]["seccomp"]["enabled"], true);
    holds("/linux/seccomp/actions", "SCMP_ACT_ERRNO");
}
