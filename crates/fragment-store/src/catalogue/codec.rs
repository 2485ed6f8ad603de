//! Bytes of postings: LEB128 numbers, length-prefixed texts. The reader believes nothing.

use std::collections::BTreeSet;

use fragment_types::Digest;
use fragment_types::manifest::{Machine, NeededSoname, PathKind};

/// Appends to a buffer.
pub(super) struct Writer<'b>(pub(super) &'b mut Vec<u8>);

impl Writer<'_> {
    pub(super) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
    }

    pub(super) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub(super) fn digest(&mut self, digest: &Digest) {
        self.0.extend_from_slice(digest.as_bytes());
    }

    pub(super) fn versions(&mut self, versions: &BTreeSet<String>) {
        self.number(versions.len() as u64);
        for version in versions {
            self.text(version);
        }
    }

    pub(super) fn needs(&mut self, needs: &[NeededSoname]) {
        self.number(needs.len() as u64);
        for needed in needs {
            self.text(&needed.soname);
            self.byte(machine_code(needed.machine));
            self.versions(&needed.versions);
        }
    }
}

/// Takes from the front of a slice; `None` when that is not what the slice holds.
pub(super) struct Reader<'b>(pub(super) &'b [u8]);

impl<'b> Reader<'b> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            // the tenth byte holds one bit
            if (bits << shift) >> shift != bits {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    pub(super) fn length(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    pub(super) fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn bytes(&mut self) -> Option<&'b [u8]> {
        let length = self.length()?;
        self.take(length)
    }

    pub(super) fn text(&mut self) -> Option<String> {
        Some(std::str::from_utf8(self.bytes()?).ok()?.to_owned())
    }

    pub(super) fn digest(&mut self) -> Option<Digest> {
        self.take(32)?.try_into().ok().map(Digest::from_bytes)
    }

    pub(super) fn versions(&mut self) -> Option<BTreeSet<String>> {
        let count = self.number()?;
        // every text takes a byte at least, so a false count ends with the slice
        (0..count).map(|_| self.text()).collect()
    }

    pub(super) fn needs(&mut self) -> Option<Vec<NeededSoname>> {
        let count = self.number()?;
        let mut needs = Vec::new();
        for _ in 0..count {
            needs.push(NeededSoname {
                soname: self.text()?,
                machine: self.machine()?,
                versions: self.versions()?,
            });
        }
        Some(needs)
    }

    pub(super) fn machine(&mut self) -> Option<Machine> {
        match self.byte()? {
            0 => Some(Machine::Other),
            1 => Some(Machine::X86_64),
            2 => Some(Machine::I386),
            3 => Some(Machine::Aarch64),
            _ => None,
        }
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub(super) fn path_kind(&mut self) -> Option<PathKind> {
        match self.byte()? {
            0 => Some(PathKind::Directory),
            1 => Some(PathKind::File),
            2 => Some(PathKind::Symlink),
            _ => None,
        }
    }
}

pub(super) fn machine_code(machine: Machine) -> u8 {
    match machine {
        Machine::Other => 0,
        Machine::X86_64 => 1,
        Machine::I386 => 2,
        Machine::Aarch64 => 3,
    }
}

pub(super) fn path_kind_code(kind: PathKind) -> u8 {
    match kind {
        PathKind::Directory => 0,
        PathKind::File => 1,
        PathKind::Symlink => 2,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Reader, Writer};

    proptest! {
        #[test]
        fn numbers_come_back(number: u64) {
            let mut bytes = Vec::new();
            Writer(&mut bytes).number(number);
            let mut reader = Reader(&bytes);
            prop_assert_eq!(reader.number(), Some(number));
            prop_assert!(reader.is_empty());
        }
    }

    #[test]
    fn numbers_beyond_64_bits_are_refused() {
        assert_eq!(Reader(&[0xff; 11]).number(), None);
        let mut too_large = vec![0xff; 9];
        too_large.push(2);
        assert_eq!(Reader(&too_large).number(), None);
        assert_eq!(Reader(&[0x80]).number(), None);
    }

    #[test]
    fn a_false_count_ends_with_the_bytes() {
        let mut bytes = Vec::new();
        Writer(&mut bytes).number(u64::MAX);
        assert_eq!(Reader(&bytes).versions(), None);
        assert!(Reader(&bytes).needs().is_none());
    }
}
