//! Removing what nobody refers to any more.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use fragment_sys::lock::LockMode;
use fragment_types::Digest;

use crate::error::StoreError;
use crate::layout::{self, BLOBS, GENERATED, TREES, USES};
use crate::lease::Lease;
use crate::store::Store;
use crate::writer::Writer;

/// What a removal has freed.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Removed {
    /// Blobs.
    pub blobs: Vec<Digest>,
    /// Bytes of those blobs.
    pub blob_bytes: u64,
    /// Trees, by `diff_id`.
    pub trees: Vec<Digest>,
    /// Generated layers.
    pub generated: Vec<Digest>,
}

/// What has to stay.
#[derive(Default)]
struct Referenced {
    blobs: BTreeSet<String>,
    trees: BTreeSet<String>,
    generated: BTreeSet<String>,
}

impl Store {
    /// Removes blobs, trees and generated layers that neither the index nor a lease refers to. [`Store::sweep`] first, or leases of containers
    /// that are gone keep theirs.
    ///
    /// # Errors
    /// When a lease or a manifest in the index is damaged (nothing is removed then), or a file cannot be removed.
    pub fn remove_unreferenced(&self) -> Result<Removed, StoreError> {
        let writer = self.writer()?;
        let mut referenced = Referenced::default();
        for listed in self.listed()? {
            referenced.add_component(self, &listed.digest)?;
        }
        // new leases wait from here to the end of the block, in which names are only moved
        let removed = {
            let _lock = self.lock_leases(LockMode::Exclusive)?;
            self.remove_unfinished_leases()?;
            self.remove_unfinished_generated()?;
            self.remove_abandoned_loads(None)?;
            for lease in self.leases()? {
                referenced.add_lease(self, &lease);
            }
            referenced.add_mounts();
            self.forget_uses(&referenced)?;
            writer.move_away(&referenced)?
        };
        writer.empty_tmp()?;
        Ok(removed)
    }

    /// Removes what is noted of the use of trees that have left the library.
    fn forget_uses(&self, referenced: &Referenced) -> Result<(), StoreError> {
        let uses = self.path(USES);
        // nothing was used so far
        if uses.is_dir() {
            for (_, path) in unreferenced(&uses, &referenced.trees)? {
                fs::remove_file(&path).map_err(StoreError::remove(&path))?;
            }
        }
        Ok(())
    }
}

impl Referenced {
    fn add_component(&mut self, store: &Store, digest: &Digest) -> Result<(), StoreError> {
        let oci = store.oci_manifest(digest)?;
        self.blobs.insert(digest.hex());
        self.blobs.insert(oci.config.digest.hex());
        self.blobs
            .extend(oci.layers.iter().map(|layer| layer.digest.hex()));
        self.trees
            .insert(store.manifest(digest)?.layer.diff_id.hex());
        Ok(())
    }

    fn add_mounts(&mut self) {
        self.trees.extend(mounted_trees());
    }

    fn add_lease(&mut self, store: &Store, lease: &Lease) {
        self.generated
            .extend(lease.generated.as_ref().map(Digest::hex));
        for component in &lease.components {
            self.trees.insert(component.diff_id.hex());
            // its blobs stay too, for `inspect` and repair; a component whose manifest is damaged keeps its tree all the same
            let _ = self.add_component(store, &component.digest);
        }
    }
}

/// Trees that are layers of mounted overlays: an engine unmounts the root of a container some time after the container, and its
/// lease, are gone.
pub(crate) fn mounted_trees() -> BTreeSet<String> {
    let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
    trees_in(&table).collect()
}

/// Names of trees in a mount table: overlays of engines name them as layers, `…/trees/HEX`.
fn trees_in(table: &[u8]) -> impl Iterator<Item = String> {
    let text = String::from_utf8_lossy(table).into_owned();
    let names: Vec<_> = text
        .split("/trees/")
        .skip(1)
        .filter_map(|rest| rest.get(..64))
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .map(str::to_owned)
        .collect();
    names.into_iter()
}

impl Writer<'_> {
    /// Moves everything unreferenced to `tmp/`. Names that are no digests are not ours and stay.
    fn move_away(&self, referenced: &Referenced) -> Result<Removed, StoreError> {
        let mut removed = Removed::default();
        for (digest, path) in unreferenced(&self.store.path(BLOBS), &referenced.blobs)? {
            let metadata = fs::symlink_metadata(&path).map_err(StoreError::read(&path))?;
            layout::rename(&path, &self.tmp(&format!("{}.blob", digest.hex())))?;
            removed.blob_bytes += metadata.size();
            removed.blobs.push(digest);
        }
        for (digest, path) in unreferenced(&self.store.path(TREES), &referenced.trees)? {
            layout::rename(&path, &self.tmp(&format!("{}.tree", digest.hex())))?;
            removed.trees.push(digest);
        }
        let generated = self.store.path(GENERATED);
        // a store of an earlier release has none
        if generated.is_dir() {
            for (digest, path) in unreferenced(&generated, &referenced.generated)? {
                layout::rename(&path, &self.tmp(&format!("{}.generated", digest.hex())))?;
                removed.generated.push(digest);
            }
        }
        Ok(removed)
    }
}

fn unreferenced(
    directory: &Path,
    referenced: &BTreeSet<String>,
) -> Result<Vec<(Digest, std::path::PathBuf)>, StoreError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(StoreError::read(directory))? {
        let entry = entry.map_err(StoreError::read(directory))?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !referenced.contains(*name)) else {
            continue;
        };
        if let Ok(digest) = format!("sha256:{name}").parse() {
            found.push((digest, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::trees_in;

    #[test]
    fn layers_of_mounted_overlays_are_found() {
        let one = "a".repeat(64);
        let two = "0".repeat(64);
        let table = format!(
            "1 2 0:3 / /m rw - overlay o rw,lowerdir+=/l/X,lowerdir+=/s/trees/{one},lowerdir+=/s/trees/{two}/x\n\
             1 2 0:3 / /m rw - ext4 /s/trees/short rw\n"
        );
        assert_eq!(trees_in(table.as_bytes()).collect::<Vec<_>>(), [one, two]);
    }
}
