//! The commands.

mod checkpoint;
mod create;
mod delete;
mod events;
mod exec;
mod features;
mod kill;
mod list;
mod pause;
mod ps;
mod restore;
mod resume;
mod run;
mod spec;
mod start;
mod state;
mod update;
mod version;

use std::process::ExitCode;

use crate::arguments::{Command, Global};
use crate::runtime;

pub(crate) use version::version;

/// Does what was asked for.
pub(crate) fn run(global: &Global, command: Command) -> anyhow::Result<ExitCode> {
    let _command = tracing::debug_span!("command").entered();
    let launch = runtime::open(global)?;
    match command {
        Command::Checkpoint(arguments) => {
            checkpoint::checkpoint(&launch, global.criu.clone(), arguments)
        }
        Command::Create(arguments) => create::create(&runtime::composing(launch)?, arguments),
        Command::Delete(arguments) => delete::delete(&runtime::removing(launch), &arguments),
        Command::Events(arguments) => events::events(&launch, &arguments),
        Command::Exec(arguments) => exec::exec(&launch, arguments),
        Command::Features => features::features(),
        Command::Kill(arguments) => kill::kill(&launch, &arguments),
        Command::List(arguments) => list::list(&launch, &arguments),
        Command::Pause(arguments) => pause::pause(&launch, &arguments),
        Command::Ps(arguments) => ps::ps(&launch, &arguments),
        Command::Restore(arguments) => restore::restore(&launch, global.criu.clone(), arguments),
        Command::Resume(arguments) => resume::resume(&launch, &arguments),
        Command::Run(arguments) => run::run(&runtime::composing(launch)?, arguments),
        Command::Spec(arguments) => spec::spec(&arguments),
        Command::Start(arguments) => start::start(&launch, &arguments),
        Command::State(arguments) => state::state(&launch, &arguments),
        Command::Update(arguments) => update::update(&launch, &arguments),
    }
}
