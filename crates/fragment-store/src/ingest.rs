//! Taking components into the store.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use fragment_types::{ComponentName, Digest, Manifest};
use rustix::fs::OFlags;

use crate::error::StoreError;
use crate::expected::{Expected, LIMITS};
use crate::layer::{Compression, LayerError, digest_all};
use crate::layout;
use crate::oci::Documents;
use crate::store::Store;
use crate::tree;
use crate::unpack::unpack;
use crate::writer::Writer;

/// A component as it is built or received: its manifest, and the file that holds its layer.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// The manifest.
    pub manifest: Manifest,
    /// The layer, tar compressed with zstd or gzip.
    pub layer: PathBuf,
}

/// An artifact that lies verified in `tmp/`.
struct Staged<'a> {
    number: usize,
    manifest: &'a Manifest,
    documents: Documents,
}

/// What of a staged artifact.
#[derive(Clone, Copy)]
enum Part {
    Layer,
    Tree,
    Config,
    Manifest,
}

impl Part {
    fn name(self, number: usize) -> String {
        let part = match self {
            Self::Layer => "layer",
            Self::Tree => "tree",
            Self::Config => "config",
            Self::Manifest => "manifest",
        };
        format!("{number}.{part}")
    }
}

impl Store {
    /// Takes those components into the library that it does not have as they are, all or none; their names.
    ///
    /// # Errors
    /// As [`Store::ingest`].
    pub fn ingest_new(&self, artifacts: Vec<Artifact>) -> Result<Vec<ComponentName>, StoreError> {
        let new: Vec<Artifact> = artifacts
            .into_iter()
            .filter(|artifact| !self.holds(&artifact.manifest))
            .collect();
        if !new.is_empty() {
            self.ingest(&new)?;
        }
        Ok(new.into_iter().map(|one| one.manifest.name).collect())
    }

    /// Whether the library has this component, as it is.
    fn holds(&self, manifest: &Manifest) -> bool {
        let digest = self.digest_of(&manifest.name);
        digest
            .and_then(|digest| self.manifest(&digest))
            .is_ok_and(|known| known == *manifest)
    }

    /// Takes components into the library, all or none; returns their digests in the order given.
    ///
    /// Every layer is unpacked and compared with its manifest before anything is visible. A component replaces the one of
    /// the same name; the former's blobs and tree stay until [`Store::remove_unreferenced`]. Killed at any point, this
    /// leaves the library as it was or as it is to be.
    ///
    /// # Errors
    /// [`StoreError::Layer`] and [`StoreError::Manifest`] for artifacts that are not what they say; see there.
    pub fn ingest(&self, artifacts: &[Artifact]) -> Result<Vec<Digest>, StoreError> {
        let mut names = BTreeSet::new();
        if let Some(twice) = artifacts.iter().find(|a| !names.insert(&a.manifest.name)) {
            return Err(StoreError::Twice {
                component: twice.manifest.name.clone(),
            });
        }
        let writer = self.writer()?;
        let mut staged = Vec::with_capacity(artifacts.len());
        for (number, artifact) in artifacts.iter().enumerate() {
            staged.push(writer.stage(number, artifact)?);
        }
        // one flush for everything unpacked, before anything of it gets its final name
        self.flush()?;
        let mut index = self.index()?;
        for staged in &staged {
            writer.publish_staged(staged)?;
            index.replace(&staged.manifest.name, staged.documents.descriptor.clone());
        }
        for directory in [layout::TREES, layout::BLOBS] {
            layout::sync_directory(&self.path(directory))?;
        }
        writer.publish(&index)?;
        for staged in &staged {
            // new ones are not the first to go
            let _ = self.note_use(&staged.manifest.layer.diff_id);
        }
        Ok(staged
            .iter()
            .map(|staged| staged.documents.descriptor.digest)
            .collect())
    }
}

impl Writer<'_> {
    fn stage<'a>(&self, number: usize, artifact: &'a Artifact) -> Result<Staged<'a>, StoreError> {
        let manifest = &artifact.manifest;
        let expected = Expected::new(manifest, &LIMITS)?;
        // from here on only our copy is read: the file named by the caller may change
        let mut blob = self.copy_layer(number, artifact)?;
        let layer = |source| StoreError::Layer {
            component: manifest.name.clone(),
            source,
        };
        let compression = Compression::of(&mut blob).map_err(layer)?;
        self.unpack_blob(
            blob,
            compression,
            manifest,
            &expected,
            &Part::Tree.name(number),
        )?;
        let documents = Documents::of(manifest, compression == Compression::Gzip)
            .map_err(StoreError::json(&artifact.layer))?;
        for (part, bytes) in [
            (Part::Config, &documents.config),
            (Part::Manifest, &documents.manifest),
        ] {
            layout::write_new(&self.tmp(&part.name(number)), 0o600, bytes, false)?;
        }
        Ok(Staged {
            number,
            manifest,
            documents,
        })
    }

    /// Unpacks a layer into `tmp/NAME`.
    pub(crate) fn unpack_blob(
        &self,
        blob: File,
        compression: Compression,
        manifest: &Manifest,
        expected: &Expected<'_>,
        name: &str,
    ) -> Result<(), StoreError> {
        let layer = |source: LayerError| StoreError::Layer {
            component: manifest.name.clone(),
            source,
        };
        let path = self.tmp(name);
        layout::make_directory(&path, 0o700)?;
        let root = tree::open(&path).map_err(StoreError::open(&path))?;
        let archive = compression.reader(blob).map_err(layer)?;
        unpack(archive, manifest, expected, root.as_fd()).map_err(layer)
    }

    /// Copies the layer to `tmp/` and checks its length and digest on the way.
    fn copy_layer(&self, number: usize, artifact: &Artifact) -> Result<File, StoreError> {
        let manifest = &artifact.manifest;
        let source = OpenOptions::new()
            .read(true)
            // a fifo must not block us
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(&artifact.layer)
            .map_err(StoreError::open(&artifact.layer))?;
        let path = self.tmp(&Part::Layer.name(number));
        let unreadable = StoreError::read(&artifact.layer);
        copy_checked(manifest, source, &artifact.layer, unreadable, &path)
    }

    fn publish_staged(&self, staged: &Staged<'_>) -> Result<(), StoreError> {
        let Staged {
            number,
            manifest,
            documents,
        } = staged;
        self.publish_tree(&Part::Tree.name(*number), &manifest.layer.diff_id)?;
        self.publish_blob(&Part::Layer.name(*number), &manifest.layer.digest)?;
        self.publish_blob(&Part::Config.name(*number), &Digest::of(&documents.config))?;
        self.publish_blob(&Part::Manifest.name(*number), &documents.descriptor.digest)
    }
}

/// Copies a layer into the new file `to`, and checks on the way that it has the length and digest of the manifest. `from` is what
/// errors call it, `unreadable` makes one of a failed read.
pub(crate) fn copy_checked(
    manifest: &Manifest,
    source: impl Read,
    from: &Path,
    unreadable: impl FnOnce(io::Error) -> StoreError,
    to: &Path,
) -> Result<File, StoreError> {
    let mut copy = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)
        .map_err(StoreError::create(to))?;
    let promised = manifest.size.stored;
    let size = |found| StoreError::BlobSize {
        path: from.to_owned(),
        expected: promised,
        found,
    };
    let mut left = promised;
    let (found, length) = digest_all(source, unreadable, |piece| {
        // no more than promised: a layer that never ends must not fill the disk
        left = left
            .checked_sub(piece.len() as u64)
            .ok_or_else(|| size(promised - left + piece.len() as u64))?;
        copy.write_all(piece).map_err(StoreError::write(to))
    })?;
    if length != promised {
        return Err(size(length));
    }
    let expected = manifest.layer.digest;
    if found != expected {
        return Err(StoreError::BlobDigest {
            path: from.to_owned(),
            expected,
            found,
        });
    }
    Ok(copy)
}
