//! `fragment batch`: many tasks, one JSON document a line.

use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use fragment::manager::{Finished, Summary};
use fragment::pool;
use fragment::{Manager, ManagerError, Settings, Task};
use serde::Serialize;

/// Most bytes of a batch that are read.
const MAX_BATCH: u64 = 256 << 20;

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
    run: Option<Finished>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
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
        true => run_all(&manager, &fragments, arguments.jobs),
        false => fragments.iter().map(|_| None).collect(),
    };
    let (mut made, mut failed) = (fragments.into_iter().zip(runs), false);
    let mut out = std::io::stdout().lock();
    for (line, task) in lines {
        let told = match task {
            Err(error) => Line::failed(line, &error),
            Ok(_) => match made.next() {
                Some((Ok(fragment), run)) => {
                    let (run, error) = match run.transpose() {
                        Ok(run) => (run, None),
                        Err(error) => (None, Some(error.to_string())),
                    };
                    Line {
                        line,
                        fragment: Some(fragment.summary()),
                        run,
                        error,
                    }
                }
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
    manager: &Manager,
    fragments: &Fragments,
    jobs: Option<usize>,
) -> Vec<Option<Result<Finished, ManagerError>>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let work = |fragment: &Result<fragment::ComposedFragment, ManagerError>| {
        let made = fragment.as_ref().ok();
        Ok::<_, Infallible>(made.map(|made| manager.run(made)))
    };
    let Ok(runs) = pool::map(jobs.unwrap_or(cores), fragments, &work);
    runs
}
