//! What the files of an added component need of others, found where the world has it.

use std::collections::{BTreeMap, BTreeSet};

use fragment_analysis::words::{file_name, interpreter, is_command_name, shell, wrapper};
use fragment_types::ComponentName;
use fragment_types::manifest::{Command, Machine, NeededSoname};

use crate::added::group::Group;
use crate::added::piece::Piece;
use crate::added::view::View;
use crate::error::{Error, Result};
use crate::index::{COMMAND_DIRECTORIES, FileNeed, Runner};
use crate::tree::{Content, Entry};

/// Largest script whose commands are read, in bytes.
const MAX_SCRIPT: u64 = 256 << 10;

/// What is needed.
#[derive(Debug, Default)]
pub(crate) struct Links {
    /// Components that files need, whatever dependencies say.
    pub(crate) components: BTreeSet<ComponentName>,
    /// Sonames not found inside.
    pub(crate) sonames: Vec<NeededSoname>,
    /// Sonames found inside by RPATH alone or nowhere: not for others to look up.
    pub(crate) private: BTreeSet<String>,
    pub(crate) commands: Vec<Command>,
}

/// Looks for everything that the files of `piece` need.
///
/// # Errors
/// Read errors of the root; that something is not there is none.
pub(crate) fn links(group: &Group, piece: &Piece, view: &View<'_>) -> Result<Links> {
    let mut links = Links::default();
    let mut outside: BTreeMap<(String, _), NeededSoname> = BTreeMap::new();
    let mut known: BTreeMap<String, Found> = BTreeMap::new();
    // the libraries of cross compilers are for other machines' loaders
    for need in piece
        .index
        .needs
        .iter()
        .filter(|n| is_native(n.need.machine))
    {
        let soname = &need.need.soname;
        let key = format!("{soname} {}", need.directories.join(":"));
        let found = match known.get(&key) {
            Some(found) => found.clone(),
            None => {
                let found = library(group, piece, view, need)?;
                known.insert(key, found.clone());
                found
            }
        };
        match found {
            Found::Inside { public: true } => {}
            Found::Inside { public: false } | Found::Nowhere => {
                links.private.insert(soname.clone());
            }
            Found::In(component) => {
                links.components.insert(component);
                outside
                    .entry((soname.clone(), need.need.machine))
                    .or_insert_with(|| need.need.clone())
                    .versions
                    .extend(need.need.versions.iter().cloned());
            }
        }
    }
    links.sonames = outside.into_values().collect();
    for (file, runner) in &piece.index.runners {
        let Some(entry) = piece.tree.entries.get(file) else {
            continue;
        };
        links.components.extend(runners(file, entry, runner, view)?);
    }
    for path in &piece.index.data_paths {
        links.components.extend(named_data(path, view)?);
    }
    links.commands = commands(group, piece, view)?;
    links.components.remove(&group.name);
    Ok(links)
}

/// Whether programs for `machine` run on the machine that is built for.
fn is_native(machine: Machine) -> bool {
    match std::env::consts::ARCH {
        "x86_64" => matches!(machine, Machine::X86_64 | Machine::I386),
        "aarch64" => machine == Machine::Aarch64,
        _ => true,
    }
}

#[derive(Debug, Clone)]
enum Found {
    Inside { public: bool },
    In(ComponentName),
    Nowhere,
}

/// Where the loader finds a soname.
fn library(group: &Group, piece: &Piece, view: &View<'_>, need: &FileNeed) -> Result<Found> {
    let soname = &need.need.soname;
    let configured = view.configured.iter();
    let configured = configured.map(|directory| format!("{directory}/{soname}"));
    for path in need.candidates().chain(configured) {
        if piece.tree.entries.contains_key(&path) {
            let public = |s: &fragment_types::manifest::Soname| s.soname == *soname && s.public;
            let public = piece.index.sonames.iter().any(public);
            return Ok(Found::Inside { public });
        }
        if let Some(component) = holder(view, &path, true)? {
            let inside = component == group.name;
            return Ok(match inside {
                true => Found::Inside { public: false },
                false => Found::In(component),
            });
        }
    }
    Ok(Found::Nowhere)
}

/// The component that holds what the world has at `path`: for commands without what is below every component, whose applets
/// are not what a script of a full root expects. Packages that dependencies are not followed to are there for libraries, where
/// recipes leave them out: what recipes have of them may be a component that the store lacks.
fn holder(view: &View<'_>, path: &str, library: bool) -> Result<Option<ComponentName>> {
    let unreadable = |source| Error::ReadRoot {
        path: path.to_owned(),
        source,
    };
    for node in [view.root.lookup(path), view.root.follow(path)] {
        let Some(node) = node.map_err(unreadable)? else {
            continue;
        };
        if let Some((_, component)) = view.recipes.paths.get(&node.path)
            && (library || !view.recipes.below.contains(component))
        {
            return Ok(Some(component.clone()));
        }
        let component = view.owner(&node.path).and_then(|p| match library {
            true => view.groups.component(p),
            false => view.groups.needed(p),
        });
        if let Some(component) = component {
            return Ok(Some(component.clone()));
        }
    }
    Ok(None)
}

/// The components of a script's interpreter and of the commands it names that every root has.
fn runners(
    file: &str,
    entry: &Entry,
    runner: &Runner,
    view: &View<'_>,
) -> Result<Vec<ComponentName>> {
    let Content::File { source, .. } = &entry.content else {
        return Ok(Vec::new());
    };
    let unreadable = |source| Error::ReadRoot {
        path: file.to_owned(),
        source,
    };
    let head = source.head(MAX_SCRIPT).map_err(unreadable)?;
    // a program's loader is below every component
    if !head.starts_with(b"#!") {
        return Ok(Vec::new());
    }
    let (name, paths) = match runner {
        Runner::Path(path) => (file_name(path), vec![path.clone()]),
        Runner::Command(name) => {
            let paths = COMMAND_DIRECTORIES.iter().map(|d| format!("{d}/{name}"));
            (name.as_str(), paths.collect())
        }
    };
    let mut found = Vec::new();
    for path in paths {
        if let Some(component) = holder(view, &path, false)? {
            found.push(component);
            break;
        }
    }
    if interpreter::is_shell(name) {
        let text = String::from_utf8_lossy(&head);
        for read in shell::read(&text, file).commands {
            let inner = wrapper::inner(&read.words);
            for command in std::iter::once(&read.words).chain(&inner) {
                let name = command
                    .first()
                    .filter(|w| w.literal)
                    .map(|w| file_name(&w.text));
                let name = name.filter(|n| is_command_name(n) && !shell::is_builtin(n));
                found.extend(name.and_then(|n| view.essential.get(n)).cloned());
            }
        }
    }
    Ok(found)
}

/// The component of data that an object names by its path and every root has, so that no dependency says so: dpkg's tables for
/// libapt-pkg.
fn named_data(path: &str, view: &View<'_>) -> Result<Option<ComponentName>> {
    let Some(package) = view.owner(path).filter(|p| view.groups.is_essential(p)) else {
        return Ok(None);
    };
    let node = view.root.lookup(path).map_err(|source| Error::ReadRoot {
        path: path.to_owned(),
        source,
    })?;
    let is_there =
        node.is_some_and(|node| node.is_file()) && !view.recipes.paths.contains_key(path);
    Ok(view.groups.needed(package).filter(|_| is_there).cloned())
}

/// The executables in command directories. A name that several packages can answer to is a command of the one that it
/// leads to in the world.
fn commands(group: &Group, piece: &Piece, view: &View<'_>) -> Result<Vec<Command>> {
    let mut commands = Vec::new();
    let choices = group.members.iter().flat_map(|m| view.alternatives(m));
    let (current, other): (Vec<_>, Vec<_>) = choices.partition(|c| c.current);
    let leads_elsewhere = |path: &String| {
        other.iter().any(|c| c.link == *path) && !current.iter().any(|c| c.link == *path)
    };
    for (path, entry) in &piece.tree.entries {
        let Some((directory, name)) = path.rsplit_once('/') else {
            continue;
        };
        if !COMMAND_DIRECTORIES.contains(&directory) || leads_elsewhere(path) {
            continue;
        }
        let executable = match &entry.content {
            Content::File { .. } => entry.mode & 0o111 != 0,
            Content::Directory => false,
            Content::Symlink(_) => {
                let node = view.root.follow(path).map_err(|source| Error::ReadRoot {
                    path: path.clone(),
                    source,
                })?;
                node.is_some_and(|n| {
                    use std::os::unix::fs::MetadataExt as _;
                    n.is_file() && n.metadata.mode() & 0o111 != 0
                })
            }
        };
        if executable {
            commands.push(Command {
                name: name.to_owned(),
                path: path.clone(),
            });
        }
    }
    commands.sort();
    Ok(commands)
}
