//! Root filesystem and entrypoint to requirements with evidence.
//!
//! [`analyse`] answers what an entrypoint needs: every requirement says whether the entrypoint can start without it
//! ([`Strength`](fragment_types::Strength)), whether the bundle has it, and by which chain of evidence it was found. Nothing
//! in the rootfs is executed, everything in it is read with limits and inside the root.
//!
//! | module | what it reads |
//! |---|---|
//! | [`elf`] | ELF files, as the kernel and the dynamic loader read them |
//! | [`shebang`] | `#!` lines, as the kernel reads them |
//! | [`env_command`] | command lines of env(1), `-S` included |
//! | [`words`] | command lines and shell texts: which commands they name |
//! | [`imports`] | texts of Python, Perl, Ruby, JavaScript, PHP, Lua, Tcl, R, QML and C: what they load and run |
//! | [`python`] | imports of Python texts |
//! | [`address`] | words that are network addresses |
//!
//! # What is hard and what is soft
//!
//! Hard is what execve and the dynamic loader need before the program's first instruction: the entry and the links to it,
//! interpreters, sonames with symbol versions; also those of a program that the entry surely runs in its own place (`tini --
//! PROGRAM`). Everything that words, variables, imports and symbols say is soft: it adds to a composition, and never makes
//! one necessary.
//!
//! # What is an error
//!
//! What no component can mend, because components lie below the bundle: an entry that is not executable, a damaged ELF file,
//! an interpreter of `#!` whose name ends in a carriage return, cyclic links, a library of the bundle that lacks a symbol version
//! ([`AnalysisError::SymbolVersion`]). Of something soft such a thing is only a warning.

mod analyser;
mod applets;
mod build_tools;
mod capability;
mod command_line;
mod compiler;
mod contents;
mod conversions;
mod entry;
mod environment;
mod error;
mod ledger;
mod libraries;
mod library_data;
mod linkers;
mod loader;
mod merged;
mod modules;
mod name_service;
mod named_data;
mod owner;
mod packages;
mod pam;
mod pkg_config;
mod places;
mod program;
mod rules;
mod task;
mod terminals;
mod xml_catalogs;

pub mod address;
pub mod elf;
pub mod env_command;
pub mod imports;
pub mod python;
pub mod shebang;
pub mod words;

use fragment_sys::root::Root;
use fragment_types::plan::Entry;
use fragment_types::{Catalogue, Requirement};

pub use capability::library_imports;
pub use error::{AnalysisError, AnalysisErrorKind};
pub use merged::{MergedError, MergedMismatch, MergedProblem, check_merged};
pub use task::{DEFAULT_PATH, Task};

/// What an entrypoint needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Analysis {
    /// The entrypoint.
    pub entry: Entry,
    /// What it needs, each thing once with the shortest chain of evidence, in the order in which it was found: the entry
    /// first. The same input gives the same order.
    pub requirements: Vec<Requirement>,
    /// What a person should know, sorted.
    pub warnings: Vec<String>,
}

impl Analysis {
    /// Whether the entrypoint cannot start with what the bundle holds.
    #[must_use]
    pub fn is_thin(&self) -> bool {
        ledger::is_thin(&self.requirements)
    }
}

/// Works out what the entrypoint of `task` needs in `root`, and what of that the bundle holds.
///
/// Requirements that the bundle does not hold are for resolution to supply from the library, or to refuse.
///
/// # Errors
/// Where the entrypoint cannot run whatever the library holds, or where rootfs or catalogue cannot be read.
pub fn analyse(
    root: &Root,
    task: &Task,
    library: &dyn Catalogue,
) -> Result<Analysis, AnalysisError> {
    read(root, task, library, false)
}

/// The same for a bundle below which something is put even if it lacks nothing: evidence that would not make a bundle thin is
/// read of every bundle.
///
/// # Errors
/// As [`analyse`].
pub fn analyse_whole(
    root: &Root,
    task: &Task,
    library: &dyn Catalogue,
) -> Result<Analysis, AnalysisError> {
    read(root, task, library, true)
}

fn read(
    root: &Root,
    task: &Task,
    library: &dyn Catalogue,
    whole: bool,
) -> Result<Analysis, AnalysisError> {
    let mut analyser = analyser::Analyser::new(root, task, library);
    let (entry, context) = analyser.entry()?;
    analyser.spare_for_words();
    analyser.command_line(&context)?;
    analyser.environment(&context)?;
    analyser.pending_programs()?;
    if whole || analyser.ledger.is_thin() {
        analyser.own_files()?;
        analyser.conversions()?;
        analyser.library_data()?;
        analyser.terminal()?;
        analyser.pam()?;
        analyser.built_locale()?;
        if entry.in_bundle {
            analyser.dangling_links(&entry.path, &context)?;
        }
    }
    Ok(Analysis {
        entry,
        warnings: analyser.warnings.into_iter().collect(),
        requirements: analyser.ledger.into_requirements(),
    })
}
