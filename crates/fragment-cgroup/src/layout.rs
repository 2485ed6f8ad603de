//! How this machine has its control groups mounted: v1, v1 with the unified hierarchy beside it, or v2 alone.

use std::path::{Path, PathBuf};

use fragment_sys::file;
use serde::{Deserialize, Serialize};

use crate::error::CgroupError;

/// Where everybody mounts them.
pub(crate) const ROOT: &str = "/sys/fs/cgroup";

/// Which kinds of hierarchies there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// v1 hierarchies only.
    Legacy,
    /// v1 hierarchies with the controllers, and a v2 hierarchy that only groups processes.
    Hybrid,
    /// One v2 hierarchy.
    Unified,
    /// None at all.
    Absent,
}

/// The hierarchies, and where this process is in each.
#[derive(Debug, Clone)]
pub struct Layout {
    pub(crate) hierarchies: Vec<Hierarchy>,
    memberships: String,
}

/// A mounted cgroup hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    pub(crate) mount_point: PathBuf,
    /// The cgroup that is mounted: not `/` where a container was given a part of the tree.
    root: PathBuf,
    /// Controllers, or `name=…`; none for the unified one (v2).
    pub(crate) names: Vec<String>,
}

impl Hierarchy {
    pub(crate) fn is_unified(&self) -> bool {
        self.names.is_empty()
    }

    /// The directory of the process whose /proc/PID/cgroup is given (cgroups(7)).
    pub(crate) fn path_in(&self, memberships: &str) -> Option<PathBuf> {
        memberships.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let names = fields.next()?;
            let path = Path::new(fields.next()?);
            let this = names.is_empty() == self.is_unified()
                && (names.split(',').filter(|name| !name.is_empty()))
                    .all(|name| self.names.iter().any(|own| own == name));
            let inside = path.strip_prefix(&self.root).unwrap_or(path);
            this.then(|| {
                self.mount_point
                    .join(inside.strip_prefix("/").unwrap_or(inside))
            })
        })
    }
}

impl Layout {
    /// Reads it from /proc.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn detect() -> Result<Self, CgroupError> {
        let read = |path: &str| {
            file::read_text(path).map_err(|error| CgroupError::read(Path::new(path), error))
        };
        Ok(Self::parse(
            &read("/proc/self/mountinfo")?,
            read("/proc/self/cgroup")?,
        ))
    }

    /// From the text of /proc/self/mountinfo and /proc/self/cgroup.
    #[must_use]
    pub fn parse(mountinfo: &str, memberships: String) -> Self {
        Self {
            hierarchies: hierarchies(mountinfo),
            memberships,
        }
    }

    /// Which kind this is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        let unified = self.hierarchies.iter().any(Hierarchy::is_unified);
        let legacy = self.hierarchies.iter().any(|it| !it.is_unified());
        match (legacy, unified) {
            (true, true) => Kind::Hybrid,
            (true, false) => Kind::Legacy,
            (false, true) => Kind::Unified,
            (false, false) => Kind::Absent,
        }
    }

    /// This process's own directories in the v1 hierarchies.
    pub fn own_directories(&self) -> impl Iterator<Item = PathBuf> + '_ {
        let legacy = self.hierarchies.iter().filter(|it| !it.is_unified());
        legacy.filter_map(|hierarchy| self.own(hierarchy))
    }

    /// This process's own directory in a hierarchy.
    pub(crate) fn own(&self, hierarchy: &Hierarchy) -> Option<PathBuf> {
        hierarchy.path_in(&self.memberships)
    }
}

/// What is mounted at or below [`ROOT`]; the unified hierarchy last, and once however often it is mounted.
fn hierarchies(mountinfo: &str) -> Vec<Hierarchy> {
    let mut hierarchies: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        // fields up to " - " vary in number (proc_pid_mountinfo(5)); root and mount point are the fourth and fifth
        let Some((before, after)) = line.split_once(" - ") else {
            continue;
        };
        let mut before = before.split(' ').skip(3);
        let (Some(root), Some(mount_point)) = (before.next(), before.next()) else {
            continue;
        };
        let mut after = after.split(' ');
        let names = match after.next() {
            Some("cgroup") => after.nth(1).unwrap_or_default(),
            Some("cgroup2") => "",
            _ => continue,
        };
        let mount_point = PathBuf::from(mount_point);
        if mount_point.starts_with(ROOT) {
            let names = names.split(',').filter(|name| is_hierarchy_name(name));
            hierarchies.push(Hierarchy {
                mount_point,
                root: root.into(),
                names: names.map(str::to_owned).collect(),
            });
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

/// The super options of a v1 hierarchy name its controllers among mount options (`rw`, `xattr`, `release_agent=…`).
fn is_hierarchy_name(option: &str) -> bool {
    const OPTIONS: [&str; 7] = [
        "rw",
        "ro",
        "none",
        "noprefix",
        "xattr",
        "clone_children",
        "cpuset_v2_mode",
    ];
    !option.is_empty() && !OPTIONS.contains(&option) && !option.starts_with("release_agent=")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const HYBRID: &str = "\
30 20 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro
31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
32 30 0:28 / /sys/fs/cgroup/pids rw,nosuid shared:3 - cgroup cgroup rw,pids
36 30 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
33 30 0:29 / /mnt/elsewhere rw - cgroup cgroup rw,cpu
34 30 0:30 / /sys/fs/cgroup/systemd rw - cgroup none rw,xattr,name=systemd
35 20 0:27 / /sys/fs/cgroup/unified-again rw - cgroup2 cgroup2 rw";
    pub(crate) const UNIFIED: &str = "31 30 0:27 / /sys/fs/cgroup rw - cgroup2 none rw";

    fn layout(mountinfo: &str, memberships: &str) -> Layout {
        Layout::parse(mountinfo, memberships.to_owned())
    }

    #[test]
    fn own_directories_are_those_of_v1() {
        let mountinfo = "1 0 0:1 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
            2 0 0:2 / /sys/fs/cgroup/unified rw - cgroup2 cgroup rw\n";
        let layout = Layout::parse(mountinfo, "2:pids:/me\n0::/me\n".to_owned());
        let own: Vec<PathBuf> = layout.own_directories().collect();
        assert_eq!(own, [PathBuf::from("/sys/fs/cgroup/pids/me")]);
    }

    #[test]
    fn a_hybrid_layout_has_the_unified_hierarchy_beside_those_of_v1() {
        let layout = layout(HYBRID, "");
        let expected =
            ["memory", "pids", "systemd", "unified"].map(|name| Path::new(ROOT).join(name));
        let points: Vec<_> = (layout.hierarchies.iter())
            .map(|hierarchy| hierarchy.mount_point.clone())
            .collect();
        assert_eq!(points, expected);
        assert_eq!(layout.kind(), Kind::Hybrid);
        assert_eq!(layout.hierarchies[2].names, ["name=systemd"]);
    }

    #[test]
    fn the_kinds_are_told_apart() {
        let legacy: Vec<&str> = (HYBRID.lines())
            .filter(|line| !line.contains("cgroup2"))
            .collect();
        assert_eq!(layout(&legacy.join("\n"), "").kind(), Kind::Legacy);
        assert_eq!(layout(UNIFIED, "").kind(), Kind::Unified);
        assert_eq!(
            layout("1 0 8:1 / / rw - ext4 /dev/a rw", "").kind(),
            Kind::Absent
        );
        // v2 mounted over everything
        assert_eq!(
            layout(&format!("{HYBRID}\n{UNIFIED}"), "").kind(),
            Kind::Unified
        );
    }

    #[test]
    fn a_process_is_found_in_each_hierarchy() {
        let layout = layout(
            HYBRID,
            "5:memory:/\n3:pids:/a\n2:cpu,cpuacct:/x\n1:name=systemd:/user\n0::/b/c",
        );
        let found: Vec<_> = (layout.hierarchies.iter())
            .map(|it| layout.own(it))
            .collect();
        let expected = ["memory", "pids/a", "systemd/user", "unified/b/c"];
        assert_eq!(found, expected.map(|path| Some(Path::new(ROOT).join(path))));
    }

    #[test]
    fn a_part_of_the_tree_that_is_mounted_alone_is_its_root() {
        let nested = "31 30 0:27 /docker/x /sys/fs/cgroup rw - cgroup2 none rw";
        let layout = layout(nested, "0::/docker/x/y");
        assert_eq!(
            layout.own(&layout.hierarchies[0]),
            Some(Path::new(ROOT).join("y"))
        );
    }
}
