//! Comparing a store with what it should be, and repairing it.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use fragment_sys::lock::LockMode;
use fragment_types::manifest::PathKind;
use fragment_types::{Catalogue, ComponentName, Digest, Manifest};

use crate::catalogue::{Unresolved, generation};
use crate::error::StoreError;
use crate::expected::{Expected, LIMITS};
use crate::layer::{Compression, digest_all};
use crate::layout;
use crate::load::LoadOptions;
use crate::store::Store;
use crate::tree;

/// One thing that is wrong with a component.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "finding", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Finding {
    /// A document (OCI manifest or component manifest) cannot be used.
    Document {
        /// Why, for people.
        error: String,
    },
    /// The layer blob is not there or cannot be read.
    LayerUnreadable {
        /// Why, for people.
        error: String,
    },
    /// The layer blob is not what its digest says.
    LayerDamaged {
        /// Digest it has.
        found: Digest,
    },
    /// A path of the manifest is not in the tree. Of a missing directory only the directory is named.
    Missing {
        /// The path.
        path: String,
    },
    /// A path of the tree is not in the manifest.
    Extra {
        /// The path.
        path: String,
    },
    /// A path is of another kind than the manifest says.
    KindChanged {
        /// The path.
        path: String,
        /// Kind of the manifest.
        expected: PathKind,
    },
    /// A path has another mode than the manifest says.
    ModeChanged {
        /// The path.
        path: String,
        /// Mode of the manifest.
        expected: u32,
        /// Mode of the path.
        found: u32,
    },
    /// A file has other content than the manifest says.
    ContentChanged {
        /// The path.
        path: String,
    },
    /// A symbolic link points elsewhere than the manifest says.
    TargetChanged {
        /// The path.
        path: String,
    },
    /// A path could not be compared.
    Unreadable {
        /// The path.
        path: String,
        /// Why, for people.
        error: String,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Document { error } => write!(f, "manifest: {error}"),
            Self::LayerUnreadable { error } => write!(f, "layer: {error}"),
            Self::LayerDamaged { found } => write!(f, "layer has digest {found}"),
            Self::Missing { path } => write!(f, "{path} is missing"),
            Self::Extra { path } => write!(f, "{path} does not belong there"),
            Self::KindChanged { path, expected } => write!(f, "{path} is not a {expected:?}"),
            Self::ModeChanged {
                path,
                expected,
                found,
            } => {
                write!(f, "{path} has mode {found:o}, not {expected:o}")
            }
            Self::ContentChanged { path } => write!(f, "{path} has other content"),
            Self::TargetChanged { path } => write!(f, "{path} points elsewhere"),
            Self::Unreadable { path, error } => write!(f, "{path} cannot be read: {error}"),
        }
    }
}

/// What is wrong with one component; nothing, if `findings` is empty.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ComponentReport {
    /// Name.
    pub name: ComponentName,
    /// Identity.
    pub digest: Digest,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// Result of [`Store::verify`].
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct VerifyReport {
    /// Every component.
    pub components: Vec<ComponentReport>,
    /// What is wrong with the catalogue, for people; [`Store::rebuild_catalogue`] mends it.
    pub catalogue: Option<String>,
    /// What components need and nobody provides. Not damage: a library may be incomplete.
    pub unresolved: Vec<Unresolved>,
}

impl VerifyReport {
    /// Whether nothing is damaged.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.catalogue.is_none() && self.damaged().next().is_none()
    }

    /// The damaged components.
    pub fn damaged(&self) -> impl Iterator<Item = &ComponentReport> {
        self.components
            .iter()
            .filter(|component| !component.findings.is_empty())
    }
}

/// How far a verification is.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'p> {
    /// The component being read.
    pub component: &'p ComponentName,
    /// Bytes read so far, of all components.
    pub done: u64,
    /// Bytes to read, of all components.
    pub total: u64,
}

impl Store {
    /// Reads everything: every blob is digested, every tree compared with its manifest, and the catalogue with the index.
    /// Damage is reported, not an error. Waits for a writer, and writers wait for it.
    ///
    /// # Errors
    /// When the index itself cannot be read.
    pub fn verify(
        &self,
        mut progress: impl FnMut(Progress<'_>),
    ) -> Result<VerifyReport, StoreError> {
        let _lock = self.lock(LockMode::Shared)?;
        let listed = self.listed()?;
        let (catalogue, unresolved) = self.verify_catalogue(listed.iter().map(|l| l.digest));
        let manifests: Vec<_> = listed.iter().map(|l| self.manifest(&l.digest)).collect();
        let total = manifests
            .iter()
            .flatten()
            .map(|m| m.size.stored + m.size.plain)
            .sum();
        let mut done = 0;
        let mut components = Vec::with_capacity(listed.len());
        for (listed, manifest) in listed.into_iter().zip(manifests) {
            let findings = match manifest {
                Ok(manifest) => self.verify_component(&manifest, &mut |bytes| {
                    done += bytes;
                    progress(Progress {
                        component: &listed.name,
                        done,
                        total,
                    });
                }),
                Err(error) => vec![Finding::Document {
                    error: chain(&error),
                }],
            };
            components.push(ComponentReport {
                name: listed.name,
                digest: listed.digest,
                findings,
            });
        }
        Ok(VerifyReport {
            components,
            catalogue,
            unresolved,
        })
    }

    fn verify_catalogue(
        &self,
        digests: impl Iterator<Item = Digest>,
    ) -> (Option<String>, Vec<Unresolved>) {
        let result = self.catalogue().and_then(|catalogue| {
            catalogue.verify()?;
            let unresolved = catalogue.unresolved()?;
            let stale = (catalogue.generation() != generation(digests))
                .then(|| "the catalogue is of another state of the library".to_owned());
            Ok((stale, unresolved))
        });
        result.unwrap_or_else(|error| (Some(chain(&error)), Vec::new()))
    }

    fn verify_component(&self, manifest: &Manifest, done: &mut dyn FnMut(u64)) -> Vec<Finding> {
        let expected = match Expected::new(manifest, &LIMITS) {
            Ok(expected) => expected,
            Err(error) => {
                return vec![Finding::Document {
                    error: chain(&error),
                }];
            }
        };
        let mut findings = self.verify_layer(manifest, done);
        match self.open_tree(&manifest.layer.diff_id) {
            Ok(tree) => findings.extend(tree::compare(tree.as_fd(), &expected, done)),
            // not loaded: it is made from its layer when it is needed
            Err(StoreError::Open { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => findings.push(Finding::Unreadable {
                path: "/".to_owned(),
                error: chain(&error),
            }),
        }
        findings
    }

    fn verify_layer(&self, manifest: &Manifest, done: &mut dyn FnMut(u64)) -> Vec<Finding> {
        match self.layer_digest(manifest, done) {
            Ok(found) if found == manifest.layer.digest => Vec::new(),
            Ok(found) => vec![Finding::LayerDamaged { found }],
            Err(error) => vec![Finding::LayerUnreadable {
                error: chain(&error),
            }],
        }
    }

    /// Digest of the layer as it is in the store; `done` hears of every piece read.
    pub(crate) fn layer_digest(
        &self,
        manifest: &Manifest,
        done: &mut dyn FnMut(u64),
    ) -> Result<Digest, StoreError> {
        let path = self.blob_path(&manifest.layer.digest);
        let (found, _) = digest_all(
            layout::open_file(&path)?,
            StoreError::read(&path),
            |piece| {
                done(piece.len() as u64);
                Ok(())
            },
        )?;
        Ok(found)
    }

    /// Mends a component: a damaged layer is put aside and asked of the sources, a damaged tree is unpacked again.
    ///
    /// # Errors
    /// [`StoreError::Quarantined`] or [`StoreError::LayerGone`] for a layer that no source has either, [`StoreError::InUse`] when containers run from the
    /// damaged tree.
    pub fn repair(
        &self,
        name: &ComponentName,
        options: &LoadOptions<'_>,
    ) -> Result<(), StoreError> {
        let writer = self.writer()?;
        let manifest = self.manifest(&self.digest_of(name)?)?;
        let expected = Expected::new(&manifest, &LIMITS)?;
        let diff_id = &manifest.layer.diff_id;
        let mut blob = self.layer_or_fetched(&manifest, options)?;
        let is_whole = match self.open_tree(diff_id) {
            Ok(tree) => tree::compare(tree.as_fd(), &expected, &mut |_| {}).is_empty(),
            // not loaded
            Err(StoreError::Open { source, .. }) => source.kind() == io::ErrorKind::NotFound,
            Err(error) => return Err(error),
        };
        if is_whole {
            return Ok(());
        }
        let compression = Compression::of(&mut blob).map_err(|source| StoreError::Layer {
            component: name.clone(),
            source,
        })?;
        writer.unpack_blob(blob, compression, &manifest, &expected, "repair")?;
        let new = writer.tmp("repair");
        self.flush()?;
        // no lease can be taken between the question and the exchange
        let _lock = self.lock_leases(LockMode::Exclusive)?;
        self.require_unused(name, diff_id)?;
        self.replace_tree(&new, diff_id)?;
        layout::sync_directory(&self.path(layout::TREES))
    }

    /// The layer, from a source where it is not there or damaged.
    fn layer_or_fetched(
        &self,
        manifest: &Manifest,
        options: &LoadOptions<'_>,
    ) -> Result<File, StoreError> {
        let digest = &manifest.layer.digest;
        match self.intact_layer(manifest) {
            Err(StoreError::BlobDigest { .. }) => {
                self.quarantine(digest)?;
            }
            Err(StoreError::Open { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        if self.fetch_from_any(manifest, options)? {
            return layout::open_file(&self.blob_path(digest));
        }
        Err(self.missing(manifest))
    }

    fn intact_layer(&self, manifest: &Manifest) -> Result<File, StoreError> {
        let path = self.blob_path(&manifest.layer.digest);
        let found = self.layer_digest(manifest, &mut |_| {})?;
        let expected = manifest.layer.digest;
        if found != expected {
            return Err(StoreError::BlobDigest {
                path,
                expected,
                found,
            });
        }
        layout::open_file(&path)
    }
}

/// The error with its causes, for a report.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
