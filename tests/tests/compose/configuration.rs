//! `fragment.yaml`, the variables of its settings, and `fragment config`, which shows and checks them.

use std::fs;
use std::path::{Path, PathBuf};

use fragment_tests::{Call, Scene, fragment};
use serde_json::{Value, json};

/// A directory with a configuration file of this content.
struct Configured {
    directory: tempfile::TempDir,
}

impl Configured {
    fn new(content: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("fragment.yaml"), content).expect("write");
        Self { directory }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("fragment.yaml")
    }

    fn call(&self, arguments: &[&str]) -> Call {
        fragment::call(arguments).env("FRAGMENT_CONFIG", self.file())
    }

    /// The line of a mistake, as it is printed.
    fn at(&self, line: u32, problem: &str) -> String {
        format!("{}:{line}: {problem}", self.file().display())
    }
}

/// The value of `key` and where it was said, of `config show --json`.
fn shown(call: Call, key: &str) -> (Value, Value) {
    let document = call.output().ok().json();
    let mut rows = document.as_array().expect("a list").iter();
    let row = rows.find(|row| row["key"] == key);
    let row = row.unwrap_or_else(|| panic!("no {key} in {document:#}"));
    (row["value"].clone(), row["from"].clone())
}

#[test]
fn show_tells_every_value_and_where_it_was_said() {
    let node = Configured::new(
        "cache:\n  size: 7\n  cleanup_interval: 1m\nperformance: {load_timeout: 5s}\ncomponents: [bash]\n",
    );
    let show = || {
        node.call(&["config", "show", "--json"])
            .env("PHANTOM_FRAGMENT_CLEANUP_INTERVAL", "90s")
            .env("PHANTOM_FRAGMENT_LOAD_TIMEOUT", "500ms")
            .args(["--set", "performance.load_timeout=2s"])
    };
    let file = |line: u32| json!({"place": "file", "file": node.file(), "line": line});
    for (key, value, from) in [
        ("cache.size", json!(7), file(2)),
        (
            "cache.cleanup_interval",
            json!("90s"),
            json!({"place": "variable", "name": "PHANTOM_FRAGMENT_CLEANUP_INTERVAL"}),
        ),
        (
            "performance.load_timeout",
            json!("2s"),
            json!({"place": "option", "name": "--set"}),
        ),
        (
            "performance.max_concurrent_loads",
            json!(10),
            json!({"place": "default"}),
        ),
        ("components", json!(["bash"]), file(5)),
        (
            "store",
            json!(fragment::store()),
            json!({"place": "variable", "name": "FRAGMENT_STORE"}),
        ),
    ] {
        assert_eq!(shown(show(), key), (value, from), "{key}");
    }
    let text = node.call(&["config", "show"]).output().ok().stdout.clone();
    let row = |key: &str| {
        let mut lines = text.lines().filter(|line| line.starts_with(key));
        let line = lines.next().unwrap_or_else(|| panic!("{key}: {text}"));
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let place = format!("{}:2", node.file().display());
    assert_eq!(row("cache.size "), ["cache.size", "7", &place]);
    assert_eq!(row("disk.min_free "), ["disk.min_free", "100MB", "default"]);
}

#[test]
fn show_needs_no_file() {
    let call = || fragment::call(&["config", "show", "--json"]);
    let (value, from) = shown(call(), "cache.size");
    assert_eq!((value, from), (json!(100), json!({"place": "default"})));
    let (value, from) = shown(call().args(["--store", "/srv/x"]), "store");
    let option = json!({"place": "option", "name": "--store"});
    assert_eq!((value, from), (json!("/srv/x"), option));
}

#[test]
fn check_tells_every_mistake() {
    let node = Configured::new(
        "cache: {sise: 7}\nperformance:\n  load_timeout: soon\nmemory: {soft_limit: 1MB, target: 2MB}\nexclude: [Bash]\n",
    );
    let output = node
        .call(&["config", "check"])
        .env("PHANTOM_FRAGMENT_MAX_CONCURRENT_LOADS", "0")
        .env("PHANTOM_FRAGMENT_CACHESIZE", "1")
        .args(["--set", "cache.size=-1"])
        .output();
    output.code(1).says("7 problems");
    for problem in [
        node.at(1, "`cache.sise` (of `7`) is no key of this file: did you mean `cache.size`?"),
        node.at(3, "performance.load_timeout: `soon` is not valid: a time, as 300s, "),
        node.at(4, "memory.target: `2MB` is not valid: no more than memory.soft_limit"),
        node.at(5, "exclude: `Bash` is not valid: "),
        "variable PHANTOM_FRAGMENT_MAX_CONCURRENT_LOADS: `0` is not valid: a number of loads, 1 or more"
            .to_owned(),
        "variable PHANTOM_FRAGMENT_CACHESIZE: nobody reads it: did you mean PHANTOM_FRAGMENT_CACHE_SIZE?"
            .to_owned(),
        "option --set: cache.size: `-1` is not valid: a number of entries, 0 or more".to_owned(),
    ] {
        output.says(&problem);
    }
    // a file that is not in place yet, and for programs
    let file = node.file();
    let file = file.to_str().expect("UTF-8");
    let output = fragment::call(&["config", "check", file, "--json"]).output();
    let document = output.code(1).json();
    assert_eq!(document["problems"].as_array().map(Vec::len), Some(4));
    let missing = node.directory.path().join("nothing.yaml");
    let missing = missing.to_str().expect("UTF-8");
    let output = fragment::call(&["config", "check", missing]).output();
    output.code(1).says("nothing.yaml").says("1 problem");
}

#[test]
fn check_compares_with_the_library() {
    let node = Configured::new(
        "core: {size: 3MB, capabilities: [process_execution]}
components:
  tcp-stack:
    size: 2MB
    capabilities: [tcp_connections, tcp_listen]
    load_time: 50ms
preload: {components: [bash]}
strategies: {shell: {components: [bash, coreutils]}}
",
    );
    node.call(&["config", "check"])
        .output()
        .ok()
        .says("nothing is wrong");
    let node = Configured::new(
        "core: {size: 1kB}
components:
  tcp-stack:
    capabilities: [job_control]
  tcp-stakc: {preload: true}
preload:
  components: [no-such-thing-at-all]
strategies:
  vm:
    components: [bahs]
require: [fly]
",
    );
    let output = node.call(&["config", "check"]).output();
    output.code(1).says("6 problems");
    for problem in [
        node.at(1, "core.size: component `core` takes "),
        node.at(4, "components.tcp-stack.capabilities: component `tcp-stack` does not grant job_control"),
        node.at(5, "components.tcp-stakc: component `tcp-stakc` is not in the library: did you mean `tcp-stack`?"),
        node.at(7, "preload.components: component `no-such-thing-at-all` is not in the library: see `fragment library list`"),
        node.at(10, "strategies.vm.components: component `bahs` is not in the library: did you mean `bash`?"),
        node.at(11, "require: no component of the library grants `fly`"),
    ] {
        output.says(&problem);
    }
}

#[test]
fn check_of_a_node_without_a_library_says_so() {
    let node = Configured::new("preload: {components: [no-such-thing]}\n");
    let nothing = node.directory.path().join("none");
    node.call(&["config", "check", "--store"])
        .args([&nothing])
        .output()
        .ok()
        .says("note: there is no component library in ")
        .says("nothing is wrong");
}

/// Creates and removes the scene's container; its plan is kept in `kept`.
fn create(scene: &Scene, sources: impl Fn(Call) -> Call) {
    sources(scene.create_call(&[]))
        .env("FRAGMENT_STATE", scene.file("kept"))
        .output()
        .ok();
    scene.call(["delete", "-f", &scene.id]).output().ok();
}

fn kept(scene: &Scene) -> usize {
    fs::read_dir(scene.file("kept/plans")).map_or(0, Iterator::count)
}

#[test]
fn as_many_decisions_are_kept_as_the_configuration_says() {
    let mut scene = Scene::new();
    let mut different = 0;
    let mut start = |sources: &dyn Fn(Call) -> Call| {
        different += 1;
        let name = format!("N={different}");
        scene
            .bundle
            .edit(|spec| spec["process"]["env"] = json!(["PATH=/bin:/usr/bin", name]));
        // what changed a moment ago is not relied on
        std::thread::sleep(std::time::Duration::from_millis(200));
        create(&scene, sources);
        kept(&scene)
    };
    let node = Configured::new("cache: {size: 2}\n");
    let file = |call: Call| call.env("FRAGMENT_CONFIG", node.file());
    let counts: Vec<_> = (0..4).map(|_| start(&file)).collect();
    assert_eq!(counts, [1, 2, 2, 2]);
    let one = |call: Call| file(call).env("PHANTOM_FRAGMENT_CACHE_SIZE", "1");
    assert_eq!(start(&one), 1, "a variable is stronger");
    assert_eq!(start(&|call| call), 2, "a hundred by default");
    let idle = |call: Call| call.env("PHANTOM_FRAGMENT_CLEANUP_INTERVAL", "1ms");
    assert_eq!(start(&idle), 1, "the others have been idle for longer");
    let none = |call: Call| call.env("PHANTOM_FRAGMENT_CACHE_SIZE", "0");
    assert_eq!(start(&none), 0);
}

#[test]
fn a_bad_variable_stops_nothing_but_creating() {
    let scene = {
        let mut scene = Scene::sleeper();
        scene.bundle.writable();
        scene
    };
    scene.up().ready();
    let broken = |call: Call| call.env("PHANTOM_FRAGMENT_LOAD_TIMEOUT", "soon").output();
    let other = Scene::new();
    broken(other.run_call(&[]))
        .code(1)
        .fails_with("variable PHANTOM_FRAGMENT_LOAD_TIMEOUT: `soon` is not valid: a time, as ");
    broken(scene.call(["state", &scene.id])).ok();
    broken(scene.call(["kill", &scene.id, "KILL"])).ok();
    scene.stopped();
    broken(scene.call(["delete", &scene.id])).ok();
}

/// Whether the runtime logs its steps when it runs the scene's container.
fn logs_steps(scene: &Scene, flags: &[&str], sources: impl Fn(Call) -> Call) -> bool {
    let log = scene.file("log");
    let _ = fs::remove_file(&log);
    let name = log.to_str().expect("UTF-8");
    let call = scene.call(["--log", name]).args(flags);
    let call = call.args(["run", "--bundle"]);
    let call = call
        .args([scene.bundle.path()])
        .args([Path::new(&scene.id)]);
    sources(call).output().ok();
    let text = fs::read_to_string(&log).expect("read the log");
    text.contains("level=debug")
}

#[test]
fn variables_and_the_file_say_how_much_is_logged() {
    let scene = Scene::new();
    let node = Configured::new("log_level: debug\n");
    let file = |call: Call| call.env("FRAGMENT_CONFIG", node.file());
    let variable = |name: &'static str, value: &'static str| {
        move |call: Call| call.env(format!("PHANTOM_FRAGMENT_{name}"), value)
    };
    assert!(!logs_steps(&scene, &[], |call| call));
    assert!(logs_steps(&scene, &[], file));
    assert!(logs_steps(&scene, &[], variable("LOG_LEVEL", "debug")));
    assert!(logs_steps(&scene, &[], variable("DEBUG", "true")));
    let weaker = variable("LOG_LEVEL", "error");
    assert!(!logs_steps(&scene, &[], |call| weaker(file(call))));
    // a flag is stronger than both
    let flag = ["--log-level", "warning"];
    assert!(!logs_steps(&scene, &flag, variable("DEBUG", "true")));
    assert!(!logs_steps(&scene, &flag, file));
    assert!(logs_steps(&scene, &["--debug"], weaker));
}

#[test]
fn the_command_for_people_logs_as_much_too() {
    let state = tempfile::tempdir().expect("a directory");
    let steps = |flags: &[&str], value: &str| {
        let call = fragment::call(flags).args(["run", "--", "echo", "hi"]);
        let call = call.env("FRAGMENT_STATE", state.path());
        let output = call.env("PHANTOM_FRAGMENT_DEBUG", value).output();
        output.ok().stdout("hi\n");
        output.stderr.contains("fragment: debug: ")
    };
    assert!(!steps(&[], "off"));
    assert!(steps(&[], "on"));
    assert!(steps(&["--debug"], "off"));
    assert!(!steps(&["--log-level", "info"], "on"));
}
