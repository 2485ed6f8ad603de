//! Building a library: install, cut, resolve, pack.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use fragment_types::{ComponentName, Manifest};

use crate::error::{Error, Result};
use crate::library::{Library, order};
use crate::machine::{Machine, require_tools};
use crate::manifest::{Product, produce};
use crate::part::{Base, Fresh, Origin, Part};
use crate::pool;
use crate::progress::{Event, Phase, Progress};
use crate::record::{Files, key};
use crate::resolve::{Parts, Resolved, closure, held, resolve};
use crate::workspace::Workspace;

/// How a build goes about it.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where components are written: `NAME.json`, `NAME.tar.zst` and, for the next build, `NAME.build`.
    pub output: PathBuf,
    /// How many components are worked on at a time.
    pub jobs: usize,
    /// Whether the clean root is made afresh, with what the archive offers now.
    pub refresh: bool,
    /// Whether components are built although nothing they are made of has changed.
    pub rebuild: bool,
}

/// A component that was built or found unchanged.
#[derive(Debug, Clone)]
pub struct Built {
    /// Its manifest.
    pub manifest: Manifest,
    /// The file that holds the manifest.
    pub manifest_file: PathBuf,
    /// The file that holds the layer.
    pub layer_file: PathBuf,
    /// Whether an earlier build had made it and nothing has changed since.
    pub reused: bool,
}

/// What whoever takes the components may answer.
pub type HandOver<'a> =
    dyn FnMut(Built) -> Result<(), Box<dyn std::error::Error + Send + Sync>> + 'a;

/// Builds components of a library.
#[derive(Debug)]
pub struct Builder {
    library: Library,
    workspace: Workspace,
    options: Options,
}

impl Builder {
    /// Takes `work_dir` for its own: the clean root, the package cache and installations in progress live there. It has
    /// to be on a filesystem that can be an overlay's upper layer.
    ///
    /// # Errors
    /// [`Error::NotRoot`], [`Error::MissingTool`], [`Error::Busy`] and file errors.
    pub fn new(library: Library, work_dir: &Path, options: Options) -> Result<Self> {
        require_tools()?;
        let workspace = Workspace::open(work_dir)?;
        fs::create_dir_all(&options.output).map_err(|source| Error::Io {
            operation: "creating",
            path: options.output.clone(),
            source,
        })?;
        Ok(Self {
            library,
            workspace,
            options,
        })
    }

    /// The recipes.
    #[must_use]
    pub fn library(&self) -> &Library {
        &self.library
    }

    /// Builds `names`, or everything when there are none, with all they require, and hands each component over after
    /// those it requires.
    ///
    /// # Errors
    /// The first error of any component; what was handed over before is complete.
    pub fn build(
        &mut self,
        names: &[&str],
        progress: &dyn Progress,
        hand_over: &mut HandOver<'_>,
    ) -> Result<()> {
        let wanted = self.wanted(names)?;
        if self.options.refresh || self.workspace.generation().is_none() {
            progress.event(&Event::BaseStarted);
            self.workspace.make_base(&Machine::inspect()?)?;
            progress.event(&Event::BaseFinished);
        }
        let mut build = Build {
            library: &self.library,
            workspace: &self.workspace,
            options: &self.options,
            progress,
            base: None,
            parts: Parts::new(),
        };
        build.gather(wanted.clone())?;
        build.check_bundles()?;
        let resolved = build.resolve(wanted)?;
        build.finish(resolved, hand_over)
    }

    fn wanted(&self, names: &[&str]) -> Result<BTreeSet<ComponentName>> {
        if names.is_empty() {
            return Ok(self.library.names().cloned().collect());
        }
        names
            .iter()
            .map(|name| self.library.named(name).cloned())
            .collect()
    }
}

/// One run of a builder.
struct Build<'a> {
    library: &'a Library,
    workspace: &'a Workspace,
    options: &'a Options,
    progress: &'a dyn Progress,
    base: Option<Base>,
    parts: Parts,
}

/// What is needed to go on with a component.
#[derive(Debug, Default)]
struct Pending {
    /// To be looked at: reused or cut.
    names: BTreeSet<ComponentName>,
    /// Cut, waiting for what they require.
    cut: BTreeMap<ComponentName, (BTreeSet<ComponentName>, Fresh)>,
}

impl Build<'_> {
    /// Fills `parts` with `wanted` and everything they turn out to require.
    fn gather(&mut self, wanted: BTreeSet<ComponentName>) -> Result<()> {
        let mut pending = Pending {
            names: wanted,
            ..Pending::default()
        };
        loop {
            while !pending.names.is_empty() || !pending.cut.is_empty() {
                self.add_required(&mut pending)?;
                self.wave(&mut pending)?;
                self.settle(&mut pending)?;
            }
            for part in self.parts.values() {
                if let Origin::Fresh(fresh) = &part.origin {
                    let held = held(part, fresh, self.library, &self.parts)?;
                    let candidates = held.into_iter().flat_map(|h| h.by);
                    pending
                        .names
                        .extend(candidates.filter(|n| !self.parts.contains_key(n)));
                }
            }
            if pending.names.is_empty() {
                return Ok(());
            }
        }
    }

    /// Adds what pending components require to them.
    fn add_required(&self, pending: &mut Pending) -> Result<()> {
        let mut todo: Vec<ComponentName> = pending.names.iter().cloned().collect();
        todo.extend(
            pending
                .cut
                .values()
                .flat_map(|(requires, _)| requires.iter().cloned()),
        );
        while let Some(name) = todo.pop() {
            let known = self.parts.contains_key(&name) || pending.cut.contains_key(&name);
            if !known {
                let new = pending.names.insert(name.clone());
                for required in self.known_requires(&name)? {
                    if new
                        || !(self.parts.contains_key(&required)
                            || pending.names.contains(&required))
                    {
                        todo.push(required);
                    }
                }
            }
        }
        Ok(())
    }

    /// What `name` requires as far as recipes and the last build's record say.
    fn known_requires(&self, name: &ComponentName) -> Result<BTreeSet<ComponentName>> {
        let mut requires = self.library.declared_requires(name)?;
        if let Some((_, record)) = self.recorded(name)? {
            requires.extend(record.below.into_keys());
        }
        Ok(requires)
    }

    fn recorded(&self, name: &ComponentName) -> Result<Option<(Manifest, crate::record::Record)>> {
        let Some(generation) = self
            .workspace
            .generation()
            .filter(|_| !self.options.rebuild)
        else {
            return Ok(None);
        };
        let key = key(self.library.digest(name)?, generation.id);
        Ok(Files::of(&self.options.output, name).read(key, self.library))
    }

    /// Reuses or cuts the pending components whose known requirements are there.
    fn wave(&mut self, pending: &mut Pending) -> Result<()> {
        let mut ready = Vec::new();
        for name in &pending.names {
            let requires = self.known_requires(name)?;
            if requires
                .iter()
                .all(|r| r == name || self.parts.contains_key(r))
            {
                ready.push(name.clone());
            }
        }
        if ready.is_empty() {
            // requirements found in files may be cyclic, or wait for what is cut already: nothing is gained by waiting
            let waiting = pending.names.iter().filter(|_| pending.cut.is_empty());
            ready.extend(waiting.cloned());
        }
        let mut fresh = Vec::new();
        for name in ready {
            pending.names.remove(&name);
            match self.recorded(&name)? {
                Some((manifest, record)) if self.is_current(&record) => {
                    self.parts.insert(name, Part::reused(manifest, record));
                }
                _ => fresh.push(name),
            }
        }
        if !fresh.is_empty() && self.base.is_none() {
            self.base = Some(Base::read(self.workspace)?);
        }
        let Some(base) = &self.base else {
            return Ok(());
        };
        let (library, workspace, progress) = (self.library, self.workspace, self.progress);
        let made = pool::map(self.options.jobs, &fresh, &|name: &ComponentName| {
            progress.event(&Event::Started { component: name });
            progress.event(&Event::Phase {
                component: name,
                phase: Phase::Install,
            });
            let cutting = || {
                progress.event(&Event::Phase {
                    component: name,
                    phase: Phase::Cut,
                });
            };
            Fresh::make(name, library, workspace, base, &cutting)
        })?;
        for (name, fresh) in fresh.into_iter().zip(made) {
            let mut requires = self.library.declared_requires(&name)?;
            requires.extend(fresh.cut.depends.iter().cloned());
            pending.cut.insert(name, (requires, fresh));
        }
        Ok(())
    }

    fn is_current(&self, record: &crate::record::Record) -> bool {
        record
            .below
            .iter()
            .all(|(name, digest)| self.parts.get(name).is_some_and(|p| p.digest == *digest))
    }

    /// Makes parts of the cut components whose requirements are parts.
    fn settle(&mut self, pending: &mut Pending) -> Result<()> {
        loop {
            let ready = pending
                .cut
                .iter()
                .find(|(_, (requires, _))| requires.iter().all(|r| self.parts.contains_key(r)))
                .map(|(name, _)| name.clone());
            let Some((name, (requires, fresh))) =
                ready.and_then(|name| pending.cut.remove_entry(&name))
            else {
                break;
            };
            let preference = self.library.recipe(&name)?.preference;
            let part = Part::fresh(
                &name,
                preference,
                requires.clone(),
                fresh,
                &closure(&requires, &self.parts),
            );
            self.parts.insert(name, part);
        }
        // everything required is cut, and still nothing can go on: packages of different components depend on each other
        let graph: BTreeMap<_, _> = pending
            .cut
            .iter()
            .map(|(name, (requires, _))| (name.clone(), requires.clone()))
            .collect();
        order(&graph)
            .map(|_| ())
            .map_err(|cycle| Error::CyclicRequires { cycle })
    }

    /// One package in two components would be two copies of its files.
    fn check_bundles(&self) -> Result<()> {
        let mut holders: BTreeMap<&str, &Part> = BTreeMap::new();
        for part in self.parts.values() {
            for package in &part.bundled {
                let Some(first) = holders.insert(package, part) else {
                    continue;
                };
                let related = |a: &Part, b: &Part| {
                    closure(&a.requires, &self.parts)
                        .iter()
                        .any(|p| p.name == b.name)
                };
                if !related(first, part) && !related(part, first) {
                    return Err(Error::BundledTwice {
                        package: package.clone(),
                        first: first.name.clone(),
                        second: part.name.clone(),
                    });
                }
            }
        }
        Ok(())
    }

    /// What the files of `wanted`, and of all these require, need. Other parts are left out: they only were candidates.
    fn resolve(
        &mut self,
        wanted: BTreeSet<ComponentName>,
    ) -> Result<BTreeMap<ComponentName, Resolved>> {
        let mut resolved = BTreeMap::new();
        let mut pending: Vec<ComponentName> = wanted.into_iter().collect();
        let mut reached = BTreeSet::new();
        while let Some(name) = pending.pop() {
            let Some(part) = self
                .parts
                .get(&name)
                .filter(|_| reached.insert(name.clone()))
            else {
                continue;
            };
            pending.extend(part.requires.iter().cloned());
            match &part.origin {
                Origin::Reused(manifest) => {
                    pending.extend(manifest.requires.components.iter().cloned());
                }
                Origin::Fresh(fresh) => {
                    let found = resolve(part, fresh, self.library, &self.parts)?;
                    pending.extend(found.components.iter().cloned());
                    resolved.insert(name, found);
                }
            }
        }
        self.parts.retain(|name, _| reached.contains(name));
        Ok(resolved)
    }

    /// Packs what is new and hands everything over, requirements first.
    fn finish(
        self,
        mut resolved: BTreeMap<ComponentName, Resolved>,
        hand_over: &mut HandOver<'_>,
    ) -> Result<()> {
        let mut graph = BTreeMap::new();
        for part in self.parts.values() {
            let mut requires = part.requires.clone();
            match &part.origin {
                Origin::Reused(manifest) => {
                    requires.extend(manifest.requires.components.iter().cloned());
                }
                Origin::Fresh(_) => {
                    requires.extend(
                        resolved
                            .get(&part.name)
                            .into_iter()
                            .flat_map(|r| r.components.iter().cloned()),
                    );
                }
            }
            graph.insert(part.name.clone(), requires);
        }
        let order = order(&graph).map_err(|cycle| Error::CyclicRequires { cycle })?;
        let mut todo = Vec::new();
        for name in &order {
            let requires = graph.remove(name).unwrap_or_default();
            todo.push((
                name.clone(),
                requires,
                resolved.remove(name).unwrap_or_default(),
            ));
        }
        let generation = self
            .workspace
            .generation()
            .map_or_else(|| fragment_types::Digest::of(b""), |g| g.id);
        let (library, options, progress, parts) =
            (self.library, self.options, self.progress, &self.parts);
        let make =
            |(name, requires, resolved): &(ComponentName, BTreeSet<ComponentName>, Resolved)| {
                let files = Files::of(&options.output, name);
                let Some(part) = parts.get(name) else {
                    return Err(Error::UnknownComponent {
                        name: name.to_string(),
                        directory: options.output.clone(),
                    });
                };
                let (manifest, reused) = match &part.origin {
                    Origin::Reused(manifest) => ((**manifest).clone(), true),
                    Origin::Fresh(fresh) => {
                        progress.event(&Event::Phase {
                            component: name,
                            phase: Phase::Pack,
                        });
                        let product = Product {
                            part,
                            fresh,
                            requires,
                            resolved,
                            parts,
                            library,
                        };
                        (
                            produce(
                                &product,
                                &files,
                                key(library.digest(name)?, generation),
                                progress,
                            )?,
                            false,
                        )
                    }
                };
                progress.event(&Event::Finished {
                    component: name,
                    size: manifest.size,
                    reused,
                });
                Ok(Built {
                    manifest,
                    manifest_file: files.manifest,
                    layer_file: files.layer,
                    reused,
                })
            };
        pool::in_order(options.jobs, &todo, &make, &mut |built| {
            let component = built.manifest.name.clone();
            hand_over(built).map_err(|source| Error::HandOver { component, source })
        })
    }
}
