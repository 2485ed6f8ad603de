//! `checkpoint`

use std::process::ExitCode;

use anyhow::bail;

use crate::arguments::CheckpointArguments;
use crate::runtime::Runtime;

pub(crate) fn checkpoint(
    _runtime: &Runtime,
    _arguments: &CheckpointArguments,
) -> anyhow::Result<ExitCode> {
    bail!("checkpoint is not supported yet");
}
