//! `fragment`: plan, explain and run what a command or bundle needs, and keep the component library.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool prints"
)]

mod check;
mod commands;
mod doctor;
mod log;
mod progress;
mod render;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use fragment::Settings;
use fragment::settings::{Assignment, LogLevel};
use fragment::trace::Moment;

/// Containers that hold only their program: the rest comes from shared components.
#[derive(Debug, Parser)]
#[command(name = "fragment", version, arg_required_else_help = true)]
struct Arguments {
    /// Component store [default: $FRAGMENT_STORE, else /var/lib/fragment]
    #[arg(long, global = true, value_name = "DIR")]
    store: Option<std::path::PathBuf>,
    /// Set a key of fragment.yaml (may be repeated); see `fragment config show`
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = assignment)]
    set: Vec<Assignment>,
    /// Least level that is logged: error, warning, info, debug or trace [default: $PHANTOM_FRAGMENT_LOG_LEVEL, else warning]
    #[arg(long, global = true, value_name = "LEVEL", value_parser = str::parse::<LogLevel>)]
    log_level: Option<LogLevel>,
    /// Log each step, libcontainer's included
    #[arg(long, global = true)]
    debug: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a command that need not exist anywhere but in the library
    Run(commands::run::Arguments),
    /// Make the fragments of many tasks, and run them: one JSON document a line
    Batch(commands::batch::Arguments),
    /// Print what would be composed, changing nothing
    Plan(commands::plan::Arguments),
    /// Print why each component would be there
    Explain(commands::explain::Arguments),
    /// Print what a container was composed of
    Inspect(commands::inspect::Arguments),
    /// Print what is in a plan or container: a software bill of materials (SPDX, CycloneDX)
    Sbom(commands::sbom::Arguments),
    /// Classes of tasks and the components they need: loaded when a task is assigned, let go when it is done
    #[command(subcommand)]
    Strategy(commands::strategy::Command),
    /// Print what was done on this node since the machine started
    Metrics(commands::metrics::Arguments),
    /// Print what this node has
    System(commands::system::Arguments),
    /// Check kernel, library and engines, and tell engines of the runtime
    Doctor(commands::doctor::Arguments),
    /// Show and check the configuration
    #[command(subcommand)]
    Config(commands::config::Command),
    /// Make images thin
    #[command(subcommand)]
    Image(commands::image::Command),
    /// Build and inspect the component library
    #[command(subcommand)]
    Library(commands::library::Command),
}

/// `KEY=VALUE`.
fn assignment(text: &str) -> Result<Assignment, String> {
    let (key, value) = text
        .split_once('=')
        .ok_or("give a key and a value, as cache.size=50")?;
    Ok(Assignment {
        option: "--set".to_owned(),
        key: key.to_owned(),
        value: value.into(),
    })
}

impl Arguments {
    /// What the options set.
    fn assignments(&self) -> Vec<Assignment> {
        let said = |option: &str, key: &str, value: std::ffi::OsString| Assignment {
            option: option.to_owned(),
            key: key.to_owned(),
            value,
        };
        let store = self.store.as_ref();
        let store = store.map(|store| said("--store", "store", store.into()));
        let level = self.log_level;
        let level = level.map(|level| said("--log-level", "log_level", level.to_string().into()));
        // a level on the command line is stronger than a `debug` elsewhere
        let debug = match (self.debug, self.log_level) {
            (true, _) => Some(said("--debug", "debug", "true".into())),
            (false, Some(_)) => Some(said("--log-level", "debug", "false".into())),
            (false, None) => None,
        };
        let all = self.set.iter().cloned();
        all.chain(store).chain(level).chain(debug).collect()
    }
}

fn main() -> ExitCode {
    let began = Moment::now();
    // `library build` runs containers too, each in a process of its own that is called with `run`
    let enters = std::env::args_os().any(|argument| argument == "run");
    if let Err(error) = fragment::begin(enters) {
        eprintln!("fragment: {:#}", anyhow::Error::from(error));
        return ExitCode::FAILURE;
    }
    let arguments = Arguments::parse();
    run(arguments, began).unwrap_or_else(|error| {
        eprintln!("fragment: {error:#}");
        commands::exit_code(&error)
    })
}

fn run(arguments: Arguments, began: Moment) -> anyhow::Result<ExitCode> {
    let options = arguments.assignments();
    let (settings, mistakes) = Settings::examine(None, &options);
    log::open(settings.logged(), settings.trace.as_deref(), began)?;
    let _command = tracing::debug_span!("command").entered();
    match &arguments.command {
        // a mistake in the configuration is a finding of these
        Command::Doctor(doctor) => return commands::doctor::run(arguments.store, doctor),
        Command::Config(command) => return commands::config::run(&options, command),
        _ => {}
    }
    if let Some(mistake) = mistakes.into_iter().next() {
        return Err(mistake.into());
    }
    match arguments.command {
        Command::Doctor(_) | Command::Config(_) => unreachable!("done above"),
        Command::Run(arguments) => commands::run::run(&settings, arguments),
        Command::Batch(arguments) => commands::batch::run(&settings, &arguments),
        Command::Strategy(command) => commands::strategy::run(&settings, command),
        Command::Metrics(arguments) => commands::metrics::run(&settings, &arguments),
        Command::System(arguments) => commands::system::run(&settings, &arguments),
        Command::Plan(arguments) => commands::plan::run(&settings, &arguments),
        Command::Explain(arguments) => commands::explain::run(&settings, &arguments),
        Command::Inspect(arguments) => commands::inspect::run(&settings, &arguments),
        Command::Sbom(arguments) => commands::sbom::run(&settings, &arguments),
        Command::Image(command) => commands::image::run(&settings, command),
        Command::Library(command) => commands::library::run(&settings, command),
    }
}
