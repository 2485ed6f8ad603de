//! The library of a node as one value, for programs that embed it: tasks in, composed fragments out.
//!
//! ```no_run
//! use fragment::{Manager, Settings, Task};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! fragment::begin(false)?;
//! let manager = Manager::open(Settings::load()?)?;
//! let task = Task::new(["curl", "https://example.org/"])?;
//! let fragment = manager.process_task(&task)?;
//! println!("{} of {} components", fragment.id(), fragment.components().len());
//! let finished = manager.run(&fragment)?;
//! println!("{}: {}", finished.code, finished.stdout);
//! # Ok(())
//! # }
//! ```
//!
//! The same with a library that is made on the spot, of two directories:
//!
//! ```
//! use fragment::store::Store;
//! use fragment::{Capability, ComponentName, DirectoryComponent, Manager, Settings, Task};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use std::{fs, os::unix::fs::PermissionsExt as _};
//! # let place = tempfile::tempdir()?;
//! # let root = |name: &str, file: &str| -> std::io::Result<std::path::PathBuf> {
//! #     let root = place.path().join(name);
//! #     let file = root.join(file);
//! #     fs::create_dir_all(file.parent().expect("a parent"))?;
//! #     fs::write(&file, "#!/usr/bin/interpreter\n")?;
//! #     fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
//! #     Ok(root)
//! # };
//! # let (core_root, greeter_root) = (root("core", "usr/bin/interpreter")?, root("greeter", "usr/bin/greet")?);
//! # fs::write(core_root.join("usr/bin/interpreter"), "")?;
//! let settings = Settings {
//!     store: place.path().join("library"),
//!     state: place.path().join("state"),
//!     ..Settings::default()
//! };
//! Store::open_or_create(&settings.store)?;
//! let manager = Manager::open(settings)?;
//! // what grants this is in every composition
//! let mut core = DirectoryComponent::new(ComponentName::new("core")?, core_root);
//! core.capabilities = [Capability::new("process_execution")?].into();
//! manager.add_directory(&core)?;
//! // its script needs the interpreter, which core has
//! let greeter = DirectoryComponent::new(ComponentName::new("greeter")?, greeter_root);
//! assert!(manager.add_directory(&greeter)?.requires.components.contains(&core.name));
//!
//! let fragment = manager.process_task(&Task::new(["greet"])?)?;
//! let names: Vec<_> = fragment.components().iter().map(|one| one.name.as_str()).collect();
//! assert_eq!(names, ["greeter", "core"]);
//! // as long as the fragment lives, nobody can unload them
//! assert!(manager.unload(&greeter.name).is_err());
//! drop(fragment);
//! assert!(manager.unload(&greeter.name)? > 0);
//! assert_eq!(manager.performance_metrics()?.fragments_created, 1);
//! manager.shutdown()?;
//! # Ok(())
//! # }
//! ```
//!
//! A [`ComposedFragment`] holds a lease: as long as it lives nothing of it can be unloaded, by whatever process, and all of it is
//! unpacked. Dropped, or with its process, the lease ends.

mod add;
mod composed;
mod error;
mod metrics;
mod run;
mod strategy;

use std::convert::Infallible;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fragment_store::{Holder, LeasedComponent, Load, LoadOptions, Source, Store, StoreError};
use fragment_sys::pool;
use fragment_types::{ComponentName, ComponentSummary, Manifest};
use serde::Serialize;

use crate::adaptive::{self, Adaptive};
use crate::cache::PlanCache;
use crate::control::Wishes;
use crate::library::Library;
use crate::life::{self, Collected, Status};
use crate::metrics::{Counted, Counter, Metrics};
use crate::planner;
use crate::pressure::{Machine, PressureError};
use crate::process;
use crate::settings::Settings;
use crate::task::Task;

pub use composed::{ComposedFragment, Summary};
pub use error::ManagerError;
pub use metrics::PerformanceMetrics;
pub use run::{Finished, MAX_OUTPUT, Running};
pub use strategy::Assignment;

/// Bytes of components in memory above which a warning is given.
pub const MEMORY_WARNING: u64 = 100_000_000;
/// Time to make a fragment above which a warning is given.
pub const SLOW_WARNING: Duration = Duration::from_millis(500);

/// The library of a node, opened.
#[derive(Debug)]
pub struct Manager {
    settings: Settings,
    store: Store,
    cache: Option<PlanCache>,
    metrics: Metrics,
    /// Numbers the leases of this value.
    next: AtomicU64,
}

/// What a node has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SystemInfo {
    /// Version of fragment-runc.
    pub version: semver::Version,
    /// The store's directory.
    pub store: std::path::PathBuf,
    /// Components in the library.
    pub components: usize,
    /// Components that are loaded.
    pub loaded: usize,
    /// Components that leases name.
    pub in_use: usize,
    /// Bytes of all layers.
    pub stored: u64,
    /// Bytes of the files of loaded components.
    pub unpacked: u64,
    /// Bytes of those that are in the page cache.
    pub in_memory: u64,
    /// Leases: containers, and fragments that programs hold.
    pub leases: usize,
}

/// A component with everything that is known of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ComponentInfo {
    /// What it is made of.
    pub manifest: Manifest,
    /// What of it is on this node.
    pub status: Status,
}

impl Manager {
    /// Opens the library that `settings` name.
    ///
    /// # Errors
    /// [`StoreError::Absent`] where there is none; when it cannot be read.
    pub fn open(settings: Settings) -> Result<Self, ManagerError> {
        let store = Store::open(&settings.store)?;
        let cache = PlanCache::open(&settings);
        let metrics = Metrics::open(&settings.state);
        Ok(Self {
            settings,
            store,
            cache,
            metrics,
            next: AtomicU64::new(0),
        })
    }

    /// The settings it was opened with.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Works out what `task` needs, and has it ready: every component unpacked, and kept so by a lease. A decision that was made for the
    /// same task before, by any process, is used again.
    ///
    /// # Errors
    /// [`ManagerError::Plan`] when the task cannot run, [`ManagerError::Store`] when a component cannot be loaded; nothing is held then.
    pub fn process_task(&self, task: &Task) -> Result<ComposedFragment, ManagerError> {
        self.process_task_with(task, Wishes::default())
    }

    /// The same with wishes that are stronger than those of the settings.
    ///
    /// # Errors
    /// As [`Manager::process_task`].
    pub fn process_task_with(
        &self,
        task: &Task,
        wishes: Wishes,
    ) -> Result<ComposedFragment, ManagerError> {
        let started = Instant::now();
        let composed = self
            .compose(task, wishes, started)
            .inspect_err(|_| self.metrics.add(Counter::Failures, 1))?;
        self.metrics.add(Counter::Fragments, 1);
        self.metrics.cache(composed.is_cached());
        let names = composed.components().iter().map(|layer| &layer.name);
        self.count_loads(names, composed.loads());
        self.metrics.composed(composed.time());
        if composed.time() > SLOW_WARNING {
            tracing::warn!(
                "{}: making the fragment took {} ms, more than {} ms",
                composed.id(),
                composed.time().as_millis(),
                SLOW_WARNING.as_millis()
            );
        }
        Ok(composed)
    }

    fn compose(
        &self,
        task: &Task,
        wishes: Wishes,
        started: Instant,
    ) -> Result<ComposedFragment, ManagerError> {
        let library = Library::open(&self.settings)?;
        let cache = self.cache.as_ref();
        let (planned, is_kept) = planner::task_kept(&self.settings, &library, task, wishes, cache)?;
        let components: Vec<LeasedComponent> = planned.plan.layers.iter().map(Into::into).collect();
        let lease = self.lease(&components)?;
        let options = life::load_options(&self.settings.life);
        let loads = self.store.ready(&components, &options)?;
        Ok(ComposedFragment::new(
            task.clone(),
            planned.plan,
            loads,
            is_kept,
            started.elapsed(),
            lease,
        ))
    }

    fn lease(&self, components: &[LeasedComponent]) -> Result<composed::Held, StoreError> {
        let this = process::this();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}-{number}", process::name("fragment"));
        let holder = Holder {
            runtime_root: self.settings.state.join("containers"),
            id: id.clone(),
            process: this,
        };
        let key = format!("{}\0{id}", self.settings.state.display());
        self.store.lease(&key, holder, components, None)?;
        Ok(composed::Held::new(self.store.clone(), key))
    }

    /// The same for many tasks, several at a time; results in the order of the tasks. One that fails stops none of the others.
    pub fn process_batch(&self, tasks: &[Task]) -> Vec<Result<ComposedFragment, ManagerError>> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let work = |task: &Task| Ok::<_, Infallible>(self.process_task(task));
        let Ok(results) = pool::map(2 * cores, tasks, &work);
        results
    }

    /// Every component of the library, by name.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub fn components(&self) -> Result<Vec<ComponentSummary>, ManagerError> {
        Ok(self.store.components()?)
    }

    /// A component, by its name.
    ///
    /// # Errors
    /// [`StoreError::Unknown`]: ``component `x` is not in the library``.
    pub fn component(&self, name: &ComponentName) -> Result<ComponentInfo, ManagerError> {
        let manifest = self.store.manifest(&self.store.digest_of(name)?)?;
        let usages = self.store.usages(&life::limits(&self.settings.life))?;
        let usage = usages.into_iter().find(|usage| usage.name == *name);
        let usage = usage.ok_or_else(|| StoreError::Unknown {
            component: name.clone(),
        })?;
        let status = Status::of(&self.store, usage)?;
        Ok(ComponentInfo { manifest, status })
    }

    /// Unpacks components and begins to read them into memory, before a task needs them.
    ///
    /// # Errors
    /// [`StoreError::Unknown`]; as [`Store::load`].
    pub fn preload(&self, names: &[ComponentName]) -> Result<Vec<Load>, ManagerError> {
        self.preload_from(names, &[])
    }

    /// The same, with layers that the library lacks taken from `sources`, asked in order.
    ///
    /// # Errors
    /// As [`Manager::preload`]; [`StoreError::Source`].
    pub fn preload_from(
        &self,
        names: &[ComponentName],
        sources: &[&dyn Source],
    ) -> Result<Vec<Load>, ManagerError> {
        let options = LoadOptions {
            sources,
            ..life::load_options(&self.settings.life)
        };
        let named = |name: &ComponentName| Ok(LeasedComponent::from(self.store.component(name)?));
        let components: Result<Vec<_>, StoreError> = names.iter().map(named).collect();
        let loads = life::warm(&self.store, &components?, &options)?;
        self.count_loads(names.iter(), &loads);
        Ok(loads)
    }

    fn count_loads<'n>(&self, names: impl Iterator<Item = &'n ComponentName>, loads: &[Load]) {
        life::loaded(
            &self.store,
            &self.settings.life,
            &self.metrics,
            names,
            loads,
        );
    }

    /// Preloads what the settings list; how each came to be there.
    ///
    /// # Errors
    /// As [`Manager::preload`].
    pub fn preload_configured(&self) -> Result<Vec<Load>, ManagerError> {
        let names: Vec<_> = self.settings.life.preloaded().into_iter().collect();
        self.preload(&names)
    }

    /// Preloads what was used often and recently, while memory and disk are at ease and as long as nothing has to go for it, whatever
    /// `preload.adaptive` of the settings says. Mostly to be called after [`Manager::preload_configured`].
    ///
    /// # Errors
    /// When catalogue, leases or trees cannot be read. A component that cannot be loaded is left, and told.
    pub fn preload_adaptive(&self) -> Result<Adaptive, ManagerError> {
        self.preload_adaptive_on(&mut || Machine::look(Path::new("/proc")))
    }

    /// The same with a machine of the caller's, which is looked at again after each component.
    ///
    /// # Errors
    /// As [`Manager::preload_adaptive`].
    pub fn preload_adaptive_on(
        &self,
        look: &mut dyn FnMut() -> Result<Machine, PressureError>,
    ) -> Result<Adaptive, ManagerError> {
        // uses end with their leases
        Library::sweep_leases(&self.store)?;
        let adaptive = adaptive::preload(&self.store, &self.settings.life, look)?;
        let loads: Vec<Load> = adaptive.preloaded.iter().map(|one| one.load).collect();
        self.count_loads(adaptive.preloaded.iter().map(|one| &one.name), &loads);
        Ok(adaptive)
    }

    /// Removes the unpacked files of a component; its layer stays. Bytes of its files.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while a container or fragment uses it.
    pub fn unload(&self, name: &ComponentName) -> Result<u64, ManagerError> {
        Library::sweep_leases(&self.store)?;
        let freed = self.store.unload(name)?;
        if freed > 0 {
            self.metrics.add(Counter::Unloads, 1);
        }
        Ok(freed)
    }

    /// Ends the leases of what is gone, removes what no component has any more, and makes the limits of the settings hold.
    ///
    /// # Errors
    /// When leases, manifests or trees cannot be read or removed.
    pub fn cleanup_unused(&self) -> Result<Collected, ManagerError> {
        let collected = life::collect(&self.store, &life::limits(&self.settings.life))?;
        self.metrics.tidied(&collected.tidied);
        Ok(collected)
    }

    /// What this node has.
    ///
    /// # Errors
    /// When catalogue, leases or trees cannot be read.
    pub fn system_info(&self) -> Result<SystemInfo, ManagerError> {
        let all = life::status(&self.store, &self.settings.life)?;
        let sum = |of: &dyn Fn(&Status) -> u64| all.iter().map(of).sum();
        let count = |of: &dyn Fn(&Status) -> bool| all.iter().filter(|one| of(one)).count();
        let in_memory = sum(&|one| one.cached);
        if in_memory > MEMORY_WARNING {
            tracing::warn!(
                "components take {in_memory} bytes of memory, more than {MEMORY_WARNING}"
            );
        }
        Ok(SystemInfo {
            version: crate::version(),
            store: self.store.root().to_owned(),
            components: all.len(),
            loaded: count(&|one| one.usage.loaded),
            in_use: count(&|one| one.usage.users > 0),
            stored: sum(&|one| one.usage.stored),
            unpacked: sum(&|one| one.usage.plain),
            in_memory,
            leases: self.store.leases()?.len(),
        })
    }

    /// What all processes of this node have done since the machine started.
    #[must_use]
    pub fn node_metrics(&self) -> Counted {
        self.metrics.read()
    }

    /// What this value has done so far.
    ///
    /// # Errors
    /// As [`Manager::system_info`].
    pub fn performance_metrics(&self) -> Result<PerformanceMetrics, ManagerError> {
        let in_memory = self.system_info()?.in_memory;
        Ok(PerformanceMetrics::of(&self.metrics.own(), in_memory))
    }

    /// Makes the limits hold and ends. Fragments that are still held stay whole until they are dropped.
    ///
    /// # Errors
    /// As [`Manager::cleanup_unused`].
    pub fn shutdown(self) -> Result<(), ManagerError> {
        self.cleanup_unused().map(drop)
    }
}
