//! `fragment doctor`: what it finds on this machine and on made-up ones, and what it writes for engines.

#![allow(clippy::expect_used, reason = "tests")]

mod engines;
mod machine;
mod made_up;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use fragment_tests::{Call, fragment};
use serde_json::Value;

/// A root filesystem of another machine.
struct MadeUp(tempfile::TempDir);

impl MadeUp {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn place(&self, path: &str) -> PathBuf {
        self.0.path().join(path.trim_start_matches('/'))
    }

    fn file(&self, path: &str, content: &str) -> &Self {
        let place = self.place(path);
        fs::create_dir_all(place.parent().expect("a directory")).expect("mkdir");
        fs::write(&place, content).expect("write");
        self
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.place(path)).expect("read")
    }

    /// Makes a program that does nothing.
    fn program(&self, path: &str) -> &Self {
        self.file(path, "#!/bin/sh\n");
        fs::set_permissions(self.place(path), fs::Permissions::from_mode(0o755)).expect("chmod");
        self
    }

    /// `fragment doctor --root THIS ARGUMENTS…`.
    fn doctor(&self, arguments: &[&str]) -> Call {
        let root = self.0.path().to_str().expect("UTF-8");
        fragment::call(&["doctor", "--root", root]).args(arguments)
    }

    fn findings(&self) -> Findings {
        Findings::of(self.doctor(&["--json"]))
    }

    /// Writes a snippet for a runtime that this machine has.
    fn write(&self, engine: &str) -> fragment_tests::Output {
        self.program("/usr/bin/fragment-runc");
        self.doctor(&["--write", engine, "--runtime", "/usr/bin/fragment-runc"])
            .output()
    }
}

/// What `fragment doctor --json` printed.
struct Findings {
    all: Vec<Value>,
    code: Option<i32>,
}

impl Findings {
    fn of(call: Call) -> Self {
        let output = call.output();
        let document = output.json();
        Self {
            all: document["findings"].as_array().expect("findings").clone(),
            code: output.status.code(),
        }
    }

    fn about(&self, subject: &str) -> Vec<&Value> {
        let all = self.all.iter();
        all.filter(|one| one["subject"] == subject).collect()
    }

    /// One finding about `subject` is of this level, says these words, and has a remedy unless it is ok.
    #[track_caller]
    fn has(&self, subject: &str, level: &str, words: &str) -> &Self {
        let about = self.about(subject);
        let found = about.iter().find(|one| {
            one["level"] == level
                && one["finding"]
                    .as_str()
                    .is_some_and(|text| text.contains(words))
        });
        let found = found.unwrap_or_else(|| panic!("no {level} {words:?} among {about:#?}"));
        assert_eq!(found["remedy"].is_string(), level != "ok", "{found:#}");
        self
    }

    /// Everything about `subject` is ok.
    #[track_caller]
    fn is_ok(&self, subject: &str) -> &Self {
        let about = self.about(subject);
        assert!(!about.is_empty(), "nothing about {subject}");
        assert!(about.iter().all(|one| one["level"] == "ok"), "{about:#?}");
        self
    }
}

/// Prints why a test is skipped, if the program is not installed.
#[allow(
    clippy::print_stdout,
    reason = "clippy exempts #[test] functions, not what they call"
)]
fn lacks(program: &str) -> bool {
    let is_there = Path::new(program).exists();
    if !is_there {
        println!("skipped: {program} is not installed");
    }
    !is_there
}
