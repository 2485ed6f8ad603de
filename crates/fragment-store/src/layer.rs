//! Layers: compressed tar archives, read without trust.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use fragment_types::Digest;
use sha2::{Digest as _, Sha256};
use zstd::zstd_safe::DParameter;

use crate::entry::Refusal;

/// A layer that is refused or cannot be unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// The blob could not be read or decompressed.
    #[error("read the layer")]
    Read(#[source] io::Error),
    /// The blob is not compressed in a way we read.
    #[error("the layer is neither zstd nor gzip")]
    Compression,
    /// The archive ends in the middle.
    #[error("the archive ends before its end mark")]
    Truncated,
    /// The archive goes on after its end.
    #[error("the archive holds data after its end mark")]
    Trailing,
    /// A header block cannot be understood.
    #[error("header {number} of the archive: {detail}")]
    Header {
        /// Its position among the headers, from 1.
        number: u64,
        /// What is wrong, for people.
        detail: &'static str,
    },
    /// An entry is refused.
    #[error("entry `{path}`: {refusal}")]
    Entry {
        /// The entry's name, with control characters escaped.
        path: String,
        /// The rule it breaks.
        refusal: Refusal,
    },
    /// The manifest lists a path that the layer lacks.
    #[error("the manifest lists `{path}`, which the layer does not hold")]
    Missing {
        /// The path.
        path: String,
    },
    /// The uncompressed archive is not the one that the manifest names.
    #[error("the uncompressed layer has digest {found}, not {expected}")]
    DiffId {
        /// `diff_id` of the manifest.
        expected: Digest,
        /// Digest of the archive.
        found: Digest,
    },
    /// A size of the manifest is wrong.
    #[error("the manifest gives {expected} as {what}, the layer has {found}")]
    Size {
        /// Which size.
        what: &'static str,
        /// The manifest's.
        expected: u64,
        /// The layer's.
        found: u64,
    },
    /// A file, directory or link could not be made.
    #[error("unpack `{path}`")]
    Write {
        /// The path inside the tree.
        path: String,
        /// Cause.
        source: io::Error,
    },
}

impl LayerError {
    pub(crate) fn entry(path: impl AsRef<[u8]>, refusal: Refusal) -> Self {
        Self::Entry {
            path: path.as_ref().escape_ascii().to_string(),
            refusal,
        }
    }

    pub(crate) fn write<E: Into<io::Error>>(path: &str) -> impl FnOnce(E) -> Self + '_ {
        move |source| Self::Write {
            path: path.to_owned(),
            source: source.into(),
        }
    }
}

/// How a blob is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// RFC 8878.
    Zstd,
    /// RFC 1952.
    Gzip,
}

/// What becomes of the check sums of zstd frames (RFC 8878, `Content_Checksum`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sums {
    /// They are checked.
    Checked,
    /// They are not, because the caller checks the digest of the blob: 4 % of the time of a load.
    Ignored,
}

/// Largest zstd window accepted, log2 of bytes (128 MiB, the format's own default limit): what a hostile blob can make
/// us allocate.
const WINDOW_LOG_MAX: u32 = 27;

impl Compression {
    /// By the magic numbers of RFC 8878 (zstd) and RFC 1952 (gzip). Leaves the file at its start.
    ///
    /// # Errors
    /// [`LayerError::Compression`] for anything else.
    pub fn of(blob: &mut File) -> Result<Self, LayerError> {
        let mut magic = [0; 4];
        blob.seek(SeekFrom::Start(0)).map_err(LayerError::Read)?;
        let read = blob.take(4).read(&mut magic).map_err(LayerError::Read)?;
        blob.seek(SeekFrom::Start(0)).map_err(LayerError::Read)?;
        match magic.get(..read) {
            Some([0x28, 0xb5, 0x2f, 0xfd]) => Ok(Self::Zstd),
            Some([0x1f, 0x8b, ..]) => Ok(Self::Gzip),
            _ => Err(LayerError::Compression),
        }
    }

    /// The uncompressed archive.
    ///
    /// # Errors
    /// When the decoder cannot be set up.
    pub fn reader<'r>(self, blob: impl Read + 'r) -> Result<Box<dyn Read + 'r>, LayerError> {
        self.decoder(blob, Sums::Checked).map_err(LayerError::Read)
    }

    pub(crate) fn decoder<'r>(
        self,
        blob: impl Read + 'r,
        sums: Sums,
    ) -> io::Result<Box<dyn Read + 'r>> {
        let blob = BufReader::with_capacity(1 << 17, blob);
        Ok(match self {
            Self::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(blob)?;
                decoder.window_log_max(WINDOW_LOG_MAX)?;
                decoder.set_parameter(DParameter::ForceIgnoreChecksum(sums == Sums::Ignored))?;
                Box::new(decoder)
            }
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(blob)),
        })
    }
}

/// Digests what is read through it.
#[derive(Debug)]
pub struct Hashing<R> {
    source: R,
    hasher: Sha256,
}

impl<R: Read> Hashing<R> {
    /// A digest of what will be read from `source`.
    pub fn new(source: R) -> Self {
        Self {
            source,
            hasher: Sha256::new(),
        }
    }

    /// The digest of everything that was read.
    pub fn digest(self) -> Digest {
        Digest::from_bytes(self.hasher.finalize().into())
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

/// Digest and length of everything `source` yields; `each` sees every piece, `unreadable` makes an error of one of `source`.
pub(crate) fn digest_all<E>(
    source: impl Read,
    unreadable: impl FnOnce(io::Error) -> E,
    mut each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(Digest, u64), E> {
    let mut source = Hashing::new(source);
    let mut buffer = vec![0; 1 << 17];
    let mut length = 0;
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok((source.digest(), length)),
            Ok(read) => {
                length += read as u64;
                each(&buffer[..read])?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(error)),
        }
    }
}
