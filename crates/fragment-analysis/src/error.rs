//! Why an entrypoint cannot be run, whatever the library holds.

use std::collections::BTreeSet;

use fragment_sys::root::RootError;
use fragment_types::CatalogueError;

use crate::elf::ElfError;
use crate::shebang;

/// An entrypoint that cannot be run, whatever the library holds.
///
/// The words before the first detail are those of runc, because engines read them (`permission denied`, `is a directory`,
/// `no such file or directory`, `executable file not found in $PATH`).
#[derive(Debug, thiserror::Error)]
pub enum AnalysisError {
    /// `process.args` is empty.
    #[error("process.args must not be empty: name the command to run")]
    EmptyArgv,
    /// The entry is a directory.
    #[error("exec: \"{command}\": is a directory: permission denied")]
    IsDirectory {
        /// `argv[0]`.
        command: String,
    },
    /// The entry, or an interpreter it names, is not an executable regular file.
    #[error("exec: \"{command}\": permission denied: {path} is not an executable file")]
    NotExecutable {
        /// `argv[0]`.
        command: String,
        /// The file.
        path: String,
    },
    /// The library has the command in a directory that `PATH` does not name.
    #[error(
        "exec: \"{command}\": executable file not found in $PATH: component `{component}` has it as {provided}; \
         add that directory to PATH or give the whole path"
    )]
    NotInPath {
        /// `argv[0]`.
        command: String,
        /// Component that has it.
        component: String,
        /// Where.
        provided: String,
    },
    /// A script whose `#!` line ends in CR LF.
    #[error(
        "exec: \"{command}\": no such file or directory: the `#!` line of {script} ends in a carriage return, so the \
         interpreter is looked up as {interpreter:?}; save the script with LF line ends"
    )]
    CarriageReturn {
        /// `argv[0]`.
        command: String,
        /// The script.
        script: String,
        /// The interpreter's name as looked up.
        interpreter: String,
    },
    /// Scripts that interpret one another, too many for the kernel.
    #[error(
        "exec: \"{command}\": too many levels of symbolic links: {script} is the interpreter of a script, itself a script, \
         and nested more than {} deep",
        shebang::MAX_DEPTH
    )]
    TooManyInterpreters {
        /// `argv[0]`.
        command: String,
        /// The script that is one too many.
        script: String,
    },
    /// A file of the bundle that would be loaded is no sound ELF file.
    #[error("{path} of the root filesystem cannot be loaded")]
    Elf {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: ElfError,
    },
    /// A library of the bundle lacks symbol versions. Components lie below the bundle, so none can replace it.
    #[error(
        "{user} needs {} of {soname}, which the bundle's own {path} does not define; update that file, or remove it \
         from the bundle so that a component can supply it",
        list(missing)
    )]
    SymbolVersion {
        /// The file that needs them.
        user: String,
        /// The soname.
        soname: String,
        /// The library that is loaded.
        path: String,
        /// Versions it does not define.
        missing: BTreeSet<String>,
    },
    /// A program for another C library lacks a shared object.
    #[error(
        "{user} needs {soname} for {interpreter}, a C library that no component is built for; add {soname} to the bundle"
    )]
    ForeignLibc {
        /// The file that needs it.
        user: String,
        /// The soname.
        soname: String,
        /// The program interpreter.
        interpreter: String,
    },
    /// More shared objects than any real program has.
    #[error("{path} needs more than {limit} shared objects")]
    TooManyLibraries {
        /// The program.
        path: String,
        /// The limit.
        limit: usize,
    },
    /// Search paths that lead to more places than any real ones.
    #[error(
        "{path} and what it loads lead to more than {limit} look-ups of shared objects; shorten its RPATH or LD_LIBRARY_PATH"
    )]
    TooManyPlaces {
        /// The program.
        path: String,
        /// The limit.
        limit: usize,
    },
    /// The rootfs cannot be read.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The catalogue cannot be read.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

/// What an engine should make of an [`AnalysisError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnalysisErrorKind {
    /// As execve's ENOENT: exit code 127 in docker and podman.
    NotFound,
    /// As execve's EACCES: exit code 126 in docker and podman.
    NotExecutable,
    /// Anything else.
    Other,
}

impl AnalysisError {
    /// What an engine should make of it.
    #[must_use]
    pub fn kind(&self) -> AnalysisErrorKind {
        match self {
            Self::NotInPath { .. } | Self::CarriageReturn { .. } => AnalysisErrorKind::NotFound,
            Self::IsDirectory { .. }
            | Self::NotExecutable { .. }
            | Self::Root(RootError::PermissionDenied { .. }) => AnalysisErrorKind::NotExecutable,
            _ => AnalysisErrorKind::Other,
        }
    }

    /// Whether it is about the library and not about the bundle.
    pub(crate) fn is_fatal(&self) -> bool {
        matches!(self, Self::Catalogue(_) | Self::Root(RootError::NoOpenat2))
    }
}

/// `a, b and c`.
pub(crate) fn list(names: &BTreeSet<String>) -> String {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    match names.as_slice() {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}
