//! Notes, constants and Go's function names of an ELF file.

use fragment_types::manifest::Machine;
use object::Endianness;
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader as _, SectionHeader as _};
use serde_json::Value;

use super::reader::{Reader, Source};
use super::{Class, ElfError, File, Strings, class};

/// Longest segment of notes that is read.
const MAX_NOTES: u64 = 64 << 10;
/// Most shared objects that notes name.
const MAX_LOADS: usize = 256;
/// Most sections that are looked through.
const MAX_SECTIONS: u64 = 4096;
/// Owner and type of a note about what is loaded with dlopen(3) (<https://systemd.io/ELF_DLOPEN_METADATA>).
const DLOPEN: (&[u8], u32) = (b"FDO\0", 0x407c_0c0a);
/// First words of the function table of Go 1.18 and of 1.20 and later (`src/internal/abi/symtab.go`).
const GO_TABLES: [u32; 2] = [0xffff_fff0, 0xffff_fff1];

/// What else is in an ELF file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Machine.
    pub machine: Machine,
    /// What its notes say that it loads with dlopen(3).
    pub loads: Vec<Load>,
    /// Bytes of its constants, strings among them that end with NUL.
    pub constants: Vec<u8>,
    /// Names of the functions of a Go program, each with a NUL.
    pub go_functions: Vec<u8>,
}

/// Shared objects of which one is loaded later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// Sonames, the preferred one first.
    pub sonames: Vec<String>,
    /// `required`, `recommended` or `suggested`.
    pub priority: String,
}

/// One object of a note.
fn load(value: &Value) -> Option<Load> {
    let names = &value["soname"];
    let one = names.as_str().map(str::to_owned).into_iter();
    let many = names.as_array().into_iter().flatten();
    let many = many.filter_map(|name| name.as_str().map(str::to_owned));
    let sonames: Vec<String> = one
        .chain(many)
        .filter(|name| name.len() <= 255)
        .take(16)
        .collect();
    let priority = value["priority"].as_str().unwrap_or("recommended");
    let priority = priority.chars().take(16).collect();
    (!sonames.is_empty()).then_some(Load { sonames, priority })
}

/// Reads notes and, where asked for, at most `limit` bytes each of constants and names of Go functions.
///
/// # Errors
/// [`ElfError`] says what is wrong with the file.
pub fn contents(source: &dyn Source, all: bool, limit: u64) -> Result<Contents, ElfError> {
    match class(source)? {
        Class::Elf32 => File::<elf::FileHeader32<Endianness>>::open(source)?.contents(all, limit),
        Class::Elf64 => File::<elf::FileHeader64<Endianness>>::open(source)?.contents(all, limit),
    }
}

impl<H: FileHeader<Endian = Endianness>> File<'_, H> {
    fn contents(&self, all: bool, limit: u64) -> Result<Contents, ElfError> {
        const WHAT: &str = "a segment";
        let mut out = Contents {
            machine: self.machine(),
            loads: Vec::new(),
            constants: Vec::new(),
            go_functions: Vec::new(),
        };
        let mut reader = Reader::new(self.source);
        let start: u64 = self.header.e_phoff(self.endian).into();
        for index in 0..u64::from(self.header.e_phnum(self.endian)) {
            let at = start.saturating_add(index * size_of::<H::ProgramHeader>() as u64);
            let segment: H::ProgramHeader = reader.pod(at, "the program header table")?;
            let (offset, size) = segment.file_range(self.endian);
            let flags = segment.p_flags(self.endian);
            match segment.p_type(self.endian) {
                elf::PT_NOTE if size <= MAX_NOTES => {
                    let align: u64 = segment.p_align(self.endian).into();
                    let notes = reader.bytes(offset, size, WHAT)?.to_vec();
                    self.notes(&notes, align, &mut out.loads);
                }
                // Constants are in segments that are only read, or with the code where a linker makes only one.
                elf::PT_LOAD if all && flags.0 & elf::PF_W.0 == 0 => {
                    let left = limit.saturating_sub(out.constants.len() as u64);
                    let executable = flags.0 & elf::PF_X.0 != 0;
                    if left > 0 && size > 0 && !executable {
                        out.constants
                            .extend(reader.bytes(offset, size.min(left), WHAT)?);
                        out.constants.push(0);
                    }
                }
                _ => {}
            }
        }
        if all {
            out.go_functions = self.go_functions(limit).unwrap_or_default();
        }
        Ok(out)
    }

    /// Notes: three words, the owner, the content, each padded to the alignment (elf(5), "Notes").
    fn notes(&self, notes: &[u8], align: u64, loads: &mut Vec<Load>) {
        let align = if align == 8 { 8 } else { 4 };
        let mut rest = notes;
        while rest.len() >= 12 && loads.len() < MAX_LOADS {
            let word = |at: usize| {
                let bytes = [rest[at], rest[at + 1], rest[at + 2], rest[at + 3]];
                match self.endian {
                    Endianness::Little => u32::from_le_bytes(bytes),
                    Endianness::Big => u32::from_be_bytes(bytes),
                }
            };
            let (name, content, kind) = (word(0) as usize, word(4) as usize, word(8));
            let from = name.saturating_add(12).next_multiple_of(align);
            let to = from.saturating_add(content);
            let (Some(name), Some(content)) = (
                rest.get(12..12_usize.saturating_add(name)),
                rest.get(from..to),
            ) else {
                return;
            };
            if (name, kind) == DLOPEN {
                let text = content.split(|byte| *byte == 0).next().unwrap_or_default();
                let wishes: Vec<Value> = serde_json::from_slice(text).unwrap_or_default();
                loads.extend(wishes.iter().filter_map(load).take(MAX_LOADS));
            }
            rest = rest.get(to.next_multiple_of(align)..).unwrap_or_default();
        }
        loads.truncate(MAX_LOADS);
    }

    /// The names in Go's function table, which is in a section of its own and stays when symbols are stripped.
    fn go_functions(&self, limit: u64) -> Option<Vec<u8>> {
        let (offset, size) = self.section(".gopclntab")?;
        let mut reader = Reader::new(self.source);
        let mut number = |at: u64, bytes: u64| -> Option<u64> {
            let place = offset.checked_add(at)?;
            let bytes = reader.bytes(place, bytes, "the function table").ok()?;
            let mut value = [0; 8];
            match self.endian {
                Endianness::Little => value[..bytes.len()].copy_from_slice(bytes),
                Endianness::Big => return None,
            }
            Some(u64::from_le_bytes(value))
        };
        if !GO_TABLES.contains(&u32::try_from(number(0, 4)?).ok()?) {
            return None;
        }
        // Magic, two zeros, size of an instruction, size of a word; then words: functions, files, text, names, units.
        let word = number(7, 1).filter(|size| matches!(size, 4 | 8))?;
        let names = number(8 + 3 * word, word)?;
        let end = number(8 + 4 * word, word)?;
        let len = end.checked_sub(names)?.min(limit);
        if end > size {
            return None;
        }
        reader
            .bytes(offset.checked_add(names)?, len, "the function table")
            .ok()
            .map(<[u8]>::to_vec)
    }

    /// Where the section is whose name ends with `name`.
    fn section(&self, name: &str) -> Option<(u64, u64)> {
        const WHAT: &str = "the section header table";
        let mut reader = Reader::new(self.source);
        let start: u64 = self.header.e_shoff(self.endian).into();
        let count = u64::from(self.header.e_shnum(self.endian)).min(MAX_SECTIONS);
        let entry = size_of::<H::SectionHeader>() as u64;
        let mut header = |index: u64| -> Option<H::SectionHeader> {
            reader.pod(start.checked_add(index * entry)?, WHAT).ok()
        };
        let names = header(u64::from(self.header.e_shstrndx(self.endian).0))?;
        let table = Strings::new(
            names.sh_offset(self.endian).into(),
            names.sh_size(self.endian).into(),
        );
        let mut texts = Reader::new(self.source);
        for index in 1..count {
            let section = header(index)?;
            let own = table
                .get(&mut texts, section.sh_name(self.endian).into())
                .ok()?;
            if own.ends_with(name) {
                return Some((
                    section.sh_offset(self.endian).into(),
                    section.sh_size(self.endian).into(),
                ));
            }
        }
        None
    }
}
