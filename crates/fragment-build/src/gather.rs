//! Finding out what has to be built: reuse, install, cut and resolve, in the order of requirements.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use fragment_types::{ComponentName, Manifest};

use crate::builder::Options;
use crate::error::{Error, Result};
use crate::library::{Library, order};
use crate::part::{Base, Fresh, Origin, Part};
use crate::progress::{Event, Phase, Progress};
use crate::record::{Files, Record, key};
use crate::resolve::{Parts, Resolved, closure, held, resolve};
use crate::workspace::Workspace;
use fragment_sys::pool;

/// One run of a builder.
pub(crate) struct Build<'a> {
    library: &'a Library,
    workspace: &'a Workspace,
    options: &'a Options,
    progress: &'a dyn Progress,
    base: Option<Base>,
    parts: Parts,
    recorded: RefCell<BTreeMap<ComponentName, Option<Recorded>>>,
}

/// A component as an earlier build left it.
type Recorded = Rc<(Manifest, Record)>;

/// What is needed to go on with a component.
#[derive(Debug, Default)]
struct Pending {
    /// To be looked at: reused or cut.
    names: BTreeSet<ComponentName>,
    /// Cut, waiting for what they require.
    cut: BTreeMap<ComponentName, (BTreeSet<ComponentName>, Fresh)>,
}

impl<'a> Build<'a> {
    /// A run that has looked at nothing yet.
    pub(crate) fn new(
        library: &'a Library,
        workspace: &'a Workspace,
        options: &'a Options,
        progress: &'a dyn Progress,
    ) -> Self {
        Self {
            library,
            workspace,
            options,
            progress,
            base: None,
            parts: Parts::new(),
            recorded: RefCell::default(),
        }
    }

    /// All parts, and what their files need from others, once everything `wanted` requires is known.
    pub(crate) fn run(
        mut self,
        wanted: BTreeSet<ComponentName>,
    ) -> Result<(Parts, BTreeMap<ComponentName, Resolved>)> {
        self.gather(wanted.clone())?;
        self.check_bundles()?;
        let resolved = self.resolve(wanted)?;
        Ok((self.parts, resolved))
    }

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
        if let Some(recorded) = self.recorded(name)? {
            requires.extend(recorded.1.below.keys().cloned());
        }
        Ok(requires)
    }

    /// What an earlier build left of `name`, read once.
    fn recorded(&self, name: &ComponentName) -> Result<Option<Recorded>> {
        let Some(generation) = self
            .workspace
            .generation()
            .filter(|_| !self.options.rebuild)
        else {
            return Ok(None);
        };
        if let Some(known) = self.recorded.borrow().get(name) {
            return Ok(known.clone());
        }
        let key = key(self.library.digest(name)?, Some(generation.id));
        let read = Files::of(&self.options.output, name)
            .read(key, self.library)
            .map(Rc::new);
        self.recorded
            .borrow_mut()
            .insert(name.clone(), read.clone());
        Ok(read)
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
                Some(recorded) if self.is_current(&recorded.1) => {
                    self.parts
                        .insert(name, Part::reused(&recorded.0, &recorded.1));
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

    fn is_current(&self, record: &Record) -> bool {
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
}
