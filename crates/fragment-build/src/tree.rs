//! The files of a component before they are packed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;

use fragment_types::Digest;
use fragment_types::manifest::{PathEntry, PathKind};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
use crate::recipe::FileSpec;
use crate::root::{Node, Root};

/// Paths and what is there, sorted; every parent of a path is in it too.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree {
    pub(crate) entries: BTreeMap<String, Entry>,
}

/// One path.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) content: Content,
}

#[derive(Debug, Clone)]
pub(crate) enum Content {
    Directory,
    Symlink(String),
    File {
        source: Source,
        size: u64,
        /// Known once [`Tree::digest_files`] has run.
        digest: Option<Digest>,
        /// Device and inode of a file with several names.
        inode: Option<(u64, u64)>,
        /// `security.capability`, kept only where the recipe names the file.
        capability: Option<Vec<u8>>,
    },
}

#[derive(Debug, Clone)]
pub(crate) enum Source {
    Disk(PathBuf),
    Bytes(Vec<u8>),
}

impl Entry {
    fn directory() -> Self {
        Self {
            mode: 0o755,
            uid: 0,
            gid: 0,
            content: Content::Directory,
        }
    }

    /// What `node` is; nothing for sockets, which are never content.
    ///
    /// # Errors
    /// [`Error::SpecialFile`] for device nodes and FIFOs.
    pub(crate) fn of(node: &Node) -> Result<Option<Self>> {
        let metadata = &node.metadata;
        let content = if metadata.is_dir() {
            Content::Directory
        } else if let Some(target) = &node.target {
            Content::Symlink(target.clone())
        } else if metadata.is_file() {
            Content::File {
                source: Source::Disk(node.source.clone()),
                size: metadata.len(),
                digest: None,
                inode: (metadata.nlink() > 1).then(|| (metadata.dev(), metadata.ino())),
                capability: None,
            }
        } else if metadata.file_type().is_socket() {
            return Ok(None);
        } else {
            return Err(Error::SpecialFile {
                path: node.path.clone(),
            });
        };
        let mode = if node.target.is_some() {
            0o777
        } else {
            metadata.mode() & 0o7777
        };
        Ok(Some(Self {
            mode,
            uid: metadata.uid(),
            gid: metadata.gid(),
            content,
        }))
    }

    /// A file of root's with this content.
    pub(crate) fn of_bytes(bytes: Vec<u8>, mode: u32) -> Self {
        Self {
            mode,
            uid: 0,
            gid: 0,
            content: Content::File {
                size: bytes.len() as u64,
                source: Source::Bytes(bytes),
                digest: None,
                inode: None,
                capability: None,
            },
        }
    }

    /// What a recipe's `files` describe.
    pub(crate) fn of_spec(spec: &FileSpec) -> Self {
        let mode = spec.mode.map(|m| m.0);
        let (mode, content) = if let Some(target) = &spec.link {
            (0o777, Content::Symlink(target.clone()))
        } else if let Some(text) = &spec.content {
            return Self::of_bytes(text.as_bytes().to_vec(), mode.unwrap_or(0o644));
        } else {
            (mode.unwrap_or(0o755), Content::Directory)
        };
        Self {
            mode,
            uid: 0,
            gid: 0,
            content,
        }
    }

    pub(crate) fn is_directory(&self) -> bool {
        matches!(self.content, Content::Directory)
    }

    pub(crate) fn is_file(&self) -> bool {
        matches!(self.content, Content::File { .. })
    }
}

impl Tree {
    /// Sum of the sizes of its files, in bytes; hard links count each.
    pub(crate) fn file_bytes(&self) -> u64 {
        let sizes = self.entries.values().map(|entry| match &entry.content {
            Content::File { size, .. } => *size,
            Content::Directory | Content::Symlink(_) => 0,
        });
        sizes.sum()
    }

    /// Adds what the root has at `path` (links in its parents followed); answers whether it is there.
    pub(crate) fn take(&mut self, root: &Root, path: &str) -> Result<bool> {
        let found = root.lookup(path).map_err(|source| Error::ReadRoot {
            path: path.to_owned(),
            source,
        })?;
        let Some(node) = found else { return Ok(false) };
        self.take_node(&node)
    }

    /// Adds `node`; answers whether it is content.
    pub(crate) fn take_node(&mut self, node: &Node) -> Result<bool> {
        let Some(entry) = Entry::of(node)? else {
            return Ok(false);
        };
        if !node.path.is_empty() {
            self.entries.insert(node.path.clone(), entry);
        }
        Ok(true)
    }

    /// Adds the missing parents of every path, as the root has them.
    pub(crate) fn add_parents(&mut self, root: &Root) -> Result<()> {
        let parents: BTreeSet<String> = self
            .entries
            .keys()
            .flat_map(|path| {
                path.match_indices('/')
                    .skip(1)
                    .map(|(at, _)| path[..at].to_owned())
            })
            .filter(|parent| !self.entries.contains_key(parent))
            .collect();
        for parent in parents {
            let node = root.lookup(&parent).map_err(|source| Error::ReadRoot {
                path: parent.clone(),
                source,
            })?;
            let entry = match node.as_ref().filter(|n| n.is_directory()).map(Entry::of) {
                Some(entry) => entry?.unwrap_or_else(Entry::directory),
                None => Entry::directory(),
            };
            self.entries.insert(parent, entry);
        }
        Ok(())
    }

    /// Takes directories out that hold nothing and that `keep` does not want for themselves.
    pub(crate) fn prune_empty(&mut self, keep: impl Fn(&str, &Entry) -> bool) {
        let mut wanted: BTreeSet<String> = BTreeSet::new();
        for (path, entry) in self.entries.iter().rev() {
            if !entry.is_directory() || wanted.contains(path) || keep(path, entry) {
                wanted.insert(path.clone());
                if let Some((parent, _)) = path.rsplit_once('/') {
                    wanted.insert(parent.to_owned());
                }
            }
        }
        self.entries.retain(|path, _| wanted.contains(path));
    }

    /// Digests every regular file.
    pub(crate) fn digest_files(&mut self) -> Result<()> {
        for (path, entry) in &mut self.entries {
            if let Content::File {
                source,
                size,
                digest,
                ..
            } = &mut entry.content
            {
                let (read, length) = source.digest().map_err(|source| Error::ReadRoot {
                    path: path.clone(),
                    source,
                })?;
                *digest = Some(read);
                *size = length;
            }
        }
        Ok(())
    }

    /// The entries as a manifest lists them.
    pub(crate) fn paths(&self) -> Vec<PathEntry> {
        self.entries
            .iter()
            .map(|(path, entry)| path_entry(path, entry))
            .collect()
    }
}

/// `entry` as a manifest lists it.
pub(crate) fn path_entry(path: &str, entry: &Entry) -> PathEntry {
    let mut listed = PathEntry {
        path: path.to_owned(),
        kind: PathKind::Directory,
        mode: entry.mode,
        size: 0,
        digest: None,
        target: None,
    };
    match &entry.content {
        Content::Directory => {}
        Content::Symlink(target) => {
            listed.kind = PathKind::Symlink;
            listed.target = Some(target.clone());
        }
        Content::File { size, digest, .. } => {
            listed.kind = PathKind::File;
            listed.size = *size;
            listed.digest = *digest;
        }
    }
    listed
}

impl Source {
    /// Opens the content for reading.
    pub(crate) fn open(&self) -> std::io::Result<Box<dyn Read + '_>> {
        Ok(match self {
            Self::Disk(path) => Box::new(File::open(path)?),
            Self::Bytes(bytes) => Box::new(bytes.as_slice()),
        })
    }

    /// The first `limit` bytes.
    pub(crate) fn head(&self, limit: u64) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open()?.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn digest(&self) -> std::io::Result<(Digest, u64)> {
        let mut hasher = Sha256::new();
        let (mut reader, mut buffer, mut length) = (self.open()?, vec![0; 1 << 16], 0);
        loop {
            let read = reader.read(&mut buffer)?;
            if read == 0 {
                return Ok((Digest::from_bytes(hasher.finalize().into()), length));
            }
            hasher.update(&buffer[..read]);
            length += read as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, Tree};
    use crate::recipe::FileSpec;

    #[test]
    fn empty_directories_go_unless_wanted() {
        let file = FileSpec {
            owner: None,
            content: Some("x".to_owned()),
            link: None,
            directory: false,
            mode: None,
        };
        let directory = FileSpec {
            owner: None,
            content: None,
            link: None,
            directory: true,
            mode: None,
        };
        let mut tree = Tree::default();
        for path in ["/a", "/a/b", "/a/b/c", "/e", "/e/f", "/run", "/a-b"] {
            tree.entries
                .insert(path.to_owned(), Entry::of_spec(&directory));
        }
        tree.entries
            .insert("/a/b/x".to_owned(), Entry::of_spec(&file));
        tree.prune_empty(|path, _| path == "/run");
        assert_eq!(
            tree.entries.keys().collect::<Vec<_>>(),
            ["/a", "/a/b", "/a/b/x", "/run"]
        );
    }
}
