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

/// Containers that hold only their program: the rest comes from shared components.
#[derive(Debug, Parser)]
#[command(name = "fragment", version, arg_required_else_help = true)]
struct Arguments {
    /// Component store [default: $FRAGMENT_STORE, else /var/lib/fragment]
    #[arg(long, global = true, value_name = "DIR")]
    store: Option<std::path::PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a command that need not exist anywhere but in the library
    Run(commands::run::Arguments),
    /// Print what would be composed, changing nothing
    Plan(commands::plan::Arguments),
    /// Print why each component would be there
    Explain(commands::explain::Arguments),
    /// Print what a container was composed of
    Inspect(commands::inspect::Arguments),
    /// Print what is in a plan or container: a software bill of materials (SPDX, CycloneDX)
    Sbom(commands::sbom::Arguments),
    /// Check kernel, library and engines, and tell engines of the runtime
    Doctor(commands::doctor::Arguments),
    /// Make images thin
    #[command(subcommand)]
    Image(commands::image::Command),
    /// Build and inspect the component library
    #[command(subcommand)]
    Library(commands::library::Command),
}

fn main() -> ExitCode {
    // `library build` runs containers too, each in a process of its own that is called with `run`
    let enters = std::env::args_os().any(|argument| argument == "run");
    let begun = fragment::launch::begin(enters).map_err(anyhow::Error::from);
    if let Err(error) = begun.and_then(|()| log::open()) {
        eprintln!("fragment: {error:#}");
        return ExitCode::FAILURE;
    }
    let arguments = Arguments::parse();
    run(arguments).unwrap_or_else(|error| {
        eprintln!("fragment: {error:#}");
        commands::exit_code(&error)
    })
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    // a mistake in the configuration is a finding of it
    if let Command::Doctor(doctor) = &arguments.command {
        return commands::doctor::run(arguments.store, doctor);
    }
    let mut settings = Settings::load()?;
    if let Some(store) = arguments.store {
        settings.store = store;
    }
    match arguments.command {
        Command::Doctor(_) => unreachable!("done above"),
        Command::Run(arguments) => commands::run::run(&settings, arguments),
        Command::Plan(arguments) => commands::plan::run(&settings, &arguments),
        Command::Explain(arguments) => commands::explain::run(&settings, &arguments),
        Command::Inspect(arguments) => commands::inspect::run(&settings, &arguments),
        Command::Sbom(arguments) => commands::sbom::run(&settings, &arguments),
        Command::Image(command) => commands::image::run(&settings, command),
        Command::Library(command) => commands::library::run(&settings, command),
    }
}
