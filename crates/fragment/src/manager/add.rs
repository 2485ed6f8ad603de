//! Components from elsewhere.

use std::path::Path;

use fragment_store::{Artifact, Store};
use fragment_types::ComponentName;

use super::{Manager, ManagerError};

impl Manager {
    /// Takes components into the library from another one or from an OCI image layout that `fragment library export` wrote; no name
    /// means all. The names of those that are new or changed.
    ///
    /// # Errors
    /// [`fragment_store::StoreError`]: an unknown name, a layer that is not what its manifest says; nothing is taken then.
    pub fn add_component(
        &self,
        layout: &Path,
        names: &[ComponentName],
    ) -> Result<Vec<ComponentName>, ManagerError> {
        let artifacts = Store::open(layout)?.artifacts(names)?;
        let is_known = |artifact: &Artifact| {
            let digest = self.store.digest_of(&artifact.manifest.name);
            digest
                .and_then(|digest| self.store.manifest(&digest))
                .is_ok_and(|known| known == artifact.manifest)
        };
        let new: Vec<Artifact> = artifacts.into_iter().filter(|one| !is_known(one)).collect();
        if !new.is_empty() {
            self.store.ingest(&new)?;
        }
        Ok(new.into_iter().map(|one| one.manifest.name).collect())
    }
}
