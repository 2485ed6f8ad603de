//! `restore`

use std::process::ExitCode;

use anyhow::bail;

use crate::arguments::RestoreArguments;

pub(crate) fn restore(
    _runtime: &fragment::Runtime,
    _arguments: &RestoreArguments,
) -> anyhow::Result<ExitCode> {
    bail!("restore is not supported yet");
}
