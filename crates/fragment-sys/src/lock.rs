//! Advisory whole-file locks, flock(2), as guards.
//!
//! A lock belongs to the open file description, not to the process: two opens of one file exclude each other even inside
//! one process, and a crash of the holder releases it.

use std::io;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Whom a lock excludes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// Only [`LockMode::Exclusive`] holders.
    Shared,
    /// Everybody else.
    Exclusive,
}

/// A held lock; dropping it releases it.
#[derive(Debug)]
pub struct FileLock {
    file: OwnedFd,
}

/// Longest pause between two attempts of [`FileLock::wait_at_most`].
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

impl FileLock {
    /// Locks `file`, however long that takes.
    ///
    /// # Errors
    /// As flock(2); a signal is not an error.
    pub fn wait(file: OwnedFd, mode: LockMode) -> io::Result<Self> {
        let operation = match mode {
            LockMode::Shared => FlockOperation::LockShared,
            LockMode::Exclusive => FlockOperation::LockExclusive,
        };
        loop {
            match flock(&file, operation) {
                Ok(()) => return Ok(Self { file }),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Locks `file` if that is possible at once; `None` when somebody else holds it.
    ///
    /// # Errors
    /// As flock(2).
    pub fn attempt(file: OwnedFd, mode: LockMode) -> io::Result<Option<Self>> {
        Self::wait_at_most(file, mode, Duration::ZERO)
    }

    /// Locks `file` within `patience`; `None` when somebody else held it all that time.
    ///
    /// flock(2) has no time-out, so this asks again and again, a little more slowly each time.
    ///
    /// # Errors
    /// As flock(2).
    pub fn wait_at_most(
        file: OwnedFd,
        mode: LockMode,
        patience: Duration,
    ) -> io::Result<Option<Self>> {
        let operation = match mode {
            LockMode::Shared => FlockOperation::NonBlockingLockShared,
            LockMode::Exclusive => FlockOperation::NonBlockingLockExclusive,
        };
        let started = Instant::now();
        let mut pause = Duration::from_micros(100);
        loop {
            match flock(&file, operation) {
                Ok(()) => return Ok(Some(Self { file })),
                Err(Errno::WOULDBLOCK) => {
                    let left = patience.saturating_sub(started.elapsed());
                    if left.is_zero() {
                        return Ok(None);
                    }
                    thread::sleep(pause.min(left));
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // closing alone is not enough: a child forked meanwhile shares the open file description and would keep the lock
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::OwnedFd;
    use std::time::{Duration, Instant};

    use super::{FileLock, LockMode};

    fn opener() -> (tempfile::TempDir, impl Fn() -> OwnedFd) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        File::create(&path).unwrap();
        (dir, move || File::open(&path).unwrap().into())
    }

    #[test]
    fn shared_holders_exclude_only_exclusive_ones() {
        let (_dir, open) = opener();
        let first = FileLock::wait(open(), LockMode::Shared).unwrap();
        let second = FileLock::attempt(open(), LockMode::Shared).unwrap();
        assert!(second.is_some());
        assert!(
            FileLock::attempt(open(), LockMode::Exclusive)
                .unwrap()
                .is_none()
        );
        drop((first, second));
        let exclusive = FileLock::attempt(open(), LockMode::Exclusive).unwrap();
        assert!(exclusive.is_some());
        assert!(
            FileLock::attempt(open(), LockMode::Shared)
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn patience_ends() {
        let (_dir, open) = opener();
        let _held = FileLock::wait(open(), LockMode::Exclusive).unwrap();
        let started = Instant::now();
        let patience = Duration::from_millis(60);
        assert!(
            FileLock::wait_at_most(open(), LockMode::Shared, patience)
                .unwrap()
                .is_none()
        );
        assert!(started.elapsed() >= patience);
    }

    #[test]
    fn a_waiter_gets_the_lock_that_is_released() {
        let (_dir, open) = opener();
        let held = FileLock::wait(open(), LockMode::Exclusive).unwrap();
        let file = open();
        let waiter = std::thread::spawn(move || {
            FileLock::wait_at_most(file, LockMode::Exclusive, Duration::from_secs(20)).unwrap()
        });
        std::thread::sleep(Duration::from_millis(30));
        drop(held);
        assert!(waiter.join().unwrap().is_some());
    }

    #[test]
    fn a_duplicate_of_the_descriptor_does_not_keep_the_lock() {
        let (_dir, open) = opener();
        let file = open();
        let duplicate = file.try_clone().unwrap();
        drop(FileLock::wait(file, LockMode::Exclusive).unwrap());
        assert!(
            FileLock::attempt(open(), LockMode::Exclusive)
                .unwrap()
                .is_some()
        );
        drop(duplicate);
    }
}
