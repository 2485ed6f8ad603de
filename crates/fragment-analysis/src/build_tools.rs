//! Tools that build what a description in the bundle says: CMake, Meson, Ninja, make and the autotools.
//!
//! Such a tool runs compilers and other commands that no word names. Its description is looked for in the directory that its
//! arguments name, in the one that a `cd` before it leads to, in the working directory, and else in directories that the words before it
//! name (`cp -r /data /tmp/s && cd /tmp/s && autoreconf`); where there is none, among the texts that commands before it write.
//! Nothing is evaluated: what a description names counts, whatever its conditions.

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
mod call;
mod cmake;
mod make;
mod meson;
mod named;
mod scons;

use asked::Asked;
use call::{Call, Format};
pub(crate) use named::Named;

/// Longest description that is read.
const MAX_DESCRIPTION: usize = 64 << 10;
/// Most descriptions of one analysis.
const MAX_DESCRIPTIONS: usize = 24;
/// Most entries of a directory that are looked at for sources, and sources that are read for one description.
const MAX_ENTRIES: usize = 256;
const MAX_SOURCES: usize = 64;
/// Deepest nest of descriptions.
const MAX_DEPTH: usize = 4;

impl Analyser<'_> {
    /// What a tool that builds runs and reads.
    pub(crate) fn build_tool(
        &mut self,
        words: &[Word],
        context: &Context,
    ) -> Result<(), AnalysisError> {
        let Some(first) = words.first() else {
            return Ok(());
        };
        let Some(call) = call::of(words, self.task) else {
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
        let mut is_here = false;
        for format in &call.formats {
            for path in self.descriptions(*format, &call) {
                is_here = true;
                self.description(*format, &path, &call, 0, &step)?;
            }
        }
        self.named.attempts += usize::from(!is_here);
        let reads = !is_here && self.named.attempts <= MAX_DESCRIPTIONS;
        if reads && call.formats == [Format::Make] {
            // without a makefile there are its own rules
            let mut asked = Asked::default();
            asked.stems.extend(call.goals.iter().cloned());
            for place in self.places_of_work() {
                self.asked(&asked, &first.source, &place, &step)?;
            }
        }
        for format in call.formats.iter().filter(|_| reads) {
            if let Some((source, text)) = self.written(*format)
                && self.enter(&format!("{format:?} {text}"), &step)
                && self.may_read(text.len())
            {
                let place = clean(&self.seen_after_cd(""));
                let asked = self.parsed(*format, text, &place, &call, 0, &step);
                self.asked(&asked, &source, &place, &step)?;
            }
        }
        Ok(())
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
        if format == Format::CmakeCache {
            for program in cmake::cached(&text) {
                let step = context.with(EvidenceKind::Import, path, &program);
                self.asked_command(&program, &step)?;
            }
            return Ok(());
        }
        let asked = self.parsed(format, text, &place, call, depth, context);
        self.asked(&asked, path, &place, context)?;
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

    fn parsed(
        &mut self,
        format: Format,
        text: String,
        place: &str,
        call: &Call,
        depth: usize,
        context: &Context,
    ) -> Asked {
        match format {
            Format::Cmake => cmake::read(&text, depth == 0),
            Format::CmakeScript => cmake::read(&text, false),
            Format::CmakeCache => Asked::default(),
            Format::Meson => meson::read(&text),
            Format::Configure => autotools::configure(&text),
            Format::Automake => autotools::automake(&text),
            Format::Template => autotools::template(&text),
            Format::Make => self.makefile(text, place, call, context),
            Format::Ninja => make::ninja(&text),
            Format::Scons => scons::read(&text),
        }
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

    /// Needs of what a description of the directory `place` asks for.
    fn asked(
        &mut self,
        asked: &Asked,
        path: &str,
        place: &str,
        context: &Context,
    ) -> Result<(), AnalysisError> {
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
            sources.extend(self.sources_in(place));
        }
        let mut written = false;
        for source in sources.iter().take(MAX_SOURCES) {
            let word = Word::literal(source, path);
            if !interpreter::is_c_source(source) {
                continue;
            }
            match self.read_text(&word, context) {
                Some((path, text)) => self.script_text(Language::C, &text, &path, context)?,
                None => written = true,
            }
        }
        if written {
            self.written_sources(context)?;
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
}
