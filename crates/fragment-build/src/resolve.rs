//! Which components the files of a component need.

use std::collections::{BTreeMap, BTreeSet};

use fragment_types::ComponentName;
use fragment_types::manifest::{NeededSoname, Soname};

use crate::error::{Error, Result};
use crate::index::{COMMAND_DIRECTORIES, FileNeed, Runner, SEARCHED_DIRECTORIES};
use crate::library::Library;
use crate::part::{Fresh, Part};

/// All parts of a build by name.
pub(crate) type Parts = BTreeMap<ComponentName, Part>;

/// What the files of a component need from elsewhere.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    /// Components that provide it, beyond those required anyway.
    pub(crate) components: BTreeSet<ComponentName>,
    /// Sonames not found inside.
    pub(crate) sonames: Vec<NeededSoname>,
    /// Sonames found inside by RPATH alone, or allowed to stay missing: not for others to look up.
    pub(crate) private: BTreeSet<String>,
}

/// `name` and all that is required below it, whatever files need.
pub(crate) fn closure<'a>(requires: &BTreeSet<ComponentName>, parts: &'a Parts) -> Vec<&'a Part> {
    let mut pending: Vec<&ComponentName> = requires.iter().collect();
    let mut found: BTreeMap<&ComponentName, &Part> = BTreeMap::new();
    while let Some(name) = pending.pop() {
        if let Some(part) = parts.get(name)
            && found.insert(&part.name, part).is_none()
        {
            pending.extend(&part.requires);
        }
    }
    found.into_values().collect()
}

/// One thing that files of a component look for elsewhere.
#[derive(Debug, Clone)]
struct Want<'a> {
    file: &'a str,
    /// Soname, path or command: what `allow_missing` names.
    key: String,
    what: What<'a>,
}

#[derive(Debug, Clone)]
enum What<'a> {
    Library(&'a FileNeed),
    /// Paths of which one has to be there.
    Program(Vec<String>),
}

impl Want<'_> {
    fn met_by(&self, part: &Part) -> bool {
        match &self.what {
            What::Library(need) => part.sonames.iter().any(|s| offers(s, need)),
            What::Program(paths) => paths.iter().any(|p| part.has_program(p)),
        }
    }
}

/// Whether the loader would take `soname` for `need`.
fn offers(soname: &Soname, need: &FileNeed) -> bool {
    let directory = soname.path.rsplit_once('/').map_or("", |(d, _)| d);
    soname.soname == need.need.soname
        && soname.machine == need.need.machine
        && need.need.versions.is_subset(&soname.versions)
        && (soname.public || need.directories.iter().any(|d| d == directory))
}

fn wants(fresh: &Fresh) -> Vec<Want<'_>> {
    let libraries = fresh.index.needs.iter().map(|need| Want {
        file: &need.file,
        key: need.need.soname.clone(),
        what: What::Library(need),
    });
    let programs = fresh.index.runners.iter().map(|(file, runner)| {
        let (key, paths) = match runner {
            Runner::Path(path) => (path.clone(), vec![path.clone()]),
            Runner::Command(name) => (
                name.clone(),
                COMMAND_DIRECTORIES
                    .iter()
                    .map(|d| format!("{d}/{name}"))
                    .collect(),
            ),
        };
        Want {
            file,
            key,
            what: What::Program(paths),
        }
    });
    libraries.chain(programs).collect()
}

/// Components that may have to be built before the needs of `part` can be resolved: they hold what its root has.
///
/// # Errors
/// Read errors of the root.
pub(crate) fn candidates(
    part: &Part,
    fresh: &Fresh,
    library: &Library,
    parts: &Parts,
) -> Result<BTreeSet<ComponentName>> {
    let below = closure(&part.requires, parts);
    let allowed = &library.recipe(&part.name)?.allow_missing;
    let mut candidates = BTreeSet::new();
    for want in wants(fresh) {
        let met = want.met_by(part) || below.iter().any(|b| want.met_by(b));
        if !met && !allowed.contains(&want.key) {
            for (package, path) in sources(&want, fresh)? {
                candidates.extend(library.holders(&package, &path).cloned());
            }
        }
    }
    candidates.remove(&part.name);
    Ok(candidates)
}

/// The packages, and their paths, that meet a want in the root.
fn sources(want: &Want<'_>, fresh: &Fresh) -> Result<BTreeSet<(String, String)>> {
    let mut paths: Vec<String> = match &want.what {
        What::Program(paths) => paths.clone(),
        What::Library(need) => need
            .directories
            .iter()
            .map(String::as_str)
            .chain(SEARCHED_DIRECTORIES)
            .map(|d| format!("{d}/{}", need.need.soname))
            .collect(),
    };
    let mut found = BTreeSet::new();
    for path in std::mem::take(&mut paths) {
        let unreadable = |source| Error::ReadRoot {
            path: path.clone(),
            source,
        };
        for node in [fresh.root.lookup(&path), fresh.root.follow(&path)] {
            if let Some(node) = node.map_err(unreadable)? {
                let owners = fresh.database.owners(&node.path).iter().cloned();
                found.extend(owners.map(|package| (package, node.path.clone())));
            }
        }
    }
    Ok(found)
}

/// Finds a component for everything the files of `part` need.
///
/// # Errors
/// [`Error::Unresolved`] with a line for every need that none, or more than one equally preferred, component meets.
pub(crate) fn resolve(
    part: &Part,
    fresh: &Fresh,
    library: &Library,
    parts: &Parts,
) -> Result<Resolved> {
    let below = closure(&part.requires, parts);
    let allowed = &library.recipe(&part.name)?.allow_missing;
    let mut resolved = Resolved::default();
    let mut outside: BTreeMap<(String, _), NeededSoname> = BTreeMap::new();
    let mut missing = BTreeSet::new();
    for want in wants(fresh) {
        if want.met_by(part) {
            if let What::Library(need) = &want.what
                && !part
                    .sonames
                    .iter()
                    .any(|s| s.soname == need.need.soname && s.public)
            {
                resolved.private.insert(need.need.soname.clone());
            }
            continue;
        }
        if !below.iter().any(|b| want.met_by(b)) {
            match choose(&want, part, parts) {
                Ok(Some(provider)) => {
                    resolved.components.insert(provider.clone());
                }
                _ if allowed.contains(&want.key) => {
                    resolved.private.insert(want.key);
                    continue;
                }
                Ok(None) => {
                    missing.insert(advice(&want, fresh, part)?);
                    continue;
                }
                Err(several) => {
                    missing.insert(format!(
                        "{} needs `{}`, which {several} provide (name the one that is meant in `requires`)",
                        want.file, want.key
                    ));
                    continue;
                }
            }
        }
        if let What::Library(need) = want.what {
            let need = &need.need;
            let entry = outside.entry((need.soname.clone(), need.machine));
            entry
                .or_insert_with(|| NeededSoname {
                    versions: BTreeSet::new(),
                    ..need.clone()
                })
                .versions
                .extend(need.versions.iter().cloned());
        }
    }
    if !missing.is_empty() {
        return Err(Error::Unresolved {
            component: part.name.clone(),
            missing: missing.into_iter().collect(),
        });
    }
    resolved.sonames = outside.into_values().collect();
    Ok(resolved)
}

/// The one provider with the highest preference, or the names of several.
fn choose<'a>(
    want: &Want<'_>,
    part: &Part,
    parts: &'a Parts,
) -> Result<Option<&'a ComponentName>, String> {
    let providers: Vec<&Part> = parts
        .values()
        .filter(|p| p.name != part.name && want.met_by(p))
        .collect();
    let Some(best) = providers.iter().map(|p| p.preference).max() else {
        return Ok(None);
    };
    let best: Vec<&&Part> = providers.iter().filter(|p| p.preference == best).collect();
    match best[..] {
        [one] => Ok(Some(&one.name)),
        _ => Err(best
            .iter()
            .map(|p| format!("`{}`", p.name))
            .collect::<Vec<_>>()
            .join(" and ")),
    }
}

/// What a person can do about a need that nobody meets.
fn advice(want: &Want<'_>, fresh: &Fresh, part: &Part) -> Result<String> {
    let versions = match &want.what {
        What::Library(need) if !need.need.versions.is_empty() => {
            let versions: Vec<&str> = need.need.versions.iter().map(String::as_str).collect();
            format!(" ({})", versions.join(", "))
        }
        _ => String::new(),
    };
    let needs = format!("{} needs `{}`{versions}", want.file, want.key);
    let optional = format!(
        "or, if it is optional, `allow_missing: [{}]` to {}.yaml",
        want.key, part.name
    );
    Ok(match sources(want, fresh)?.into_iter().next() {
        Some((package, path)) => format!(
            "{needs}: package `{package}` has it (add a recipe with `packages: [{package}]`, or \
             `slices: {{{package}: [{path}]}}` to {}.yaml, {optional})",
            part.name
        ),
        None => format!(
            "{needs}: no installed package has it (add the package that has it to `packages`, {optional})"
        ),
    })
}
