//! How a container's cgroup meets libcontainer: its limits are ours, its processes enter by themselves.

use std::io;
use std::path::Path;

use fragment_cgroup::{Cgroup, CgroupError, Entrances, Entrant, Layout, Scoped, Wish};
use libcgroups::common::EntranceSet;
use libcontainer::oci_spec::runtime::{
    LinuxIdMapping, LinuxNamespaceType, LinuxResources, Mount, Spec,
};

use crate::creation::capture::EXECUTOR;
use crate::creation::diagnosis::words;
use crate::creation::joined::{self, Namespaces};
use crate::error::LaunchError;
use crate::inside::first::Introduction;
use crate::records::id::ContainerId;

/// What the derived specification says: nothing that means anything to the stand-in for libcgroups.
pub(crate) const DERIVED_PATH: &str = "/";

/// Where the container's cgroup is to be.
pub(crate) fn place(
    spec: &Spec,
    id: &ContainerId,
    rootless: bool,
    systemd: bool,
) -> Result<Cgroup, LaunchError> {
    let linux = spec.linux().as_ref();
    let path = linux.and_then(|linux| linux.cgroups_path().as_deref());
    let wish = Wish {
        path,
        id: id.as_str(),
        rootless,
    };
    let layout = Layout::detect()?;
    if systemd {
        return Ok(Cgroup::scope(&layout, &wish)?);
    }
    Ok(Cgroup::at(&layout, &wish))
}

/// The limits a specification asks for.
pub(crate) fn resources(spec: &Spec) -> Option<&LinuxResources> {
    spec.linux().as_ref()?.resources().as_ref()
}

/// Has the processes libcontainer clones from now on enter the cgroup: after they were cloned, before they leave user and
/// cgroup namespace. On the way they join what can be joined only there. Dropped, what is returned closes the cgroup's files: a
/// cgroup that is removed while somebody holds one of its files stays in the kernel's caches. Without a cgroup they say who they
/// are instead.
pub(crate) fn open(
    entrances: Entrances,
    entrant: Entrant,
    joined: Namespaces,
    introduction: Option<Introduction>,
) -> EntranceSet {
    set_entrance(move || entrances.enter(entrant), introduction, joined)
}

/// Has the next process libcontainer clones make its own scope of systemd's.
pub(crate) fn open_scope(scope: Scoped, joined: Namespaces) -> EntranceSet {
    set_entrance(move || scope.enter(), None, joined)
}

fn set_entrance(
    enter: impl Fn() -> Result<(), CgroupError> + Send + 'static,
    introduction: Option<Introduction>,
    joined: Namespaces,
) -> EntranceSet {
    libcgroups::common::set_entrance(move || {
        if let Some(introduction) = &introduction {
            introduction
                .write()
                .map_err(|error| told(&format!("introduce the process: {}", words(&error))))?;
        }
        enter().map_err(|error| told(&chain(&LaunchError::ApplyCgroup(error))))?;
        joined::enter(&joined)
            .map_err(|error| told(&format!("join a namespace: {}", words(&error))))
    })
}

/// libcontainer's own line around an error says nothing more.
fn told(message: &str) -> io::Error {
    tracing::error!(target: EXECUTOR, "{message}");
    io::Error::other(message.to_owned())
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

/// Whether the process that enters may be another afterwards: the runtime writes what concerns namespaces of users and of time to
/// the /proc entries of the one that it made.
pub(crate) fn entrant(spec: &Spec) -> Entrant {
    let linux = spec.linux().as_ref();
    let mut namespaces = linux.iter().flat_map(|linux| linux.namespaces()).flatten();
    let told = |kind| matches!(kind, LinuxNamespaceType::User | LinuxNamespaceType::Time);
    match namespaces.any(|namespace| told(namespace.typ())) {
        true => Entrant::This,
        false => Entrant::Any,
    }
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
