//! How much of a file is in memory, in the page cache.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

use rustix::fs::Advice;
use rustix::mm::{MapFlags, ProtFlags};

/// `cachestat` of every architecture's table since Linux 6.5.
const SYS_CACHESTAT: libc::c_long = 451;

/// The kernel's `struct cachestat_range`; a length of 0 means to the end.
#[repr(C)]
struct Range {
    offset: u64,
    len: u64,
}

/// The kernel's `struct cachestat`, in pages.
#[repr(C)]
#[derive(Default)]
struct Statistics {
    cached: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// Bytes of the file that are in the page cache, in whole pages.
///
/// Asked by cachestat(2), which wants the file to be the caller's or writable by it; on kernels before 6.5 by mincore(2).
///
/// # Errors
/// As cachestat(2) and mmap(2).
pub fn cached_bytes(file: impl AsFd) -> io::Result<u64> {
    let page = rustix::param::page_size() as u64;
    let (range, mut found) = (Range { offset: 0, len: 0 }, Statistics::default());
    // SAFETY: both structures outlive the call, which reads the first and writes the second (mm/filemap.c, cachestat).
    let result = unsafe {
        libc::syscall(
            SYS_CACHESTAT,
            file.as_fd().as_raw_fd(),
            &raw const range,
            &raw mut found,
            0_u32,
        )
    };
    if result == 0 {
        return Ok(found.cached * page);
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::ENOSYS) => resident_bytes(file),
        error => Err(error),
    }
}

/// The same by a mapping of the file that is never read.
fn resident_bytes(file: impl AsFd) -> io::Result<u64> {
    let page = rustix::param::page_size();
    let len = usize::try_from(rustix::fs::fstat(file.as_fd())?.st_size).unwrap_or(0);
    if len == 0 {
        return Ok(0);
    }
    let mut pages = vec![0_u8; len.div_ceil(page)];
    // SAFETY: a new mapping at an address of the kernel's choice, of which no byte is read: that the file can shrink does not
    // matter. It is unmapped below, whatever mincore says, which writes one byte for every page of it (mincore(2)).
    let result = unsafe {
        let start = rustix::mm::mmap(
            std::ptr::null_mut(),
            len,
            ProtFlags::empty(),
            MapFlags::SHARED,
            file.as_fd(),
            0,
        )?;
        let result = libc::mincore(start, len, pages.as_mut_ptr());
        let error = io::Error::last_os_error();
        rustix::mm::munmap(start, len)?;
        if result == 0 { Ok(()) } else { Err(error) }
    };
    result?;
    let resident = pages.iter().filter(|page| **page & 1 == 1).count();
    Ok((resident * page) as u64)
}

/// Drops the file's pages from the cache that are clean and in nobody's use.
///
/// # Errors
/// As posix_fadvise(2).
pub fn evict(file: impl AsFd) -> io::Result<()> {
    Ok(rustix::fs::fadvise(file, 0, None, Advice::DontNeed)?)
}

/// Begins to read the file into the cache; does not wait for it.
///
/// # Errors
/// As posix_fadvise(2).
pub fn read_ahead(file: impl AsFd) -> io::Result<()> {
    Ok(rustix::fs::fadvise(file, 0, None, Advice::WillNeed)?)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn what_was_written_is_cached_until_it_is_evicted() {
        // on a disk: what is in a tmpfs cannot be evicted
        let directory = std::env::current_dir().unwrap();
        let mut file = tempfile::tempfile_in(directory).unwrap();
        let size = 64 << 10;
        file.write_all(&vec![1; size]).unwrap();
        assert_eq!(cached_bytes(&file).unwrap(), size as u64);
        assert_eq!(resident_bytes(&file).unwrap(), size as u64);
        file.sync_all().unwrap();
        evict(&file).unwrap();
        assert_eq!(cached_bytes(&file).unwrap(), 0);
        assert_eq!(resident_bytes(&file).unwrap(), 0);
        read_ahead(&file).unwrap();
        let started = std::time::Instant::now();
        while cached_bytes(&file).unwrap() < size as u64 {
            assert!(started.elapsed().as_secs() < 20, "it is never read");
            std::thread::yield_now();
        }
    }

    #[test]
    fn an_empty_file_has_nothing_in_memory() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(cached_bytes(&file).unwrap(), 0);
        assert_eq!(resident_bytes(&file).unwrap(), 0);
    }
}
