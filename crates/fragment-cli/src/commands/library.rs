//! `fragment library`: build, add, search, list, info, verify.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use fragment::store::{Artifact, LoadOptions, Store};
use fragment::{Capability, ComponentName, Library, Manager, Settings};
use fragment_build::{Builder, Built, DirectoryComponent, Options};
use semver::Version;

use crate::check;
use crate::commands::added::{self, Add};
use crate::commands::life::{self, Loading, Repair};
use crate::progress::BuildProgress;
use crate::render;

/// What to do with the library.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Build components from recipes and take them into the store
    Build(Build),
    /// Make components of Debian packages and all they depend on, without recipes
    Add(Add),
    /// Make a component of a directory of files
    Create(Create),
    /// Say which package of the archive would provide a command
    Search {
        /// The command
        command: String,
    },
    /// List the components
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one component
    Info {
        /// Its name or an alias
        name: ComponentName,
        /// Print its manifest as JSON
        #[arg(long)]
        json: bool,
    },
    /// Write components as an OCI image layout that everybody may read
    Export {
        /// A new or empty directory
        directory: PathBuf,
        /// Components [default: all]
        names: Vec<ComponentName>,
    },
    /// Take components from another store or an exported layout, as a user's own, for rootless engines
    Import {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// The store or layout
        directory: PathBuf,
        /// Components [default: all]
        names: Vec<ComponentName>,
    },
    /// Unpack components and read them into memory, before somebody needs them
    Load(Loading),
    /// Load what the configuration lists, then what was used often, as far as the machine is at ease: for a timer
    Preload {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove the unpacked files of components that nobody uses; their layers stay, and are unpacked when they are needed
    Unload {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Components
        #[arg(required = true)]
        names: Vec<ComponentName>,
    },
    /// Show what is unpacked, in memory and in use
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove what nobody needs: leases of containers that are gone, what left the library, memory of what is long unused
    Gc {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Mend damaged components: their files from their layers, their layers from another library
    Repair(Repair),
    /// Read every blob and every tree and compare them with their digests
    #[command(visible_alias = "fsck")]
    Verify {
        /// Print the report as JSON
        #[arg(long)]
        json: bool,
        /// Mend what can be mended: damaged trees from their blobs, the catalogue from the index
        #[arg(long)]
        repair: bool,
    },
}

/// Arguments of `fragment library create`.
#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Its name; a component of that name that was made of a directory is replaced
    name: ComponentName,
    /// The directory: its root
    directory: PathBuf,
    /// Its version
    #[arg(long, value_name = "SEMVER", default_value = "0.0.0")]
    version: Version,
    /// What it is, for people
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,
    /// Another name of it (may be repeated)
    #[arg(long, value_name = "NAME")]
    alias: Vec<ComponentName>,
    /// A capability that it grants (may be repeated)
    #[arg(long, value_name = "NAME")]
    capability: Vec<Capability>,
    /// A component that it is always composed with (may be repeated)
    #[arg(long, value_name = "COMPONENT")]
    requires: Vec<ComponentName>,
    /// A component that it is never composed with (may be repeated)
    #[arg(long, value_name = "COMPONENT")]
    conflicts: Vec<ComponentName>,
    /// Print its manifest as JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `fragment library build`.
#[derive(Debug, clap::Args)]
pub(crate) struct Build {
    /// Directory of recipes
    #[arg(long, value_name = "DIR", default_value = "library")]
    recipes: PathBuf,
    /// Working directory: the clean root, packages, built components
    #[arg(long, value_name = "DIR", default_value = "/var/cache/fragment")]
    work: PathBuf,
    /// Components worked on at a time
    #[arg(long, value_name = "N", default_value_t = 2)]
    jobs: usize,
    /// Make the clean root afresh, with what the archive offers now
    #[arg(long)]
    refresh: bool,
    /// Build and check components although nothing they are made of has changed
    #[arg(long)]
    rebuild: bool,
    /// Print nothing but errors
    #[arg(long)]
    quiet: bool,
    /// Components to build, with all they require [default: every recipe]
    names: Vec<String>,
}

/// Does it.
pub(crate) fn run(settings: &Settings, command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Build(arguments) => build(settings, &arguments),
        Command::Add(arguments) => added::add(settings, &arguments),
        Command::Create(arguments) => create(settings, arguments),
        Command::Search { command } => added::search(&command),
        Command::List { json } => list(settings, json),
        Command::Info { name, json } => info(settings, &name, json),
        Command::Export { directory, names } => export(settings, &directory, &names),
        Command::Import {
            json,
            directory,
            names,
        } => import(settings, &directory, &names, json),
        Command::Load(arguments) => life::load(settings, &arguments),
        Command::Preload { json } => life::preload(settings, json),
        Command::Unload { json, names } => life::unload(settings, &names, json),
        Command::Status { json } => life::status(settings, json),
        Command::Gc { json } => life::gc(settings, json),
        Command::Repair(arguments) => life::repair(settings, &arguments),
        Command::Verify { json, repair } => verify(settings, json, repair),
    }
}

fn build(settings: &Settings, arguments: &Build) -> anyhow::Result<ExitCode> {
    let recipes = fragment_build::Library::load(&arguments.recipes)?;
    let output = arguments.work.join("components");
    let options = Options {
        output: output.clone(),
        jobs: arguments.jobs,
        refresh: arguments.refresh,
        rebuild: arguments.rebuild,
    };
    let mut builder = Builder::new(recipes, &arguments.work.join("roots"), options)?;
    let store = Store::open_or_create(&settings.store)?;
    Library::sweep_leases(&store)?;
    let progress = BuildProgress::new(arguments.quiet);
    let recipes = builder.library().clone();
    let names: Vec<&str> = arguments.names.iter().map(String::as_str).collect();
    let mut all = Vec::new();
    builder.build(&names, &progress, &mut |built| {
        all.push(built);
        Ok(())
    })?;
    take_in(
        settings,
        &store,
        &recipes,
        &all,
        arguments.rebuild,
        &progress,
    )?;
    let components = store.components()?;
    let stored = components
        .iter()
        .map(|component| component.size.stored)
        .sum();
    progress.say(&format!(
        "{} components, {} stored, in {}",
        components.len(),
        render::bytes(stored),
        settings.store.display()
    ));
    Ok(ExitCode::SUCCESS)
}

/// Takes what is new into the store, in one step, and runs its checks; a component that fails them is taken out again.
fn take_in(
    settings: &Settings,
    store: &Store,
    recipes: &fragment_build::Library,
    all: &[Built],
    again: bool,
    progress: &BuildProgress,
) -> anyhow::Result<()> {
    let artifact = |built: &Built| Artifact {
        manifest: built.manifest.clone(),
        layer: built.layer_file.clone(),
    };
    store.ingest_new(all.iter().map(artifact).collect())?;
    for built in all {
        // written when the checks have passed: a build that was cut short checks again
        let mark = (
            built.manifest_file.with_extension("checked"),
            built.manifest.layer.digest.to_string(),
        );
        let is_checked = std::fs::read_to_string(&mark.0).is_ok_and(|text| text == mark.1);
        if is_checked && !again {
            continue;
        }
        let name = &built.manifest.name;
        let checks = &recipes.recipe(name)?.check;
        if checks.is_empty() && !built.manifest.provides.commands.is_empty() {
            bail!(
                "component `{name}` holds commands and its recipe checks none: add `check:` to library/{name}.yaml"
            );
        }
        if let Err(error) = check::run(settings, name, checks) {
            store
                .remove(name)
                .with_context(|| format!("take `{name}` out of the store again"))?;
            return Err(error);
        }
        progress.say(&format!("{name:24} {} checks passed", checks.len()));
        std::fs::write(&mark.0, mark.1).with_context(|| format!("write {}", mark.0.display()))?;
    }
    Ok(())
}

fn create(settings: &Settings, arguments: Create) -> anyhow::Result<ExitCode> {
    let new = DirectoryComponent {
        version: arguments.version,
        description: arguments.description,
        aliases: arguments.alias.into_iter().collect(),
        capabilities: arguments.capability.into_iter().collect(),
        requires: arguments.requires.into_iter().collect(),
        conflicts: arguments.conflicts.into_iter().collect(),
        ..DirectoryComponent::new(arguments.name, arguments.directory)
    };
    let manifest = Manager::open(settings.clone())?.add_directory(&new)?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&manifest)?);
    } else {
        println!(
            "component `{}` of {} files and directories, {} stored, is in {}",
            manifest.name,
            manifest.size.entries,
            render::bytes(manifest.size.stored),
            settings.store.display()
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn export(settings: &Settings, to: &Path, names: &[ComponentName]) -> anyhow::Result<ExitCode> {
    let count = Store::open(&settings.store)?.export(to, names)?;
    println!("{count} components written to {}", to.display());
    Ok(ExitCode::SUCCESS)
}

fn import(
    settings: &Settings,
    from: &Path,
    names: &[ComponentName],
    json: bool,
) -> anyhow::Result<ExitCode> {
    let artifacts = Store::open(from)?.artifacts(names)?;
    let store = Store::open_or_create(settings.store_to_fill())?;
    let new = store.ingest_new(artifacts)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&new)?);
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "{} components taken into {}",
        new.len(),
        store.root().display()
    );
    Ok(ExitCode::SUCCESS)
}

fn list(settings: &Settings, json: bool) -> anyhow::Result<ExitCode> {
    let components = Library::open(settings)?.components()?;
    if json {
        println!("{}", serde_json::to_string_pretty(&components)?);
        return Ok(ExitCode::SUCCESS);
    }
    if components.is_empty() {
        bail!(
            "there is no component in {}: build them with `fragment library build`",
            settings.store.display()
        );
    }
    println!(
        "{:24} {:22} {:>10} {:>10}  CAPABILITIES",
        "NAME", "VERSION", "STORED", "UNPACKED"
    );
    for component in &components {
        let capabilities: Vec<&str> = component
            .capabilities
            .iter()
            .map(fragment::Capability::as_str)
            .collect();
        println!(
            "{:24} {:22} {:>10} {:>10}  {}",
            component.name,
            component.upstream_version,
            render::bytes(component.size.stored),
            render::bytes(component.size.plain),
            capabilities.join(" ")
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn info(settings: &Settings, name: &ComponentName, json: bool) -> anyhow::Result<ExitCode> {
    let components = Library::open(settings)?.components()?;
    let found = components
        .iter()
        .find(|component| component.name == *name)
        .or_else(|| {
            components
                .iter()
                .filter(|c| c.aliases.contains(name))
                .max_by_key(|c| c.preference)
        });
    let Some(component) = found else {
        bail!(
            "component `{name}` is not in the library {}: see `fragment library list`",
            settings.store.display()
        );
    };
    let manifest = Store::open(&settings.store)?.manifest(&component.digest)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&manifest)?);
    } else {
        print!("{}", render::component(component, &manifest));
    }
    Ok(ExitCode::SUCCESS)
}

fn verify(settings: &Settings, json: bool, repair: bool) -> anyhow::Result<ExitCode> {
    let store = Store::open(&settings.store)?;
    let mut report = store.verify(|_| {})?;
    if repair && !report.is_intact() {
        mend(&store, &report)?;
        report = store.verify(|_| {})?;
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", render::verification(&report, &settings.store));
    }
    Ok(if report.is_intact() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn mend(store: &Store, report: &fragment::store::VerifyReport) -> anyhow::Result<()> {
    for damaged in report.damaged() {
        if let Err(error) = store.repair(&damaged.name, &LoadOptions::default()) {
            eprintln!(
                "fragment: {}: {:#}",
                damaged.name,
                anyhow::Error::from(error)
            );
        }
    }
    if report.catalogue.is_some() {
        store.rebuild_catalogue().context("rebuild the catalogue")?;
    }
    Ok(())
}
