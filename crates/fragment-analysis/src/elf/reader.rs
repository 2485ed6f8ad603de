//! Positional, bounded reads through a small window.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use object::pod::{self, Pod};

use super::ElfError;

/// Bytes read around a small request: tables are walked entry by entry.
const WINDOW: u64 = 4096;

/// Bytes at the beginning of a file that stay in memory.
const HEAD: u64 = 16 << 10;

/// Something with bytes at offsets.
pub trait Source {
    /// Number of bytes.
    fn size(&self) -> u64;

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// When that many bytes are not there or cannot be read.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

impl Source for &[u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let bytes = usize::try_from(offset)
            .ok()
            .and_then(|start| self.get(start..start.checked_add(buffer.len())?))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

/// An open file. It is read with pread(2), never mapped: a file of a rootfs can shrink at any moment, and a mapping of it
/// would then kill the process with SIGBUS.
///
/// Its beginning stays in memory: file header, program headers, interpreter, and in most files the dynamic strings and symbol
/// versions lie there, and a file opened is then read twice and not ten times.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    size: u64,
    head: Vec<u8>,
}

impl FileSource {
    /// Takes an open regular file.
    ///
    /// # Errors
    /// When its size cannot be asked, or its beginning not be read.
    pub fn new(file: File) -> io::Result<Self> {
        let size = file.metadata()?.len();
        Self::of_size(file, size)
    }

    /// The same, where the size in bytes is known.
    ///
    /// # Errors
    /// When its beginning cannot be read.
    pub fn of_size(file: File, size: u64) -> io::Result<Self> {
        let mut head = vec![0; size.min(HEAD) as usize];
        file.read_exact_at(&mut head, 0)?;
        Ok(Self { file, size, head })
    }

    /// Whether it begins as ELF files do.
    #[must_use]
    pub fn is_elf(&self) -> bool {
        super::is_elf(&self.head)
    }
}

impl Source for FileSource {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if offset.saturating_add(buffer.len() as u64) <= self.head.len() as u64 {
            return self.head.as_slice().read_at(offset, buffer);
        }
        self.file.read_exact_at(buffer, offset)
    }
}

/// A window that moves over a source.
pub(super) struct Reader<'s> {
    source: &'s dyn Source,
    size: u64,
    start: u64,
    window: Vec<u8>,
}

impl<'s> Reader<'s> {
    pub(super) fn new(source: &'s dyn Source) -> Self {
        Self {
            source,
            size: source.size(),
            start: 0,
            window: Vec::new(),
        }
    }

    /// Checks that a range lies inside the file.
    pub(super) fn require(
        &self,
        offset: u64,
        len: u64,
        what: &'static str,
    ) -> Result<u64, ElfError> {
        match offset.checked_add(len) {
            Some(end) if end <= self.size => Ok(end),
            end => {
                let end = end.unwrap_or(u64::MAX);
                Err(ElfError::Truncated {
                    what,
                    end,
                    size: self.size,
                })
            }
        }
    }

    /// `len` bytes at `offset`. Callers bound `len`.
    pub(super) fn bytes(
        &mut self,
        offset: u64,
        len: u64,
        what: &'static str,
    ) -> Result<&[u8], ElfError> {
        self.require(offset, len, what)?;
        let have = self.start + self.window.len() as u64;
        if offset < self.start || offset + len > have {
            let take = len.max(WINDOW.min(self.size - offset));
            self.window.resize(take as usize, 0);
            self.source
                .read_at(offset, &mut self.window)
                .map_err(ElfError::Read)?;
            self.start = offset;
        }
        let from = (offset - self.start) as usize;
        Ok(&self.window[from..from + len as usize])
    }

    /// A structure at `offset`.
    pub(super) fn pod<T: Pod>(&mut self, offset: u64, what: &'static str) -> Result<T, ElfError> {
        let bytes = self.bytes(offset, size_of::<T>() as u64, what)?;
        match pod::from_bytes::<T>(bytes) {
            Ok((value, _)) => Ok(*value),
            Err(()) => Err(ElfError::Malformed { what }),
        }
    }

    /// The text from `offset` to the next NUL, which must come within `longest` bytes.
    pub(super) fn string(&mut self, offset: u64, longest: u64) -> Result<String, ElfError> {
        const WHAT: &str = "the dynamic string table";
        let longest = longest.min(self.size.saturating_sub(offset));
        let mut len = longest.min(256);
        loop {
            let bytes = self.bytes(offset, len, WHAT)?;
            if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
                return Ok(String::from_utf8_lossy(&bytes[..end]).into_owned());
            }
            if len == longest {
                return Err(ElfError::Malformed {
                    what: "a name has no end",
                });
            }
            len = longest.min(len * 4);
        }
    }
}
