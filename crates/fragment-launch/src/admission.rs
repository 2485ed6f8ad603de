//! The way of a new process into a container's cgroup.
//!
//! A process is put there from outside, by its number, before it does anything: the runtime itself is never in the container's
//! cgroup, where programs would see it as process 0. The runtime enters directories that exist and makes none, so an exec that
//! races with a delete leaves nothing: either the process gets in and is killed with the others, or there is no way in.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

use rustix::io::Errno;
use thiserror::Error;

use crate::diagnosis::words;

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
    doors: Vec<(PathBuf, io::Result<File>)>,
    /// Whether the caller chose the cgroup.
    chosen: bool,
}

/// A process that was not let in.
#[derive(Debug, Error)]
#[error("adding pid {pid} to cgroups: {verb} {path}: {}", words(.cause), path = .path.display())]
pub struct AdmissionError {
    pid: i32,
    verb: &'static str,
    path: PathBuf,
    cause: io::Error,
}

impl Admission {
    /// Opens the ways into a cgroup that has these directories, or into one below. What cannot be opened is told when a process
    /// wants in.
    pub(crate) fn open(directories: &[PathBuf], sub: &SubCgroups) -> Result<Self, SubCgroupError> {
        sub.check(directories)?;
        let open = |directory: &PathBuf| {
            let path = sub.below(directory).join("cgroup.procs");
            let file = File::options().write(true).open(&path);
            (path, file)
        };
        Ok(Self {
            doors: directories.iter().map(open).collect(),
            chosen: !sub.0.is_empty(),
        })
    }

    /// Puts a process in. `init` is the container's first: where the kernel lets nobody into an inner cgroup of v2, the process
    /// goes where that one is, unless the caller chose.
    pub(crate) fn admit(&self, pid: i32, init: i32) -> Result<(), AdmissionError> {
        for (path, door) in &self.doors {
            let fail = |verb, cause| AdmissionError {
                pid,
                verb,
                path: path.clone(),
                cause,
            };
            let mut door = match door {
                Ok(door) => door,
                Err(error) if is_forgivable(error) => continue,
                Err(error) => {
                    let cause = error.raw_os_error().map_or_else(
                        || io::Error::from(error.kind()),
                        io::Error::from_raw_os_error,
                    );
                    return Err(fail("open", cause));
                }
            };
            match door.write_all(pid.to_string().as_bytes()) {
                Err(error) if is_busy(&error) && !self.chosen => {
                    join_init(pid, init).map_err(|cause| fail("write", cause))?;
                }
                Err(error) if is_forgivable(&error) => {}
                entered => entered.map_err(|cause| fail("write", cause))?,
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
fn is_forgivable(error: &io::Error) -> bool {
    let denied = [Errno::ACCESS, Errno::PERM, Errno::ROFS].map(Errno::raw_os_error);
    error
        .raw_os_error()
        .is_some_and(|errno| denied.contains(&errno))
        && is_rootless()
}

fn is_rootless() -> bool {
    // the initial user namespace maps everything (user_namespaces(7))
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    !map.contains("4294967295") || !rustix::process::geteuid().is_root()
}

fn join_init(pid: i32, init: i32) -> io::Result<()> {
    let memberships = std::fs::read_to_string(format!("/proc/{init}/cgroup"))?;
    let path = memberships
        .lines()
        .find_map(|line| line.strip_prefix("0::/"));
    let directory = Path::new(ROOT).join(path.unwrap_or_default());
    std::fs::write(directory.join("cgroup.procs"), pid.to_string())
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
        let error = Admission::open(&["/sys/fs/cgroup/pids/x".into()], &sub).unwrap_err();
        assert_eq!(error.to_string(), "unknown controller whaaat in --cgroup");
    }
}
