//! Searching a catalogue.

use std::ops::Range;
use std::path::Path;

use fragment_sys::map::ReplacedFile;
use fragment_types::catalogue::{CommandProvider, PathProvider, SonameProvider};
use fragment_types::{Catalogue, CatalogueError, ComponentIndex, ComponentSummary, Digest};

use super::codec::Reader;
use super::{
    CHECKED_HEADER, HEADER, KeyKind, MAGIC, SECTIONS, Section, Unresolved, VERSION, crc,
    module_name,
};
use crate::error::StoreError;
use crate::layout;

/// A catalogue file, mapped when it is searched. It is one state of the library: later changes do not show in it.
#[derive(Debug)]
pub struct MappedCatalogue {
    file: ReplacedFile,
    view: View,
}

/// What the header says, checked.
#[derive(Debug)]
struct View {
    components: u32,
    generation: Digest,
    sections: [Range<usize>; SECTIONS],
}

impl MappedCatalogue {
    /// Opens the file at `path`; the cost does not depend on its size.
    ///
    /// # Errors
    /// [`StoreError::Open`], or [`StoreError::Catalogue`] when it is damaged or of another version.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let file = layout::open_file(path)?;
        let file = ReplacedFile::new(file).map_err(StoreError::read(path))?;
        let mut header = [0; HEADER];
        let header = file.head(&mut header).map_err(StoreError::read(path))?;
        let view = View::parse(header, file.len())?;
        Ok(Self { file, view })
    }

    /// What components need and nobody provides.
    ///
    /// # Errors
    /// When the catalogue is damaged.
    pub fn unresolved(&self) -> Result<Vec<Unresolved>, CatalogueError> {
        let item = checked(self.section(Section::Unresolved)?)?;
        serde_json::from_slice(item).map_err(|_| damaged("unresolved needs are unreadable"))
    }

    /// Reads everything once, for `fragment library verify`.
    ///
    /// # Errors
    /// When anything is damaged.
    pub fn verify(&self) -> Result<(), CatalogueError> {
        self.items(Section::RecordDirectory, Section::Records)?
            .check_ends()?;
        self.items(Section::BlockDirectory, Section::Blocks)?
            .check_ends()?;
        for index in 0..self.view.components {
            self.component(ComponentIndex(index))?;
        }
        let blocks = self.items(Section::BlockDirectory, Section::Blocks)?;
        let mut last = Vec::new();
        for block in 0..blocks.len() {
            let mut entries = Entries::new(blocks.get(block)?);
            while let Some(value) = entries.next()? {
                if entries.key <= last {
                    return Err(damaged("keys are out of order"));
                }
                last.clone_from(&entries.key);
                self.verify_postings(&last, value)?;
            }
        }
        self.unresolved().map(drop)
    }

    fn verify_postings(&self, key: &[u8], value: &[u8]) -> Result<(), CatalogueError> {
        let components = self.view.components;
        match key.first() {
            Some(b'p') => postings(value, components, path_provider).map(drop),
            Some(b's') => postings(value, components, soname_provider).map(drop),
            Some(b'c') => postings(value, components, command_provider).map(drop),
            _ => postings(value, components, |_, component| Some(component)).map(drop),
        }
    }

    fn section(&self, section: Section) -> Result<&[u8], CatalogueError> {
        let bytes = self.file.bytes().map_err(|error| CatalogueError {
            detail: format!("the catalogue cannot be mapped: {error}"),
        })?;
        // the ranges were checked against its length
        Ok(bytes
            .get(self.view.sections[section as usize].clone())
            .unwrap_or_default())
    }

    fn items(&self, directory: Section, data: Section) -> Result<Items<'_>, CatalogueError> {
        Ok(Items {
            directory: self.section(directory)?,
            data: self.section(data)?,
        })
    }

    /// The postings of a key; empty when it is not there.
    fn find(&self, kind: KeyKind, name: &str) -> Result<&[u8], CatalogueError> {
        let key = kind.key(name);
        let blocks = self.items(Section::BlockDirectory, Section::Blocks)?;
        // the last block that starts at or before the key
        let (mut low, mut high) = (0, blocks.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let mut entries = Entries::new(blocks.get(middle)?);
            entries.next()?;
            if entries.key <= key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let Some(block) = low.checked_sub(1) else {
            return Ok(&[]);
        };
        let mut entries = Entries::new(blocks.get(block)?);
        while let Some(value) = entries.next()? {
            match entries.key.cmp(&key) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => return Ok(value),
                std::cmp::Ordering::Greater => break,
            }
        }
        Ok(&[])
    }

    fn providers<T>(
        &self,
        kind: KeyKind,
        name: &str,
        read: impl Fn(&mut Reader<'_>, ComponentIndex) -> Option<T>,
    ) -> Result<Vec<T>, CatalogueError> {
        postings(self.find(kind, name)?, self.view.components, read)
    }

    fn components(&self, kind: KeyKind, name: &str) -> Result<Vec<ComponentIndex>, CatalogueError> {
        self.providers(kind, name, |_, component| Some(component))
    }
}

impl Catalogue for MappedCatalogue {
    fn generation(&self) -> Digest {
        self.view.generation
    }

    fn len(&self) -> usize {
        self.view.components as usize
    }

    fn component(&self, index: ComponentIndex) -> Result<ComponentSummary, CatalogueError> {
        let records = self.items(Section::RecordDirectory, Section::Records)?;
        serde_json::from_slice(records.get(index.0 as usize)?)
            .map_err(|_| damaged(format!("record {} is unreadable", index.0)))
    }

    fn named(&self, name: &str) -> Result<Vec<ComponentIndex>, CatalogueError> {
        self.components(KeyKind::Name, name)
    }

    fn providing_path(&self, path: &str) -> Result<Vec<PathProvider>, CatalogueError> {
        self.providers(KeyKind::Path, path, path_provider)
    }

    fn providing_soname(&self, soname: &str) -> Result<Vec<SonameProvider>, CatalogueError> {
        self.providers(KeyKind::Soname, soname, soname_provider)
    }

    fn providing_command(&self, name: &str) -> Result<Vec<CommandProvider>, CatalogueError> {
        self.providers(KeyKind::Command, name, command_provider)
    }

    fn providing_module(
        &self,
        language: &str,
        name: &str,
    ) -> Result<Vec<ComponentIndex>, CatalogueError> {
        self.components(KeyKind::Module, &module_name(language, name))
    }

    fn granting(&self, capability: &str) -> Result<Vec<ComponentIndex>, CatalogueError> {
        self.components(KeyKind::Capability, capability)
    }

    fn holding_package(&self, package: &str) -> Result<Vec<ComponentIndex>, CatalogueError> {
        self.components(KeyKind::Package, package)
    }
}

impl View {
    /// Of the header, and the length of all in bytes.
    fn parse(header: &[u8], length: usize) -> Result<Self, CatalogueError> {
        if header.len() != HEADER {
            return Err(damaged("it is cut short"));
        }
        let mut reader = Reader(header);
        let mut number = |length| {
            let mut bytes = [0; 8];
            reader.take(length).map(|taken| {
                bytes[..length].copy_from_slice(taken);
                u64::from_le_bytes(bytes)
            })
        };
        if number(8) != Some(u64::from_le_bytes(MAGIC)) {
            return Err(damaged("it does not start like a catalogue"));
        }
        let version = number(4).unwrap_or_default();
        if version != u64::from(VERSION) {
            return Err(damaged(format!(
                "it has format version {version}, this release reads {VERSION}"
            )));
        }
        if number(4)
            .zip(header.last_chunk())
            .is_none_or(|(_, &sum)| u32::from_le_bytes(sum) != crc(&header[..CHECKED_HEADER]))
        {
            return Err(damaged("the check sum of its header is wrong"));
        }
        Self::fields(&header[12..], length).ok_or_else(|| damaged("its header is inconsistent"))
    }

    /// The header after magic and version.
    fn fields(header: &[u8], length: usize) -> Option<Self> {
        let mut reader = Reader(header);
        let components = u32::from_le_bytes(reader.take(4)?.try_into().ok()?);
        let generation = reader.digest()?;
        let mut number =
            || usize::try_from(u64::from_le_bytes(reader.take(8)?.try_into().ok()?)).ok();
        if number()? != length {
            return None;
        }
        let mut sections = [const { 0..0 }; SECTIONS];
        for section in &mut sections {
            let start = number()?;
            *section = start..start.checked_add(number()?).filter(|&end| end <= length)?;
        }
        let records = sections[Section::RecordDirectory as usize].len();
        let whole = sections[Section::BlockDirectory as usize]
            .len()
            .is_multiple_of(8);
        (records == (components as usize + 1).checked_mul(8)? && whole).then_some(Self {
            components,
            generation,
            sections,
        })
    }
}

/// Check-summed items of a section, found by their offsets.
struct Items<'m> {
    directory: &'m [u8],
    data: &'m [u8],
}

impl<'m> Items<'m> {
    fn len(&self) -> usize {
        (self.directory.len() / 8).saturating_sub(1)
    }

    fn offset(&self, index: usize) -> Option<usize> {
        let at = index.checked_mul(8)?;
        let bytes = self.directory.get(at..at.checked_add(8)?)?;
        usize::try_from(u64::from_le_bytes(bytes.try_into().ok()?)).ok()
    }

    /// Whether the items fill the section: offsets between two items are checked by their check sums, the outer ones only
    /// so.
    fn check_ends(&self) -> Result<(), CatalogueError> {
        if self.offset(0) == Some(0) && self.offset(self.len()) == Some(self.data.len()) {
            Ok(())
        } else {
            Err(damaged("its offsets do not cover the section"))
        }
    }

    fn get(&self, index: usize) -> Result<&'m [u8], CatalogueError> {
        let item = self
            .offset(index)
            .zip(index.checked_add(1).and_then(|next| self.offset(next)))
            .and_then(|(start, end)| self.data.get(start..end))
            .ok_or_else(|| damaged(format!("item {index} is out of bounds")))?;
        checked(item)
    }
}

/// An item without its check sum, which is right.
fn checked(item: &[u8]) -> Result<&[u8], CatalogueError> {
    match item.split_first_chunk() {
        Some((&sum, content)) if u32::from_le_bytes(sum) == crc(content) => Ok(content),
        _ => Err(damaged("a check sum is wrong")),
    }
}

/// Entries of a block; `key` is that of the last one read.
struct Entries<'m> {
    block: Reader<'m>,
    key: Vec<u8>,
}

impl<'m> Entries<'m> {
    fn new(block: &'m [u8]) -> Self {
        Self {
            block: Reader(block),
            key: Vec::new(),
        }
    }

    /// The next key's postings.
    fn next(&mut self) -> Result<Option<&'m [u8]>, CatalogueError> {
        if self.block.is_empty() {
            return Ok(None);
        }
        let mut entry = || {
            let shared = self
                .block
                .length()
                .filter(|&shared| shared <= self.key.len())?;
            self.key.truncate(shared);
            self.key.extend_from_slice(self.block.bytes()?);
            self.block.bytes()
        };
        entry()
            .map(Some)
            .ok_or_else(|| damaged("a block is malformed"))
    }
}

/// Reads postings: a component each, and what `read` takes.
fn postings<T>(
    value: &[u8],
    components: u32,
    read: impl Fn(&mut Reader<'_>, ComponentIndex) -> Option<T>,
) -> Result<Vec<T>, CatalogueError> {
    let mut reader = Reader(value);
    let mut found = Vec::new();
    while !reader.is_empty() {
        let posting = reader
            .number()
            .and_then(|component| u32::try_from(component).ok())
            .filter(|&component| component < components)
            .and_then(|component| read(&mut reader, ComponentIndex(component)))
            .ok_or_else(|| damaged("postings are malformed"))?;
        found.push(posting);
    }
    Ok(found)
}

fn path_provider(reader: &mut Reader<'_>, component: ComponentIndex) -> Option<PathProvider> {
    Some(PathProvider {
        component,
        kind: reader.path_kind()?,
        size: reader.number()?,
        digest: if reader.flag()? {
            Some(reader.digest()?)
        } else {
            None
        },
        target: if reader.flag()? {
            Some(reader.text()?)
        } else {
            None
        },
    })
}

fn soname_provider(reader: &mut Reader<'_>, component: ComponentIndex) -> Option<SonameProvider> {
    Some(SonameProvider {
        component,
        path: reader.text()?,
        machine: reader.machine()?,
        public: reader.flag()?,
        versions: reader.versions()?,
        needs: reader.needs()?,
    })
}

fn command_provider(reader: &mut Reader<'_>, component: ComponentIndex) -> Option<CommandProvider> {
    Some(CommandProvider {
        component,
        path: reader.text()?,
    })
}

fn damaged(detail: impl Into<String>) -> CatalogueError {
    CatalogueError {
        detail: detail.into(),
    }
}
