//! The check of a composition: will the files of the bundle, which lie on top, do for the components below them?

use std::collections::{BTreeSet, HashMap};

use fragment_sys::root::{Kind, Root};
use fragment_types::catalogue::SonameProvider;
use fragment_types::manifest::{Machine, NeededSoname};
use fragment_types::path::merged_usr;
use fragment_types::{Catalogue, CatalogueError, ComponentIndex, ComponentName};

use crate::elf::{self, Elf, ElfError, FileSource};
use crate::error::list;
use crate::loader::Loader;
use crate::task::Task;

/// A composition that cannot work, or cannot be checked.
#[derive(Debug, thiserror::Error)]
pub enum MergedError {
    /// Libraries of the bundle hide those that components need.
    #[error("{}", Lines(.0))]
    Mismatch(Vec<MergedMismatch>),
    /// The catalogue cannot be read.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

/// A library of the bundle that hides the one that a component needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "component `{component}` needs {soname}, and the bundle's own {path}, which lies above every component, {problem}; \
     update that file, or remove it from the bundle so that a component can supply it"
)]
pub struct MergedMismatch {
    /// The component that needs it.
    pub component: ComponentName,
    /// The soname.
    pub soname: String,
    /// The bundle's file that the loader would take.
    pub path: String,
    /// Why it will not do.
    pub problem: MergedProblem,
}

/// Why a library of the bundle will not do for a component.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergedProblem {
    /// It does not define symbol versions that the component needs.
    #[error("does not define {}", list(.0))]
    Versions(BTreeSet<String>),
    /// It is built for another C library.
    #[error("is built for another C library ({0})")]
    ForeignLibc(String),
    /// It is one half of a C library, and the component's half is of another release: loader and libc share private data.
    #[error("is of another release of the C library than the component's other half of it, {0}")]
    OtherRelease(String),
    /// It is no sound ELF file.
    #[error("is damaged: {0}")]
    Damaged(String),
}

struct Lines<'a>(&'a [MergedMismatch]);

impl std::fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, mismatch) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{mismatch}")?;
        }
        Ok(())
    }
}

/// Checks the libraries that the chosen components need against those of the bundle, as the loader will find them in the
/// composed root: directory by directory, the bundle's file before any component's.
///
/// # Errors
/// [`MergedError::Mismatch`] with everything that does not fit, in the order of components and sonames.
pub fn check_merged(
    root: &Root,
    library: &dyn Catalogue,
    chosen: &[ComponentIndex],
    task: &Task,
) -> Result<(), MergedError> {
    let mut mismatches = Vec::new();
    let mut winners = Winners::new(root, library, chosen, task);
    for index in chosen {
        let summary = library.component(*index)?;
        for need in &summary.needs {
            if need.machine == Machine::Other {
                continue;
            }
            let Some(path) = winners.of(&need.soname, need.machine)? else {
                continue;
            };
            if let Some(problem) = problem(root, &path, need) {
                mismatches.push(MergedMismatch {
                    component: summary.name.clone(),
                    soname: need.soname.clone(),
                    path,
                    problem,
                });
            }
        }
    }
    mismatches.extend(mixed_libc(&mut winners)?);
    mismatches.sort_by(|a, b| (&a.component, &a.soname).cmp(&(&b.component, &b.soname)));
    if mismatches.is_empty() {
        Ok(())
    } else {
        Err(MergedError::Mismatch(mismatches))
    }
}

/// glibc's loader and libc, which only work in the same release; the path is the one that programs name in PT_INTERP.
const LOADER: (&str, &str) = ("ld-linux-x86-64.so.2", "/lib64/ld-linux-x86-64.so.2");
const LIBC: &str = "libc.so.6";

/// A bundle that holds one of loader and libc, where a component of another release supplies the other. Symbol versions do not
/// show it (`GLIBC_PRIVATE` is in every release), but the set of versions that either defines names the release.
fn mixed_libc(winners: &mut Winners<'_>) -> Result<Option<MergedMismatch>, CatalogueError> {
    let machine = Machine::X86_64;
    let libc = winners.of(LIBC, machine)?;
    let (root, library) = (winners.root, winners.library);
    let paths = [LOADER.1, "/usr/lib64/ld-linux-x86-64.so.2"];
    let loader = paths
        .iter()
        .find_map(|path| root.lookup(path).ok().flatten())
        .map(|found| found.path);
    let (soname, path, other) = match (libc, loader) {
        (Some(libc), None) => (LIBC, libc, LOADER.0),
        (None, Some(loader)) => (LOADER.0, loader, LIBC),
        _ => return Ok(None),
    };
    let Ok(own) = parsed(root, &path) else {
        return Ok(None);
    };
    let providers = library.providing_soname(soname)?;
    let same_role = |provider: &&SonameProvider| {
        winners.chosen.contains(&provider.component)
            && provider.machine == machine
            && provider.public
    };
    let Some(provider) = providers.iter().find(same_role) else {
        return Ok(None);
    };
    if own.versions_defined == provider.versions {
        return Ok(None);
    }
    Ok(Some(MergedMismatch {
        component: library.component(provider.component)?.name,
        soname: soname.to_owned(),
        path,
        problem: MergedProblem::OtherRelease(other.to_owned()),
    }))
}

/// The files of the bundle that the loader takes for sonames. Hundreds of components need the same few: each is looked for once.
struct Winners<'a> {
    root: &'a Root,
    library: &'a dyn Catalogue,
    chosen: BTreeSet<ComponentIndex>,
    task: &'a Task,
    /// Where the loader looks, by machine.
    directories: HashMap<Machine, Vec<String>>,
    known: HashMap<(String, Machine), Option<String>>,
}

impl<'a> Winners<'a> {
    fn new(
        root: &'a Root,
        library: &'a dyn Catalogue,
        chosen: &[ComponentIndex],
        task: &'a Task,
    ) -> Self {
        Self {
            root,
            library,
            chosen: chosen.iter().copied().collect(),
            task,
            directories: HashMap::new(),
            known: HashMap::new(),
        }
    }

    /// The bundle's file, if the loader takes that.
    fn of(&mut self, soname: &str, machine: Machine) -> Result<Option<String>, CatalogueError> {
        let key = (soname.to_owned(), machine);
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        let (root, task) = (self.root, self.task);
        // The loader is a component's, which knows no /lib64; LD_LIBRARY_PATH goes before everything.
        let directories = self
            .directories
            .entry(machine)
            .or_insert_with(|| Loader::new(root, task, "", false, machine).public_directories())
            .clone();
        let found = self.find(soname, machine, &directories)?;
        self.known.insert(key, found.clone());
        Ok(found)
    }

    fn find(
        &self,
        soname: &str,
        machine: Machine,
        directories: &[String],
    ) -> Result<Option<String>, CatalogueError> {
        let mut providers = None;
        for directory in directories {
            let path = format!("{directory}/{soname}");
            let merged = merged_usr(&path);
            // Where the bundle has no /lib, core's link makes it /usr/lib in the composed root.
            for path in [path.as_str(), merged.as_ref()] {
                if let Ok(Some(found)) = self.root.lookup(path)
                    && found.kind == Kind::File
                    && parsed(self.root, &found.path).map_or(true, |elf| elf.machine == machine)
                {
                    return Ok(Some(found.path));
                }
            }
            let providers = match &mut providers {
                Some(providers) => providers,
                none => none.insert(self.library.providing_soname(soname)?),
            };
            if providers.iter().any(|provider| {
                let directory = provider
                    .path
                    .rsplit_once('/')
                    .map(|(directory, _)| directory);
                self.chosen.contains(&provider.component)
                    && provider.machine == machine
                    && directory == merged.rsplit_once('/').map(|(directory, _)| directory)
            }) {
                return Ok(None);
            }
        }
        Ok(None)
    }
}

fn problem(root: &Root, path: &str, need: &NeededSoname) -> Option<MergedProblem> {
    let elf = match parsed(root, path) {
        Ok(elf) => elf,
        Err(problem) => return Some(MergedProblem::Damaged(problem)),
    };
    if let Some(libc) = elf
        .needed
        .iter()
        .find(|name| name.starts_with("libc.musl-") || *name == "libc.so")
    {
        return Some(MergedProblem::ForeignLibc(libc.clone()));
    }
    // A library without any version satisfies every user with a warning (dl_check_map_versions in elf/dl-version.c).
    if elf.versions_defined.is_empty() {
        return None;
    }
    let missing: BTreeSet<String> = need
        .versions
        .difference(&elf.versions_defined)
        .cloned()
        .collect();
    (!missing.is_empty()).then_some(MergedProblem::Versions(missing))
}

fn parsed(root: &Root, path: &str) -> Result<Elf, String> {
    let file = root.open_file(path).map_err(|error| error.to_string())?;
    let source = FileSource::new(file).map_err(|error| ElfError::Read(error).to_string())?;
    elf::parse(&source).map_err(|error| error.to_string())
}
