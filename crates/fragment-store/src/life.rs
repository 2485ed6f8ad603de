//! The life of components on a node: which are loaded and used, which are in memory, and which have to go.
//!
//! Three things are kept apart. A component is *in the library* while the index names it. It is *loaded* while its tree is there,
//! and unloaded by removing that: its layer stays, and loading it again takes milliseconds. It is *in memory* as far as pages of its
//! files are cached, and evicted by dropping those: the kernel reads them again when they are needed. Users are what leases name;
//! nothing that has one is unloaded or evicted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::time::Duration;

use fragment_sys::lock::LockMode;
use fragment_sys::residency;
use fragment_types::{Capability, ComponentName, Digest};
use rustix::fs::{AtFlags, CWD, OFlags};

use crate::collect::mounted_trees;
use crate::error::StoreError;
use crate::history::{LoadTimes, millis};
use crate::layout::{self, LOADS, USES};
use crate::store::Store;
use crate::times;
use crate::tree;
use crate::unpack::open_beneath;

/// End of the names of trees that are being removed.
pub(crate) const REMOVED: &str = ".old";

/// What a node allows its components.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// How long what nobody uses stays in memory, and is spared when the disk has to be cleared; none: as each component's manifest
    /// says.
    pub retention: Option<Duration>,
    /// The same for single components.
    pub retention_of: BTreeMap<ComponentName, Duration>,
    /// Memory of all components' files together.
    pub memory: Option<MemoryLimits>,
    /// Bytes of layers and trees together.
    pub disk: Option<u64>,
    /// Bytes of the file system that stay free.
    pub disk_free: Option<u64>,
    /// Components that grant this stay, whatever the other limits say.
    pub keep: Option<Capability>,
}

impl Limits {
    fn retention(&self, usage: &Usage) -> Duration {
        let said = self.retention_of.get(&usage.name).copied();
        let own = || Duration::from_secs(usage.retention_seconds);
        said.or(self.retention).unwrap_or_else(own)
    }
}

/// Bytes of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLimits {
    /// Above this, components that nobody uses are evicted, the longest unused first,
    pub soft: u64,
    /// until no more than this is left.
    pub target: u64,
}

/// A component as it is now.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Usage {
    /// Name.
    pub name: ComponentName,
    /// Name of its tree.
    pub diff_id: Digest,
    /// Bytes of its layer.
    pub stored: u64,
    /// Bytes of its files when it is loaded; 0 when it is not.
    pub plain: u64,
    /// Bytes of its files, loaded or not.
    pub files: u64,
    /// Whether it is loaded.
    pub loaded: bool,
    /// Leases that name it.
    pub users: usize,
    /// Whether it stays, whatever the limits say.
    pub pinned: bool,
    /// Whether it is a layer of a mounted overlay.
    pub mounted: bool,
    /// When it was used last, in milliseconds since 1970; 0 for never.
    pub last_used: u64,
    /// Whether it was evicted since.
    pub evicted: bool,
    /// Its uses, of which each counts half as much after [`HALF_LIFE`](crate::HALF_LIFE), in thousandths.
    pub score: u64,
    /// How long its loads took on this node.
    pub loads: Option<LoadTimes>,
    /// How long it stays in memory after its last use, in seconds, as its manifest says.
    pub retention_seconds: u64,
}

impl Usage {
    fn is_free(&self) -> bool {
        self.loaded && self.users == 0 && !self.pinned && !self.mounted
    }
}

/// What has to go.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tidied {
    /// Components whose files were dropped from memory.
    pub evicted: Vec<ComponentName>,
    /// Bytes of that.
    pub evicted_bytes: u64,
    /// Components whose trees were removed.
    pub unloaded: Vec<ComponentName>,
    /// Bytes of those.
    pub unloaded_bytes: u64,
    /// What a limit asks for and cannot be had, because the rest is in use: bytes of memory.
    pub memory_over: u64,
    /// The same of the disk.
    pub disk_over: u64,
}

/// The components to unload so that `excess` bytes are freed, in order: those whose retention is over, then the others, the longest unused
/// first. Pure, so that it can be tried over days of use.
pub(crate) fn to_unload(usages: &[Usage], limits: &Limits, now: u64, excess: u64) -> Vec<usize> {
    let mut chosen = Vec::new();
    let mut left = excess;
    for number in by_age(usages, limits, now) {
        if left == 0 {
            break;
        }
        if usages[number].is_free() && usages[number].plain > 0 {
            left = left.saturating_sub(usages[number].plain);
            chosen.push(number);
        }
    }
    chosen
}

/// Numbers of components: expired ones first, the longest unused first among each.
fn by_age(usages: &[Usage], limits: &Limits, now: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..usages.len()).collect();
    order.sort_by_key(|number| {
        let usage = &usages[*number];
        (
            !is_expired(usage, limits, now),
            usage.last_used,
            &usage.name,
        )
    });
    order
}

/// Bytes that components take on the disk.
fn taken(usages: &[Usage]) -> u64 {
    usages.iter().map(|usage| usage.stored + usage.plain).sum()
}

/// Whether nobody has used it for as long as it is to be kept.
fn is_expired(usage: &Usage, limits: &Limits, now: u64) -> bool {
    let retention = u64::try_from(limits.retention(usage).as_millis()).unwrap_or(u64::MAX);
    usage.users == 0 && usage.last_used.saturating_add(retention) <= now
}

impl Store {
    /// Every component of the library with its use, under these limits.
    ///
    /// # Errors
    /// When catalogue or leases cannot be read.
    pub fn usages(&self, limits: &Limits) -> Result<Vec<Usage>, StoreError> {
        self.count_ended()?;
        let mut users: BTreeMap<Digest, usize> = BTreeMap::new();
        for lease in self.leases()? {
            let trees: BTreeSet<_> = lease.components.iter().map(|one| one.diff_id).collect();
            for tree in trees {
                *users.entry(tree).or_default() += 1;
            }
        }
        let mounted = mounted_trees();
        let keep = limits.keep.as_ref().map(Capability::as_str);
        let now = millis(self.now());
        let mut usages = Vec::new();
        for component in self.components()? {
            let diff_id = component.diff_id;
            let loaded = self.is_loaded(&diff_id)?;
            let noted = self.noted(&diff_id);
            usages.push(Usage {
                stored: component.size.stored,
                plain: if loaded { component.size.plain } else { 0 },
                files: component.size.plain,
                loaded,
                users: users.get(&diff_id).copied().unwrap_or(0),
                pinned: keep.is_some_and(|keep| component.grants(keep)),
                mounted: mounted.contains(&diff_id.hex()),
                last_used: noted.last_used,
                evicted: noted.evicted > noted.last_used,
                score: noted.uses.score(now),
                loads: noted.loads,
                retention_seconds: component.retention_seconds,
                name: component.name,
                diff_id,
            });
        }
        Ok(usages)
    }

    /// Bytes of a component's files that are in memory.
    ///
    /// # Errors
    /// When the tree cannot be read.
    pub fn cached_bytes(&self, diff_id: &Digest) -> Result<u64, StoreError> {
        let mut bytes = 0;
        self.each_file(diff_id, &mut |file| {
            bytes += residency::cached_bytes(file)?;
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Begins to read a component's files into memory.
    ///
    /// # Errors
    /// When the tree cannot be read.
    pub fn read_ahead(&self, diff_id: &Digest) -> Result<(), StoreError> {
        self.each_file(diff_id, &mut |file| residency::read_ahead(file))
    }

    fn evict(&self, diff_id: &Digest) -> Result<u64, StoreError> {
        let mut bytes = 0;
        self.each_file(diff_id, &mut |file| {
            let before = residency::cached_bytes(file)?;
            if before > 0 {
                residency::evict(file)?;
                bytes += before.saturating_sub(residency::cached_bytes(file)?);
            }
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Calls `each` with every regular file of a tree; a tree that is not there has none.
    fn each_file(
        &self,
        diff_id: &Digest,
        each: &mut dyn FnMut(&File) -> io::Result<()>,
    ) -> Result<(), StoreError> {
        let path = self.tree_path(diff_id);
        let root = match tree::open(&path) {
            Err(rustix::io::Errno::NOENT) => return Ok(()),
            root => root.map_err(StoreError::open(&path))?,
        };
        let failed = |error: io::Error| StoreError::read(&path)(error);
        let mut pending = vec![String::new()];
        while let Some(below) = pending.pop() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            let directory = match open_beneath(root.as_fd(), &below, flags) {
                // it is being unloaded
                Err(rustix::io::Errno::NOENT) => continue,
                directory => directory.map_err(|errno| failed(errno.into()))?,
            };
            for entry in rustix::fs::Dir::read_from(&directory).map_err(|e| failed(e.into()))? {
                let entry = entry.map_err(|errno| failed(errno.into()))?;
                let Ok(name) = entry.file_name().to_str() else {
                    continue;
                };
                match entry.file_type() {
                    rustix::fs::FileType::Directory if !matches!(name, "." | "..") => {
                        pending.push(match below.as_str() {
                            "" => name.to_owned(),
                            below => format!("{below}/{name}"),
                        });
                    }
                    rustix::fs::FileType::RegularFile => {
                        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
                        match open_beneath(directory.as_fd(), name, flags) {
                            Err(rustix::io::Errno::NOENT) => {}
                            opened => {
                                let file = opened.map_err(|errno| failed(errno.into()))?;
                                each(&File::from(file)).map_err(failed)?;
                            }
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Removes the tree of a component; its layer stays. Bytes of its files.
    ///
    /// # Errors
    /// [`StoreError::Unknown`], and [`StoreError::InUse`] when a container has it.
    pub fn unload(&self, name: &ComponentName) -> Result<u64, StoreError> {
        let component = self.component(name)?;
        let removed = {
            let _lock = self.lock_leases(LockMode::Exclusive)?;
            self.require_unused(name, &component.diff_id)?;
            self.move_tree_away(&component.diff_id)?
        };
        self.remove_abandoned_loads(None)?;
        Ok(if removed { component.size.plain } else { 0 })
    }

    /// Refuses a component that somebody uses, and says who. Only under the lease lock does it stay unused.
    pub(crate) fn require_unused(
        &self,
        name: &ComponentName,
        diff_id: &Digest,
    ) -> Result<(), StoreError> {
        let leases = self.leases()?.into_iter();
        let users =
            leases.filter(|lease| lease.components.iter().any(|one| one.diff_id == *diff_id));
        let mut holders: Vec<String> = users
            .map(|lease| format!("`{}`", lease.holder.id))
            .collect();
        if holders.is_empty() && mounted_trees().contains(&diff_id.hex()) {
            holders.push("an overlay that is still mounted".to_owned());
        }
        if holders.is_empty() {
            return Ok(());
        }
        Err(StoreError::InUse {
            component: name.clone(),
            holders: holders.join(", "),
        })
    }

    /// Takes the tree's name away, to be removed later; whether it was there. Only under the exclusive lease lock.
    fn move_tree_away(&self, diff_id: &Digest) -> Result<bool, StoreError> {
        let directory = self.path(LOADS);
        layout::make_directory(&directory, 0o700)?;
        let from = self.tree_path(diff_id);
        for number in 0_u32.. {
            let to = directory.join(format!("{}.{number}{REMOVED}", diff_id.hex()));
            match fs::rename(&from, &to) {
                Ok(()) => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                // an earlier removal is not done with that name
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
                    ) => {}
                Err(error) => return Err(StoreError::rename(&from, &to)(error)),
            }
        }
        Ok(false)
    }

    /// Makes the limits hold: what nobody uses is evicted from memory when its retention is over, then as far as the memory limit
    /// asks, and unloaded as far as the disk's limits ask. What is in use, kept or mounted stays. [`Store::sweep`] first,
    /// or containers that are gone keep theirs.
    ///
    /// # Errors
    /// When leases or trees cannot be read, or a tree cannot be removed.
    pub fn tidy(&self, limits: &Limits) -> Result<Tidied, StoreError> {
        let mut tidied = Tidied::default();
        self.settle()?;
        let usages = self.tidy_disk(limits, 0, &mut tidied)?;
        self.tidy_memory(limits, &usages, &mut tidied)?;
        Ok(tidied)
    }

    /// Makes room for `bytes` more on the disk, as far as the limits ask for it: of what nobody uses.
    pub(crate) fn make_room(&self, limits: &Limits, bytes: u64) -> Result<(), StoreError> {
        // mostly nothing is asked for, and nothing has to be looked at
        if limits.disk.is_none() && self.lacking(limits, bytes)? == 0 {
            return Ok(());
        }
        self.tidy_disk(limits, bytes, &mut Tidied::default())
            .map(drop)
    }

    /// Bytes that the file system lacks, with `more` to come, of what is to stay free.
    fn lacking(&self, limits: &Limits, more: u64) -> Result<u64, StoreError> {
        match limits.disk_free {
            Some(free) => Ok(free.saturating_add(more).saturating_sub(self.free_bytes()?)),
            None => Ok(0),
        }
    }

    /// Unloads what the disk's limits ask for, with `more` bytes to come; every component with its use after that.
    fn tidy_disk(
        &self,
        limits: &Limits,
        more: u64,
        tidied: &mut Tidied,
    ) -> Result<Vec<Usage>, StoreError> {
        let lock = self.lock_leases(LockMode::Exclusive)?;
        let mut usages = self.usages(limits)?;
        let now = millis(self.now());
        self.mend_times(&mut usages)?;
        let used = taken(&usages).saturating_add(more);
        let excess = limits.disk.map_or(0, |limit| used.saturating_sub(limit));
        let excess = excess.max(self.lacking(limits, more)?);
        for number in to_unload(&usages, limits, now, excess) {
            let usage = &mut usages[number];
            if self.move_tree_away(&usage.diff_id)? {
                tidied.unloaded.push(usage.name.clone());
                tidied.unloaded_bytes += usage.plain;
            }
            (usage.loaded, usage.plain) = (false, 0);
        }
        tidied.disk_over = excess.saturating_sub(tidied.unloaded_bytes);
        drop(lock);
        self.remove_abandoned_loads(None)?;
        Ok(usages)
    }

    fn tidy_memory(
        &self,
        limits: &Limits,
        usages: &[Usage],
        tidied: &mut Tidied,
    ) -> Result<(), StoreError> {
        let now = millis(self.now());
        for usage in usages {
            if usage.is_free() && !usage.evicted && is_expired(usage, limits, now) {
                self.evict_noting(usage, tidied)?;
            }
        }
        let Some(memory) = limits.memory else {
            return Ok(());
        };
        let mut cached = BTreeMap::new();
        for usage in usages.iter().filter(|usage| usage.loaded) {
            cached.insert(usage.diff_id, self.cached_bytes(&usage.diff_id)?);
        }
        let mut total: u64 = cached.values().sum();
        if total <= memory.soft {
            return Ok(());
        }
        for number in by_age(usages, limits, now) {
            let usage = &usages[number];
            let has_some = cached.get(&usage.diff_id).is_some_and(|bytes| *bytes > 0);
            if total > memory.target && usage.is_free() && has_some {
                total = total.saturating_sub(self.evict_noting(usage, tidied)?);
            }
        }
        tidied.memory_over = total.saturating_sub(memory.soft);
        Ok(())
    }

    /// Evicts a component, and notes when: it need not be looked at again before its next use.
    fn evict_noting(&self, usage: &Usage, tidied: &mut Tidied) -> Result<u64, StoreError> {
        let bytes = self.evict(&usage.diff_id)?;
        let path = self.path(USES).join(usage.diff_id.hex());
        let times = times::accessed(times::of(self.now()));
        // one that was never used has no such file, and is looked at every time
        let _ = rustix::fs::utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW);
        if bytes > 0 {
            tidied.evicted.push(usage.name.clone());
            tidied.evicted_bytes += bytes;
        }
        Ok(bytes)
    }

    /// Makes uses of the future ones of now: the clock was wrong then.
    ///
    /// # Errors
    /// When one cannot be noted.
    pub fn mend_times(&self, usages: &mut [Usage]) -> Result<(), StoreError> {
        let now = millis(self.now());
        for usage in usages.iter_mut().filter(|usage| usage.last_used > now) {
            usage.last_used = now;
            self.mend_time(&usage.diff_id)?;
        }
        Ok(())
    }

    /// Bytes that may be loaded before the disk's limits ask for room, with components as they are in `usages`.
    ///
    /// # Errors
    /// When the file system cannot be asked.
    pub fn disk_room(&self, limits: &Limits, usages: &[Usage]) -> Result<u64, StoreError> {
        let below = limits.disk.unwrap_or(u64::MAX);
        let free = self.free_bytes()?;
        let free = free.saturating_sub(limits.disk_free.unwrap_or(0));
        Ok(free.min(below.saturating_sub(taken(usages))))
    }

    /// Bytes that the file system of the store has left for this user.
    fn free_bytes(&self) -> Result<u64, StoreError> {
        let about = rustix::fs::statvfs(self.root()).map_err(StoreError::read(self.root()))?;
        Ok(about.f_bavail.saturating_mul(about.f_frsize))
    }
}
