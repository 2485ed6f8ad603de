//! Tiny programs in several languages, compiled when first needed.
//!
//! A bundle that holds only one of them is what composition is for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache;

/// A program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// C, needs libc and an NSS look-up.
    C,
    /// C++, needs libstdc++, libgcc_s and libm.
    Cxx,
    /// Rust, needs libc and libgcc_s.
    Rust,
    /// Go with cgo, needs libc (and Debian's Go: packages golang-go and gcc).
    Go,
    /// C, statically linked: needs nothing.
    StaticC,
}

impl Program {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::C, Self::Cxx, Self::Rust, Self::Go, Self::StaticC];

    /// A name for files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::C => "hello-c",
            Self::Cxx => "hello-cxx",
            Self::Rust => "hello-rust",
            Self::Go => "hello-go",
            Self::StaticC => "hello-static-c",
        }
    }

    /// What it writes to stdout when it is called without arguments and uid 0 is called root.
    #[must_use]
    pub fn stdout(self) -> &'static str {
        match self {
            Self::C => "hello from c, root, 1 words\n",
            Self::Cxx => "hello from c++\n",
            Self::Rust => "hello from rust\n",
            Self::Go => "hello from go, root\n",
            Self::StaticC => "hello from static c\n",
        }
    }

    /// Whether it is linked dynamically.
    #[must_use]
    pub fn is_dynamic(self) -> bool {
        self != Self::StaticC
    }

    fn source(self) -> (&'static str, &'static str) {
        match self {
            Self::C => ("hello.c", include_str!("../programs/hello.c")),
            Self::Cxx => ("hello.cc", include_str!("../programs/hello.cc")),
            Self::Rust => ("hello.rs", include_str!("../programs/hello.rs")),
            Self::Go => ("hello.go", include_str!("../programs/hello.go")),
            Self::StaticC => ("static.c", include_str!("../programs/static.c")),
        }
    }

    fn compiler(self) -> &'static [&'static str] {
        match self {
            Self::C => &["gcc", "-O1", "-o"],
            Self::Cxx => &["g++", "-O1", "-o"],
            Self::Rust => &[
                "rustc",
                "--edition=2021",
                "-Copt-level=1",
                "-Cstrip=symbols",
                "-o",
            ],
            // without the external linker nothing but net and os/user would decide how it is linked
            Self::Go => &["go", "build", "-ldflags=-s -w -linkmode=external", "-o"],
            Self::StaticC => &["gcc", "-O1", "-static", "-o"],
        }
    }

    /// Path of the executable, which is compiled first unless it was before.
    ///
    /// # Panics
    /// When its compiler is missing or fails.
    #[must_use]
    pub fn build(self) -> PathBuf {
        let (file, source) = self.source();
        let recipe = format!("{:?} {source}", self.compiler());
        cache::made(self.name(), &recipe, |executable| {
            self.compile(file, source, executable);
        })
    }

    fn compile(self, file: &str, source: &str, executable: &Path) {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let path = scratch.path().join(file);
        fs::write(&path, source).expect("write a source file");
        let words = self.compiler();
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .arg(executable)
            .arg(&path)
            .current_dir(scratch.path());
        // Go's caches below the scratch directory: a test leaves nothing in a home directory
        command
            .env("CGO_ENABLED", "1")
            .env("GO111MODULE", "off")
            .env("GOFLAGS", "");
        command
            .env("GOCACHE", scratch.path().join("cache"))
            .env("GOPATH", scratch.path().join("go"));
        let output = command.output().unwrap_or_else(|error| {
            panic!(
                "start {}: {error} (apt-get install gcc g++ golang-go, and rustup's rustc)",
                words[0]
            )
        });
        assert!(
            output.status.success(),
            "{command:?}: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
