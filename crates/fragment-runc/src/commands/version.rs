//! `--version`

use std::process::ExitCode;

use crate::report;
use crate::runtime::SPEC_VERSION;

/// The form engines parse: name and version in the first line, the specification's version in a line of its own.
pub(crate) fn version() -> anyhow::Result<ExitCode> {
    let version = env!("CARGO_PKG_VERSION");
    report::print(&format!(
        "fragment-runc version {version}\nspec: {SPEC_VERSION}\nlibcontainer: 0.7.0 (rust)\nlibseccomp: static\n"
    ))?;
    Ok(ExitCode::SUCCESS)
}
