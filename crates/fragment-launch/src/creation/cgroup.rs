//! How a container's cgroup meets libcontainer: its limits are ours, its processes enter by themselves.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use fragment_cgroup::{
    Cgroup, CgroupError, Entrances, Entrant, Kind, Layout, Resources, Scoped, Wish,
};
use libcgroups::common::EntranceSet;
use libcontainer::oci_spec::runtime::{
    LinuxIdMapping, LinuxNamespaceType, LinuxResources, Mount, Spec,
};

use rustix::event::{EventfdFlags, eventfd};

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

/// How the process that libcontainer clones enters.
#[derive(Debug)]
pub(crate) enum Way {
    /// It is moved.
    Itself,
    /// Another goes on in its place, and it does this instead.
    Replaced(Option<Arc<Errand>>),
}

impl Way {
    /// Whether another may go on: the runtime writes what concerns namespaces of users and of time to the /proc entries of the process
    /// that it made.
    pub(crate) fn may_be_replaced(spec: &Spec) -> bool {
        let linux = spec.linux().as_ref();
        let mut namespaces = linux.iter().flat_map(|linux| linux.namespaces()).flatten();
        let told = |kind| matches!(kind, LinuxNamespaceType::User | LinuxNamespaceType::Time);
        !namespaces.any(|namespace| told(namespace.typ()))
    }
}

/// The device rules of cgroup v2, set while the container is being made: the kernel takes its time to verify a program.
#[derive(Debug)]
pub(crate) struct Errand {
    cgroup: Cgroup,
    resources: Resources,
    /// Counts how often it was done, in whatever process.
    done: OwnedFd,
}

impl Errand {
    /// None where rules have to be there earlier: hooks may change them for a device of their own, and only v2 has a program.
    pub(crate) fn of(cgroup: &Cgroup, resources: &Resources, spec: &Spec) -> Option<Arc<Self>> {
        let is_late = cgroup.kind() == Kind::Unified
            && cgroup.unit().is_none()
            && spec.hooks().is_none()
            && Way::may_be_replaced(spec);
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let done = is_late.then(|| eventfd(0, flags).ok()).flatten()?;
        Some(Arc::new(Self {
            cgroup: cgroup.clone(),
            resources: resources.clone(),
            done,
        }))
    }

    fn run(&self) {
        // who asks for the end does it again and is told why it fails
        if self.cgroup.set_devices(&self.resources).is_ok() {
            let _ = rustix::io::write(&self.done, &1_u64.to_ne_bytes());
        }
    }

    /// Does it, if nobody has.
    pub(crate) fn finish(&self) -> Result<(), CgroupError> {
        match rustix::io::read(&self.done, &mut [0; 8]) {
            Ok(_) => Ok(()),
            Err(_) => self.cgroup.set_devices(&self.resources),
        }
    }
}

/// Has the processes libcontainer clones from now on enter the cgroup: after they were cloned, before they leave user and
/// cgroup namespace. On the way they join what can be joined only there. Dropped, what is returned closes the cgroup's files: a
/// cgroup that is removed while somebody holds one of its files stays in the kernel's caches. Without a cgroup they say who they
/// are instead.
pub(crate) fn open(
    entrances: Entrances,
    way: Way,
    joined: Namespaces,
    introduction: Option<Introduction>,
) -> EntranceSet {
    let enter = move || match &way {
        Way::Itself => entrances.enter(Entrant::This),
        Way::Replaced(errand) => entrances.enter(Entrant::Any(&|| {
            if let Some(errand) = errand {
                errand.run();
            }
        })),
    };
    set_entrance(enter, introduction, joined)
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
