//! Which packages a component's files come from, and of when they are.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;

use fragment_types::manifest::Package;

use crate::copyright;
use crate::cut::Installation;
use crate::dpkg::{Database, Installed};
use crate::error::{Error, Result};
use crate::root::Node;

/// Largest copyright file read, in bytes.
const MAX_COPYRIGHT: u64 = 4 << 20;
/// Modification time of components without any package: 2023-01-01, before all packages of the oldest release built from.
const FALLBACK_EPOCH: i64 = 1_672_531_200;

/// The packages of the component, the leading one first.
pub(crate) fn packages<'a>(
    whole: &'a [String],
    sliced: impl Iterator<Item = &'a str>,
    leading: Option<&str>,
    at: Installation<'_>,
) -> Result<Vec<Package>> {
    let mut packages: BTreeMap<&str, bool> = whole.iter().map(|p| (p.as_str(), false)).collect();
    packages.extend(sliced.map(|p| (p, true)));
    let mut described = Vec::with_capacity(packages.len());
    for (package, sliced) in packages {
        let Some(installed) = at.database.package(package) else {
            return Err(Error::NotInstalled {
                package: package.to_owned(),
            });
        };
        let path = format!("/usr/share/doc/{package}/copyright");
        let text = at
            .root
            .read(&path, MAX_COPYRIGHT)
            .map_err(|source| Error::ReadRoot { path, source })?
            .unwrap_or_default();
        described.push(Package {
            name: package.to_owned(),
            version: installed.version.clone(),
            source: installed.source.clone(),
            source_version: installed.source_version.clone(),
            architecture: Some(installed.architecture.clone()),
            maintainer: Some(installed.maintainer.clone()).filter(|m| !m.is_empty()),
            depends: depends(installed, at.database),
            licences: copyright::licences(&String::from_utf8_lossy(&text)),
            sliced,
        });
    }
    described.sort_by_key(|p| leading != Some(p.name.as_str()));
    Ok(described)
}

/// The packages that satisfy the dependencies of `installed`, as installed.
fn depends(installed: &Installed, database: &Database) -> BTreeSet<String> {
    let satisfier = |group: &Vec<String>| database.satisfier(group).map(str::to_owned);
    installed.depends.iter().filter_map(satisfier).collect()
}

/// The newest time below `/usr/share/doc` of the component's packages.
///
/// dpkg unpacks files with the times of the package, which its build has clamped to its last changelog entry, and no
/// maintainer script touches these files: the same packages give the same time.
pub(crate) fn epoch(packages: &[Package], at: Installation<'_>) -> Result<i64> {
    let mut newest = None;
    for path in packages
        .iter()
        .flat_map(|p| at.database.files(&p.name))
        .filter(|p| p.starts_with("/usr/share/doc/"))
    {
        let node = at.root.lookup(path).map_err(|source| Error::ReadRoot {
            path: path.clone(),
            source,
        })?;
        if let Some(node) = node.filter(Node::is_file) {
            newest = newest.max(Some(node.metadata.mtime()));
        }
    }
    Ok(newest.unwrap_or(FALLBACK_EPOCH).max(0))
}
