//! The cgroup mount of a container that joins the PID namespace of another, on cgroup v1.
//!
//! libcontainer finds out which cgroup to bind by the process number it has in that namespace, looked up in the runtime's /proc:
//! there it is nobody's, and create fails, or somebody else's. So it is given the binds themselves. Kubernetes shares PID
//! namespaces in a pod, docker by `--pid container:NAME`.

use std::path::{Path, PathBuf};

use fragment_cgroup::{Cgroup, Kind, Layout};
use libcontainer::oci_spec::runtime::{Linux, LinuxNamespaceType, Mount, Spec};

const ROOT: &str = "/sys/fs/cgroup";

/// Puts binds of the container's own directories in the place of cgroup mounts.
pub(crate) fn resolve(spec: &mut Spec, cgroup: &Cgroup) {
    if cgroup.kind() == Kind::Unified || !joins_processes(spec.linux().as_ref()) {
        return;
    }
    let mut directories: Vec<PathBuf> = cgroup.directories().map(Path::to_owned).collect();
    if directories.is_empty() {
        // a rootless container without a cgroup of its own stays in the runtime's
        let layout = Layout::detect();
        directories.extend(layout.iter().flat_map(Layout::own_directories));
    }
    let hierarchies: Vec<_> = directories.iter().filter_map(|it| hierarchy(it)).collect();
    let Some(mounts) = spec.mounts_mut().as_mut() else {
        return;
    };
    *mounts = mounts
        .drain(..)
        .flat_map(|mount| {
            if mount.typ().as_deref() == Some("cgroup") {
                binds(&mount, &hierarchies)
            } else {
                vec![mount]
            }
        })
        .collect();
}

fn joins_processes(linux: Option<&Linux>) -> bool {
    let namespaces = linux.and_then(|linux| linux.namespaces().as_ref());
    namespaces
        .into_iter()
        .flatten()
        .any(|namespace| namespace.typ() == LinuxNamespaceType::Pid && namespace.path().is_some())
}

/// The name of a v1 hierarchy's mount point, and a cgroup's directory in it. The unified hierarchy beside them is not shown, as
/// with runc.
fn hierarchy(directory: &Path) -> Option<(&str, &Path)> {
    let below = directory.strip_prefix(ROOT).ok()?;
    let name = below.components().next()?.as_os_str().to_str()?;
    (!directory.join("cgroup.controllers").exists()).then_some((name, directory))
}

fn binds(mount: &Mount, hierarchies: &[(&str, &Path)]) -> Vec<Mount> {
    let place = mount.destination();
    let mut directory = Mount::default();
    directory
        .set_destination(place.clone())
        .set_typ(Some("tmpfs".to_owned()))
        .set_source(Some("tmpfs".into()))
        .set_options(Some(words(&["noexec", "nosuid", "nodev", "mode=755"])));
    let mut list = vec![directory];
    for (name, source) in hierarchies {
        // controllers that are mounted together are found by each of their names as well
        let single = name.split(',').filter(|single| single != name);
        for name in std::iter::once(*name).chain(single) {
            let mut bind = Mount::default();
            bind.set_destination(place.join(name))
                .set_typ(Some("bind".to_owned()))
                .set_source(Some(source.to_path_buf()))
                .set_options(Some(words(&["rbind", "rw"])));
            list.push(bind);
        }
    }
    list
}

fn words(options: &[&str]) -> Vec<String> {
    options.iter().map(|&option| option.to_owned()).collect()
}
