//! What the kernel does with an executable file: interpreters of scripts, program interpreters and libraries of ELF files.

use std::rc::Rc;

use fragment_sys::root::{Found, Kind};
use fragment_types::plan::EntryKind;
use fragment_types::{EvidenceKind, Need, Strength};

use crate::analyser::{Analyser, Context, MAX_ELF_BYTES, MAX_SOFT_FILES, OwnFile, Place};
use crate::elf::{self, Elf, ElfError, ElfKind, FileSource};
use crate::env_command;
use crate::error::AnalysisError;
use crate::libraries::{Object, Program, directory};
use crate::loader::Loader;
use crate::shebang::{self, Line, Shebang};
use crate::words::{Word, file_name, wrapper};

/// Most ELF files that stay open for what is read of them later.
const MAX_OPEN: usize = 64;

/// How a program file is come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The program itself.
    Program,
    /// The interpreter of that many scripts, one inside the other.
    Interpreter(usize),
}

impl Analyser<'_> {
    /// Looks into an executable file of the bundle.
    pub(crate) fn program(
        &mut self,
        found: &Found,
        role: Role,
        context: &Context,
    ) -> Result<EntryKind, AnalysisError> {
        if !found.is_executable() {
            let (command, path) = (self.command(), found.path.clone());
            return Err(AnalysisError::NotExecutable { command, path });
        }
        let prefix = self.root.read_prefix(&found.path, shebang::BUFFER)?;
        let first_time = self.enter(&format!("program {}", found.path), context);
        match shebang::parse(&prefix) {
            Line::Script(line) => {
                // Scripts that interpret one another in a circle are counted, not passed over.
                if first_time || matches!(role, Role::Interpreter(1..)) {
                    self.script(found, &line, role, context)?;
                }
                Ok(EntryKind::Script)
            }
            Line::Invalid(why) => {
                self.warnings
                    .insert(format!("{}: exec format error: {why}", found.path));
                Ok(EntryKind::Other)
            }
            Line::None if elf::is_elf(&prefix) => {
                let elf = self.elf(found)?;
                if first_time {
                    self.elf_program(found, &elf, role, context)?;
                }
                let is_static = elf.interpreter.is_none();
                Ok(if is_static {
                    EntryKind::StaticElf
                } else {
                    EntryKind::DynamicElf
                })
            }
            // Whether it runs is for binfmt_misc to say; where it does not, the error of execve says so.
            Line::None => Ok(EntryKind::Other),
        }
    }

    fn script(
        &mut self,
        found: &Found,
        line: &Shebang,
        role: Role,
        context: &Context,
    ) -> Result<(), AnalysisError> {
        let scripts = match role {
            Role::Program => 1,
            Role::Interpreter(scripts) => scripts + 1,
        };
        if scripts > shebang::MAX_DEPTH {
            let (command, script) = (self.command(), found.path.clone());
            return Err(AnalysisError::TooManyInterpreters { command, script });
        }
        self.own_script(found, context);
        let interpreter = String::from_utf8_lossy(&line.interpreter).into_owned();
        let argument = line.argument.as_deref().map(String::from_utf8_lossy);
        let shown = match &argument {
            Some(argument) => format!("#!{interpreter} {}", without_values(argument)),
            None => format!("#!{interpreter}"),
        };
        let context = context
            .with(EvidenceKind::Shebang, &found.path, shown)
            .deeper();
        match self.locate(&interpreter)? {
            Place::Here { found: file, links } => {
                let context = context.through(&links);
                let need = Need::Path {
                    path: self.task.absolute(&interpreter),
                };
                self.ledger.add(
                    need,
                    context.strength,
                    Some(file.path.clone()),
                    context.chain.clone(),
                );
                self.program(&file, Role::Interpreter(scripts), &context)?;
            }
            Place::Absent { path, links } => {
                // The kernel looks for the name as it stands, carriage return included.
                if interpreter.ends_with('\r') {
                    return Err(AnalysisError::CarriageReturn {
                        command: self.command(),
                        script: found.path.clone(),
                        interpreter,
                    });
                }
                self.need_path(&path, &context.through(&links));
            }
        }
        let mut argv = vec![interpreter];
        argv.extend(argument.map(std::borrow::Cow::into_owned));
        argv.push(found.path.clone());
        self.interpreted(&argv, found, &context)
    }

    /// What the interpreter of a script does: env runs a program, shells and Python read the script.
    fn interpreted(
        &mut self,
        argv: &[String],
        script: &Found,
        context: &Context,
    ) -> Result<(), AnalysisError> {
        let mut argv = argv.to_vec();
        if file_name(&argv[0]) == "env" {
            let variable = |name: &str| self.task.variable(name).map(str::to_owned);
            let env = match env_command::parse(&argv[1..], &variable) {
                Ok(env) => env,
                Err(error) => {
                    self.warnings.insert(format!("{}: {error}", script.path));
                    return Ok(());
                }
            };
            // `#!/usr/bin/env` alone runs the script itself, for ever.
            let Some(program) = env.argv.first().filter(|program| **program != script.path) else {
                return Ok(());
            };
            let changed = env
                .set
                .keys()
                .any(|name| name == "PATH" || name.starts_with("LD_"));
            let context = if changed {
                context.soft()
            } else {
                context.clone()
            };
            self.program_named(program, script, &context)?;
            argv = env.argv;
        }
        let words: Vec<Word> = argv
            .iter()
            .map(|text| Word::literal(text, script.path.clone()))
            .collect();
        self.text_of(&words, None, &context.soft())?;
        self.build_tool(&words, &context.soft())?;
        // The script may be run by a wrapper once more (`#!/usr/bin/env -S nice python3`).
        for inner in wrapper::inner(&words) {
            self.text_of(&inner, None, &context.soft())?;
        }
        Ok(())
    }

    /// A program that a `#!` line names through env.
    fn program_named(
        &mut self,
        name: &str,
        script: &Found,
        context: &Context,
    ) -> Result<(), AnalysisError> {
        if !name.contains('/') {
            return match self.search_path(name)? {
                Some((found, links)) => {
                    let context = context.through(&links);
                    let need = Need::Command {
                        name: name.to_owned(),
                    };
                    let here = Some(found.path.clone());
                    self.ledger
                        .add(need, context.strength, here, context.chain.clone());
                    self.program(&found, Role::Interpreter(0), &context.deeper())
                        .map(drop)
                }
                None => {
                    if self.is_left_to_env(name, script) {
                        return Ok(());
                    }
                    let need = Need::Command {
                        name: name.to_owned(),
                    };
                    self.ledger
                        .add(need, context.strength, None, context.chain.clone());
                    Ok(())
                }
            };
        }
        match self.locate(name)? {
            Place::Here { found, links } => {
                let context = context.through(&links).deeper();
                self.program(&found, Role::Interpreter(0), &context)
                    .map(drop)
            }
            Place::Absent { path, links } => {
                if !self.is_left_to_env(name, script) {
                    self.need_path(&path, &context.through(&links));
                }
                Ok(())
            }
        }
    }

    /// Whether a script with CR LF line ends makes env look for a name that ends in a carriage return. The kernel has started
    /// env by then, which says so better than we could.
    fn is_left_to_env(&mut self, name: &str, script: &Found) -> bool {
        let left = name.ends_with('\r');
        if left {
            let name = name.trim_end_matches('\r');
            self.warnings.insert(format!(
                "{}: env will look for `{name}` with a carriage return at its end: the script has CR LF line ends",
                script.path
            ));
        }
        left
    }

    /// The first executable file of this name in the directories of `PATH`.
    pub(crate) fn search_path(
        &self,
        name: &str,
    ) -> Result<Option<(Found, Vec<fragment_sys::root::Link>)>, AnalysisError> {
        for directory in self.task.path_directories() {
            // Like Go's and the shells' search, this passes over whatever cannot be looked up.
            if !self.may_probe() {
                break;
            }
            if let Ok(Place::Here { found, links }) = self.locate(&format!("{directory}/{name}"))
                && found.is_executable()
            {
                return Ok(Some((found, links)));
            }
        }
        Ok(None)
    }

    /// Reads an ELF file of the bundle, once.
    pub(crate) fn elf(&mut self, found: &Found) -> Result<Rc<Elf>, AnalysisError> {
        let path = found.path.as_str();
        if let Some(known) = self.elves.get(path) {
            return Ok(Rc::clone(known));
        }
        let wrong = wrong_elf(path);
        let source = self.elf_source(found)?;
        let elf = elf::parse(&*source).map_err(wrong)?;
        if elf.kind == ElfKind::Other {
            let what = "it is neither a program nor a shared object";
            return Err(wrong(ElfError::Malformed { what }));
        }
        self.elf_bytes += elf.weight();
        if self.elf_bytes > MAX_ELF_BYTES {
            let (what, limit) = (
                "list of names, with those of the files before it,",
                MAX_ELF_BYTES as u64,
            );
            return Err(wrong(ElfError::TooLarge { what, limit }));
        }
        let elf = Rc::new(elf);
        self.elves.insert(path.to_owned(), Rc::clone(&elf));
        Ok(elf)
    }

    /// A file of the bundle, for reading as ELF: opened once, as far as there are not too many.
    pub(crate) fn elf_source(&mut self, found: &Found) -> Result<Rc<FileSource>, AnalysisError> {
        let path = found.path.as_str();
        if let Some(known) = self.sources.get(path) {
            return Ok(Rc::clone(known));
        }
        let file = self.root.open_file(path)?;
        let source =
            FileSource::new(file).map_err(|error| wrong_elf(path)(ElfError::Read(error)))?;
        let source = Rc::new(source);
        if self.sources.len() < MAX_OPEN {
            self.sources.insert(path.to_owned(), Rc::clone(&source));
        }
        Ok(source)
    }

    fn elf_program(
        &mut self,
        found: &Found,
        elf: &Rc<Elf>,
        role: Role,
        context: &Context,
    ) -> Result<(), AnalysisError> {
        self.own_file(found, role == Role::Program, context);
        let Some(interpreter) = elf.interpreter.clone() else {
            return Ok(());
        };
        let step = context.with(EvidenceKind::Interpreter, &found.path, &interpreter);
        let own = match self.locate(&interpreter)? {
            Place::Here { found: file, links } => {
                if file.kind != Kind::File || !file.is_executable() {
                    let (command, path) = (self.command(), file.path);
                    return Err(AnalysisError::NotExecutable { command, path });
                }
                self.elf(&file)?;
                let step = step.through(&links);
                let need = Need::Path {
                    path: interpreter.clone(),
                };
                self.ledger.add(
                    need,
                    step.strength,
                    Some(file.path.clone()),
                    step.chain.clone(),
                );
                self.own_file(&file, false, &step);
                true
            }
            Place::Absent { path, links } => {
                self.need_path(&path, &step.through(&links));
                false
            }
        };
        let loader = Loader::new(self.root, self.task, &interpreter, own, elf.machine);
        let program = Program {
            interpreter: &interpreter,
            own_interpreter: own,
            speaks: role == Role::Program,
        };
        let object = Object {
            elf: Rc::clone(elf),
            path: found.path.clone(),
            origin: directory(&found.path).to_owned(),
            loader: None,
            context: context.clone(),
        };
        self.libraries(&program, object, loader)
    }

    /// Remembers a file of the bundle that belongs to the application.
    pub(crate) fn own_file(&mut self, found: &Found, speaks: bool, context: &Context) {
        let new = OwnFile {
            found: found.clone(),
            chain: context.chain.clone(),
            speaks,
            is_script: false,
        };
        let entry = self
            .own
            .entry(found.path.clone())
            .or_insert_with(|| new.clone());
        entry.speaks |= speaks;
    }

    /// Remembers a text of the bundle that a program reads: which package it is from says what else the package needs.
    pub(crate) fn own_script(&mut self, found: &Found, context: &Context) {
        let script = OwnFile {
            found: found.clone(),
            chain: context.chain.clone(),
            speaks: false,
            is_script: true,
        };
        self.own.entry(found.path.clone()).or_insert(script);
    }

    /// Looks into a program that words name; where the entrypoint does not depend on it, when all words are read: a program
    /// of many files would leave nothing for the words behind its own.
    pub(crate) fn program_of_words(
        &mut self,
        found: &Found,
        context: &Context,
    ) -> Result<(), AnalysisError> {
        if context.strength == Strength::Hard {
            return self.program(found, Role::Program, context).map(drop);
        }
        if self.soft_files + self.pending.len() < MAX_SOFT_FILES {
            let here = self.named.here.clone();
            self.pending
                .push_back((found.clone(), context.clone(), here));
        }
        Ok(())
    }

    /// Looks into the programs that words named.
    pub(crate) fn pending_programs(&mut self) -> Result<(), AnalysisError> {
        while let Some((found, context, here)) = self.pending.pop_front() {
            if self.soft_files >= MAX_SOFT_FILES {
                continue;
            }
            self.named.here = here;
            let result = self.program(&found, Role::Program, &context);
            self.tolerate(&context, result)?;
        }
        Ok(())
    }
}

/// The error for what is wrong with an ELF file.
pub(crate) fn wrong_elf(path: &str) -> impl Fn(ElfError) -> AnalysisError + Copy {
    move |source| AnalysisError::Elf {
        path: path.to_owned(),
        source,
    }
}

/// The argument of a `#!` line for an evidence: `env -S NAME=VALUE prog` sets variables, whose values are not shown.
fn without_values(argument: &str) -> String {
    let word = |word: &str| match word.split_once('=') {
        Some((name, _)) if !name.starts_with("--") => format!("{name}=…"),
        _ => word.to_owned(),
    };
    argument.split(' ').map(word).collect::<Vec<_>>().join(" ")
}
