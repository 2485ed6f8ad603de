//! Who a container's root is on the host, and where it can go there.

use std::fs;
use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType};
use std::os::unix::fs::MetadataExt as _;
/// Whether this process may write any mapping: root has the right, in its own user namespace too (user_namespaces(7)).
pub(crate) fn may_map() -> bool {
    rustix::process::geteuid().is_root()
}

/// The host's identities of a container's root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Root {
    uid: u32,
    gid: u32,
}

impl Root {
    /// `None` for a container without a user namespace of its own, whose root can go where the runtime can.
    pub(crate) fn of(linux: Option<&Linux>) -> Option<Self> {
        let linux = linux?;
        let namespaces = linux.namespaces().iter().flatten();
        let mut namespaces = namespaces.into_iter();
        let user = namespaces.find(|namespace| namespace.typ() == LinuxNamespaceType::User)?;
        let first = |mappings: &Option<Vec<LinuxIdMapping>>| {
            let mut mappings = mappings.iter().flatten();
            mappings
                .find(|mapping| mapping.container_id() == 0)
                .map(LinuxIdMapping::host_id)
        };
        let joined = user.path().as_ref().and_then(|path| joined(path));
        Some(joined.unwrap_or(Self {
            uid: first(linux.uid_mappings()).unwrap_or(u32::MAX),
            gid: first(linux.gid_mappings()).unwrap_or(u32::MAX),
        }))
    }

    /// Whether a path can be reached with these identities and no privilege. Access control lists are not asked: then the
    /// answer is no and the runtime opens the path itself, which works either way.
    pub(crate) fn reaches(self, path: &Path) -> bool {
        let Ok(path) = path.canonicalize() else {
            // the error is libcontainer's to find
            return true;
        };
        path.ancestors().skip(1).all(|directory| {
            let Ok(status) = fs::metadata(directory) else {
                return false;
            };
            let mode = status.mode();
            mode & 0o001 != 0
                || (status.uid() == self.uid && mode & 0o100 != 0)
                || (status.gid() == self.gid && mode & 0o010 != 0)
        })
    }
}

/// Who root is in the namespace of a process, from the path `/proc/PID/ns/user`.
fn joined(path: &Path) -> Option<Root> {
    let process = path.parent()?.parent()?;
    let first = |name: &str| {
        let text = fs::read_to_string(PathBuf::from(process).join(name)).ok()?;
        text.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            (words.next()? == "0").then(|| words.next()?.parse().ok())?
        })
    };
    Some(Root {
        uid: first("uid_map")?,
        gid: first("gid_map")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_private_directory_on_the_way_is_not_passed() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let stranger = Root {
            uid: 4_000_000,
            gid: 4_000_000,
        };
        let owner = Root {
            uid: fs::metadata(&inner).unwrap().uid(),
            gid: 4_000_000,
        };
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(!stranger.reaches(&inner));
        assert!(owner.reaches(&inner));
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711)).unwrap();
        assert!(stranger.reaches(&inner));
    }
}
