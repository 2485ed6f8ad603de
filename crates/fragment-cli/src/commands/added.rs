//! `fragment library add` and `fragment library search`: packages of the archive, without recipes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use fragment::store::{Artifact, Store};
use fragment::{Library, Settings};
use fragment_build::{AddOptions, Adder, Built, Plan, Report, Shelf, providers_of};
use serde_json::json;

use crate::progress::BuildProgress;

/// Where packages are added from and installed.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Place {
    /// Directory of recipes, for packages that are added: what they claim is theirs
    #[arg(long, value_name = "DIR", default_value = "library")]
    recipes: PathBuf,
    /// Working directory for them: the clean root, packages, installed layers
    #[arg(long, value_name = "DIR", default_value = "/var/cache/fragment")]
    work: PathBuf,
}

/// Arguments of `fragment library add`.
#[derive(Debug, clap::Args)]
pub(crate) struct Add {
    #[command(flatten)]
    place: Place,
    /// Components worked on at a time
    #[arg(long, value_name = "N", default_value_t = 2)]
    jobs: usize,
    /// Start from a clean root made afresh, with what the archive offers now
    #[arg(long)]
    refresh: bool,
    /// A file of package names, one a line, `#` starts a comment; may be given again
    #[arg(long, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// Say what would be installed, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Print nothing but errors
    #[arg(long)]
    quiet: bool,
    /// Debian packages
    packages: Vec<String>,
}

/// Adds packages; what cannot be added is named, and the rest is there.
pub(crate) fn add(settings: &Settings, arguments: &Add) -> anyhow::Result<ExitCode> {
    let packages = wanted(arguments)?;
    let recipes = recipes(&arguments.place.recipes)?;
    let options = AddOptions {
        output: arguments.place.work.join("added"),
        jobs: arguments.jobs,
        refresh: arguments.refresh,
    };
    let mut adder = Adder::new(recipes, &arguments.place.work.join("roots"), options)?;
    let store = Store::open_or_create(&settings.store)?;
    Library::sweep_leases(&store)?;
    let progress = BuildProgress::new(arguments.quiet || arguments.json);
    let manifest = |name: &fragment::ComponentName| {
        let digest = store.digest_of(name)?;
        Ok(store.manifest(&digest)?)
    };
    let mut shelf = Shelf {
        present: present(&store)?,
        manifest: &manifest,
    };
    if arguments.dry_run {
        let plan = adder.plan(&packages, &shelf, &progress)?;
        print_plan(&plan, arguments.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    let report = adder.add(&packages, &mut shelf, &progress, &mut |built: Vec<
        Built,
    >| {
        let artifacts: Vec<Artifact> = built
            .into_iter()
            .map(|one| Artifact {
                manifest: one.manifest,
                layer: one.layer_file,
            })
            .collect();
        store.ingest(&artifacts)?;
        Ok(())
    });
    progress.finish();
    let report = report.map_err(|error| advised(error.into()))?;
    print_report(&report, arguments, &progress)?;
    Ok(match report.failed.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Says what to do where a disk was full, of the work directory or of the store.
fn advised(error: anyhow::Error) -> anyhow::Error {
    let is_full = |cause: &(dyn std::error::Error + 'static)| {
        let cause = cause.downcast_ref::<std::io::Error>();
        cause.is_some_and(|c| c.kind() == std::io::ErrorKind::StorageFull)
    };
    match error.chain().any(is_full) {
        true => error
            .context("no space is left (make some, and run it again: what is finished is kept)"),
        false => error,
    }
}

/// Adds one package without a word.
pub(crate) fn add_one(settings: &Settings, place: &Place, package: &str) -> anyhow::Result<()> {
    let arguments = Add {
        place: place.clone(),
        jobs: 2,
        refresh: false,
        file: Vec::new(),
        dry_run: false,
        json: false,
        quiet: true,
        packages: vec![package.to_owned()],
    };
    if add(settings, &arguments)? != ExitCode::SUCCESS {
        bail!("it could not be added");
    }
    Ok(())
}

/// The packages named in arguments and files.
fn wanted(arguments: &Add) -> anyhow::Result<Vec<String>> {
    let mut packages = arguments.packages.clone();
    for file in &arguments.file {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        let names = text.lines().filter_map(|line| {
            let name = line.split('#').next().unwrap_or_default().trim();
            (!name.is_empty()).then(|| name.to_owned())
        });
        packages.extend(names);
    }
    if packages.is_empty() {
        bail!("no package is named: give names, or a list with --file");
    }
    Ok(packages)
}

fn recipes(directory: &Path) -> anyhow::Result<fragment_build::Library> {
    fragment_build::Library::load(directory).with_context(|| {
        format!(
            "read the recipes in {} (name their directory with --recipes)",
            directory.display()
        )
    })
}

/// The components of the store, each with the digest of its tree.
fn present(store: &Store) -> anyhow::Result<BTreeMap<fragment::ComponentName, fragment::Digest>> {
    let components = store.components()?.into_iter();
    Ok(components.map(|c| (c.name, c.diff_id)).collect())
}

fn print_plan(plan: &Plan, json: bool) -> anyhow::Result<()> {
    if json {
        let document = json!({
            "install": plan.install,
            "served": plan.served,
            "sizes": plan.sizes,
        });
        println!("{}", serde_json::to_string_pretty(&document)?);
        return Ok(());
    }
    for (package, component) in &plan.served {
        println!("{package:32} is in the library: component {component}");
    }
    for package in &plan.install {
        println!("{package:32} would be installed and added");
    }
    for line in &plan.sizes {
        println!("{line}");
    }
    Ok(())
}

fn print_report(report: &Report, arguments: &Add, progress: &BuildProgress) -> anyhow::Result<()> {
    if arguments.json {
        let document = json!({
            "made": report.made,
            "served": report.served,
            "failed": report.failed,
            "scripts": report.scripts,
            "dropped": report.dropped,
        });
        println!("{}", serde_json::to_string_pretty(&document)?);
        return Ok(());
    }
    for (component, files) in &report.dropped {
        progress.say(&format!(
            "{component}: {} without set-id bits and capabilities (a recipe keeps them with `special`)",
            files.join(", ")
        ));
    }
    for (package, log) in &report.scripts {
        let last = log.lines().last().unwrap_or_default();
        progress.say(&format!(
            "{package}: its configuration script failed ({last}); it was added without what the script makes"
        ));
    }
    for (package, reason) in &report.failed {
        eprintln!("{package}: {reason}");
    }
    progress.say(&format!(
        "{} of {} packages are in the library, {} components made",
        report.served.len(),
        report.served.len() + report.failed.len(),
        report.made.len()
    ));
    Ok(())
}

/// Prints the packages that would provide a command.
pub(crate) fn search(command: &str) -> anyhow::Result<ExitCode> {
    let providers = providers_of(command)?;
    if providers.is_empty() {
        bail!(
            "no package is known to provide `{command}` (apt-file's indexes make this complete: apt-get install apt-file, \
             then apt-get update)"
        );
    }
    for provider in providers {
        let path = provider.path.as_deref().unwrap_or("");
        println!("{:32} {path}", provider.package);
    }
    Ok(ExitCode::SUCCESS)
}
