//! A directory of files as a component: what somebody made, of which no package knows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use fragment_types::catalogue::RETENTION_SECONDS;
use fragment_types::manifest::{NeededSoname, Provides, Requires, SCHEMA};
use fragment_types::path::merged_usr;
use fragment_types::{Capability, ComponentName, Manifest};
use semver::Version;

use crate::cut::is_merged_link;
use crate::error::{Error, Result};
use crate::index::{self, COMMAND_DIRECTORIES, Runner};
use crate::manifest::{architecture, sonames};
use crate::module_paths;
use crate::pack::{Effort, pack};
use crate::root::Root;
use crate::tree::{Content, Entry, Tree};

/// A directory that is a component now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// What it is.
    pub manifest: Manifest,
    /// What runs its programs and scripts and is not in it: loaders, interpreters.
    pub runners: BTreeSet<Runner>,
}

/// What is said of a component that is made of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryComponent {
    /// Its name.
    pub name: ComponentName,
    /// The directory that is to be its root.
    pub directory: PathBuf,
    /// Its version.
    pub version: Version,
    /// What it is, for people.
    pub description: String,
    /// Other names of it.
    pub aliases: BTreeSet<ComponentName>,
    /// What it grants.
    pub capabilities: BTreeSet<Capability>,
    /// Components that it is always composed with.
    pub requires: BTreeSet<ComponentName>,
    /// Components that it is never composed with.
    pub conflicts: BTreeSet<ComponentName>,
}

impl DirectoryComponent {
    /// A component of this name of this directory, of which nothing more is said.
    #[must_use]
    pub fn new(name: ComponentName, directory: impl Into<PathBuf>) -> Self {
        Self {
            name,
            directory: directory.into(),
            version: Version::new(0, 0, 0),
            description: String::new(),
            aliases: BTreeSet::new(),
            capabilities: BTreeSet::new(),
            requires: BTreeSet::new(),
            conflicts: BTreeSet::new(),
        }
    }

    /// Packs the directory into the layer `file`, and says what is in it: the same files give the same bytes.
    ///
    /// All belong to root and have the time 0, so that a copy of the directory is the same component; set-id bits and sockets are left out.
    /// Paths below `/bin`, `/sbin`, `/lib` and `/lib64` are those below `/usr`. Libraries that the files need and the directory does not
    /// hold are what it requires.
    ///
    /// # Errors
    /// [`Error::EmptyDirectory`], [`Error::SpecialFile`] for a device or FIFO, [`Error::TwicePath`] for a file that two spellings of a
    /// directory hold, [`Error::ReadDirectory`], also for a name that is not UTF-8.
    pub fn pack(&self, file: &Path) -> Result<Packed> {
        let mut tree = self.tree()?;
        tree.digest_files().map_err(|error| self.here(error))?;
        let index = index::index(&tree, &[]).map_err(|error| self.here(error))?;
        let is_inside = |path: &str| tree.entries.contains_key(path);
        let mut private = BTreeSet::new();
        let mut outside: BTreeMap<_, NeededSoname> = BTreeMap::new();
        for need in &index.needs {
            let soname = &need.need.soname;
            if !need.candidates().any(|path| is_inside(&path)) {
                let known = outside
                    .entry((soname.clone(), need.need.machine))
                    .or_insert_with(|| need.need.clone());
                known.versions.extend(need.need.versions.iter().cloned());
            } else if !index
                .sonames
                .iter()
                .any(|one| one.public && one.soname == *soname)
            {
                private.insert(soname.clone());
            }
        }
        let packed = pack(&tree, 0, file, Effort::Small, &mut |_| {});
        let (layer, size) = packed.map_err(|error| self.here(error))?;
        let paths = tree.paths();
        let by_path: BTreeMap<&str, _> = paths.iter().map(|one| (one.path.as_str(), one)).collect();
        let commands = index::commands(&paths, &|path| by_path.get(path).copied());
        drop(by_path);
        let runners = index.runners.values().filter(|runner| match runner {
            Runner::Path(path) => !is_inside(path),
            Runner::Command(name) => !COMMAND_DIRECTORIES
                .iter()
                .any(|directory| is_inside(&format!("{directory}/{name}"))),
        });
        let runners = runners.cloned().collect();
        let manifest = Manifest {
            schema: SCHEMA.to_owned(),
            name: self.name.clone(),
            version: self.version.clone(),
            upstream_version: self.version.to_string(),
            description: self.description.clone(),
            architecture: architecture().to_owned(),
            eol: None,
            aliases: self.aliases.clone(),
            preference: 0,
            capabilities: self.capabilities.clone(),
            provides: Provides {
                paths,
                sonames: sonames(index.sonames, &index.needs, &private),
                commands,
                modules: module_paths::of_paths(&tree),
            },
            requires: Requires {
                components: self.requires.clone(),
                sonames: outside.into_values().collect(),
            },
            conflicts: self.conflicts.clone(),
            accounts: Vec::new(),
            packages: Vec::new(),
            retention_seconds: RETENTION_SECONDS,
            size,
            layer,
        };
        Ok(Packed { manifest, runners })
    }

    /// An error of reading, told as one of this directory.
    fn here(&self, error: Error) -> Error {
        match error {
            Error::ReadRoot { path, source } => Error::ReadDirectory {
                directory: self.directory.clone(),
                path,
                source,
            },
            other => other,
        }
    }

    fn tree(&self) -> Result<Tree> {
        let root = Root::new(vec![self.directory.clone()]);
        let mut found = Vec::new();
        let walked = root.walk(&mut |node| {
            found.push(node.clone());
            Ok(true)
        });
        walked.map_err(|source| Error::ReadDirectory {
            directory: self.directory.clone(),
            path: "/".to_owned(),
            source,
        })?;
        let mut tree = Tree::default();
        for node in found {
            let Some(mut entry) = Entry::of(&node)? else {
                continue;
            };
            entry.mode &= match entry.content {
                Content::Directory => 0o1777,
                _ => 0o777,
            };
            let path = merged_usr(&node.path).into_owned();
            // what `/bin` and the like are is core's to say
            if is_merged_link(&path) {
                continue;
            }
            let there = tree.entries.get(&path);
            if there.is_some_and(|there| !(there.is_directory() && entry.is_directory())) {
                return Err(Error::TwicePath {
                    directory: self.directory.clone(),
                    path,
                });
            }
            tree.entries.insert(path, entry);
        }
        if !tree.entries.values().any(|entry| !entry.is_directory()) {
            return Err(Error::EmptyDirectory {
                directory: self.directory.clone(),
            });
        }
        // of what lies below `/bin`, which may have no `/usr`
        tree.add_parents(&root).map_err(|error| self.here(error))?;
        for entry in tree.entries.values_mut() {
            (entry.uid, entry.gid) = (0, 0);
        }
        Ok(tree)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::{fs, io};

    use fragment_types::manifest::PathKind;

    use super::*;

    fn write(directory: &Path, path: &str, content: impl AsRef<[u8]>, mode: u32) {
        let path = directory.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn component(directory: &Path) -> DirectoryComponent {
        DirectoryComponent::new(ComponentName::new("mine").unwrap(), directory)
    }

    fn needs(manifest: &Manifest) -> Vec<&str> {
        let sonames = manifest.requires.sonames.iter();
        sonames.map(|one| one.soname.as_str()).collect()
    }

    #[test]
    fn what_files_provide_and_need_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        let own = fs::read("/usr/bin/true").unwrap();
        write(&root, "bin/tool", own, 0o4755);
        write(&root, "usr/lib/python3/dist-packages/mine.py", "", 0o644);
        write(&root, "usr/bin/script", "#!/usr/bin/env bash\n", 0o755);
        write(&root, "usr/bin/other", "#!/bin/tool -x\n", 0o755);
        symlink("tool", root.join("bin/alias")).unwrap();
        let file = directory.path().join("layer");
        let Packed { manifest, runners } = component(&root).pack(&file).unwrap();
        let loader = Runner::Path("/usr/lib64/ld-linux-x86-64.so.2".to_owned());
        let shell = Runner::Command("bash".to_owned());
        assert_eq!(runners, BTreeSet::from([loader, shell]));
        let path = |path: &str| {
            let mut all = manifest.provides.paths.iter();
            all.find(|one| one.path == path)
        };
        assert_eq!(path("/usr/bin/tool").unwrap().mode, 0o755);
        assert_eq!(path("/usr/bin/alias").unwrap().kind, PathKind::Symlink);
        assert!(path("/bin").is_none() && path("/usr").is_some());
        let commands = manifest.provides.commands.iter().map(|one| &*one.name);
        assert!(commands.eq(["alias", "other", "script", "tool"]));
        let modules = manifest.provides.modules.iter().map(|one| &*one.name);
        assert!(modules.eq(["mine"]));
        let needs = needs(&manifest);
        assert!(needs.contains(&"libc.so.6"), "{needs:?}");
        assert_eq!(manifest.size.stored, file.metadata().unwrap().len());
    }

    #[test]
    fn a_library_that_the_directory_holds_is_not_required() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        let own = fs::read("/usr/bin/true").unwrap();
        write(&root, "usr/bin/tool", own, 0o755);
        let libc = fs::read("/usr/lib/x86_64-linux-gnu/libc.so.6").unwrap();
        write(&root, "lib/x86_64-linux-gnu/libc.so.6", libc, 0o755);
        let manifest = component(&root)
            .pack(&directory.path().join("layer"))
            .unwrap()
            .manifest;
        let needs = needs(&manifest);
        assert!(!needs.contains(&"libc.so.6"), "{needs:?}");
        let provided = manifest.provides.sonames.iter();
        assert!(
            provided
                .clone()
                .any(|one| one.public && one.soname == "libc.so.6")
        );
    }

    #[test]
    fn a_copy_is_the_same_component() {
        let directory = tempfile::tempdir().unwrap();
        let made = ["a", "b"].map(|name| {
            let root = directory.path().join(name);
            write(&root, "etc/mine/x", "text", 0o640);
            write(&root, "etc/mine/y", name, 0o640);
            fs::write(root.join("etc/mine/y"), "same").unwrap();
            let file = directory.path().join(format!("{name}.layer"));
            (
                component(&root).pack(&file).unwrap(),
                fs::read(file).unwrap(),
            )
        });
        assert_eq!(made[0], made[1]);
    }

    #[test]
    fn what_cannot_be_a_component_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("layer");
        let told = |name: &str| {
            let error = component(&directory.path().join(name))
                .pack(&file)
                .unwrap_err();
            (error.to_string(), file.exists())
        };
        assert!(told("absent").0.contains("absent"));
        fs::create_dir_all(directory.path().join("empty/usr/bin")).unwrap();
        let (empty, written) = told("empty");
        assert!(empty.contains("holds no file"), "{empty}");
        assert!(!written);
        let root = directory.path().join("twice");
        write(&root, "bin/x", "1", 0o755);
        write(&root, "usr/bin/x", "2", 0o755);
        assert!(told("twice").0.contains("/usr/bin/x"));
        let root = directory.path().join("fifo");
        write(&root, "etc/x", "1", 0o644);
        let fifo = rustix::fs::mknodat(
            rustix::fs::CWD,
            root.join("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        );
        fifo.unwrap();
        let (fifo, _) = told("fifo");
        assert!(fifo.contains("/pipe"), "{fifo}");
    }

    #[test]
    fn a_missing_root_is_an_error_of_reading() {
        let error = component(Path::new("/nonexistent/x")).tree().unwrap_err();
        let Error::ReadDirectory { source, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(source.kind(), io::ErrorKind::NotFound);
    }
}
