//! One component on its way from packages to manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};

use fragment_types::manifest::{Manifest, Module, PathEntry, PathKind, Soname};
use fragment_types::{ComponentName, Digest, canonical};

use crate::cut::{Cut, Installation, cut};
use crate::dpkg::Database;
use crate::error::{Error, Result};
use crate::index::{self, Index};
use crate::library::Library;
use crate::module_paths;
use crate::record::Record;
use crate::root::Root;
use crate::status;
use crate::tree::{Content, Source, path_entry};
use crate::workspace::{Job, Workspace};

/// Largest configuration file of the loader that is read, in bytes.
const MAX_LD_CONF: u64 = 1 << 20;
/// Directory of a job that holds stripped files.
const STRIPPED: &str = "stripped";

/// A component as the others see it.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) name: ComponentName,
    pub(crate) preference: i32,
    /// Components it requires whatever its files need: as recipes declare and package dependencies imply.
    pub(crate) requires: BTreeSet<ComponentName>,
    /// What it holds beyond what these provide.
    pub(crate) paths: BTreeMap<String, PathEntry>,
    pub(crate) sonames: Vec<Soname>,
    pub(crate) bundled: BTreeSet<String>,
    /// Digest of `preference` and `paths`: others depend on nothing else of it.
    pub(crate) digest: Digest,
    pub(crate) origin: Origin,
}

/// Where a part comes from.
#[derive(Debug)]
pub(crate) enum Origin {
    /// An earlier build made it of the same input.
    Reused(Box<Manifest>),
    /// It was cut in this build.
    Fresh(Box<Fresh>),
}

/// What packing a component takes.
#[derive(Debug)]
pub(crate) struct Fresh {
    pub(crate) cut: Cut,
    pub(crate) index: Index,
    pub(crate) modules: BTreeSet<Module>,
    pub(crate) root: Root,
    pub(crate) database: std::sync::Arc<Database>,
    /// Keeps the files of `root`.
    _job: Option<Job>,
}

/// The base root, read once.
#[derive(Debug)]
pub(crate) struct Base {
    root: Root,
    database: std::sync::Arc<Database>,
}

impl Base {
    pub(crate) fn read(workspace: &Workspace) -> Result<Self> {
        let root = Root::new(vec![workspace.base()]);
        let database = Database::read(&root)?.into();
        Ok(Self { root, database })
    }
}

impl Fresh {
    /// Installs and cuts `name`; `cutting` is called between the two.
    ///
    /// # Errors
    /// Whatever installing, cutting and reading its files may meet.
    pub(crate) fn make(
        name: &ComponentName,
        library: &Library,
        workspace: &Workspace,
        base: &Base,
        cutting: &dyn Fn(),
    ) -> Result<Self> {
        let recipe = library.recipe(name)?;
        let packages: Vec<&str> = recipe.installed_packages().collect();
        let python = recipe.byte_code.as_slice();
        // what the base has already needs no installation: there would be nothing new in it
        let in_base =
            python.is_empty() && packages.iter().all(|p| base.database.package(p).is_some());
        let job = if in_base {
            None
        } else {
            Some(workspace.install(name.as_str(), &packages, python)?)
        };
        cutting();
        let (root, database, upper) = match &job {
            Some(job) => {
                let root = Root::new(vec![job.upper(), workspace.base()]);
                let database = Database::read(&root)?.into();
                (root, database, job.upper())
            }
            None => (
                base.root.clone(),
                base.database.clone(),
                "/nonexistent".into(),
            ),
        };
        let at = Installation {
            root: &root,
            base: &base.root,
            upper: &upper,
            database: &database,
        };
        let mut cut = cut(name, library, at)?;
        if recipe.strip
            && let Some(job) = &job
        {
            strip(&mut cut, job.directory())?;
        }
        let stripped = job.as_ref().map(|job| job.directory().join(STRIPPED));
        status::add(
            &cut.packages,
            &database,
            &root,
            stripped.as_deref(),
            &mut cut.tree,
        )?;
        cut.tree.digest_files()?;
        let index = index::index(&cut.tree, &configured(&root)?)?;
        let mut modules = module_paths::of_paths(&cut.tree);
        if let Some(job) = &job {
            modules.extend(python_builtins(&cut, job));
            modules.extend(php_names(&modules, job));
        }
        Ok(Self {
            cut,
            index,
            modules,
            root,
            database,
            _job: job,
        })
    }

    /// Takes out what `below`, the components it requires, provide already.
    fn leave_out(&mut self, below: &[&Part]) {
        let identical = |path: &str, entry: &crate::tree::Entry| {
            let own = path_entry(path, entry);
            below.iter().any(|part| part.paths.get(path) == Some(&own))
        };
        let made = &self.cut.made;
        self.cut.tree.entries.retain(|path, entry| {
            entry.is_directory()
                || !(identical(path, entry)
                    || (made.contains(path)
                        && below.iter().any(|part| part.paths.contains_key(path))))
        });
        self.cut
            .tree
            .prune_empty(|path, entry| !identical(path, entry));
        let entries = &self.cut.tree.entries;
        self.index.sonames.retain(|s| entries.contains_key(&s.path));
        self.index.needs.retain(|n| entries.contains_key(&n.file));
        self.index
            .runners
            .retain(|file, _| entries.contains_key(file));
    }
}

impl Part {
    /// A part cut in this build, seen by the others from now on.
    pub(crate) fn fresh(
        name: &ComponentName,
        preference: i32,
        requires: BTreeSet<ComponentName>,
        mut fresh: Fresh,
        below: &[&Self],
    ) -> Self {
        fresh.leave_out(below);
        let paths = fresh.cut.tree.paths();
        Self {
            name: name.clone(),
            preference,
            requires,
            digest: digest(preference, &paths),
            paths: by_path(paths),
            sonames: fresh.index.sonames.clone(),
            bundled: fresh.cut.bundled.clone(),
            origin: Origin::Fresh(Box::new(fresh)),
        }
    }

    /// A part that an earlier build made.
    pub(crate) fn reused(manifest: &Manifest, record: &Record) -> Self {
        Self {
            name: manifest.name.clone(),
            preference: manifest.preference,
            requires: record.requires.clone(),
            digest: digest(manifest.preference, &manifest.provides.paths),
            paths: by_path(manifest.provides.paths.clone()),
            sonames: manifest.provides.sonames.clone(),
            bundled: record.bundled.clone(),
            origin: Origin::Reused(Box::new(manifest.clone())),
        }
    }

    /// Whether it has something executable at `path`, or a link there.
    pub(crate) fn has_program(&self, path: &str) -> bool {
        self.paths.get(path).is_some_and(|e| match e.kind {
            PathKind::File => e.mode & 0o111 != 0,
            PathKind::Symlink => true,
            PathKind::Directory => false,
        })
    }
}

/// Digest of what others see of a part. A list of plain structures is always JSON, so the fall-back is never taken.
fn digest(preference: i32, paths: &[PathEntry]) -> Digest {
    canonical::digest(&(preference, paths)).unwrap_or_else(|_| Digest::of(b""))
}

fn by_path(paths: Vec<PathEntry>) -> BTreeMap<String, PathEntry> {
    paths.into_iter().map(|e| (e.path.clone(), e)).collect()
}

/// The directories that the loader's configuration in `root` names.
pub(crate) fn configured(root: &Root) -> Result<Vec<String>> {
    const DIRECTORY: &str = "/etc/ld.so.conf.d";
    let unreadable = |source| Error::ReadRoot {
        path: DIRECTORY.to_owned(),
        source,
    };
    let mut directories = Vec::new();
    let Some(directory) = root.follow(DIRECTORY).map_err(unreadable)? else {
        return Ok(directories);
    };
    for node in root.children(&directory).map_err(unreadable)? {
        let text = root
            .read(&node.path, MAX_LD_CONF)
            .map_err(unreadable)?
            .unwrap_or_default();
        directories.extend(index::configured_directories(&String::from_utf8_lossy(
            &text,
        )));
    }
    Ok(directories)
}

/// Modules compiled into the interpreter, where the component holds the interpreter.
fn python_builtins(cut: &Cut, job: &Job) -> Vec<Module> {
    if !cut
        .tree
        .entries
        .keys()
        .any(|path| path.starts_with("/usr/bin/python3"))
    {
        return Vec::new();
    }
    let names =
        std::fs::read_to_string(job.directory().join("python-builtins")).unwrap_or_default();
    let module = |name: &str| Module {
        language: "python3".to_owned(),
        name: name.to_owned(),
    };
    names
        .lines()
        .filter(|n| !n.is_empty())
        .map(module)
        .collect()
}

/// Functions and classes of the PHP extensions among `modules`.
fn php_names(modules: &BTreeSet<Module>, job: &Job) -> Vec<Module> {
    let names = std::fs::read_to_string(job.directory().join("php-names")).unwrap_or_default();
    let module = |name: &str| Module {
        language: "php".to_owned(),
        name: name.to_owned(),
    };
    names
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .filter(|(extension, _)| modules.contains(&module(extension)))
        .map(|(_, name)| module(&format!("{name}()")))
        .collect()
}

/// Replaces ELF files by stripped ones.
fn strip(cut: &mut Cut, directory: &Path) -> Result<()> {
    let target = directory.join(STRIPPED);
    std::fs::create_dir_all(&target).map_err(|source| Error::Io {
        operation: "creating",
        path: target.clone(),
        source,
    })?;
    for (number, (path, entry)) in cut.tree.entries.iter_mut().enumerate() {
        let Content::File { source, inode, .. } = &mut entry.content else {
            continue;
        };
        let head = source.head(4).map_err(|source| Error::ReadRoot {
            path: path.clone(),
            source,
        })?;
        let Source::Disk(from) = &*source else {
            continue;
        };
        if head != b"\x7fELF" {
            continue;
        }
        let to = target.join(number.to_string());
        let mut command = Command::new("strip");
        command
            .args(["--strip-unneeded", "--preserve-dates", "-o"])
            .arg(&to)
            .arg(from)
            .stdin(Stdio::null());
        let output = command.output().map_err(|_| Error::MissingTool {
            tool: "strip",
            package: "binutils",
        })?;
        if !output.status.success() {
            let log = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Error::Tool {
                tool: "strip".to_owned(),
                status: output.status,
                log,
            });
        }
        (*source, *inode) = (Source::Disk(to), None);
    }
    Ok(())
}
