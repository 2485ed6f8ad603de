//! `delete`

use fragment::start::ExitCode;

use crate::arguments::DeleteArguments;

pub(crate) fn delete(
    runtime: &fragment::Runtime,
    arguments: &DeleteArguments,
) -> anyhow::Result<ExitCode> {
    runtime.delete(&arguments.id.parse()?, arguments.force)?;
    Ok(ExitCode::SUCCESS)
}
