//! `fragment plan`, and the subject that `plan` and `explain` share.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use fragment::explain::capability;
use fragment::planner::{self, Planned};
use fragment::{Compose, Library, Lock, Plan, Settings, Task, Wishes};

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
    /// Compose for capabilities on evidence of this grade or a stronger one [default: import]: declared, argument, import, library-import, string
    #[arg(long, value_name = "GRADE")]
    min_grade: Option<fragment::Grade>,
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
            min_grade: self.min_grade,
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
        Ok(self.planned(settings, &library)?.plan)
    }

    /// Makes the plan, for those who ask why.
    pub(crate) fn planned(
        &self,
        settings: &Settings,
        library: &Library,
    ) -> anyhow::Result<Planned> {
        let wishes = self.choice.wishes();
        if let Some(bundle) = &self.bundle {
            return Ok(planner::bundle(settings, library, bundle, wishes)?);
        }
        let mut task = Task::new(self.command.iter().cloned())?;
        for variable in &self.env {
            task = task.env(variable)?;
        }
        if let Some(workdir) = &self.workdir {
            task = task.workdir(workdir)?;
        }
        Ok(planner::task(settings, library, &task, wishes)?)
    }

    /// The same wishes for another bundle.
    pub(crate) fn of_bundle(&self, bundle: &Path) -> Self {
        Self {
            bundle: Some(bundle.to_owned()),
            choice: self.choice.clone(),
            env: Vec::new(),
            workdir: None,
            command: Vec::new(),
        }
    }

    /// The same wishes, environment and working directory for another command.
    pub(crate) fn of_command(&self, command: Vec<String>) -> Self {
        Self {
            bundle: None,
            choice: self.choice.clone(),
            env: self.env.clone(),
            workdir: self.workdir.clone(),
            command,
        }
    }
}

/// Prints the plan.
pub(crate) fn run(settings: &Settings, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let library = Library::open(settings)?;
    let plan = arguments.subject.planned(settings, &library)?.plan;
    if arguments.lock {
        println!("# fragment {} of {}", plan.id(), plan.entry.path);
        print!("{}", Lock::of(&plan).to_yaml());
    } else if arguments.json {
        let document = serde_json::json!({ "id": plan.id(), "plan": plan });
        println!("{}", serde_json::to_string_pretty(&document)?);
    } else {
        let needed = capability::capabilities(&plan, &library)?;
        print!(
            "{}{}",
            render::plan(&plan),
            render::explain::capabilities(&needed)
        );
    }
    Ok(ExitCode::SUCCESS)
}
