//! One container's cgroup: its directories in every hierarchy, made, joined and removed.
//!
//! This is also what a record keeps of it: removing must work from that alone, after a create that was killed, and it must
//! take nested cgroups along, which programs in the container make.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use fragment_sys::file;
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

use crate::error::{CgroupError, Errno};
use crate::freezer;
use crate::layout::{Hierarchy, Kind, Layout};
use crate::resources::Resources;
use crate::systemd::Unit;
use crate::v2;

/// How long the kernel may take to let the last process of a cgroup go.
const REMOVAL: Duration = Duration::from_secs(5);
/// Deeper nesting than any program makes; the walk is recursive.
const DEEPEST: usize = 64;

/// The cgroup of a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cgroup {
    pub(crate) kind: Kind,
    pub(crate) directories: Vec<Directory>,
    /// Where systemd made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unit: Option<Unit>,
    /// Whether a lack of rights is expected.
    pub(crate) rootless: bool,
    /// Whether somebody chose the path.
    pub(crate) named: bool,
}

/// A directory in one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Directory {
    /// Controllers, or `name=…`; none for the unified hierarchy.
    pub(crate) names: Vec<String>,
    pub(crate) path: PathBuf,
}

impl Directory {
    pub(crate) fn is_unified(&self) -> bool {
        self.names.is_empty()
    }

    pub(crate) fn has(&self, controller: &str) -> bool {
        self.names.iter().any(|name| name == controller)
    }
}

/// Where a container's cgroup is to be.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// `linux.cgroupsPath`.
    pub path: Option<&'a Path>,
    /// The container's name.
    pub id: &'a str,
    /// Whether the runtime lacks rights over the machine's cgroups.
    pub rootless: bool,
}

impl Cgroup {
    /// Where the cgroupfs driver puts it; nothing is made yet.
    ///
    /// Without a name it has the container's, as with runc, and [`Cgroup::check_unused`] keeps it out of what is somebody
    /// else's. It lies at the top for root, and where the user may have rights otherwise: below the runtime's own cgroup on
    /// v1, beside it on v2, where a cgroup with processes can have no children with controllers (cgroups(7), "no internal
    /// processes").
    #[must_use]
    pub fn at(layout: &Layout, wish: &Wish<'_>) -> Self {
        let named = wish.path.filter(|path| !path.as_os_str().is_empty());
        let place = |hierarchy: &Hierarchy| match named {
            Some(path) => hierarchy.mount_point.join(inside(path)),
            None if !wish.rootless => hierarchy.mount_point.join(wish.id),
            None => {
                let own = layout.own(hierarchy);
                let own = own.unwrap_or_else(|| hierarchy.mount_point.clone());
                let parent = own
                    .parent()
                    .filter(|it| it.starts_with(&hierarchy.mount_point));
                match parent.filter(|_| hierarchy.is_unified()) {
                    Some(parent) => parent.join(wish.id),
                    None => own.join(wish.id),
                }
            }
        };
        let directories = (layout.hierarchies.iter()).map(|hierarchy| Directory {
            names: hierarchy.names.clone(),
            path: place(hierarchy),
        });
        Self {
            kind: layout.kind(),
            directories: directories.collect(),
            unit: None,
            rootless: wish.rootless,
            named: named.is_some(),
        }
    }

    /// Which kind of layout it lies in.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its directories.
    pub fn directories(&self) -> impl Iterator<Item = &Path> {
        self.directories
            .iter()
            .map(|directory| directory.path.as_path())
    }

    /// The directory of a v1 controller, or the one of a pure v2 layout.
    pub(crate) fn directory(&self, controller: &str) -> Option<&Path> {
        let mut directories = self.directories.iter();
        let wanted = directories.find(|directory| match self.kind {
            Kind::Unified => directory.is_unified(),
            _ => directory.has(controller),
        });
        wanted.map(|directory| directory.path.as_path())
    }

    /// The directory in the unified hierarchy, be it alone or beside v1 ones.
    pub(crate) fn unified(&self) -> Option<&Path> {
        let mut directories = self.directories.iter();
        let unified = directories.find(|directory| directory.is_unified())?;
        Some(&unified.path)
    }

    /// Refuses a cgroup that has processes, which would be killed with the container, and one that is frozen.
    ///
    /// # Errors
    /// [`CgroupError::InUse`], [`CgroupError::Frozen`].
    pub fn check_unused(&self) -> Result<(), CgroupError> {
        // a container's cgroup is new nearly always: one look for each hierarchy then
        let existing = self.directories.iter().filter(|it| it.path.exists());
        for directory in existing {
            if freezer::holds(&directory.path) {
                return Err(CgroupError::Frozen);
            }
            let processes = processes_in(&directory.path, 0).len();
            if processes > 0 {
                return Err(CgroupError::InUse {
                    path: directory.path.clone(),
                    processes,
                });
            }
        }
        Ok(())
    }

    /// Makes the directories. Without rights, and where nobody asked for a path or a limit, the container goes without those
    /// that cannot be made, as with runc.
    ///
    /// # Errors
    /// When a directory cannot be made, or the processes' mode of one on the way does not allow what is asked for.
    pub fn create(&mut self, resources: &Resources) -> Result<(), CgroupError> {
        if self.unit.is_some() {
            // made with the first process, by systemd
            return Ok(());
        }
        if self.kind == Kind::Unified {
            return self.create_unified(resources);
        }
        let tolerant = self.rootless && !self.named;
        let mut failed: Vec<PathBuf> = Vec::new();
        for directory in &self.directories {
            let made = if directory.has("cpuset") {
                make_cpuset(&directory.path)
            } else {
                make(&directory.path)
            };
            match made {
                // as runc: what only groups processes is worth having and not worth failing for
                Err(error) if is_optional(directory) => {
                    tracing::debug!("{error}");
                    failed.push(directory.path.clone());
                }
                Err(error) if tolerant && error.is_permission() => {
                    failed.push(directory.path.clone());
                }
                other => other?,
            }
        }
        self.directories.retain(|it| !failed.contains(&it.path));
        Ok(())
    }

    fn create_unified(&mut self, resources: &Resources) -> Result<(), CgroupError> {
        let Some(path) = self.unified() else {
            return Ok(());
        };
        match v2::create(path, resources) {
            Err(error) if self.rootless && !self.named && error.is_permission() => {
                if resources.needs_controllers() {
                    return Err(CgroupError::Unprivileged(Box::new(error)));
                }
                self.directories.clear();
                Ok(())
            }
            other => other,
        }
    }

    /// Gives the cgroup to the container's root user where the kernel says that is safe, so that it can make cgroups below
    /// (cgroups(7), "Cgroup delegation"); v2 only.
    ///
    /// # Errors
    /// As chown(2).
    pub fn delegate(&self, owner: u32) -> Result<(), CgroupError> {
        let Some(path) = self.unified().filter(|_| self.kind == Kind::Unified) else {
            return Ok(());
        };
        let list = file::read_text("/sys/kernel/cgroup/delegate").unwrap_or_else(|_| {
            // Linux before 4.15
            "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n".to_owned()
        });
        let files = list.lines().map(|name| path.join(name));
        for file in files.chain([path.to_owned()]) {
            match std::os::unix::fs::chown(&file, Some(owner), None) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(CgroupError::write(&file, &format!("owner {owner}"), error));
                }
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// The processes in the cgroup and below.
    #[must_use]
    pub fn processes(&self) -> BTreeSet<i32> {
        (self.directories.iter())
            .flat_map(|directory| processes_in(&directory.path, 0))
            .collect()
    }

    /// Sends SIGKILL to everything in the cgroup and below, this process excepted.
    pub fn kill(&self) {
        self.thaw_quietly();
        if let Some(path) = self.unified().filter(|_| self.kind == Kind::Unified) {
            // atomic, forks included (Linux 5.14)
            if write(&path.join("cgroup.kill"), "1").is_ok() {
                return;
            }
        }
        let own = i32::try_from(std::process::id()).unwrap_or_default();
        for pid in self.processes().into_iter().filter(|pid| *pid != own) {
            if let Some(pid) = Pid::from_raw(pid) {
                // membership was read a moment ago; a process that has ended since is what is wanted
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
    }

    /// Kills what is left and removes the directories; `false` when something would not go in time.
    #[must_use]
    pub fn remove(&self) -> bool {
        if let Some(unit) = &self.unit {
            self.kill();
            if let Err(error) = unit.stop() {
                tracing::warn!("{error}");
            }
        }
        let started = Instant::now();
        let mut pause = Duration::from_micros(500);
        loop {
            let left = self
                .directories
                .iter()
                .filter(|directory| !remove_tree(&directory.path, 0));
            if left.count() == 0 {
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

/// A path as it lies inside each hierarchy: relative ones too start at the top (config-linux.md leaves the place to the
/// runtime), and `..` leads nowhere else.
pub(crate) fn inside(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            _ => {}
        }
    }
    clean
}

/// Hierarchies without controllers that are set.
fn is_optional(directory: &Directory) -> bool {
    directory.is_unified() || directory.names.iter().any(|name| name.starts_with("name="))
}

pub(crate) fn make(path: &Path) -> Result<(), CgroupError> {
    let made = DirBuilder::new().recursive(true).mode(0o755).create(path);
    made.map_err(|source| CgroupError::Create {
        path: path.to_owned(),
        source: Errno(source),
    })
}

/// A new cpuset has neither processors nor memory nodes, and takes no process until it has: each level is given its parent's
/// (cpusets(7)). What exists and has some is left alone.
pub(crate) fn make_cpuset(path: &Path) -> Result<(), CgroupError> {
    let missing: Vec<&Path> = path.ancestors().take_while(|it| is_unset(it)).collect();
    for directory in missing.into_iter().rev() {
        make(directory)?;
        let Some(parent) = directory.parent() else {
            continue;
        };
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let own = read(&directory.join(file))?;
            if own.trim().is_empty() {
                let value = read(&parent.join(file))?;
                write(&directory.join(file), value.trim())?;
            }
        }
    }
    Ok(())
}

fn is_unset(directory: &Path) -> bool {
    let unset = |file: &str| {
        file::read_text(directory.join(file)).map_or(true, |text| text.trim().is_empty())
    };
    unset("cpuset.cpus") || unset("cpuset.mems")
}

pub(crate) fn read(path: &Path) -> Result<String, CgroupError> {
    file::read_text(path).map_err(|error| CgroupError::read(path, error))
}

/// Writes a file of the kernel's in one write(2); it has to exist.
pub(crate) fn write(path: &Path, value: &str) -> Result<(), CgroupError> {
    write_raw(path, value).map_err(|error| CgroupError::write(path, value, error))
}

pub(crate) fn write_raw(path: &Path, value: &str) -> io::Result<()> {
    use std::io::Write as _;
    let mut file = fs::File::options().write(true).open(path)?;
    loop {
        match file.write_all(value.as_bytes()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

pub(crate) fn processes_in(directory: &Path, depth: usize) -> Vec<i32> {
    let listed = file::read_text(directory.join("cgroup.procs"))
        // EOPNOTSUPP in a threaded cgroup (cgroups(7))
        .or_else(|_| file::read_text(directory.join("cgroup.threads")))
        .unwrap_or_default();
    let mut processes: Vec<i32> = (listed.lines())
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

pub(crate) fn children(directory: &Path) -> Vec<PathBuf> {
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
    use crate::layout::tests::{HYBRID, UNIFIED};

    fn wish<'a>(path: Option<&'a str>, rootless: bool) -> Wish<'a> {
        Wish {
            path: path.map(Path::new),
            id: "c1",
            rootless,
        }
    }

    fn paths(mountinfo: &str, memberships: &str, wish: &Wish<'_>) -> Vec<PathBuf> {
        let layout = Layout::parse(mountinfo, memberships.to_owned());
        let cgroup = Cgroup::at(&layout, wish);
        cgroup.directories().map(Path::to_owned).collect()
    }

    #[test]
    fn the_default_path_is_named_as_the_container() {
        let own = "3:pids:/a/b\n0::/user/session";
        let root = paths(UNIFIED, own, &wish(None, false));
        assert_eq!(root, [Path::new("/sys/fs/cgroup/c1")]);
        assert_eq!(paths(UNIFIED, own, &wish(Some(""), false)), root);
    }

    #[test]
    fn a_users_cgroup_is_below_its_own_on_v1_and_beside_it_on_v2() {
        let own = "4:memory:/\n3:pids:/a/b\n1:name=systemd:/s\n0::/user/session";
        let made = paths(UNIFIED, own, &wish(None, true));
        assert_eq!(made, [Path::new("/sys/fs/cgroup/user/c1")]);
        let made = paths(HYBRID, own, &wish(None, true));
        assert!(
            made.contains(&"/sys/fs/cgroup/pids/a/b/c1".into()),
            "{made:?}"
        );
        assert!(
            made.contains(&"/sys/fs/cgroup/memory/c1".into()),
            "{made:?}"
        );
        // at the top there is nothing beside
        let made = paths(UNIFIED, "0::/", &wish(None, true));
        assert_eq!(made, [Path::new("/sys/fs/cgroup/c1")]);
    }

    #[test]
    fn a_path_stays_inside_its_hierarchy() {
        let made = paths(UNIFIED, "0::/", &wish(Some("/../../x/../y"), false));
        assert_eq!(made, [Path::new("/sys/fs/cgroup/y")]);
        let made = paths(UNIFIED, "0::/", &wish(Some("a/b"), false));
        assert_eq!(made, [Path::new("/sys/fs/cgroup/a/b")]);
    }

    #[test]
    fn nested_directories_go_with_the_cgroup() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("group");
        fs::create_dir_all(top.join("a/b")).unwrap();
        assert!(remove_tree(&top, 0));
        assert!(!top.exists());
        assert!(remove_tree(&top, 0));
    }

    #[test]
    fn a_process_outside_the_pid_namespace_is_none() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cgroup.procs"), "0\n12\n").unwrap();
        assert_eq!(processes_in(dir.path(), 0), [12]);
    }
}
