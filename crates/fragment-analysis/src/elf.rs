//! What the kernel and the dynamic loader read of an ELF file, and nothing else.
//!
//! Only program headers and the dynamic section are used, as elf(5) and ld.so(8) do: section headers can be stripped or
//! lie. Reads are positional and bounded; any input gives a value or an [`ElfError`], never a panic.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use fragment_types::manifest::Machine;
use object::Endianness;
use object::elf;
use object::read::elf::{Dyn as _, FileHeader, ProgramHeader as _};

mod content;
mod reader;
mod symbol;
mod version;

pub use content::{Contents, Load, contents};
use reader::Reader;
pub use reader::{FileSource, Source};

/// Longest table that is read: program headers, dynamic section, symbols.
pub const MAX_TABLE: u64 = 16 << 20;
/// Longest dynamic string table, of which only what is named is read (pandoc's has 37 MB).
const MAX_STRING_TABLE: u64 = 64 << 20;
/// Longest program header table the kernel accepts (`load_elf_phdrs` in fs/binfmt_elf.c).
const MAX_PROGRAM_HEADERS: u64 = 65_536;
/// Longest string taken from a string table: PATH_MAX, which bounds names, and a bit for search paths.
const MAX_STRING: u64 = 64 << 10;
/// Bytes of all strings taken from one string table: strings can overlap, so that a small table holds many long ones.
const MAX_STRINGS: u64 = 4 << 20;
/// Most directories of one search path.
const MAX_DIRECTORIES: usize = 256;

/// Why a file cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// It does not begin with `\x7fELF`.
    #[error("it does not begin with the ELF magic number")]
    NotElf,
    /// It ends before something its headers promise.
    #[error("it is truncated: {what} should end at byte {end}, the file has {size}")]
    Truncated {
        /// What is cut.
        what: &'static str,
        /// Where it should end.
        end: u64,
        /// Size of the file.
        size: u64,
    },
    /// A value contradicts the format.
    #[error("it is not a valid ELF file: {what}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
    /// A table is larger than any real one.
    #[error("its {what} is larger than {limit} bytes")]
    TooLarge {
        /// Which table.
        what: &'static str,
        /// Largest accepted size.
        limit: u64,
    },
    /// It cannot be read.
    #[error("it cannot be read")]
    Read(#[source] std::io::Error),
}

/// Kind of an ELF file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElfKind {
    /// `ET_EXEC`.
    Executable,
    /// `ET_DYN`: a shared object or a position-independent executable.
    SharedObject,
    /// `ET_REL`, `ET_CORE`, …: nothing that can be loaded.
    Other,
}

/// What is needed to load an ELF file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elf {
    /// Machine.
    pub machine: Machine,
    /// Whether it is ELFCLASS64.
    pub is_64: bool,
    /// Kind.
    pub kind: ElfKind,
    /// PT_INTERP.
    pub interpreter: Option<String>,
    /// Whether it has a dynamic section.
    pub is_dynamic: bool,
    /// DT_SONAME.
    pub soname: Option<String>,
    /// DT_NEEDED, in order.
    pub needed: Vec<String>,
    /// DT_RPATH, split at colons. The loader ignores it where there is a DT_RUNPATH.
    pub rpath: Option<Vec<String>>,
    /// DT_RUNPATH, split at colons.
    pub runpath: Option<Vec<String>>,
    /// DF_1_NODEFLIB: the default directories are not searched for what it needs.
    pub no_default_directories: bool,
    /// Symbol versions required, by soname; weak references are left out (`.gnu.version_r`).
    pub versions_needed: BTreeMap<String, BTreeSet<String>>,
    /// Symbol versions defined, without the base version (`.gnu.version_d`). The loader checks versions only of files
    /// that define some.
    pub versions_defined: BTreeSet<String>,
}

impl Elf {
    /// Bytes of the names in it.
    #[must_use]
    pub fn weight(&self) -> usize {
        let lists = [&self.rpath, &self.runpath].into_iter().flatten().flatten();
        let versions = self
            .versions_needed
            .values()
            .flatten()
            .chain(&self.versions_defined);
        let names = self.needed.iter().chain(lists).chain(versions);
        names.map(|name| name.len() + size_of::<String>()).sum()
    }
}

/// Reads what is needed to load an ELF file.
///
/// # Errors
/// [`ElfError`] says what is wrong with it.
pub fn parse(source: &dyn Source) -> Result<Elf, ElfError> {
    match class(source)? {
        Class::Elf32 => File::<elf::FileHeader32<Endianness>>::open(source)?.elf(),
        Class::Elf64 => File::<elf::FileHeader64<Endianness>>::open(source)?.elf(),
    }
}

/// [`parse`] on bytes in memory, for fuzzing and tests.
///
/// # Errors
/// As [`parse`].
pub fn parse_bytes(bytes: &[u8]) -> Result<Elf, ElfError> {
    parse(&bytes)
}

/// Names of the symbols that the file imports, sorted.
///
/// # Errors
/// [`ElfError`] says what is wrong with the file.
pub fn imports(source: &dyn Source) -> Result<BTreeSet<String>, ElfError> {
    match class(source)? {
        Class::Elf32 => File::<elf::FileHeader32<Endianness>>::open(source)?.imports(),
        Class::Elf64 => File::<elf::FileHeader64<Endianness>>::open(source)?.imports(),
    }
}

/// Whether `prefix`, the first bytes of a file, says that it is ELF.
#[must_use]
pub fn is_elf(prefix: &[u8]) -> bool {
    prefix.starts_with(&elf::ELFMAG)
}

enum Class {
    Elf32,
    Elf64,
}

fn class(source: &dyn Source) -> Result<Class, ElfError> {
    let mut reader = Reader::new(source);
    if source.size() < 4 || !is_elf(reader.bytes(0, 4, "the magic number")?) {
        return Err(ElfError::NotElf);
    }
    match elf::FileClass(reader.bytes(4, 1, "the file header")?[0]) {
        elf::ELFCLASS32 => Ok(Class::Elf32),
        elf::ELFCLASS64 => Ok(Class::Elf64),
        _ => Err(ElfError::Malformed {
            what: "its class is neither 32 nor 64 bits",
        }),
    }
}

/// A loadable segment: where addresses are found in the file.
#[derive(Debug, Clone, Copy)]
struct Segment {
    address: u64,
    offset: u64,
    size: u64,
}

/// Values of the dynamic section, as addresses and numbers.
#[derive(Debug, Default)]
struct Dynamic {
    strings: Option<u64>,
    strings_size: u64,
    needed: Vec<u64>,
    soname: Option<u64>,
    rpath: Option<u64>,
    runpath: Option<u64>,
    flags_1: u64,
    version_needs: Option<(u64, u64)>,
    version_definitions: Option<(u64, u64)>,
    symbols: Option<u64>,
    hash: Option<u64>,
    gnu_hash: Option<u64>,
}

/// An ELF file with its program headers read.
struct File<'s, H> {
    source: &'s dyn Source,
    header: H,
    endian: Endianness,
    loads: Vec<Segment>,
    interpreter: Option<(u64, u64)>,
    dynamic: Option<(u64, u64)>,
}

impl<'s, H: FileHeader<Endian = Endianness>> File<'s, H> {
    fn open(source: &'s dyn Source) -> Result<Self, ElfError> {
        let mut reader = Reader::new(source);
        let header: H = reader.pod(0, "the file header")?;
        let endian = match header.e_ident().data {
            elf::ELFDATA2LSB => Endianness::Little,
            elf::ELFDATA2MSB => Endianness::Big,
            _ => {
                return Err(ElfError::Malformed {
                    what: "its byte order is unknown",
                });
            }
        };
        let mut file = Self {
            source,
            header,
            endian,
            loads: Vec::new(),
            interpreter: None,
            dynamic: None,
        };
        file.read_program_headers(&mut reader)?;
        Ok(file)
    }

    fn read_program_headers(&mut self, reader: &mut Reader<'_>) -> Result<(), ElfError> {
        const WHAT: &str = "the program header table";
        let endian = self.endian;
        let entry = size_of::<H::ProgramHeader>() as u64;
        let count = u64::from(self.header.e_phnum(endian));
        if count == 0 {
            return Ok(());
        }
        if u64::from(self.header.e_phentsize(endian)) != entry {
            return Err(ElfError::Malformed {
                what: "its program headers have a wrong size",
            });
        }
        if count * entry > MAX_PROGRAM_HEADERS {
            return Err(ElfError::TooLarge {
                what: WHAT,
                limit: MAX_PROGRAM_HEADERS,
            });
        }
        let start: u64 = self.header.e_phoff(endian).into();
        for index in 0..count {
            let offset = start.saturating_add(index * entry);
            let segment: H::ProgramHeader = reader.pod(offset, WHAT)?;
            let (offset, size) = segment.file_range(endian);
            match segment.p_type(endian) {
                elf::PT_LOAD => {
                    reader.require(offset, size, "a loadable segment")?;
                    let address = segment.p_vaddr(endian).into();
                    self.loads.push(Segment {
                        address,
                        offset,
                        size,
                    });
                }
                elf::PT_INTERP if self.interpreter.is_none() => {
                    self.interpreter = Some((offset, size));
                }
                elf::PT_DYNAMIC => self.dynamic = Some((offset, size)),
                _ => {}
            }
        }
        Ok(())
    }

    fn elf(&self) -> Result<Elf, ElfError> {
        let kind = match self.header.e_type(self.endian) {
            elf::ET_EXEC => ElfKind::Executable,
            elf::ET_DYN => ElfKind::SharedObject,
            _ => ElfKind::Other,
        };
        if kind != ElfKind::Other && self.loads.is_empty() {
            return Err(ElfError::Malformed {
                what: "it has no loadable segment",
            });
        }
        let dynamic = self.read_dynamic()?;
        let strings = self.strings(&dynamic)?;
        let mut reader = Reader::new(self.source);
        let mut string = |at: u64| strings.get(&mut reader, at);
        let mut split = |at: Option<u64>| -> Result<Option<Vec<String>>, ElfError> {
            at.map(|at| {
                Ok(string(at)?
                    .split(':')
                    .take(MAX_DIRECTORIES)
                    .map(str::to_owned)
                    .collect())
            })
            .transpose()
        };
        let (rpath, runpath) = (split(dynamic.rpath)?, split(dynamic.runpath)?);
        let soname = dynamic.soname.map(&mut string).transpose()?;
        let needed = dynamic
            .needed
            .iter()
            .map(|at| string(*at))
            .collect::<Result<_, _>>()?;
        let versions = version::Tables {
            source: self.source,
            endian: self.endian,
            strings: &strings,
        };
        let versions_needed = match self.table(dynamic.version_needs)? {
            Some((offset, count)) => versions.needed(offset, count)?,
            None => BTreeMap::new(),
        };
        let versions_defined = match self.table(dynamic.version_definitions)? {
            Some((offset, count)) => versions.defined(offset, count)?,
            None => BTreeSet::new(),
        };
        Ok(Elf {
            machine: self.machine(),
            is_64: self.header.is_type_64(),
            kind,
            interpreter: self.read_interpreter()?,
            is_dynamic: self.dynamic.is_some(),
            soname,
            needed,
            rpath,
            runpath,
            no_default_directories: dynamic.flags_1 & elf::DF_1_NODEFLIB.0 != 0,
            versions_needed,
            versions_defined,
        })
    }

    fn machine(&self) -> Machine {
        let little = self.endian == Endianness::Little;
        match (
            self.header.e_machine(self.endian),
            self.header.is_type_64(),
            little,
        ) {
            (elf::EM_X86_64, true, true) => Machine::X86_64,
            (elf::EM_386, false, true) => Machine::I386,
            (elf::EM_AARCH64, true, true) => Machine::Aarch64,
            _ => Machine::Other,
        }
    }

    fn read_interpreter(&self) -> Result<Option<String>, ElfError> {
        const WHAT: &str = "its program interpreter is not a text that ends in a NUL byte";
        let Some((offset, size)) = self.interpreter else {
            return Ok(None);
        };
        // load_elf_binary: 2 <= p_filesz <= PATH_MAX and a NUL at the end, or ENOEXEC.
        if !(2..=4096).contains(&size) {
            return Err(ElfError::Malformed { what: WHAT });
        }
        let mut reader = Reader::new(self.source);
        let bytes = reader.bytes(offset, size, "the program interpreter's name")?;
        if bytes.last() != Some(&0) {
            return Err(ElfError::Malformed { what: WHAT });
        }
        let end = bytes
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(bytes.len());
        Ok(Some(String::from_utf8_lossy(&bytes[..end]).into_owned()))
    }

    fn read_dynamic(&self) -> Result<Dynamic, ElfError> {
        const WHAT: &str = "the dynamic section";
        let mut out = Dynamic::default();
        let Some((offset, size)) = self.dynamic else {
            return Ok(out);
        };
        if size > MAX_TABLE {
            return Err(ElfError::TooLarge {
                what: WHAT,
                limit: MAX_TABLE,
            });
        }
        let mut reader = Reader::new(self.source);
        reader.require(offset, size, WHAT)?;
        let entry = size_of::<H::Dyn>() as u64;
        let (mut needs, mut needs_count, mut defs, mut defs_count) = (None, 0, None, 0);
        for index in 0..size / entry {
            let dynamic: H::Dyn = reader.pod(offset + index * entry, WHAT)?;
            let value = dynamic.val(self.endian);
            match dynamic.tag(self.endian) {
                elf::DT_NULL => break,
                elf::DT_NEEDED => out.needed.push(value),
                elf::DT_STRTAB => out.strings = Some(value),
                elf::DT_STRSZ => out.strings_size = value,
                elf::DT_SONAME => out.soname = Some(value),
                elf::DT_RPATH => out.rpath = Some(value),
                elf::DT_RUNPATH => out.runpath = Some(value),
                elf::DT_FLAGS_1 => out.flags_1 = value,
                elf::DT_VERNEED => needs = Some(value),
                elf::DT_VERNEEDNUM => needs_count = value,
                elf::DT_VERDEF => defs = Some(value),
                elf::DT_VERDEFNUM => defs_count = value,
                elf::DT_SYMTAB => out.symbols = Some(value),
                elf::DT_HASH => out.hash = Some(value),
                elf::DT_GNU_HASH => out.gnu_hash = Some(value),
                _ => {}
            }
        }
        out.version_needs = needs.map(|at| (at, needs_count));
        out.version_definitions = defs.map(|at| (at, defs_count));
        Ok(out)
    }

    fn strings(&self, dynamic: &Dynamic) -> Result<Strings, ElfError> {
        let Some(address) = dynamic.strings else {
            return Ok(Strings::new(0, 0));
        };
        let offset = self.offset(address)?;
        if dynamic.strings_size > MAX_STRING_TABLE {
            return Err(ElfError::TooLarge {
                what: "dynamic string table",
                limit: MAX_STRING_TABLE,
            });
        }
        Ok(Strings::new(offset, dynamic.strings_size))
    }

    fn table(&self, place: Option<(u64, u64)>) -> Result<Option<(u64, u64)>, ElfError> {
        place
            .map(|(address, count)| Ok((self.offset(address)?, count)))
            .transpose()
    }

    /// Where in the file a virtual address is.
    fn offset(&self, address: u64) -> Result<u64, ElfError> {
        self.loads
            .iter()
            .find(|load| address >= load.address && address - load.address < load.size)
            .and_then(|load| load.offset.checked_add(address - load.address))
            .ok_or(ElfError::Malformed {
                what: "its dynamic section points outside of its segments",
            })
    }
}

/// The dynamic string table.
struct Strings {
    offset: u64,
    size: u64,
    /// Bytes that may still be taken.
    left: Cell<u64>,
}

impl Strings {
    fn new(offset: u64, size: u64) -> Self {
        let left = Cell::new(MAX_STRINGS);
        Self { offset, size, left }
    }

    fn get(&self, reader: &mut Reader<'_>, at: u64) -> Result<String, ElfError> {
        if at >= self.size {
            return Err(ElfError::Malformed {
                what: "a name lies outside of its string table",
            });
        }
        let longest = (self.size - at).min(MAX_STRING);
        let text = reader.string(self.offset.saturating_add(at), longest)?;
        let left = self.left.get().checked_sub(text.len() as u64);
        self.left.set(left.ok_or(ElfError::TooLarge {
            what: "total of dynamic strings",
            limit: MAX_STRINGS,
        })?);
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_elf_is_said_to_be_none() {
        for bytes in [&b""[..], b"\x7fEL", b"#!/bin/sh\n", b"\0\0\0\0\0\0\0\0"] {
            assert!(
                matches!(parse_bytes(bytes), Err(ElfError::NotElf)),
                "{bytes:?}"
            );
        }
        assert!(matches!(
            parse_bytes(b"\x7fELF\x02\x01\x01"),
            Err(ElfError::Truncated { .. })
        ));
        let mut odd = vec![0; 64];
        odd[..4].copy_from_slice(b"\x7fELF");
        assert!(matches!(parse_bytes(&odd), Err(ElfError::Malformed { .. })));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(
            mut bytes in prop::collection::vec(any::<u8>(), 64..2048),
            class in 1u8..3,
            data in 1u8..3,
            headers in 0u8..12,
        ) {
            bytes[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, data, 1]);
            // Sane header sizes let the random bytes reach the tables behind them.
            if class == 2 && data == 1 {
                bytes[32..40].copy_from_slice(&64u64.to_le_bytes());
                bytes[54..56].copy_from_slice(&56u16.to_le_bytes());
                bytes[56..58].copy_from_slice(&u16::from(headers).to_le_bytes());
            }
            let _ = parse_bytes(&bytes);
            let _ = imports(&bytes.as_slice());
        }
    }
}
