//! Which components the files of a component need.

use std::collections::{BTreeMap, BTreeSet};

use fragment_types::ComponentName;
use fragment_types::manifest::{NeededSoname, Soname};

use crate::error::{Error, Result};
use crate::index::{COMMAND_DIRECTORIES, FileNeed, Runner};
use crate::library::Library;
use crate::part::{Fresh, Part};
use crate::record::Held;

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

/// What the files of `part` need and neither it nor what it requires anyway has, as far as its root has it. The recipes
/// that hold these files have to be built before the needs can be resolved.
///
/// # Errors
/// Read errors of the root.
pub(crate) fn held(
    part: &Part,
    fresh: &Fresh,
    library: &Library,
    parts: &Parts,
) -> Result<BTreeSet<Held>> {
    let below = closure(&part.requires, parts);
    let allowed = &library.recipe(&part.name)?.allow_missing;
    let mut held = BTreeSet::new();
    for want in wants(fresh) {
        let met = want.met_by(part) || below.iter().any(|b| want.met_by(b));
        if !met && !allowed.contains(&want.key) {
            let sources = sources(&want, fresh)?.into_iter();
            held.extend(sources.map(|(package, path)| Held::find(package, path, library)));
        }
    }
    Ok(held)
}

/// The packages, and their paths, that meet a want in the root.
fn sources(want: &Want<'_>, fresh: &Fresh) -> Result<BTreeSet<(String, String)>> {
    let mut paths: Vec<String> = match &want.what {
        What::Program(paths) => paths.clone(),
        What::Library(need) => need.candidates().collect(),
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
    let mut missing: BTreeMap<String, Missing<'_>> = BTreeMap::new();
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
                Choice::One(provider) => {
                    resolved.components.insert(provider.clone());
                }
                _ if allowed.contains(&want.key) => {
                    resolved.private.insert(want.key);
                    continue;
                }
                choice => {
                    missing
                        .entry(want.key.clone())
                        .or_default()
                        .add(want, choice);
                    continue;
                }
            }
        }
        if let What::Library(FileNeed { need, .. }) = want.what {
            outside
                .entry((need.soname.clone(), need.machine))
                .or_insert_with(|| NeededSoname {
                    versions: BTreeSet::new(),
                    ..need.clone()
                })
                .versions
                .extend(need.versions.iter().cloned());
        }
    }
    if !missing.is_empty() {
        let missing = missing
            .values()
            .map(|m| m.advice(fresh, part))
            .collect::<Result<_>>()?;
        return Err(Error::Unresolved {
            component: part.name.clone(),
            missing,
        });
    }
    resolved.sonames = outside.into_values().collect();
    Ok(resolved)
}

/// Who meets a want.
enum Choice<'a> {
    One(&'a ComponentName),
    None,
    /// Several with the same preference.
    Several(Vec<&'a ComponentName>),
}

/// Those with the highest preference.
fn choose<'a>(want: &Want<'_>, part: &Part, parts: &'a Parts) -> Choice<'a> {
    let providers: Vec<&Part> = parts
        .values()
        .filter(|p| p.name != part.name && want.met_by(p))
        .collect();
    let best = providers.iter().map(|p| p.preference).max();
    let best: Vec<&ComponentName> = providers
        .iter()
        .filter(|p| Some(p.preference) == best)
        .map(|p| &p.name)
        .collect();
    match best[..] {
        [] => Choice::None,
        [one] => Choice::One(one),
        _ => Choice::Several(best),
    }
}

/// One thing that is not there, and the files that need it.
#[derive(Default)]
struct Missing<'a> {
    wants: Vec<Want<'a>>,
    providers: Vec<&'a ComponentName>,
}

impl<'a> Missing<'a> {
    fn add(&mut self, want: Want<'a>, choice: Choice<'a>) {
        self.wants.push(want);
        if let Choice::Several(providers) = choice {
            self.providers = providers;
        }
    }

    /// What a person can do about it.
    fn advice(&self, fresh: &Fresh, part: &Part) -> Result<String> {
        let Some(want) = self.wants.first() else {
            return Ok(String::new());
        };
        let others = match self.wants.len() - 1 {
            0 => " needs".to_owned(),
            1 => " and another file need".to_owned(),
            n => format!(" and {n} other files need"),
        };
        let versions: BTreeSet<&str> = self
            .wants
            .iter()
            .filter_map(|w| {
                if let What::Library(n) = w.what {
                    Some(&n.need.versions)
                } else {
                    None
                }
            })
            .flatten()
            .map(String::as_str)
            .collect();
        let versions = match versions.is_empty() {
            true => String::new(),
            false => format!(" ({})", versions.into_iter().collect::<Vec<_>>().join(", ")),
        };
        let (key, name) = (&want.key, &part.name);
        let needs = format!("{}{others} `{key}`{versions}", want.file);
        if !self.providers.is_empty() {
            let providers: Vec<String> = self.providers.iter().map(|p| format!("`{p}`")).collect();
            let providers = providers.join(" and ");
            return Ok(format!(
                "{needs}, which {providers} provide (name the one that is meant in `requires` of {name}.yaml)"
            ));
        }
        let optional = format!("or, if it is optional, `allow_missing: [{key}]` to {name}.yaml");
        Ok(match sources(want, fresh)?.into_iter().next() {
            Some((package, path)) => format!(
                "{needs}: package `{package}` has it (add a recipe with `packages: [{package}]`, or \
                 `slices: {{{package}: [{path}]}}` to {name}.yaml, {optional})"
            ),
            None => format!(
                "{needs}: no installed package has it (add the package that has it to `packages`, {optional})"
            ),
        })
    }
}
