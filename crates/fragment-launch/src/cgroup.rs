//! The container's cgroup: the directories it has in each hierarchy, the processes in it, and its end.
//!
//! libcontainer makes it and puts limits on it. Finding and removing it is ours: it must work from the record alone, after a
//! create that was killed, and it must take nested cgroups along, which programs in the container make.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::error::LaunchError;

const ROOT: &str = "/sys/fs/cgroup";
/// How long the kernel may take to let the last process of a cgroup go.
const REMOVAL: Duration = Duration::from_secs(5);
/// Deeper nesting than any program makes; the walk is recursive.
const DEEPEST: usize = 64;

/// The directories of one cgroup, one a hierarchy.
#[derive(Debug, Clone)]
pub(crate) struct Cgroup {
    directories: Vec<PathBuf>,
}

/// The path inside each hierarchy for a container: what the specification says, else one that cannot be anybody else's.
pub(crate) fn path_for(named: Option<&Path>, id: &str) -> PathBuf {
    match named.filter(|path| !path.as_os_str().is_empty()) {
        // always absolute: libcontainer takes a relative one for the systemd driver as soon as there is a user namespace
        Some(path) => Path::new("/").join(path),
        None => PathBuf::from(format!("/fragment-{id}")),
    }
}

impl Cgroup {
    /// Where `path` lies in every hierarchy that libcontainer uses here.
    pub(crate) fn at(path: &Path) -> Result<Self, LaunchError> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")
            .map_err(LaunchError::io("read", "/proc/self/mountinfo"))?;
        let inside: PathBuf = path
            .components()
            .filter(|component| matches!(component, Component::Normal(_)))
            .collect();
        let directories = hierarchies(&mounts)
            .iter()
            .map(|mount| mount.join(&inside))
            .collect();
        Ok(Self { directories })
    }

    /// From a record.
    pub(crate) fn recorded(directories: Vec<PathBuf>) -> Self {
        Self { directories }
    }

    /// For a record.
    pub(crate) fn directories(&self) -> &[PathBuf] {
        &self.directories
    }

    /// Refuses a cgroup that has processes: they would be killed with the container.
    pub(crate) fn check_unused(&self) -> Result<(), LaunchError> {
        for directory in &self.directories {
            let processes = processes_in(directory, 0).len();
            if processes > 0 {
                return Err(LaunchError::CgroupInUse {
                    path: directory.clone(),
                    processes,
                });
            }
        }
        Ok(())
    }

    /// The processes in the cgroup and below.
    pub(crate) fn processes(&self) -> BTreeSet<i32> {
        self.directories
            .iter()
            .flat_map(|directory| processes_in(directory, 0))
            .collect()
    }

    /// Whether the freezer holds the cgroup.
    pub(crate) fn is_frozen(&self) -> bool {
        self.directories.iter().any(|directory| {
            let holds = |file: &str, word: &str| {
                fs::read_to_string(directory.join(file)).is_ok_and(|text| text.trim() == word)
            };
            holds("freezer.state", "FROZEN") || holds("cgroup.freeze", "1")
        })
    }

    /// Lets a frozen cgroup run: a frozen process does not die of SIGKILL on cgroup v1.
    pub(crate) fn thaw(&self) {
        for directory in &self.directories {
            for (file, word) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
                let file = directory.join(file);
                if file.exists() {
                    // it then is either thawed already or gone; the kill that follows tells
                    let _ = fs::write(file, word);
                }
            }
        }
    }

    /// Sends SIGKILL to everything in the cgroup and below.
    pub(crate) fn kill(&self) {
        self.thaw();
        for pid in self.processes() {
            if let Some(pid) = Pid::from_raw(pid) {
                // membership was read a moment ago; a process that has ended since is what is wanted
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
    }

    /// Kills what is left and removes the directories; `false` when something would not go in time.
    pub(crate) fn remove(&self) -> bool {
        let started = Instant::now();
        let mut pause = Duration::from_micros(500);
        loop {
            let left: Vec<&PathBuf> = self
                .directories
                .iter()
                .filter(|directory| !remove_tree(directory, 0))
                .collect();
            if left.is_empty() {
                return true;
            }
            if started.elapsed() > REMOVAL {
                return false;
            }
            self.kill();
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
}

/// Mount points of the hierarchies libcontainer uses: all of cgroup v1 where there is one, else the unified one.
fn hierarchies(mountinfo: &str) -> Vec<PathBuf> {
    let mut v1 = Vec::new();
    let mut unified = Vec::new();
    for line in mountinfo.lines() {
        // fields up to " - " vary in number (proc_pid_mountinfo(5)); the mount point is the fifth
        let Some((before, after)) = line.split_once(" - ") else {
            continue;
        };
        let Some(mount_point) = before.split(' ').nth(4).map(PathBuf::from) else {
            continue;
        };
        if !mount_point.starts_with(ROOT) {
            continue;
        }
        match after.split(' ').next() {
            Some("cgroup") => v1.push(mount_point),
            Some("cgroup2") => unified.push(mount_point),
            _ => {}
        }
    }
    let mut chosen = if v1.is_empty() { unified } else { v1 };
    chosen.sort();
    chosen.dedup();
    chosen
}

fn processes_in(directory: &Path, depth: usize) -> Vec<i32> {
    let mut processes: Vec<i32> = fs::read_to_string(directory.join("cgroup.procs"))
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.parse().ok())
        // 0 is a process outside this PID namespace: not ours, and kill(2) of 0 is our own process group
        .filter(|pid| *pid > 0)
        .collect();
    if depth < DEEPEST {
        for child in children(directory) {
            processes.extend(processes_in(&child, depth + 1));
        }
    }
    processes
}

fn remove_tree(directory: &Path, depth: usize) -> bool {
    match fs::remove_dir(directory) {
        Ok(()) => return true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return true,
        Err(_) if depth >= DEEPEST => return false,
        Err(_) => {}
    }
    for child in children(directory) {
        remove_tree(&child, depth + 1);
    }
    fs::remove_dir(directory).is_ok()
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hybrid_layout_is_cgroup_v1() {
        let mountinfo = "\
30 20 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro
31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
32 30 0:28 / /sys/fs/cgroup/pids rw,nosuid shared:3 - cgroup cgroup rw,pids
33 30 0:29 / /mnt/elsewhere rw - cgroup cgroup rw,cpu";
        assert_eq!(
            hierarchies(mountinfo),
            [PathBuf::from("/sys/fs/cgroup/pids")]
        );
    }

    #[test]
    fn a_pure_layout_is_cgroup_v2() {
        assert_eq!(
            hierarchies("31 30 0:27 / /sys/fs/cgroup rw - cgroup2 none rw"),
            [PathBuf::from(ROOT)]
        );
    }

    #[test]
    fn the_default_path_is_nobody_else_s() {
        assert_eq!(path_for(None, "docker"), Path::new("/fragment-docker"));
        assert_eq!(path_for(Some(Path::new("")), "a"), Path::new("/fragment-a"));
        assert_eq!(path_for(Some(Path::new("x/y")), "a"), Path::new("/x/y"));
    }
}
