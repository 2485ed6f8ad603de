//! How a container's cgroup meets libcontainer: its limits are ours, its processes enter by themselves.

use std::path::Path;

use fragment_cgroup::{Cgroup, Entrances, Layout, Wish};
use libcontainer::oci_spec::runtime::{
    LinuxIdMapping, LinuxNamespaceType, LinuxResources, Mount, Spec,
};

use crate::error::LaunchError;
use crate::id::ContainerId;

/// What the derived specification says: nothing that means anything to the stand-in for libcgroups.
pub(crate) const DERIVED_PATH: &str = "/";

/// Where the container's cgroup is to be.
pub(crate) fn place(spec: &Spec, id: &ContainerId, rootless: bool) -> Result<Cgroup, LaunchError> {
    let linux = spec.linux().as_ref();
    let path = linux.and_then(|linux| linux.cgroups_path().as_deref());
    let wish = Wish {
        path,
        id: id.as_str(),
        rootless,
    };
    Ok(Cgroup::at(&Layout::detect()?, &wish))
}

/// The limits a specification asks for.
pub(crate) fn resources(spec: &Spec) -> Option<&LinuxResources> {
    spec.linux().as_ref()?.resources().as_ref()
}

/// Has the processes libcontainer clones from now on enter the cgroup: after they were cloned, before they leave user and
/// cgroup namespace.
pub(crate) fn open(entrances: Entrances) {
    libcgroups::common::set_entrance(move || entrances.enter());
}

/// The host's number of the container's root user when the cgroup is to be its own: with a user and a cgroup namespace and a
/// cgroup mount that can be written, as runc.
pub(crate) fn owner(spec: &Spec) -> Option<u32> {
    let linux = spec.linux().as_ref()?;
    let has = |kind| {
        let mut namespaces = linux.namespaces().iter().flatten();
        namespaces.any(|namespace| namespace.typ() == kind)
    };
    let writable = |mount: &Mount| {
        let kind = mount.typ().as_deref();
        let read_only = mount
            .options()
            .iter()
            .flatten()
            .any(|option| option == "ro");
        matches!(kind, Some("cgroup" | "cgroup2"))
            && mount.destination() == Path::new("/sys/fs/cgroup")
            && !read_only
    };
    let delegated = has(LinuxNamespaceType::User)
        && has(LinuxNamespaceType::Cgroup)
        && spec.mounts().iter().flatten().any(writable);
    let root = |mapping: &&LinuxIdMapping| mapping.container_id() == 0;
    let mapping = linux.uid_mappings().iter().flatten().find(root)?;
    delegated.then(|| mapping.host_id())
}
