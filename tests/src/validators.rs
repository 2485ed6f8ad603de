//! Readers of other people's for documents that the `fragment` command writes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::cache;

const REQUIREMENTS: &str = include_str!("../validators/requirements.txt");

/// Runs `validators/validate.py KIND PATH`, whose first lines say what it can.
///
/// # Panics
/// When Python or the packages it needs cannot be had.
#[must_use]
pub fn validate(kind: &str, path: &Path) -> Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/validators/validate.py");
    let mut python = Command::new(environment().join("bin/python"));
    python.args([script, kind]).arg(path);
    python.output().expect("run the validator")
}

/// A virtual environment with the pinned packages, made once. `python3 -m venv` is in Debian's python3-venv.
fn environment() -> PathBuf {
    // the programs of an environment name the directory it was made in
    let directory = cache::made("validators", REQUIREMENTS, |directory| {
        std::fs::create_dir(directory).expect("create a directory");
    });
    let environment = directory.join("venv");
    let ready = directory.join("ready");
    let lock = std::fs::File::create(directory.join("lock")).expect("create a lock file");
    lock.lock().expect("lock");
    if !ready.exists() {
        run(Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&environment));
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/validators/requirements.txt");
        run(Command::new(environment.join("bin/pip")).args(["install", "--quiet", "-r", file]));
        std::fs::write(&ready, "").expect("mark the environment");
    }
    environment
}

fn run(command: &mut Command) {
    let output = command.output().expect("run");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {words}");
}
