//! `fragment library load | preload | unload | status | gc | repair`: what of the library is on this node's disk and in its memory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use fragment::adaptive::{Adaptive, Stopped};
use fragment::life::{self, Status};
use fragment::store::{LayoutSource, Load, LoadOptions, ONE_USE, Source, Store};
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
    /// Print JSON
    #[arg(long)]
    json: bool,
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
        let named: BTreeMap<_, _> = names.iter().zip(&loads).collect();
        println!("{}", serde_json::to_string_pretty(&named)?);
        return Ok(ExitCode::SUCCESS);
    }
    for (name, load) in names.iter().zip(loads) {
        println!("{name:24} {}", told(load, "was loaded"));
    }
    Ok(ExitCode::SUCCESS)
}

/// How a component came to be there; `present` of one that was.
fn told(load: Load, present: &str) -> String {
    match load {
        Load::Present => present.to_owned(),
        Load::Awaited => "was loaded by another process meanwhile".to_owned(),
        Load::Unpacked {
            bytes,
            time,
            fetched,
        } => format!(
            "{} unpacked in {:.1} ms{}",
            render::bytes(bytes),
            time.as_secs_f64() * 1e3,
            if fetched { ", its layer fetched" } else { "" }
        ),
    }
}

/// Loads what the configuration lists, then what was used often, if it says so.
pub(crate) fn preload(settings: &Settings, json: bool) -> anyhow::Result<ExitCode> {
    let manager = Manager::open(settings.clone())?;
    let names = settings.life.preloaded();
    let loads = manager.preload_configured()?;
    let adaptive = match settings.life.preload.adaptive {
        true => Some(manager.preload_adaptive()?),
        false => None,
    };
    if json {
        let configured: BTreeMap<_, _> = names.iter().zip(&loads).collect();
        let document = serde_json::json!({ "configured": configured, "adaptive": adaptive });
        println!("{}", serde_json::to_string_pretty(&document)?);
        return Ok(ExitCode::SUCCESS);
    }
    for (name, load) in names.iter().zip(loads) {
        println!("{name:24} {}", told(load, "was loaded"));
    }
    match adaptive {
        Some(adaptive) => print_adaptive(&adaptive),
        None if names.is_empty() => {
            println!(
                "the configuration preloads nothing: see preload.components and preload.adaptive"
            );
        }
        None => println!("nothing is preloaded by use: preload.adaptive is false"),
    }
    Ok(ExitCode::SUCCESS)
}

fn print_adaptive(adaptive: &Adaptive) {
    for one in &adaptive.preloaded {
        let read = format!("{} read into memory", render::bytes(one.bytes));
        let (load, uses) = (told(one.load, &read), uses(one.score));
        println!("{:24} {load}; used {uses} times of late", one.name);
    }
    for one in &adaptive.left {
        println!("{:24} is left as it is: {}", one.name, one.why);
    }
    if adaptive.pressure.is_none() && adaptive.stopped == Stopped::Done {
        println!(
            "the kernel tells no pressure: a quarter of the memory is kept free instead of a tenth"
        );
    }
    println!(
        "preloaded {} by use: {}",
        adaptive.preloaded.len(),
        adaptive.stopped
    );
}

/// Uses, of which each counts half as much after a day.
fn uses(score: u64) -> String {
    format!("{:.1}", score as f64 / ONE_USE as f64)
}

/// Removes the trees of components; their layers stay.
pub(crate) fn unload(
    settings: &Settings,
    names: &[ComponentName],
    json: bool,
) -> anyhow::Result<ExitCode> {
    let manager = Manager::open(settings.clone())?;
    let mut told = BTreeMap::new();
    let mut failed = false;
    for name in names {
        match manager.unload(name) {
            Ok(freed) => {
                told.insert(name, serde_json::json!({ "freed": freed }));
                match freed {
                    _ if json => {}
                    0 => println!("{name:24} was not loaded"),
                    _ => println!("{name:24} {} freed", render::bytes(freed)),
                }
            }
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::from(error));
                eprintln!("fragment: {error}");
                told.insert(name, serde_json::json!({ "error": error }));
                failed = true;
            }
        }
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&told)?);
    }
    Ok(match failed {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
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
        "{:24} {:>10} {:>10} {:>10} {:>6} {:>8} {:>10}\n",
        "NAME", "LAYER", "UNPACKED", "IN MEMORY", "USERS", "USED", "LAST LOAD"
    );
    for Status { usage, cached } in all {
        let unpacked = match usage.loaded {
            true => render::bytes(usage.plain),
            false => "-".to_owned(),
        };
        let loaded = usage.loads.map_or_else(
            || "-".to_owned(),
            |loads| format!("{:.1} ms", loads.last().as_secs_f64() * 1e3),
        );
        let _ = writeln!(
            text,
            "{:24} {:>10} {unpacked:>10} {:>10} {:>6} {:>8} {loaded:>10}",
            usage.name.as_str(),
            render::bytes(usage.stored),
            render::bytes(*cached),
            usage.users,
            uses(usage.score)
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
        ..life::load_options(&settings.life)
    };
    fragment::Library::sweep_leases(&store)?;
    let report = store.verify(|_| {})?;
    if report.catalogue.is_some() {
        store.rebuild_catalogue()?;
        if !arguments.json {
            println!("the catalogue is made again");
        }
    }
    let names = match arguments.names.as_slice() {
        [] => report.damaged().map(|one| one.name.clone()).collect(),
        names => names.to_vec(),
    };
    let (mut whole, mut damaged) = (Vec::new(), BTreeMap::new());
    for name in &names {
        match store.repair(name, &options) {
            Ok(()) => {
                if !arguments.json {
                    println!("{name:24} is whole");
                }
                whole.push(name);
            }
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::from(error));
                eprintln!("fragment: {name}: {error}");
                damaged.insert(name, error);
            }
        }
    }
    if arguments.json {
        let catalogue = report.catalogue.is_some();
        let document =
            serde_json::json!({ "catalogue": catalogue, "whole": whole, "damaged": damaged });
        println!("{}", serde_json::to_string_pretty(&document)?);
    }
    if !damaged.is_empty() {
        bail!(
            "{} of {} components are still damaged",
            damaged.len(),
            names.len()
        );
    }
    Ok(ExitCode::SUCCESS)
}
