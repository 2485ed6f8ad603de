//! Numbers in a file that many processes add to at once, without a lock: shared memory that outlives them.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::OFlags;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// A file of numbers, mapped.
#[derive(Debug)]
pub struct SharedCounters {
    address: NonNull<AtomicU64>,
    count: usize,
}

// SAFETY: the memory is shared between processes by design, and every access to it is atomic.
unsafe impl Send for SharedCounters {}
// SAFETY: as above.
unsafe impl Sync for SharedCounters {}

impl SharedCounters {
    /// Opens the file of `count` numbers at `path`, or makes one of zeros.
    ///
    /// The file has to be this user's, and nobody else's to write: who shortens it while it is mapped ends the process with SIGBUS.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for one that is not such a file; else as open(2), ftruncate(2) and mmap(2).
    pub fn open(path: &Path, count: usize) -> io::Result<Self> {
        let invalid = |text: &'static str| io::Error::new(io::ErrorKind::InvalidInput, text);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
            .open(path)?;
        let about = file.metadata()?;
        let own = about.uid() == rustix::process::geteuid().as_raw();
        if !about.is_file() || !own || about.mode() & 0o022 != 0 {
            return Err(invalid(
                "not a regular file that is this user's alone to write",
            ));
        }
        let length = count
            .checked_mul(size_of::<AtomicU64>())
            .filter(|length| *length > 0)
            .ok_or_else(|| invalid("no number of numbers"))?;
        // longer or new ones grow with zeros, which is what a number begins with; none is ever made shorter
        if about.len() < length as u64 {
            file.set_len(length as u64)?;
        }
        // SAFETY: mmap(2) without MAP_FIXED at a null hint takes an unused address range. The file is at least that long, and is
        // never shortened by anybody who follows this type.
        let address = unsafe {
            mmap(
                ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                &file,
                0,
            )
        }?;
        let address = NonNull::new(address.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { address, count })
    }

    /// The numbers.
    #[must_use]
    pub fn all(&self) -> &[AtomicU64] {
        // SAFETY: the mapping holds that many aligned numbers (a page is aligned to more), lives as long as this value, and
        // is only ever accessed atomically. Any bytes are a number.
        unsafe { std::slice::from_raw_parts(self.address.as_ptr(), self.count) }
    }

    /// Adds to a number; one that there is not is ignored.
    pub fn add(&self, index: usize, value: u64) {
        if let Some(number) = self.all().get(index) {
            number.fetch_add(value, Ordering::Relaxed);
        }
    }
}

impl Drop for SharedCounters {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `open` and is not used after this.
        let _ = unsafe {
            munmap(
                self.address.as_ptr().cast(),
                self.count * size_of::<AtomicU64>(),
            )
        };
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn values(counters: &SharedCounters) -> Vec<u64> {
        let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
        counters.all().iter().map(load).collect()
    }

    #[test]
    fn everybody_adds_to_the_same_numbers() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("numbers");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let counters = SharedCounters::open(&path, 3).unwrap();
                    for _ in 0..1000 {
                        counters.add(0, 1);
                        counters.add(2, 5);
                        counters.add(9, 1);
                    }
                });
            }
        });
        let counters = SharedCounters::open(&path, 3).unwrap();
        assert_eq!(values(&counters), [8000, 0, 40_000]);
        // a later release has more
        assert_eq!(
            values(&SharedCounters::open(&path, 4).unwrap()),
            [8000, 0, 40_000, 0]
        );
        assert_eq!(values(&SharedCounters::open(&path, 2).unwrap()), [8000, 0]);
    }

    #[test]
    fn files_of_others_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("numbers");
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
        assert!(SharedCounters::open(&path, 1).is_err());
        std::os::unix::fs::symlink(&path, directory.path().join("link")).unwrap();
        assert!(SharedCounters::open(&directory.path().join("link"), 1).is_err());
        assert!(SharedCounters::open(directory.path(), 1).is_err());
        assert!(SharedCounters::open(&directory.path().join("none"), 0).is_err());
    }
}
