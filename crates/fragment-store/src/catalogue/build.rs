//! Writing a catalogue.

use std::ops::Range;

use fragment_types::catalogue::{CachedObject, TellingObject};
use fragment_types::manifest::{PathEntry, Soname};
use fragment_types::{ComponentSummary, Digest, Manifest};

use super::codec::{Writer, machine_code, path_kind_code};
use super::link::Links;
use super::{
    CHECKED_HEADER, HEADER, KeyKind, MAGIC, SECTIONS, VERSION, crc, generation, module_name,
};

/// Bytes after which a block ends.
const BLOCK: usize = 4096;

/// Collects components and writes them down. Components are numbered in the order added.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    summaries: Vec<ComponentSummary>,
    links: Links,
    /// Keys and values of all postings, one after the other.
    arena: Vec<u8>,
    postings: Vec<Posting>,
}

/// One component under one key: millions of them, so no allocation each.
#[derive(Debug, Clone)]
struct Posting {
    key: Range<usize>,
    value: Range<usize>,
    component: u32,
}

impl Builder {
    pub(crate) fn add(&mut self, digest: Digest, manifest: &Manifest) {
        let Manifest {
            provides,
            capabilities,
            packages,
            aliases,
            ..
        } = manifest;
        for name in std::iter::once(&manifest.name).chain(aliases) {
            self.post(KeyKind::Name, name.as_str(), |_| {});
        }
        for entry in &provides.paths {
            self.post(KeyKind::Path, &entry.path, |value| write_path(value, entry));
        }
        for soname in &provides.sonames {
            self.post(KeyKind::Soname, &soname.soname, |value| {
                write_soname(value, soname);
            });
        }
        for command in &provides.commands {
            self.post(KeyKind::Command, &command.name, |value| {
                value.text(&command.path);
            });
        }
        for module in &provides.modules {
            let name = module_name(&module.language, &module.name);
            self.post(KeyKind::Module, &name, |_| {});
        }
        for capability in capabilities {
            self.post(KeyKind::Capability, capability.as_str(), |_| {});
        }
        let mut names: Vec<_> = packages.iter().map(|package| &package.name).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            self.post(KeyKind::Package, name, |_| {});
        }
        self.links.add(manifest);
        self.summaries.push(summary(digest, manifest));
    }

    fn post(&mut self, kind: KeyKind, name: &str, write: impl FnOnce(&mut Writer<'_>)) {
        let start = self.arena.len();
        self.arena.push(kind as u8);
        self.arena.extend_from_slice(name.as_bytes());
        let middle = self.arena.len();
        write(&mut Writer(&mut self.arena));
        let component = u32::try_from(self.summaries.len()).unwrap_or(u32::MAX);
        let (key, value) = (start..middle, middle..self.arena.len());
        self.postings.push(Posting {
            key,
            value,
            component,
        });
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// When a summary cannot be expressed in JSON.
    pub(crate) fn finish(mut self) -> serde_json::Result<Vec<u8>> {
        let (requires, unresolved) = self.links.resolve();
        for (summary, requires) in self.summaries.iter_mut().zip(requires) {
            summary.requires = requires;
        }
        let mut file = vec![0; HEADER];
        let mut sections = Vec::with_capacity(SECTIONS);
        let (directory, blocks) = self.blocks();
        for part in [directory.bytes(), blocks] {
            append(&mut file, &mut sections, &part);
        }
        let mut directory = Directory::default();
        let mut records = Vec::new();
        for summary in &self.summaries {
            push_item(&mut records, &serde_json::to_vec(summary)?);
            directory.end_item(&records);
        }
        let mut missing = Vec::new();
        push_item(&mut missing, &serde_json::to_vec(&unresolved)?);
        for part in [directory.bytes(), records, missing] {
            append(&mut file, &mut sections, &part);
        }
        self.write_header(&mut file, &sections);
        Ok(file)
    }

    /// Sorted keys with their postings, in blocks.
    fn blocks(&mut self) -> (Directory, Vec<u8>) {
        let arena = std::mem::take(&mut self.arena);
        let mut postings = std::mem::take(&mut self.postings);
        // within a key by component, and within a component as it listed them
        postings.sort_by(|a, b| {
            arena[a.key.clone()]
                .cmp(&arena[b.key.clone()])
                .then(a.component.cmp(&b.component))
        });
        let mut directory = Directory::default();
        let (mut blocks, mut block, mut value) = (Vec::new(), Vec::new(), Vec::new());
        let mut last: &[u8] = &[];
        for group in postings.chunk_by(|a, b| arena[a.key.clone()] == arena[b.key.clone()]) {
            let key = &arena[group[0].key.clone()];
            value.clear();
            for posting in group {
                Writer(&mut value).number(u64::from(posting.component));
                value.extend_from_slice(&arena[posting.value.clone()]);
            }
            let shared = key.iter().zip(last).take_while(|(a, b)| a == b).count();
            let mut writer = Writer(&mut block);
            writer.number(shared as u64);
            writer.bytes(&key[shared..]);
            writer.bytes(&value);
            last = key;
            if block.len() >= BLOCK {
                push_item(&mut blocks, &block);
                directory.end_item(&blocks);
                block.clear();
                last = &[];
            }
        }
        if !block.is_empty() {
            push_item(&mut blocks, &block);
            directory.end_item(&blocks);
        }
        (directory, blocks)
    }

    fn write_header(&self, file: &mut [u8], sections: &[Range<usize>]) {
        let mut header = Vec::with_capacity(HEADER);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        let count = u32::try_from(self.summaries.len()).unwrap_or(u32::MAX);
        header.extend_from_slice(&count.to_le_bytes());
        let generation = generation(self.summaries.iter().map(|summary| summary.digest));
        header.extend_from_slice(generation.as_bytes());
        header.extend_from_slice(&(file.len() as u64).to_le_bytes());
        for section in sections {
            header.extend_from_slice(&(section.start as u64).to_le_bytes());
            header.extend_from_slice(&(section.len() as u64).to_le_bytes());
        }
        debug_assert_eq!(header.len(), CHECKED_HEADER);
        let crc = crc(&header);
        header.extend_from_slice(&crc.to_le_bytes());
        file[..HEADER].copy_from_slice(&header);
    }
}

/// Offsets of the items of a section: where each starts, and where the last ends.
#[derive(Debug)]
struct Directory(Vec<u64>);

impl Default for Directory {
    fn default() -> Self {
        Self(vec![0])
    }
}

impl Directory {
    fn end_item(&mut self, items: &[u8]) {
        self.0.push(items.len() as u64);
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_iter().flat_map(u64::to_le_bytes).collect()
    }
}

/// Appends an item with its check sum.
fn push_item(items: &mut Vec<u8>, item: &[u8]) {
    items.extend_from_slice(&crc(item).to_le_bytes());
    items.extend_from_slice(item);
}

fn append(file: &mut Vec<u8>, sections: &mut Vec<Range<usize>>, part: &[u8]) {
    let start = file.len();
    file.extend_from_slice(part);
    sections.push(start..file.len());
}

fn write_path(value: &mut Writer<'_>, entry: &PathEntry) {
    value.byte(path_kind_code(entry.kind));
    value.number(entry.size);
    value.byte(u8::from(entry.digest.is_some()));
    if let Some(digest) = &entry.digest {
        value.digest(digest);
    }
    value.byte(u8::from(entry.target.is_some()));
    if let Some(target) = &entry.target {
        value.text(target);
    }
}

fn write_soname(value: &mut Writer<'_>, soname: &Soname) {
    value.text(&soname.path);
    value.byte(machine_code(soname.machine));
    value.byte(u8::from(soname.public));
    value.versions(&soname.versions);
    value.needs(&soname.needs);
}

/// Directories that glibc's loader searches without a cache (ld.so(8), "DESCRIPTION"), on every architecture.
const SEARCHED: [&str; 3] = [
    "/usr/lib",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
];

/// The shared objects that are public and lie where the loader does not look by itself.
fn cached(sonames: &[Soname]) -> Vec<CachedObject> {
    let mut cached: Vec<_> = sonames
        .iter()
        .filter(|soname| {
            let directory = soname
                .path
                .rsplit_once('/')
                .map_or("", |(directory, _)| directory);
            soname.public && !SEARCHED.contains(&directory)
        })
        .map(|soname| CachedObject {
            soname: soname.soname.clone(),
            path: soname.path.clone(),
            machine: soname.machine,
        })
        .collect();
    cached.sort();
    cached
}

/// The shared objects whose imports tell something.
fn telling(sonames: &[Soname]) -> Vec<TellingObject> {
    sonames
        .iter()
        .filter(|soname| !soname.imports.is_empty())
        .map(|soname| TellingObject {
            path: soname.path.clone(),
            imports: soname.imports.clone(),
        })
        .collect()
}

/// `requires` as declared; sonames are resolved when all components are known.
fn summary(digest: Digest, manifest: &Manifest) -> ComponentSummary {
    ComponentSummary {
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        upstream_version: manifest.upstream_version.clone(),
        digest,
        diff_id: manifest.layer.diff_id,
        size: manifest.size,
        aliases: manifest.aliases.clone(),
        preference: manifest.preference,
        capabilities: manifest.capabilities.clone(),
        retention_seconds: manifest.retention_seconds,
        requires: manifest.requires.components.clone(),
        conflicts: manifest.conflicts.clone(),
        needs: manifest.requires.sonames.clone(),
        accounts: manifest.accounts.clone(),
        cached: cached(&manifest.provides.sonames),
        telling: telling(&manifest.provides.sonames),
    }
}
