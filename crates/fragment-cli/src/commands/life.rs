//! `fragment library load | unload | status | gc | repair`: what of the library is on this node's disk and in its memory.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use fragment::life::{self, Status};
use fragment::store::{LayoutSource, Load, LoadOptions, Source, Store};
use fragment::{ComponentName, Manager, Settings};

use crate::render;

/// Arguments of `fragment library load`.
#[derive(Debug, clap::Args)]
pub(crate) struct Loading {
    /// Take layers that the library lacks from this store or exported layout (may be repeated)
    #[arg(long, value_name = "DIR")]
    from: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Components [default: those that the configuration preloads]
    names: Vec<ComponentName>,
}

/// Arguments of `fragment library repair`.
#[derive(Debug, clap::Args)]
pub(crate) struct Repair {
    /// Take damaged layers from this store or exported layout (may be repeated)
    #[arg(long, value_name = "DIR")]
    from: Vec<PathBuf>,
    /// Components [default: every damaged one]
    names: Vec<ComponentName>,
}

fn sources(directories: &[PathBuf]) -> anyhow::Result<Vec<LayoutSource>> {
    for directory in directories {
        // a name that leads nowhere would otherwise be a source that has nothing
        Store::open(directory)?;
    }
    Ok(directories.iter().map(LayoutSource::new).collect())
}

fn references(sources: &[LayoutSource]) -> Vec<&dyn Source> {
    sources.iter().map(|source| source as &dyn Source).collect()
}

/// Unpacks components and reads them into memory.
pub(crate) fn load(settings: &Settings, arguments: &Loading) -> anyhow::Result<ExitCode> {
    let sources = sources(&arguments.from)?;
    let names = match arguments.names.as_slice() {
        [] => settings.life.preloaded().into_iter().collect(),
        names => names.to_vec(),
    };
    if names.is_empty() {
        bail!("name components, or list them as `preload.components` in the configuration");
    }
    let manager = Manager::open(settings.clone())?;
    let loads = manager.preload_from(&names, &references(&sources))?;
    if arguments.json {
        let named: std::collections::BTreeMap<_, _> = names.iter().zip(&loads).collect();
        println!("{}", serde_json::to_string_pretty(&named)?);
        return Ok(ExitCode::SUCCESS);
    }
    for (name, load) in names.iter().zip(loads) {
        match load {
            Load::Present => println!("{name:24} was loaded"),
            Load::Awaited => println!("{name:24} was loaded by another process meanwhile"),
            Load::Unpacked {
                bytes,
                time,
                fetched,
            } => println!(
                "{name:24} {} unpacked in {:.1} ms{}",
                render::bytes(bytes),
                time.as_secs_f64() * 1e3,
                if fetched { ", its layer fetched" } else { "" }
            ),
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Removes the trees of components; their layers stay.
pub(crate) fn unload(settings: &Settings, names: &[ComponentName]) -> anyhow::Result<ExitCode> {
    let store = Store::open(&settings.store)?;
    fragment::Library::sweep_leases(&store)?;
    let mut failed = false;
    for name in names {
        match store.unload(name) {
            Ok(0) => println!("{name:24} was not loaded"),
            Ok(bytes) => println!("{name:24} {} freed", render::bytes(bytes)),
            Err(error) => {
                eprintln!("fragment: {:#}", anyhow::Error::from(error));
                failed = true;
            }
        }
    }
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Prints what is loaded, used and in memory.
pub(crate) fn status(settings: &Settings, json: bool) -> anyhow::Result<ExitCode> {
    let all = life::status(&Store::open(&settings.store)?, &settings.life)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        print!("{}", table(&all));
    }
    Ok(ExitCode::SUCCESS)
}

fn table(all: &[Status]) -> String {
    use std::fmt::Write as _;
    let mut text = format!(
        "{:24} {:>10} {:>10} {:>10} {:>6}\n",
        "NAME", "LAYER", "UNPACKED", "IN MEMORY", "USERS"
    );
    for Status { usage, cached } in all {
        let unpacked = match usage.loaded {
            true => render::bytes(usage.plain),
            false => "-".to_owned(),
        };
        let _ = writeln!(
            text,
            "{:24} {:>10} {unpacked:>10} {:>10} {:>6}",
            usage.name.as_str(),
            render::bytes(usage.stored),
            render::bytes(*cached),
            usage.users
        );
    }
    let sum = |of: &dyn Fn(&Status) -> u64| render::bytes(all.iter().map(of).sum());
    let _ = writeln!(
        text,
        "{} components, {} of layers, {} unpacked, {} in memory",
        all.len(),
        sum(&|one| one.usage.stored),
        sum(&|one| one.usage.plain),
        sum(&|one| one.cached)
    );
    text
}

/// Removes what nobody needs any more.
pub(crate) fn gc(settings: &Settings, json: bool) -> anyhow::Result<ExitCode> {
    let collected = Manager::open(settings.clone())?.cleanup_unused()?;
    if json {
        println!("{}", serde_json::to_string_pretty(&collected)?);
        return Ok(ExitCode::SUCCESS);
    }
    let (removed, tidied) = (&collected.removed, &collected.tidied);
    println!(
        "{} leases of containers that are gone; {} layers ({}) and {} trees of components that left the library; {} unloaded ({}); {} evicted from memory",
        collected.leases,
        removed.blobs.len(),
        render::bytes(removed.blob_bytes),
        removed.trees.len(),
        tidied.unloaded.len(),
        render::bytes(tidied.unloaded_bytes),
        render::bytes(tidied.evicted_bytes)
    );
    for (what, over) in [("memory", tidied.memory_over), ("disk", tidied.disk_over)] {
        if over > 0 {
            eprintln!(
                "fragment: {} more {what} than its limit is in use: components of running containers stay",
                render::bytes(over)
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Mends components.
pub(crate) fn repair(settings: &Settings, arguments: &Repair) -> anyhow::Result<ExitCode> {
    let store = Store::open(&settings.store)?;
    let sources = sources(&arguments.from)?;
    let options = LoadOptions {
        sources: &references(&sources),
        ..LoadOptions::default()
    };
    fragment::Library::sweep_leases(&store)?;
    let report = store.verify(|_| {})?;
    if report.catalogue.is_some() {
        store.rebuild_catalogue()?;
        println!("the catalogue is made again");
    }
    let names = match arguments.names.as_slice() {
        [] => report.damaged().map(|one| one.name.clone()).collect(),
        names => names.to_vec(),
    };
    let mut failed = 0;
    for name in &names {
        match store.repair(name, &options) {
            Ok(()) => println!("{name:24} is whole"),
            Err(error) => {
                eprintln!("fragment: {name}: {:#}", anyhow::Error::from(error));
                failed += 1;
            }
        }
    }
    if failed > 0 {
        bail!("{failed} of {} components are still damaged", names.len());
    }
    Ok(ExitCode::SUCCESS)
}
