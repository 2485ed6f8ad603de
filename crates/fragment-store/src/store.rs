//! Opening a store and reading from it.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use fragment_sys::lock::{FileLock, LockMode};
use fragment_types::{
    Catalogue, ComponentIndex, ComponentName, ComponentSummary, Digest, Manifest, canonical,
};

use crate::catalogue::{MappedCatalogue, Unresolved};
use crate::error::StoreError;
use crate::layout::{self, BLOBS, CATALOGUE, DIRECTORIES, INDEX, LAYOUT, LEASE_LOCK, LOCK, TREES};
use crate::oci::{Index, LAYOUT_VERSION, LayoutFile, Listed, OciManifest};

/// Longest JSON document read: a component manifest with a million paths.
const MAX_DOCUMENT: u64 = 512 << 20;
/// How long a writer waits for another one, which may be unpacking a large library.
const WRITER_PATIENCE: Duration = Duration::from_secs(600);
/// How long a lease waits for a removal, which holds the lease lock only to move names.
const LEASE_PATIENCE: Duration = Duration::from_secs(10);

/// A component library on disk.
///
/// Reading it needs no lock: every file is replaced by rename, and what a lease names is not removed.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    /// Milliseconds since 1970 of a clock that stands still; none for the machine's.
    clock: Option<Arc<AtomicU64>>,
}

impl Store {
    /// Opens the store at `directory` and changes nothing there. Anybody can open a store and search its catalogue; blobs,
    /// trees and leases are for its owner.
    ///
    /// # Errors
    /// [`StoreError::Absent`] when there is none.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, StoreError> {
        let directory = directory.as_ref();
        let absent = || StoreError::Absent {
            path: directory.to_owned(),
        };
        let root = fs::canonicalize(directory).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => absent(),
            _ => StoreError::open(directory)(error),
        })?;
        let store = Self { root, clock: None };
        let path = store.path(LAYOUT);
        let layout = match layout::read_file(&path, 4096) {
            Err(StoreError::Open { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(absent());
            }
            other => other?,
        };
        let layout: LayoutFile =
            serde_json::from_slice(&layout).map_err(StoreError::json(&path))?;
        if layout.image_layout_version != LAYOUT_VERSION {
            return Err(StoreError::Format {
                path,
                detail: format!(
                    "image layout version `{}` is not `{LAYOUT_VERSION}`",
                    layout.image_layout_version
                ),
            });
        }
        Ok(store)
    }

    /// Opens the store at `directory`, or makes an empty one.
    ///
    /// # Errors
    /// When it can be neither opened nor made.
    pub fn open_or_create(directory: impl AsRef<Path>) -> Result<Self, StoreError> {
        let directory = directory.as_ref();
        match Self::open(directory) {
            Err(StoreError::Absent { .. }) => Self::create(directory),
            other => other,
        }
    }

    fn create(directory: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(directory).map_err(StoreError::create(directory))?;
        let root = fs::canonicalize(directory).map_err(StoreError::open(directory))?;
        let store = Self { root, clock: None };
        for (name, mode) in DIRECTORIES {
            layout::make_directory(&store.path(name), mode)?;
        }
        // two creators at once: the second finds everything there when it gets the lock
        let writer = store.writer()?;
        if !store.path(INDEX).exists() {
            writer.replace(
                INDEX,
                0o644,
                &document(&Index::empty(), &store.path(INDEX))?,
            )?;
        }
        writer.rebuild_catalogue()?;
        if !store.path(LAYOUT).exists() {
            let layout = LayoutFile {
                image_layout_version: LAYOUT_VERSION.to_owned(),
            };
            // last: it is what makes the directory a store
            writer.replace(LAYOUT, 0o644, &document(&layout, &store.path(LAYOUT))?)?;
        }
        drop(writer);
        Ok(store)
    }

    /// Directory of the store, absolute and without symbolic links.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The same store with a clock of the caller's, in milliseconds since 1970, for simulations: uses and retention go by it.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<AtomicU64>) -> Self {
        self.clock = Some(clock);
        self
    }

    pub(crate) fn now(&self) -> SystemTime {
        match &self.clock {
            Some(clock) => {
                SystemTime::UNIX_EPOCH + Duration::from_millis(clock.load(Ordering::Relaxed))
            }
            None => SystemTime::now(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() {
            self.root.clone()
        } else {
            self.root.join(name)
        }
    }

    /// Where the tree of a layer is, or would be.
    #[must_use]
    pub fn tree_path(&self, diff_id: &Digest) -> PathBuf {
        self.root.join(TREES).join(diff_id.hex())
    }

    /// The tree of a layer as an open directory.
    ///
    /// # Errors
    /// [`StoreError::Open`] when it is not there or not for this user.
    pub fn open_tree(&self, diff_id: &Digest) -> Result<OwnedFd, StoreError> {
        let path = self.tree_path(diff_id);
        crate::tree::open(&path).map_err(StoreError::open(&path))
    }

    /// Where a blob is, or would be.
    #[must_use]
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join(BLOBS).join(digest.hex())
    }

    /// The catalogue as it is now. It stays readable, and the same, whatever writers do meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Catalogue`] when it is damaged, [`StoreError::Open`] when it is missing.
    pub fn catalogue(&self) -> Result<MappedCatalogue, StoreError> {
        MappedCatalogue::open(&self.path(CATALOGUE))
    }

    /// All components, sorted by name.
    ///
    /// # Errors
    /// As [`Store::catalogue`].
    pub fn components(&self) -> Result<Vec<ComponentSummary>, StoreError> {
        let catalogue = self.catalogue()?;
        (0..catalogue.len())
            .map(|index| {
                let index = ComponentIndex(u32::try_from(index).unwrap_or(u32::MAX));
                Ok(catalogue.component(index)?)
            })
            .collect()
    }

    /// The component of this name.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] when there is none; as [`Store::catalogue`].
    pub fn component(&self, name: &ComponentName) -> Result<ComponentSummary, StoreError> {
        let catalogue = self.catalogue()?;
        for index in catalogue.named(name.as_str())? {
            let component = catalogue.component(index)?;
            // the look-up finds aliases too
            if component.name == *name {
                return Ok(component);
            }
        }
        Err(StoreError::Unknown {
            component: name.clone(),
        })
    }

    /// What components need and nobody provides, or too many do, as of the last change of the library.
    ///
    /// # Errors
    /// As [`Store::catalogue`].
    pub fn unresolved(&self) -> Result<Vec<Unresolved>, StoreError> {
        Ok(self.catalogue()?.unresolved()?)
    }

    /// The manifest of a component, its digests checked.
    ///
    /// # Errors
    /// When a blob is missing, damaged or not for this user.
    pub fn manifest(&self, digest: &Digest) -> Result<Manifest, StoreError> {
        let oci = self.oci_manifest(digest)?;
        let bytes = self.document_blob(&oci.config.digest)?;
        serde_json::from_slice(&bytes)
            .map_err(StoreError::json(&self.blob_path(&oci.config.digest)))
    }

    /// Digest of the component of this name.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] when there is none.
    pub fn digest_of(&self, name: &ComponentName) -> Result<Digest, StoreError> {
        self.listed()?
            .into_iter()
            .find(|listed| listed.name == *name)
            .map(|listed| listed.digest)
            .ok_or_else(|| StoreError::Unknown {
                component: name.clone(),
            })
    }

    pub(crate) fn oci_manifest(&self, digest: &Digest) -> Result<OciManifest, StoreError> {
        let bytes = self.document_blob(digest)?;
        serde_json::from_slice(&bytes).map_err(StoreError::json(&self.blob_path(digest)))
    }

    fn document_blob(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        let path = self.blob_path(digest);
        let bytes = layout::read_file(&path, MAX_DOCUMENT)?;
        let found = Digest::of(&bytes);
        if found != *digest {
            return Err(StoreError::BlobDigest {
                path,
                expected: *digest,
                found,
            });
        }
        Ok(bytes)
    }

    pub(crate) fn index(&self) -> Result<Index, StoreError> {
        let path = self.path(INDEX);
        let bytes = layout::read_file(&path, MAX_DOCUMENT)?;
        serde_json::from_slice(&bytes).map_err(StoreError::json(&path))
    }

    pub(crate) fn listed(&self) -> Result<Vec<Listed>, StoreError> {
        self.components_of(&self.index()?)
    }

    pub(crate) fn components_of(&self, index: &Index) -> Result<Vec<Listed>, StoreError> {
        index.components().map_err(|detail| StoreError::Format {
            path: self.path(INDEX),
            detail,
        })
    }

    /// Excludes writers (exclusive) or lets several readers exclude them (shared).
    pub(crate) fn lock(&self, mode: LockMode) -> Result<FileLock, StoreError> {
        self.lock_file(LOCK, mode, WRITER_PATIENCE)
    }

    /// Excludes removals (shared) or new leases (exclusive).
    pub(crate) fn lock_leases(&self, mode: LockMode) -> Result<FileLock, StoreError> {
        self.lock_file(LEASE_LOCK, mode, LEASE_PATIENCE)
    }

    fn lock_file(
        &self,
        name: &str,
        mode: LockMode,
        patience: Duration,
    ) -> Result<FileLock, StoreError> {
        let path = self.path(name);
        let file = layout::open_lock(&path)?;
        FileLock::wait_at_most(file.into(), mode, patience)
            .map_err(StoreError::lock(&path))?
            .ok_or(StoreError::Busy {
                path,
                seconds: patience.as_secs(),
            })
    }
}

/// The canonical bytes of a document of ours, destined for `path`.
pub(crate) fn document<T: serde::Serialize>(
    document: &T,
    path: &Path,
) -> Result<Vec<u8>, StoreError> {
    canonical::to_vec(document).map_err(StoreError::json(path))
}
