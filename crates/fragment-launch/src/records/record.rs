//! What is remembered of a container, in `<root>/.fragment/<id>/`.
//!
//! `<root>/<id>/` belongs to libcontainer, which removes it whole. Ours holds the derived bundle, the record and a lock for the
//! container's life (create, start, delete exclude each other). The name starts with a dot, which no container's can.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fragment_cgroup::{Cgroup, Resources};
use fragment_compose::Residue;
use fragment_sys::file;
use fragment_sys::lock::{FileLock, LockMode};
use libcontainer::oci_spec::runtime::Hook;
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use serde::{Deserialize, Serialize};

use crate::error::LaunchError;
use crate::records::id::ContainerId;
use crate::records::process::Identity;

const OURS: &str = ".fragment";
const RECORD: &str = "record.json";
const EXTRA: &str = "extra.json";
const LIFE_LOCK: &str = "lock";
const INTRODUCTIONS: &str = "processes";
/// How often a directory is made again that others remove when it is empty.
const ATTEMPTS: u32 = 100;
/// How long an operation waits for another one on the same container.
const PATIENCE: Duration = Duration::from_secs(10);

/// How far a container has come; whether it still runs is asked of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stage {
    Creating,
    Created,
    Started,
}

/// What is remembered.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    pub(crate) id: String,
    /// The caller's, not the derived one.
    pub(crate) bundle: PathBuf,
    /// As the caller named it, absolute.
    pub(crate) rootfs: PathBuf,
    pub(crate) annotations: HashMap<String, String>,
    /// RFC 3339.
    pub(crate) created: String,
    /// The user who created the container.
    pub(crate) owner: u32,
    pub(crate) stage: Stage,
    pub(crate) init: Option<Identity>,
    pub(crate) cgroup: Cgroup,
    /// The limits that hold; updates change them.
    pub(crate) resources: Resources,
    pub(crate) no_new_keyring: bool,
    pub(crate) poststart: Vec<Hook>,
    pub(crate) poststop: Vec<Hook>,
    /// What the overlay has on the host.
    pub(crate) residue: Residue,
    /// Opaque: the caller's. Records of earlier releases hold it; it has a file of its own, which nobody has to read for the rest.
    #[serde(default, skip_serializing)]
    pub(crate) extra: serde_json::Value,
}

/// The directories of one container.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    root: PathBuf,
    id: ContainerId,
}

impl Place {
    pub(crate) fn new(root: &Path, id: &ContainerId) -> Self {
        Self {
            root: root.to_owned(),
            id: id.clone(),
        }
    }

    pub(crate) fn id(&self) -> &str {
        self.id.as_str()
    }

    /// libcontainer's root directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// libcontainer's directory of this container.
    pub(crate) fn libcontainer(&self) -> PathBuf {
        self.root.join(self.id.as_str())
    }

    /// Our directory of this container, which is also its derived bundle.
    pub(crate) fn ours(&self) -> PathBuf {
        self.root.join(OURS).join(self.id.as_str())
    }

    /// An empty directory: where an overlay is mounted in the container's namespace, or the root of a container that shares
    /// the runtime's mounts.
    pub(crate) fn mount_point(&self) -> PathBuf {
        self.ours().join("rootfs")
    }

    /// Takes the name: of two creates at once one gets it.
    pub(crate) fn reserve(&self) -> Result<FileLock, LaunchError> {
        let exists = || LaunchError::Exists {
            id: self.id.to_string(),
        };
        if self.libcontainer().symlink_metadata().is_ok() {
            return Err(exists());
        }
        let mut attempts = 0;
        loop {
            let made = private_directories(&self.root.join(OURS))
                .and_then(|()| DirBuilder::new().mode(0o700).create(self.ours()));
            match made {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(exists()),
                // the delete of what was the last container has just removed the directory above
                Err(error) if error.kind() == io::ErrorKind::NotFound && attempts < ATTEMPTS => {
                    attempts += 1;
                }
                Err(error) => return Err(LaunchError::io("create", self.ours())(error)),
            }
        }
        self.lock(LIFE_LOCK)?.ok_or_else(|| LaunchError::Busy {
            id: self.id.to_string(),
        })
    }

    /// Excludes other operations on the container's life. Missing when the container is, or has gone while waiting.
    pub(crate) fn lock_life(&self) -> Result<FileLock, LaunchError> {
        let lock = self.existing_lock(LIFE_LOCK)?;
        lock.ok_or_else(|| LaunchError::Busy {
            id: self.id.to_string(),
        })
    }

    /// The life lock within a moment: delete --force makes room for itself meanwhile.
    pub(crate) fn try_lock_life(
        &self,
        patience: Duration,
    ) -> Result<Option<FileLock>, LaunchError> {
        self.lock_within(LIFE_LOCK, patience)
    }

    fn existing_lock(&self, name: &str) -> Result<Option<FileLock>, LaunchError> {
        if !self.ours().is_dir() {
            return Err(LaunchError::Missing {
                id: self.id.to_string(),
            });
        }
        let lock = self.lock(name)?;
        if !self.ours().is_dir() {
            return Err(LaunchError::Missing {
                id: self.id.to_string(),
            });
        }
        Ok(lock)
    }

    fn lock(&self, name: &str) -> Result<Option<FileLock>, LaunchError> {
        self.lock_within(name, PATIENCE)
    }

    fn lock_within(&self, name: &str, patience: Duration) -> Result<Option<FileLock>, LaunchError> {
        let path = self.ours().join(name);
        let open = || {
            File::options()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
        };
        let file: OwnedFd = match open() {
            Ok(file) => file.into(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(LaunchError::Missing {
                    id: self.id.to_string(),
                });
            }
            Err(error) => return Err(LaunchError::io("open", path)(error)),
        };
        FileLock::wait_at_most(file, LockMode::Exclusive, patience)
            .map_err(LaunchError::io("lock", path))
    }

    /// The record; `None` when create was killed before it wrote one.
    pub(crate) fn load(&self) -> Result<Option<Record>, LaunchError> {
        let path = self.ours().join(RECORD);
        match file::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|source| LaunchError::Record { path, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if self.ours().is_dir() {
                    Ok(None)
                } else {
                    Err(LaunchError::Missing {
                        id: self.id.to_string(),
                    })
                }
            }
            Err(error) => Err(LaunchError::io("read", path)(error)),
        }
    }

    /// The record of a container that has got past its creation.
    pub(crate) fn load_complete(&self) -> Result<Record, LaunchError> {
        self.load()?.ok_or_else(|| LaunchError::Missing {
            id: self.id.to_string(),
        })
    }

    /// A FIFO that the first process has open for writing until its program runs, by closing at exec.
    pub(crate) fn waiting(&self) -> PathBuf {
        self.ours().join("waiting")
    }

    /// Keeps what the caller wants to find again; nothing for nothing.
    pub(crate) fn save_extra(&self, extra: &[u8]) -> Result<(), LaunchError> {
        match extra {
            [] => Ok(()),
            extra => write(&self.ours().join(EXTRA), extra, 0o600),
        }
    }

    /// What the caller kept; nothing where that was nothing.
    pub(crate) fn load_extra(&self, record: &Record) -> Result<Vec<u8>, LaunchError> {
        let path = self.ours().join(EXTRA);
        match file::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => match &record.extra {
                serde_json::Value::Null => Ok(Vec::new()),
                extra => Ok(extra.to_string().into_bytes()),
            },
            read => read.map_err(LaunchError::io("read", path)),
        }
    }

    /// Where the processes of a create say who they are, when their cgroup does not.
    pub(crate) fn introductions(&self) -> PathBuf {
        self.ours().join(INTRODUCTIONS)
    }

    /// Those processes, by their own word.
    pub(crate) fn introduced(&self) -> Vec<Identity> {
        let text = fs::read(self.introductions()).unwrap_or_default();
        let lines = text.split(|byte| *byte == b'\n');
        lines.filter_map(Identity::parse).collect()
    }

    /// Writes the record.
    pub(crate) fn save(&self, record: &Record) -> Result<(), LaunchError> {
        let path = self.ours().join(RECORD);
        let text = serde_json::to_vec(record).map_err(|source| LaunchError::Record {
            path: path.clone(),
            source,
        })?;
        replace(&path, &text, 0o600)
    }

    /// Removes everything the container has in the state directory; what is not there any more is fine.
    pub(crate) fn remove(&self) -> Result<(), LaunchError> {
        self.remove_mount_point()?;
        for directory in [self.libcontainer(), self.ours()] {
            let mut attempts = 0;
            loop {
                match fs::remove_dir_all(&directory) {
                    // somebody who waits for the lock has just made its file again
                    Err(error)
                        if error.kind() == io::ErrorKind::DirectoryNotEmpty
                            && attempts < ATTEMPTS =>
                    {
                        attempts += 1;
                    }
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(LaunchError::io("remove", directory)(error));
                    }
                    _ => break,
                }
            }
        }
        self.sweep();
        Ok(())
    }

    /// Unmounts what is mounted there, everything below it included, and removes the directory. Only then can the rest be
    /// removed: a root that is still mounted would be emptied.
    fn remove_mount_point(&self) -> Result<(), LaunchError> {
        let point = self.mount_point();
        loop {
            match rustix::fs::rmdir(&point) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                Err(Errno::BUSY) => {}
                Err(errno) => return Err(LaunchError::io("remove", point)(errno.into())),
            }
            rustix::mount::unmount(&point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
                .map_err(|errno| LaunchError::io("unmount", point.clone())(errno.into()))?;
        }
    }

    /// Removes the directory of all containers when it is empty; a create that is under way makes it again.
    pub(crate) fn sweep(&self) {
        let _ = fs::remove_dir(self.root.join(OURS));
    }

    /// Whether there is anything of this name, ours or left of libcontainer.
    pub(crate) fn exists(&self) -> bool {
        self.ours().is_dir() || self.libcontainer().is_dir()
    }
}

/// The names of all containers of a root, sorted.
pub(crate) fn names(root: &Path) -> Result<Vec<ContainerId>, LaunchError> {
    let directory = root.join(OURS);
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(LaunchError::io("read", directory)(error)),
    };
    let mut names: Vec<ContainerId> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
        })
        .collect();
    names.sort();
    Ok(names)
}

/// Writes a file so that a reader sees the old one or the new one, whole.
pub(crate) fn replace(path: &Path, text: &[u8], mode: u32) -> Result<(), LaunchError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&temporary)
        .and_then(|mut file| file.write_all(text))
        .and_then(|()| fs::rename(&temporary, path));
    written.map_err(|error| {
        let _ = fs::remove_file(&temporary);
        LaunchError::io("write", path)(error)
    })
}

/// Writes a file in place: a reader may see half of it.
pub(crate) fn write(path: &Path, text: &[u8], mode: u32) -> Result<(), LaunchError> {
    File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(text))
        .map_err(LaunchError::io("write", path))
}

/// Makes the state directory, closed to others: it names bundles and holds sockets that start containers.
fn private_directories(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    if fs::metadata(path)?.uid() == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    // in a directory of somebody else's making every path of ours could be replaced under us
    Err(io::ErrorKind::PermissionDenied.into())
}
