//! `fragment plan`, and the subject that `plan` and `explain` share.

use std::path::PathBuf;
use std::process::ExitCode;

use fragment::{Compose, Library, Plan, Policy, Settings, Task, planner};

use crate::render;

/// Arguments of `fragment plan`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    subject: Subject,
    /// Print the plan document as JSON
    #[arg(long)]
    json: bool,
}

/// What a plan is made for: a bundle, or a command without one.
#[derive(Debug, clap::Args)]
pub(crate) struct Subject {
    /// OCI bundle: the directory of its config.json
    #[arg(short, long, value_name = "DIR", conflicts_with = "command")]
    bundle: Option<PathBuf>,
    #[command(flatten)]
    choice: Choice,
    /// Environment variable of the command
    #[arg(short, long, value_name = "NAME=VALUE", conflicts_with = "bundle")]
    env: Vec<String>,
    /// Working directory of the command
    #[arg(short, long, value_name = "DIR", conflicts_with = "bundle")]
    workdir: Option<String>,
    /// The command and its arguments
    #[arg(
        last = true,
        required_unless_present = "bundle",
        value_name = "COMMAND"
    )]
    command: Vec<String>,
}

/// What the user asks of the composition.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Choice {
    /// Compose this component too (name or alias; may be repeated)
    #[arg(long = "component", value_name = "NAME")]
    components: Vec<fragment::ComponentName>,
    /// Do not compose this component
    #[arg(long, value_name = "NAME")]
    exclude: Vec<fragment::ComponentName>,
    /// Compose what grants this capability
    #[arg(long, value_name = "CAPABILITY")]
    require: Vec<fragment::Capability>,
    /// Compose even where nothing is missing
    #[arg(long)]
    always: bool,
}

impl Choice {
    /// Adds the flags to what the bundle's annotations say.
    pub(crate) fn apply(&self, policy: &mut Policy) {
        policy.components.extend(self.components.iter().cloned());
        policy.exclude.extend(self.exclude.iter().cloned());
        policy.require.extend(self.require.iter().cloned());
        if self.always {
            policy.compose = Compose::Always;
        }
    }
}

impl Subject {
    /// Makes the plan.
    pub(crate) fn plan(&self, settings: &Settings) -> anyhow::Result<Plan> {
        let library = Library::open(settings)?;
        if let Some(bundle) = &self.bundle {
            return Ok(planner::plan_bundle(&library, bundle, |policy| {
                self.choice.apply(policy);
            })?);
        }
        let mut task = Task::new(self.command.iter().cloned())?;
        for variable in &self.env {
            task = task.env(variable)?;
        }
        if let Some(workdir) = &self.workdir {
            task = task.workdir(workdir)?;
        }
        let mut policy = Policy::default();
        self.choice.apply(&mut policy);
        Ok(planner::plan_task(&library, &task, policy)?)
    }
}

/// Prints the plan.
pub(crate) fn run(settings: &Settings, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let plan = arguments.subject.plan(settings)?;
    if arguments.json {
        let document = serde_json::json!({ "id": plan.id(), "plan": plan });
        println!("{}", serde_json::to_string_pretty(&document)?);
    } else {
        print!("{}", render::plan(&plan));
    }
    Ok(ExitCode::SUCCESS)
}
