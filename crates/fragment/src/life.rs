//! The life of the library's components on this node: what is loaded, used and in memory, and what goes when room is needed.

use std::time::Duration;

use fragment_store::{
    LeasedComponent, Limits, Load, LoadOptions, MemoryLimits, Removed, Store, StoreError, Tidied,
    Usage,
};
use fragment_types::catalogue::CORE_CAPABILITY;
use fragment_types::{Capability, ComponentName};
use serde::Serialize;

use crate::library::Library;
use crate::metrics::{Counter, Metrics};
use crate::settings::Life;
use crate::settings::quantity::{measured_text, time_text};

/// What [`collect`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Collected {
    /// Leases whose container was gone.
    pub leases: usize,
    /// Layers and trees that no component of the library has any more.
    #[serde(flatten)]
    pub removed: Removed,
    /// What the limits asked for.
    #[serde(flatten)]
    pub tidied: Tidied,
}

/// A component with what of it is in memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Its use.
    #[serde(flatten)]
    pub usage: Usage,
    /// Bytes of its files in the page cache.
    pub cached: u64,
}

impl Status {
    /// The same of a component whose use is known.
    ///
    /// # Errors
    /// When its tree cannot be read.
    pub fn of(store: &Store, usage: Usage) -> Result<Self, StoreError> {
        let cached = match usage.loaded {
            true => store.cached_bytes(&usage.diff_id)?,
            false => 0,
        };
        Ok(Self { usage, cached })
    }
}

/// Every component of the library with its use and its memory, by name.
///
/// # Errors
/// When catalogue, leases or trees cannot be read.
pub fn status(store: &Store, life: &Life) -> Result<Vec<Status>, StoreError> {
    let usages = store.usages(&limits(life))?.into_iter();
    usages.map(|usage| Status::of(store, usage)).collect()
}

/// Loads components and begins to read their files into memory; how each came to be there, in order.
///
/// # Errors
/// As [`Store::load`].
pub fn warm(
    store: &Store,
    components: &[LeasedComponent],
    options: &LoadOptions<'_>,
) -> Result<Vec<Load>, StoreError> {
    let loads = store.ready(components, options)?;
    for (component, load) in components.iter().zip(&loads) {
        // what was just written is in memory
        if !matches!(load, Load::Unpacked { .. }) {
            store.read_ahead(&component.diff_id)?;
        }
    }
    Ok(loads)
}

/// Counts `loads` of the components of these names, and warns of those that took longer than the settings expect.
pub(crate) fn loaded<'n>(
    store: &Store,
    life: &Life,
    metrics: &Metrics,
    names: impl Iterator<Item = &'n ComponentName>,
    loads: &[Load],
) {
    metrics.loads(loads);
    for (name, load) in names.zip(loads) {
        let Load::Unpacked { time, .. } = load else {
            continue;
        };
        if let Some(most) = longest_load(store, life, name).filter(|most| time > most) {
            tracing::warn!(
                "component `{name}` took {} to load, more than its load_time of {}",
                measured_text(*time),
                time_text(most)
            );
            metrics.add(Counter::SlowLoads, 1);
        }
    }
}

/// How long a load of this component may take, as the settings say of it, of one of its aliases, or of the core component.
fn longest_load(store: &Store, life: &Life, name: &ComponentName) -> Option<Duration> {
    let said = |name: &ComponentName| life.components.get(name)?.load_time;
    let mut all = life.components.values().chain([&life.core]);
    if all.all(|declared| declared.load_time.is_none()) {
        // mostly nothing is said, and nothing has to be looked up
        return None;
    }
    let Ok(component) = store.component(name) else {
        return said(name);
    };
    let core = life.core.load_time;
    let core = core.filter(|_| component.grants(CORE_CAPABILITY));
    let named = said(name).or_else(|| component.aliases.iter().find_map(said));
    named.into_iter().chain(core).min()
}

/// Ends the leases of containers that are gone, removes what no component has any more, and makes the limits hold.
///
/// # Errors
/// When leases, manifests or trees cannot be read or removed.
pub fn collect(store: &Store, limits: &Limits) -> Result<Collected, StoreError> {
    Ok(Collected {
        leases: Library::sweep_leases(store)?,
        removed: store.remove_unreferenced()?,
        tidied: store.tidy(limits)?,
    })
}

/// How the settings bound loads.
#[must_use]
pub fn load_options(life: &Life) -> LoadOptions<'static> {
    LoadOptions {
        concurrent: life.loads.concurrent,
        timeout: life.loads.timeout,
        sources: &[],
        limits: limits(life),
    }
}

/// What the settings allow components.
#[must_use]
pub fn limits(life: &Life) -> Limits {
    let retention_of = life.components.iter().filter_map(|(name, declared)| {
        declared
            .retention
            .map(|retention| (name.clone(), retention))
    });
    let soft = life.memory.soft_limit;
    Limits {
        retention: life.retention,
        retention_of: retention_of.collect(),
        memory: soft.map(|soft| MemoryLimits {
            soft,
            target: life.memory.target.unwrap_or(soft),
        }),
        disk: life.disk.limit,
        disk_free: Some(life.disk.min_free),
        // every composition has it
        keep: Capability::new(CORE_CAPABILITY).ok(),
    }
}
