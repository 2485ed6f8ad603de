//! The tree that a manifest promises, to compare layers and directories with.

use std::collections::HashMap;

use fragment_types::Manifest;
use fragment_types::manifest::{PathEntry, PathKind, SCHEMA};

use crate::entry::normal_path;
use crate::error::StoreError;

/// What one component may hold at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Paths.
    pub(crate) entries: usize,
    /// Bytes of all regular files.
    pub(crate) bytes: u64,
}

/// Ten times the largest component planned (a JDK with its headers, 60,000 files; a QEMU with every target, 3 GB).
pub(crate) const LIMITS: Limits = Limits {
    entries: 1_000_000,
    bytes: 32 << 30,
};

/// Paths of a manifest by their relative name (empty for the root).
#[derive(Debug)]
pub(crate) struct Expected<'m> {
    paths: HashMap<&'m str, &'m PathEntry>,
}

impl<'m> Expected<'m> {
    /// Checks that the manifest is one that could be true.
    pub(crate) fn new(manifest: &'m Manifest, limits: &Limits) -> Result<Self, StoreError> {
        Self::check(manifest, limits).map_err(|detail| StoreError::Manifest {
            component: manifest.name.clone(),
            detail,
        })
    }

    fn check(manifest: &'m Manifest, limits: &Limits) -> Result<Self, String> {
        if manifest.schema != SCHEMA {
            return Err(format!("schema `{}` is not `{SCHEMA}`", manifest.schema));
        }
        let entries = &manifest.provides.paths;
        if entries.len() > limits.entries {
            return Err(format!(
                "{} paths are more than {}",
                entries.len(),
                limits.entries
            ));
        }
        let mut paths = HashMap::with_capacity(entries.len());
        let mut bytes = 0u64;
        for entry in entries {
            let relative = check_path(entry)?;
            bytes = bytes.saturating_add(entry.size);
            if paths.insert(relative, entry).is_some() {
                return Err(format!("path `{}` is listed twice", entry.path));
            }
        }
        if bytes > limits.bytes {
            return Err(format!("{bytes} bytes are more than {}", limits.bytes));
        }
        let expected = Self { paths };
        let sonames = manifest.provides.sonames.iter().map(|soname| &soname.path);
        let commands = manifest
            .provides
            .commands
            .iter()
            .map(|command| &command.path);
        for path in sonames.chain(commands) {
            if path
                .strip_prefix('/')
                .and_then(|path| expected.get(path))
                .is_none()
            {
                return Err(format!("`{path}` is provided but not among the paths"));
            }
        }
        Ok(expected)
    }

    /// The entry of a relative path.
    pub(crate) fn get(&self, relative: &str) -> Option<&'m PathEntry> {
        self.paths.get(relative).copied()
    }

    /// How many paths there are but the root.
    pub(crate) fn count(&self) -> usize {
        self.paths.len() - usize::from(self.paths.contains_key(""))
    }

    /// All relative paths but the root, sorted.
    pub(crate) fn paths(&self) -> Vec<&'m str> {
        let mut paths: Vec<_> = self
            .paths
            .keys()
            .copied()
            .filter(|path| !path.is_empty())
            .collect();
        paths.sort_unstable();
        paths
    }
}

/// The relative form of a path entry that makes sense in itself.
fn check_path(entry: &PathEntry) -> Result<&str, String> {
    let path = entry.path.as_str();
    let relative = path
        .strip_prefix('/')
        .ok_or_else(|| format!("path `{path}` is not absolute"))?;
    if !relative.is_empty() {
        match normal_path(relative.as_bytes()) {
            Ok(normal) if normal == relative => {}
            Ok(_) => return Err(format!("path `{path}` is not in normal form")),
            Err(refusal) => return Err(format!("path `{path}`: {refusal}")),
        }
    }
    if entry.mode > 0o7777 {
        return Err(format!("path `{path}` has mode {:o}", entry.mode));
    }
    let complete = match entry.kind {
        PathKind::Directory => entry.size == 0 && entry.digest.is_none() && entry.target.is_none(),
        PathKind::File => entry.digest.is_some() && entry.target.is_none(),
        PathKind::Symlink => entry.size == 0 && entry.digest.is_none() && entry.target.is_some(),
    };
    if complete {
        Ok(relative)
    } else {
        Err(format!("path `{path}` has fields of another kind"))
    }
}

#[cfg(test)]
mod tests {
    use fragment_types::Digest;
    use fragment_types::manifest::{Layer, PathEntry, PathKind, Provides, Requires, SCHEMA, Size};

    use super::{Expected, Limits};

    fn manifest(files: u64) -> fragment_types::Manifest {
        let digest = Digest::of(b"");
        let paths = (0..files)
            .map(|number| PathEntry {
                path: format!("/{number}"),
                kind: PathKind::File,
                mode: 0o644,
                size: 10,
                digest: Some(digest),
                target: None,
            })
            .collect();
        fragment_types::Manifest {
            schema: SCHEMA.to_owned(),
            name: "many".parse().unwrap(),
            version: "1.0.0".parse().unwrap(),
            upstream_version: String::new(),
            description: String::new(),
            architecture: String::new(),
            eol: None,
            aliases: [].into(),
            preference: 0,
            capabilities: [].into(),
            provides: Provides {
                paths,
                ..Provides::default()
            },
            requires: Requires::default(),
            conflicts: [].into(),
            accounts: Vec::new(),
            packages: Vec::new(),
            retention_seconds: 0,
            size: Size::default(),
            layer: Layer {
                digest,
                diff_id: digest,
            },
        }
    }

    #[test]
    fn entries_and_bytes_are_limited() {
        let limits = Limits {
            entries: 5,
            bytes: 50,
        };
        assert!(Expected::new(&manifest(5), &limits).is_ok());
        for (files, limits, message) in [
            (6, limits, "6 paths are more than 5"),
            (
                5,
                Limits {
                    bytes: 49,
                    ..limits
                },
                "50 bytes are more than 49",
            ),
        ] {
            let error = Expected::new(&manifest(files), &limits)
                .unwrap_err()
                .to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
