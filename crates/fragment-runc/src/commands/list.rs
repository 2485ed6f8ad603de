//! `list`

use fragment::start::ExitCode;

use crate::arguments::{Format, ListArguments};
use crate::report;
use crate::runtime::{ContainerState, Runtime};

pub(crate) fn list(runtime: &Runtime, arguments: &ListArguments) -> anyhow::Result<ExitCode> {
    let states = runtime.list()?;
    let text = if arguments.quiet {
        states
            .iter()
            .map(|state| format!("{}\n", state.id))
            .collect()
    } else {
        match arguments.format {
            // runc prints null for none, and engines take either
            Format::Json if states.is_empty() => "null\n".to_owned(),
            Format::Json => format!("{}\n", serde_json::to_string(&states)?),
            Format::Table => table(&states),
        }
    };
    report::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn table(states: &[ContainerState]) -> String {
    let header = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let rows = states.iter().map(|state| {
        [
            state.id.clone(),
            state.pid.to_string(),
            state.status.to_string(),
            state.bundle.display().to_string(),
            state.created.clone(),
            state.owner.clone(),
        ]
    });
    let rows: Vec<[String; 6]> = std::iter::once(header).chain(rows).collect();
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
            .max(8)
    };
    let widths: Vec<usize> = (0..6).map(width).collect();
    let line = |row: &[String; 6]| {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:width$}"))
            .collect();
        format!("{}\n", cells.join("    ").trim_end())
    };
    rows.iter().map(line).collect()
}
