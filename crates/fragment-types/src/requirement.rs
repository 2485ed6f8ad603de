//! What an entrypoint needs, and the evidence for it.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::grade::Grade;
use crate::manifest::{Machine, NeededSoname};
use crate::name::{Capability, ComponentName};

/// Something an entrypoint needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "need", rename_all = "kebab-case")]
pub enum Need {
    /// A file or directory at an absolute path (the entry itself, a shebang or ELF interpreter, a data file).
    Path {
        /// The path.
        path: String,
    },
    /// A shared object that the dynamic loader has to find.
    Soname(NeededSoname),
    /// An executable somewhere in `PATH`.
    Command {
        /// Its name.
        name: String,
    },
    /// A module of a script language.
    Module {
        /// Language, lower case.
        language: String,
        /// Top-level module name.
        name: String,
    },
    /// A capability, granted by any of several components.
    Capability {
        /// The capability.
        name: Capability,
    },
    /// A component by name or alias.
    Component {
        /// The name.
        name: ComponentName,
    },
}

impl Need {
    /// A soname of `machine` with the symbol versions required of it.
    #[must_use]
    pub fn soname(soname: &str, machine: Machine, versions: BTreeSet<String>) -> Self {
        Self::Soname(NeededSoname {
            soname: soname.to_owned(),
            machine,
            versions,
        })
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path { path } => f.write_str(path),
            Self::Soname(needed) => f.write_str(&needed.soname),
            Self::Command { name } => write!(f, "command `{name}`"),
            Self::Module { language, name } => write!(f, "{language} module `{name}`"),
            Self::Capability { name } => write!(f, "capability `{name}`"),
            Self::Component { name } => write!(f, "component `{name}`"),
        }
    }
}

/// Whether the entrypoint cannot start without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strength {
    /// It adds components to a thin bundle, and never makes a self-sufficient one thin.
    Soft,
    /// Missing, it makes the bundle thin; provided by nobody, it is a refusal.
    Hard,
}

/// How a need was found, weakest last. The order is the order in which `fragment explain` prefers a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EvidenceKind {
    /// The user or the image said so (annotation, flag, file).
    Declared,
    /// It is the entrypoint, or a link on the way to it.
    Entry,
    /// An app file is the known file of a component's package.
    Owner,
    /// `#!` line.
    Shebang,
    /// ELF program interpreter (PT_INTERP).
    Interpreter,
    /// DT_NEEDED.
    Needed,
    /// A word of the command line.
    Argument,
    /// A variable of the environment.
    Environment,
    /// An import of a script language.
    Import,
    /// A command word of a shell script.
    Script,
    /// A symbol that an ELF file imports.
    Symbol,
    /// A symbol that a library imports which a component supplies to an ELF file.
    LibrarySymbol,
    /// A string among the read-only data of an ELF file.
    #[serde(rename = "string")]
    Text,
}

impl EvidenceKind {
    /// How much such evidence says about a capability.
    #[must_use]
    pub fn grade(self) -> Grade {
        match self {
            Self::Declared => Grade::Declared,
            Self::Entry
            | Self::Owner
            | Self::Shebang
            | Self::Interpreter
            | Self::Needed
            | Self::Argument
            | Self::Environment
            | Self::Script => Grade::Argument,
            Self::Import | Self::Symbol => Grade::Import,
            Self::LibrarySymbol => Grade::LibraryImport,
            Self::Text => Grade::Text,
        }
    }
}

/// One step of reasoning.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Evidence {
    /// Kind.
    pub kind: EvidenceKind,
    /// Where it was read: a path of the bundle, `argv[3]`, `env HTTPS_PROXY`.
    pub source: String,
    /// What was read there: `libssl.so.3`, `https://…`, `#!/usr/bin/env python3`. Values of variables and the secret
    /// parts of URLs are left out: a plan is a document that people share.
    pub detail: String,
}

/// A need with its evidence.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Requirement {
    /// What is needed.
    #[serde(flatten)]
    pub need: Need,
    /// Whether the entrypoint can start without it.
    pub strength: Strength,
    /// Path inside the bundle's rootfs that satisfies it already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub satisfied_by: Option<String>,
    /// The chain from the entrypoint to this need, first step first.
    pub chain: Vec<Evidence>,
}

impl Requirement {
    /// Whether components have to supply it.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.satisfied_by.is_none()
    }

    /// How much its evidence says: the grade of the step that led to the need itself.
    #[must_use]
    pub fn grade(&self) -> Grade {
        self.chain
            .last()
            .map_or(Grade::Declared, |evidence| evidence.kind.grade())
    }

    /// Whether nobody wants it supplied on evidence as weak as this: a capability whose grade does not reach `minimum`. Files and
    /// libraries are needed whatever they are told by; of capabilities, symbols and strings tell more than is true.
    #[must_use]
    pub fn is_below(&self, minimum: Grade) -> bool {
        matches!(self.need, Need::Capability { .. })
            && self.strength == Strength::Soft
            && !self.grade().reaches(minimum)
    }
}
