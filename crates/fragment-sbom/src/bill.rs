//! The contents of a fragment, before they are written in a format.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, SecondsFormat, Utc};
use fragment_types::manifest::Package;
use fragment_types::{ComponentName, Digest, Manifest, Plan};

use crate::purl;

/// A file that the app brings itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OwnFile {
    /// Absolute path inside the container.
    pub path: String,
    /// Digest of its content.
    pub digest: Digest,
}

/// Everything that is in a fragment.
#[derive(Debug, Clone)]
pub struct Bill<'a> {
    pub(crate) plan: &'a Plan,
    /// One for each layer of the plan, in its order.
    pub(crate) manifests: Vec<&'a Manifest>,
    /// By name and version.
    pub(crate) packages: BTreeMap<(&'a str, &'a str), Held<'a>>,
    pub(crate) files: Vec<OwnFile>,
    /// What is not listed, for people.
    pub(crate) remark: Option<String>,
    /// Release of the distribution, such as `12`.
    pub(crate) release: Option<String>,
    pub(crate) created: String,
    /// Digest of all of it: the same for the same contents.
    pub(crate) identity: Digest,
}

/// A distribution package and where its files are.
#[derive(Debug, Clone)]
pub(crate) struct Held<'a> {
    pub(crate) package: &'a Package,
    /// Components that hold it, and whether each holds only some of its files.
    pub(crate) by: BTreeMap<&'a ComponentName, bool>,
    pub(crate) purl: String,
}

impl Held<'_> {
    /// Whether no component holds it whole.
    pub(crate) fn is_sliced(&self) -> bool {
        self.by.values().all(|sliced| *sliced)
    }
}

impl<'a> Bill<'a> {
    /// Describes `plan`, whose layers have these `manifests` (in any order), at `created` seconds since 1970.
    #[must_use]
    pub fn new(plan: &'a Plan, manifests: &'a [Manifest], created: i64) -> Self {
        let manifests: Vec<&Manifest> = plan
            .layers
            .iter()
            .filter_map(|layer| manifests.iter().find(|m| m.name == layer.name))
            .collect();
        let release = release(&manifests);
        let mut packages = BTreeMap::new();
        for manifest in &manifests {
            for package in &manifest.packages {
                let key = (package.name.as_str(), package.version.as_str());
                let architecture = package
                    .architecture
                    .as_deref()
                    .unwrap_or(&manifest.architecture);
                let held = packages.entry(key).or_insert_with(|| Held {
                    package,
                    by: BTreeMap::new(),
                    purl: purl::debian(key.0, key.1, architecture, release.as_deref()),
                });
                held.by.insert(&manifest.name, package.sliced);
            }
        }
        let created = DateTime::<Utc>::from_timestamp(created, 0).unwrap_or_default();
        Self {
            plan,
            manifests,
            packages,
            files: Vec::new(),
            remark: None,
            release,
            created: created.to_rfc3339_opts(SecondsFormat::Secs, true),
            identity: plan.id(),
        }
    }

    /// Adds what the app brings itself, and a remark on what of it is not listed.
    #[must_use]
    pub fn with_files(mut self, mut files: Vec<OwnFile>, remark: Option<String>) -> Self {
        files.sort();
        let mut text = self.plan.id().to_string();
        for file in &files {
            text.push_str(&format!("\n{} {}", file.digest, file.path));
        }
        if !files.is_empty() {
            self.identity = Digest::of(text.as_bytes());
        }
        (self.files, self.remark) = (files, remark);
        self
    }

    /// What the fragment is called: the last part of its entrypoint.
    pub(crate) fn name(&self) -> &str {
        let path = &self.plan.entry.path;
        path.rsplit('/').find(|p| !p.is_empty()).unwrap_or("none")
    }

    /// A UUID of the contents, version 8 (RFC 9562, 5.8).
    pub(crate) fn uuid(&self) -> String {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.identity.as_bytes()[..16]);
        bytes[6] = bytes[6] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        let parts = [
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..],
        ];
        parts.join("-")
    }

    /// The components of the fragment that `manifest` requires.
    pub(crate) fn required(&self, manifest: &Manifest) -> BTreeSet<&'a ComponentName> {
        let stands_for = |name: &ComponentName| {
            self.manifests
                .iter()
                .find(|m| m.name == *name || m.aliases.contains(name))
                .map(|m| &m.name)
        };
        let required = manifest.requires.components.iter();
        required.filter_map(stands_for).collect()
    }

    /// The packages of the fragment that `package` depends on.
    pub(crate) fn depends<'b>(
        &'b self,
        package: &'b Package,
    ) -> impl Iterator<Item = &'b Held<'a>> {
        let needed = |held: &&Held<'_>| {
            let name = &held.package.name;
            *name != package.name && package.depends.contains(name)
        };
        self.packages.values().filter(needed)
    }
}

/// Debian's release: what the package that names it is a version of, else what versions of its updates say.
fn release(manifests: &[&Manifest]) -> Option<String> {
    let packages = || manifests.iter().flat_map(|m| &m.packages);
    let digits = |text: &str| -> Option<String> {
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        (!digits.is_empty()).then_some(digits)
    };
    packages()
        .find(|p| p.name == "base-files")
        .and_then(|p| digits(&p.version))
        .or_else(|| packages().find_map(|p| digits(p.version.split_once("+deb")?.1)))
}
