//! The component manifest: what a component is, provides and requires.
//!
//! It is the config blob of the component's OCI artifact (`application/vnd.fragment.component.v1+json`).

use std::collections::BTreeSet;

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::name::{Capability, ComponentName};

/// `artifactType` of a component's OCI manifest and media type of its config.
pub const ARTIFACT_TYPE: &str = "application/vnd.fragment.component.v1+json";
/// Media type of a component's layer.
pub const LAYER_MEDIA_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// The only `schema` this release reads and writes.
pub const SCHEMA: &str = "dev.fragment.component/1";

/// What a component is, provides and requires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The component's own name.
    pub name: ComponentName,
    /// Version by which components of one name are ordered.
    pub version: Version,
    /// Version as the upstream distribution spells it (of the recipe's leading package).
    pub upstream_version: String,
    /// One line for people.
    pub description: String,
    /// OCI architecture name (`amd64`).
    pub architecture: String,
    /// Last day of upstream support, `YYYY-MM-DD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eol: Option<String>,
    /// Names besides its own under which it can be required (several components may stand in for each other).
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub aliases: BTreeSet<ComponentName>,
    /// Among components that provide the same, the highest is taken. 0 unless the recipe says otherwise.
    #[serde(default)]
    pub preference: i32,
    /// Capabilities it grants.
    #[serde(default)]
    pub capabilities: BTreeSet<Capability>,
    /// What it provides.
    pub provides: Provides,
    /// What it requires beyond itself.
    pub requires: Requires,
    /// Components that cannot be composed with it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub conflicts: BTreeSet<ComponentName>,
    /// Users that its files belong to or its programs run as. Its `/etc/passwd` and `/etc/group` hold them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<Account>,
    /// Distribution packages its files come from.
    pub packages: Vec<Package>,
    /// How long an unused component stays loaded, in seconds.
    pub retention_seconds: u64,
    /// Sizes.
    pub size: Size,
    /// Its one layer.
    pub layer: Layer,
}

/// Sizes of a component.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Bytes of regular file content when unpacked; hard links count once.
    pub plain: u64,
    /// Bytes of the compressed layer blob, as stored and transferred. Budgets count this.
    pub stored: u64,
    /// Number of tar entries.
    pub entries: u64,
}

/// The layer blob of a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Digest of the blob as stored.
    pub digest: Digest,
    /// Digest of the uncompressed tar: the OCI `diff_id`. The unpacked tree is named by it.
    pub diff_id: Digest,
}

/// A user of a component, with a group of the same name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Name of the user and of its group.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// A distribution package whose files are in the component.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    /// Binary package name.
    pub name: String,
    /// Binary package version.
    pub version: String,
    /// Source package name.
    pub source: String,
    /// Version of the source package, where it differs from `version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_version: Option<String>,
    /// Architecture as the distribution spells it (`amd64`, `all`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// Who maintains it, `NAME <ADDRESS>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintainer: Option<String>,
    /// Packages it depends on: of alternatives and virtual packages, those that were installed.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub depends: BTreeSet<String>,
    /// Licences as far as the package's copyright file names them in machine-readable form (DEP-5 short names).
    #[serde(default)]
    pub licences: BTreeSet<String>,
    /// Whether only some of the package's files were taken.
    #[serde(default)]
    pub sliced: bool,
}

/// What a component provides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provides {
    /// Every path of the tree, sorted.
    pub paths: Vec<PathEntry>,
    /// Shared objects that other files can name in DT_NEEDED.
    #[serde(default)]
    pub sonames: Vec<Soname>,
    /// Executable files in the standard `PATH` directories.
    #[serde(default)]
    pub commands: Vec<Command>,
    /// Modules of script languages.
    #[serde(default)]
    pub modules: BTreeSet<Module>,
}

/// Kind of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PathKind {
    /// Directory.
    Directory,
    /// Regular file.
    File,
    /// Symbolic link.
    Symlink,
}

/// One path of a component's tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathEntry {
    /// Absolute path inside the container.
    pub path: String,
    /// Kind.
    pub kind: PathKind,
    /// Permission bits (12 bits).
    pub mode: u32,
    /// Size of a regular file in bytes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub size: u64,
    /// Digest of a regular file's content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Target of a symbolic link, as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// What an ELF file is made for; files of different machines never satisfy each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Machine {
    /// ELFCLASS64, EM_X86_64.
    #[serde(rename = "x86_64")]
    X86_64,
    /// ELFCLASS32, EM_386.
    I386,
    /// ELFCLASS64, EM_AARCH64.
    Aarch64,
    /// Anything else: never satisfied by a component, never mistaken for another.
    Other,
}

/// A shared object by the name under which others need it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Soname {
    /// DT_SONAME, or the file name where it has none.
    pub soname: String,
    /// Absolute path of the file, not of a link to it unless only a link in another directory makes it public (alternatives).
    pub path: String,
    /// Machine.
    pub machine: Machine,
    /// Whether the dynamic loader finds it without RPATH: its directory is a default one or named in `/etc/ld.so.conf*`.
    pub public: bool,
    /// Symbol versions it defines (`.gnu.version_d`, without the base version), sorted.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub versions: BTreeSet<String>,
    /// What it needs in turn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<NeededSoname>,
    /// Which of the symbols that tell what a program does ([`crate::symbol`]) it imports.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub imports: BTreeSet<String>,
}

/// One DT_NEEDED entry with the symbol versions required of it (`.gnu.version_r`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NeededSoname {
    /// The soname.
    pub soname: String,
    /// Machine of the file that needs it.
    pub machine: Machine,
    /// Symbol versions required; weak references (VER_FLG_WEAK) are left out.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub versions: BTreeSet<String>,
}

/// An executable in a standard `PATH` directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Command {
    /// File name.
    pub name: String,
    /// Absolute path.
    pub path: String,
}

/// A module of a script language.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Module {
    /// Language, lower case: `python3`, `perl`, …
    pub language: String,
    /// Top-level module name as a program of that language imports it.
    pub name: String,
}

/// What a component requires beyond itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requires {
    /// Components it is composed with, always.
    #[serde(default)]
    pub components: BTreeSet<ComponentName>,
    /// Sonames its files need that it does not hold itself.
    #[serde(default)]
    pub sonames: Vec<NeededSoname>,
}
