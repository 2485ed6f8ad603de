//! `pause`

use std::process::ExitCode;

use anyhow::bail;

use crate::arguments::IdArguments;
use crate::runtime::Runtime;

pub(crate) fn pause(_runtime: &Runtime, _arguments: &IdArguments) -> anyhow::Result<ExitCode> {
    bail!("pause is not supported yet");
}
