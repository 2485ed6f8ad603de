//! `fragment strategy`: classes of tasks, and the components that they need on this node.

use std::process::ExitCode;

use anyhow::Context as _;
use fragment::store::Load;
use fragment::{Manager, Settings, Task, Wishes, runner};

/// What to do with strategies.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Show the classes of the configuration and the tasks that this node has
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Give this node a task of a class: its components are unpacked, and stay until it is released
    Assign {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// The class
        class: String,
        /// A name for the task
        task: String,
    },
    /// Take a task from this node
    Release {
        /// Its name
        task: String,
    },
    /// Run a command with the components of a class, assigned while it runs
    Run {
        /// The class
        class: String,
        /// The command and its arguments
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<String>,
    },
}

/// Does it.
pub(crate) fn run(settings: &Settings, command: Command) -> anyhow::Result<ExitCode> {
    let manager = Manager::open(settings.clone())?;
    match command {
        Command::List { json } => list(settings, &manager, json),
        Command::Assign { json, class, task } => {
            let (assignment, loads) = manager.assign(&class, &task)?;
            if json {
                let document = serde_json::json!({ "task": assignment, "loads": loads });
                println!("{}", serde_json::to_string_pretty(&document)?);
                return Ok(ExitCode::SUCCESS);
            }
            let unpacked = loads
                .iter()
                .filter(|load| matches!(load, Load::Unpacked { .. }));
            println!(
                "{task} has {} components, {} of them unpacked now",
                assignment.components.len(),
                unpacked.count()
            );
            Ok(ExitCode::SUCCESS)
        }
        Command::Release { task } => {
            anyhow::ensure!(
                manager.release(&task)?,
                "no task `{task}` is assigned to this node: see `fragment strategy list`"
            );
            Ok(ExitCode::SUCCESS)
        }
        Command::Run { class, command } => run_one(settings, &manager, &class, command),
    }
}

fn list(settings: &Settings, manager: &Manager, json: bool) -> anyhow::Result<ExitCode> {
    let assignments = manager.assignments()?;
    let classes: std::collections::BTreeMap<_, _> = settings
        .life
        .strategies
        .iter()
        .map(|(class, strategy)| (class, &strategy.components))
        .collect();
    if json {
        let all = serde_json::json!({"classes": classes, "tasks": assignments});
        println!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(ExitCode::SUCCESS);
    }
    for (class, components) in classes {
        let names: Vec<_> = components.iter().map(ToString::to_string).collect();
        println!("{class:24} {}", names.join(" "));
        for assignment in assignments.iter().filter(|one| one.class == *class) {
            println!(
                "  {:22} {} components",
                assignment.task,
                assignment.components.len()
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn run_one(
    settings: &Settings,
    manager: &Manager,
    class: &str,
    command: Vec<String>,
) -> anyhow::Result<ExitCode> {
    let task = format!("run-{}", std::process::id());
    let command = Task::new(command)?;
    manager.assign(class, &task)?;
    let components = settings
        .life
        .strategies
        .get(class)
        .map(|one| one.components.clone());
    let wishes = Wishes {
        components: components.unwrap_or_default(),
        ..Wishes::default()
    };
    let ended = runner::run(settings, &command, wishes);
    manager.release(&task)?;
    let code = u8::try_from(ended?).context("the command's exit code")?;
    Ok(ExitCode::from(code))
}
