//! The commands.

mod create;
mod delete;
mod exec;
mod features;
mod kill;
mod list;
mod ps;
mod run;
mod spec;
mod start;
mod state;
mod version;

use std::process::ExitCode;

use crate::arguments::{Arguments, Command};
use crate::runtime;

/// Does what was asked for.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    if arguments.global.version {
        return version::version();
    }
    let runtime = runtime::open(&arguments.global);
    // what does not differ from a runtime without composition
    let launch = runtime.launch();
    match arguments.command {
        Some(Command::Create(arguments)) => create::create(&runtime, arguments),
        Some(Command::Run(arguments)) => run::run(&runtime, arguments),
        Some(Command::Start(arguments)) => start::start(launch, &arguments),
        Some(Command::State(arguments)) => state::state(launch, &arguments),
        Some(Command::Kill(arguments)) => kill::kill(launch, &arguments),
        Some(Command::Delete(arguments)) => delete::delete(&runtime, &arguments),
        Some(Command::List(arguments)) => list::list(launch, &arguments),
        Some(Command::Exec(arguments)) => exec::exec(launch, arguments),
        Some(Command::Ps(arguments)) => ps::ps(launch, &arguments),
        Some(Command::Spec(arguments)) => spec::spec(&arguments),
        Some(Command::Features) => features::features(),
        None => anyhow::bail!("no command given; see --help"),
    }
}
