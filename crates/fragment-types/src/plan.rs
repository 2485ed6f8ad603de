//! The plan: the whole decision for one container as one canonical document.
//!
//! Its digest is the fragment id. It can be printed without root and says nothing that is not decided: paths of this
//! host, times and process ids are not in it.

use std::collections::BTreeSet;

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::canonical;
use crate::catalogue::CachedObject;
use crate::digest::Digest;
use crate::grade::Grade;
use crate::manifest::{Account, Size};
use crate::name::{Capability, ComponentName};
use crate::requirement::{Need, Requirement};

/// The only `schema` this release reads and writes.
pub const SCHEMA: &str = "dev.fragment.plan/1";

/// The decision for one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Version of fragment-runc that decided.
    pub runtime: Version,
    /// Generation of the library it was decided on.
    pub library: Digest,
    /// The entrypoint.
    pub entry: Entry,
    /// How the root filesystem is put together.
    pub form: Form,
    /// Component layers, topmost first; the bundle's rootfs lies above them. Empty exactly for [`Form::Plain`].
    pub layers: Vec<Layer>,
    /// Files made for this composition of components, in a layer between them and the rootfs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generated: Option<Generated>,
    /// Everything the entrypoint needs, with evidence.
    pub requirements: Vec<Requirement>,
    /// Grade that the evidence of a capability has to have for components to be composed for it.
    #[serde(default, skip_serializing_if = "Grade::is_default")]
    pub min_grade: Grade,
    /// Capabilities the layers grant.
    pub capabilities: BTreeSet<Capability>,
    /// Sum of the layers.
    pub size: Size,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// The entrypoint as analysed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// `argv[0]` as configured.
    pub command: String,
    /// Absolute path it resolves to inside the composed root.
    pub path: String,
    /// What kind of file it is.
    pub kind: EntryKind,
    /// Whether the file is the bundle's own (else a component's).
    pub in_bundle: bool,
}

/// Kind of an entrypoint file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntryKind {
    /// ELF with a program interpreter.
    DynamicElf,
    /// ELF without one.
    StaticElf,
    /// `#!` script.
    Script,
    /// Anything else: the kernel decides (binfmt_misc) or says ENOEXEC.
    Other,
    /// Not in the bundle: the component's file was not opened.
    Component,
}

/// How the root filesystem is put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// Nothing is missing: the bundle's rootfs as it is, no overlay.
    Plain,
    /// Overlay whose upper directory is the bundle's rootfs: writes land where OCI says.
    Upper,
    /// Read-only overlay whose topmost lower directory is the bundle's rootfs.
    ReadOnly,
    /// Overlay in the place of the engine's own, with its layers and its upper directory: the engine sees every write.
    Replace,
    /// Overlay with the layers and the upper directory of the engine's own, which stays mounted: it is in use elsewhere.
    Flat,
    /// Overlay above the bundle's rootfs with an upper of its own: the rootfs' filesystem cannot be an upper directory.
    Stack,
}

/// One component layer of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Component name.
    pub name: ComponentName,
    /// Component version.
    pub version: Version,
    /// Version as the upstream distribution spells it.
    pub upstream_version: String,
    /// Component digest.
    pub digest: Digest,
    /// Name of its tree in the store.
    pub diff_id: Digest,
    /// Sizes.
    pub size: Size,
    /// Capabilities it grants.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub capabilities: BTreeSet<Capability>,
    /// Users that its files belong to or its programs run as.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<Account>,
    /// Its shared objects that the dynamic loader finds by `/etc/ld.so.cache` alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cached: Vec<CachedObject>,
    /// Why it is there; never empty.
    pub reasons: Vec<Reason>,
}

/// Files that a root has once and components hold in parts, and directories that bridge two layouts of a root. They are made
/// from the trees of the layers named here and from nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generated {
    /// Digest of `parts`: what is made of the same trees in the same way is the same.
    pub digest: Digest,
    /// What is made, by path.
    pub parts: Vec<Part>,
}

/// One generated file or directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Absolute path.
    pub path: String,
    /// How it is made.
    pub kind: PartKind,
    /// `diff_id`s of the layers it is made from, topmost first.
    pub from: Vec<Digest>,
}

/// How a part is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum PartKind {
    /// The union of `/etc/passwd`, `/etc/group`, `/etc/shadow` or `/etc/gshadow`, by name.
    Accounts,
    /// The dynamic loader's cache of these shared objects.
    LoaderCache {
        /// What it leads to.
        objects: Vec<CachedObject>,
    },
    /// A directory of links to what the layers hold below `/usr`: the rootfs has a directory of its own here, where a merged-/usr
    /// root has a link.
    Links,
    /// Everything that the layers hold, where they are more than the kernel mounts one by one. It depends on the kernel, and so
    /// is in no plan.
    Merged,
}

/// Why a component is in a plan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "kebab-case")]
pub enum Reason {
    /// It supplies a requirement of the entrypoint.
    Supplies {
        /// Which one (see `requirements` for its evidence).
        requirement: Need,
    },
    /// Another component of the plan requires it.
    RequiredBy {
        /// That component.
        component: ComponentName,
        /// The soname or component name by which it requires it.
        via: String,
    },
    /// It is the core fragment, below every composition.
    Core,
}

impl Plan {
    /// The fragment id: digest of the canonical document.
    ///
    /// # Panics
    /// Never: a plan holds no map with other keys than strings.
    #[must_use]
    pub fn id(&self) -> Digest {
        canonical::digest(self).expect("a plan is always expressible in JSON")
    }

    /// Whether anything has to be mounted.
    #[must_use]
    pub fn is_composed(&self) -> bool {
        self.form != Form::Plain
    }
}
