//! Writing a component: layer, manifest, record.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use fragment_types::manifest::{Layer, PathEntry, Provides, Requires, SCHEMA, Size, Soname};
use fragment_types::{ComponentName, Digest, Manifest, canonical};
use semver::Version;

use crate::error::{Error, Result};
use crate::index::{self, FileNeed};
use crate::library::Library;
use crate::pack::{Effort, pack};
use crate::part::{Fresh, Part};
use crate::progress::{Event, Progress};
use crate::record::{Files, Record};
use crate::resolve::{Parts, Resolved, closure, held};
use crate::tree::{Content, Entry};
use crate::version;

/// Everything a component is written from.
pub(crate) struct Product<'a> {
    pub(crate) part: &'a Part,
    pub(crate) fresh: &'a Fresh,
    /// All components it requires directly.
    pub(crate) requires: &'a BTreeSet<ComponentName>,
    pub(crate) resolved: &'a Resolved,
    pub(crate) parts: &'a Parts,
    pub(crate) library: &'a Library,
}

/// Packs the component and writes its manifest and record; each file appears complete or not at all.
///
/// # Errors
/// [`Error::OverBudget`] and file errors; then the output directory holds what it held before.
pub(crate) fn produce(
    product: &Product<'_>,
    files: &Files,
    key: Digest,
    progress: &dyn Progress,
) -> Result<Manifest> {
    let name = &product.part.name;
    let recipe = product.library.recipe(name)?;
    let temporary = files.layer.with_extension("zst.new");
    let guard = Remove(&temporary);
    let tree = &product.fresh.cut.tree;
    let size_of = |e: &Entry| {
        if let Content::File { size, .. } = e.content {
            size
        } else {
            0
        }
    };
    let total: u64 = tree.entries.values().map(size_of).sum();
    let mut told = 0;
    let (layer, size) = pack(
        tree,
        product.fresh.cut.epoch,
        &temporary,
        Effort::Small,
        &mut |done| {
            let percent =
                u8::try_from((done * 100).checked_div(total).unwrap_or(100)).unwrap_or(100);
            if percent > told {
                told = percent;
                progress.event(&Event::Percent {
                    component: name,
                    percent,
                });
            }
        },
    )?;
    if let Some(budget) = recipe.budget.filter(|budget| size.stored > *budget) {
        let largest = largest(product);
        return Err(Error::OverBudget {
            component: name.clone(),
            stored: size.stored,
            budget,
            largest,
        });
    }
    let manifest = describe(product, layer, size)?;
    let bytes = canonical::to_vec(&manifest).map_err(|source| Error::Manifest {
        component: name.clone(),
        source,
    })?;
    let record = record(product, key, Digest::of(&bytes))?;
    let record = serde_json::to_vec_pretty(&record).map_err(|source| Error::Manifest {
        component: name.clone(),
        source,
    })?;
    // without a record the next build makes the component again: it goes first and comes last
    let _ = fs::remove_file(&files.record);
    fs::rename(&temporary, &files.layer).map_err(|source| Error::Io {
        operation: "publishing",
        path: files.layer.clone(),
        source,
    })?;
    drop(guard);
    write(&files.manifest, &bytes)?;
    write(&files.record, &record)?;
    Ok(manifest)
}

/// What the next build has to compare.
fn record(product: &Product<'_>, key: Digest, manifest: Digest) -> Result<Record> {
    let Product {
        part,
        fresh,
        requires,
        parts,
        library,
        ..
    } = product;
    let below = requires
        .iter()
        .filter_map(|r| Some((r.clone(), parts.get(r)?.digest)));
    let named = fresh.cut.named.iter();
    Ok(Record {
        key,
        manifest,
        requires: part.requires.clone(),
        below: below.collect(),
        claims: named
            .map(|p| (p.clone(), library.claimed_by(p).cloned()))
            .collect(),
        held: held(part, fresh, library, parts)?,
        bundled: part.bundled.clone(),
    })
}

fn describe(product: &Product<'_>, layer: Layer, size: Size) -> Result<Manifest> {
    let Product {
        part,
        fresh,
        resolved,
        library,
        ..
    } = product;
    let recipe = library.recipe(&part.name)?;
    let upstream_version = match (&recipe.version, fresh.cut.packages.first()) {
        (Some(version), _) => version.clone(),
        (None, Some(leading)) => leading.version.clone(),
        (None, None) => "0".to_owned(),
    };
    let version = match &recipe.version {
        Some(text) => Version::parse(text).map_err(|source| Error::Version {
            component: part.name.clone(),
            version: text.clone(),
            source,
        })?,
        None => version::from_debian(&upstream_version),
    };
    let paths: Vec<PathEntry> = part.paths.values().cloned().collect();
    let below = closure(product.requires, product.parts);
    let commands = index::commands(&paths, &|path| {
        part.paths
            .get(path)
            .or_else(|| below.iter().find_map(|b| b.paths.get(path)))
    });
    let retention = recipe
        .retention_seconds
        .unwrap_or(library.defaults().retention_seconds);
    Ok(Manifest {
        schema: SCHEMA.to_owned(),
        name: part.name.clone(),
        version,
        upstream_version,
        description: recipe.description.clone(),
        architecture: architecture().to_owned(),
        eol: recipe
            .eol
            .clone()
            .or_else(|| library.defaults().eol.clone()),
        aliases: recipe.aliases.clone(),
        preference: recipe.preference,
        capabilities: recipe.capabilities.clone(),
        provides: Provides {
            paths,
            sonames: sonames(part.sonames.clone(), &fresh.index.needs, &resolved.private),
            commands,
            modules: fresh.modules.clone(),
        },
        requires: Requires {
            components: product.requires.clone(),
            sonames: resolved.sonames.clone(),
        },
        conflicts: recipe.conflicts.clone(),
        accounts: recipe.accounts(),
        packages: fresh.cut.packages.clone(),
        retention_seconds: retention,
        size,
        layer,
    })
}

/// The shared objects that other files can need: not the plug-ins that only dlopen(3) finds, and without those needs that
/// only RPATH answers or that may stay without an answer.
pub(crate) fn sonames(
    mut sonames: Vec<Soname>,
    needs: &[FileNeed],
    private: &BTreeSet<String>,
) -> Vec<Soname> {
    let needed: BTreeSet<&str> = needs.iter().map(|n| n.need.soname.as_str()).collect();
    let is_plugin = |s: &Soname| {
        !s.public
            && s.path.ends_with(&format!("/{}", s.soname))
            && !needed.contains(s.soname.as_str())
    };
    sonames.retain(|s| !is_plugin(s));
    for soname in &mut sonames {
        soname.needs.retain(|need| !private.contains(&need.soname));
    }
    sonames.sort_by(|a, b| (&a.soname, &a.path).cmp(&(&b.soname, &b.path)));
    sonames
}

/// The OCI name of the architecture built for, which is this machine's.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The ten largest files, for people.
fn largest(product: &Product<'_>) -> Vec<String> {
    let mut files: Vec<(u64, &String)> = product
        .part
        .paths
        .values()
        .map(|e| (e.size, &e.path))
        .filter(|(size, _)| *size > 0)
        .collect();
    files.sort_by(|a, b| b.cmp(a));
    files
        .iter()
        .take(10)
        .map(|(size, path)| format!("{size:>10} {path}"))
        .collect()
}

fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    let io = |source| Error::Io {
        operation: "writing",
        path: file.to_owned(),
        source,
    };
    let mut temporary = file.as_os_str().to_owned();
    temporary.push(".new");
    let guard = Remove(Path::new(&temporary));
    let mut out = File::create(&temporary).map_err(io)?;
    out.write_all(bytes).map_err(io)?;
    out.sync_all().map_err(io)?;
    fs::rename(&temporary, file).map_err(io)?;
    drop(guard);
    Ok(())
}

/// Removes a temporary file when dropped; after a rename there is nothing to remove.
struct Remove<'a>(&'a Path);

impl Drop for Remove<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.0);
    }
}
