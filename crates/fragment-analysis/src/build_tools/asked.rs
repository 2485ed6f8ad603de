//! What descriptions of builds ask for, and the languages they name.

use std::collections::{BTreeMap, BTreeSet};

use crate::words::interpreter;

/// Most things of one kind that are taken from one description.
const MAX_NAMES: usize = 256;
/// Longest name that is taken.
const MAX_NAME: usize = 256;
/// Languages as CMake and Meson call them, in lower case, with the command that compiles them on a Debian system.
const LANGUAGES: &[(&str, &str)] = &[
    ("asm", "cc"),
    ("c", "cc"),
    ("cpp", "c++"),
    ("cs", "mcs"),
    ("csharp", "mcs"),
    ("cuda", "nvcc"),
    ("cxx", "c++"),
    ("cython", "cython3"),
    ("d", "ldc2"),
    ("fortran", "gfortran"),
    ("java", "javac"),
    ("nasm", "nasm"),
    ("objc", "cc"),
    ("objcpp", "c++"),
    ("objcxx", "c++"),
    ("rust", "rustc"),
    ("swift", "swiftc"),
    ("vala", "valac"),
];
/// Commands that compile, with the variable that names another in their place.
const COMPILERS: &[(&str, &str)] = &[
    ("c++", "CXX"),
    ("cc", "CC"),
    ("f77", "FC"),
    ("g++", "CXX"),
    ("gfortran", "FC"),
];
/// What make and SCons make files with of themselves, by the ends of the names of their sources.
const SUFFIXES: &[(&str, &str)] = &[
    ("C", "g++"),
    ("c", "cc"),
    ("cc", "g++"),
    ("cpp", "g++"),
    ("cxx", "g++"),
    ("f", "f77"),
    ("l", "lex"),
    ("y", "yacc"),
];

/// Packages of CMake's own modules that are commands (cmake-modules(7)).
const PACKAGE_COMMANDS: &[(&str, &str)] = &[
    ("BISON", "bison"),
    ("CUDA", "nvcc"),
    ("CUDAToolkit", "nvcc"),
    ("Doxygen", "doxygen"),
    ("FLEX", "flex"),
    ("Git", "git"),
    ("Java", "javac"),
    ("Perl", "perl"),
    ("PkgConfig", "pkg-config"),
    ("Python", "python3"),
    ("Python3", "python3"),
    ("PythonInterp", "python3"),
    ("SWIG", "swig"),
];
/// Those that are libraries, with their modules of pkg-config where these are called otherwise.
const PACKAGE_MODULES: &[(&str, &str)] = &[
    ("CURL", "libcurl"),
    ("CURSES", "ncurses"),
    ("Curses", "ncurses"),
    ("Freetype", "freetype2"),
    ("GLEW", "glew"),
    ("GTest", "gtest"),
    ("JPEG", "libjpeg"),
    ("LibLZMA", "liblzma"),
    ("LibXml2", "libxml-2.0"),
    ("OpenGL", "gl"),
    ("PNG", "libpng"),
    ("PostgreSQL", "libpq"),
    ("SDL2", "sdl2"),
    ("SQLite3", "sqlite3"),
    ("TIFF", "libtiff-4"),
    ("X11", "x11"),
];

/// What a description asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// Commands, with what says so.
    pub(super) commands: BTreeMap<String, String>,
    /// Sources of C and its kin, as they are spelled.
    pub(super) sources: BTreeSet<String>,
    /// Whether sources are named by patterns.
    pub(super) patterns: bool,
    /// Files without the end of their names (`h` of `h.o`): which source there is says what makes them.
    pub(super) stems: BTreeSet<String>,
    /// Modules of pkg-config.
    pub(super) modules: BTreeSet<String>,
    /// Packages that CMake looks for.
    pub(super) packages: BTreeSet<String>,
    /// Libraries that are linked, as `-l` names them.
    pub(super) libraries: BTreeSet<String>,
    /// Macros of m4 that files in `/usr/share/aclocal` define.
    pub(super) macros: BTreeSet<String>,
    /// Directories of headers.
    pub(super) includes: BTreeSet<String>,
    /// Directories with descriptions of their own.
    pub(super) directories: BTreeSet<String>,
    /// Command lines, for a shell.
    pub(super) text: String,
}

impl Asked {
    pub(super) fn command(&mut self, name: &str, why: &str) {
        if self.commands.len() < MAX_NAMES && crate::words::is_command_name(name) {
            let why = || why.chars().take(80).collect();
            self.commands.entry(name.to_owned()).or_insert_with(why);
        }
    }

    /// The compiler of a language; whether there is one.
    pub(super) fn language(&mut self, name: &str, why: &str) -> bool {
        let lower = name.to_ascii_lowercase();
        let found = LANGUAGES.iter().find(|(language, _)| *language == lower);
        if let Some((_, command)) = found {
            self.command(command, why);
        }
        found.is_some()
    }

    /// A word that may be a source.
    pub(super) fn source(&mut self, word: &str) {
        if interpreter::is_c_source(word) {
            if word.contains(['*', '%']) {
                self.patterns = true;
            } else {
                add(&mut self.sources, word);
            }
        }
    }
}

/// Adds a name that holds nothing to be expanded.
pub(super) fn add(names: &mut BTreeSet<String>, name: &str) {
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !"$*?<>|;&()`\"'".contains(c);
    if names.len() < MAX_NAMES
        && !name.is_empty()
        && name.len() <= MAX_NAME
        && name.chars().all(plain)
    {
        names.insert(name.to_owned());
    }
}

/// The variable that names another compiler in the place of this one.
pub(super) fn variable_of(command: &str) -> Option<&'static str> {
    let found = COMPILERS.iter().find(|(name, _)| *name == command);
    found.map(|(_, variable)| *variable)
}

/// Whether a variable names a compiler.
pub(super) fn is_compiler_variable(name: &str) -> bool {
    COMPILERS.iter().any(|(_, variable)| *variable == name)
}

/// Whether a command links what it compiles with the C library.
pub(super) fn links(command: &str) -> bool {
    variable_of(command).is_some()
}

/// The command that a package of CMake is.
pub(super) fn command_of_package(package: &str) -> Option<&'static str> {
    let found = PACKAGE_COMMANDS.iter().find(|(name, _)| *name == package);
    found.map(|(_, command)| *command)
}

/// The module of pkg-config that a package of CMake is; its own name where nothing else is known.
pub(super) fn module_of_package(package: &str) -> &str {
    let found = PACKAGE_MODULES.iter().find(|(name, _)| *name == package);
    found.map_or(package, |(_, module)| *module)
}

/// What a source is made into something else with.
pub(super) fn maker_of(source: &str) -> Option<&'static str> {
    let (_, suffix) = source.rsplit_once('.')?;
    let found = SUFFIXES.iter().find(|(own, _)| *own == suffix);
    found.map(|(_, command)| *command)
}

/// Suffixes of sources.
pub(super) fn suffixes() -> impl Iterator<Item = &'static str> {
    SUFFIXES.iter().map(|(suffix, _)| *suffix)
}
