//! `fragment explain`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use fragment::explain::diff::{self, Difference};
use fragment::explain::graph::Graph;
use fragment::explain::{Document, dot, path, svg, why_not};
use fragment::{Library, Plan, Settings};

use super::plan::Subject;
use crate::render;

/// Arguments of `fragment explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    subject: Subject,
    /// Why this component (or alias, or package) is not in the plan
    #[arg(long, value_name = "COMPONENT", group = "question")]
    why_not: Option<String>,
    /// Which layer this path of the container comes from, what it hides and who else has it
    #[arg(long, value_name = "FILE", group = "question")]
    path: Option<String>,
    /// What is different from this plan: a file that `fragment plan --json` made, or another bundle
    #[arg(long, value_name = "PLAN|BUNDLE", group = "question")]
    diff: Option<PathBuf>,
    /// What is different from the plan of this command, its words separated by spaces
    #[arg(long, value_name = "COMMAND", group = "question")]
    diff_command: Option<String>,
    /// Print the graph of components for graphviz
    #[arg(long, group = "question", conflicts_with = "json")]
    dot: bool,
    /// Print a picture of the graph
    #[arg(long, group = "question", conflicts_with = "json")]
    svg: bool,
    /// Print JSON (docs/schema/explain.json)
    #[arg(long)]
    json: bool,
}

/// Prints why the plan is as it is.
pub(crate) fn run(settings: &Settings, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let library = Library::open(settings)?;
    let planned = arguments.subject.planned(settings, &library)?;
    let plan = &planned.plan;
    if arguments.dot || arguments.svg {
        let graph = Graph::of(plan);
        let text = if arguments.dot {
            dot::dot(&graph)
        } else {
            svg::svg(&graph)
        };
        print!("{text}");
        return Ok(ExitCode::SUCCESS);
    }
    let mut document = Document::of(plan, &library)?;
    if let Some(name) = &arguments.why_not {
        document.why_not = Some(why_not::why_not(&planned, &library, name)?);
    }
    if let Some(file) = &arguments.path {
        document.path = Some(path::provenance(plan, &planned.root()?, &library, file)?);
    }
    if let Some(old) = arguments.other(settings, &library)? {
        document.diff = Some(Difference::between(&old, plan));
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&document)?);
    } else {
        print!("{}", render::explain::document(plan, &document));
    }
    Ok(ExitCode::SUCCESS)
}

impl Arguments {
    /// The plan to compare with: what is explained is what came of it.
    fn other(&self, settings: &Settings, library: &Library) -> anyhow::Result<Option<Plan>> {
        if let Some(words) = &self.diff_command {
            let words = words.split_whitespace().map(str::to_owned).collect();
            let subject = self.subject.of_command(words);
            return Ok(Some(subject.planned(settings, library)?.plan));
        }
        let Some(other) = &self.diff else {
            return Ok(None);
        };
        if other.is_dir() {
            let subject = self.subject.of_bundle(other);
            return Ok(Some(subject.planned(settings, library)?.plan));
        }
        Ok(Some(saved(other)?))
    }
}

fn saved(path: &Path) -> anyhow::Result<Plan> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("read the plan {}", path.display()))?;
    diff::read(&text).with_context(|| format!("{}", path.display()))
}
