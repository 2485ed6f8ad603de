//! `fragment config`: the configuration in effect, and what is wrong with it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use fragment::control::effective::effective;
use fragment::control::{ControlError, environment, expectation};
use fragment::settings::Assignment;
use fragment::{ComponentName, Library, Settings};
use serde_json::json;

use crate::render;

/// What to do with the configuration.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Print every value in effect and where it was said
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Tell every mistake, and what the library does not have or is otherwise than expected
    Check {
        /// The file to read instead of the user's and the node's
        file: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Does it.
pub(crate) fn run(options: &[Assignment], command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Show { json } => show(&Settings::load_with(options)?, *json),
        Command::Check { file, json } => {
            let (settings, mistakes) = Settings::examine(file.as_deref(), options);
            check(&settings, &mistakes, *json)
        }
    }
}

fn show(settings: &Settings, json: bool) -> anyhow::Result<ExitCode> {
    let all = effective(settings);
    if json {
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        print!("{}", render::settings(&all));
    }
    Ok(ExitCode::SUCCESS)
}

fn check(settings: &Settings, mistakes: &[ControlError], json: bool) -> anyhow::Result<ExitCode> {
    let mut problems: Vec<String> = mistakes
        .iter()
        .map(|mistake| match std::error::Error::source(mistake) {
            Some(source) => format!("{mistake}: {source}"),
            None => mistake.to_string(),
        })
        .collect();
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for (name, meant) in environment::strange(names) {
        let advice = match meant {
            Some(meant) => format!("did you mean {meant}?"),
            None => "docs/configuration.md lists those that are read".to_owned(),
        };
        problems.push(format!("variable {name}: nobody reads it: {advice}"));
    }
    let mut notes = Vec::new();
    match Library::open(settings) {
        Ok(library) if library.store().is_none() => notes.push(format!(
            "there is no component library in {}: nothing is compared with one",
            settings.store.display()
        )),
        Ok(library) => {
            let components = library.components()?;
            let unmeasured = RefCell::new(BTreeSet::new());
            let measured = |name: &ComponentName| {
                let component = components.iter().find(|one| one.name == *name)?;
                let times = library.store()?.load_times(&component.diff_id);
                if times.is_none() {
                    unmeasured.borrow_mut().insert(name.clone());
                }
                Some(times?.last())
            };
            let unmet = expectation::unmet(settings, &components, measured);
            problems.extend(unmet.iter().map(ToString::to_string));
            notes.extend(unmeasured.into_inner().iter().map(|name| {
                format!("load_time of component `{name}` is compared with nothing: no load of it is known")
            }));
        }
        Err(error) => notes.push(format!(
            "nothing is compared with the library: {:#}",
            anyhow::Error::from(error)
        )),
    }
    if json {
        let document = json!({ "problems": problems, "notes": notes });
        println!("{}", serde_json::to_string_pretty(&document)?);
    } else {
        print!("{}", render::configuration(&problems, &notes));
    }
    Ok(match problems.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
