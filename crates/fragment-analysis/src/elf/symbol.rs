//! Names of imported symbols.

use std::collections::BTreeSet;

use object::Endianness;
use object::elf;
use object::read::elf::{FileHeader, Sym as _};

use super::reader::Reader;
use super::{Dynamic, ElfError, File, MAX_TABLE};

impl<H: FileHeader<Endian = Endianness>> File<'_, H> {
    pub(super) fn imports(&self) -> Result<BTreeSet<String>, ElfError> {
        const WHAT: &str = "dynamic symbol table";
        let dynamic = self.read_dynamic()?;
        let (Some(symbols), Some(strings_address)) = (dynamic.symbols, dynamic.strings) else {
            return Ok(BTreeSet::new());
        };
        let strings = self.strings(&dynamic)?;
        let entry = size_of::<H::Sym>() as u64;
        let count = self.symbol_count(&dynamic, symbols, strings_address, entry)?;
        if count.saturating_mul(entry) > MAX_TABLE {
            return Err(ElfError::TooLarge {
                what: WHAT,
                limit: MAX_TABLE,
            });
        }
        let offset = self.offset(symbols)?;
        let (mut reader, mut names) = (Reader::new(self.source), Reader::new(self.source));
        let mut out = BTreeSet::new();
        for index in 1..count {
            let symbol: H::Sym = reader.pod(offset + index * entry, WHAT)?;
            let name = u64::from(symbol.st_name(self.endian));
            if symbol.is_undefined(self.endian) && name != 0 && name < strings.size {
                out.insert(strings.get(&mut names, name)?);
            }
        }
        Ok(out)
    }

    /// Number of dynamic symbols. The format stores it only in DT_HASH; DT_GNU_HASH tells where the exported ones begin,
    /// and before them lie all imports, except where the linker had nothing to export and wrote 1. Linkers put the strings
    /// right after the symbols, which is what is left then.
    fn symbol_count(
        &self,
        dynamic: &Dynamic,
        symbols: u64,
        strings: u64,
        entry: u64,
    ) -> Result<u64, ElfError> {
        let mut reader = Reader::new(self.source);
        if let Some(hash) = dynamic.hash {
            let header: elf::HashHeader<Endianness> =
                reader.pod(self.offset(hash)?, "hash table")?;
            return Ok(u64::from(header.chain_count.get(self.endian)));
        }
        let gap = strings
            .checked_sub(symbols)
            .map_or(0, |bytes| bytes / entry);
        let Some(hash) = dynamic.gnu_hash else {
            return Ok(gap);
        };
        let header: elf::GnuHashHeader<Endianness> =
            reader.pod(self.offset(hash)?, "hash table")?;
        let base = u64::from(header.symbol_base.get(self.endian));
        Ok(if base > 1 {
            base
        } else {
            gap.min(MAX_TABLE / entry)
        })
    }
}
