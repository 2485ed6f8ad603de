//! Read-only memory maps of files that are never changed in place.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::FileExt as _;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;

use rustix::fs::{FileType, Mode, fstat};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// A file that its writers *replace by rename(2)*, and never truncate or write in place. Its bytes are mapped when they are first asked for, shared
/// with the page cache: of a large file the kernel maps a large part at once, which is not for who wants its first bytes alone.
#[derive(Debug)]
pub struct ReplacedFile {
    file: File,
    length: usize,
    map: OnceLock<FileMap>,
}

impl ReplacedFile {
    /// Takes `file`. How it is written is a promise about the file's owner, who can break it and so crash the reader (SIGBUS); it is checked
    /// as far as it can be: the file is a regular one that nobody but its owner can open for writing.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for an empty file, one that is not regular or is writable for group or others;
    /// else as fstat(2).
    pub fn new(file: File) -> io::Result<Self> {
        let invalid = |what| io::Error::new(io::ErrorKind::InvalidInput, what);
        let stat = fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(invalid("not a regular file"));
        }
        if Mode::from_raw_mode(stat.st_mode).intersects(Mode::WGRP | Mode::WOTH) {
            return Err(invalid("writable by others than its owner"));
        }
        let length = usize::try_from(stat.st_size)
            .ok()
            .filter(|&length| length > 0)
            .ok_or_else(|| invalid("empty file"))?;
        Ok(Self {
            file,
            length,
            map: OnceLock::new(),
        })
    }

    /// Its length in bytes, never 0.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Its first bytes, as many as `buffer` holds or it has.
    ///
    /// # Errors
    /// As pread(2).
    pub fn head<'a>(&self, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
        let length = buffer.len().min(self.length);
        let head = &mut buffer[..length];
        self.file.read_exact_at(head, 0)?;
        Ok(head)
    }

    /// All of it.
    ///
    /// # Errors
    /// As mmap(2).
    pub fn bytes(&self) -> io::Result<&[u8]> {
        if let Some(map) = self.map.get() {
            return Ok(map);
        }
        let map = FileMap::new(self.file.as_fd(), self.length)?;
        Ok(self.map.get_or_init(|| map))
    }
}

/// A whole file of the kind above, mapped read-only.
#[derive(Debug)]
struct FileMap {
    address: NonNull<u8>,
    length: usize,
}

// SAFETY: the map is read-only memory that nobody writes to while it lives (see `ReplacedFile`); it is not tied to the
// thread that made it.
unsafe impl Send for FileMap {}
// SAFETY: as above: shared reads of memory that does not change are free of races.
unsafe impl Sync for FileMap {}

impl FileMap {
    fn new(file: BorrowedFd<'_>, length: usize) -> io::Result<Self> {
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
        // SAFETY: `address` is the start of `length` readable bytes, mapped until drop, and unchanging (`ReplacedFile`);
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
    use std::os::unix::fs::PermissionsExt;

    use super::ReplacedFile;

    fn open(path: &std::path::Path) -> io::Result<ReplacedFile> {
        ReplacedFile::new(File::open(path).unwrap())
    }

    #[test]
    fn reads_as_the_file_and_outlives_its_replacement() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let content: Vec<u8> = (0..10_000u16)
            .map(|number| number.to_le_bytes()[0])
            .collect();
        fs::write(&path, &content).unwrap();
        let file = open(&path).unwrap();
        fs::write(dir.path().join("new"), b"x").unwrap();
        fs::rename(dir.path().join("new"), &path).unwrap();
        assert_eq!(file.len(), content.len());
        assert_eq!(file.head(&mut [0; 5]).unwrap(), &content[..5]);
        assert_eq!(file.head(&mut [0; 20_000]).unwrap(), content);
        assert_eq!(file.bytes().unwrap(), content);
        assert!(
            std::ptr::eq(file.bytes().unwrap(), file.bytes().unwrap()),
            "mapped once"
        );
    }

    #[test]
    fn refuses_what_could_change_under_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, b"content").unwrap();
        for mode in [0o664, 0o646] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(
                open(&path).unwrap_err().kind(),
                io::ErrorKind::InvalidInput,
                "{mode:o}"
            );
        }
        assert_eq!(
            open(dir.path()).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
        fs::write(dir.path().join("empty"), b"").unwrap();
        assert_eq!(
            open(&dir.path().join("empty")).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
    }
}
