//! Generated layers: what compositions make from the trees of their components, kept for those that come after.
//!
//! A layer is named by the digest of what it is made from. It is made in a directory of another name, which its maker holds
//! locked, and gets its own by rename: one that is there is whole, and one whose maker is gone is known by its free lock.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use fragment_sys::lock::{FileLock, LockMode};
use fragment_types::Digest;

use crate::error::StoreError;
use crate::layout::{self, GENERATED};
use crate::store::Store;

/// Start of the names of layers that are being made.
const UNFINISHED: &str = ".new-";

impl Store {
    /// Where a generated layer is, or would be.
    #[must_use]
    pub fn generated_path(&self, digest: &Digest) -> PathBuf {
        self.path(GENERATED).join(digest.hex())
    }

    /// The generated layer of this digest, made by `make` in an empty directory if it is not there. A lease that names it
    /// keeps it: take that first.
    ///
    /// # Errors
    /// Those of `make`, and when the layer cannot be kept; nothing is left then.
    pub fn generated<E: From<StoreError>>(
        &self,
        digest: &Digest,
        make: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        let path = self.generated_path(digest);
        if path.is_dir() {
            return Ok(path);
        }
        let directory = self.path(GENERATED);
        // a store of an earlier release has none
        layout::make_directory(&directory, 0o700)?;
        // no removal meanwhile: it takes unfinished layers for those of the dead
        let _lock = self.lock_leases(LockMode::Shared)?;
        remove_abandoned(&directory)?;
        let unfinished = Unfinished::new(&directory)?;
        make(&unfinished.path)?;
        unfinished.publish(&path)?;
        Ok(path)
    }

    /// Removes what killed makers left. Only under the exclusive lease lock: nobody is making then.
    pub(crate) fn remove_unfinished_generated(&self) -> Result<(), StoreError> {
        match self.path(GENERATED) {
            directory if directory.is_dir() => remove_abandoned(&directory),
            _ => Ok(()),
        }
    }
}

/// A layer that is being made; dropped, it is removed.
struct Unfinished {
    path: PathBuf,
    _lock: FileLock,
}

impl Unfinished {
    fn new(directory: &Path) -> Result<Self, StoreError> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let name = format!("{UNFINISHED}{}-{number}", std::process::id());
            let path = directory.join(name);
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made.map_err(StoreError::create(&path))?,
            }
            // between the two somebody may have taken it for abandoned
            let Ok(opened) = File::open(&path) else {
                continue;
            };
            let made = opened.metadata().map_err(StoreError::open(&path))?;
            let lock = FileLock::wait(opened.into(), LockMode::Exclusive)
                .map_err(StoreError::lock(&path))?;
            let there = fs::symlink_metadata(&path);
            if there.is_ok_and(|there| (there.dev(), there.ino()) == (made.dev(), made.ino())) {
                return Ok(Self { path, _lock: lock });
            }
        }
    }

    fn publish(self, path: &Path) -> Result<(), StoreError> {
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&self.path, mode).map_err(StoreError::write(&self.path))?;
        layout::sync_directory(&self.path)?;
        match fs::rename(&self.path, path) {
            // another maker was first, with the same
            Err(_) if path.is_dir() => Ok(()),
            renamed => renamed.map_err(StoreError::rename(&self.path, path)),
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // published, it is not there; otherwise the next maker tries again
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Removes unfinished layers whose makers are gone.
fn remove_abandoned(directory: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(directory).map_err(StoreError::read(directory))? {
        let entry = entry.map_err(StoreError::read(directory))?;
        if !entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(UNFINISHED.as_bytes())
        {
            continue;
        }
        let path = entry.path();
        // gone meanwhile
        let Ok(opened) = File::open(&path) else {
            continue;
        };
        let lock = FileLock::attempt(opened.into(), LockMode::Exclusive)
            .map_err(StoreError::lock(&path))?;
        if lock.is_some() {
            match fs::remove_dir_all(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StoreError::remove(&path)(error));
                }
                _ => {}
            }
        }
    }
    Ok(())
}
