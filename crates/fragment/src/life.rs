//! The life of the library's components on this node: what is loaded, used and in memory, and what goes when room is needed.

use fragment_store::{
    LeasedComponent, Limits, Load, LoadOptions, MemoryLimits, Removed, Store, StoreError, Tidied,
    Usage,
};
use fragment_types::catalogue::CORE_CAPABILITY;
use fragment_types::{ComponentName, ComponentSummary};
use serde::Serialize;

use crate::library::Library;
use crate::settings::Life;

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

/// Whether a component stays whatever the limits say: what grants `process_execution` is in every composition.
#[must_use]
pub fn is_pinned(component: &ComponentSummary) -> bool {
    component.grants(CORE_CAPABILITY)
}

/// Every component of the library with its use and its memory, by name.
///
/// # Errors
/// When catalogue, leases or trees cannot be read.
pub fn status(store: &Store) -> Result<Vec<Status>, StoreError> {
    let with_memory = |usage: Usage| {
        let cached = match usage.loaded {
            true => store.cached_bytes(&usage.diff_id)?,
            false => 0,
        };
        Ok(Status { usage, cached })
    };
    store
        .usages(&is_pinned)?
        .into_iter()
        .map(with_memory)
        .collect()
}

/// Loads components and begins to read their files into memory; how each came to be there, in order.
///
/// # Errors
/// [`StoreError::Unknown`] for a name that the library does not have; else as [`Store::load`].
pub fn preload(
    store: &Store,
    names: &[ComponentName],
    options: &LoadOptions<'_>,
) -> Result<Vec<Load>, StoreError> {
    let named = |name: &ComponentName| {
        let found = store.component(name)?;
        Ok(LeasedComponent {
            name: found.name,
            digest: found.digest,
            diff_id: found.diff_id,
        })
    };
    let wanted = names
        .iter()
        .map(named)
        .collect::<Result<Vec<_>, StoreError>>()?;
    let loads = store.ready(&wanted, options)?;
    for component in &wanted {
        store.read_ahead(&component.diff_id)?;
    }
    Ok(loads)
}

/// Ends the leases of containers that are gone, removes what no component has any more, and makes the limits hold.
///
/// # Errors
/// When leases, manifests or trees cannot be read or removed.
pub fn collect(store: &Store, limits: &Limits) -> Result<Collected, StoreError> {
    Ok(Collected {
        leases: Library::sweep_leases(store)?,
        removed: store.remove_unreferenced()?,
        tidied: store.tidy(limits, &is_pinned)?,
    })
}

/// How the settings bound loads.
#[must_use]
pub fn load_options(life: &Life) -> LoadOptions<'static> {
    LoadOptions {
        concurrent: life.loads.concurrent,
        timeout: life.loads.timeout,
        sources: &[],
    }
}

/// Has components unpacked that a lease keeps, and makes room on the disk first where the settings ask for it. `bytes` are those of the
/// files of each. How each came to be there, in order.
///
/// # Errors
/// As [`Store::ready`].
pub fn ready(
    store: &Store,
    components: &[LeasedComponent],
    bytes: &dyn Fn(usize) -> u64,
    life: &Life,
) -> Result<Vec<Load>, StoreError> {
    let missing = store.missing_trees(components)?;
    if !missing.is_empty() {
        let needed = missing.iter().map(|number| bytes(*number)).sum();
        store.make_room(&limits(life), &is_pinned, needed)?;
    }
    store.load_missing(components, &missing, &load_options(life))
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
    }
}
