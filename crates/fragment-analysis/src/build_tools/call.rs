//! Command lines of tools that build: which descriptions they read, and what they run in any case.

use crate::task::Task;
use crate::words::{Word, file_name};

/// What a description is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Cmake,
    CmakeScript,
    /// `CMakeCache.txt` of a directory that is configured.
    CmakeCache,
    Meson,
    Ninja,
    Scons,
    Make,
    Configure,
    Automake,
    /// A `Makefile.in`.
    Template,
}

impl Format {
    /// Whether a text has what a description in this format begins with.
    pub(super) fn is_begun_by(self, text: &str) -> bool {
        let has = |pieces: &[&str]| pieces.iter().any(|piece| text.contains(piece));
        match self {
            Self::Cmake => has(&["project(", "add_executable(", "cmake_minimum_required("]),
            Self::Meson => has(&["project('"]),
            Self::Ninja => text.starts_with("rule ") || has(&["\nrule "]),
            Self::Scons => has(&["Program(", "Library("]),
            Self::Make => has(&["\n\t", ":;", ": ;"]),
            Self::Configure => has(&["AC_INIT"]),
            Self::Automake => has(&["_PROGRAMS", "_SOURCES"]),
            Self::CmakeScript | Self::CmakeCache | Self::Template => false,
        }
    }

    /// Files of a directory in this format, the first that is there counts.
    pub(super) fn files(self) -> &'static [&'static str] {
        match self {
            Self::Cmake => &["CMakeLists.txt"],
            Self::CmakeScript => &[],
            Self::CmakeCache => &["CMakeCache.txt"],
            Self::Meson => &["meson.build"],
            Self::Ninja => &["build.ninja"],
            Self::Scons => &["SConstruct", "SConscript"],
            Self::Make => &["GNUmakefile", "makefile", "Makefile"],
            Self::Configure => &["configure.ac", "configure.in"],
            Self::Automake => &["Makefile.am"],
            Self::Template => &["Makefile.in"],
        }
    }
}

/// How a tool was called.
#[derive(Debug, Default)]
pub(super) struct Call {
    /// Descriptions that are looked for.
    pub(super) formats: Vec<Format>,
    /// Directories that the arguments name, of which one has the description.
    pub(super) directories: Vec<String>,
    /// The description itself.
    pub(super) file: Option<String>,
    /// Commands that the tool runs, whatever the description says.
    pub(super) commands: Vec<(&'static str, &'static str)>,
    pub(super) goals: Vec<String>,
    /// Values of variables: `NAME=VALUE`.
    pub(super) variables: Vec<(String, String)>,
}

/// What the words of a command say about a build, if its program is a tool for that.
pub(super) fn of(words: &[Word], task: &Task) -> Option<Call> {
    let (first, arguments) = words.split_first()?;
    let name = file_name(&first.text);
    // only for tools: most commands are none
    let arguments = || -> Vec<&str> {
        let literal = arguments.iter().filter(|word| word.literal);
        literal.map(|word| word.text.as_str()).collect()
    };
    match name {
        "cmake" => Some(cmake_call(&arguments(), task.variable("CMAKE_GENERATOR"))),
        "meson" => Some(meson_call(&arguments())),
        "ninja" | "samu" => Some(placed_call(
            Format::Ninja,
            &["-d", "-j", "-k", "-l", "-t", "-w"],
            &arguments(),
        )),
        "scons" => Some(placed_call(Format::Scons, &[], &arguments())),
        "gmake" | "make" => Some(make_call(&arguments())),
        "aclocal" | "autoconf" | "autoheader" | "automake" | "autoreconf" => {
            Some(autotools_call(name, &arguments()))
        }
        "configure" => {
            let beside = first.text.strip_suffix("configure")?;
            Some(Call {
                formats: vec![Format::Configure, Format::Automake, Format::Template],
                directories: vec![beside.to_owned()],
                ..Call::default()
            })
        }
        _ => None,
    }
}

/// The value of an option in its own word or the next: `-G Ninja`, `-GNinja`.
fn value<'a>(
    option: &str,
    word: &'a str,
    rest: &mut std::slice::Iter<'_, &'a str>,
) -> Option<&'a str> {
    match word.strip_prefix(option)? {
        "" => rest.next().copied(),
        joined => Some(joined.trim_start_matches('=')),
    }
}

fn cmake_call(arguments: &[&str], generator: Option<&str>) -> Call {
    let mut call = Call {
        formats: vec![Format::Cmake],
        ..Call::default()
    };
    let mut generator = generator.unwrap_or_default();
    let mut rest = arguments.iter();
    while let Some(word) = rest.next() {
        if matches!(*word, "-E" | "--find-package" | "--help" | "--version") {
            return Call::default();
        }
        if *word == "-P" {
            call.formats = vec![Format::CmakeScript];
            call.file = rest.next().map(|file| (*file).to_owned());
            return call;
        }
        if matches!(*word, "--build" | "--install" | "--open") {
            call.formats = vec![Format::CmakeCache];
            call.directories
                .extend(rest.next().map(|place| (*place).to_owned()));
            return call;
        }
        if let Some(place) = value("-S", word, &mut rest) {
            call.directories = vec![place.to_owned()];
        } else if let Some(name) = value("-G", word, &mut rest) {
            generator = name;
        } else if matches!(*word, "-A" | "-B" | "-C" | "-D" | "-T" | "-U") {
            rest.next();
        } else if !word.starts_with('-') && call.directories.is_empty() {
            call.directories.push((*word).to_owned());
        }
    }
    call.commands.push(match generator.contains("Ninja") {
        true => ("ninja", "generates build.ninja"),
        false => ("make", "generates makefiles"),
    });
    call
}

fn meson_call(arguments: &[&str]) -> Call {
    const VALUES: &[&str] = &[
        "-C",
        "-D",
        "--backend",
        "--buildtype",
        "--cross-file",
        "--native-file",
        "--prefix",
    ];
    let mut operands = Vec::new();
    let mut rest = arguments.iter();
    while let Some(word) = rest.next() {
        if VALUES.contains(word) {
            rest.next();
        } else if !word.starts_with('-') {
            operands.push((*word).to_owned());
        }
    }
    let mut call = Call::default();
    match operands.first().map(String::as_str) {
        Some("compile" | "dist" | "install" | "test") => {}
        // source and directory of the build are told apart by what is there
        Some("setup") => call.directories = operands.split_off(1),
        // the old way: `meson BUILD [SOURCE]`
        Some(name) if name.contains(['/', '.']) || operands.len() > 1 => {
            call.directories = operands;
        }
        _ => return call,
    }
    if !call.directories.is_empty() {
        call.formats = vec![Format::Meson];
    }
    call.commands = vec![("ninja", "generates build.ninja")];
    call
}

/// `-C DIRECTORY` and `-f FILE`; `values` are the other options with a value in the next word.
fn placed_call(format: Format, values: &[&str], arguments: &[&str]) -> Call {
    let mut call = Call {
        formats: vec![format],
        ..Call::default()
    };
    let mut rest = arguments.iter();
    while let Some(word) = rest.next() {
        if let Some(place) = value("-C", word, &mut rest) {
            call.directories = vec![place.to_owned()];
        } else if let Some(file) = value("-f", word, &mut rest) {
            call.file = Some(file.to_owned());
        } else if values.contains(word) {
            rest.next();
        }
    }
    call
}

fn make_call(arguments: &[&str]) -> Call {
    let mut call = Call {
        formats: vec![Format::Make],
        ..Call::default()
    };
    let mut rest = arguments.iter();
    while let Some(word) = rest.next() {
        if let Some(long) = word.strip_prefix("--") {
            let (name, joined) = long
                .split_once('=')
                .map_or((long, None), |(a, b)| (a, Some(b)));
            let mut value = || joined.or_else(|| rest.next().copied()).map(str::to_owned);
            match name {
                "directory" => call.directories = value().into_iter().collect(),
                "file" | "makefile" => call.file = value(),
                _ => {}
            }
        } else if let Some(cluster) = word.strip_prefix('-') {
            let Some(at) = cluster.find(['C', 'I', 'f', 'o', 'W']) else {
                continue;
            };
            let value = match &cluster[at + 1..] {
                "" => rest.next().copied().unwrap_or_default(),
                joined => joined,
            };
            match &cluster[at..=at] {
                "C" => call.directories = vec![value.to_owned()],
                "f" => call.file = Some(value.to_owned()),
                _ => {}
            }
        } else if let Some((name, value)) = word.split_once('=') {
            let name = name.trim_end_matches([':', '+', '?']);
            call.variables.push((name.to_owned(), value.to_owned()));
        } else if call.goals.len() < 32 && word.len() <= 256 {
            call.goals.push((*word).to_owned());
        }
    }
    if let (Some(place), Some(file)) = (call.directories.first(), &call.file)
        && !file.starts_with('/')
    {
        call.file = Some(format!("{place}/{file}"));
    }
    call
}

fn autotools_call(name: &str, arguments: &[&str]) -> Call {
    let place = arguments.iter().find(|word| !word.starts_with('-'));
    let mut call = Call {
        formats: vec![Format::Configure, Format::Automake],
        ..Call::default()
    };
    if name == "autoreconf" {
        call.directories
            .extend(place.map(|place| (*place).to_owned()));
        // it does so without looking at what is there (autoreconf(1))
        call.commands = vec![("aclocal", "runs aclocal"), ("autoconf", "runs autoconf")];
    }
    call
}
