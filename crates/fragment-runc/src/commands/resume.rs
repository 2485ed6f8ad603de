//! `resume`

use std::process::ExitCode;

use anyhow::bail;

use crate::arguments::IdArguments;
use crate::runtime::Runtime;

pub(crate) fn resume(_runtime: &Runtime, _arguments: &IdArguments) -> anyhow::Result<ExitCode> {
    bail!("resume is not supported yet");
}
