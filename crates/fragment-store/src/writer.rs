//! The one writer of a store, and the steps that all changes are made of.

use std::fs;
use std::os::fd::AsFd;
use std::path::PathBuf;

use fragment_sys::lock::{FileLock, LockMode};
use fragment_types::{Catalogue, ComponentName, Digest};

use crate::catalogue::{Builder, generation};
use crate::error::StoreError;
use crate::layout::{self, CATALOGUE, INDEX, TMP};
use crate::oci::Index;
use crate::store::{Store, document};
use crate::tree;

/// Exclusive right to change a store; `tmp/` is its own, empty at the start and emptied at the end.
#[derive(Debug)]
pub(crate) struct Writer<'s> {
    pub(crate) store: &'s Store,
    _lock: FileLock,
}

impl Store {
    /// Becomes the writer, and first finishes or sweeps away what a writer that was killed has left.
    pub(crate) fn writer(&self) -> Result<Writer<'_>, StoreError> {
        let lock = self.lock(LockMode::Exclusive)?;
        let writer = Writer {
            store: self,
            _lock: lock,
        };
        writer.empty_tmp()?;
        // a writer that died between index and catalogue; there is no index yet in a store that is just being made
        if self.path(INDEX).exists() && !writer.is_current()? {
            // not an error here: with a damaged manifest only a change that replaces or removes it can succeed
            let _ = writer.rebuild_catalogue();
        }
        Ok(writer)
    }

    /// Makes the catalogue anew from the components' manifests.
    ///
    /// # Errors
    /// When a manifest is missing or damaged, or the file cannot be written.
    pub fn rebuild_catalogue(&self) -> Result<(), StoreError> {
        // not `writer()`: that one compares with a catalogue that may be damaged
        let writer = Writer {
            store: self,
            _lock: self.lock(LockMode::Exclusive)?,
        };
        writer.empty_tmp()?;
        writer.rebuild_catalogue()
    }

    /// Takes the component out of the library. Its blobs and tree stay until [`Store::remove_unreferenced`].
    ///
    /// # Errors
    /// [`StoreError::Unknown`] when there is no such component.
    pub fn remove(&self, name: &ComponentName) -> Result<(), StoreError> {
        let writer = self.writer()?;
        let mut index = self.index()?;
        if !index.remove(name) {
            return Err(StoreError::Unknown {
                component: name.clone(),
            });
        }
        writer.publish(&index)
    }
}

impl Writer<'_> {
    /// A path in `tmp/`.
    pub(crate) fn tmp(&self, name: &str) -> PathBuf {
        self.store.path(TMP).join(name)
    }

    pub(crate) fn empty_tmp(&self) -> Result<(), StoreError> {
        let path = self.store.path(TMP);
        tree::open(&path)
            .and_then(|directory| tree::remove_children(directory.as_fd()))
            .map_err(StoreError::remove(&path))
    }

    fn is_current(&self) -> Result<bool, StoreError> {
        let listed = self.store.listed()?;
        let expected = generation(listed.iter().map(|listed| listed.digest));
        Ok(self
            .store
            .catalogue()
            .is_ok_and(|catalogue| catalogue.generation() == expected))
    }

    /// Replaces a file at the root of the store; on disk when this returns.
    pub(crate) fn replace(&self, name: &str, mode: u32, content: &[u8]) -> Result<(), StoreError> {
        let (from, to) = (self.tmp(name), self.store.path(name));
        layout::write_new(&from, mode, content, true)?;
        layout::rename(&from, &to)?;
        layout::sync_directory(self.store.root())
    }

    /// Makes `index` the truth, then the catalogue follow it. The catalogue is made before anything is replaced: a manifest
    /// that cannot be read leaves the library as it was.
    pub(crate) fn publish(&self, index: &Index) -> Result<(), StoreError> {
        let catalogue = self.catalogue_of(index)?;
        self.replace(INDEX, 0o644, &document(index, &self.store.path(INDEX))?)?;
        self.replace(CATALOGUE, 0o644, &catalogue)
    }

    pub(crate) fn rebuild_catalogue(&self) -> Result<(), StoreError> {
        self.replace(CATALOGUE, 0o644, &self.catalogue_of(&self.store.index()?)?)
    }

    fn catalogue_of(&self, index: &Index) -> Result<Vec<u8>, StoreError> {
        let mut builder = Builder::default();
        let mut listed = self.store.components_of(index)?;
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        for component in listed {
            builder.add(component.digest, &self.store.manifest(&component.digest)?);
        }
        builder
            .finish()
            .map_err(StoreError::json(&self.store.path(CATALOGUE)))
    }

    /// Moves a finished blob to its name.
    pub(crate) fn publish_blob(&self, from: &str, digest: &Digest) -> Result<(), StoreError> {
        layout::rename(&self.tmp(from), &self.store.blob_path(digest))
    }

    /// Moves a finished tree to its name, unless one of that name is there: containers may be using it.
    pub(crate) fn publish_tree(&self, from: &str, diff_id: &Digest) -> Result<(), StoreError> {
        let to = self.store.tree_path(diff_id);
        if fs::symlink_metadata(&to).is_ok() {
            return Ok(());
        }
        layout::rename(&self.tmp(from), &to)
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        // after an error half-made trees would otherwise fill the disk until the next change, which sweeps anyway
        let _ = self.empty_tmp();
    }
}
