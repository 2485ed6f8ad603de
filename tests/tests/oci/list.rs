//! `list` and `ps`.

use fragment_tests::Scene;

#[test]
fn an_empty_root_lists_nothing() {
    let scene = Scene::new();
    scene.call(["list", "--quiet"]).output().ok().stdout("");
    let table = scene.call(["list"]).output();
    assert_eq!(table.ok().stdout.lines().count(), 1, "{table}");
    let json = scene.call(["list", "--format", "json"]).output();
    // Go prints a nil slice as null
    assert!(matches!(json.ok().stdout.trim(), "null" | "[]"), "{json}");
}

#[test]
fn a_root_that_does_not_exist_lists_nothing() {
    let scene = Scene::new();
    let call = scene
        .runtime
        .bare()
        .args(["--root"])
        .args([scene.file("nowhere")])
        .args(["list", "-q"]);
    call.output().ok().stdout("");
}

#[test]
fn list_shows_id_pid_status_bundle_created_owner() {
    let scene = Scene::sleeper();
    scene.create().ok();
    scene
        .call(["list", "-q"])
        .output()
        .ok()
        .stdout(&format!("{}\n", scene.id));

    let table = scene.call(["list"]).output();
    let lines: Vec<Vec<_>> = table
        .ok()
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        lines[0],
        ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    );
    let (pid, bundle) = (
        scene.pid().to_string(),
        scene.bundle.path().to_str().unwrap(),
    );
    assert_eq!(lines[1][..4], [&scene.id, &pid, "created", bundle]);
    assert_eq!(lines[1][5], "root");
    assert_eq!(lines.len(), 2);

    let json = scene.call(["list", "-f", "json"]).output().ok().json();
    let [only] = json.as_array().unwrap().as_slice() else {
        panic!("one container: {json}")
    };
    assert_eq!(only["id"], scene.id.as_str());
    assert_eq!(only["pid"], scene.pid());
    assert_eq!(only["status"], "created");
    assert_eq!(only["bundle"], bundle);
    assert_eq!(only["rootfs"], scene.bundle.rootfs().to_str().unwrap());
    assert_eq!(only["owner"], "root");
    assert!(
        only["ociVersion"].is_string() && only["created"].is_string(),
        "{only}"
    );
    scene.delete();
}

#[test]
fn list_shows_stopped_containers_with_pid_0() {
    let scene = Scene::new();
    scene.up().stopped();
    let json = scene.call(["list", "--format=json"]).output().ok().json();
    assert_eq!(
        (json[0]["status"].as_str(), json[0]["pid"].as_u64()),
        (Some("stopped"), Some(0))
    );
    scene.verb("delete", &[]).ok();
}

#[test]
fn an_unknown_format_is_refused() {
    let scene = Scene::sleeper();
    scene.up();
    scene
        .call(["list", "--format", "xml"])
        .output()
        .fails_with("format");
    scene.verb("ps", &["--format", "xml"]).fails_with("format");
    scene.delete();
}

#[test]
fn a_stray_directory_in_the_root_does_not_break_list() {
    let scene = Scene::sleeper();
    scene.up();
    let stray = scene.runtime.root().join("stray");
    std::fs::create_dir(&stray).unwrap();
    scene.call(["list", "-q"]).output().says(&scene.id);
    std::fs::remove_dir(&stray).unwrap();
    scene.delete();
}

#[test]
fn ps_json_is_the_hosts_pids() {
    let scene = Scene::sh("sleep 1000 & wait");
    scene.up();
    fragment_tests::child::until("both processes run", || {
        let pids = scene.verb("ps", &["--format", "json"]).ok().json();
        let pids: Vec<_> = pids
            .as_array()
            .unwrap()
            .iter()
            .filter_map(serde_json::Value::as_u64)
            .collect();
        assert!(pids.contains(&scene.pid().into()), "{pids:?}");
        pids.len() == 2
    });
    scene.delete();
}

#[test]
fn ps_table_shows_the_commands() {
    let scene = Scene::sh("sleep 1234 & wait");
    scene.up();
    fragment_tests::child::until("the child runs", || {
        scene.verb("ps", &[]).ok().stdout.contains("sleep 1234")
    });
    let output = scene.verb("ps", &[]);
    let lines: Vec<_> = output.ok().stdout.lines().collect();
    assert!(
        lines[0].contains("PID") && lines[0].contains("CMD"),
        "{output}"
    );
    assert_eq!(lines.len(), 3, "{output}");
    scene.delete();
}

#[test]
fn ps_takes_options_of_ps() {
    let scene = Scene::sleeper();
    scene.up();
    let output = scene.call(["ps", &scene.id, "-o", "pid,comm"]).output();
    assert!(
        output
            .ok()
            .stdout
            .lines()
            .next()
            .unwrap()
            .contains("COMMAND"),
        "{output}"
    );
    output.says(&scene.pid().to_string());
    scene.delete();
}
