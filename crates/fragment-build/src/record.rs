//! What a component was built of, so that an unchanged one is not built again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use fragment_types::{ComponentName, Digest, Manifest};
use serde::{Deserialize, Serialize};

use crate::library::Library;

/// Changes when the same input gives another component.
const BUILDER: u32 = 3;

/// Written beside a component as `NAME.build`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    /// Digest of the recipe, the defaults, the base root's generation and the builder.
    pub(crate) key: Digest,
    /// Digest of the manifest's bytes.
    pub(crate) manifest: Digest,
    /// Components required whatever its files need.
    pub(crate) requires: BTreeSet<ComponentName>,
    /// All components required, each with the digest of what it held.
    pub(crate) below: BTreeMap<ComponentName, Digest>,
    /// Packages of the dependency closure and the recipe that claimed each.
    pub(crate) claims: BTreeMap<String, Option<ComponentName>>,
    /// Files outside that its own need, and the recipes that hold each.
    pub(crate) held: BTreeSet<Held>,
    /// Packages held whole that no recipe claims.
    pub(crate) bundled: BTreeSet<String>,
}

/// A file of a package and the recipes that hold it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Held {
    pub(crate) package: String,
    pub(crate) path: String,
    pub(crate) by: BTreeSet<ComponentName>,
}

impl Held {
    pub(crate) fn find(package: String, path: String, library: &Library) -> Self {
        let by = library.holders(&package, &path).cloned().collect();
        Self { package, path, by }
    }
}

/// The files of a component in the output directory.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(crate) manifest: PathBuf,
    pub(crate) layer: PathBuf,
    pub(crate) record: PathBuf,
}

impl Files {
    pub(crate) fn of(output: &Path, name: &ComponentName) -> Self {
        let file = |suffix| output.join(format!("{name}.{suffix}"));
        Self {
            manifest: file("json"),
            layer: file("tar.zst"),
            record: file("build"),
        }
    }

    /// The component as an earlier build left it, if it was built of the same input as far as recipes and packages go.
    pub(crate) fn read(&self, key: Digest, library: &Library) -> Option<(Manifest, Record)> {
        let record: Record = serde_json::from_slice(&std::fs::read(&self.record).ok()?).ok()?;
        let bytes = std::fs::read(&self.manifest).ok()?;
        let manifest: Manifest = serde_json::from_slice(&bytes).ok()?;
        let unchanged = record.key == key
            && record.manifest == Digest::of(&bytes)
            && std::fs::metadata(&self.layer).is_ok_and(|m| m.len() == manifest.size.stored)
            && record
                .claims
                .iter()
                .all(|(package, claim)| library.claimed_by(package) == claim.as_ref())
            && record
                .held
                .iter()
                .all(|h| *h == Held::find(h.package.clone(), h.path.clone(), library));
        unchanged.then_some((manifest, record))
    }
}

/// The key of a component.
pub(crate) fn key(recipe: Digest, generation: Option<Digest>) -> Digest {
    Digest::of(format!("{BUILDER}\n{recipe}\n{generation:?}\n").as_bytes())
}
