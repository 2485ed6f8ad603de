//! `events`

use std::process::ExitCode;

use anyhow::bail;

use crate::arguments::EventsArguments;
use crate::runtime::Runtime;

pub(crate) fn events(_runtime: &Runtime, _arguments: &EventsArguments) -> anyhow::Result<ExitCode> {
    bail!("events is not supported yet");
}
