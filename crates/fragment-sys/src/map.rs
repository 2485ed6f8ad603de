//! Read-only memory maps of files that are never changed in place.

use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::{self, NonNull};

use rustix::fs::{FileType, Mode, fstat};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// A whole file, mapped read-only and shared with the page cache.
///
/// It reads as a byte slice.
#[derive(Debug)]
pub struct FileMap {
    address: NonNull<u8>,
    length: usize,
}

// SAFETY: the map is read-only memory that nobody writes to while it lives (see `of_replaced`); it is not tied to the
// thread that made it.
unsafe impl Send for FileMap {}
// SAFETY: as above: shared reads of memory that does not change are free of races.
unsafe impl Sync for FileMap {}

impl FileMap {
    /// Maps `file`, which must be one that its writers *replace by rename(2)*, and never truncate or write in place.
    ///
    /// That is a promise about the file's owner, who can break it and so crash the reader (SIGBUS); it is checked as far
    /// as it can be: the file is a regular one that nobody but its owner can open for writing.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for an empty file, one that is not regular or is writable for group or others;
    /// else as mmap(2).
    pub fn of_replaced(file: BorrowedFd<'_>) -> io::Result<Self> {
        let stat = fstat(file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
        if Mode::from_raw_mode(stat.st_mode).intersects(Mode::WGRP | Mode::WOTH) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "writable by others than its owner",
            ));
        }
        let length = usize::try_from(stat.st_size)
            .ok()
            .filter(|&length| length > 0)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "empty file"))?;
        // SAFETY: mmap(2) without MAP_FIXED at a null hint takes an unused address range: no memory of ours is replaced.
        // The bytes do not change and no page vanishes while the map lives, because the file is only ever replaced by
        // rename: its inode, which the map keeps alive, is written once, before it gets its name, and never truncated.
        let address = unsafe {
            mmap(
                ptr::null_mut(),
                length,
                ProtFlags::READ,
                MapFlags::SHARED,
                file.as_fd(),
                0,
            )
        }?;
        let address = NonNull::new(address.cast())
            .ok_or_else(|| io::Error::other("the kernel mapped the file at address zero"))?;
        Ok(Self { address, length })
    }
}

impl Deref for FileMap {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `address` is the start of `length` readable bytes, mapped until drop, and unchanging (`of_replaced`);
        // a file length never exceeds isize::MAX.
        unsafe { std::slice::from_raw_parts(self.address.as_ptr(), self.length) }
    }
}

impl Drop for FileMap {
    fn drop(&mut self) {
        // SAFETY: exactly the range that mmap(2) returned; every slice of it borrows `self` and has ended.
        let _ = unsafe { munmap(self.address.as_ptr().cast(), self.length) };
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, Permissions};
    use std::io;
    use std::os::fd::AsFd;
    use std::os::unix::fs::PermissionsExt;

    use super::FileMap;

    fn map(path: &std::path::Path) -> io::Result<FileMap> {
        FileMap::of_replaced(File::open(path).unwrap().as_fd())
    }

    #[test]
    fn reads_as_the_file_and_outlives_its_replacement() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let content = vec![7u8; 10_000];
        fs::write(&path, &content).unwrap();
        let mapped = map(&path).unwrap();
        fs::write(dir.path().join("new"), b"x").unwrap();
        fs::rename(dir.path().join("new"), &path).unwrap();
        assert_eq!(&*mapped, content.as_slice());
    }

    #[test]
    fn refuses_what_could_change_under_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, b"content").unwrap();
        for mode in [0o664, 0o646] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(
                map(&path).unwrap_err().kind(),
                io::ErrorKind::InvalidInput,
                "{mode:o}"
            );
        }
        assert_eq!(
            map(dir.path()).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
        fs::write(dir.path().join("empty"), b"").unwrap();
        assert_eq!(
            map(&dir.path().join("empty")).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
    }
}
