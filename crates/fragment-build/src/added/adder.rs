//! Adding packages: install what is new, cut what changed, hand it over.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use fragment_types::{ComponentName, Digest, Manifest};

use crate::added::conflict::clashes;
use crate::added::ledger::Ledger;
use crate::added::make::Maker;
use crate::added::view::Recipes;
use crate::builder::Built;
use crate::dpkg::Database;
use crate::error::{Error, Result};
use crate::library::Library;
use crate::machine::{Machine, require_tools};
use crate::progress::{Event, Progress};
use crate::workspace::Workspace;
use crate::world::{Outcome, Refused, Session, Step, Worlds, grow, simulate};

/// Packages asked for that are installed in one go: what a killed run does again at most.
const BATCH: usize = 100;
/// Most worlds: so many packages exclude each other mutually nowhere in the archive.
const MAX_WORLDS: usize = 24;

/// How packages are added.
#[derive(Debug, Clone)]
pub struct AddOptions {
    /// Where components lie until they are handed over.
    pub output: PathBuf,
    /// How many components are worked on at a time.
    pub jobs: usize,
    /// Whether the clean root is made afresh, with what the archive offers now.
    pub refresh: bool,
}

/// Reads the manifest of a component of the store.
pub type ReadManifest<'a> = dyn Fn(&ComponentName) -> std::result::Result<Manifest, Box<dyn std::error::Error + Send + Sync>>
    + 'a;

/// What the store holds.
pub struct Shelf<'a> {
    /// Its components, each with the digest of its tree.
    pub present: BTreeMap<ComponentName, Digest>,
    /// Reads a component's manifest.
    pub manifest: &'a ReadManifest<'a>,
}

impl std::fmt::Debug for Shelf<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shelf")
            .field("present", &self.present.len())
            .finish_non_exhaustive()
    }
}

/// What became of a request.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Components that are new or have changed.
    pub made: Vec<ComponentName>,
    /// Package -> the component that holds it.
    pub served: BTreeMap<String, ComponentName>,
    /// Package -> why it could not be added.
    pub failed: BTreeMap<String, String>,
    /// Package -> last words of its script that failed; it was added without what the script makes.
    pub scripts: BTreeMap<String, String>,
    /// Component -> files that lost set-id bits or capabilities.
    pub dropped: BTreeMap<ComponentName, Vec<String>>,
}

/// What adding packages would do.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Packages that would be installed.
    pub install: Vec<String>,
    /// Packages asked for that components hold already.
    pub served: BTreeMap<String, ComponentName>,
    /// apt's words on download and disk sizes.
    pub sizes: Vec<String>,
}

/// Takes a batch of components, all or none.
pub type TakeIn<'a> =
    dyn FnMut(Vec<Built>) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> + 'a;

/// Adds packages to a library.
#[derive(Debug)]
pub struct Adder {
    pub(super) library: Library,
    pub(super) workspace: Workspace,
    pub(super) options: AddOptions,
    databases: Vec<Database>,
}

impl Adder {
    /// Takes `work_dir` for its own, as [`Builder`](crate::Builder) does.
    ///
    /// # Errors
    /// [`Error::NotRoot`], [`Error::MissingTool`], [`Error::Busy`] and file errors.
    pub fn new(library: Library, work_dir: &Path, options: AddOptions) -> Result<Self> {
        require_tools()?;
        let workspace = Workspace::open(work_dir)?;
        std::fs::create_dir_all(&options.output)
            .map_err(crate::world::io("creating", &options.output))?;
        Ok(Self {
            library,
            workspace,
            options,
            databases: Vec::new(),
        })
    }

    /// Makes components of `packages` and of all they depend on, and hands them over in batches.
    ///
    /// A package that cannot be added is in the report; the others are.
    ///
    /// # Errors
    /// [`Error::PackageName`], [`Error::NothingBelow`], [`Error::Download`], [`Error::DiskFull`], [`Error::HandOver`] and file
    /// errors. What was handed over before is complete, and the next call goes on from there.
    pub fn add(
        &mut self,
        packages: &[String],
        shelf: &mut Shelf<'_>,
        progress: &dyn Progress,
        take: &mut TakeIn<'_>,
    ) -> Result<Report> {
        let mut report = Report::default();
        self.below(shelf)?;
        if self.options.refresh || self.workspace.generation().is_none() {
            progress.event(&Event::BaseStarted);
            self.workspace.make_base(&Machine::inspect()?)?;
            progress.event(&Event::BaseFinished);
        }
        let generation = self.workspace.generation().map(|g| g.id);
        let mut worlds = Worlds::open(&self.workspace)?;
        let mut ledger = Ledger::read(&self.options.output, generation);
        let todo = self.unserved(packages, shelf, &worlds, &ledger, &mut report)?;
        if todo.is_empty() {
            return Ok(report);
        }
        if worlds.state.worlds.is_empty() {
            worlds.state.worlds.push(crate::world::World::default());
        }
        let recipes = self.recipes(shelf)?;
        self.read_databases(&worlds)?;
        for batch in todo.chunks(BATCH) {
            let mut wanted = batch.to_vec();
            self.install(&mut worlds, 0, &mut wanted, &mut report, progress)?;
            let maker = Maker {
                adder: self,
                recipes: &recipes,
                databases: &self.databases,
                clashes: clashes(&self.databases),
                progress,
            };
            maker.make(&worlds, &wanted, &mut ledger, shelf, &mut report, take)?;
            ledger.save(generation)?;
            worlds.state.requested.extend(wanted);
            worlds.save()?;
        }
        Ok(report)
    }

    /// What adding `packages` would do, as far as one installation tells.
    ///
    /// # Errors
    /// [`Error::NoPackage`], [`Error::Conflict`], and those of [`Adder::add`].
    pub fn plan(
        &mut self,
        packages: &[String],
        shelf: &Shelf<'_>,
        progress: &dyn Progress,
    ) -> Result<Plan> {
        self.below(shelf)?;
        if self.workspace.generation().is_none() {
            progress.event(&Event::BaseStarted);
            self.workspace.make_base(&Machine::inspect()?)?;
            progress.event(&Event::BaseFinished);
        }
        let worlds = Worlds::open(&self.workspace)?;
        let ledger = Ledger::read(
            &self.options.output,
            self.workspace.generation().map(|g| g.id),
        );
        let mut report = Report::default();
        let todo = self.unserved(packages, shelf, &worlds, &ledger, &mut report)?;
        let mut plan = Plan {
            served: report.served,
            ..Plan::default()
        };
        if todo.is_empty() {
            return Ok(plan);
        }
        let mut session = Session::start(&self.workspace, &worlds, 0, "plan")?;
        match simulate(&mut session, &todo)? {
            Ok(steps) => {
                let unpacked = steps.into_iter().filter_map(|step| match step {
                    Step::Unpack { package, .. } => Some(package),
                    Step::Configure { .. } => None,
                });
                plan.install = unpacked.collect();
            }
            Err(Refused::Unknown(package)) => return Err(Error::NoPackage { package }),
            Err(Refused::Conflict(log)) => return Err(Error::Conflict { log }),
        }
        plan.sizes = crate::world::sizes(&mut session, &todo)?;
        Ok(plan)
    }

    /// The packages for which there is something to do; the others are served.
    fn unserved(
        &self,
        packages: &[String],
        shelf: &Shelf<'_>,
        worlds: &Worlds,
        ledger: &Ledger,
        report: &mut Report,
    ) -> Result<Vec<String>> {
        let mut todo = Vec::new();
        let mut seen = BTreeSet::new();
        for package in packages {
            ComponentName::new(package.as_str()).map_err(|source| Error::PackageName {
                package: package.clone(),
                source,
            })?;
            if !seen.insert(package) {
                continue;
            }
            let claimed = self.library.claimed_by(package);
            if let Some(component) = claimed.filter(|c| shelf.present.contains_key(*c)) {
                report.served.insert(package.clone(), component.clone());
                continue;
            }
            let asked = worlds.state.requested.contains(package);
            match ledger
                .holder(package)
                .filter(|_| asked && !self.options.refresh)
            {
                Some(holder) if ledger.is_served(holder, &shelf.present) => {
                    report.served.insert(package.clone(), holder.clone());
                }
                _ => todo.push(package.clone()),
            }
        }
        Ok(todo)
    }

    /// The package databases of all worlds as they are.
    fn read_databases(&mut self, worlds: &Worlds) -> Result<()> {
        self.databases.clear();
        for world in 0..worlds.state.worlds.len() {
            let session = Session::start(&self.workspace, worlds, world, "read")?;
            self.databases.push(Database::read(&session.root())?);
        }
        Ok(())
    }

    /// What every component requires.
    fn below(&self, shelf: &Shelf<'_>) -> Result<BTreeSet<ComponentName>> {
        let mut below = BTreeSet::new();
        for required in &self.library.defaults().requires {
            let name = self.library.named(required.as_str())?;
            if !shelf.present.contains_key(name) {
                return Err(Error::NothingBelow { name: name.clone() });
            }
            below.insert(name.clone());
        }
        Ok(below)
    }

    /// What the recipes' components hold.
    fn recipes(&self, shelf: &Shelf<'_>) -> Result<Recipes> {
        let mut recipes = Recipes {
            below: self.below(shelf)?,
            ..Recipes::default()
        };
        for name in self
            .library
            .names()
            .filter(|n| shelf.present.contains_key(*n))
        {
            let manifest = (shelf.manifest)(name).map_err(|source| Error::HandOver {
                component: name.clone(),
                source,
            })?;
            for entry in manifest.provides.paths {
                let better = (manifest.preference, name.clone());
                let known = recipes
                    .paths
                    .entry(entry.path)
                    .or_insert_with(|| better.clone());
                if known.0 < better.0 {
                    *known = better;
                }
            }
        }
        Ok(recipes)
    }

    /// Installs `wanted` into `world`, or into the next one what conflicts with it; what cannot be installed is taken out of
    /// `wanted` and reported.
    fn install(
        &mut self,
        worlds: &mut Worlds,
        world: usize,
        wanted: &mut Vec<String>,
        report: &mut Report,
        progress: &dyn Progress,
    ) -> Result<()> {
        while !wanted.is_empty() {
            while worlds.state.worlds.len() <= world {
                worlds.state.worlds.push(crate::world::World::default());
                let session = Session::start(
                    &self.workspace,
                    worlds,
                    worlds.state.worlds.len() - 1,
                    "read",
                )?;
                self.databases.push(Database::read(&session.root())?);
            }
            let grown = grow(
                &self.workspace,
                &self.library,
                worlds,
                world,
                wanted,
                &mut self.databases[world],
                progress,
            );
            let reason = match grown {
                Ok(Outcome::Nothing | Outcome::Layer) => return Ok(()),
                Ok(Outcome::Refused(Refused::Unknown(package))) => {
                    wanted.retain(|w| *w != package);
                    let error = Error::NoPackage {
                        package: package.clone(),
                    };
                    report.failed.insert(package, error.to_string());
                    continue;
                }
                Ok(Outcome::Refused(Refused::Conflict(log))) => {
                    let fresh = worlds.state.worlds[world].layers.is_empty();
                    if wanted.len() == 1 && !fresh && world + 1 < MAX_WORLDS {
                        return self.install(worlds, world + 1, wanted, report, progress);
                    }
                    log
                }
                Err(error @ Error::Unpack { .. }) => error.to_string(),
                Err(error) => return Err(error),
            };
            if wanted.len() == 1 {
                let package = wanted.remove(0);
                report.failed.insert(package, reason);
                return Ok(());
            }
            let mut rest = wanted.split_off(wanted.len() / 2);
            self.install(worlds, world, wanted, report, progress)?;
            self.install(worlds, world, &mut rest, report, progress)?;
            wanted.append(&mut rest);
            return Ok(());
        }
        Ok(())
    }
}
