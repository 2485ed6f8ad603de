//! Ways into a container's cgroup.
//!
//! A write to `cgroup.procs` waits for an RCU grace period, because it takes a lock against every fork and exit on the machine
//! (cgroup_threadgroup_rwsem): 6 to 15 milliseconds measured, more than the rest of a container's creation. `0` written to
//! the `tasks` file of a v1 hierarchy moves the calling thread alone and takes no such lock: 0.1 milliseconds. A process that
//! was just cloned has one thread, so it enters by `tasks` on v1. v2 has no such file (cgroup.threads stays within a threaded
//! tree): there it pays once, and once only, because the writes of one grace period share it. The runtime itself never enters.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::CgroupError;
use crate::group::{Cgroup, Directory};
use crate::layout::{Kind, Layout};
use crate::systemd::Unit;

/// Doors for a process that no longer sees the host's mounts.
#[derive(Debug, Clone, Default)]
pub struct Entrances(Arc<Mutex<Vec<Door>>>);

#[derive(Debug)]
struct Door {
    path: PathBuf,
    file: File,
    /// Who lets in where this process may not by itself.
    unit: Option<(Unit, String)>,
    /// Taken when the first is closed: a v2 cgroup whose children have controllers takes no process (cgroups(7)).
    instead: Option<File>,
}

impl Entrances {
    /// Moves the calling thread, which must be its process's only one, then closes: nothing of the host stays open.
    ///
    /// # Errors
    /// [`CgroupError::Join`].
    pub fn enter(&self) -> Result<(), CgroupError> {
        let mut doors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // 0 is the writer (cgroups(7)); what it may is decided by who opened the file (Linux 5.16, CVE-2021-4197)
        std::mem::take(&mut *doors)
            .iter_mut()
            .try_for_each(Door::enter)
    }
}

impl Door {
    fn enter(&mut self) -> Result<(), CgroupError> {
        let Err(error) = self.file.write_all(b"0") else {
            return Ok(());
        };
        let entered = match (&mut self.instead, &self.unit) {
            (Some(instead), _) if error.raw_os_error() == Some(EBUSY) => instead.write_all(b"0"),
            // from another part of the tree, which only systemd may empty (cgroups(7), "Cgroup delegation containment")
            (_, Some((unit, below))) if error.kind() == io::ErrorKind::PermissionDenied => {
                return unit.attach(below, std::process::id());
            }
            _ => Err(error),
        };
        entered.map_err(|error| CgroupError::join(&self.path, error))
    }
}

const EBUSY: i32 = rustix::io::Errno::BUSY.raw_os_error();

/// The file by which one thread enters.
fn door(directory: &Directory) -> &'static str {
    if directory.is_unified() {
        "cgroup.procs"
    } else {
        "tasks"
    }
}

impl Cgroup {
    /// Opens the ways in, below `sub` if given. Where the cgroup of v2 takes no process any more, because the container has made
    /// others below and given them controllers, a new one goes where `first`, the container's first process, is.
    ///
    /// # Errors
    /// When a file cannot be opened; without rights, and where nobody asked for a path, the container goes without.
    pub fn entrances(
        &mut self,
        sub: Option<&str>,
        first: Option<i32>,
    ) -> Result<Entrances, CgroupError> {
        let inside = sub.map(|sub| crate::group::inside(Path::new(sub)));
        let mut doors = Vec::new();
        let mut closed: Vec<PathBuf> = Vec::new();
        for directory in &self.directories {
            let mut path = directory.path.clone();
            path.extend(inside.iter());
            match self.open(directory, &path, first.filter(|_| sub.is_none())) {
                Ok(door) => doors.push(door),
                Err(error) if self.rootless && !self.named && error.is_permission() => {
                    closed.push(directory.path.clone());
                }
                Err(error) => return Err(error),
            }
        }
        self.directories.retain(|it| !closed.contains(&it.path));
        Ok(Entrances(Arc::new(Mutex::new(doors))))
    }

    fn open(
        &self,
        directory: &Directory,
        path: &Path,
        first: Option<i32>,
    ) -> Result<Door, CgroupError> {
        let open = |path: &Path| File::options().write(true).open(path);
        let path = path.join(door(directory));
        let file = open(&path).map_err(|error| CgroupError::join(&path, error))?;
        let other = first
            .filter(|_| directory.is_unified())
            .and_then(|pid| self.cgroup_of(pid));
        let other = other.filter(|other| *other != directory.path);
        let below = path
            .parent()
            .and_then(|path| path.strip_prefix(&directory.path).ok());
        let below = below.map(|below| format!("/{}", below.display()));
        let unit = self.unit.clone().filter(|_| self.rootless);
        Ok(Door {
            file,
            unit: unit.zip(below),
            path,
            instead: other.and_then(|path| open(&path.join("cgroup.procs")).ok()),
        })
    }

    /// Where a process is in the unified hierarchy.
    fn cgroup_of(&self, pid: i32) -> Option<PathBuf> {
        let layout = Layout::detect().ok()?;
        let memberships = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let unified = layout.hierarchies.iter().find(|it| it.is_unified())?;
        unified.path_in(&memberships)
    }

    /// A directory below the cgroup's that is missing in some hierarchy.
    #[must_use]
    pub fn missing_below(&self, sub: &str) -> Option<PathBuf> {
        let inside = crate::group::inside(Path::new(sub));
        let mut below = self.directories.iter().filter(|directory| {
            // hierarchies without controllers are the runtime's own addition
            self.kind == Kind::Unified
                || !(directory.is_unified()
                    || directory.names.iter().any(|name| name.starts_with("name=")))
        });
        below.find_map(|directory| {
            let path = directory.path.join(&inside);
            (!path.is_dir()).then_some(path)
        })
    }
}
