//! Loading: a component whose layer is in the store gets its tree.
//!
//! However many processes and threads ask for a component, one unpacks it: who holds the lock of `loads/HEX`, where HEX is the
//! name of the tree. The others wait for that lock and find the tree there. At most so many unpack at a time: who holds the lock
//! of one of the files `loads/slot-N`. Locks end with their process, and what it had not finished (`loads/HEX.tree`) is removed by
//! whoever loads next.
//!
//! A tree is made under another name and gets its own by rename, so one that is there is whole. It is not flushed to disk first:
//! that would take longer than unpacking. Until it is, the time of its root has a mark of this boot of the machine in its
//! nanoseconds, which layers do not have; a tree with the mark of another boot may be one that a power failure cut short, and is
//! loaded again.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fragment_sys::lock::{FileLock, LockMode};
use fragment_sys::pool;
use fragment_types::{ComponentName, Digest, Manifest};
use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};

use crate::ahead;
use crate::error::StoreError;
use crate::expected::{Expected, LIMITS};
use crate::ingest::copy_checked;
use crate::layer::{Compression, Hashing, LayerError, Sums};
use crate::layout::{self, LOADS, QUARANTINE, TREES};
use crate::lease::LeasedComponent;
use crate::life::{Limits, REMOVED};
use crate::store::Store;
use crate::tree::{self, Flushed};
use crate::unpack::{PIECE, unpack_known};

/// End of the names of trees that are being unpacked.
const UNFINISHED: &str = ".tree";
/// End of the names of blobs that are being fetched.
const FETCHED: &str = ".blob";
/// Layers of more compressed bytes are read, digested and decompressed in a thread of its own beside unpacking. For smaller ones a thread
/// costs what it gains.
const READ_BESIDE: u64 = 512 << 10;
/// Pieces of an archive that are decompressed before they are unpacked, at most.
const PIECES: usize = 8;
/// Bytes of each: fewer, and the threads wait for each other more often.
const PIECE_AHEAD: usize = 256 << 10;
/// Longest pause between two looks for a free slot.
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

/// Where layers come from that the store does not have.
pub trait Source: Sync {
    /// What errors call it.
    fn name(&self) -> String;

    /// The blob of this digest; `None` when it has none. What it yields is checked.
    ///
    /// # Errors
    /// When it cannot be read.
    fn open(&self, blob: &Digest) -> io::Result<Option<Box<dyn Read + '_>>>;
}

/// An OCI image layout in a directory, or another store, as a source.
#[derive(Debug, Clone)]
pub struct LayoutSource(PathBuf);

impl LayoutSource {
    /// The layout in `directory`. It is looked at when it is asked.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self(directory.into())
    }
}

impl Source for LayoutSource {
    fn name(&self) -> String {
        self.0.display().to_string()
    }

    fn open(&self, blob: &Digest) -> io::Result<Option<Box<dyn Read + '_>>> {
        let path = self.0.join(layout::BLOBS).join(blob.hex());
        // a fifo must not block us
        let flags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK);
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(path);
        match opened {
            Ok(file) => Ok(Some(Box::new(file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// How loads are bounded, and where from they are.
#[derive(Clone)]
pub struct LoadOptions<'s> {
    /// Loads at a time, of all processes together.
    pub concurrent: usize,
    /// Longest time of one load, waiting included.
    pub timeout: Duration,
    /// Asked in order for a layer that the store does not have.
    pub sources: &'s [&'s dyn Source],
    /// What the disk allows: room is made first, of what nobody uses.
    pub limits: Limits,
}

impl Default for LoadOptions<'_> {
    fn default() -> Self {
        Self {
            concurrent: 10,
            timeout: Duration::from_secs(30),
            sources: &[],
            limits: Limits::default(),
        }
    }
}

impl std::fmt::Debug for LoadOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sources: Vec<String> = self.sources.iter().map(|source| source.name()).collect();
        f.debug_struct("LoadOptions")
            .field("concurrent", &self.concurrent)
            .field("timeout", &self.timeout)
            .field("sources", &sources)
            .field("limits", &self.limits)
            .finish()
    }
}

/// What a load came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "load", rename_all = "kebab-case")]
pub enum Load {
    /// The tree was there.
    Present,
    /// Somebody else unpacked it meanwhile.
    Awaited,
    /// It was unpacked.
    Unpacked {
        /// Bytes of its files.
        bytes: u64,
        /// How long that took, waiting included.
        time: Duration,
        /// Whether its layer was fetched from a source.
        fetched: bool,
    },
}

/// The end of the time that is allowed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    started: Instant,
    timeout: Duration,
}

impl Deadline {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self {
            started: Instant::now(),
            timeout,
        }
    }

    /// What is left of it.
    pub(crate) fn left(&self) -> Duration {
        self.timeout.saturating_sub(self.started.elapsed())
    }

    fn error(&self, component: &ComponentName, phase: &'static str) -> StoreError {
        StoreError::LoadTimeout {
            component: component.clone(),
            phase,
            seconds: self.timeout.as_secs(),
        }
    }
}

/// Reads until the time is over.
struct Timed<R> {
    source: R,
    deadline: Deadline,
}

impl<R: Read> Read for Timed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.deadline.left().is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.source.read(buffer)
    }
}

impl Store {
    /// Sees to it that every tree of `components` is there, and says of each how it came to be, in order. A lease that names them has to be
    /// taken before, or they may be gone again. Several that are missing are unpacked at the same time.
    ///
    /// # Errors
    /// The first of those of [`Store::load`]; what was loaded by then stays.
    pub fn ready(
        &self,
        components: &[LeasedComponent],
        options: &LoadOptions<'_>,
    ) -> Result<Vec<Load>, StoreError> {
        let mut missing = Vec::new();
        for (number, component) in components.iter().enumerate() {
            if !self.is_loaded(&component.diff_id)? {
                missing.push(number);
            }
        }
        let mut loads = vec![Load::Present; components.len()];
        if missing.is_empty() {
            return Ok(loads);
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let jobs = cores.min(options.concurrent.max(1));
        let work = |number: &usize| self.load(&components[*number], options);
        let loaded = pool::map(jobs, &missing, &work)?;
        for (number, load) in missing.into_iter().zip(loaded) {
            loads[number] = load;
        }
        Ok(loads)
    }

    /// Unpacks the component's layer, unless it is there or somebody is at it already.
    ///
    /// # Errors
    /// [`StoreError::TreeGone`] for a component that has left the library, [`StoreError::LoadTimeout`],
    /// [`StoreError::Quarantined`] for a damaged layer, which is put aside and asked of the sources, [`StoreError::LayerGone`];
    /// when a file cannot be written. Nothing half-unpacked is left, and the next call tries again.
    pub fn load(
        &self,
        component: &LeasedComponent,
        options: &LoadOptions<'_>,
    ) -> Result<Load, StoreError> {
        if self.is_loaded(&component.diff_id)? {
            return Ok(Load::Present);
        }
        let (name, deadline) = (&component.name, Deadline::new(options.timeout));
        let turn = self.turn(name, &component.diff_id, &deadline)?;
        if self.is_loaded(&component.diff_id)? {
            return Ok(Load::Awaited);
        }
        self.remove_abandoned_loads(Some(&component.diff_id))?;
        let slot = self.slot(options.concurrent.max(1), &deadline)?;
        let _slot = slot.ok_or_else(|| deadline.error(name, "waiting for other loads"))?;
        let manifest = self
            .manifest(&component.digest)
            .map_err(|error| match error {
                StoreError::Open { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                    StoreError::TreeGone {
                        component: name.clone(),
                        diff_id: component.diff_id,
                    }
                }
                other => other,
            })?;
        self.make_room(&options.limits, manifest.size.plain)?;
        let fetched = self.unpack_or_fetch(&manifest, options.sources, &deadline)?;
        drop(turn);
        let time = deadline.started.elapsed();
        let _ = self.note_load(&component.diff_id, time);
        Ok(Load::Unpacked {
            bytes: manifest.size.plain,
            time,
            fetched,
        })
    }

    /// Whether the tree is there, and whole as far as anybody can tell.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn is_loaded(&self, diff_id: &Digest) -> Result<bool, StoreError> {
        let path = self.tree_path(diff_id);
        match fs::symlink_metadata(&path) {
            Ok(about) if about.is_dir() => Ok(tree::flushed(&about) != Flushed::Doubtful),
            Ok(_) => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::open(&path)(error)),
        }
    }

    /// Flushes what was loaded since it was last done, so that no tree has to be loaded again after a power failure. How many.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn settle(&self) -> Result<usize, StoreError> {
        let directory = self.path(TREES);
        let mut unflushed = Vec::new();
        for entry in fs::read_dir(&directory).map_err(StoreError::read(&directory))? {
            let path = entry.map_err(StoreError::read(&directory))?.path();
            let is_new = fs::symlink_metadata(&path)
                .is_ok_and(|about| tree::flushed(&about) == Flushed::NotYet);
            if is_new {
                unflushed.push(path);
            }
        }
        if !unflushed.is_empty() {
            self.flush()?;
            for path in &unflushed {
                // gone meanwhile
                if let Ok(root) = tree::open(path) {
                    tree::unmark(root.as_fd()).map_err(StoreError::write(path))?;
                }
            }
        }
        Ok(unflushed.len())
    }

    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        tree::open(self.root())
            .and_then(rustix::fs::syncfs)
            .map_err(StoreError::sync(self.root()))
    }

    /// Unpacks the layer; one that is not there or damaged is fetched. Whether it was.
    fn unpack_or_fetch(
        &self,
        manifest: &Manifest,
        sources: &[&dyn Source],
        deadline: &Deadline,
    ) -> Result<bool, StoreError> {
        let expected = Expected::new(manifest, &LIMITS)?;
        let blob = self.blob_path(&manifest.layer.digest);
        if blob.is_file() {
            match self.unpack_into_place(manifest, &expected, deadline) {
                Err(error)
                    if is_content(&error)
                        && self.layer_digest(manifest, &mut |_| {})? != manifest.layer.digest =>
                {
                    self.quarantine(&manifest.layer.digest)?;
                }
                other => return other.map(|()| false),
            }
        }
        if !self.fetch_first(manifest, sources, deadline)? {
            return Err(self.missing(manifest));
        }
        self.unpack_into_place(manifest, &expected, deadline)?;
        Ok(true)
    }

    /// The right to load a component, as soon as nobody else has it.
    fn turn(
        &self,
        component: &ComponentName,
        diff_id: &Digest,
        deadline: &Deadline,
    ) -> Result<Turn, StoreError> {
        let directory = self.path(LOADS);
        layout::make_directory(&directory, 0o700)?;
        let turn = Turn::take(&directory.join(diff_id.hex()), deadline)?;
        turn.ok_or_else(|| deadline.error(component, "waiting for another process that loads it"))
    }

    /// Fetches a layer from the first source that has it, and nothing else; whether one has.
    pub(crate) fn fetch_from_any(
        &self,
        manifest: &Manifest,
        options: &LoadOptions<'_>,
    ) -> Result<bool, StoreError> {
        let deadline = Deadline::new(options.timeout);
        let diff_id = &manifest.layer.diff_id;
        let _turn = self.turn(&manifest.name, diff_id, &deadline)?;
        self.remove_abandoned_loads(Some(diff_id))?;
        self.fetch_first(manifest, options.sources, &deadline)
    }

    fn fetch_first(
        &self,
        manifest: &Manifest,
        sources: &[&dyn Source],
        deadline: &Deadline,
    ) -> Result<bool, StoreError> {
        for source in sources {
            if self.fetch(manifest, *source, deadline)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What to say of a component whose layer nobody has.
    pub(crate) fn missing(&self, manifest: &Manifest) -> StoreError {
        let digest = &manifest.layer.digest;
        let path = self.path(QUARANTINE).join(digest.hex());
        let component = manifest.name.clone();
        if path.exists() {
            return StoreError::Quarantined { component, path };
        }
        let path = self.blob_path(digest);
        StoreError::LayerGone { component, path }
    }

    /// Puts a blob aside that is not what its name says. One of that name that is there already is replaced.
    pub(crate) fn quarantine(&self, blob: &Digest) -> Result<PathBuf, StoreError> {
        let directory = self.path(QUARANTINE);
        layout::make_directory(&directory, 0o700)?;
        let (from, to) = (self.blob_path(blob), directory.join(blob.hex()));
        match fs::rename(&from, &to) {
            // another process was first
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed.map_err(StoreError::rename(&from, &to))?,
        }
        Ok(to)
    }

    fn unpack_into_place(
        &self,
        manifest: &Manifest,
        expected: &Expected<'_>,
        deadline: &Deadline,
    ) -> Result<(), StoreError> {
        let diff_id = &manifest.layer.diff_id;
        let unfinished = Unfinished(self.load_path(diff_id, UNFINISHED));
        layout::make_directory(&unfinished.0, 0o700)?;
        let root = tree::open(&unfinished.0).map_err(StoreError::open(&unfinished.0))?;
        let path = self.blob_path(&manifest.layer.digest);
        let layer = |source| match source {
            LayerError::Read(error) if error.kind() == io::ErrorKind::TimedOut => {
                deadline.error(&manifest.name, "unpacking")
            }
            source => StoreError::Layer {
                component: manifest.name.clone(),
                source,
            },
        };
        let mut blob = layout::open_file(&path)?;
        let compression = Compression::of(&mut blob).map_err(layer)?;
        let timed = Timed {
            source: Hashing::new(blob),
            deadline: *deadline,
        };
        let unpack =
            |pieces: &mut dyn BufRead| unpack_known(pieces, manifest, expected, root.as_fd());
        let hashing = if manifest.size.stored > READ_BESIDE {
            unpack_beside(timed, compression, unpack)
        } else {
            unpack_here(timed, compression, unpack)
        };
        let mut hashing = hashing.map_err(layer)?.source;
        // the decoder need not have read what follows its last frame
        io::copy(&mut hashing, &mut io::sink()).map_err(StoreError::read(&path))?;
        let found = hashing.digest();
        if found != manifest.layer.digest {
            return Err(StoreError::BlobDigest {
                path,
                expected: manifest.layer.digest,
                found,
            });
        }
        if !tree::mark(root.as_fd()).map_err(StoreError::write(&unfinished.0))? {
            // a file system that keeps no such times
            self.flush()?;
        }
        self.put_in_place(&unfinished.0, manifest)
    }

    /// Gives an unpacked tree its name. One that is there already is of another boot and was never flushed.
    fn put_in_place(&self, from: &Path, manifest: &Manifest) -> Result<(), StoreError> {
        let diff_id = &manifest.layer.diff_id;
        let to = self.tree_path(diff_id);
        match fs::rename(from, &to) {
            // a directory with something in it
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
                ) =>
            {
                // whoever has a lease of it loaded it after the boot; it was not doubtful then
                let _lock = self.lock_leases(LockMode::Exclusive)?;
                self.replace_tree(from, diff_id)
            }
            renamed => renamed.map_err(StoreError::rename(from, &to)),
        }
    }

    /// Gives `new` the name of a tree, in the place of one that has it: at no moment is there none. Only under the exclusive lease
    /// lock.
    pub(crate) fn replace_tree(&self, new: &Path, diff_id: &Digest) -> Result<(), StoreError> {
        let tree = self.tree_path(diff_id);
        if fs::symlink_metadata(&tree).is_err() {
            return layout::rename(new, &tree);
        }
        renameat_with(CWD, new, CWD, &tree, RenameFlags::EXCHANGE)
            .map_err(StoreError::rename(new, &tree))
    }

    /// Copies a blob from a source into the store, checked. Whether the source has it.
    fn fetch(
        &self,
        manifest: &Manifest,
        source: &dyn Source,
        deadline: &Deadline,
    ) -> Result<bool, StoreError> {
        let digest = manifest.layer.digest;
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::TimedOut => deadline.error(&manifest.name, "fetching"),
            _ => StoreError::Source {
                origin: source.name(),
                component: manifest.name.clone(),
                digest,
                source: error,
            },
        };
        let Some(blob) = source.open(&digest).map_err(failed)? else {
            return Ok(false);
        };
        let unfinished = Unfinished(self.load_path(&manifest.layer.diff_id, FETCHED));
        let path = &unfinished.0;
        let timed = Timed {
            source: blob,
            deadline: *deadline,
        };
        let copy = copy_checked(manifest, timed, path, failed, path)?;
        copy.sync_all().map_err(StoreError::sync(path))?;
        layout::rename(path, &self.blob_path(&digest))?;
        Ok(true)
    }

    /// One of the slots, as soon as one is free.
    fn slot(&self, slots: usize, deadline: &Deadline) -> Result<Option<FileLock>, StoreError> {
        let directory = self.path(LOADS);
        let mut pause = Duration::from_micros(200);
        loop {
            for number in 0..slots {
                let path = directory.join(format!("slot-{number}"));
                let file = layout::open_lock(&path)?;
                let lock = FileLock::attempt(file.into(), LockMode::Exclusive)
                    .map_err(StoreError::lock(&path))?;
                if lock.is_some() {
                    return Ok(lock);
                }
            }
            if deadline.left().is_zero() {
                return Ok(None);
            }
            std::thread::sleep(pause.min(deadline.left()));
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn load_path(&self, diff_id: &Digest, end: &str) -> PathBuf {
        self.path(LOADS).join(format!("{}{end}", diff_id.hex()))
    }

    /// Removes what killed loaders left: what has nobody's lock on it. `mine` is what the caller holds the lock of.
    pub(crate) fn remove_abandoned_loads(&self, mine: Option<&Digest>) -> Result<(), StoreError> {
        let directory = self.path(LOADS);
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(StoreError::read(&directory))?,
        };
        let mine = mine.map(Digest::hex);
        for entry in entries {
            let entry = entry.map_err(StoreError::read(&directory))?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if name.ends_with(REMOVED) {
                // nobody needs it any more
                remove_any(&directory, name)?;
                continue;
            }
            let hex = [UNFINISHED, FETCHED]
                .iter()
                .find_map(|end| name.strip_suffix(end));
            let Some(hex) = hex else { continue };
            let _turn = if mine.as_deref() == Some(hex) {
                None
            } else {
                match Turn::attempt(&directory.join(hex))? {
                    None => continue,
                    turn => turn,
                }
            };
            remove_any(&directory, name)?;
        }
        Ok(())
    }
}

/// Gives `unpack` the archive in `blob`; `blob` after it.
fn unpack_here<R: Read>(
    mut blob: Timed<R>,
    compression: Compression,
    unpack: impl FnOnce(&mut dyn BufRead) -> Result<(), LayerError>,
) -> Result<Timed<R>, LayerError> {
    let archive = compression.decoder(&mut blob, Sums::Ignored);
    let archive = archive.map_err(LayerError::Read)?;
    unpack(&mut BufReader::with_capacity(PIECE, archive))?;
    Ok(blob)
}

/// The same with `blob` read, digested and decompressed in a thread of its own.
fn unpack_beside<R: Read + Send>(
    mut blob: Timed<R>,
    compression: Compression,
    unpack: impl FnOnce(&mut dyn BufRead) -> Result<(), LayerError>,
) -> Result<Timed<R>, LayerError> {
    let (mut ahead, mut pieces) = ahead::pieces(PIECES, PIECE_AHEAD, blob.deadline);
    std::thread::scope(|scope| {
        let reading = scope.spawn(move || {
            ahead.read_all(compression.decoder(&mut blob, Sums::Ignored));
            blob
        });
        let unpacked = unpack(&mut pieces);
        // nobody wants more
        drop(pieces);
        match reading.join() {
            Ok(blob) => unpacked.map(|()| blob),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Whether the content of a layer is what is wrong, as opposed to the disk that is written to.
fn is_content(error: &StoreError) -> bool {
    match error {
        StoreError::BlobDigest { .. } => true,
        StoreError::Layer { source, .. } => !matches!(source, LayerError::Write { .. }),
        _ => false,
    }
}

/// Removes a file or tree in a directory of ours; nothing there is no error.
fn remove_any(directory: &Path, name: &str) -> Result<(), StoreError> {
    let path = directory.join(name);
    let removed = tree::open(directory).and_then(|directory| {
        let name = std::ffi::CString::new(name).map_err(|_| rustix::io::Errno::INVAL)?;
        tree::remove(directory.as_fd(), &name)
    });
    match removed {
        Err(rustix::io::Errno::NOENT) => Ok(()),
        removed => removed.map_err(StoreError::remove(&path)),
    }
}

/// The right to load one component; dropped, its file is removed.
#[derive(Debug)]
struct Turn {
    path: PathBuf,
    _lock: FileLock,
}

impl Turn {
    /// Waits for it; `None` when the time is over.
    fn take(path: &Path, deadline: &Deadline) -> Result<Option<Self>, StoreError> {
        loop {
            let file = layout::open_lock(path)?;
            let mine = file.metadata().map_err(StoreError::open(path))?;
            let lock = FileLock::wait_at_most(file.into(), LockMode::Exclusive, deadline.left())
                .map_err(StoreError::lock(path))?;
            let Some(lock) = lock else { return Ok(None) };
            // who had it before has removed the file: those who come now lock another
            let there = fs::symlink_metadata(path);
            if there.is_ok_and(|there| (there.dev(), there.ino()) == (mine.dev(), mine.ino())) {
                let path = path.to_owned();
                return Ok(Some(Self { path, _lock: lock }));
            }
        }
    }

    /// Takes it if nobody has it.
    fn attempt(path: &Path) -> Result<Option<Self>, StoreError> {
        Self::take(path, &Deadline::new(Duration::ZERO))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // while it is locked: who waits finds that it is gone
        let _ = fs::remove_file(&self.path);
    }
}

/// A file or tree that is being made; dropped, it is removed. Renamed, it is not there.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        let name = self.0.file_name().and_then(std::ffi::OsStr::to_str);
        if let (Some(directory), Some(name)) = (self.0.parent(), name) {
            // what stays is removed by the next load
            let _ = remove_any(directory, name);
        }
    }
}
