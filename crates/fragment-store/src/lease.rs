//! Leases: which container uses which components.
//!
//! Reference counts are derived from these files, never stored, so a crash cannot make one wrong. A lease is written under
//! the shared lease lock and a removal moves trees away under the exclusive one: either the removal sees the lease, or the tree is
//! gone when its holder asks for it ([`Store::ready`]), and is loaded again.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use fragment_sys::lock::LockMode;
use fragment_types::plan::Layer;
use fragment_types::{ComponentName, ComponentSummary, Digest};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::history::millis;
use crate::layout::{self, ENDED, LEASES};
use crate::store::{Store, document};

/// Longest lease read.
const MAX_LEASE: u64 = 4 << 20;
/// Start of the names of leases that are being written.
const UNFINISHED: &str = ".new-";
/// One end of so many leases counts those that have ended before.
const GATHERED: u64 = 8;

/// Who holds a lease: enough to find out whether it still exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// State directory of the runtime that knows the container (its `--root`).
    pub runtime_root: PathBuf,
    /// Container id.
    pub id: String,
    /// A process that stands for the holder where no state directory does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<HolderProcess>,
}

/// A process, told apart from a later one of the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HolderProcess {
    /// Process id.
    pub pid: u32,
    /// Start time in clock ticks since boot, field 22 of proc_pid_stat(5).
    pub start_time: u64,
}

/// A component that a lease keeps.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LeasedComponent {
    /// Name.
    pub name: ComponentName,
    /// Identity.
    pub digest: Digest,
    /// Name of the tree in use.
    pub diff_id: Digest,
}

impl From<&Layer> for LeasedComponent {
    fn from(layer: &Layer) -> Self {
        Self {
            name: layer.name.clone(),
            digest: layer.digest,
            diff_id: layer.diff_id,
        }
    }
}

impl From<ComponentSummary> for LeasedComponent {
    fn from(component: ComponentSummary) -> Self {
        Self {
            name: component.name,
            digest: component.digest,
            diff_id: component.diff_id,
        }
    }
}

/// One container's claim on components. It lasts until it is released or swept; dropping this value does nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// What the caller knows it by.
    pub key: String,
    /// Who holds it.
    pub holder: Holder,
    /// What it keeps.
    pub components: Vec<LeasedComponent>,
    /// The generated layer that it keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generated: Option<Digest>,
}

impl Store {
    /// Keeps `components`, and the layer `generated` from them, from being removed until [`Store::release`] with the same key. A lease of that key is replaced.
    ///
    /// Waits for no writer, only for the moment in which a removal moves trees away. Whether the trees are there is for
    /// [`Store::ready`] to see to, which nobody can undo then.
    ///
    /// # Errors
    /// When the lease cannot be written.
    pub fn lease(
        &self,
        key: &str,
        holder: Holder,
        components: &[LeasedComponent],
        generated: Option<Digest>,
    ) -> Result<Lease, StoreError> {
        let lease = Lease {
            key: key.to_owned(),
            holder,
            components: components.to_vec(),
            generated,
        };
        let path = self.lease_path(key);
        let content = document(&lease, &path)?;
        let lock = self.lock_leases(LockMode::Shared)?;
        // not flushed to disk: no container outlives the power failure that would lose it (see `read_lease`)
        if !layout::write_nameless(&path, 0o600, &content)? {
            self.write_by_rename(&path, &content)?;
        }
        drop(lock);
        Ok(lease)
    }

    /// Writes a lease under another name first: where file systems know no files without a name. Killed in between, it leaves
    /// that name to [`Store::remove_unfinished_leases`].
    fn write_by_rename(&self, path: &Path, content: &[u8]) -> Result<(), StoreError> {
        let number = counted();
        let unfinished = self
            .path(LEASES)
            .join(format!("{UNFINISHED}{}-{number}", std::process::id()));
        let written = match layout::write_new(&unfinished, 0o600, content, false) {
            // left by a killed process that had our id
            Err(StoreError::Create { source, .. })
                if source.kind() == io::ErrorKind::AlreadyExists =>
            {
                fs::remove_file(&unfinished).map_err(StoreError::remove(&unfinished))?;
                layout::write_new(&unfinished, 0o600, content, false)
            }
            other => other,
        };
        written
            .and_then(|()| layout::rename(&unfinished, path))
            .inspect_err(|_| {
                let _ = fs::remove_file(&unfinished);
            })
    }

    /// Ends a lease; whether there was one.
    ///
    /// Who may not search the directory of leases has none: it takes the same right to write one. In a store on a read-only mount
    /// there may be none, and nothing to remove.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn release(&self, key: &str) -> Result<bool, StoreError> {
        let path = self.lease_path(key);
        let now = millis(self.now());
        if fs::rename(&path, self.ended_path(now)).is_ok() {
            if now.is_multiple_of(GATHERED) {
                // history that is lost or late changes no decision
                let _ = self.count_ended();
            }
            return Ok(true);
        }
        let lease = read_lease(&path).ok().flatten();
        match path.symlink_metadata() {
            Err(error)
                if matches!(
                    error.kind(),
                    // asked for first: unlink(2) on a read-only mount is EROFS whether there is a file or not
                    io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound
                ) =>
            {
                Ok(false)
            }
            _ => {
                let removed = remove_if_there(&path)?;
                // the directory is new, or the leases are on another file system
                let _ = layout::make_directory(&self.path(ENDED), 0o700);
                if let Some(lease) = lease.filter(|_| removed) {
                    self.note_uses(&lease.components, &[now]);
                }
                Ok(removed)
            }
        }
    }

    /// Where a lease goes that ends `now`: one call, whatever it names. Who wants to know how often components were used counts
    /// first, and one end of [`GATHERED`] does.
    fn ended_path(&self, now: u64) -> PathBuf {
        let name = format!("{now}-{}-{}", std::process::id(), counted());
        self.path(ENDED).join(name)
    }

    /// Counts the uses of leases that have ended.
    ///
    /// # Errors
    /// When their directory cannot be read or a file in it not removed.
    pub(crate) fn count_ended(&self) -> Result<(), StoreError> {
        let directory = self.path(ENDED);
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(StoreError::read(&directory))?,
        };
        let mut ends: BTreeMap<LeasedComponent, Vec<u64>> = BTreeMap::new();
        for entry in entries {
            let path = entry.map_err(StoreError::read(&directory))?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let end: Option<u64> = name.and_then(|name| name.split_once('-')?.0.parse().ok());
            let lease = read_lease(&path).ok().flatten();
            // who removes it counts it
            if !remove_if_there(&path)? {
                continue;
            }
            for component in lease.into_iter().flat_map(|lease| lease.components) {
                ends.entry(component).or_default().extend(end);
            }
        }
        for (component, mut ends) in ends {
            ends.sort_unstable();
            self.note_uses(&[component], &ends);
        }
        Ok(())
    }

    /// All leases, by key.
    ///
    /// # Errors
    /// [`StoreError::LeaseDamaged`] for one that cannot be read: nothing may be removed on guesses.
    pub fn leases(&self) -> Result<Vec<Lease>, StoreError> {
        let mut leases = Vec::new();
        for path in self.lease_files()? {
            leases.extend(read_lease(&path)?);
        }
        leases.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(leases)
    }

    /// Removes leases whose holder is gone, as `is_alive` says; returns them.
    ///
    /// # Errors
    /// When leases cannot be read or removed.
    pub fn sweep(
        &self,
        mut is_alive: impl FnMut(&Lease) -> bool,
    ) -> Result<Vec<Lease>, StoreError> {
        let mut stale = self.leases()?;
        // asked without a lock: it may take its time
        stale.retain(|lease| !is_alive(lease));
        let lock = self.lock_leases(LockMode::Exclusive)?;
        let mut swept = Vec::new();
        for lease in stale {
            let path = self.lease_path(&lease.key);
            // meanwhile released, or taken again by a new container of the same key
            if path.exists() && read_lease(&path)?.as_ref() == Some(&lease) {
                remove_if_there(&path)?;
                self.note_uses(&lease.components, &[millis(self.now())]);
                swept.push(lease);
            }
        }
        drop(lock);
        Ok(swept)
    }

    /// Keys are arbitrary text: their digest is a safe file name.
    fn lease_path(&self, key: &str) -> PathBuf {
        self.path(LEASES)
            .join(format!("{}.json", Digest::of(key.as_bytes()).hex()))
    }

    fn lease_files(&self) -> Result<Vec<PathBuf>, StoreError> {
        let directory = self.path(LEASES);
        let mut files = Vec::new();
        for entry in fs::read_dir(&directory).map_err(StoreError::read(&directory))? {
            let path = entry.map_err(StoreError::read(&directory))?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                files.push(path);
            }
        }
        Ok(files)
    }

    /// Removes what killed processes left half-written. Only under the exclusive lease lock: nobody is writing then.
    pub(crate) fn remove_unfinished_leases(&self) -> Result<(), StoreError> {
        let directory = self.path(LEASES);
        for entry in fs::read_dir(&directory).map_err(StoreError::read(&directory))? {
            let entry = entry.map_err(StoreError::read(&directory))?;
            if entry
                .file_name()
                .as_encoded_bytes()
                .starts_with(UNFINISHED.as_bytes())
            {
                remove_if_there(&entry.path())?;
            }
        }
        Ok(())
    }
}

/// Another number each time, in this process.
fn counted() -> u64 {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    COUNTER.fetch_add(1, Ordering::Relaxed)
}

/// The lease in a file; `None` when it was released meanwhile, or is a damaged one from before the machine started.
fn read_lease(path: &Path) -> Result<Option<Lease>, StoreError> {
    let content = match layout::read_file(path, MAX_LEASE) {
        Err(StoreError::Open { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        other => other?,
    };
    match serde_json::from_slice(&content) {
        Ok(lease) => Ok(Some(lease)),
        Err(source) => {
            let written = fs::metadata(path)
                .and_then(|metadata| metadata.modified())
                .map_err(StoreError::read(path))?;
            if written < boot_time() {
                remove_if_there(path)?;
                return Ok(None);
            }
            Err(StoreError::LeaseDamaged {
                path: path.to_owned(),
                source,
            })
        }
    }
}

fn boot_time() -> SystemTime {
    let up = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let up = Duration::from_secs(u64::try_from(up.tv_sec).unwrap_or_default());
    SystemTime::now()
        .checked_sub(up)
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

fn remove_if_there(path: &Path) -> Result<bool, StoreError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::remove(path)(error)),
    }
}
