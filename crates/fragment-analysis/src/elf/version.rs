//! GNU symbol versions: `.gnu.version_r` and `.gnu.version_d` (Symbol Versioning, LSB Core, section 10.7).

use std::collections::{BTreeMap, BTreeSet};

use object::Endianness;
use object::elf;

use super::reader::{Reader, Source};
use super::{ElfError, Strings};

/// More entries than any real file has; chains in hostile files can be cyclic.
const MAX_ENTRIES: u64 = 65_536;

pub(super) struct Tables<'s> {
    pub(super) source: &'s dyn Source,
    pub(super) endian: Endianness,
    pub(super) strings: &'s Strings,
}

impl Tables<'_> {
    /// Versions required, by soname, without weak ones.
    pub(super) fn needed(
        &self,
        mut offset: u64,
        count: u64,
    ) -> Result<BTreeMap<String, BTreeSet<String>>, ElfError> {
        const WHAT: &str = "the table of needed symbol versions";
        let (mut table, mut names) = (Reader::new(self.source), Reader::new(self.source));
        let mut out: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut budget = MAX_ENTRIES;
        for _ in 0..count {
            spend(&mut budget, WHAT)?;
            let need: elf::Verneed<Endianness> = table.pod(offset, WHAT)?;
            let file = self
                .strings
                .get(&mut names, need.vn_file.get(self.endian).into())?;
            let mut aux = after(offset, need.vn_aux.get(self.endian))?;
            for _ in 0..need.vn_cnt.get(self.endian) {
                spend(&mut budget, WHAT)?;
                let version: elf::Vernaux<Endianness> = table.pod(aux, WHAT)?;
                if version.vna_flags.get(self.endian).0 & elf::VER_FLG_WEAK.0 == 0 {
                    let name = version.vna_name.get(self.endian).into();
                    let name = self.strings.get(&mut names, name)?;
                    out.entry(file.clone()).or_default().insert(name);
                }
                match version.vna_next.get(self.endian) {
                    0 => break,
                    next => aux = after(aux, next)?,
                }
            }
            match need.vn_next.get(self.endian) {
                0 => break,
                next => offset = after(offset, next)?,
            }
        }
        Ok(out)
    }

    /// Versions defined, without the base version, which names the file itself.
    pub(super) fn defined(
        &self,
        mut offset: u64,
        count: u64,
    ) -> Result<BTreeSet<String>, ElfError> {
        const WHAT: &str = "the table of defined symbol versions";
        let (mut table, mut names) = (Reader::new(self.source), Reader::new(self.source));
        let mut out = BTreeSet::new();
        let mut budget = MAX_ENTRIES;
        for _ in 0..count {
            spend(&mut budget, WHAT)?;
            let definition: elf::Verdef<Endianness> = table.pod(offset, WHAT)?;
            let is_base = definition.vd_flags.get(self.endian).0 & elf::VER_FLG_BASE.0 != 0;
            // The first auxiliary entry is the version's name, those after it its predecessors.
            if !is_base && definition.vd_cnt.get(self.endian) > 0 {
                let aux = after(offset, definition.vd_aux.get(self.endian))?;
                let name: elf::Verdaux<Endianness> = table.pod(aux, WHAT)?;
                let name = name.vda_name.get(self.endian).into();
                out.insert(self.strings.get(&mut names, name)?);
            }
            match definition.vd_next.get(self.endian) {
                0 => break,
                next => offset = after(offset, next)?,
            }
        }
        Ok(out)
    }
}

fn after(offset: u64, step: u32) -> Result<u64, ElfError> {
    offset
        .checked_add(u64::from(step))
        .ok_or(ElfError::Malformed {
            what: "its symbol versions point outside of the file",
        })
}

fn spend(budget: &mut u64, what: &'static str) -> Result<(), ElfError> {
    *budget = budget.checked_sub(1).ok_or(ElfError::TooLarge {
        what,
        limit: MAX_ENTRIES,
    })?;
    Ok(())
}
