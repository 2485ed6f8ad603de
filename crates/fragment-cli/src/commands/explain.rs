//! `fragment explain`.

use std::process::ExitCode;

use fragment::{Settings, explain};

use super::plan::Subject;
use crate::render;

/// Arguments of `fragment explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    subject: Subject,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints the chain of evidence of every component.
pub(crate) fn run(settings: &Settings, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let plan = arguments.subject.plan(settings)?;
    let explanations = explain::explain(&plan);
    if arguments.json {
        let document = serde_json::json!({ "id": plan.id(), "components": explanations });
        println!("{}", serde_json::to_string_pretty(&document)?);
    } else {
        print!("{}", render::explanations(&plan, &explanations));
    }
    Ok(ExitCode::SUCCESS)
}
