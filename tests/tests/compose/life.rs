//! Components of a library on a node: unpacked when they are needed, gone when somebody says so, never while they are used.

use std::fs;
use std::io::BufRead as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use fragment_tests::{Call, child, fragment};
use serde_json::{Value, json};

/// A library of its own with the component that is always there and another, and a state directory.
struct Node(tempfile::TempDir);

impl Node {
    fn new() -> Self {
        Self::with(&[])
    }

    /// With these components, too.
    fn with(others: &[&str]) -> Self {
        let node = Self(tempfile::tempdir().expect("a directory"));
        let layout = node.layout();
        let layout = layout.to_str().expect("a path");
        let words = [
            "library",
            "export",
            layout,
            "core",
            "bash",
            "libtinfo6",
            "ncurses-base",
        ];
        fragment::call(&[&words[..], others].concat()).output().ok();
        node.call(&["library", "import", layout]).output().ok();
        node
    }

    fn store(&self) -> PathBuf {
        self.0.path().join("library")
    }

    fn layout(&self) -> PathBuf {
        self.0.path().join("layout")
    }

    fn call(&self, words: &[&str]) -> Call {
        fragment::call(words)
            .env("FRAGMENT_STORE", self.store())
            .env("FRAGMENT_STATE", self.0.path().join("state"))
    }

    fn status(&self, name: &str) -> Value {
        let all = self
            .call(&["library", "status", "--json"])
            .output()
            .ok()
            .json();
        let all = all.as_array().expect("an array").clone();
        let found = all.into_iter().find(|one| one["name"] == name);
        found.unwrap_or_else(|| panic!("no component {name}"))
    }

    /// Layer of a component in the store.
    fn blob(&self, name: &str) -> PathBuf {
        let manifest = self
            .call(&["library", "info", name, "--json"])
            .output()
            .ok()
            .json();
        let digest = manifest["layer"]["digest"]
            .as_str()
            .expect("a digest")
            .to_owned();
        self.store()
            .join("blobs/sha256")
            .join(digest.trim_start_matches("sha256:"))
    }

    fn leases(&self) -> usize {
        let entries = fs::read_dir(self.store().join("leases")).expect("leases");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        names.filter(|name| name != ".lock").count()
    }

    /// What is left of loads: nothing but the slots.
    fn unfinished(&self) -> Vec<String> {
        let entries = fs::read_dir(self.store().join("loads"))
            .into_iter()
            .flatten();
        let names = entries.map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("a name")
        });
        names.filter(|name| !name.starts_with("slot-")).collect()
    }
}

#[test]
fn a_component_is_unpacked_when_a_container_needs_it() {
    let node = Node::new();
    assert_eq!(node.status("bash")["loaded"], true);
    node.call(&["library", "unload", "bash", "core", "bash"])
        .output()
        .ok()
        .says("was not loaded");
    assert_eq!(node.status("bash")["loaded"], false);
    assert_eq!(node.status("bash")["plain"], 0);
    node.call(&["library", "verify"]).output().ok();
    let run = ["run", "--", "bash", "-c", "echo $((6 * 7))"];
    node.call(&run).output().ok().stdout("42\n");
    assert_eq!(node.status("bash")["loaded"], true);
    node.call(&run).output().ok().stdout("42\n");
    node.call(&["library", "verify"]).output().ok();
    node.call(&["library", "unload", "bash"])
        .output()
        .ok()
        .says(" freed");
    node.call(&["library", "load", "bash", "core"])
        .output()
        .ok()
        .says("unpacked in")
        .says("was loaded");
    assert!(node.status("bash")["cached"].as_u64() > Some(0));
    assert_eq!((node.leases(), node.unfinished()), (0, vec![]));
}

#[test]
fn a_component_in_use_is_not_unloaded_and_its_container_goes_on() {
    let node = Node::new();
    let script = "echo begun; read line; echo \"$line\" | { read word; echo \"$word\"; }";
    let mut command = node.call(&["run", "--", "bash", "-c", script]).command();
    let mut running = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("fragment");
    child::until("the container has its lease", || node.leases() == 1);
    let refused = node.call(&["library", "unload", "bash"]).output();
    refused
        .code(1)
        .fails_with("component `bash` is in use by `task-");
    node.call(&["library", "gc"]).output().ok().says("0 leases");
    assert_eq!(node.status("bash")["users"], 1);
    assert_eq!(node.status("bash")["loaded"], true);
    drop(std::io::Write::write_all(
        &mut running.stdin.take().expect("stdin"),
        b"still here\n",
    ));
    let output = running.wait_with_output().expect("its end");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "begun\nstill here\n"
    );
    node.call(&["library", "unload", "bash"])
        .output()
        .ok()
        .says(" freed");
}

#[test]
fn a_library_that_is_moved_away_harms_no_container_that_runs() {
    let node = Node::new();
    let script =
        "echo begun; read line; cat /etc/passwd | wc -l > /dev/null && sh -c 'echo still here'";
    let mut command = node.call(&["run", "--", "bash", "-c", script]).command();
    let mut running = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("fragment");
    let mut said = std::io::BufReader::new(running.stdout.take().expect("stdout"));
    let mut line = String::new();
    said.read_line(&mut line).expect("its first line");
    assert_eq!(line, "begun\n");
    let away = node.0.path().join("away");
    fs::rename(node.store(), &away).expect("rename");
    let refused = node.call(&["run", "--", "echo", "x"]).output();
    refused.fails_with("there is no component library at");
    drop(running.stdin.take());
    line.clear();
    said.read_line(&mut line).expect("its second line");
    assert_eq!(line, "still here\n");
    running.wait().expect("its end");
    // its lease is where the library is now, and ends with the next command
    fs::rename(&away, node.store()).expect("rename");
    node.call(&["library", "gc"]).output().ok().says("1 leases");
    assert_eq!(node.leases(), 0);
    node.call(&["library", "unload", "bash"])
        .output()
        .ok()
        .says(" freed");
}

#[test]
fn a_lease_of_a_killed_run_ends_with_the_next_unload() {
    let node = Node::new();
    let mut command = node
        .call(&["run", "--", "bash", "-c", "read line"])
        .command();
    let mut running = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("fragment");
    child::until("the container has its lease", || node.leases() == 1);
    running.kill().expect("kill");
    running.wait().expect("its end");
    // what a killed run leaves is removed by the next one; then nobody uses it
    node.call(&["run", "--", "echo", "next"])
        .output()
        .ok()
        .stdout("next\n");
    assert_eq!(node.leases(), 0);
    node.call(&["library", "unload", "bash"])
        .output()
        .ok()
        .says(" freed");
}

#[test]
fn a_damaged_layer_is_named_and_mended_from_another_library() {
    let node = Node::new();
    let blob = node.blob("bash");
    let mut bytes = fs::read(&blob).expect("the layer");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&blob, bytes).expect("the layer");
    node.call(&["library", "unload", "bash"]).output().ok();
    let run = ["run", "--", "bash", "-c", "echo hello"];
    let refused = node.call(&run).output();
    refused.fails_with("the layer of component `bash` is damaged and was put aside as");
    assert_eq!((node.leases(), node.unfinished()), (0, vec![]));
    assert!(!blob.exists());
    let refused = node.call(&["library", "repair"]).output();
    refused
        .code(1)
        .fails_with("bash")
        .fails_with("1 of 1 components are still damaged");
    let layout = node.layout();
    let layout = layout.to_str().expect("a path");
    node.call(&["library", "repair", "--from", layout])
        .output()
        .ok()
        .says("is whole");
    node.call(&run).output().ok().stdout("hello\n");
    node.call(&["library", "verify"]).output().ok();
    // a changed file of a tree comes back from the layer
    let tree = node.store().join("trees");
    let diff_id = node.status("bash")["diff_id"]
        .as_str()
        .expect("a digest")
        .to_owned();
    let bash = tree
        .join(diff_id.trim_start_matches("sha256:"))
        .join("usr/bin/bash");
    let mut program = fs::read(&bash).expect("bash");
    program[5000] ^= 1;
    fs::write(&bash, program).expect("bash");
    node.call(&["library", "fsck"])
        .output()
        .code(1)
        .says("/usr/bin/bash has other content");
    node.call(&["library", "repair"])
        .output()
        .ok()
        .says("is whole");
    node.call(&["library", "fsck"]).output().ok();
    node.call(&run).output().ok().stdout("hello\n");
}

#[test]
fn a_layer_that_is_gone_is_fetched_when_it_is_asked_for() {
    let node = Node::new();
    fs::remove_file(node.blob("bash")).expect("the layer");
    node.call(&["library", "unload", "bash"]).output().ok();
    let refused = node
        .call(&["run", "--", "bash", "-c", "echo hello"])
        .output();
    refused.fails_with("the layer of component `bash` is not in the library");
    let refused = node
        .call(&["library", "load", "--from", "/nowhere", "bash"])
        .output();
    refused.fails_with("there is no component library at /nowhere");
    let layout = node.layout();
    let words = [
        "library",
        "load",
        "--from",
        layout.to_str().expect("a path"),
        "bash",
    ];
    node.call(&words).output().ok().says("its layer fetched");
    node.call(&["run", "--", "bash", "-c", "echo hello"])
        .output()
        .ok()
        .stdout("hello\n");
    let refused = node.call(&["library", "load", "none"]).output();
    refused.fails_with("component `none` is not in the library");
}

#[test]
fn a_task_of_a_class_has_its_components_until_it_is_released() {
    let node = Node::new();
    let configuration = node.0.path().join("fragment.yaml");
    fs::write(
        &configuration,
        "strategies:\n  shell:\n    components: [bash]\n",
    )
    .expect("a file");
    let call = |words: &[&str]| {
        node.call(words)
            .env("FRAGMENT_CONFIG", &configuration)
            .output()
    };
    call(&["library", "unload", "bash", "core"]).ok();
    let assign = ["strategy", "assign", "shell", "web-1"];
    call(&assign)
        .ok()
        .says("web-1 has ")
        .says(" of them unpacked now");
    for component in ["bash", "core", "libtinfo6"] {
        let status = node.status(component);
        assert_eq!(
            (&status["users"], &status["loaded"]),
            (&1.into(), &true.into()),
            "{status}"
        );
    }
    let refused = call(&["library", "unload", "bash"]);
    refused.fails_with("component `bash` is in use by `web-1`");
    // as much as can go, goes; nothing that the task needs
    call(&["--set", "disk.limit=1", "library", "gc"]).ok();
    assert_eq!(node.status("bash")["loaded"], true);
    call(&assign).fails_with("task `web-1` is assigned to this node already");
    let refused = call(&["strategy", "assign", "none", "web-2"]);
    refused.fails_with("no strategy is called `none` (there are: shell)");
    call(&["strategy", "assign", "shell", "../x"]).fails_with("`../x` is no name of a task");
    let listed = call(&["strategy", "list", "--json"]).ok().json();
    assert_eq!(listed["classes"]["shell"][0], "bash");
    assert_eq!(listed["tasks"][0]["task"], "web-1");
    assert_eq!(listed["tasks"].as_array().map(Vec::len), Some(1));
    call(&["strategy", "release", "web-1"]).ok();
    call(&["strategy", "release", "web-1"]).fails_with("no task `web-1` is assigned");
    assert_eq!(
        (node.leases(), node.status("bash")["users"].clone()),
        (0, 0.into())
    );
    call(&["library", "unload", "bash"]).ok().says(" freed");

    let run = [
        "strategy",
        "run",
        "shell",
        "--",
        "bash",
        "-c",
        "echo $((6 * 7)); exit 3",
    ];
    call(&run).code(3).stdout("42\n");
    assert_eq!(node.leases(), 0);
    assert_eq!(
        call(&["strategy", "list", "--json"]).json()["tasks"]
            .as_array()
            .map(Vec::len),
        Some(0)
    );
}

#[test]
fn an_assignment_that_was_cut_short_is_removed_by_the_next_command() {
    let node = Node::new();
    let directory = node.0.path().join("state/strategies/.fragment/gone");
    fs::create_dir_all(&directory).expect("a directory");
    let text = "{\"task\": \"gone\", \"class\": \"shell\", \"components\": [], \"maker\": {\"pid\": 1, \"start_time\": 1}}";
    fs::write(directory.join("assignment.json"), text).expect("a file");
    let listed = node
        .call(&["strategy", "list", "--json"])
        .output()
        .ok()
        .json();
    assert_eq!(
        listed["tasks"].as_array().map(Vec::len),
        Some(0),
        "{listed}"
    );
    assert!(!directory.exists());
}

/// Names in a list of objects.
fn names(list: &Value) -> Vec<&str> {
    let all = list.as_array().expect("a list").iter();
    all.map(|one| one["name"].as_str().expect("a name"))
        .collect()
}

#[test]
fn what_is_used_most_is_preloaded_as_far_as_limits_and_pressure_allow() {
    let node = Node::with(&["getent", "debianutils"]);
    let configuration = node.0.path().join("fragment.yaml");
    // other tests run beside this one
    let text = "preload: {adaptive: true, memory_pressure: 100%, io_pressure: 100%}\n";
    fs::write(&configuration, text).expect("a file");
    let call = |words: &[&str]| {
        node.call(words)
            .env("FRAGMENT_CONFIG", &configuration)
            .output()
    };
    let all = [
        "core",
        "bash",
        "libtinfo6",
        "ncurses-base",
        "getent",
        "debianutils",
    ];
    let unload = || {
        call(&[&["library", "unload"], &all[..]].concat()).ok();
    };
    let preload = |flags: &[&str]| {
        let words = [&["library", "preload", "--json"], flags].concat();
        call(&words).ok().json()
    };
    unload();
    assert_eq!(preload(&[])["adaptive"]["preloaded"], serde_json::json!([]));
    for (times, command) in [
        (3, &["bash", "-c", "true"][..]),
        (2, &["getent", "passwd", "root"]),
        (1, &["which.debianutils", "sh"]),
    ] {
        for _ in 0..times {
            call(&[&["run", "--"], command].concat()).ok();
        }
    }
    unload();
    // a limit of zero is never met, whatever the machine does
    let never = preload(&["--set", "preload.memory_pressure=0"]);
    assert_eq!(never["adaptive"]["stopped"]["reason"], "memory-pressure");
    let never = call(&["library", "preload", "--set", "preload.io_pressure=0%"]);
    never
        .ok()
        .says("preloaded 0 by use: ")
        .says("preload.io_pressure asks for less than 0.00%");
    let off = call(&["library", "preload", "--set", "preload.adaptive=off"]);
    off.ok().says("the configuration preloads nothing");
    let loaded = || {
        let is_loaded = |name: &&str| node.status(name)["loaded"] == true;
        all.into_iter().filter(is_loaded).collect::<Vec<_>>()
    };
    assert_eq!(loaded(), [""; 0]);

    // room for all but the one that is used least
    let number = |name: &str, key: &str| node.status(name)[key].as_u64().expect(key);
    let stored: u64 = all.iter().map(|name| number(name, "stored")).sum();
    let files: u64 = all[..5].iter().map(|name| number(name, "files")).sum();
    let limit = format!("disk.limit={}", stored + files);
    let limited = preload(&["--set", &limit]);
    let adaptive = &limited["adaptive"];
    assert_eq!(names(&adaptive["preloaded"]), all[..5], "{adaptive}");
    assert_eq!(names(&adaptive["left"]), ["debianutils"], "{adaptive}");
    assert_eq!(adaptive["left"][0]["reason"], "disk");
    assert_eq!(adaptive["stopped"]["reason"], "done");
    assert_eq!(loaded(), all[..5]);
    for _ in 0..2 {
        // what the limit asks for and what is preloaded are the same
        call(&["library", "gc", "--set", &limit]).ok();
        assert_eq!(loaded(), all[..5]);
        assert_eq!(
            preload(&["--set", &limit])["adaptive"]["preloaded"],
            serde_json::json!([])
        );
    }
    assert!(number("bash", "score") > number("debianutils", "score"));

    // what is listed comes first, whether or not it is used
    unload();
    let listed = preload(&["--set", "preload.components=debianutils"]);
    assert_eq!(listed["configured"]["debianutils"]["load"], "unpacked");
    assert_eq!(
        names(&listed["adaptive"]["preloaded"]),
        all[..5],
        "{listed}"
    );
    assert_eq!(loaded(), all);
    let run = ["run", "--", "bash", "-c", "echo $((6 * 7))"];
    call(&run).ok().stdout("42\n");
    call(&["library", "verify"]).ok();
    assert_eq!((node.leases(), node.unfinished()), (0, vec![]));
    let missing = call(&["library", "preload", "--set", "preload.components=none"]);
    missing.fails_with("component `none` is not in the library");
}

#[test]
fn a_load_that_takes_longer_than_expected_is_told_and_counted() {
    let node = Node::new();
    let configuration = node.0.path().join("fragment.yaml");
    let expect = |load_time: &str| {
        let text = format!("components:\n  bash: {{load_time: {load_time}}}\n");
        fs::write(&configuration, text).expect("a file");
    };
    let call = |words: &[&str]| {
        node.call(words)
            .env("FRAGMENT_CONFIG", &configuration)
            .output()
    };
    let slow = || {
        let all = call(&["metrics", "--json"]).ok().json();
        let counters = all["counted"]["counters"].as_array().expect("counters");
        let mut slow = counters
            .iter()
            .filter(|one| one["name"] == "component_slow_loads_total");
        slow.next().expect("a counter")["value"].clone()
    };
    let run = ["run", "--", "bash", "-c", "echo hello"];
    expect("60s");
    call(&["config", "check"]).ok().says(
        "note: load_time of component `bash` is compared with nothing: no load of it is known",
    );
    call(&["library", "unload", "bash"]).ok();
    let output = call(&run);
    output.ok().stdout("hello\n");
    assert_eq!(output.stderr, "");
    let output = call(&["config", "check"]);
    assert!(!output.ok().stdout.contains("load_time"), "{output}");
    assert_eq!(slow(), 0);

    expect("0.001ms");
    // nothing is loaded: nothing takes long
    assert_eq!(call(&run).ok().stderr, "");
    call(&["library", "unload", "bash"]).ok();
    let output = call(&run);
    output.ok().stdout("hello\n");
    let warning = "fragment: warn: component `bash` took ";
    assert!(output.stderr.starts_with(warning), "{output}");
    assert!(
        output
            .stderr
            .contains("ms to load, more than its load_time of "),
        "{output}"
    );
    assert_eq!(slow(), 1);
    call(&["library", "unload", "bash"]).ok();
    let output = call(&["library", "load", "bash", "core"]);
    assert!(output.ok().stderr.starts_with(warning), "{output}");
    assert_eq!(slow(), 2);
    let place = format!("{}:2: components.bash.load_time: ", configuration.display());
    call(&["config", "check"])
        .code(1)
        .says(&place)
        .says("the last load of component `bash` took ");
    assert_eq!(node.status("bash")["loads"]["count"], 3);
    assert_eq!(node.status("core")["loads"], Value::Null);
    call(&["library", "status"]).ok().says("LAST LOAD");
}

/// A script that makes the call with the library on a file system of its own, seen by nobody else.
fn on_own_file_system(node: &Path, options: &str) -> String {
    let store = node.join("library");
    let store = store.display();
    format!(
        "exec unshare --mount --propagation private /bin/sh -ec 'cp -a {store} {store}.copy; \
         mount -t tmpfs -o size=64m store {store}; cp -a {store}.copy/. {store}/; rm -rf {store}.copy; {options} exec \"$@\"' sh \"$@\""
    )
}

#[test]
fn a_full_disk_is_an_error_that_leaves_nothing() {
    let node = Node::new();
    node.call(&["library", "unload", "bash"]).output().ok();
    let store = node.store();
    let store = store.display();
    // room for half a megabyte: bash has more
    let fill = format!(
        "mount -o remount,size=$(($(df -k --output=used {store} | tail -n 1) + 512))k {store};"
    );
    let run = || node.call(&["run", "--", "bash", "-c", "echo hello"]);
    let script = on_own_file_system(node.0.path(), &fill);
    let refused = run().within(&script).output();
    refused
        .fails_with("the layer of component `bash` is refused")
        .fails_with("no space left on device");
    let look = format!(
        "{fill} if \"$@\"; then exit 1; fi; test ! -e {store}/quarantine; exec find {store}/loads {store}/leases -mindepth 1 ! -name slot-\\* ! -name .lock;"
    );
    let script = on_own_file_system(node.0.path(), &look);
    run().within(&script).output().ok().stdout("");
}

#[test]
fn a_library_that_cannot_be_written_says_so() {
    let node = Node::new();
    let store = node.store();
    let store = store.display();
    let read_only = format!("mount -o remount,ro {store};");
    let script = on_own_file_system(node.0.path(), &read_only);
    let refused = node
        .call(&["library", "unload", "bash"])
        .within(&script)
        .output();
    refused.fails_with("read-only file system");
    let refused = node
        .call(&["run", "--", "bash", "-c", "echo hello"])
        .within(&script)
        .output();
    refused.fails_with("read-only file system");
    node.call(&["plan", "--", "bash"])
        .within(&script)
        .output()
        .ok()
        .says("bash");
}

#[test]
fn a_directory_becomes_a_component() {
    let node = Node::new();
    let root = node.0.path().join("root");
    let write = |path: &str, text: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
        fs::write(&path, text).expect("write");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
    };
    let directory = root.to_str().expect("UTF-8");
    let create = |name: &str| node.call(&["library", "create", name, directory]).output();
    let greeting = || {
        node.call(&["run", "--", "greet"])
            .output()
            .ok()
            .stdout
            .clone()
    };

    create("greeter").fails_with("reading `/` of the directory");
    write(
        "bin/greet",
        "#!/bin/bash\nread text </usr/share/greet/text; echo ${text^^}\n",
    );
    write("usr/share/greet/text", "good morning\n");
    create("greeter").ok();
    assert_eq!(greeting(), "GOOD MORNING\n");
    let manifest = node
        .call(&["library", "info", "greeter", "--json"])
        .output()
        .ok()
        .json();
    assert_eq!(
        manifest["provides"]["commands"][0]["path"],
        "/usr/bin/greet"
    );

    // made again, it is in the place of what it was; made again of the same, it is the same
    write("usr/share/greet/text", "good night\n");
    create("greeter").ok();
    assert_eq!(greeting(), "GOOD NIGHT\n");
    let listed = node.call(&["library", "list"]).output().ok().stdout.clone();
    assert_eq!(listed.matches("greeter").count(), 1, "{listed}");

    // what cannot be is told, and nothing is taken
    write("bin/greet", "#!/usr/bin/gawk -f\n");
    create("greeter").fails_with("its files need /usr/bin/gawk");
    create("bash").fails_with("component `bash` is made of packages");
    fs::copy("/usr/bin/openssl", root.join("bin/openssl")).expect("copy");
    create("other").fails_with("component `other` cannot run: its files need libcrypto.so.3");
    node.call(&[
        "library",
        "create",
        "other",
        directory,
        "--requires",
        "perl",
    ])
    .output()
    .fails_with("component `perl` is not in the library");
    node.call(&["library", "info", "other"])
        .output()
        .fails_with("`other` is not in the library");
    node.call(&["library", "fsck"]).output().ok();
    let left = |name: &str| fs::read_dir(node.store().join(name)).map_or(0, Iterator::count);
    assert_eq!((left("tmp"), left("loads")), (0, 0));
}

#[test]
fn what_is_done_to_components_is_told_as_json_too() {
    let node = Node::new();
    let config = node.0.path().join("node.yaml");
    fs::write(&config, "strategies: {shell: {components: [bash]}}\n").expect("write");
    let json = |words: &[&str], code: i32| {
        let call = node.call(words).env("FRAGMENT_CONFIG", &config).output();
        call.code(code).json()
    };
    let layout = node.layout();
    let layout = layout.to_str().expect("UTF-8");
    assert_eq!(json(&["library", "import", "--json", layout], 0), json!([]));
    let told = json(&["library", "unload", "--json", "bash", "nobody"], 1);
    assert!(told["bash"]["freed"].as_u64() > Some(1_000_000), "{told}");
    let error = told["nobody"]["error"].as_str().expect("an error");
    assert!(error.contains("`nobody` is not in the library"), "{error}");
    let all = json(&["metrics", "--json"], 0);
    let counters = all["counted"]["counters"].as_array().expect("counters");
    let mut unloads = counters
        .iter()
        .filter(|one| one["name"] == "component_unloads_total");
    assert_eq!(unloads.next().expect("a counter")["value"], 1);
    let told = json(&["strategy", "assign", "--json", "shell", "one"], 0);
    assert_eq!(told["task"]["class"], "shell");
    let unpacked = told["loads"].as_array().expect("an array").iter();
    let unpacked = unpacked.filter(|load| load["load"] == "unpacked");
    assert_eq!(unpacked.count(), 1, "{told}");
    node.call(&["strategy", "release", "one"])
        .env("FRAGMENT_CONFIG", &config)
        .output()
        .ok();
    // a byte of a file is another one now
    let file = fs::read_dir(node.store().join("trees")).expect("trees");
    let mut files = file.map(|tree| tree.expect("a tree").path().join("usr/bin/bash"));
    let file = files.find(|path| path.is_file()).expect("bash");
    let mut bytes = fs::read(&file).expect("read");
    bytes[1000] ^= 1;
    fs::write(&file, bytes).expect("write");
    let told = json(&["library", "repair", "--json"], 0);
    assert_eq!(
        told,
        json!({"catalogue": false, "whole": ["bash"], "damaged": {}})
    );
}
