//! `state`

use fragment::start::ExitCode;

use crate::arguments::IdArguments;
use crate::report;
use crate::runtime::Runtime;

pub(crate) fn state(runtime: &Runtime, arguments: &IdArguments) -> anyhow::Result<ExitCode> {
    let state = runtime.state(&arguments.id.parse()?)?;
    report::print(&format!("{}\n", serde_json::to_string_pretty(&state)?))?;
    Ok(ExitCode::SUCCESS)
}
