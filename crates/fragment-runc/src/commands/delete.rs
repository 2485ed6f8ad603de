//! `delete`

use std::process::ExitCode;

use crate::arguments::DeleteArguments;
use crate::runtime::{self, Runtime};

pub(crate) fn delete(runtime: &Runtime, arguments: &DeleteArguments) -> anyhow::Result<ExitCode> {
    runtime::delete(runtime, &arguments.id.parse()?, arguments.force)?;
    Ok(ExitCode::SUCCESS)
}
