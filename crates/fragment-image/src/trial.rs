//! Runs an image's process in a throw-away container and tells what it did: how it ended, what it printed, what a check in
//! it answered, and which files of the image were opened.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::error::ImageError;
use crate::observer::Observer;
use crate::process::Process;

/// How often a container is looked at.
const INTERVAL: Duration = Duration::from_millis(50);
/// How long a service may take to stop when asked.
const STOP: Duration = Duration::from_secs(10);
/// Most bytes of output that are compared.
const MAX_OUTPUT: usize = 1 << 20;

/// What a trial takes.
#[derive(Debug, Clone)]
pub struct Terms {
    /// The runtime's binary.
    pub runtime: PathBuf,
    /// The component store.
    pub store: PathBuf,
    /// A command that is run in the container until it succeeds, and whose output is compared.
    pub check: Vec<String>,
    /// How long the process must stay alive to be a service that runs.
    pub alive: Duration,
    /// How long a command may take, and how long a service until its check succeeds.
    pub limit: Duration,
}

/// How a process went.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// It ended by itself.
    Ended {
        /// Its exit code; none for a signal.
        code: Option<i32>,
        /// What it printed.
        #[serde(skip)]
        stdout: Vec<u8>,
        /// What it complained of.
        #[serde(skip)]
        stderr: Vec<u8>,
    },
    /// It was alive at the end of the trial.
    Serving {
        /// Output of the check, if there was one.
        #[serde(skip)]
        answer: Option<Vec<u8>>,
    },
    /// The check never succeeded.
    Silent {
        /// What the check said last.
        detail: String,
    },
}

/// One container, stopped and deleted with this value.
struct Container<'t> {
    terms: &'t Terms,
    state: PathBuf,
    id: String,
    child: Child,
}

/// A bundle to try.
#[derive(Debug)]
pub(crate) struct Bundle<'b> {
    /// Holds the directory `rootfs`.
    pub(crate) directory: &'b Path,
    pub(crate) what: &'static str,
    pub(crate) annotations: Value,
}

/// Runs `process` in `bundle`; with `observer`, gathers what is opened.
pub(crate) fn run(
    terms: &Terms,
    bundle: &Bundle<'_>,
    process: &Process,
    observer: Option<&mut Observer>,
) -> Result<Outcome, ImageError> {
    let id = format!("thin-{}-{}", std::process::id(), bundle.what);
    process.write_bundle(bundle.directory, &id, &bundle.annotations)?;
    let mut container = Container::start(terms, bundle, &id)?;
    let outcome = container.watch(bundle, process, observer);
    drop(container);
    outcome
}

impl<'t> Container<'t> {
    fn start(terms: &'t Terms, bundle: &Bundle<'_>, id: &str) -> Result<Self, ImageError> {
        let state = bundle.directory.join("state");
        let output = |name: &str| {
            let path = bundle.directory.join(name);
            File::create(&path).map_err(ImageError::io("create", path))
        };
        let child = runtime(terms, &state)
            .args(["run", "--bundle"])
            .arg(bundle.directory)
            .arg(id)
            .stdin(Stdio::null())
            .stdout(output("stdout")?)
            .stderr(output("stderr")?)
            .spawn()
            .map_err(ImageError::io("start", &terms.runtime))?;
        Ok(Self {
            terms,
            state,
            id: id.to_owned(),
            child,
        })
    }

    fn watch(
        &mut self,
        bundle: &Bundle<'_>,
        process: &Process,
        mut observer: Option<&mut Observer>,
    ) -> Result<Outcome, ImageError> {
        let begun = Instant::now();
        let mut last = String::new();
        let mut answer = None;
        loop {
            if let Some(observer) = observer.as_deref_mut() {
                observer.drain()?;
            }
            let ended = self
                .child
                .try_wait()
                .map_err(ImageError::io("wait for", &self.terms.runtime))?;
            if let Some(status) = ended {
                return Self::ended(bundle, status.code());
            }
            let checked = self.terms.check.is_empty() || answer.is_some();
            if checked && begun.elapsed() >= self.terms.alive {
                return Ok(Outcome::Serving { answer });
            }
            if !checked {
                match self.check(process)? {
                    Ok(output) => answer = Some(output),
                    Err(said) => last = said,
                }
            }
            if begun.elapsed() >= self.terms.limit && answer.is_none() {
                return Ok(Outcome::Silent { detail: last });
            }
            std::thread::sleep(INTERVAL);
        }
    }

    fn ended(bundle: &Bundle<'_>, code: Option<i32>) -> Result<Outcome, ImageError> {
        let read = |name: &str| {
            let path = bundle.directory.join(name);
            let mut bytes = fs::read(&path).map_err(ImageError::io("read", path))?;
            bytes.truncate(MAX_OUTPUT);
            Ok::<_, ImageError>(bytes)
        };
        Ok(Outcome::Ended {
            code,
            stdout: read("stdout")?,
            stderr: read("stderr")?,
        })
    }

    /// Output of the check, or what it complained of.
    fn check(&self, process: &Process) -> Result<Result<Vec<u8>, String>, ImageError> {
        let mut exec = runtime(self.terms, &self.state);
        exec.arg("exec");
        for variable in &process.env {
            exec.arg("--env").arg(variable);
        }
        let output = exec
            .arg(&self.id)
            .args(&self.terms.check)
            .stdin(Stdio::null())
            .output()
            .map_err(ImageError::io("start", &self.terms.runtime))?;
        let mut stdout = output.stdout;
        stdout.truncate(MAX_OUTPUT);
        Ok(if output.status.success() {
            Ok(stdout)
        } else {
            let said = [stdout, output.stderr].concat();
            Err(shown(&said))
        })
    }

    fn call(&self, words: &[&str]) {
        // what is left is what delete --force is for; its own failure shows in the next call
        let _ = runtime(self.terms, &self.state)
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        let ended = |child: &mut Child| matches!(child.try_wait(), Ok(Some(_)));
        if !ended(&mut self.child) {
            self.call(&["kill", &self.id, "TERM"]);
            let asked = Instant::now();
            while !ended(&mut self.child) && asked.elapsed() < STOP {
                std::thread::sleep(INTERVAL);
            }
            self.call(&["kill", &self.id, "KILL"]);
        }
        self.call(&["delete", "--force", &self.id]);
        let _ = self.child.wait();
    }
}

fn runtime(terms: &Terms, state: &Path) -> Command {
    let mut command = Command::new(&terms.runtime);
    // what this node asks of compositions is no part of the image
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"FRAGMENT_") {
            command.env_remove(name);
        }
    }
    command
        .arg("--root")
        .arg(state)
        .env("FRAGMENT_CONFIG", "/dev/null")
        .env("FRAGMENT_STORE", &terms.store);
    command
}

/// The end of an output, for a message.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim();
    let start = text.char_indices().rev().nth(399).map_or(0, |(at, _)| at);
    text[start..].replace('\n', " | ")
}

/// How `thin` differs from `whole`; `repeatable` says whether two runs of the whole image print the same.
pub(crate) fn difference(whole: &Outcome, thin: &Outcome, repeatable: bool) -> Option<String> {
    match (whole, thin) {
        (Outcome::Serving { answer: a }, Outcome::Serving { answer: b }) => (repeatable && a != b)
            .then(|| {
                let answer = |answer: &Option<Vec<u8>>| shown(answer.as_deref().unwrap_or(b""));
                format!(
                    "the check answers `{}` in the whole image and `{}` in the thin one",
                    answer(a),
                    answer(b)
                )
            }),
        (
            Outcome::Ended {
                code: a,
                stdout: out_a,
                stderr: err_a,
            },
            Outcome::Ended {
                code: b,
                stdout: out_b,
                stderr: err_b,
            },
        ) => {
            if a != b {
                return Some(format!(
                    "it ends with {} in the whole image and with {} in the thin one: {}",
                    exit(*a),
                    exit(*b),
                    shown(err_b)
                ));
            }
            (repeatable && (out_a != out_b || err_a != err_b)).then(|| {
                format!(
                    "it prints `{} {}` in the whole image and `{} {}` in the thin one",
                    shown(out_a),
                    shown(err_a),
                    shown(out_b),
                    shown(err_b)
                )
            })
        }
        _ => Some(format!(
            "the whole image {}, the thin one {}",
            told(whole),
            told(thin)
        )),
    }
}

/// Whether two runs printed and answered the same.
pub(crate) fn is_same(a: &Outcome, b: &Outcome) -> bool {
    a == b
}

fn exit(code: Option<i32>) -> String {
    code.map_or("a signal".to_owned(), |code| format!("exit code {code}"))
}

pub(crate) fn told(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Serving { .. } => "goes on running".to_owned(),
        Outcome::Silent { detail } => format!("does not pass the check: {detail}"),
        Outcome::Ended { code, stderr, .. } => {
            format!("ends with {}: {}", exit(*code), shown(stderr))
        }
    }
}

/// Paths that were opened and that `is_there` does not find.
pub(crate) fn missing(opened: &BTreeSet<String>, is_there: impl Fn(&str) -> bool) -> Vec<String> {
    opened
        .iter()
        .filter(|path| !is_there(path))
        .cloned()
        .collect()
}
