//! `update`

use std::process::ExitCode;

use anyhow::bail;

use crate::arguments::UpdateArguments;
use crate::runtime::Runtime;

pub(crate) fn update(_runtime: &Runtime, _arguments: &UpdateArguments) -> anyhow::Result<ExitCode> {
    bail!("update is not supported yet");
}
