//! The way of a new process into a container's cgroup.
//!
//! A process enters by itself, before it does anything, through files that the runtime has opened: the runtime is never in the
//! container's cgroup, where programs would see it as process 0. It enters directories that exist and makes none, so an exec that
//! races with a delete leaves nothing: either the process gets in and is killed with the others, or there is no way in.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

use rustix::io::Errno;
use thiserror::Error;

use crate::creation::diagnosis::words;

const ROOT: &str = "/sys/fs/cgroup";

/// Cgroups below the container's, as `exec --cgroup` names them: a path, or paths for controllers of v1.
#[derive(Debug, Clone, Default)]
pub struct SubCgroups(Vec<(Option<String>, PathBuf)>);

/// A `--cgroup` that names none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SubCgroupError {
    /// Nothing before the colon.
    #[error("invalid --cgroup argument: {0} (empty <controller> prefix)")]
    NoController(String),
    /// Several arguments, and this one is not for a controller.
    #[error("invalid --cgroup argument: {0} (missing <controller>: prefix)")]
    NoPrefix(String),
    /// Two paths for one controller.
    #[error("invalid --cgroup argument(s): controller {0} specified multiple times")]
    Twice(String),
    /// It leads out of the container's cgroup.
    #[error("{path} is not a sub cgroup path", path = .0.display())]
    Outside(PathBuf),
    /// There is no hierarchy with this controller.
    #[error("unknown controller {0} in --cgroup")]
    UnknownController(String),
}

impl SubCgroups {
    /// Reads `PATH`, or any number of `CONTROLLER[,CONTROLLER…]:PATH`.
    ///
    /// # Errors
    /// As [`SubCgroupError`].
    pub fn parse(arguments: &[String]) -> Result<Self, SubCgroupError> {
        let mut paths: Vec<(Option<String>, PathBuf)> = Vec::new();
        for argument in arguments {
            let Some((controllers, path)) = argument.split_once(':') else {
                if arguments.len() > 1 {
                    return Err(SubCgroupError::NoPrefix(argument.clone()));
                }
                paths.push((None, inside(argument)?));
                continue;
            };
            let path = inside(path)?;
            for controller in controllers.split(',') {
                if controller.is_empty() {
                    return Err(SubCgroupError::NoController(argument.clone()));
                }
                let controller = controller.to_owned();
                if paths
                    .iter()
                    .any(|(known, _)| known.as_ref() == Some(&controller))
                {
                    return Err(SubCgroupError::Twice(controller));
                }
                paths.push((Some(controller), path.clone()));
            }
        }
        Ok(Self(paths))
    }

    /// The directory below `directory` that a process is to enter.
    fn below(&self, directory: &Path) -> PathBuf {
        let names = controllers(directory);
        let path = self.0.iter().find(|(controller, _)| {
            controller
                .as_ref()
                .is_none_or(|controller| names.contains(controller))
        });
        match path {
            // beside v1 controllers nobody makes sub-cgroups in the hierarchy of v2
            Some((_, path)) if is_beside(directory) && !directory.join(path).is_dir() => {
                directory.to_owned()
            }
            Some((_, path)) => directory.join(path),
            None => directory.to_owned(),
        }
    }

    fn check(&self, directories: &[PathBuf]) -> Result<(), SubCgroupError> {
        let known: Vec<String> = directories
            .iter()
            .flat_map(|directory| controllers(directory))
            .collect();
        let mut named = self
            .0
            .iter()
            .filter_map(|(controller, _)| controller.as_ref());
        match named.find(|controller| !known.contains(controller)) {
            Some(controller) => Err(SubCgroupError::UnknownController(controller.clone())),
            None => Ok(()),
        }
    }
}

/// The path without its root; it is not to lead out.
fn inside(path: &str) -> Result<PathBuf, SubCgroupError> {
    let mut clean = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir if !clean.pop() => {
                return Err(SubCgroupError::Outside(path.into()));
            }
            _ => {}
        }
    }
    Ok(clean)
}

/// The controllers of a v1 hierarchy, by the name of its mount point (systemd's convention, cgroups(7)); none for v2.
fn controllers(directory: &Path) -> Vec<String> {
    let below = directory.strip_prefix(ROOT).unwrap_or(directory);
    let mount = below
        .components()
        .next()
        .map(Component::as_os_str)
        .unwrap_or_default();
    let mount = mount.to_string_lossy();
    if is_pure() || mount == "unified" {
        return Vec::new();
    }
    let mut names: Vec<String> = mount.split(',').map(str::to_owned).collect();
    if mount == "systemd" {
        names.push("name=systemd".to_owned());
    }
    names
}

fn is_pure() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

/// Whether a directory lies in a hierarchy of v2 beside ones of v1.
fn is_beside(directory: &Path) -> bool {
    !is_pure() && directory.starts_with(Path::new(ROOT).join("unified"))
}

/// An open way into a cgroup, in every hierarchy.
#[derive(Debug)]
pub(crate) struct Admission {
    doors: Vec<Door>,
    /// Into the cgroup of the container's first process, for where the kernel lets nobody into the one above.
    side_door: Option<Door>,
    /// Whether the process may stay where it is.
    rootless: bool,
}

#[derive(Debug)]
struct Door {
    path: PathBuf,
    file: io::Result<File>,
}

/// A process that was not let in.
#[derive(Debug, Error)]
#[error("adding pid {pid} to cgroups: {verb} {path}: {}", words(.cause), path = .path.display())]
pub(crate) struct AdmissionError {
    pid: u32,
    verb: &'static str,
    path: PathBuf,
    cause: io::Error,
}

impl Door {
    fn of(directory: &Path) -> Self {
        // moving the one thread of a process is cheap; moving a process waits for every CPU of the machine (cgroups(7), "tasks")
        let tasks = directory.join("tasks");
        let path = if tasks.exists() {
            tasks
        } else {
            directory.join("cgroup.procs")
        };
        let file = File::options().write(true).open(&path);
        // where there is no directory there is no telling which it would be
        let path = directory.join("cgroup.procs");
        Self { path, file }
    }

    fn enter(&self) -> Result<(), AdmissionError> {
        let fail = |verb, cause: &io::Error| AdmissionError {
            pid: std::process::id(),
            verb,
            path: self.path.clone(),
            cause: cause.raw_os_error().map_or_else(
                || io::Error::from(cause.kind()),
                io::Error::from_raw_os_error,
            ),
        };
        match &self.file {
            // 0 is the writer (cgroups(7)); what it may is decided by who opened the file (CVE-2021-4197)
            Ok(file) => (&*file)
                .write_all(b"0")
                .map_err(|error| fail("write", &error)),
            Err(error) => Err(fail("open", error)),
        }
    }
}

impl Admission {
    /// Opens the ways into a cgroup that has these directories, or into one below. What cannot be opened is told when a process
    /// wants in. `init` is the container's first process: where the kernel lets nobody into an inner cgroup of v2, another goes
    /// where that one is, unless the caller chose.
    pub(crate) fn open(
        directories: &[PathBuf],
        sub: &SubCgroups,
        init: i32,
    ) -> Result<Self, SubCgroupError> {
        sub.check(directories)?;
        let doors = directories.iter();
        Ok(Self {
            doors: doors
                .map(|directory| Door::of(&sub.below(directory)))
                .collect(),
            side_door: init_cgroup(init)
                .filter(|_| sub.0.is_empty() && is_pure())
                .map(|directory| Door::of(&directory)),
            rootless: is_rootless(),
        })
    }

    /// Puts this process in.
    pub(crate) fn enter(&self) -> Result<(), AdmissionError> {
        for door in &self.doors {
            match (door.enter(), &self.side_door) {
                (Err(error), Some(other)) if is_busy(&error.cause) => other.enter()?,
                (Err(error), _) if self.rootless && is_denied(&error.cause) => {}
                (entered, _) => entered?,
            }
        }
        Ok(())
    }
}

/// A cgroup of v2 that hands controllers to its children takes no processes (cgroups(7), "no internal processes").
fn is_busy(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::BUSY.raw_os_error())
}

/// What a user without rights on the cgroup file system has to live with: the process stays in the user's own cgroup.
fn is_denied(error: &io::Error) -> bool {
    let denied = [Errno::ACCESS, Errno::PERM, Errno::ROFS].map(Errno::raw_os_error);
    error
        .raw_os_error()
        .is_some_and(|errno| denied.contains(&errno))
}

fn is_rootless() -> bool {
    // the initial user namespace maps everything (user_namespaces(7))
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    !map.contains("4294967295") || !rustix::process::geteuid().is_root()
}

fn init_cgroup(init: i32) -> Option<PathBuf> {
    let memberships = std::fs::read_to_string(format!("/proc/{init}/cgroup")).ok()?;
    let path = memberships
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))?;
    Some(Path::new(ROOT).join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<SubCgroups, SubCgroupError> {
        let arguments: Vec<String> = arguments
            .iter()
            .map(|&argument| argument.to_owned())
            .collect();
        SubCgroups::parse(&arguments)
    }

    #[test]
    fn a_path_or_paths_for_controllers() {
        assert!(parse(&[]).unwrap().0.is_empty());
        assert_eq!(parse(&["/"]).unwrap().0, [(None, PathBuf::new())]);
        assert_eq!(parse(&["/a/../b/"]).unwrap().0, [(None, "b".into())]);
        let both = parse(&["cpu,cpuacct:x", "memory:/y"]).unwrap().0;
        assert_eq!(both.len(), 3);
        assert_eq!(both[1], (Some("cpuacct".to_owned()), "x".into()));
    }

    #[test]
    fn runc_s_words() {
        let text = |arguments: &[&str]| parse(arguments).unwrap_err().to_string();
        assert_eq!(text(&[".."]), ".. is not a sub cgroup path");
        assert_eq!(text(&["cpu:a/../.."]), "a/../.. is not a sub cgroup path");
        assert_eq!(
            text(&["a", "b"]),
            "invalid --cgroup argument: a (missing <controller>: prefix)"
        );
        assert_eq!(
            text(&["cpu,:a"]),
            "invalid --cgroup argument: cpu,:a (empty <controller> prefix)"
        );
        assert_eq!(
            text(&["cpu:a", "cpu:b"]),
            "invalid --cgroup argument(s): controller cpu specified multiple times"
        );
    }

    #[test]
    fn a_controller_that_is_not_there_is_named() {
        let sub = parse(&["whaaat:/"]).unwrap();
        let error = Admission::open(&["/sys/fs/cgroup/pids/x".into()], &sub, 1).unwrap_err();
        assert_eq!(error.to_string(), "unknown controller whaaat in --cgroup");
    }
}
