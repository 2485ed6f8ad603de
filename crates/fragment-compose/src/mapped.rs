//! Layers with the owners of a container's user namespace.
//!
//! Files of a component belong to root of the host. In a user namespace that has no mapping for it they would belong to nobody:
//! they could be read, but overlayfs could not copy one up to change it. So each tree is seen through a mount of its own that maps
//! its owners (mount_setattr(2), MOUNT_ATTR_IDMAP), which is attached nowhere and goes when the overlay does.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use fragment_sys::mount::Change;
use rustix::fs::CWD;
use rustix::mount::OpenTreeFlags;

use crate::composition::Site;
use crate::kernel::KernelVersion;

/// First kernel whose overlayfs takes a layer from a mount that is attached nowhere.
const DETACHED: KernelVersion = KernelVersion::new(6, 15);

/// Layers, by the names under which this process mounts them.
#[derive(Debug)]
pub(crate) struct Mapped {
    pub(crate) paths: Vec<PathBuf>,
    /// Open until the overlay is mounted.
    _mounts: Vec<OwnedFd>,
}

impl Mapped {
    /// The trees, mapped where the container has a user namespace. Where that cannot be done they are as they are, and a warning
    /// says so.
    pub(crate) fn new<'a>(
        trees: impl Iterator<Item = &'a Path> + Clone,
        site: &Site<'_>,
        warnings: &mut Vec<String>,
    ) -> Self {
        let mapped = match site.identities {
            None => None,
            Some(_) if site.kernel < DETACHED => {
                Some(Err(format!("Linux {DETACHED} or later can")))
            }
            Some(identities) => Some(
                trees
                    .clone()
                    .map(|tree| mapped(tree, identities))
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|error| error.to_string()),
            ),
        };
        let mounts = match mapped {
            Some(Ok(mounts)) => mounts,
            other => {
                if let Some(Err(reason)) = other {
                    warnings.push(format!(
                        "the files of the components belong to nobody in this container's user namespace and cannot be \
                         changed there: their owners cannot be mapped ({reason})"
                    ));
                }
                return Self {
                    paths: trees.map(Path::to_path_buf).collect(),
                    _mounts: Vec::new(),
                };
            }
        };
        let paths = mounts
            .iter()
            .map(|mount| format!("/proc/self/fd/{}", mount.as_raw_fd()).into());
        Self {
            paths: paths.collect(),
            _mounts: mounts,
        }
    }
}

fn mapped(tree: &Path, identities: std::os::fd::BorrowedFd<'_>) -> std::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    let mount = rustix::mount::open_tree(CWD, tree, flags)?;
    let change = Change {
        identities: Some(identities),
        ..Change::default()
    };
    fragment_sys::mount::change(std::os::fd::AsFd::as_fd(&mount), change, false)?;
    Ok(mount)
}
