//! Components for tests, packed with the tar crate.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use fragment_store::{Artifact, Store};
use fragment_types::manifest::{Layer, PathEntry, PathKind, Provides, Requires, SCHEMA, Size};
use fragment_types::{ComponentName, Digest, Manifest};
use tar::{EntryType, Header};

pub(crate) const MTIME: u64 = 1_700_000_000;

/// One path of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    Directory(u32),
    File(Vec<u8>, u32),
    Symlink(String),
    /// Another name for the file at this path.
    HardLink(String),
}

/// Paths without leading `/`; every parent has to be there.
pub(crate) type Tree = BTreeMap<String, Node>;

/// How a layer is compressed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Packing {
    Zstd,
    Gzip,
}

pub(crate) fn name(text: &str) -> ComponentName {
    ComponentName::new(text).unwrap()
}

pub(crate) fn directory(mode: u32) -> Node {
    Node::Directory(mode)
}

pub(crate) fn file(content: &str, mode: u32) -> Node {
    Node::File(content.as_bytes().to_vec(), mode)
}

pub(crate) fn tree<const N: usize>(nodes: [(&str, Node); N]) -> Tree {
    nodes
        .into_iter()
        .map(|(path, node)| (path.to_owned(), node))
        .collect()
}

/// A tree with one path of every kind.
pub(crate) fn varied(content: &str) -> Tree {
    tree([
        ("etc", directory(0o755)),
        ("etc/config", file(content, 0o640)),
        ("usr", directory(0o755)),
        ("usr/bin", directory(0o555)),
        ("usr/bin/tool", file("#!/bin/sh\n", 0o755)),
        ("usr/bin/tool-1", Node::HardLink("usr/bin/tool".to_owned())),
        ("usr/bin/alias", Node::Symlink("tool".to_owned())),
        (
            "usr/bin/outside",
            Node::Symlink("/../../etc/passwd".to_owned()),
        ),
        ("var", directory(0o755)),
        ("var/empty", directory(0o1777)),
    ])
}

/// Writes a layer to `directory` and the manifest that describes it.
pub(crate) fn artifact(directory: &Path, component: &str, tree: &Tree) -> Artifact {
    packed(directory, component, tree, Packing::Zstd)
}

pub(crate) fn packed(directory: &Path, component: &str, tree: &Tree, packing: Packing) -> Artifact {
    let tar = tar_of(tree);
    let mut artifact = layer_artifact(directory, component, &tar, packing, paths(tree));
    artifact.manifest.size.plain = tree
        .values()
        .map(|node| {
            if let Node::File(content, _) = node {
                content.len() as u64
            } else {
                0
            }
        })
        .sum();
    artifact.manifest.size.entries = tree.len() as u64;
    artifact
}

/// An artifact with any tar and any paths, whether or not they agree.
pub(crate) fn layer_artifact(
    directory: &Path,
    component: &str,
    tar: &[u8],
    packing: Packing,
    paths: Vec<PathEntry>,
) -> Artifact {
    let blob = compress(tar, packing);
    let layer = directory.join(format!("{component}.layer"));
    fs::write(&layer, &blob).unwrap();
    let size = Size {
        plain: paths.iter().map(|path| path.size).sum(),
        stored: blob.len() as u64,
        entries: paths.len() as u64,
    };
    let mut manifest = manifest(component);
    manifest.provides.paths = paths;
    manifest.size = size;
    manifest.layer = Layer {
        digest: Digest::of(&blob),
        diff_id: Digest::of(tar),
    };
    Artifact { manifest, layer }
}

pub(crate) fn manifest(component: &str) -> Manifest {
    Manifest {
        schema: SCHEMA.to_owned(),
        name: name(component),
        version: "1.2.3".parse().unwrap(),
        upstream_version: "1.2.3-4+deb12u1".to_owned(),
        description: "a component for tests".to_owned(),
        architecture: "amd64".to_owned(),
        eol: None,
        aliases: BTreeSet::new(),
        preference: 0,
        capabilities: BTreeSet::new(),
        provides: Provides::default(),
        requires: Requires::default(),
        conflicts: BTreeSet::new(),
        accounts: Vec::new(),
        packages: Vec::new(),
        retention_seconds: 300,
        size: Size::default(),
        layer: Layer {
            digest: Digest::of(b""),
            diff_id: Digest::of(b""),
        },
    }
}

pub(crate) fn compress(tar: &[u8], packing: Packing) -> Vec<u8> {
    match packing {
        Packing::Zstd => zstd::encode_all(tar, 3).unwrap(),
        Packing::Gzip => {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(tar).unwrap();
            encoder.finish().unwrap()
        }
    }
}

pub(crate) fn paths(tree: &Tree) -> Vec<PathEntry> {
    tree.iter()
        .map(|(path, node)| path_entry(tree, path, node))
        .collect()
}

fn path_entry(tree: &Tree, path: &str, node: &Node) -> PathEntry {
    let mut entry = PathEntry {
        path: format!("/{path}"),
        kind: PathKind::Directory,
        mode: 0,
        size: 0,
        digest: None,
        target: None,
    };
    match node {
        Node::Directory(mode) => entry.mode = *mode,
        Node::File(content, mode) => {
            entry.kind = PathKind::File;
            entry.mode = *mode;
            entry.size = content.len() as u64;
            entry.digest = Some(Digest::of(content));
        }
        Node::Symlink(target) => {
            entry.kind = PathKind::Symlink;
            entry.mode = 0o777;
            entry.target = Some(target.clone());
        }
        Node::HardLink(target) => {
            let original = path_entry(tree, target, &tree[target]);
            return PathEntry {
                path: entry.path,
                ..original
            };
        }
    }
    entry
}

pub(crate) fn tar_of(tree: &Tree) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, node) in tree {
        let mut header = Header::new_gnu();
        header.set_mtime(MTIME);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        match node {
            Node::Directory(mode) => {
                header.set_mode(*mode);
                header.set_entry_type(EntryType::Directory);
                builder
                    .append_data(&mut header, format!("{path}/"), &[][..])
                    .unwrap();
            }
            Node::File(content, mode) => {
                header.set_mode(*mode);
                header.set_size(content.len() as u64);
                header.set_entry_type(EntryType::Regular);
                builder
                    .append_data(&mut header, path, content.as_slice())
                    .unwrap();
            }
            Node::Symlink(target) | Node::HardLink(target) => {
                header.set_mode(0o777);
                let hard = matches!(node, Node::HardLink(_));
                header.set_entry_type(if hard {
                    EntryType::Link
                } else {
                    EntryType::Symlink
                });
                // not `append_link`, which normalises the target
                if target.len() <= 100 {
                    header.set_link_name_literal(target).unwrap();
                } else {
                    builder
                        .append_pax_extensions([("linkpath", target.as_bytes())])
                        .unwrap();
                }
                builder.append_data(&mut header, path, &[][..]).unwrap();
            }
        }
    }
    builder.into_inner().unwrap()
}

/// A place for a store and for layers, in memory where that is possible: the store flushes whole filesystems.
pub(crate) struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    /// A place on the file system of `directory`.
    pub(crate) fn at(directory: &Path) -> Self {
        Self {
            directory: tempfile::tempdir_in(directory).unwrap(),
        }
    }

    pub(crate) fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let directory = if rustix::fs::access(memory, rustix::fs::Access::WRITE_OK).is_ok() {
            tempfile::tempdir_in(memory)
        } else {
            tempfile::tempdir()
        };
        Self {
            directory: directory.unwrap(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn store_path(&self) -> PathBuf {
        self.path().join("library")
    }

    pub(crate) fn store(&self) -> Store {
        Store::open_or_create(self.store_path()).unwrap()
    }

    pub(crate) fn artifact(&self, component: &str, tree: &Tree) -> Artifact {
        artifact(self.path(), component, tree)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // directories without write permission, for tests that are not run by root
        let mut pending = vec![self.path().to_owned()];
        while let Some(path) = pending.pop() {
            let Ok(metadata) = fs::symlink_metadata(&path) else {
                continue;
            };
            if metadata.is_dir() {
                let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
                let _ = fs::set_permissions(&path, mode);
                pending.extend(
                    fs::read_dir(&path)
                        .into_iter()
                        .flatten()
                        .flatten()
                        .map(|entry| entry.path()),
                );
            }
        }
    }
}
