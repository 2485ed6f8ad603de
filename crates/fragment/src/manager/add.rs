//! Components from elsewhere.

use std::cmp::Reverse;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use fragment_build::{DirectoryComponent, Packed, Runner};
use fragment_store::{Artifact, Store, StoreError};
use fragment_types::catalogue::SonameProvider;
use fragment_types::manifest::NeededSoname;
use fragment_types::{Catalogue, CatalogueError, ComponentName, ComponentSummary, Manifest};

use super::{Manager, ManagerError};

impl Manager {
    /// Takes components into the library from another one or from an OCI image layout that `fragment library export` wrote; no name
    /// means all. The names of those that are new or changed.
    ///
    /// # Errors
    /// [`StoreError`]: an unknown name, a layer that is not what its manifest says; nothing is taken then.
    pub fn add_component(
        &self,
        layout: &Path,
        names: &[ComponentName],
    ) -> Result<Vec<ComponentName>, ManagerError> {
        let artifacts = Store::open(layout)?.artifacts(names)?;
        Ok(self.store.ingest_new(artifacts)?)
    }

    /// Makes a component of a directory and takes it into the library, in the place of one of that name that was made of a directory too.
    ///
    /// # Errors
    /// [`ManagerError::Build`] for a directory that cannot be a component, [`ManagerError::OfPackages`] for a name that is taken,
    /// [`ManagerError::Unsupplied`] when files need a library or an interpreter that no component has, [`StoreError::Unknown`] when something is to be
    /// required that is not there. Nothing is taken then.
    pub fn add_directory(&self, new: &DirectoryComponent) -> Result<Manifest, ManagerError> {
        match self.store.component(&new.name) {
            Ok(known) => {
                let known = self.store.manifest(&known.digest)?;
                if !known.packages.is_empty() {
                    return Err(ManagerError::OfPackages {
                        component: new.name.clone(),
                    });
                }
            }
            Err(StoreError::Unknown { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        for name in &new.requires {
            self.store.component(name)?;
        }
        // without a name: gone with this process, however it ends
        let directory = self.store.root();
        let layer = tempfile::tempfile_in(directory)
            .map_err(ManagerError::io("make a file in", directory))?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", layer.as_raw_fd()));
        let Packed {
            mut manifest,
            runners,
        } = new.pack(&path)?;
        let catalogue = self.store.catalogue()?;
        for need in &manifest.requires.sonames {
            require_supplied(&catalogue, new, need)?;
        }
        for runner in &runners {
            let supplier = supplier(&catalogue, new, runner)?;
            manifest.requires.components.insert(supplier);
        }
        self.store.ingest(&[Artifact {
            manifest: manifest.clone(),
            layer: path,
        }])?;
        Ok(manifest)
    }
}

/// That some component has the library.
fn require_supplied(
    catalogue: &impl Catalogue,
    new: &DirectoryComponent,
    need: &NeededSoname,
) -> Result<(), ManagerError> {
    let providers = catalogue.providing_soname(&need.soname)?;
    let fits = |one: &SonameProvider| {
        one.public && one.machine == need.machine && one.versions.is_superset(&need.versions)
    };
    if providers.iter().any(fits) {
        return Ok(());
    }
    Err(ManagerError::Unsupplied {
        component: new.name.clone(),
        what: need.soname.clone(),
    })
}

/// The component that has what runs scripts or programs of the new one; of several the preferred.
fn supplier(
    catalogue: &impl Catalogue,
    new: &DirectoryComponent,
    runner: &Runner,
) -> Result<ComponentName, ManagerError> {
    let (what, found) = match runner {
        Runner::Path(path) => {
            let all = catalogue.providing_path(path)?.into_iter();
            (path, all.map(|one| one.component).collect::<Vec<_>>())
        }
        Runner::Command(name) => {
            let all = catalogue.providing_command(name)?.into_iter();
            (name, all.map(|one| one.component).collect())
        }
    };
    let components = found.into_iter().map(|index| catalogue.component(index));
    let components = components.collect::<Result<Vec<_>, CatalogueError>>()?;
    // its former self is not what it is to be composed with
    let others = components.into_iter().filter(|one| one.name != new.name);
    let preferred = others.max_by(|a, b| {
        let first = |one: &ComponentSummary| (one.preference, Reverse(one.name.clone()));
        first(a).cmp(&first(b))
    });
    preferred
        .map(|one| one.name)
        .ok_or_else(|| ManagerError::Unsupplied {
            component: new.name.clone(),
            what: what.clone(),
        })
}
