//! `pause`

use fragment::start::ExitCode;

use crate::arguments::IdArguments;
use crate::runtime::Runtime;

pub(crate) fn pause(runtime: &Runtime, arguments: &IdArguments) -> anyhow::Result<ExitCode> {
    runtime.pause(&arguments.id.parse()?)?;
    Ok(ExitCode::SUCCESS)
}
