//! `ps`

use std::process;

use anyhow::{Context as _, bail};
use fragment::start::ExitCode;

use crate::arguments::{Format, PsArguments};
use crate::report;
use crate::runtime::Runtime;

pub(crate) fn ps(runtime: &Runtime, arguments: &PsArguments) -> anyhow::Result<ExitCode> {
    let pids = runtime.ps(&arguments.id.parse()?)?;
    let text = match arguments.format {
        Format::Json => format!("{}\n", serde_json::to_string(&pids)?),
        Format::Table => table(&pids, &arguments.options)?,
    };
    report::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// The host's ps, cut down to the container's processes: it knows columns better than we ever would.
fn table(pids: &[i32], options: &[String]) -> anyhow::Result<String> {
    let default = ["-ef".to_owned()];
    let options = if options.is_empty() {
        &default
    } else {
        options
    };
    let output = process::Command::new("ps")
        .args(options)
        .output()
        .context("run ps of the host; without it use --format json")?;
    if !output.status.success() {
        bail!("ps: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    let column = header
        .split_whitespace()
        .position(|name| name == "PID")
        .context("the output of ps has no column PID; choose options that show it")?;
    let ours = lines.filter(|line| {
        let pid = line
            .split_whitespace()
            .nth(column)
            .and_then(|pid| pid.parse().ok());
        pid.is_some_and(|pid: i32| pids.contains(&pid))
    });
    Ok(std::iter::once(header)
        .chain(ours)
        .map(|line| format!("{line}\n"))
        .collect())
}
