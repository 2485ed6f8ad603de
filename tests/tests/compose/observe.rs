//! `fragment run --observe` and the annotation `dev.fragment.observe`: what a program missed is told, nothing else changes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use fragment_tests::runtime::spawn;
use fragment_tests::{Call, Scene, child, fragment};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Looks for a file whose name no analysis can read from it, and tells how that went.
const HIDDEN: &str = "f=$(printf /usr/share/%sinfo/Europe/Berlin zone); if read x <$f; then echo yes; else echo no; exit 3; fi";

/// Asks for a thousand files that are not there.
const BUSY: &str =
    "i=0; while [ $i -lt 1000 ]; do [ -e /none/$i ]; i=$((i+1)); done; echo $i; cat /etc/hostname";

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, flags: &[&str], script: &str) -> Call {
        fragment::call(&["run"])
            .args(flags)
            .args(["--", "sh", "-c", script])
            .env("FRAGMENT_STATE", self.file("state"))
            .directory(self.0.path())
    }
}

fn report(path: &Path) -> Value {
    let text = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).expect("JSON")
}

fn names(list: &Value) -> BTreeSet<String> {
    let name = |one: &Value| one["component"].as_str().expect("a name").to_owned();
    list.as_array().expect("a list").iter().map(name).collect()
}

/// Observers of any test: processes that hold the file of what was seen, with their parents.
fn observers(state: &Path) -> Vec<(u32, u32)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").filter_map(Result::ok) {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        let links = fs::read_dir(entry.path().join("fd")).into_iter().flatten();
        let mut targets = links.filter_map(|link| fs::read_link(link.ok()?.path()).ok());
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let ours = String::from_utf8_lossy(&environment).contains(&*state.to_string_lossy());
        if ours && targets.any(|t| t.to_string_lossy().contains("memfd:fragment-observed")) {
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let parent = stat.rsplit_once(')').and_then(|(_, rest)| {
                let mut fields = rest.split_whitespace();
                fields.nth(1)?.parse().ok()
            });
            found.extend(parent.map(|parent| (pid, parent)));
        }
    }
    found
}

/// The keeper, and the watcher it made.
fn keeper_and_watcher(state: &Path) -> (u32, u32) {
    let mut pair = None;
    child::until("an observer with its watcher", || {
        let all = observers(state);
        pair = all
            .iter()
            .find(|(_, parent)| all.iter().any(|(pid, _)| pid == parent))
            .map(|(watcher, keeper)| (*keeper, *watcher));
        pair.is_some()
    });
    pair.expect("found")
}

fn started(call: &Call, output: &Path) -> Child {
    let file = fs::File::create(output).expect("create a file");
    let mut command: Command = call.command();
    spawn(
        command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(Stdio::null()),
    )
}

#[test]
fn what_the_library_has_is_proposed_and_then_found() {
    let place = Place::new();
    let plain = place.run(&[], HIDDEN).output();
    plain.code(3).stdout("no\n");
    let file = place.file("seen.json");
    let flags = ["--observe-json", file.to_str().expect("UTF-8")];
    let observed = place.run(&flags, HIDDEN).output();
    observed.code(3).stdout("no\n");
    assert!(
        observed.stderr.contains("tzdata has:"),
        "{}",
        observed.stderr
    );
    let report = report(&file);
    assert_eq!(
        names(&report["proposed"]),
        BTreeSet::from(["tzdata".to_owned()]),
        "{report:#}"
    );
    assert_eq!(
        report["proposed"][0]["paths"]["/usr/share/zoneinfo/Europe/Berlin"],
        "open"
    );
    assert!(names(&report["components"]).contains("core"));
    // the proposal is what an image says
    let proposal = fs::read_to_string(place.file("seen.fragment.yaml")).expect("a proposal");
    let mut scene = Scene::empty();
    scene.bundle.args(&["/bin/sh", "-c", HIDDEN]);
    scene.run().code(3).stdout("no\n");
    scene.bundle.file(".fragment.yaml", &proposal, 0o644);
    scene.run().ok().stdout("yes\n");
    assert_eq!(observers(&place.file("state")), []);
}

#[test]
fn a_run_that_misses_nothing_proposes_nothing() {
    let place = Place::new();
    let observed = place.run(&["--observe"], "echo yes").output();
    observed.ok().stdout("yes\n");
    assert!(
        observed.stderr.starts_with("observed "),
        "{}",
        observed.stderr
    );
    let files: Vec<String> = fs::read_dir(place.0.path())
        .expect("read the directory")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    assert_eq!(files, ["state"]);
}

/// A library that is loaded by a name made up at run time, and a call of 32 bits beside it.
#[test]
fn a_library_that_is_loaded_by_name_and_calls_of_32_bits() {
    const SOURCE: &str = r#"
        #include <dlfcn.h>
        #include <stdio.h>
        #include <string.h>
        #include <sys/mman.h>
        int main(int argc, char **argv) {
            char name[32];
            snprintf(name, sizeof name, "lib%c.so.%d", 'z', argc);
            long error = 0;
        #ifdef __x86_64__
            char *low = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
            strcpy(low, "/of-32-bits");
            __asm__ volatile("int $0x80" : "=a"(error) : "a"(33L), "b"(low), "c"(0L) : "memory");
        #endif
            printf("%s %ld\n", dlopen(name, RTLD_NOW) ? "loaded" : "missing", error);
            return 0;
        }"#;
    let place = Place::new();
    let source = place.file("load.c");
    fs::write(&source, SOURCE).expect("write the source");
    let mut scene = Scene::empty();
    let program = place.file("load");
    let mut compiler = Command::new("cc");
    let status = compiler.arg("-o").arg(&program).arg(&source).status();
    assert!(status.expect("run cc").success());
    scene.bundle.copy(&program, "load").args(&["/load"]);
    let plain = scene.run();
    plain.ok();
    scene.bundle.edit(|spec| {
        spec["annotations"] = json!({ "dev.fragment.observe": "load" });
    });
    let state = place.file("state");
    let observed = scene.run_call(&[]).env("FRAGMENT_STATE", &state).output();
    observed.ok().stdout(&plain.stdout);
    assert!(plain.stdout.starts_with("missing "), "{}", plain.stdout);
    let file = state.join("observed/load.json");
    child::until("the report", || file.exists());
    let report = report(&file);
    let found = names(&report["proposed"]);
    assert!(found.contains("zlib"), "{report:#}");
    if cfg!(target_arch = "x86_64") {
        let missed = report["missed"]["paths"].as_array().expect("paths");
        assert!(missed.contains(&json!("/of-32-bits")), "{report:#}");
    }
    let proposal = fs::read_to_string(state.join("observed/load.fragment.yaml"));
    scene
        .bundle
        .file(".fragment.yaml", &proposal.expect("a proposal"), 0o644);
    let again = scene.run_call(&[]).env("FRAGMENT_STATE", &state).output();
    again
        .ok()
        .stdout(&plain.stdout.replace("missing", "loaded"));
    child::until("the end of the observer", || observers(&state).is_empty());
}

#[test]
fn an_annotation_has_an_engines_container_observed() {
    let mut scene = Scene::empty();
    scene.bundle.args(&["/bin/sh", "-c", HIDDEN]);
    scene.bundle.edit(|spec| {
        spec["annotations"] = json!({ "dev.fragment.observe": "web" });
    });
    let place = Place::new();
    let state = place.file("state");
    let create = scene.create_call(&[]).env("FRAGMENT_STATE", &state);
    create.output().ok();
    scene.start().ok();
    scene.stopped();
    scene.delete();
    let file = state.join("observed/web.json");
    child::until("the report", || file.exists());
    assert_eq!(
        names(&report(&file)["proposed"]),
        BTreeSet::from(["tzdata".to_owned()])
    );
    assert!(state.join("observed/web.fragment.yaml").exists());
    child::until("the end of the observer", || observers(&state).is_empty());
    for value in ["/etc/cron.d/x", "../x"] {
        scene
            .bundle
            .edit(|spec| spec["annotations"]["dev.fragment.observe"] = json!(value));
        scene.create().code(1).fails_with("dev.fragment.observe");
    }
}

#[test]
fn a_listener_of_the_bundles_own_is_not_taken_away() {
    let mut scene = Scene::empty();
    scene.bundle.args(&["/bin/true"]);
    scene.bundle.edit(|spec| {
        spec["annotations"] = json!({ "dev.fragment.observe": "true" });
        spec["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/its-own",
            "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }],
        });
    });
    let place = Place::new();
    let create = scene
        .create_call(&[])
        .env("FRAGMENT_STATE", place.file("state"));
    create
        .output()
        .code(1)
        .fails_with("has a listener of its own (/run/its-own)");
    child::until("the end of the observer", || {
        observers(&place.file("state")).is_empty()
    });
    assert!(!place.file("state/observed").exists());
}

/// The program gets the kernel's answers, whoever of the observers dies.
#[test]
fn a_killed_observer_changes_nothing_for_the_program() {
    for (round, victim) in ["watcher", "keeper"].into_iter().enumerate() {
        let place = Place::new();
        let state = place.file("state");
        let script = format!("for x in 1 2 3 4 5; do {BUSY}; done 2>/dev/null");
        let plain = place.run(&[], &script).output();
        let output = place.file("output");
        let mut run = started(&place.run(&["--observe"], &script), &output);
        let (keeper, watcher) = keeper_and_watcher(&state);
        let pid = if victim == "watcher" { watcher } else { keeper };
        child::signal(pid, Signal::KILL).expect("kill");
        let status = child::wait_or_kill(&mut run, std::time::Duration::from_secs(60), victim);
        assert_eq!(
            status.code(),
            plain.status.code(),
            "{victim}, round {round}"
        );
        assert_eq!(
            fs::read_to_string(&output).expect("output"),
            plain.stdout,
            "{victim}"
        );
        child::until("the end of the observers", || observers(&state).is_empty());
    }
}

#[test]
fn a_killed_run_takes_its_observer_along() {
    let place = Place::new();
    let state = place.file("state");
    let mut run = started(
        &place.run(&["--observe"], "sleep 1000"),
        &place.file("output"),
    );
    keeper_and_watcher(&state);
    run.kill().expect("kill");
    run.wait().expect("wait");
    // the next run removes the container that was left, and with it goes its filter
    place.run(&[], "true").output().ok();
    child::until("the end of the observer", || observers(&state).is_empty());
    let left = fs::read_dir(state.join("tasks")).expect("tasks").count();
    assert_eq!(left, 0);
}

#[test]
fn threads_and_many_processes_are_told_from_one_another() {
    let place = Place::new();
    let script = "for i in 1 2 3 4 5 6 7 8; do (for j in 1 2 3 4 5; do [ -e /none/$i-$j ]; (exec true); done) & done; wait; echo done";
    let file = place.file("seen.json");
    let flags = ["--observe-json", file.to_str().expect("UTF-8")];
    place.run(&flags, script).output().ok().stdout("done\n");
    let report = report(&file);
    let missed = report["missed"]["paths"].as_array().expect("paths").iter();
    let mine = missed.filter(|p| p.as_str().is_some_and(|p| p.starts_with("/none/")));
    assert_eq!(mine.count(), 40, "{report:#}");
}
