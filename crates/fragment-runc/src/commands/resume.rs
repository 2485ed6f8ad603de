//! `resume`

use fragment::start::ExitCode;

use crate::arguments::IdArguments;
use crate::runtime::Runtime;

pub(crate) fn resume(runtime: &Runtime, arguments: &IdArguments) -> anyhow::Result<ExitCode> {
    runtime.resume(&arguments.id.parse()?)?;
    Ok(ExitCode::SUCCESS)
}
