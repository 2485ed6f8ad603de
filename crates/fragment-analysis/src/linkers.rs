//! Compilers of other languages that leave linking to the driver of C's compiler.
//!
//! Such a compiler runs `cc` or `gcc` for a program, mostly by a name that stands in its configuration or nowhere, and many
//! packages only recommend it.

use fragment_types::EvidenceKind;

use crate::analyser::{Analyser, Context};
use crate::command_line::word_kind;
use crate::error::AnalysisError;
use crate::words::interpreter::Language;
use crate::words::{Word, file_name};

/// Most files of a Go package that are read.
const MAX_FILES: usize = 64;

/// When a compiler links, and with what.
struct Compiler {
    names: &'static [&'static str],
    /// First operands that make it do so; empty for any.
    subcommands: &'static [&'static str],
    /// Ends of the names of what it compiles or links, of which one is among the operands; empty for anything.
    sources: &'static [&'static str],
    /// Words with which nothing is linked; those that end in `=` with any value.
    unlinked: &'static [&'static str],
    /// What it runs.
    commands: &'static [&'static str],
    /// Modules of pkg-config that it asks for.
    modules: &'static [&'static str],
    /// Whether what it makes is linked with the C library.
    with_c: bool,
}

impl Compiler {
    const PLAIN: Self = Self {
        names: &[],
        subcommands: &[],
        sources: &[],
        unlinked: &["--help", "--version"],
        commands: &["gcc"],
        modules: &[],
        with_c: true,
    };

    fn links(&self, name: &str, arguments: &[Word]) -> bool {
        let operand = |word: &&Word| !word.text.starts_with('-');
        let first = arguments
            .iter()
            .find(operand)
            .map(|word| word.text.as_str());
        let is_source = |word: &Word| {
            let end = word.text.rsplit_once('.').map(|(_, end)| end);
            end.is_some_and(|end| self.sources.contains(&end))
        };
        let is_unlinked = |word: &Word| {
            let ends = |option: &&&str| match option.ends_with('=') {
                true => word.text.starts_with(**option),
                false => word.text == **option,
            };
            self.unlinked.iter().find(ends).is_some()
        };
        self.names.contains(&name)
            && !arguments.is_empty()
            && (self.subcommands.is_empty()
                || first.is_some_and(|first| self.subcommands.contains(&first)))
            && (self.sources.is_empty() || arguments.iter().any(is_source))
            && !arguments.iter().any(is_unlinked)
    }
}

/// Compilers, from their manuals and sources.
const COMPILERS: &[Compiler] = &[
    // driver/linker-gcc.cpp of LDC, link.d of DMD: `cc`, or what CC names
    Compiler {
        names: &["dmd", "ldc2", "ldmd2"],
        sources: &["d", "o"],
        unlinked: &[
            "--lib",
            "-c",
            "-lib",
            "-o-",
            "-output-bc",
            "-output-ll",
            "-output-s",
        ],
        commands: &["cc"],
        ..Compiler::PLAIN
    },
    // config/nim.cfg: `cc = gcc`
    Compiler {
        names: &["nim"],
        subcommands: &["c", "cc", "compile", "objc", "r"],
        unlinked: &["--compileOnly", "--genScript", "--noLinking", "-c"],
        ..Compiler::PLAIN
    },
    Compiler {
        names: &["nim"],
        subcommands: &["compileToCpp", "cpp"],
        unlinked: &["--compileOnly", "--genScript", "--noLinking", "-c"],
        commands: &["g++"],
        ..Compiler::PLAIN
    },
    Compiler {
        names: &["nimble"],
        subcommands: &["build", "install", "run", "test"],
        commands: &["nim", "gcc"],
        ..Compiler::PLAIN
    },
    // "Codegen options" of The rustc book, `linker`: `cc`
    Compiler {
        names: &["rustc"],
        sources: &["rs"],
        unlinked: &[
            "--crate-type=lib",
            "--crate-type=rlib",
            "--emit=",
            "lib",
            "rlib",
        ],
        commands: &["cc"],
        ..Compiler::PLAIN
    },
    Compiler {
        names: &["cargo"],
        subcommands: &["b", "bench", "build", "install", "r", "run", "t", "test"],
        commands: &["rustc", "cc"],
        ..Compiler::PLAIN
    },
    // `ghc --info`: "C compiler command"
    Compiler {
        names: &["ghc"],
        sources: &["hs", "lhs", "o"],
        unlinked: &[
            "--interactive",
            "-C",
            "-E",
            "-M",
            "-S",
            "-c",
            "-e",
            "-fno-code",
        ],
        ..Compiler::PLAIN
    },
    Compiler {
        names: &["cabal", "stack"],
        subcommands: &["build", "install", "run", "test"],
        commands: &["ghc", "gcc"],
        ..Compiler::PLAIN
    },
    // `ocamlopt -config`: native_c_compiler
    Compiler {
        names: &["ocamlopt", "ocamlopt.opt"],
        sources: &["cmx", "ml"],
        unlinked: &["-a", "-c", "-i"],
        ..Compiler::PLAIN
    },
    Compiler {
        names: &["ocamlfind"],
        subcommands: &["ocamlopt"],
        unlinked: &["-a", "-c", "-i"],
        commands: &["ocamlopt", "gcc"],
        ..Compiler::PLAIN
    },
    // codegen/valaccodecompiler.vala: `cc`, or what CC names, with the flags of glib
    Compiler {
        names: &["vala", "valac"],
        sources: &["gs", "vala"],
        unlinked: &["--ccode", "-C"],
        commands: &["cc", "pkg-config"],
        modules: &["glib-2.0", "gobject-2.0"],
        ..Compiler::PLAIN
    },
    // systems/t_linux.pas: `ld`, without a C compiler
    Compiler {
        names: &["fpc", "ppcx64"],
        sources: &["lpr", "p", "pas", "pp"],
        unlinked: &["-Cn"],
        commands: &["as", "ld"],
        with_c: false,
        ..Compiler::PLAIN
    },
    // lib/Driver/UnixToolChains.cpp: clang
    Compiler {
        names: &["swiftc"],
        sources: &["swift"],
        unlinked: &["-c", "-dump-ast", "-emit-module", "-parse", "-typecheck"],
        commands: &["clang"],
        ..Compiler::PLAIN
    },
    // src/compiler/crystal/compiler.cr: `cc`, or what CC names; annotations ask pkg-config
    Compiler {
        names: &["crystal"],
        subcommands: &["build", "eval", "run", "spec"],
        unlinked: &["--no-codegen"],
        commands: &["cc", "pkg-config"],
        ..Compiler::PLAIN
    },
    // Drivers of GCC for other languages link themselves.
    Compiler {
        names: &["f77", "f95", "gccgo", "gdc", "gfortran"],
        sources: &[
            "F", "F90", "d", "f", "f03", "f08", "f90", "f95", "for", "go", "o",
        ],
        unlinked: &["-E", "-S", "-c", "-fsyntax-only"],
        commands: &[],
        ..Compiler::PLAIN
    },
    Compiler {
        names: &["gnatmake"],
        unlinked: &["--help", "--version", "-c", "-u"],
        ..Compiler::PLAIN
    },
    // chicken-config.h: C_INSTALL_CC
    Compiler {
        names: &["chicken-csc", "csc"],
        sources: &["scm"],
        unlinked: &["-c", "-t"],
        ..Compiler::PLAIN
    },
    // `cobc --info`: COB_CC
    Compiler {
        names: &["cobc"],
        sources: &["cbl", "cob", "cobol"],
        unlinked: &["-C", "-E", "-S", "-c", "-fsyntax-only"],
        ..Compiler::PLAIN
    },
    // shc(1): `cc`, or what CC names
    Compiler {
        names: &["shc"],
        commands: &["cc"],
        ..Compiler::PLAIN
    },
];

impl Analyser<'_> {
    /// What a compiler of another language runs to link.
    pub(crate) fn compiled(
        &mut self,
        words: &[Word],
        context: &Context,
    ) -> Result<(), AnalysisError> {
        let Some((first, arguments)) = words.split_first() else {
            return Ok(());
        };
        let name = unversioned(file_name(&first.text));
        if name == "go" {
            return self.go_packages(first, arguments, context);
        }
        for compiler in COMPILERS.iter().filter(|one| one.links(name, arguments)) {
            let step = context.with(word_kind(first), &first.source, format!("{name} links"));
            for command in compiler.commands {
                self.asked_command(command, &step)?;
            }
            if compiler.with_c {
                self.starts(&step)?;
            }
            for module in compiler.modules {
                self.pc_file(module, &step)?;
            }
        }
        Ok(())
    }

    /// Packages of Go whose files hold C (cmd/cgo): the files that a command line names, or those of its directories.
    fn go_packages(
        &mut self,
        first: &Word,
        arguments: &[Word],
        context: &Context,
    ) -> Result<(), AnalysisError> {
        const SUBCOMMANDS: &[&str] = &["build", "install", "run", "test", "vet"];
        let Some((subcommand, arguments)) = arguments.split_first() else {
            return Ok(());
        };
        if !SUBCOMMANDS.contains(&subcommand.text.as_str())
            || self.task.variable("CGO_ENABLED") == Some("0")
        {
            return Ok(());
        }
        let operands = arguments.iter().filter(|word| word.literal);
        let mut names: Vec<&str> = operands
            .map(|word| word.text.as_str())
            .filter(|text| text.starts_with(['.', '/']) || text.ends_with(".go"))
            .collect();
        if names.is_empty() {
            names.push(".");
        }
        let mut files = Vec::new();
        for name in names {
            let path = self.seen_after_cd(name.trim_end_matches("/..."));
            if path.ends_with(".go") {
                files.push(path);
                continue;
            }
            let entries = self.root.read_dir(&path, MAX_FILES * 4).ok().flatten();
            let names = entries
                .unwrap_or_default()
                .into_iter()
                .map(|entry| entry.name);
            let sources = names.filter(|name| name.ends_with(".go"));
            files.extend(sources.map(|name| format!("{path}/{name}")));
        }
        for file in files.iter().take(MAX_FILES) {
            let word = Word::literal(file, &first.source);
            let Some((path, text)) = self.read_text(&word, context) else {
                continue;
            };
            if self.may_read(text.len()) {
                self.cgo(&text, &path, context)?;
            }
        }
        Ok(())
    }

    /// A file of Go: with `import "C"`, the comment before it is C, and lines of `#cgo` name flags.
    fn cgo(&mut self, text: &str, path: &str, context: &Context) -> Result<(), AnalysisError> {
        let lines = text
            .lines()
            .map(|line| line.trim_start().trim_start_matches("//").trim_start());
        if !lines
            .clone()
            .any(|line| line.trim_end() == "import \"C\"" || line.trim_end() == "\"C\"")
        {
            return Ok(());
        }
        let step = context
            .with(EvidenceKind::Import, path, "import \"C\"")
            .soft();
        self.asked_command("gcc", &step)?;
        self.starts(&step)?;
        let mut preamble = String::new();
        for line in lines.filter(|line| line.starts_with('#')) {
            match line
                .strip_prefix("#cgo")
                .and_then(|rest| rest.split_once(':'))
            {
                Some((kind, modules)) if kind.trim_end().ends_with("pkg-config") => {
                    self.asked_command("pkg-config", &step)?;
                    for module in crate::pkg_config::modules(modules) {
                        self.pc_file(&module, &step)?;
                    }
                }
                Some((_, flags)) => {
                    for library in flags
                        .split_whitespace()
                        .filter_map(|flag| flag.strip_prefix("-l"))
                    {
                        self.library(library, &step)?;
                    }
                }
                None => {
                    preamble.push_str(line);
                    preamble.push('\n');
                }
            }
        }
        self.script_text(Language::C, &preamble, path, context)
    }
}

/// The name of a compiler without its version: `ghc-9.0.2`, `gfortran-12`, `valac-0.56`.
fn unversioned(name: &str) -> &str {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    stem.strip_suffix('-').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(line: &str) -> Vec<&'static str> {
        let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let words = crate::words::of_argv(&argv, 0);
        let name = unversioned(file_name(&words[0].text));
        let found = COMPILERS.iter().filter(|one| one.links(name, &words[1..]));
        found.flat_map(|one| one.commands).copied().collect()
    }

    #[test]
    fn compilers_link_unless_they_are_told_not_to() {
        for (line, expected) in [
            ("/usr/bin/ldc2 -of=/tmp/a /data/a.d", &["cc"][..]),
            ("ldc2 -c a.d", &[]),
            ("ldc2 --version", &[]),
            ("nim c -o:h h.nim", &["gcc"]),
            ("nim --hints:off cpp h.nim", &["g++"]),
            ("nim c --compileOnly h.nim", &[]),
            ("nim js h.nim", &[]),
            ("rustc -O x.rs", &["cc"]),
            ("rustc --emit=metadata x.rs", &[]),
            ("rustc --print sysroot", &[]),
            ("cargo build --release", &["rustc", "cc"]),
            ("cargo new p", &[]),
            ("ghc-9.0.2 --make Main.hs", &["gcc"]),
            ("ghc -e main Main.hs", &[]),
            ("valac-0.56 -o h h.vala", &["cc", "pkg-config"]),
            ("valac -C h.vala", &[]),
            ("fpc h.pas", &["as", "ld"]),
            ("csc a.cs", &[]),
            ("shc -f x.sh", &["cc"]),
            ("shc", &[]),
        ] {
            assert_eq!(runs(line), expected, "{line}");
        }
    }
}
