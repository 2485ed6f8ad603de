//! `fragment run`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use fragment::observe::Request;
use fragment::settings::quantity;
use fragment::task::{Network, Priority, TaskLimits};
use fragment::{Manager, Settings, Task, Wishes, runner};

use super::added::{self, Place};
use super::plan::Choice;

/// Arguments of `fragment run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Environment variable (may be repeated)
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Working directory, made if nobody provides it
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Kill the command after this time and exit with 124: seconds, or a number with ms, s, m, h or d
    #[arg(short, long, value_name = "TIME", value_parser = time)]
    timeout: Option<Duration>,
    /// Share of a busy machine: low, normal, high or critical
    #[arg(long, value_name = "PRIORITY", default_value = "normal", value_parser = parse::<Priority>)]
    priority: Priority,
    /// Network: none (a loopback alone), host, or ns:/PATH of a network namespace
    #[arg(long, value_name = "NETWORK", default_value = "none", value_parser = parse::<Network>)]
    network: Network,
    /// Tell what the command opened and missed, and write what the library could add as COMMAND.fragment.yaml
    #[arg(long)]
    observe: bool,
    /// Write what was observed to this file as JSON, and the proposal beside it
    #[arg(long, value_name = "FILE")]
    observe_json: Option<PathBuf>,
    /// Most memory that it may take, as 64MB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory: Option<u64>,
    /// Most processes and threads that it may have
    #[arg(long, value_name = "N")]
    processes: Option<u32>,
    /// Most processors that it may take, as 0.5 or 2
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<f64>,
    /// Print the container's name when the command runs, and leave it running; its container is removed at its end
    #[arg(long, conflicts_with_all = ["observe", "observe_json"])]
    detach: bool,
    /// Append what a detached command says to this file
    #[arg(long, value_name = "FILE", requires = "detach")]
    log: Option<PathBuf>,
    #[command(flatten)]
    choice: Choice,
    /// Add the package that has the command to the library first, where no component has it
    #[arg(long)]
    add: bool,
    #[command(flatten)]
    place: Place,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

fn parse<T: std::str::FromStr<Err = fragment::task::TaskError>>(
    text: &str,
) -> Result<T, fragment::task::TaskError> {
    text.parse()
}

fn time(text: &str) -> Result<Duration, String> {
    quantity::time(text)
        .filter(|time| !time.is_zero())
        .ok_or_else(|| "give a time such as 30, 1.5s, 10m or 2h".to_owned())
}

fn size(text: &str) -> Result<u64, String> {
    quantity::size(text).ok_or_else(|| format!("give {}", quantity::SIZE))
}

/// Runs the command and exits as it does.
pub(crate) fn run(settings: &Settings, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let (command, add) = (arguments.command[0].clone(), arguments.add);
    let place = arguments.place.clone();
    let request = request(arguments.observe_json.as_deref(), &arguments.command[0]);
    let mut task = Task::new(arguments.command)?
        .priority(arguments.priority)
        .network(arguments.network);
    for variable in arguments.env {
        task = task.env(variable)?;
    }
    task = task.limits(TaskLimits {
        memory: arguments.memory,
        processes: arguments.processes,
        cpus: arguments.cpus,
    })?;
    if let Some(workdir) = arguments.workdir {
        task = task.workdir(workdir)?;
    }
    if let Some(timeout) = arguments.timeout {
        task = task.timeout(timeout);
    }
    let wishes = arguments.choice.wishes();
    let watched = arguments.observe || arguments.observe_json.is_some();
    let (detached, log) = (arguments.detach, arguments.log);
    let start = || match (watched, detached) {
        (true, _) => observe(settings, &task, wishes.clone(), request.clone()),
        (false, true) => detach(settings, &task, wishes.clone(), log.as_deref()),
        (false, false) => runner::run(settings, &task, wishes.clone()).map_err(anyhow::Error::from),
    };
    let code = match start() {
        Err(error) if is_unknown(&error, &command) => {
            let Some(package) = package_of(&command) else {
                return Err(error);
            };
            if !add {
                return Err(error.context(format!(
                    "package {package} of the archive has `{command}`: add it with `fragment library add {package}`, or run this with --add"
                )));
            }
            eprintln!("fragment: adding package {package} to the library");
            added::add_one(settings, &place, &package)
                .with_context(|| format!("add package {package}"))?;
            start()?
        }
        other => other?,
    };
    Ok(ExitCode::from(
        u8::try_from(code).context("the command's exit code")?,
    ))
}

/// Runs the command in the background and prints the name of its container.
fn detach(
    settings: &Settings,
    task: &Task,
    wishes: Wishes,
    log: Option<&Path>,
) -> anyhow::Result<i32> {
    let manager = Manager::open(settings.clone())?;
    let fragment = manager.process_task_with(task, wishes)?;
    println!("{}", manager.detach(&fragment, log)?);
    Ok(0)
}

/// Whether it is a command, and not a path, that nobody has.
fn is_unknown(error: &anyhow::Error, command: &str) -> bool {
    let kind = super::kind(error);
    kind == Some(fragment::PlanErrorKind::NotFound) && !command.contains('/')
}

/// The likeliest package of the archive; none where there is no apt to ask.
fn package_of(command: &str) -> Option<String> {
    let providers = fragment_build::providers_of(command).ok()?;
    providers.into_iter().next().map(|one| one.package)
}

/// Where the report goes: the file named, and the proposal beside it; else the proposal alone, here.
fn request(file: Option<&Path>, command: &str) -> Request {
    let proposal = match file {
        Some(file) => file.with_extension("fragment.yaml"),
        None => {
            let name = Path::new(command).file_name().unwrap_or_default();
            Path::new(name).with_extension("fragment.yaml")
        }
    };
    Request {
        report: file.and_then(|file| std::path::absolute(file).ok()),
        proposal: std::path::absolute(proposal).ok(),
    }
}

/// Runs the command and tells what it opened and missed, on standard error.
fn observe(
    settings: &Settings,
    task: &Task,
    wishes: Wishes,
    request: Request,
) -> anyhow::Result<i32> {
    let Request {
        report: file,
        proposal,
    } = request.clone();
    let (code, report) = runner::observe(settings, task, wishes, request)?;
    match report {
        Ok(report) => {
            eprint!("{}", report.text());
            let proposal = proposal.filter(|_| report.proposal().is_some());
            for file in file.into_iter().chain(proposal) {
                if file.exists() {
                    eprintln!("  written    {}", file.display());
                } else {
                    eprintln!("fragment: {} could not be written", file.display());
                }
            }
        }
        Err(error) => eprintln!("fragment: {:#}", anyhow::Error::from(error)),
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::time;
    use std::time::Duration;

    #[test]
    fn times_have_units() {
        for (text, seconds) in [("30", 30.0), ("1.5s", 1.5), ("10m", 600.0), ("2h", 7200.0)] {
            assert_eq!(time(text), Ok(Duration::from_secs_f64(seconds)), "{text}");
        }
        for text in ["", "s", "soon", "-1", "0", "nan", "inf", "1e400"] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
