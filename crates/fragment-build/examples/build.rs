//! Builds components: `build RECIPES OUTPUT [NAME…]`.
//!
//! The working directory is `OUTPUT.work` beside the output unless `FRAGMENT_WORK` names another one; `FRAGMENT_REBUILD=1`
//! builds what is unchanged too, `FRAGMENT_REFRESH=1` makes the clean root afresh.
#![allow(clippy::print_stderr, reason = "it tells a person what it does")]

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use fragment_build::{Builder, Event, Library, Options, Progress};

struct Lines(Instant);

impl Progress for Lines {
    fn event(&self, event: &Event<'_>) {
        let at = self.0.elapsed().as_secs_f64();
        match event {
            Event::BaseStarted => eprintln!("{at:7.1}  clean root: making"),
            Event::BaseFinished => eprintln!("{at:7.1}  clean root: ready"),
            Event::Phase { component, phase } => {
                eprintln!("{at:7.1}  {component}: {}", phase.as_str());
            }
            Event::Finished {
                component,
                size,
                reused,
            } => {
                let how = if *reused { "unchanged" } else { "built" };
                eprintln!(
                    "{at:7.1}  {component}: {how}, {} bytes stored, {} plain",
                    size.stored, size.plain
                );
            }
            _ => {}
        }
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("build: {error}");
            let mut cause = error.source();
            while let Some(source) = cause {
                eprint!(": {source}");
                cause = source.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [recipes, output, names @ ..] = &arguments[..] else {
        return Err("usage: build RECIPES OUTPUT [NAME…]".into());
    };
    let set = |name| std::env::var_os(name).is_some_and(|v| v == "1");
    let work = std::env::var_os("FRAGMENT_WORK").map_or_else(
        || PathBuf::from(format!("{}.work", output.trim_end_matches('/'))),
        PathBuf::from,
    );
    let options = Options {
        output: output.into(),
        jobs: 2,
        refresh: set("FRAGMENT_REFRESH"),
        rebuild: set("FRAGMENT_REBUILD"),
    };
    let library = Library::load(recipes.as_ref())?;
    let mut builder = Builder::new(library, &work, options)?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    builder.build(&names, &Lines(Instant::now()), &mut |_| Ok(()))?;
    Ok(())
}
