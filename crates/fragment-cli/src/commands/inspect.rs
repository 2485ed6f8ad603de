//! `fragment inspect`.

use std::path::PathBuf;
use std::process::ExitCode;

use fragment::{Settings, inspect};

use crate::render;

/// Arguments of `fragment inspect`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The container, or the beginning of its name
    container: String,
    /// State directory of the runtime; without it, the container is found by the components it holds
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints what a container was composed of.
pub(crate) fn run(settings: &Settings, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let found = inspect::inspect(settings, &arguments.container, arguments.root.as_deref())?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&found)?);
    } else {
        print!("{}", render::inspection(&found));
    }
    Ok(ExitCode::SUCCESS)
}
