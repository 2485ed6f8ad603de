//! OCI image layouts: reading an image with its digests checked, writing one.
//!
//! Sources: OCI image-spec v1.1, `image-layout.md`, `image-index.md`, `manifest.md`, `config.md`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use fragment::store::{Compression, Hashing, LayerError};
use fragment_sys::root::Root;
use fragment_types::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::ImageError;
use crate::unpack::Tree;

/// Largest index, manifest or configuration read, in bytes: as registries limit manifests.
const MAX_DOCUMENT: u64 = 4 << 20;
/// Most layers of an image.
const MAX_LAYERS: usize = 512;
/// Deepest index of indexes.
const MAX_NESTING: usize = 4;
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Label and annotation of a thin image that name the components it needs, by digest.
pub const LOCK: &str = "dev.fragment.lock";

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    platform: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// An image of a layout.
#[derive(Debug)]
pub(crate) struct Image {
    root: Root,
    path: PathBuf,
    /// The tag it was found by.
    pub(crate) tag: Option<String>,
    /// The configuration, whole.
    pub(crate) config: Value,
    layers: Vec<(Descriptor, Digest)>,
}

/// Whether `path` is an image layout and not a root filesystem.
pub(crate) fn is_layout(path: &Path) -> bool {
    path.join("oci-layout").is_file() && path.join("index.json").is_file()
}

impl Image {
    /// Opens the image `tag`, or the only one.
    pub(crate) fn open(path: &Path, tag: Option<&str>) -> Result<Self, ImageError> {
        let root = Root::open(path)?;
        let bytes = root.read_prefix("/index.json", limit(MAX_DOCUMENT))?;
        let index: Index = parse(&path.join("index.json"), &bytes)?;
        let chosen = choose(path, &index, tag)?;
        let tag = chosen.annotations.get(REF_NAME).cloned();
        let mut image = Self {
            root,
            path: path.to_owned(),
            tag,
            config: Value::Null,
            layers: Vec::new(),
        };
        let manifest = image.manifest(chosen, 0)?;
        if manifest.layers.len() > MAX_LAYERS {
            return Err(ImageError::layout(path, "too many layers"));
        }
        image.config = image.document(&manifest.config)?;
        let diff_ids: Vec<Digest> = serde_json::from_value(
            image.config["rootfs"]["diff_ids"].clone(),
        )
        .map_err(|error| {
            ImageError::layout(
                path,
                format!("rootfs.diff_ids of the configuration: {error}"),
            )
        })?;
        if diff_ids.len() != manifest.layers.len() {
            return Err(ImageError::layout(
                path,
                "the configuration has not one diff_id for each layer",
            ));
        }
        image.layers = manifest.layers.into_iter().zip(diff_ids).collect();
        Ok(image)
    }

    /// Bytes of all layers as stored.
    pub(crate) fn stored(&self) -> u64 {
        self.layers.iter().map(|(layer, _)| layer.size).sum()
    }

    fn manifest(&self, descriptor: &Descriptor, depth: usize) -> Result<Manifest, ImageError> {
        let value: Value = self.document(descriptor)?;
        let is_index = value.get("manifests").is_some();
        if !is_index || depth == MAX_NESTING {
            return serde_json::from_value(value)
                .map_err(|error| ImageError::layout(&self.path, format!("manifest: {error}")));
        }
        let index: Index = serde_json::from_value(value)
            .map_err(|error| ImageError::layout(&self.path, format!("index: {error}")))?;
        let architecture = architecture();
        let fits = |descriptor: &&Descriptor| {
            descriptor.platform.as_ref().is_none_or(|platform| {
                platform["os"] == "linux" && platform["architecture"] == architecture
            })
        };
        let chosen = index.manifests.iter().find(fits).ok_or_else(|| {
            ImageError::layout(&self.path, format!("no image for linux/{architecture}"))
        })?;
        self.manifest(chosen, depth + 1)
    }

    fn document<T: serde::de::DeserializeOwned>(
        &self,
        descriptor: &Descriptor,
    ) -> Result<T, ImageError> {
        let path = self.blob_path(&descriptor.digest);
        if descriptor.size > MAX_DOCUMENT {
            return Err(ImageError::layout(path, "document is too large"));
        }
        let bytes = self
            .root
            .read_prefix(&blob_name(&descriptor.digest), limit(MAX_DOCUMENT))?;
        if Digest::of(&bytes) != descriptor.digest {
            return Err(ImageError::layout(
                path,
                "content is not what its name says",
            ));
        }
        parse(&path, &bytes)
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.path.join(blob_name(digest).trim_start_matches('/'))
    }

    /// Applies every layer to the empty directory `directory`.
    pub(crate) fn unpack(&self, directory: &Path) -> Result<(), ImageError> {
        let failed = |digest: &Digest| {
            let digest = *digest;
            move |source| ImageError::Layer { digest, source }
        };
        let top = Digest::of(b"");
        let mut tree = Tree::new(directory).map_err(failed(&top))?;
        for (layer, diff_id) in &self.layers {
            let blob = self.root.open_file(&blob_name(&layer.digest))?;
            let blob = self.checked(blob, layer)?;
            apply(&mut tree, blob, diff_id).map_err(failed(&layer.digest))?;
        }
        tree.finish().map_err(failed(&top))
    }

    /// The blob, if it is the one that its name says.
    fn checked(&self, mut blob: File, layer: &Descriptor) -> Result<File, ImageError> {
        let path = self.blob_path(&layer.digest);
        let unreadable = |source| ImageError::io("read", &path)(source);
        let mut source = Hashing::new(blob.by_ref().take(layer.size.saturating_add(1)));
        let length = std::io::copy(&mut source, &mut std::io::sink()).map_err(unreadable)?;
        if length != layer.size || source.digest() != layer.digest {
            return Err(ImageError::layout(
                path,
                "content is not what its name says",
            ));
        }
        blob.seek(SeekFrom::Start(0)).map_err(unreadable)?;
        Ok(blob)
    }
}

fn apply(tree: &mut Tree, mut blob: File, diff_id: &Digest) -> Result<(), LayerError> {
    let reader: Box<dyn Read> = match Compression::of(&mut blob) {
        Ok(compression) => compression.reader(blob)?,
        Err(LayerError::Compression) => Box::new(std::io::BufReader::new(blob)),
        Err(error) => return Err(error),
    };
    let mut source = Hashing::new(reader);
    tree.apply(&mut source)?;
    let found = source.digest();
    if found == *diff_id {
        Ok(())
    } else {
        let expected = *diff_id;
        Err(LayerError::DiffId { expected, found })
    }
}

fn choose<'i>(
    path: &Path,
    index: &'i Index,
    tag: Option<&str>,
) -> Result<&'i Descriptor, ImageError> {
    let name = |descriptor: &Descriptor| descriptor.annotations.get(REF_NAME).cloned();
    let found: Vec<&Descriptor> = index
        .manifests
        .iter()
        .filter(|descriptor| tag.is_none() || name(descriptor).as_deref() == tag)
        .filter(|descriptor| {
            [MANIFEST, INDEX, DOCKER_INDEX].contains(&descriptor.media_type.as_str())
                || descriptor.media_type.ends_with("manifest.v2+json")
        })
        .collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(ImageError::layout(path, "holds no such image")),
        several => {
            let names: Vec<String> = several.iter().filter_map(|one| name(one)).collect();
            let detail = format!("holds several images: name one of {}", names.join(" "));
            Err(ImageError::layout(path, detail))
        }
    }
}

fn parse<T: serde::de::DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, ImageError> {
    serde_json::from_slice(bytes).map_err(|error| ImageError::layout(path, error.to_string()))
}

fn blob_name(digest: &Digest) -> String {
    format!("/blobs/sha256/{}", digest.hex())
}

fn limit(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// The name of this machine's architecture in images.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

/// A layer as written: the file that holds it, and its digests.
#[derive(Debug)]
pub(crate) struct Blob {
    pub(crate) path: PathBuf,
    pub(crate) digest: Digest,
    pub(crate) diff_id: Digest,
    pub(crate) size: u64,
}

/// Writes the layout of an image with one layer into the new directory `directory`; `lock` becomes an annotation.
pub(crate) fn write(
    directory: &Path,
    tag: &str,
    config: &Value,
    layer: &Blob,
    lock: &str,
) -> Result<Digest, ImageError> {
    let blobs = directory.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(ImageError::io("create", &blobs))?;
    let to = blobs.join(layer.digest.hex());
    fs::copy(&layer.path, &to).map_err(ImageError::io("write", &to))?;
    let put = |media_type: &str, document: &Value| {
        let bytes = document.to_string().into_bytes();
        let digest = Digest::of(&bytes);
        let path = blobs.join(digest.hex());
        let descriptor = Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size: bytes.len() as u64,
            annotations: BTreeMap::new(),
            platform: None,
        };
        fs::write(&path, bytes).map_err(ImageError::io("write", &path))?;
        Ok::<_, ImageError>(descriptor)
    };
    let config = put(CONFIG, config)?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config,
        "layers": [{ "mediaType": LAYER, "digest": layer.digest, "size": layer.size }],
        "annotations": { LOCK: lock },
    });
    let mut manifest = put(MANIFEST, &manifest)?;
    manifest
        .annotations
        .insert(REF_NAME.to_owned(), tag.to_owned());
    let digest = manifest.digest;
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest] });
    for (name, content) in [
        ("index.json", index.to_string()),
        ("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#.to_owned()),
    ] {
        let path = directory.join(name);
        fs::write(&path, content).map_err(ImageError::io("write", &path))?;
    }
    Ok(digest)
}
