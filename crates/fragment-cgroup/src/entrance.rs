//! The way of a container's first process into its cgroup.
//!
//! A write to `cgroup.procs` waits for an RCU grace period, because it takes a lock against every fork and exit on the machine
//! (cgroup_threadgroup_rwsem): 6 to 15 milliseconds measured, more than the rest of a container's creation. `0` written to
//! the `tasks` file of a v1 hierarchy moves the calling thread alone and takes no such lock: 0.1 milliseconds. A process that
//! was just cloned has one thread, so it enters by `tasks` on v1. v2 has no such file (cgroup.threads stays within a threaded
//! tree), but a process can be made in a cgroup there, which takes no lock either: where nobody has to know the number of the one
//! that enters, it goes on as a new one. Elsewhere it pays once. The runtime itself never enters.

use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use fragment_sys::fork;

use crate::error::CgroupError;
use crate::group::{Cgroup, Directory};

/// Open ways in, one a hierarchy.
#[derive(Debug, Clone, Default)]
pub struct Entrances(Arc<Mutex<Vec<Door>>>);

#[derive(Debug)]
struct Door {
    path: PathBuf,
    file: File,
    /// The cgroup itself, where processes can be made in it.
    directory: Option<File>,
}

/// Who enters.
#[derive(Clone, Copy)]
pub enum Entrant<'a> {
    /// This very process.
    This,
    /// This process or a new one that goes on in its place, while this one, told the number of that, does what is named
    /// ([`fragment_sys::fork::move_into`]).
    Any(&'a dyn Fn(i32)),
}

impl fmt::Debug for Entrant<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::This => "This",
            Self::Any(_) => "Any",
        })
    }
}

impl Entrances {
    /// Moves the calling thread, which must be its process's only one, then closes: nothing of the host stays open.
    ///
    /// # Errors
    /// [`CgroupError::Join`].
    pub fn enter(&self, entrant: Entrant<'_>) -> Result<(), CgroupError> {
        let mut doors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for door in std::mem::take(&mut *doors) {
            if let (Some(directory), Entrant::Any(errand)) = (&door.directory, entrant)
                && fork::move_into(directory.as_fd(), errand).is_ok()
            {
                continue;
            }
            let mut file = &door.file;
            // 0 is the writer (cgroups(7)); what it may is decided by who opened the file (Linux 5.16, CVE-2021-4197)
            file.write_all(b"0")
                .map_err(|error| CgroupError::join(&door.path, error))?;
        }
        Ok(())
    }
}

/// The file by which one thread enters.
fn door(directory: &Directory) -> PathBuf {
    directory.path.join(if directory.is_unified() {
        "cgroup.procs"
    } else {
        "tasks"
    })
}

impl Cgroup {
    /// Opens the ways in.
    ///
    /// # Errors
    /// When a file cannot be opened; without rights, and where nobody asked for a path, the container goes without.
    pub fn entrances(&mut self) -> Result<Entrances, CgroupError> {
        let tolerant = self.rootless && !self.named;
        let mut doors = Vec::new();
        let mut closed: Vec<PathBuf> = Vec::new();
        for directory in &self.directories {
            let path = door(directory);
            let opened = File::options().write(true).open(&path);
            match opened.map_err(|error| CgroupError::join(&path, error)) {
                Ok(file) => doors.push(Door {
                    path,
                    file,
                    directory: directory
                        .is_unified()
                        .then(|| File::open(&directory.path).ok())
                        .flatten(),
                }),
                Err(error) if tolerant && error.is_permission() => {
                    closed.push(directory.path.clone());
                }
                Err(error) => return Err(error),
            }
        }
        self.directories.retain(|it| !closed.contains(&it.path));
        Ok(Entrances(Arc::new(Mutex::new(doors))))
    }
}
