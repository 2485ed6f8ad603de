//! Mounts that libcontainer cannot make: id-mapped ones, sources that the container's user namespace cannot reach, what lies
//! on a device of /dev, and whatever comes later at or below such a mount.
//!
//! Their sources are opened by the runtime, with the rights and in the namespaces of its caller, and attached by our executor
//! inside the container, after pivot_root(2) and before anything is masked.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fragment_sys::mount::{self, Change};
use libcontainer::oci_spec::runtime::{LinuxIdMapping, Mount};
use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags};
use thiserror::Error;

use crate::creation::user_namespace::{self, UserNamespaceError};
use crate::inside::masks::attach;
use crate::specification::options::{Attributes, Options};

/// Which identities a mount shows.
#[derive(Debug, Clone)]
pub(crate) enum Identities {
    /// Those of the mount's own mappings.
    Own {
        uid: Vec<LinuxIdMapping>,
        gid: Vec<LinuxIdMapping>,
    },
    /// Those of the container's user namespace.
    Container,
}

/// A mount for our executor.
#[derive(Debug, Clone)]
pub(crate) struct Deferred {
    destination: PathBuf,
    source: PathBuf,
    kind: String,
    options: Options,
    identities: Option<Identities>,
    tree: Option<Arc<OwnedFd>>,
}

/// Why such a mount was not made. Engines read these words.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DeferredError {
    /// The source of a bind mount.
    #[error("bind {source_path} to {destination}", source_path = .source_path.display(), destination = .destination.display())]
    Source {
        /// What was to be mounted.
        source_path: PathBuf,
        /// Where.
        destination: PathBuf,
        /// The errno.
        #[source]
        source: io::Error,
    },
    /// The mappings of an id-mapped mount.
    #[error("map the identities of the mount on {destination}", destination = .destination.display())]
    Mappings {
        /// Where.
        destination: PathBuf,
        /// What is wrong with them.
        #[source]
        source: UserNamespaceError,
    },
    /// The kernel does not show this file system through mappings.
    #[error("map the identities of {source_path} on {destination}", source_path = .source_path.display(), destination = .destination.display())]
    Identities {
        /// What was to be mounted.
        source_path: PathBuf,
        /// Where.
        destination: PathBuf,
        /// The errno; `EINVAL` for a file system without support.
        #[source]
        source: io::Error,
    },
    /// Anything inside the container.
    #[error("mount {kind} on {destination}: {step}", destination = .destination.display())]
    Attach {
        /// The file system's type.
        kind: String,
        /// Where.
        destination: PathBuf,
        /// What was done.
        step: &'static str,
        /// The errno.
        #[source]
        source: io::Error,
    },
}

impl Deferred {
    pub(crate) fn new(mount: &Mount, options: Options, identities: Option<Identities>) -> Self {
        let kind = if options.bind {
            "bind"
        } else {
            mount.typ().as_deref().unwrap_or("none")
        };
        Self {
            destination: mount.destination().clone(),
            source: mount.source().clone().unwrap_or_default(),
            kind: kind.to_owned(),
            options,
            identities,
            tree: None,
        }
    }

    pub(crate) fn destination(&self) -> &Path {
        &self.destination
    }

    /// Opens the source of a bind mount and gives it its attributes, in the runtime's own namespaces. `container`: the
    /// container's user namespace, if it has one of its own.
    pub(crate) fn open(&mut self, container: Option<BorrowedFd<'_>>) -> Result<(), DeferredError> {
        if !self.options.bind {
            return Ok(());
        }
        let fail = |errno: Errno| DeferredError::Source {
            source_path: self.source.clone(),
            destination: self.destination.clone(),
            source: errno.into(),
        };
        let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        if self.options.recursive {
            flags |= OpenTreeFlags::AT_RECURSIVE;
        }
        let tree = rustix::mount::open_tree(CWD, &self.source, flags).map_err(fail)?;
        self.map_identities(tree.as_fd(), container)?;
        self.change(tree.as_fd())
            .map_err(|source| DeferredError::Source {
                source_path: self.source.clone(),
                destination: self.destination.clone(),
                source,
            })?;
        self.tree = Some(Arc::new(tree));
        Ok(())
    }

    fn map_identities(
        &self,
        tree: BorrowedFd<'_>,
        container: Option<BorrowedFd<'_>>,
    ) -> Result<(), DeferredError> {
        let own;
        let namespace = match &self.identities {
            None => return Ok(()),
            Some(Identities::Own { uid, gid }) => {
                own = user_namespace::made(uid, gid).map_err(|source| DeferredError::Mappings {
                    destination: self.destination.clone(),
                    source,
                })?;
                Some(own.as_fd())
            }
            Some(Identities::Container) => container,
        };
        let change = Change {
            identities: namespace,
            ..Change::default()
        };
        let recursive = self.options.idmap == Some(true);
        mount::change(tree, change, recursive).map_err(|source| DeferredError::Identities {
            source_path: self.source.clone(),
            destination: self.destination.clone(),
            source,
        })
    }

    fn change(&self, tree: BorrowedFd<'_>) -> io::Result<()> {
        let steps = [
            (self.options.attributes, false),
            (self.options.recursive_attributes, true),
        ];
        for (attributes, recursive) in steps {
            apply(tree, attributes, recursive)?;
        }
        Ok(())
    }

    /// Attaches the mount inside the container.
    pub(crate) fn attach(&self) -> Result<(), DeferredError> {
        let at = |step: &'static str| {
            move |source: io::Error| DeferredError::Attach {
                kind: self.kind.clone(),
                destination: self.destination.clone(),
                step,
                source,
            }
        };
        let made;
        let tree = if let Some(tree) = &self.tree {
            tree.as_fd()
        } else {
            made = self.file_system().map_err(at("make it"))?;
            self.change(made.as_fd()).map_err(at("set its options"))?;
            made.as_fd()
        };
        let status = rustix::fs::fstat(tree).map_err(|errno| at("look at it")(errno.into()))?;
        let is_directory = FileType::from_raw_mode(status.st_mode) == FileType::Directory;
        let place = mount_point(&self.destination, is_directory).map_err(at("make its place"))?;
        attach(tree, place.as_fd()).map_err(at("attach it"))
    }

    fn file_system(&self) -> io::Result<OwnedFd> {
        let context = rustix::mount::fsopen(self.kind.as_str(), FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_set_string(&context, "source", &self.source)?;
        for option in &self.options.data {
            match option.split_once('=') {
                Some((key, value)) => rustix::mount::fsconfig_set_string(&context, key, value)?,
                None => rustix::mount::fsconfig_set_flag(&context, option.as_str())?,
            }
        }
        rustix::mount::fsconfig_create(&context)?;
        let flags = FsMountFlags::FSMOUNT_CLOEXEC;
        Ok(rustix::mount::fsmount(
            &context,
            flags,
            MountAttrFlags::empty(),
        )?)
    }
}

/// Changes a mount's attributes, if there is anything to change.
pub(crate) fn apply(
    mount: BorrowedFd<'_>,
    attributes: Attributes,
    recursive: bool,
) -> io::Result<()> {
    if attributes.is_empty() {
        return Ok(());
    }
    let change = Change {
        set: attributes.set,
        clear: attributes.clear,
        identities: None,
    };
    mount::change(mount, change, recursive)
}

/// The place for a mount inside the container, made where it is missing, and then root's.
pub(crate) fn mount_point(path: &Path, directory: bool) -> io::Result<OwnedFd> {
    if directory {
        make_directories(path)?;
    } else if fs::symlink_metadata(path).is_err() {
        if let Some(parent) = path.parent() {
            make_directories(parent)?;
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let made = rustix::fs::open(path, flags, Mode::from_raw_mode(0o644))?;
        own(made.as_fd())?;
    }
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Directories up to and including `path`. Nothing is asked for of what is there already: a filter that is in force may hand
/// mkdir(2) to an agent that waits for us.
pub(crate) fn make_directories(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let mut ancestors: Vec<&Path> = path.ancestors().collect();
    ancestors.reverse();
    for directory in ancestors {
        match rustix::fs::mkdir(directory, Mode::from_raw_mode(0o755)) {
            // root's, as everything the runtime makes, not the user's whose id this process already has
            Ok(()) => rustix::fs::chown(directory, Some(Uid::ROOT), Some(Gid::ROOT))?,
            Err(Errno::EXIST) => {}
            // a read-only file system says so even of what exists
            Err(_) if directory.is_dir() => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn own(file: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::fs::fchown(file, Some(Uid::ROOT), Some(Gid::ROOT))?)
}
