//! `fragment doctor`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};

use crate::doctor::machine::Machine;
use crate::doctor::snippet::{Engine, Written};
use crate::doctor::{self, Level};
use crate::render;

/// Arguments of `fragment doctor`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Print JSON
    #[arg(long, conflicts_with = "write")]
    json: bool,
    /// Read the files of the machine whose root filesystem is here
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// Write the configuration that makes this engine know fragment-runc
    #[arg(long, value_name = "ENGINE")]
    write: Option<Engine>,
    /// Write it here instead of where the engine reads it; `-` prints it
    #[arg(long, value_name = "PATH", requires = "write")]
    to: Option<PathBuf>,
    /// Replace a file that somebody else wrote
    #[arg(long, requires = "write")]
    force: bool,
    /// The fragment-runc to write [default: beside this program, else on PATH]
    #[arg(long, value_name = "PATH", requires = "write")]
    runtime: Option<PathBuf>,
    /// Try what the kernel can do; `fragment doctor` calls itself so
    #[arg(long, hide = true, value_name = "DIR")]
    attempt: Option<PathBuf>,
}

/// Examines the machine, or writes a snippet.
pub(crate) fn run(store: Option<PathBuf>, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if let Some(store) = &arguments.attempt {
        return doctor::attempt::make(store);
    }
    let root = std::path::absolute(&arguments.root).context("find the absolute path of --root")?;
    let machine = Machine::new(root);
    if let Some(engine) = arguments.write {
        return write(&machine, engine, arguments);
    }
    let findings = doctor::examine(&machine, store);
    let worst = findings.iter().map(|finding| finding.level).max();
    if arguments.json {
        let document = serde_json::json!({ "level": worst, "findings": findings });
        println!("{}", serde_json::to_string_pretty(&document)?);
    } else {
        print!("{}", render::findings(&findings));
    }
    Ok(match worst {
        Some(Level::Problem) => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    })
}

fn write(machine: &Machine, engine: Engine, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let runtime = match &arguments.runtime {
        Some(path) => std::path::absolute(path).context("find the absolute path of --runtime")?,
        None => runtime()?,
    };
    let text = engine.text(machine, &runtime)?;
    let file = match &arguments.to {
        Some(file) => Some(file.clone()),
        None => engine.place(machine),
    };
    let Some(file) = file.filter(|file| file != Path::new("-")) else {
        print!("{text}");
        return Ok(ExitCode::SUCCESS);
    };
    let shown = file.display();
    match engine.write(&text, &file, arguments.force)? {
        Written::New => println!("wrote {shown}"),
        Written::Merged => println!("put fragment-runc into {shown}; the rest of it is as it was"),
        Written::Replaced => println!("replaced {shown}"),
        Written::Unchanged => println!("{shown} says so already"),
    }
    Ok(ExitCode::SUCCESS)
}

/// The runtime beside this program, else the one on PATH.
fn runtime() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("find this program")?;
    let beside = own.with_file_name("fragment-runc");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|directory| directory.join("fragment-runc"));
    let found = std::iter::once(beside)
        .chain(on_path)
        .find(|program| program.is_file());
    ensure!(
        found.is_some(),
        "fragment-runc is neither beside {} nor on PATH: name it with --runtime",
        own.display()
    );
    Ok(found.unwrap_or_default())
}
