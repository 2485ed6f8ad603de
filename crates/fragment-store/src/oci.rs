//! The OCI documents of the store: image index, artifact manifest, descriptors.
//!
//! Sources: OCI image-spec v1.1, `image-layout.md`, `image-index.md`, `manifest.md` ("Guidelines for Artifact Usage"),
//! `annotations.md`.

use std::collections::BTreeMap;

use fragment_types::manifest::{ARTIFACT_TYPE, LAYER_MEDIA_TYPE};
use fragment_types::{ComponentName, Digest, Manifest, canonical};
use semver::Version;
use serde::{Deserialize, Serialize};

/// Content of the file `oci-layout`.
pub(crate) const LAYOUT_VERSION: &str = "1.0.0";
/// Media type of `index.json`.
pub(crate) const INDEX_MEDIA_TYPE: &str = "application/vnd.oci.image.index.v1+json";
/// Media type of a component's OCI manifest.
pub(crate) const MANIFEST_MEDIA_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of a gzip layer, which is read but never written by us.
pub(crate) const GZIP_LAYER_MEDIA_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// Annotation by which an image layout names its entries.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The file `oci-layout`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LayoutFile {
    pub(crate) image_layout_version: String,
}

/// A reference to a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

/// The file `index.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    pub(crate) schema_version: u32,
    pub(crate) media_type: String,
    pub(crate) manifests: Vec<Descriptor>,
}

/// The manifest of a component's artifact.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OciManifest {
    pub(crate) schema_version: u32,
    pub(crate) media_type: String,
    pub(crate) artifact_type: String,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

/// A component as the index names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) name: ComponentName,
    pub(crate) digest: Digest,
}

/// A component's documents in the bytes that are digested and stored.
#[derive(Debug)]
pub(crate) struct Documents {
    /// The config blob: the component manifest.
    pub(crate) config: Vec<u8>,
    /// The OCI manifest.
    pub(crate) manifest: Vec<u8>,
    /// How the index refers to the OCI manifest; its digest is the component's identity.
    pub(crate) descriptor: Descriptor,
}

impl Index {
    pub(crate) fn empty() -> Self {
        Self {
            schema_version: 2,
            media_type: INDEX_MEDIA_TYPE.to_owned(),
            manifests: Vec::new(),
        }
    }

    /// The components, or the entry that is none.
    pub(crate) fn components(&self) -> Result<Vec<Listed>, String> {
        self.manifests
            .iter()
            .map(|descriptor| {
                let name = descriptor
                    .component()
                    .ok_or_else(|| format!("entry {} is not a component", descriptor.digest))?;
                Ok(Listed {
                    name,
                    digest: descriptor.digest,
                })
            })
            .collect()
    }

    /// Puts `descriptor` in the place of the component of the same name; entries stay sorted by reference.
    pub(crate) fn replace(&mut self, name: &ComponentName, descriptor: Descriptor) {
        self.remove(name);
        self.manifests.push(descriptor);
        self.manifests.sort_by(|a, b| {
            a.annotations
                .get(REF_NAME)
                .cmp(&b.annotations.get(REF_NAME))
        });
    }

    /// Takes the component out; whether it was there.
    pub(crate) fn remove(&mut self, name: &ComponentName) -> bool {
        let before = self.manifests.len();
        self.manifests
            .retain(|descriptor| descriptor.component().as_ref() != Some(name));
        self.manifests.len() != before
    }
}

impl Descriptor {
    fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
            artifact_type: None,
            annotations: BTreeMap::new(),
        }
    }

    /// Name of the component this refers to.
    fn component(&self) -> Option<ComponentName> {
        if self.artifact_type.as_deref() != Some(ARTIFACT_TYPE) {
            return None;
        }
        // neither a component name nor a semantic version holds a colon
        let (name, version) = self.annotations.get(REF_NAME)?.split_once(':')?;
        Version::parse(version).ok()?;
        ComponentName::new(name).ok()
    }
}

impl Documents {
    /// The documents of a component whose layer is compressed with gzip (`gzip`) or zstd.
    pub(crate) fn of(component: &Manifest, gzip: bool) -> serde_json::Result<Self> {
        let config = canonical::to_vec(component)?;
        let layer = Descriptor {
            media_type: if gzip {
                GZIP_LAYER_MEDIA_TYPE
            } else {
                LAYER_MEDIA_TYPE
            }
            .to_owned(),
            digest: component.layer.digest,
            size: component.size.stored,
            artifact_type: None,
            annotations: BTreeMap::new(),
        };
        let manifest = canonical::to_vec(&OciManifest {
            schema_version: 2,
            media_type: MANIFEST_MEDIA_TYPE.to_owned(),
            artifact_type: ARTIFACT_TYPE.to_owned(),
            config: Descriptor::of(ARTIFACT_TYPE, &config),
            layers: vec![layer],
        })?;
        let mut descriptor = Descriptor::of(MANIFEST_MEDIA_TYPE, &manifest);
        descriptor.artifact_type = Some(ARTIFACT_TYPE.to_owned());
        descriptor.annotations.insert(
            REF_NAME.to_owned(),
            format!("{}:{}", component.name, component.version),
        );
        Ok(Self {
            config,
            manifest,
            descriptor,
        })
    }
}
