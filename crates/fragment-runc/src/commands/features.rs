//! `features`

use fragment::start::ExitCode;

use crate::report;
use crate::runtime::features;

pub(crate) fn features() -> anyhow::Result<ExitCode> {
    report::print(&format!(
        "{}\n",
        serde_json::to_string_pretty(&features::document())?
    ))?;
    Ok(ExitCode::SUCCESS)
}
