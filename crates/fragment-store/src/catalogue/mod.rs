//! The catalogue: one file that answers who provides what, mapped and searched without parsing it.
//!
//! ```text
//! header   magic, version, number of components, generation, length, section table, CRC-32 of all this
//! keys     blocks of about 4 KiB: sorted keys, front-coded, each with its postings
//! records  one JSON summary a component
//! unresolved   JSON: needs without a provider
//! ```
//!
//! A key is a kind (one byte) and a name; its postings are the components that provide it, with what the look-up returns
//! of them. Blocks and records each carry a CRC-32, checked when they are read, and every offset is checked against the
//! section it points into. So opening costs the same for ten components and for ten thousand, a look-up reads a dozen
//! pages, and damage is an error and never a wrong answer or a panic. (An `fst::Map` is somewhat smaller, but it indexes
//! unchecked into bytes it trusts: a damaged one panics, and checking it when opened means reading all of it.)

mod build;
mod codec;
mod link;
mod mapped;

use fragment_types::Digest;

pub(crate) use build::Builder;
pub use link::{Unresolved, UnresolvedNeed};
pub use mapped::MappedCatalogue;

const MAGIC: [u8; 8] = *b"FRAGCAT\n";
const VERSION: u32 = 1;

/// Sections of the file, in the order of the section table.
#[derive(Debug, Clone, Copy)]
enum Section {
    /// Offsets of the blocks in `Blocks`.
    BlockDirectory,
    Blocks,
    /// Offsets of the records in `Records`.
    RecordDirectory,
    Records,
    /// CRC-32 and JSON.
    Unresolved,
}

const SECTIONS: usize = 5;
/// Magic, version, count, generation, length, sections.
const CHECKED_HEADER: usize = 8 + 4 + 4 + 32 + 8 + SECTIONS * 16;
const HEADER: usize = CHECKED_HEADER + 4;

/// First byte of a key.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyKind {
    Name = b'n',
    Path = b'p',
    Soname = b's',
    Command = b'c',
    Module = b'm',
    Capability = b'g',
    Package = b'k',
}

impl KeyKind {
    fn key(self, name: &str) -> Vec<u8> {
        let mut key = Vec::with_capacity(name.len() + 1);
        key.push(self as u8);
        key.extend_from_slice(name.as_bytes());
        key
    }
}

/// Name of a module in a key. NUL is in no language's name.
fn module_name(language: &str, name: &str) -> String {
    format!("{language}\0{name}")
}

/// Identity of a set of components.
pub(crate) fn generation(digests: impl Iterator<Item = Digest>) -> Digest {
    let mut digests: Vec<_> = digests.collect();
    digests.sort_unstable();
    let bytes: Vec<u8> = digests
        .iter()
        .flat_map(|digest| *digest.as_bytes())
        .collect();
    Digest::of(&bytes)
}

/// CRC-32 (ISO 3309): finds damage, not forgery.
pub(crate) fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests;
