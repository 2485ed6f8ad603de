//! The read-only view of a library that resolution searches.
//!
//! `fragment-store` implements it over a memory-mapped file; tests implement it over a few vectors. Every look-up answers
//! from an index: nothing here may cost time in proportion to the size of the library.

use std::collections::BTreeSet;

use semver::Version;

use crate::digest::Digest;
use crate::manifest::{Account, Machine, NeededSoname, PathKind, Size};
use crate::name::{Capability, ComponentName};

/// The capability that marks the core fragment: of the components that grant it, the one with the highest preference
/// lies below every composition.
pub const CORE_CAPABILITY: &str = "process_execution";

/// How long a component stays in memory after its last use, in seconds, where nobody says.
pub const RETENTION_SECONDS: u64 = 300;

/// Position of a component in one generation of a catalogue. Meaningless in any other generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ComponentIndex(pub u32);

/// What resolution and composition need to know of a component; the full manifest stays in the store.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ComponentSummary {
    /// Name.
    pub name: ComponentName,
    /// Version.
    pub version: Version,
    /// Version as the upstream distribution spells it.
    pub upstream_version: String,
    /// Digest of the component's OCI manifest: its identity.
    pub digest: Digest,
    /// Digest of the uncompressed layer: the name of its tree.
    pub diff_id: Digest,
    /// Sizes.
    pub size: Size,
    /// Other names it answers to.
    pub aliases: BTreeSet<ComponentName>,
    /// Among components that provide the same, the highest is taken.
    pub preference: i32,
    /// Capabilities it grants.
    pub capabilities: BTreeSet<Capability>,
    /// How long it stays in memory after its last use, in seconds, where nothing else is said.
    #[serde(default = "default_retention")]
    pub retention_seconds: u64,
    /// Names of the components it requires directly (sonames already resolved to their provider when the catalogue was
    /// built, as far as the provider is unique).
    pub requires: BTreeSet<ComponentName>,
    /// Components that cannot be composed with it.
    pub conflicts: BTreeSet<ComponentName>,
    /// Sonames its files need from elsewhere, with symbol versions: checked against the file that the merged view shows.
    pub needs: Vec<NeededSoname>,
    /// Users that its files belong to or its programs run as.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<Account>,
    /// Its shared objects that the dynamic loader finds by `/etc/ld.so.cache` alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cached: Vec<CachedObject>,
    /// Its shared objects that import a symbol which tells something, with those symbols.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub telling: Vec<TellingObject>,
}

fn default_retention() -> u64 {
    RETENTION_SECONDS
}

impl ComponentSummary {
    /// A component of this name, version 1.0.0, that has and needs nothing; its digests are those of the name. For libraries in memory.
    #[must_use]
    pub fn named(name: ComponentName) -> Self {
        let digest = Digest::of(name.as_str().as_bytes());
        Self {
            name,
            version: Version::new(1, 0, 0),
            upstream_version: "1.0.0".to_owned(),
            digest,
            diff_id: digest,
            size: Size::default(),
            aliases: BTreeSet::new(),
            preference: 0,
            capabilities: BTreeSet::new(),
            retention_seconds: RETENTION_SECONDS,
            requires: BTreeSet::new(),
            conflicts: BTreeSet::new(),
            needs: Vec::new(),
            accounts: Vec::new(),
            cached: Vec::new(),
            telling: Vec::new(),
        }
    }

    /// Whether it grants a capability, by the capability's name.
    #[must_use]
    pub fn grants(&self, capability: &str) -> bool {
        let mut granted = self.capabilities.iter();
        granted.any(|own| own.as_str() == capability)
    }
}

/// A shared object whose imports tell what its users may do ([`crate::symbol`]).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TellingObject {
    /// Absolute path of the file.
    pub path: String,
    /// The symbols.
    pub imports: BTreeSet<String>,
}

/// A shared object in a directory that `/etc/ld.so.conf` names and the dynamic loader does not search by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CachedObject {
    /// The name it is needed by.
    pub soname: String,
    /// Absolute path of the file.
    pub path: String,
    /// Machine.
    pub machine: Machine,
}

/// A component that provides a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathProvider {
    /// The component.
    pub component: ComponentIndex,
    /// Kind of the path there.
    pub kind: PathKind,
    /// Size in bytes of a regular file.
    pub size: u64,
    /// Digest of a regular file's content.
    pub digest: Option<Digest>,
    /// Target of a symbolic link.
    pub target: Option<String>,
}

/// A component that provides a soname.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SonameProvider {
    /// The component.
    pub component: ComponentIndex,
    /// Absolute path of the shared object.
    pub path: String,
    /// Machine.
    pub machine: Machine,
    /// Whether the dynamic loader finds it without RPATH.
    pub public: bool,
    /// Symbol versions it defines.
    pub versions: BTreeSet<String>,
    /// What it needs in turn.
    pub needs: Vec<NeededSoname>,
}

/// A component that provides a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandProvider {
    /// The component.
    pub component: ComponentIndex,
    /// Absolute path of the executable.
    pub path: String,
}

/// A catalogue that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "the library catalogue is damaged: {detail} (rebuild it with `fragment library verify --repair`)"
)]
pub struct CatalogueError {
    /// What is wrong, for people.
    pub detail: String,
}

/// The read-only view of a library.
///
/// Look-ups return every provider, in index order; an empty vector means nobody provides it. Choosing is
/// `fragment-resolve`'s job.
pub trait Catalogue {
    /// Digest over all components: changes exactly when the library changes.
    fn generation(&self) -> Digest;

    /// Number of components.
    fn len(&self) -> usize;

    /// Whether the library holds no component.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The component at `index`.
    ///
    /// # Errors
    /// When the record is damaged or `index` is out of range.
    fn component(&self, index: ComponentIndex) -> Result<ComponentSummary, CatalogueError>;

    /// Components with this name or alias.
    ///
    /// # Errors
    /// When the catalogue is damaged; so for every look-up below.
    fn named(&self, name: &str) -> Result<Vec<ComponentIndex>, CatalogueError>;

    /// Components holding the absolute path `path` itself (no symbolic link is followed).
    ///
    /// # Errors
    /// When the catalogue is damaged.
    fn providing_path(&self, path: &str) -> Result<Vec<PathProvider>, CatalogueError>;

    /// Components with a shared object of this soname, for any machine, public or private.
    ///
    /// # Errors
    /// When the catalogue is damaged.
    fn providing_soname(&self, soname: &str) -> Result<Vec<SonameProvider>, CatalogueError>;

    /// Components with an executable of this name in a standard `PATH` directory.
    ///
    /// # Errors
    /// When the catalogue is damaged.
    fn providing_command(&self, name: &str) -> Result<Vec<CommandProvider>, CatalogueError>;

    /// Components with this module of a script language.
    ///
    /// # Errors
    /// When the catalogue is damaged.
    fn providing_module(
        &self,
        language: &str,
        name: &str,
    ) -> Result<Vec<ComponentIndex>, CatalogueError>;

    /// Components that grant this capability.
    ///
    /// # Errors
    /// When the catalogue is damaged.
    fn granting(&self, capability: &str) -> Result<Vec<ComponentIndex>, CatalogueError>;

    /// Components that hold files of this distribution package.
    ///
    /// # Errors
    /// When the catalogue is damaged.
    fn holding_package(&self, package: &str) -> Result<Vec<ComponentIndex>, CatalogueError>;
}
