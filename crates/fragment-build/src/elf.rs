//! What an ELF file defines and needs, read with `object`'s low-level reader.

use std::collections::{BTreeMap, BTreeSet};

use fragment_types::manifest::{Machine, NeededSoname};
use fragment_types::symbol;
use object::elf;
use object::read::StringTable;
use object::read::elf::{Dyn, FileHeader, ProgramHeader, Sym};

/// A dynamic ELF file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Elf {
    pub(crate) machine: Machine,
    pub(crate) soname: Option<String>,
    /// Whether it names a program interpreter (programs do; of the libraries only those one can run).
    pub(crate) interpreter: Option<String>,
    /// Symbol versions it defines.
    pub(crate) versions: BTreeSet<String>,
    pub(crate) needs: Vec<NeededSoname>,
    /// RPATH and RUNPATH entries, `$ORIGIN` not yet expanded.
    pub(crate) runpath: Vec<String>,
    /// Which of the symbols that tell what a program does it imports.
    pub(crate) imports: BTreeSet<String>,
    /// Constants that are paths below `/usr/share`.
    pub(crate) data_paths: Vec<String>,
}

/// Reads `data`; nothing when it is not a dynamic ELF file (scripts, static programs, object files, damaged files).
pub(crate) fn parse(data: &[u8]) -> Option<Elf> {
    // e_ident[EI_CLASS] chooses the layout of all that follows (System V ABI)
    match data.get(..5)? {
        [0x7f, b'E', b'L', b'F', 1] => read(
            elf::FileHeader32::<object::Endianness>::parse(data).ok()?,
            data,
        ),
        [0x7f, b'E', b'L', b'F', 2] => read(
            elf::FileHeader64::<object::Endianness>::parse(data).ok()?,
            data,
        ),
        _ => None,
    }
}

fn read<H: FileHeader<Endian = object::Endianness>>(header: &H, data: &[u8]) -> Option<Elf> {
    let endian = header.endian().ok()?;
    let machine = match (header.e_machine(endian), header.is_class_64()) {
        (elf::EM_X86_64, true) => Machine::X86_64,
        (elf::EM_386, false) => Machine::I386,
        (elf::EM_AARCH64, true) => Machine::Aarch64,
        _ => Machine::Other,
    };
    let segments = header.program_headers(endian, data).ok()?;
    let interpreter = segments
        .iter()
        .find_map(|s| s.interpreter(endian, data).ok().flatten())
        .and_then(|i| std::str::from_utf8(i).ok())
        .map(str::to_owned);
    let sections = header.sections(endian, data).ok()?;
    let (dynamic, link) = sections.dynamic(endian, data).ok()??;
    let strings = sections.strings(endian, data, link).ok()?;
    let mut needed = Vec::new();
    let (mut soname, mut runpath) = (None, Vec::new());
    for entry in dynamic {
        let text = || string(strings, entry.d_val(endian).into());
        match entry.d_tag(endian) {
            elf::DT_NEEDED => needed.extend(text()),
            elf::DT_SONAME => soname = text(),
            elf::DT_RPATH | elf::DT_RUNPATH => {
                runpath.extend(
                    text()
                        .iter()
                        .flat_map(|t| t.split(':'))
                        .filter(|p| !p.is_empty())
                        .map(str::to_owned),
                );
            }
            elf::DT_NULL => break,
            _ => {}
        }
    }
    let mut required = required_versions(endian, &sections, data);
    let needs = needed
        .into_iter()
        .map(|soname| NeededSoname {
            machine,
            versions: required.remove(&soname).unwrap_or_default(),
            soname,
        })
        .collect();
    let versions = defined_versions(endian, &sections, data);
    let imports = telling_imports(endian, &sections, data);
    let data_paths = data_paths(data).map(str::to_owned).collect();
    Some(Elf {
        machine,
        soname,
        interpreter,
        versions,
        needs,
        runpath,
        imports,
        data_paths,
    })
}

/// Paths of data among the constants of an object; texts of licences are shown to people.
fn data_paths(bytes: &[u8]) -> impl Iterator<Item = &str> {
    let plain = |piece: &&[u8]| {
        piece.starts_with(b"/usr/share/")
            && piece.len() <= 256
            && !piece.starts_with(b"/usr/share/common-licenses/")
    };
    bytes
        .split(|byte| *byte == 0)
        .filter(plain)
        .filter_map(|piece| std::str::from_utf8(piece).ok())
}

fn string(strings: StringTable<'_>, offset: u64) -> Option<String> {
    let bytes = strings.get(u32::try_from(offset).ok()?).ok()?;
    std::str::from_utf8(bytes)
        .ok()
        .filter(|s| !s.is_empty())
        .map(str::to_owned)
}

type Sections<'data, H> = object::read::elf::SectionTable<'data, H>;

/// Undefined symbols of `.dynsym` that tell something.
fn telling_imports<H: FileHeader>(
    endian: H::Endian,
    sections: &Sections<'_, H>,
    data: &[u8],
) -> BTreeSet<String> {
    let Ok(symbols) = sections.symbols(endian, data, elf::SHT_DYNSYM) else {
        return BTreeSet::new();
    };
    let undefined = symbols.iter().filter(|symbol| symbol.is_undefined(endian));
    let names = undefined.filter_map(|symbol| symbol.name(endian, symbols.strings()).ok());
    let mut told = symbol::telling(names.filter_map(|name| std::str::from_utf8(name).ok()));
    if told.contains("iconv_open")
        && !data
            .split(|byte| *byte == 0)
            .any(symbol::is_plugged_charset)
    {
        told.remove("iconv_open");
    }
    told
}

/// `.gnu.version_d` without the base version, which is the file's own name.
fn defined_versions<H: FileHeader>(
    endian: H::Endian,
    sections: &Sections<'_, H>,
    data: &[u8],
) -> BTreeSet<String> {
    let mut versions = BTreeSet::new();
    let Ok(Some((mut definitions, link))) = sections.gnu_verdef(endian, data) else {
        return versions;
    };
    let Ok(strings) = sections.strings(endian, data, link) else {
        return versions;
    };
    while let Ok(Some((definition, mut names))) = definitions.next() {
        if definition.vd_flags.get(endian).0 & elf::VER_FLG_BASE.0 != 0 {
            continue;
        }
        if let Ok(Some(name)) = names.next() {
            versions.extend(string(strings, name.vda_name.get(endian).into()));
        }
    }
    versions
}

/// `.gnu.version_r` by soname; weak references do not stop the loader (VER_FLG_WEAK) and are left out.
fn required_versions<H: FileHeader>(
    endian: H::Endian,
    sections: &Sections<'_, H>,
    data: &[u8],
) -> BTreeMap<String, BTreeSet<String>> {
    let mut required: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let Ok(Some((mut files, link))) = sections.gnu_verneed(endian, data) else {
        return required;
    };
    let Ok(strings) = sections.strings(endian, data, link) else {
        return required;
    };
    while let Ok(Some((file, mut versions))) = files.next() {
        let Some(soname) = string(strings, file.vn_file.get(endian).into()) else {
            continue;
        };
        let of_file = required.entry(soname).or_default();
        while let Ok(Some(version)) = versions.next() {
            if version.vna_flags.get(endian).0 & elf::VER_FLG_WEAK.0 == 0 {
                of_file.extend(string(strings, version.vna_name.get(endian).into()));
            }
        }
    }
    required
}

#[cfg(test)]
mod tests {
    use super::{data_paths, parse};

    #[test]
    fn constants_that_are_paths_of_data() {
        let bytes = b"\x7fELF\0/usr/share/dpkg/cputable\0see /usr/share/x\0/usr/share/common-licenses/GPL-3\0/etc/x\0/usr/share/\xff\0";
        let found: Vec<&str> = data_paths(bytes).collect();
        assert_eq!(found, ["/usr/share/dpkg/cputable"]);
    }

    #[test]
    fn reads_the_test_program_itself() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let elf = parse(&own).unwrap();
        assert!(elf.interpreter.unwrap().contains("ld-linux"));
        let libc = elf.needs.iter().find(|n| n.soname == "libc.so.6").unwrap();
        assert!(libc.versions.iter().any(|v| v.starts_with("GLIBC_2.")));
    }

    #[test]
    fn a_library_defines_versions() {
        let libc = std::fs::read("/usr/lib/x86_64-linux-gnu/libc.so.6").unwrap();
        let elf = parse(&libc).unwrap();
        assert_eq!(elf.soname.as_deref(), Some("libc.so.6"));
        assert!(elf.versions.contains("GLIBC_2.34") && !elf.versions.contains("libc.so.6"));
        assert!(elf.imports.is_empty(), "{:?}", elf.imports);
    }

    #[test]
    fn what_a_library_imports_tells_something() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let imports = parse(&own).unwrap().imports;
        assert!(imports.contains("execvp"), "{imports:?}");
        assert!(!imports.contains("malloc"), "{imports:?}");
    }

    #[test]
    fn conversions_tell_nothing_where_no_plugin_is_named() {
        // It converts for C++ programs that ask for it.
        let own = std::fs::read("/usr/lib/x86_64-linux-gnu/libstdc++.so.6").unwrap();
        assert!(!parse(&own).unwrap().imports.contains("iconv_open"));
    }

    #[test]
    fn damaged_files_are_nothing_and_never_a_panic() {
        let own = std::fs::read("/usr/lib/x86_64-linux-gnu/libc.so.6").unwrap();
        for cut in (0..own.len()).step_by(own.len() / 50) {
            let _ = parse(&own[..cut]);
        }
        let mut damaged = own[..4096].to_vec();
        for i in 0..damaged.len() {
            damaged[i] ^= 0xff;
            let _ = parse(&damaged);
            damaged[i] ^= 0xff;
        }
        assert!(parse(b"#!/bin/sh\n").is_none());
        assert!(parse(b"\x7fELF\x02").is_none());
    }
}
