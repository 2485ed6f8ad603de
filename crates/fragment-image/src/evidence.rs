//! Paths of an image that something needs: its entrypoint, its own programs, what stays.

use std::collections::{BTreeMap, BTreeSet};

use fragment::Library;
use fragment_analysis::elf::{self, FileSource};
use fragment_analysis::{Task, shebang};
use fragment_sys::root::Root;
use fragment_types::path::merged_usr;

use crate::decision::{Decision, state_of};
use crate::dpkg::Database;
use crate::error::ImageError;
use crate::inventory::{Inventory, NodeKind};
use crate::view::{Step, View};

/// Longest `#!` line the kernel reads (execve(2)).
const SHEBANG: u64 = 256;
/// Most of the image's own programs that are analysed one by one.
const MAX_PROGRAMS: usize = 256;

/// What analysis finds that `task` and the image's own programs use of what the image holds. Words of scripts count: a command
/// that a script names is the image's own, not another of that name.
pub(crate) fn of_programs(
    inventory: &Inventory,
    database: &Database,
    library: &Library,
    task: &Task,
) -> Result<BTreeSet<String>, ImageError> {
    let root = Root::open(inventory.host_path())?;
    let mut evidence = BTreeSet::new();
    let mut tasks = vec![task.clone()];
    tasks.extend(programs(inventory, database)?.into_iter().map(|path| Task {
        argv: vec![path],
        ..task.clone()
    }));
    for task in tasks {
        // a program that cannot run in the whole image needs nothing of it
        let Ok(analysis) = fragment_analysis::analyse(&root, &task, library) else {
            continue;
        };
        let found = analysis.requirements.into_iter();
        for path in found.filter_map(|requirement| requirement.satisfied_by) {
            evidence.extend(resolved(inventory, &path));
        }
    }
    Ok(evidence)
}

/// Executable ELF files and scripts that no package owns and that are no package's state, as the scripts of dpkg's database
/// are.
pub(crate) fn programs(
    inventory: &Inventory,
    database: &Database,
) -> Result<Vec<String>, ImageError> {
    let mut programs = Vec::new();
    for (path, node) in &inventory.nodes {
        if matches!(node.kind, NodeKind::File { .. })
            && node.mode & 0o111 != 0
            && database.owners(path).is_empty()
            && state_of(path).is_none_or(|name| !database.packages.contains_key(name))
            && programs.len() < MAX_PROGRAMS
        {
            let prefix = inventory.prefix(path, SHEBANG)?;
            if elf::is_elf(&prefix) || interpreter(&prefix).is_some() {
                programs.push(node.real.clone());
            }
        }
    }
    Ok(programs)
}

/// The path and where it leads, unless that is a directory, which many packages have.
pub(crate) fn resolved(inventory: &Inventory, path: &str) -> Vec<String> {
    let nodes = &inventory.nodes;
    let view = View::new(|path: &str| nodes.get(path).map(Step::of_node));
    let mut paths = vec![merged_usr(path).into_owned()];
    paths.extend(view.resolve(path));
    paths.retain(|path| nodes.get(path).is_some_and(|node| !node.is_directory()));
    paths
}

/// Interpreters and libraries of the programs that stay, so far as they are in the image.
pub(crate) fn of_what_stays(
    inventory: &Inventory,
    decision: &Decision,
) -> Result<BTreeSet<String>, ImageError> {
    let mut libraries: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for path in inventory.nodes.keys().filter(|path| path.contains(".so")) {
        let name = path
            .rsplit_once('/')
            .map_or(path.as_str(), |(_, name)| name);
        libraries.entry(name).or_default().push(path);
    }
    let mut evidence = BTreeSet::new();
    for (path, node) in &inventory.nodes {
        if !matches!(node.kind, NodeKind::File { size } if size > 4) || !decision.stays(path) {
            continue;
        }
        let prefix = inventory.prefix(path, SHEBANG)?;
        if elf::is_elf(&prefix) {
            let Some((interpreter, needed)) = links(inventory, path)? else {
                continue;
            };
            if let Some(path) = interpreter {
                evidence.extend(resolved(inventory, &path));
            }
            let found = needed
                .iter()
                .filter_map(|name| libraries.get(name.as_str()));
            for path in found.flatten() {
                evidence.extend(resolved(inventory, path));
            }
        } else if node.mode & 0o111 != 0
            && let Some(interpreter) = interpreter(&prefix)
        {
            evidence.extend(resolved(inventory, &interpreter));
        }
    }
    Ok(evidence)
}

/// Interpreter and needed sonames of an ELF file; nothing for one that is damaged, which nobody loads.
#[expect(clippy::type_complexity, reason = "one caller")]
fn links(
    inventory: &Inventory,
    path: &str,
) -> Result<Option<(Option<String>, Vec<String>)>, ImageError> {
    let file = inventory.open(path)?;
    let source = FileSource::new(file).map_err(ImageError::io("read", path))?;
    Ok(elf::parse(&source)
        .ok()
        .map(|elf| (elf.interpreter, elf.needed)))
}

fn interpreter(prefix: &[u8]) -> Option<String> {
    match shebang::parse(prefix) {
        shebang::Line::Script(line) => String::from_utf8(line.interpreter).ok(),
        _ => None,
    }
}
