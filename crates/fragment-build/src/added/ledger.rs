//! What has been made of worlds, so that an unchanged component is not made again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use fragment_types::{ComponentName, Digest};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::world;

/// Changes when the same world gives other components.
const BUILDER: u32 = 2;

/// All components made.
#[derive(Debug)]
pub(crate) struct Ledger {
    file: PathBuf,
    pub(crate) made: BTreeMap<ComponentName, Made>,
}

/// One component, and what it was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Made {
    pub(crate) basis: Basis,
    /// Number of the last layer when it was made.
    pub(crate) layer: u32,
    /// The tree's digest.
    pub(crate) diff_id: Digest,
    /// All components it requires.
    pub(crate) requires: BTreeSet<ComponentName>,
}

/// What decides about a component beyond the content of its world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Basis {
    /// Packages and versions.
    pub(crate) members: BTreeMap<String, String>,
    pub(crate) world: usize,
    /// Components that its packages' dependencies mean.
    pub(crate) depends: BTreeSet<ComponentName>,
    /// Links of the alternatives system that can lead into it, and whether they do.
    pub(crate) alternatives: BTreeSet<String>,
    pub(crate) conflicts: BTreeSet<ComponentName>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    builder: u32,
    generation: Option<Digest>,
    made: BTreeMap<ComponentName, Made>,
}

impl Ledger {
    /// Reads the ledger of `directory`; that of another base root or builder says nothing.
    pub(crate) fn read(directory: &Path, generation: Option<Digest>) -> Self {
        let file = directory.join("ledger.json");
        let document = fs::read(&file)
            .ok()
            .and_then(|text| serde_json::from_slice::<Document>(&text).ok())
            .filter(|d| d.builder == BUILDER && d.generation == generation)
            .unwrap_or_default();
        Self {
            file,
            made: document.made,
        }
    }

    /// Writes it, all or nothing.
    pub(crate) fn save(&self, generation: Option<Digest>) -> Result<()> {
        let document = Document {
            builder: BUILDER,
            generation,
            made: self.made.clone(),
        };
        world::write(&self.file, &document)
    }

    /// Whether `wanted` and everything it requires is in the store as it was made; components of recipes only have to be there.
    pub(crate) fn is_served(
        &self,
        wanted: &ComponentName,
        present: &BTreeMap<ComponentName, Digest>,
    ) -> bool {
        let mut pending = vec![wanted];
        let mut seen = BTreeSet::new();
        while let Some(name) = pending.pop() {
            if !seen.insert(name) {
                continue;
            }
            let Some(stored) = present.get(name) else {
                return false;
            };
            if let Some(made) = self.made.get(name) {
                if made.diff_id != *stored {
                    return false;
                }
                pending.extend(&made.requires);
            }
        }
        true
    }

    /// The component that holds a package.
    pub(crate) fn holder(&self, package: &str) -> Option<&ComponentName> {
        self.made
            .iter()
            .find(|(_, made)| made.basis.members.contains_key(package))
            .map(|(name, _)| name)
    }
}
