//! The library as the decision sees it: which component holds a package, and every path of a set of components.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fragment::Library;
use fragment_types::manifest::PathEntry;
use fragment_types::{Capability, Catalogue as _, ComponentName, Manifest};

use crate::error::ImageError;

/// What the component below all others grants (ARCHITECTURE.md, invariant 9).
const CORE: &str = "process_execution";

/// Components by name, their manifests read once.
#[derive(Debug)]
pub(crate) struct Shelf<'l> {
    library: &'l Library,
    manifests: BTreeMap<ComponentName, Manifest>,
    preferences: BTreeMap<ComponentName, i32>,
    core: Option<ComponentName>,
    /// Package to the component that holds it whole.
    holders: HashMap<String, Option<ComponentName>>,
}

impl<'l> Shelf<'l> {
    pub(crate) fn new(library: &'l Library) -> Result<Self, ImageError> {
        let mut shelf = Self {
            library,
            manifests: BTreeMap::new(),
            preferences: BTreeMap::new(),
            core: None,
            holders: HashMap::new(),
        };
        let granting = Capability::new(CORE).ok();
        for index in library.granting(granting.as_ref().map_or(CORE, Capability::as_str))? {
            let component = library.component(index)?;
            let is_better = shelf
                .core
                .as_ref()
                .is_none_or(|core| shelf.preferences[core] < component.preference);
            shelf
                .preferences
                .insert(component.name.clone(), component.preference);
            if is_better {
                shelf.core = Some(component.name);
            }
        }
        Ok(shelf)
    }

    /// The component that holds all of `package` in the upstream version `version`: of several, the preferred one.
    pub(crate) fn holder(
        &mut self,
        package: &str,
        version: &str,
    ) -> Result<Option<ComponentName>, ImageError> {
        if let Some(known) = self.holders.get(package) {
            return Ok(known.clone());
        }
        let mut best: Option<(i32, ComponentName)> = None;
        for index in self.library.holding_package(package)? {
            let component = self.library.component(index)?;
            let manifest = self.manifest(&component.name)?;
            let whole = manifest.packages.iter().any(|held| {
                held.name == package && !held.sliced && upstream(&held.version) == upstream(version)
            });
            if whole
                && best
                    .as_ref()
                    .is_none_or(|(most, _)| *most < component.preference)
            {
                best = Some((component.preference, component.name));
            }
        }
        let holder = best.map(|(_, name)| name);
        self.holders.insert(package.to_owned(), holder.clone());
        Ok(holder)
    }

    /// `components` and core, with everything that they require.
    pub(crate) fn closure(
        &mut self,
        components: &BTreeSet<ComponentName>,
    ) -> Result<BTreeSet<ComponentName>, ImageError> {
        let mut closure = BTreeSet::new();
        let mut todo: Vec<ComponentName> = components.iter().chain(&self.core).cloned().collect();
        while let Some(name) = todo.pop() {
            let Some(index) = self.library.named(name.as_str())?.first().copied() else {
                continue;
            };
            let component = self.library.component(index)?;
            if closure.insert(component.name.clone()) {
                self.manifest(&component.name)?;
                todo.extend(component.requires);
            }
        }
        Ok(closure)
    }

    /// The manifest of a component that [`Self::holder`] or [`Self::closure`] named.
    pub(crate) fn known(&self, name: &ComponentName) -> Option<&Manifest> {
        self.manifests.get(name)
    }

    /// Every path of `components`.
    pub(crate) fn paths(
        &self,
        components: &BTreeSet<ComponentName>,
    ) -> HashMap<&str, Vec<&PathEntry>> {
        let mut paths: HashMap<&str, Vec<&PathEntry>> = HashMap::new();
        for entry in components
            .iter()
            .filter_map(|name| self.manifests.get(name))
            .flat_map(|manifest| &manifest.provides.paths)
        {
            paths.entry(&entry.path).or_default().push(entry);
        }
        paths
    }

    fn manifest(&mut self, name: &ComponentName) -> Result<&Manifest, ImageError> {
        if !self.manifests.contains_key(name)
            && let Some(store) = self.library.store()
        {
            let manifest = store.manifest(&store.digest_of(name)?)?;
            self.manifests.insert(name.clone(), manifest);
        }
        self.manifests.get(name).ok_or_else(|| {
            ImageError::layout(
                self.library.directory(),
                "there is no component library here",
            )
        })
    }
}

/// A Debian version without epoch and revision (deb-version(7)): revisions of one upstream version are exchanged by every
/// upgrade of the system.
fn upstream(version: &str) -> &str {
    let version = version.split_once(':').map_or(version, |(_, rest)| rest);
    version.rsplit_once('-').map_or(version, |(rest, _)| rest)
}

#[cfg(test)]
mod tests {
    use super::upstream;

    #[test]
    fn revisions_are_left_out() {
        for (version, expected) in [
            ("1:2.36-9+deb12u14", "2.36"),
            ("20250419~deb12u2", "20250419~deb12u2"),
            ("3.0.22-1~deb12u2", "3.0.22"),
        ] {
            assert_eq!(upstream(version), expected);
        }
    }
}
