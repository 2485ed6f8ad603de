//! Tools that build what a description in the bundle says: CMake, Meson, Ninja, make and the autotools.
//!
//! Such a tool runs compilers and other commands that no word names. Its description is looked for in the directory that its
//! arguments name, in the one that a `cd` before it leads to, in the working directory, and else in directories that the words before it name
//! (`cp -r /data /tmp/s && cd /tmp/s && autoreconf`). Nothing is evaluated: what a description names counts, whatever its
//! conditions.

use fragment_sys::root::Kind;
use fragment_types::EvidenceKind;

use crate::analyser::{Analyser, Context, clean};
use crate::command_line::word_kind;
use crate::error::AnalysisError;
use crate::libraries::directory;
use crate::words::interpreter::{self, Language};
use crate::words::{Word, file_name};

mod asked;
mod autotools;
mod cmake;
mod make;
mod meson;

use asked::Asked;

/// Longest description that is read.
const MAX_DESCRIPTION: usize = 64 << 10;
/// Most descriptions of one analysis.
const MAX_DESCRIPTIONS: usize = 24;
/// Most directories of words before a tool that are tried for its description, and that have one.
const MAX_NAMED: usize = 48;
const MAX_FOUND: usize = 3;
/// Most entries of a directory that are looked at for sources, and sources that are read for one description.
const MAX_ENTRIES: usize = 256;
const MAX_SOURCES: usize = 64;
/// Deepest nest of descriptions.
const MAX_DEPTH: usize = 4;

/// What a description is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Cmake,
    CmakeScript,
    /// `CMakeCache.txt` of a directory that is configured.
    CmakeCache,
    Meson,
    Ninja,
    Make,
    Configure,
    Automake,
    /// A `Makefile.in`.
    Template,
}

impl Format {
    /// Files of a directory in this format, the first that is there counts.
    fn files(self) -> &'static [&'static str] {
        match self {
            Self::Cmake => &["CMakeLists.txt"],
            Self::CmakeScript => &[],
            Self::CmakeCache => &["CMakeCache.txt"],
            Self::Meson => &["meson.build"],
            Self::Ninja => &["build.ninja"],
            Self::Make => &["GNUmakefile", "makefile", "Makefile"],
            Self::Configure => &["configure.ac", "configure.in"],
            Self::Automake => &["Makefile.am"],
            Self::Template => &["Makefile.in"],
        }
    }
}

/// Directories that words named so far.
#[derive(Debug, Default)]
pub(crate) struct Named {
    /// The last ones, the newest at the end.
    directories: Vec<String>,
    /// Where the last `cd` leads.
    pub(crate) here: Option<String>,
    descriptions: usize,
}

/// How a tool was called.
#[derive(Debug, Default)]
struct Call {
    /// Descriptions that are looked for.
    formats: Vec<Format>,
    /// Directories that the arguments name, of which one has the description.
    directories: Vec<String>,
    /// The description itself.
    file: Option<String>,
    /// Commands that the tool runs, whatever the description says.
    commands: Vec<(&'static str, &'static str)>,
    goals: Vec<String>,
    /// Values of variables: `NAME=VALUE`.
    variables: Vec<(String, String)>,
}

impl Analyser<'_> {
    /// Remembers the directories that the words of a command name.
    pub(crate) fn name_directories(&mut self, words: &[Word]) {
        const NO_FILES: &[&str] = &["[", "echo", "printf", "test"];
        let Some((first, arguments)) = words.split_first() else {
            return;
        };
        let command = file_name(&first.text);
        if NO_FILES.contains(&command) {
            return;
        }
        let changes = matches!(command, "cd" | "chdir" | "pushd");
        for word in arguments {
            let text = word.text.as_str();
            let plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '=';
            let text = match word.literal {
                true => text,
                // `cp /data/* …`
                false => directory(text),
            };
            if !word.literal && text.len() < 2
                || text.is_empty()
                || text.len() > 256
                || text.starts_with('-')
                || text.contains("://")
                || !text.chars().all(plain)
            {
                continue;
            }
            let path = clean(&self.seen_after_cd(text));
            if changes && word.literal {
                self.named.here = Some(path.clone());
            }
            self.named.directories.retain(|one| *one != path);
            if self.named.directories.len() >= MAX_NAMED {
                self.named.directories.remove(0);
            }
            self.named.directories.push(path);
        }
    }

    /// A path as seen from where the last `cd` leads.
    pub(crate) fn seen_after_cd(&self, path: &str) -> String {
        match &self.named.here {
            Some(here) if !path.starts_with('/') => format!("{here}/{path}"),
            _ => self.task.absolute(path),
        }
    }

    /// What a tool that builds runs and reads.
    pub(crate) fn build_tool(
        &mut self,
        words: &[Word],
        context: &Context,
    ) -> Result<(), AnalysisError> {
        let Some(first) = words.first() else {
            return Ok(());
        };
        let Some(call) = self.call(words) else {
            return Ok(());
        };
        let step = context.with(word_kind(first), &first.source, file_name(&first.text));
        for (command, why) in &call.commands {
            self.asked_command(command, &step.with(word_kind(first), &first.source, *why))?;
        }
        if let Some(file) = &call.file {
            let path = clean(&self.seen_after_cd(file));
            let format = call.formats.first().copied();
            return match format {
                Some(format) => self.description(format, &path, &call, 0, &step),
                None => Ok(()),
            };
        }
        for format in &call.formats {
            for path in self.descriptions(*format, &call) {
                self.description(*format, &path, &call, 0, &step)?;
            }
        }
        Ok(())
    }

    /// Descriptions that a tool may mean.
    fn descriptions(&self, format: Format, call: &Call) -> Vec<String> {
        let in_directory = |place: &str| {
            let paths = format.files().iter().map(|name| format!("{place}/{name}"));
            let is_file = |path: &String| {
                let found = self.probe(path);
                found.is_some_and(|found| found.kind == Kind::File)
            };
            paths.map(|path| clean(&path)).find(is_file)
        };
        let named = self.named.directories.iter().rev();
        let mut sure = Vec::new();
        for place in &call.directories {
            sure.push(self.seen_after_cd(place));
            if !place.starts_with('/') {
                // relative to a directory whose name is not that of a `cd`
                sure.extend(named.clone().take(8).map(|base| format!("{base}/{place}")));
            }
        }
        // Meson's may be both its directories
        if sure.is_empty() || format == Format::Meson {
            sure.extend([self.seen_after_cd(""), self.task.absolute("")]);
        }
        if let Some(path) = sure.iter().find_map(|place| in_directory(place)) {
            return vec![path];
        }
        let mut out: Vec<String> = Vec::new();
        for place in named {
            // a file is named for its directory
            let beside = file_name(place).contains('.').then(|| directory(place));
            let found = in_directory(place).or_else(|| in_directory(beside?));
            if let Some(path) = found
                && !out.contains(&path)
                && out.len() < MAX_FOUND
            {
                out.push(path);
            }
        }
        out
    }

    /// A description, once for each way to read it.
    fn description(
        &mut self,
        format: Format,
        path: &str,
        call: &Call,
        depth: usize,
        context: &Context,
    ) -> Result<(), AnalysisError> {
        let key = format!("{format:?} {path} {}", call.goals.join(" "));
        let Some(text) = self.description_text(&key, path, context) else {
            return Ok(());
        };
        let place = directory(path).to_owned();
        let asked = match format {
            Format::Cmake => cmake::read(&text, depth == 0),
            Format::CmakeScript => cmake::read(&text, false),
            Format::CmakeCache => {
                for program in cmake::cached(&text) {
                    let step = context.with(EvidenceKind::Import, path, &program);
                    self.asked_command(&program, &step)?;
                }
                return Ok(());
            }
            Format::Meson => meson::read(&text),
            Format::Configure => autotools::configure(&text),
            Format::Automake => autotools::automake(&text),
            Format::Template => autotools::template(&text),
            Format::Make => self.makefile(text, &place, call, context),
            Format::Ninja => make::ninja(&text),
        };
        self.asked(&asked, path, context)?;
        if depth >= MAX_DEPTH {
            return Ok(());
        }
        for below in &asked.directories {
            let call = Call {
                directories: vec![format!("{place}/{below}")],
                ..Call::default()
            };
            for path in self.descriptions(format, &call) {
                if path.starts_with(&place) {
                    self.description(format, &path, &call, depth + 1, context)?;
                }
            }
        }
        Ok(())
    }

    fn makefile(&mut self, text: String, place: &str, call: &Call, context: &Context) -> Asked {
        let mut all = text.clone();
        for name in make::included(&text) {
            let path = clean(&match name.starts_with('/') {
                true => name.to_owned(),
                false => format!("{place}/{name}"),
            });
            let key = format!("included {path} {}", call.goals.join(" "));
            if let Some(more) = self.description_text(&key, &path, context) {
                all.push('\n');
                all.push_str(&more);
            }
        }
        let goals: Vec<&str> = call.goals.iter().map(String::as_str).collect();
        let before = |name: &str| {
            let found = call.variables.iter().find(|(own, _)| own == name);
            found.map(|(_, value)| value.clone())
        };
        let behind = |name: &str| {
            let value = asked::is_compiler_variable(name).then(|| self.task.variable(name))?;
            value.map(str::to_owned)
        };
        let given = make::Given {
            before: &before,
            behind: &behind,
        };
        make::read(&all, &goals, given)
    }

    fn description_text(&mut self, key: &str, path: &str, context: &Context) -> Option<String> {
        let found = self.probe(path)?;
        if found.kind != Kind::File
            || self.named.descriptions >= MAX_DESCRIPTIONS
            || !self.enter(&format!("description {key}"), &context.soft())
        {
            return None;
        }
        self.named.descriptions += 1;
        self.own_script(&found, context);
        let bytes = self.root.read_prefix(&found.path, MAX_DESCRIPTION).ok()?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        self.may_read(text.len()).then_some(text)
    }

    /// Needs of what a description asks for.
    fn asked(&mut self, asked: &Asked, path: &str, context: &Context) -> Result<(), AnalysisError> {
        let place = directory(path).to_owned();
        let within = |name: &str| match name.starts_with('/') {
            true => clean(name),
            false => clean(&format!("{place}/{name}")),
        };
        let step = |why: &str| context.with(EvidenceKind::Import, path, why).soft();
        for (command, why) in &asked.commands {
            self.asked_command(command, &step(why))?;
        }
        for module in &asked.modules {
            self.pc_file(module, &step(module))?;
        }
        for package in &asked.packages {
            self.cmake_package(package, &step(&format!("find_package({package})")))?;
        }
        for library in &asked.libraries {
            self.library(library, &step(&format!("links {library}")))?;
        }
        for name in &asked.macros {
            let file = format!("/usr/share/aclocal/{name}.m4");
            if self.in_library(&file)?.is_some() {
                self.need_path(&file, &step(name));
            }
        }
        for include in &asked.includes {
            self.add_directory(Language::C, within(include));
        }
        let mut sources: Vec<String> = asked.sources.iter().map(|name| within(name)).collect();
        for stem in &asked.stems {
            let made = asked::suffixes().map(|suffix| within(&format!("{stem}.{suffix}")));
            if let Some(source) = made.into_iter().find(|path| self.probe(path).is_some()) {
                if let Some(command) = asked::maker_of(&source) {
                    self.asked_command(command, &step(file_name(&source)))?;
                }
                sources.push(source);
            }
        }
        if asked.patterns {
            sources.extend(self.sources_in(&place));
        }
        for source in sources.iter().take(MAX_SOURCES) {
            let word = Word::literal(source, path);
            if interpreter::is_c_source(source)
                && let Some((path, text)) = self.read_text(&word, context)
            {
                self.script_text(Language::C, &text, &path, context)?;
            }
        }
        self.shell_text(&asked.text, path, context)
    }

    fn sources_in(&self, place: &str) -> Vec<String> {
        let entries = self.root.read_dir(place, MAX_ENTRIES).ok().flatten();
        let names = entries
            .unwrap_or_default()
            .into_iter()
            .map(|entry| entry.name);
        let sources = names.filter(|name| interpreter::is_c_source(name));
        sources.map(|name| format!("{place}/{name}")).collect()
    }

    /// A command that a tool runs; compilers link what they compile.
    pub(crate) fn asked_command(
        &mut self,
        command: &str,
        context: &Context,
    ) -> Result<(), AnalysisError> {
        let chosen = asked::variable_of(command)
            .and_then(|name| self.task.variable(name))
            .and_then(|value| value.split_whitespace().next())
            .map(str::to_owned);
        self.named_command(chosen.as_deref().unwrap_or(command), context)?;
        if asked::links(file_name(command)) {
            self.starts(context)?;
        }
        Ok(())
    }

    /// A package that CMake looks for: its own description of itself, or a module of pkg-config of that name.
    fn cmake_package(&mut self, package: &str, context: &Context) -> Result<(), AnalysisError> {
        if let Some(command) = asked::command_of_package(package) {
            return self.asked_command(command, context);
        }
        let lower = package.to_ascii_lowercase();
        let places = ["lib/MULTIARCH/cmake", "share/cmake", "lib/cmake"];
        let files = [
            format!("{package}/{package}Config.cmake"),
            format!("{package}/{lower}-config.cmake"),
            format!("{lower}/{lower}-config.cmake"),
        ];
        for place in places {
            for triplet in crate::places::TRIPLETS {
                for file in &files {
                    let place = place.replace("MULTIARCH", triplet);
                    let path = format!("/usr/{place}/{file}");
                    if self.in_library(&path)?.is_some() {
                        self.need_path(&path, context);
                        return Ok(());
                    }
                }
            }
        }
        for module in [
            asked::module_of_package(package),
            &lower,
            &format!("lib{lower}"),
        ] {
            self.pc_file(module, context)?;
        }
        Ok(())
    }

    /// What the words of a command say about a build, if its program is a tool for that.
    fn call(&self, words: &[Word]) -> Option<Call> {
        let (first, arguments) = words.split_first()?;
        let name = file_name(&first.text);
        let arguments: Vec<&str> = arguments
            .iter()
            .filter(|word| word.literal)
            .map(|word| word.text.as_str())
            .collect();
        match name {
            "cmake" => Some(cmake_call(
                &arguments,
                self.task.variable("CMAKE_GENERATOR"),
            )),
            "meson" => Some(meson_call(&arguments)),
            "ninja" | "samu" => Some(ninja_call(&arguments)),
            "gmake" | "make" => Some(make_call(&arguments)),
            "aclocal" | "autoconf" | "autoheader" | "automake" | "autoreconf" => {
                Some(autotools_call(name, &arguments))
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

fn ninja_call(arguments: &[&str]) -> Call {
    let mut call = Call {
        formats: vec![Format::Ninja],
        ..Call::default()
    };
    let mut rest = arguments.iter();
    while let Some(word) = rest.next() {
        if let Some(place) = value("-C", word, &mut rest) {
            call.directories = vec![place.to_owned()];
        } else if let Some(file) = value("-f", word, &mut rest) {
            call.file = Some(file.to_owned());
        } else if matches!(*word, "-d" | "-j" | "-k" | "-l" | "-t" | "-w") {
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
