//! How components and decisions live on this node: limits, times, and what is declared of each component.
//!
//! docs/configuration.md tells the keys to users.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fragment_types::catalogue::RETENTION_SECONDS;
use fragment_types::{Capability, ComponentName};
use serde::{Deserialize, Serialize};

/// How long a component stays loaded after its last user where nobody says.
pub const RETENTION: Duration = Duration::from_secs(RETENTION_SECONDS);

/// How components and decisions live on this node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Life {
    /// How many decisions are kept, and for how long.
    pub cache: CacheLimits,
    /// How components are loaded.
    pub loads: LoadLimits,
    /// Memory that the library may take.
    pub memory: MemoryLimits,
    /// Disk space that the library may take.
    pub disk: DiskLimits,
    /// How long every component stays loaded after its last user; None: as its manifest says, and [`RETENTION`] of one that is
    /// silent. Ask [`Life::retention_of`].
    pub retention: Option<Duration>,
    /// What is loaded before anybody asks. Ask [`Life::preloaded`] for the components.
    pub preload: Preload,
    /// What is expected of the core component, the one that grants `process_execution`.
    pub core: Declared,
    /// What is expected of components, and said of their life.
    pub components: BTreeMap<ComponentName, Declared>,
    /// Components that tasks of a class need, by the name of the class.
    pub strategies: BTreeMap<String, Strategy>,
}

/// Limits of the cache of decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheLimits {
    /// Most entries that are kept; 0: none is.
    pub entries: usize,
    /// How long an entry is kept that nobody uses.
    pub idle: Duration,
}

impl Default for CacheLimits {
    fn default() -> Self {
        Self {
            entries: 100,
            idle: Duration::from_secs(300),
        }
    }
}

/// Limits of loading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadLimits {
    /// Most components that are loaded at a time on this node; at least 1.
    pub concurrent: usize,
    /// How long one load may take; more than zero.
    pub timeout: Duration,
}

impl Default for LoadLimits {
    fn default() -> Self {
        Self {
            concurrent: 10,
            timeout: Duration::from_secs(30),
        }
    }
}

/// Limits of the memory that files of the library take in the page cache, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryLimits {
    /// Above it, components without users are let go. None: no limit.
    pub soft_limit: Option<u64>,
    /// Down to which they are let go; never above the soft limit. None where there is no limit.
    pub target: Option<u64>,
}

/// Limits of the disk space that the library takes, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskLimits {
    /// Above it, components without users are removed. None: no limit.
    pub limit: Option<u64>,
    /// Free space of the store's file system below which nothing is loaded before room was made.
    pub min_free: u64,
}

impl Default for DiskLimits {
    fn default() -> Self {
        Self {
            limit: None,
            min_free: 100_000_000,
        }
    }
}

/// What is loaded before anybody asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preload {
    /// The components listed.
    pub components: Vec<ComponentName>,
    /// Whether components are preloaded by the history of their use, while memory and disk are at ease.
    pub adaptive: bool,
    /// Percent of the last ten seconds in which some process waited for memory, from which on nothing is preloaded by history; at
    /// most 100.
    pub memory_pressure: u8,
    /// The same of waiting for the disk.
    pub io_pressure: u8,
}

impl Default for Preload {
    fn default() -> Self {
        Self {
            components: Vec::new(),
            adaptive: false,
            memory_pressure: 5,
            io_pressure: 20,
        }
    }
}

/// What is expected of a component, and said of its life. Nothing of it is needed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declared {
    /// Most bytes of its blob as stored; `config check` compares.
    pub size: Option<u64>,
    /// Capabilities it grants at least; `config check` compares.
    pub capabilities: BTreeSet<Capability>,
    /// Longest first load; more is told and counted, and `config check` compares the last one.
    pub load_time: Option<Duration>,
    /// Whether it is preloaded, whatever the list says.
    pub preload: Option<bool>,
    /// How long it stays loaded after its last user.
    pub retention: Option<Duration>,
}

/// What tasks of a class need.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Strategy {
    /// Components that are loaded when a task of the class is assigned and released when it is done.
    pub components: Vec<ComponentName>,
}

impl Life {
    /// How long component `name` stays loaded after its last user: what is said of it, else of all, else its manifest's `own`.
    #[must_use]
    pub fn retention_of(&self, name: &ComponentName, own: Duration) -> Duration {
        let declared = self.components.get(name);
        declared
            .and_then(|declared| declared.retention)
            .or(self.retention)
            .unwrap_or(own)
    }

    /// The components to preload: the list and those declared so, without those declared otherwise.
    #[must_use]
    pub fn preloaded(&self) -> BTreeSet<ComponentName> {
        let mut names: BTreeSet<_> = self.preload.components.iter().cloned().collect();
        for (name, declared) in &self.components {
            match declared.preload {
                Some(true) => names.insert(name.clone()),
                Some(false) => names.remove(name),
                None => false,
            };
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ComponentName {
        ComponentName::new(text).unwrap()
    }

    #[test]
    fn what_is_said_of_a_component_is_stronger_than_what_is_said_of_all() {
        let own = Duration::from_secs(300);
        let mut life = Life::default();
        assert_eq!(life.retention_of(&name("curl"), own), own);
        life.retention = Some(Duration::from_secs(60));
        assert_eq!(
            life.retention_of(&name("curl"), own),
            Duration::from_secs(60)
        );
        let declared = Declared {
            retention: Some(Duration::ZERO),
            ..Declared::default()
        };
        life.components.insert(name("curl"), declared);
        assert_eq!(life.retention_of(&name("curl"), own), Duration::ZERO);
    }

    #[test]
    fn components_are_preloaded_that_are_listed_or_declared_so() {
        let declared = |preload| Declared {
            preload,
            ..Declared::default()
        };
        let mut life = Life::default();
        life.preload.components = vec![name("a"), name("b")];
        life.components.insert(name("a"), declared(Some(false)));
        life.components.insert(name("b"), declared(None));
        life.components.insert(name("c"), declared(Some(true)));
        assert_eq!(life.preloaded(), [name("b"), name("c")].into());
    }
}
