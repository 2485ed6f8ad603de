//! `fragment plan`, and the subject that `plan` and `explain` share.

use std::path::PathBuf;
use std::process::ExitCode;

use fragment::{Compose, Library, Lock, Plan, Settings, Task, Wishes, planner};

use crate::render;

/// Arguments of `fragment plan`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    subject: Subject,
    /// Print the plan document as JSON
    #[arg(long)]
    json: bool,
    /// Print the lock of the plan, as a /.fragment.yaml of an image
    #[arg(long, conflicts_with = "json")]
    lock: bool,
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
    /// The flags, stronger than everything else.
    pub(crate) fn wishes(&self) -> Wishes {
        Wishes {
            compose: self.always.then_some(Compose::Always),
            components: self.components.clone(),
            exclude: self.exclude.iter().cloned().collect(),
            require: self.require.iter().cloned().collect(),
            lock: None,
        }
    }
}

impl Subject {
    /// The bundle, if it is one.
    pub(crate) fn bundle(&self) -> Option<&std::path::Path> {
        self.bundle.as_deref()
    }

    /// Makes the plan.
    pub(crate) fn plan(&self, settings: &Settings) -> anyhow::Result<Plan> {
        let library = Library::open(settings)?;
        if let Some(bundle) = &self.bundle {
            let wishes = self.choice.wishes();
            return Ok(planner::plan_bundle(settings, &library, bundle, wishes)?);
        }
        let mut task = Task::new(self.command.iter().cloned())?;
        for variable in &self.env {
            task = task.env(variable)?;
        }
        if let Some(workdir) = &self.workdir {
            task = task.workdir(workdir)?;
        }
        let wishes = self.choice.wishes();
        Ok(planner::plan_task(settings, &library, &task, wishes)?)
    }
}

/// Prints the plan.
pub(crate) fn run(settings: &Settings, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let plan = arguments.subject.plan(settings)?;
    if arguments.lock {
        println!("# fragment {} of {}", plan.id(), plan.entry.path);
        print!("{}", Lock::of(&plan).to_yaml());
    } else if arguments.json {
        let document = serde_json::json!({ "id": plan.id(), "plan": plan });
        println!("{}", serde_json::to_string_pretty(&document)?);
    } else {
        print!("{}", render::plan(&plan));
    }
    Ok(ExitCode::SUCCESS)
}
