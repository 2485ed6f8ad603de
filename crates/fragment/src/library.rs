//! The component library of this node, present or not.

use std::path::{Path, PathBuf};

use fragment_store::{MappedCatalogue, Store, StoreError};
use fragment_types::catalogue::{CommandProvider, PathProvider, SonameProvider};
use fragment_types::{Catalogue, CatalogueError, ComponentIndex, ComponentSummary, Digest};

use crate::process;
use crate::settings::Settings;

/// A library opened for reading. A node without one has an empty library: bundles that lack nothing run there too.
#[derive(Debug)]
pub struct Library {
    directory: PathBuf,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    store: Store,
    catalogue: MappedCatalogue,
}

impl Library {
    /// Opens the library of `settings`. Needs no root and changes nothing.
    ///
    /// # Errors
    /// When there is a store and its catalogue cannot be read. A directory without a store is an empty library.
    pub fn open(settings: &Settings) -> Result<Self, StoreError> {
        let _span = tracing::debug_span!("library").entered();
        let open = match Store::open(&settings.store) {
            Ok(store) => {
                let catalogue = store.catalogue()?;
                Some(Open { store, catalogue })
            }
            Err(StoreError::Absent { .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(Self {
            directory: settings.store.clone(),
            open,
        })
    }

    /// The store's directory as configured.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The store, if there is one.
    #[must_use]
    pub fn store(&self) -> Option<&Store> {
        self.open.as_ref().map(|open| &open.store)
    }

    /// Every component, sorted by name.
    ///
    /// # Errors
    /// When the catalogue is damaged.
    pub fn components(&self) -> Result<Vec<ComponentSummary>, CatalogueError> {
        let mut components = (0..self.len())
            .filter_map(|index| u32::try_from(index).ok())
            .map(|index| self.component(ComponentIndex(index)))
            .collect::<Result<Vec<_>, _>>()?;
        components.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(components)
    }

    /// Ends the leases whose container is gone: a create that was killed between its lease and its record leaves one, and
    /// `delete --force` of its id may never come.
    ///
    /// # Errors
    /// When the leases cannot be read.
    pub fn sweep_leases(store: &Store) -> Result<usize, StoreError> {
        let swept = store.sweep(|lease| {
            let holder = &lease.holder;
            // the process that creates the container, until the container's own directory speaks for it
            holder.process.is_some_and(process::is_alive)
                || holder
                    .runtime_root
                    .join(".fragment")
                    .join(&holder.id)
                    .exists()
        })?;
        Ok(swept.len())
    }

    fn catalogue(&self) -> Option<&MappedCatalogue> {
        self.open.as_ref().map(|open| &open.catalogue)
    }
}

/// Forwards a look-up; an absent library answers nothing.
macro_rules! forward {
    ($($name:ident($($argument:ident),*) -> $item:ty;)*) => {
        $(fn $name(&self, $($argument: &str),*) -> Result<Vec<$item>, CatalogueError> {
            self.catalogue().map_or_else(|| Ok(Vec::new()), |catalogue| catalogue.$name($($argument),*))
        })*
    };
}

impl Catalogue for Library {
    fn generation(&self) -> Digest {
        self.catalogue()
            .map_or_else(|| Digest::of(b""), Catalogue::generation)
    }

    fn len(&self) -> usize {
        self.catalogue().map_or(0, Catalogue::len)
    }

    fn component(&self, index: ComponentIndex) -> Result<ComponentSummary, CatalogueError> {
        match self.catalogue() {
            Some(catalogue) => catalogue.component(index),
            None => Err(CatalogueError {
                detail: format!("no component {} in an empty library", index.0),
            }),
        }
    }

    forward! {
        named(name) -> ComponentIndex;
        providing_path(path) -> PathProvider;
        providing_soname(soname) -> SonameProvider;
        providing_command(name) -> CommandProvider;
        providing_module(language, name) -> ComponentIndex;
        granting(capability) -> ComponentIndex;
        holding_package(package) -> ComponentIndex;
    }
}

#[cfg(test)]
mod tests {
    use fragment_types::Catalogue as _;

    use super::*;

    #[test]
    fn a_node_without_a_library_has_an_empty_one() {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings {
            store: directory.path().join("none"),
            ..Settings::default()
        };
        let library = Library::open(&settings).unwrap();
        assert!(library.is_empty());
        assert!(library.providing_command("sh").unwrap().is_empty());
        assert!(!settings.store.exists(), "opening made something");
    }

    #[test]
    fn leases_end_with_their_container_or_its_creator() {
        use fragment_store::Holder;

        let directory = tempfile::tempdir().unwrap();
        let store = Store::open_or_create(directory.path().join("store")).unwrap();
        let root = directory.path().join("state");
        let holder = |id: &str, process| Holder {
            runtime_root: root.clone(),
            id: id.to_owned(),
            process,
        };
        store
            .lease("gone", holder("gone", None), &[], None)
            .unwrap();
        store
            .lease("begun", holder("begun", process::this()), &[], None)
            .unwrap();
        std::fs::create_dir_all(root.join(".fragment/there")).unwrap();
        store
            .lease("there", holder("there", None), &[], None)
            .unwrap();
        assert_eq!(Library::sweep_leases(&store).unwrap(), 1);
        let left = store.leases().unwrap();
        let keys: Vec<&str> = left.iter().map(|lease| lease.key.as_str()).collect();
        assert_eq!(keys, ["begun", "there"]);
    }
}
