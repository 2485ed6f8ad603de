//! `--version`

use fragment::start::ExitCode;

use crate::report;
use crate::runtime::SPEC_VERSION;

/// The form engines parse: name and version in the first line, then the commit, then the specification's version.
pub(crate) fn version() -> anyhow::Result<ExitCode> {
    let version = env!("CARGO_PKG_VERSION");
    // set by the build of a release
    let commit = option_env!("FRAGMENT_COMMIT").unwrap_or("unknown");
    report::print(&format!(
        "fragment-runc version {version}\ncommit: {commit}\nspec: {SPEC_VERSION}\nlibcontainer: 0.7.0 (rust)\nlibseccomp: static\n"
    ))?;
    Ok(ExitCode::SUCCESS)
}
