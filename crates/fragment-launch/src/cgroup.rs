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
    /// Where `path` lies in every hierarchy mounted here.
    pub(crate) fn at(path: &Path) -> Result<Self, LaunchError> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")
            .map_err(LaunchError::io("read", "/proc/self/mountinfo"))?;
        let inside: PathBuf = path
            .components()
            .filter(|component| matches!(component, Component::Normal(_)))
            .collect();
        let directories = hierarchies(&mounts)
            .iter()
            .map(|hierarchy| hierarchy.mount_point.join(&inside))
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

/// Hierarchies libcontainer puts processes into itself.
const LIBCONTAINER: [&str; 12] = [
    "cpu",
    "cpuacct",
    "cpuset",
    "devices",
    "hugetlb",
    "memory",
    "pids",
    "perf_event",
    "blkio",
    "net_prio",
    "net_cls",
    "freezer",
];

/// Where the runtime was before it joined a container's cgroup; it returns there when this is dropped.
#[derive(Debug)]
pub(crate) struct Joined {
    before: Vec<PathBuf>,
}

impl Drop for Joined {
    fn drop(&mut self) {
        for directory in &self.before {
            if let Err(error) = enter(directory) {
                tracing::warn!("return to cgroup {}: {error}", directory.display());
            }
        }
    }
}

impl Cgroup {
    /// Puts this process into the container's cgroup of the hierarchies libcontainer does not know (name=systemd, rdma, misc,
    /// and the unified one beside v1 controllers), so that what it clones is there from the start. Without this a container
    /// sees, and can change, the host's root there; systemd in it would boot in that root.
    pub(crate) fn join_rest(&self) -> Result<Joined, LaunchError> {
        let mut joined = Joined { before: Vec::new() };
        for (directory, before) in self.rest()? {
            let entered = fs::create_dir_all(directory).and_then(|()| enter(directory));
            entered.map_err(LaunchError::io("join cgroup", directory))?;
            joined.before.push(before);
        }
        Ok(joined)
    }

    /// The directories libcontainer does not know, each with this process's own in the same hierarchy.
    fn rest(&self) -> Result<Vec<(&Path, PathBuf)>, LaunchError> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")
            .map_err(LaunchError::io("read", "/proc/self/mountinfo"))?;
        let own = fs::read_to_string("/proc/self/cgroup")
            .map_err(LaunchError::io("read", "/proc/self/cgroup"))?;
        let hierarchies = hierarchies(&mounts);
        let pure = hierarchies.iter().all(Hierarchy::is_unified);
        let unknown = hierarchies.iter().filter(|it| !it.is_libcontainers(pure));
        let rest = unknown.filter_map(|hierarchy| {
            let mut directories = self.directories.iter();
            let directory = directories.find(|path| path.starts_with(&hierarchy.mount_point))?;
            Some((directory.as_path(), hierarchy.path_in(&own)?))
        });
        Ok(rest.collect())
    }
}

fn enter(directory: &Path) -> io::Result<()> {
    fs::write(
        directory.join("cgroup.procs"),
        std::process::id().to_string(),
    )
}

/// A mounted cgroup hierarchy.
struct Hierarchy {
    mount_point: PathBuf,
    /// Controllers, or `name=…`; none for the unified one (v2).
    names: Vec<String>,
}

impl Hierarchy {
    fn is_unified(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether libcontainer puts processes into it; `pure` when there are no v1 hierarchies.
    fn is_libcontainers(&self, pure: bool) -> bool {
        if self.is_unified() {
            return pure;
        }
        let mut names = self.names.iter();
        names.any(|name| LIBCONTAINER.contains(&name.as_str()))
    }

    /// The directory of the process whose /proc/PID/cgroup is given (cgroups(7)).
    fn path_in(&self, memberships: &str) -> Option<PathBuf> {
        memberships.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let names = fields.next()?;
            let path = fields.next()?;
            let this = names.is_empty() == self.is_unified()
                && (names.split(',').filter(|name| !name.is_empty()))
                    .all(|name| self.names.iter().any(|own| own == name));
            this.then(|| self.mount_point.join(path.trim_start_matches('/')))
        })
    }
}

/// What is mounted at or below [`ROOT`]; the unified hierarchy last, and once however often it is mounted.
fn hierarchies(mountinfo: &str) -> Vec<Hierarchy> {
    let mut hierarchies: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        // fields up to " - " vary in number (proc_pid_mountinfo(5)); the mount point is the fifth
        let Some((before, after)) = line.split_once(" - ") else {
            continue;
        };
        let Some(mount_point) = before.split(' ').nth(4).map(PathBuf::from) else {
            continue;
        };
        let mut after = after.split(' ');
        let names = match after.next() {
            Some("cgroup") => after.nth(1).unwrap_or_default(),
            Some("cgroup2") => "",
            _ => continue,
        };
        if mount_point.starts_with(ROOT) {
            let names = names.split(',').filter(|name| !name.is_empty());
            let names = names.map(str::to_owned).collect();
            hierarchies.push(Hierarchy { mount_point, names });
        }
    }
    hierarchies.sort_by(|a, b| a.mount_point.cmp(&b.mount_point));
    hierarchies.dedup_by(|a, b| a.mount_point == b.mount_point);
    let unified = hierarchies.iter().position(Hierarchy::is_unified);
    let Some(unified) = unified.map(|index| hierarchies.remove(index)) else {
        return hierarchies;
    };
    hierarchies.retain(|hierarchy| !hierarchy.is_unified());
    if unified.mount_point == Path::new(ROOT) {
        // it covers what may have been mounted below before
        hierarchies.clear();
    }
    hierarchies.push(unified);
    hierarchies
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

    const HYBRID: &str = "\
30 20 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro
31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
32 30 0:28 / /sys/fs/cgroup/pids rw,nosuid shared:3 - cgroup cgroup rw,pids
33 30 0:29 / /mnt/elsewhere rw - cgroup cgroup rw,cpu
34 30 0:30 / /sys/fs/cgroup/systemd rw - cgroup none rw,name=systemd
35 20 0:27 / /sys/fs/cgroup/unified-again rw - cgroup2 cgroup2 rw";

    fn mount_points(mountinfo: &str) -> Vec<PathBuf> {
        let hierarchies = hierarchies(mountinfo).into_iter();
        hierarchies.map(|hierarchy| hierarchy.mount_point).collect()
    }

    #[test]
    fn a_hybrid_layout_has_the_unified_hierarchy_beside_those_of_v1() {
        let expected = ["pids", "systemd", "unified"].map(|name| Path::new(ROOT).join(name));
        assert_eq!(mount_points(HYBRID), expected);
    }

    #[test]
    fn what_libcontainer_does_not_join_is_ours_to_join() {
        let joined = |mountinfo: &str| {
            let hierarchies = hierarchies(mountinfo);
            let pure = hierarchies.iter().all(Hierarchy::is_unified);
            let rest = hierarchies.iter().filter(|it| !it.is_libcontainers(pure));
            rest.map(|it| it.mount_point.clone()).collect::<Vec<_>>()
        };
        assert_eq!(
            joined(HYBRID),
            ["systemd", "unified"].map(|name| Path::new(ROOT).join(name))
        );
        assert!(joined("31 30 0:27 / /sys/fs/cgroup rw - cgroup2 none rw").is_empty());
    }

    #[test]
    fn a_process_is_found_in_each_hierarchy() {
        let memberships = "3:pids:/a\n2:cpu,cpuacct:/x\n1:name=systemd:/user\n0::/b/c";
        let found = hierarchies(HYBRID).into_iter();
        let found: Vec<_> = found.map(|it| it.path_in(memberships)).collect();
        let expected = ["pids/a", "systemd/user", "unified/b/c"];
        assert_eq!(found, expected.map(|path| Some(Path::new(ROOT).join(path))));
    }

    #[test]
    fn a_pure_layout_is_cgroup_v2() {
        assert_eq!(
            mount_points("31 30 0:27 / /sys/fs/cgroup rw - cgroup2 none rw"),
            [PathBuf::from(ROOT)]
        );
    }

    #[test]
    fn cgroup_v2_covers_what_was_mounted_before() {
        let covered = format!("{HYBRID}\n36 30 0:27 / /sys/fs/cgroup rw - cgroup2 none rw");
        assert_eq!(mount_points(&covered), [PathBuf::from(ROOT)]);
    }

    #[test]
    fn the_default_path_is_nobody_else_s() {
        assert_eq!(path_for(None, "docker"), Path::new("/fragment-docker"));
        assert_eq!(path_for(Some(Path::new("")), "a"), Path::new("/fragment-a"));
        assert_eq!(path_for(Some(Path::new("x/y")), "a"), Path::new("/x/y"));
    }
}
