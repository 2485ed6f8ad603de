//! Small files read with few system calls.
//!
//! [`std::fs::read`] asks for the size first, which files of the kernel's do not have, and then reads 32 bytes, 32 more, 64, …
//! A start of a container reads some twenty of them.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// What is read at once, in bytes: more than nearly all files that a start reads hold, and what the kernel gives at once of its
/// tables (seq_file.c).
const AT_ONCE: usize = 8 << 10;

/// The whole file: three calls and one for each [`AT_ONCE`] bytes.
///
/// # Errors
/// As open(2) and read(2).
pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    read_at_most(File::open(path)?, u64::MAX)
}

/// The same as text.
///
/// # Errors
/// As [`read`]; [`io::ErrorKind::InvalidData`] when it is not UTF-8.
pub fn read_text(path: impl AsRef<Path>) -> io::Result<String> {
    String::from_utf8(read(path)?)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// What is left of an open file, up to `most` bytes.
///
/// # Errors
/// As read(2).
pub fn read_at_most(file: impl io::Read, most: u64) -> io::Result<Vec<u8>> {
    let mut text = Vec::with_capacity(AT_ONCE);
    // what fits into the buffer is read into it as it is; only then it grows
    file.take(most).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_every_size_are_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for size in [0, 1, AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, 5 * AT_ONCE] {
            std::fs::write(&path, vec![7; size]).unwrap();
            assert_eq!(read(&path).unwrap().len(), size);
        }
        let some = read_at_most(File::open(&path).unwrap(), 10).unwrap();
        assert_eq!(some.len(), 10);
        assert!(read_text("/proc/self/mountinfo").unwrap().ends_with('\n'));
        assert!(read(dir.path().join("missing")).is_err());
    }
}
