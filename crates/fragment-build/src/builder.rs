//! Building a library: install, cut, resolve, pack.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use fragment_types::{ComponentName, Manifest};

use crate::error::{Error, Result};
use crate::gather::Build;
use crate::library::{Library, order};
use crate::machine::{Machine, require_tools};
use crate::manifest::{Product, produce};
use crate::part::Origin;
use crate::progress::{Event, Phase, Progress};
use crate::record::{Files, key};
use crate::resolve::{Parts, Resolved};
use crate::workspace::Workspace;
use fragment_sys::pool;

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
        let build = Build::new(&self.library, &self.workspace, &self.options, progress);
        let (parts, resolved) = build.run(wanted)?;
        let steps = steps(&parts, resolved)?;
        let make = |step: &Step| self.make(step, &parts, progress);
        pool::in_order(self.options.jobs, &steps, &make, &mut |built| {
            let component = built.manifest.name.clone();
            hand_over(built).map_err(|source| Error::HandOver { component, source })
        })
    }

    /// Writes a component, unless an earlier build did.
    fn make(&self, step: &Step, parts: &Parts, progress: &dyn Progress) -> Result<Built> {
        let name = &step.name;
        let files = Files::of(&self.options.output, name);
        let part = parts
            .get(name)
            .ok_or_else(|| self.library.unknown(name.as_str()))?;
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
                    requires: &step.requires,
                    resolved: &step.resolved,
                    parts,
                    library: &self.library,
                };
                let generation = self.workspace.generation().map(|g| g.id);
                let key = key(self.library.digest(name)?, generation);
                (produce(&product, &files, key, progress)?, false)
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

/// A component about to be written.
struct Step {
    name: ComponentName,
    /// All components it requires directly.
    requires: BTreeSet<ComponentName>,
    resolved: Resolved,
}

/// The components in an order in which each comes after those it requires.
fn steps(parts: &Parts, mut resolved: BTreeMap<ComponentName, Resolved>) -> Result<Vec<Step>> {
    let mut graph = BTreeMap::new();
    for part in parts.values() {
        let needed = match &part.origin {
            Origin::Reused(manifest) => Some(&manifest.requires.components),
            Origin::Fresh(_) => resolved.get(&part.name).map(|r| &r.components),
        };
        let requires: BTreeSet<ComponentName> = part
            .requires
            .iter()
            .chain(needed.into_iter().flatten())
            .cloned()
            .collect();
        graph.insert(part.name.clone(), requires);
    }
    let order = order(&graph).map_err(|cycle| Error::CyclicRequires { cycle })?;
    let step = |name: ComponentName| Step {
        requires: graph.remove(&name).unwrap_or_default(),
        resolved: resolved.remove(&name).unwrap_or_default(),
        name,
    };
    Ok(order.into_iter().map(step).collect())
}
