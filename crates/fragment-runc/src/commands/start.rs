//! `start`

use fragment::start::ExitCode;

use crate::arguments::IdArguments;
use crate::runtime::Runtime;

pub(crate) fn start(runtime: &Runtime, arguments: &IdArguments) -> anyhow::Result<ExitCode> {
    runtime.start(&arguments.id.parse()?)?;
    Ok(ExitCode::SUCCESS)
}
