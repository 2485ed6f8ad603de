//! `fragment batch`: many tasks, one JSON document a line.

use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context as _;
use fragment::manager::Summary;
use fragment::pool;
use fragment::{Manager, ManagerError, Settings, Task};
use serde::Serialize;

/// Most bytes of a batch that are read.
const MAX_BATCH: u64 = 256 << 20;
/// Most bytes of each output of a task that are kept.
const MAX_OUTPUT: u64 = 1 << 20;

/// Arguments of `fragment batch`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Run the tasks, not only make their fragments
    #[arg(long)]
    run: bool,
    /// Tasks that run at a time [default: as many as there are processors]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// The tasks, one JSON document a line: {"command": ["echo", "hello"], "timeout": "30s"}; - is standard input
    file: PathBuf,
}

/// What is printed of a task.
#[derive(Debug, Serialize)]
struct Line {
    /// Of the file, from 1.
    line: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    fragment: Option<Summary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<Run>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// How a task ended.
#[derive(Debug, Serialize)]
struct Run {
    /// As a shell has it: 128 and the number of a signal, 124 when its time was up.
    code: i32,
    stdout: String,
    stderr: String,
}

impl Line {
    fn failed(line: usize, error: &anyhow::Error) -> Self {
        Self {
            line,
            fragment: None,
            run: None,
            error: Some(format!("{error:#}")),
        }
    }
}

/// Makes the fragments of all tasks, and runs them if asked to; prints one line a task, in order. 1 if any failed.
pub(crate) fn run(settings: &Settings, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let text = read(&arguments.file)?;
    let numbered = text
        .lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line.trim()));
    let lines: Vec<(usize, Result<Task, anyhow::Error>)> = numbered
        .filter(|(_, line)| !line.is_empty())
        .map(|(number, line)| (number, Task::from_json(line).map_err(anyhow::Error::from)))
        .collect();
    let tasks: Vec<Task> = lines
        .iter()
        .filter_map(|(_, task)| task.as_ref().ok().cloned())
        .collect();
    let manager = Manager::open(settings.clone())?;
    let fragments = manager.process_batch(&tasks);
    let runs = match arguments.run {
        true => run_all(settings, &fragments, arguments.jobs)?,
        false => fragments.iter().map(|_| None).collect(),
    };
    let (mut made, mut failed) = (fragments.into_iter().zip(runs), false);
    let mut out = std::io::stdout().lock();
    for (line, task) in lines {
        let told = match task {
            Err(error) => Line::failed(line, &error),
            Ok(_) => match made.next() {
                Some((Ok(fragment), run)) => Line {
                    line,
                    fragment: Some(fragment.summary()),
                    run: run.transpose()?,
                    error: None,
                },
                Some((Err(error), _)) => Line::failed(line, &error.into()),
                None => Line::failed(line, &anyhow::anyhow!("it was not processed")),
            },
        };
        failed |= told.error.is_some() || told.run.as_ref().is_some_and(|run| run.code != 0);
        writeln!(out, "{}", serde_json::to_string(&told)?).context("write to standard output")?;
    }
    Ok(match failed {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

fn read(file: &Path) -> anyhow::Result<String> {
    let (mut text, mut source): (_, Box<dyn std::io::Read>) = match file.to_str() {
        Some("-") => (String::new(), Box::new(std::io::stdin())),
        _ => {
            let opened = std::fs::File::open(file);
            let opened = opened.with_context(|| format!("open {}", file.display()))?;
            (String::new(), Box::new(opened))
        }
    };
    let read = source
        .as_mut()
        .take(MAX_BATCH + 1)
        .read_to_string(&mut text);
    read.with_context(|| format!("read {}", file.display()))?;
    anyhow::ensure!(
        text.len() as u64 <= MAX_BATCH,
        "{} is longer than {MAX_BATCH} bytes: split it",
        file.display()
    );
    Ok(text)
}

type Fragments = [Result<fragment::ComposedFragment, ManagerError>];

/// Runs every fragment that was made, several at a time.
fn run_all(
    settings: &Settings,
    fragments: &Fragments,
    jobs: Option<usize>,
) -> anyhow::Result<Vec<Option<anyhow::Result<Run>>>> {
    let program = std::env::current_exe().context("find this program")?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let work = |fragment: &Result<fragment::ComposedFragment, ManagerError>| {
        let made = fragment.as_ref().ok();
        Ok::<_, Infallible>(made.map(|made| run_one(&program, settings, made.task())))
    };
    let Ok(runs) = pool::map(jobs.unwrap_or(cores), fragments, &work);
    Ok(runs)
}

/// Runs a task in a process of its own: what makes a container must not be one of many threads.
fn run_one(program: &Path, settings: &Settings, task: &Task) -> anyhow::Result<Run> {
    let mut child = Command::new(program)
        .env(fragment::settings::STORE_VARIABLE, &settings.store)
        .env(fragment::settings::STATE_VARIABLE, &settings.state)
        .args(super::run::words(task))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {}", program.display()))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (stdout, stderr) = std::thread::scope(|scope| {
        let stderr = scope.spawn(|| kept(stderr));
        (kept(stdout), stderr.join().unwrap_or_default())
    });
    let status = child.wait().context("wait for the task")?;
    Ok(Run {
        code: status.code().unwrap_or(125),
        stdout,
        stderr,
    })
}

/// The beginning of what a task says; the rest is read and dropped, so that it can go on.
fn kept(source: Option<impl std::io::Read>) -> String {
    let Some(mut source) = source else {
        return String::new();
    };
    let mut bytes = Vec::new();
    let _ = source.by_ref().take(MAX_OUTPUT).read_to_end(&mut bytes);
    let _ = std::io::copy(&mut source, &mut std::io::sink());
    String::from_utf8_lossy(&bytes).into_owned()
}
