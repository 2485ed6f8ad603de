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

use fragment::start::ExitCode;

use crate::arguments::{Command, Global};
use crate::runtime;

pub(crate) use version::version;

/// Does what was asked for.
pub(crate) fn run(global: &Global, command: Command) -> anyhow::Result<ExitCode> {
    let _command = tracing::debug_span!("command").entered();
    let launch = runtime::open(global)?;
    match command {
        Command::Checkpoint(arguments) => {
            apart(|| checkpoint::checkpoint(&launch, global.criu.clone(), arguments))
        }
        Command::Create(arguments) => {
            apart(|| create::create(&runtime::composing(launch)?, arguments))
        }
        Command::Delete(arguments) => {
            apart(|| delete::delete(&runtime::removing(launch), &arguments))
        }
        Command::Events(arguments) => apart(|| events::events(&launch, &arguments)),
        Command::Exec(arguments) => apart(|| exec::exec(&launch, arguments)),
        Command::Features => apart(features::features),
        Command::Kill(arguments) => apart(|| kill::kill(&launch, &arguments)),
        Command::List(arguments) => apart(|| list::list(&launch, &arguments)),
        Command::Pause(arguments) => apart(|| pause::pause(&launch, &arguments)),
        Command::Ps(arguments) => apart(|| ps::ps(&launch, &arguments)),
        Command::Restore(arguments) => {
            apart(|| restore::restore(&launch, global.criu.clone(), arguments))
        }
        Command::Resume(arguments) => apart(|| resume::resume(&launch, &arguments)),
        Command::Run(arguments) => apart(|| run::run(&runtime::composing(launch)?, arguments)),
        Command::Spec(arguments) => apart(|| spec::spec(&arguments)),
        Command::Start(arguments) => apart(|| start::start(&launch, &arguments)),
        Command::State(arguments) => apart(|| state::state(&launch, &arguments)),
        Command::Update(arguments) => apart(|| update::update(&launch, &arguments)),
    }
}

/// Keeps each command a function of its own. In one of them all, a command has the pages of the others mapped as well.
#[inline(never)]
fn apart<T>(command: impl FnOnce() -> T) -> T {
    command()
}
