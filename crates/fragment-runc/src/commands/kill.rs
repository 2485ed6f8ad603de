//! `kill`

use fragment::start::ExitCode;

use crate::arguments::KillArguments;
use crate::runtime::{Runtime, SignalNumber};

pub(crate) fn kill(runtime: &Runtime, arguments: &KillArguments) -> anyhow::Result<ExitCode> {
    let signal: SignalNumber = arguments.signal.parse()?;
    runtime.kill(&arguments.id.parse()?, signal, arguments.all)?;
    Ok(ExitCode::SUCCESS)
}
