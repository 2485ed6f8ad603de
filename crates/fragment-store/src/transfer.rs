//! Components from one store to another, as an OCI image layout in between: a store's own blobs are for its owner alone.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use fragment_types::{ComponentName, Digest};

use crate::error::StoreError;
use crate::ingest::Artifact;
use crate::layout::{BLOBS, INDEX, LAYOUT};
use crate::oci::Listed;
use crate::store::{Store, document};

impl Store {
    /// Components as [`Store::ingest`] of another store takes them; no name means all. This may be a layout that
    /// [`Store::export`] has written.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] for a name that is not there; when a blob is damaged or not for this user.
    pub fn artifacts(&self, names: &[ComponentName]) -> Result<Vec<Artifact>, StoreError> {
        let chosen = self.chosen(names)?;
        chosen
            .iter()
            .map(|listed| {
                let manifest = self.manifest(&listed.digest)?;
                let layer = self.blob_path(&manifest.layer.digest);
                Ok(Artifact { manifest, layer })
            })
            .collect()
    }

    /// Writes components as an OCI image layout that everybody may read, into a new or empty directory; no name means all.
    /// How many.
    ///
    /// # Errors
    /// [`StoreError::NotEmpty`]; [`StoreError::Unknown`] for a name that is not there; when a blob cannot be copied.
    pub fn export(&self, directory: &Path, names: &[ComponentName]) -> Result<usize, StoreError> {
        let chosen = self.chosen(names)?;
        let blobs = directory.join(BLOBS);
        let make = |path: &Path| {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o755).create(path)
        };
        make(directory).map_err(StoreError::create(directory))?;
        let mut entries = fs::read_dir(directory).map_err(StoreError::read(directory))?;
        if entries.next().is_some() {
            return Err(StoreError::NotEmpty {
                path: directory.to_owned(),
            });
        }
        make(&blobs).map_err(StoreError::create(&blobs))?;
        for digest in self.blobs_of(&chosen)? {
            let (from, to) = (self.blob_path(&digest), blobs.join(digest.hex()));
            readable_copy(&from, &to).map_err(StoreError::create(&to))?;
        }
        let mut index = self.index()?;
        let digests: BTreeSet<_> = chosen.iter().map(|listed| listed.digest).collect();
        index
            .manifests
            .retain(|descriptor| digests.contains(&descriptor.digest));
        let path = directory.join(INDEX);
        fs::write(&path, document(&index, &path)?).map_err(StoreError::write(&path))?;
        // last: it is what makes the directory a layout
        let (from, to) = (self.path(LAYOUT), directory.join(LAYOUT));
        readable_copy(&from, &to).map_err(StoreError::create(&to))?;
        Ok(chosen.len())
    }

    fn chosen(&self, names: &[ComponentName]) -> Result<Vec<Listed>, StoreError> {
        let mut listed = self.listed()?;
        if let Some(unknown) = names
            .iter()
            .find(|name| !listed.iter().any(|listed| listed.name == **name))
        {
            return Err(StoreError::Unknown {
                component: unknown.clone(),
            });
        }
        listed.retain(|listed| names.is_empty() || names.contains(&listed.name));
        Ok(listed)
    }

    fn blobs_of(&self, chosen: &[Listed]) -> Result<BTreeSet<Digest>, StoreError> {
        let mut blobs = BTreeSet::new();
        for listed in chosen {
            let oci = self.oci_manifest(&listed.digest)?;
            blobs.extend([listed.digest, oci.config.digest]);
            blobs.extend(oci.layers.iter().map(|layer| layer.digest));
        }
        Ok(blobs)
    }
}

fn readable_copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    fs::set_permissions(to, Permissions::from_mode(0o644))
}
