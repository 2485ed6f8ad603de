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
use rustix::process::{Pid, WaitOptions, waitpid};

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

/// What the process that libcontainer clones does when another goes on in its place, in the cgroup.
#[derive(Debug)]
pub(crate) struct Errand {
    /// The device rules of cgroup v2: the kernel takes its time to verify a program. None where they have to be there earlier.
    devices: Option<Box<(Cgroup, Resources)>>,
    /// The number of the one that goes on, doubled, and one more if the rules are set.
    told: OwnedFd,
}

impl Errand {
    /// None where no other may go on: the runtime writes what concerns namespaces of users and of time to the /proc entries of the
    /// process that it made.
    pub(crate) fn of(cgroup: &Cgroup, resources: &Resources, spec: &Spec) -> Option<Arc<Self>> {
        let linux = spec.linux().as_ref();
        let mut namespaces = linux.iter().flat_map(|linux| linux.namespaces()).flatten();
        let told = |kind| matches!(kind, LinuxNamespaceType::User | LinuxNamespaceType::Time);
        if cgroup.unit().is_some() || namespaces.any(|namespace| told(namespace.typ())) {
            return None;
        }
        // hooks may change the rules for a device of their own, and only v2 has a program
        let late = cgroup.kind() == Kind::Unified && spec.hooks().is_none();
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Some(Arc::new(Self {
            devices: late.then(|| Box::new((cgroup.clone(), resources.clone()))),
            told: eventfd(0, flags).ok()?,
        }))
    }

    /// Whether it sets the device rules.
    pub(crate) fn sets_devices(&self) -> bool {
        self.devices.is_some()
    }

    fn set_devices(&self) -> Result<(), CgroupError> {
        let devices = self.devices.as_deref();
        devices.map_or(Ok(()), |(cgroup, resources)| cgroup.set_devices(resources))
    }

    fn run(&self, successor: i32) {
        // who finishes does what failed again, and is told why
        let done = u64::from(self.set_devices().is_ok());
        let successor = u64::try_from(successor).unwrap_or_default();
        let _ = rustix::io::write(&self.told, &(successor * 2 + done).to_ne_bytes());
    }

    /// Reaps the one that went on, which has become the container's first process's maker and ended, and does what was not done.
    pub(crate) fn finish(&self) -> Result<(), CgroupError> {
        let mut told = [0; 8];
        // nobody went on: the clone was moved
        let told = match rustix::io::read(&self.told, &mut told) {
            Ok(_) => u64::from_ne_bytes(told),
            Err(_) => return self.set_devices(),
        };
        if let Some(successor) = i32::try_from(told / 2).ok().and_then(Pid::from_raw) {
            let _ = waitpid(Some(successor), WaitOptions::NOHANG);
        }
        match told % 2 {
            1 => Ok(()),
            _ => self.set_devices(),
        }
    }
}

/// Has the processes libcontainer clones from now on enter the cgroup: after they were cloned, before they leave user and
/// cgroup namespace. On the way they join what can be joined only there. Dropped, what is returned closes the cgroup's files: a
/// cgroup that is removed while somebody holds one of its files stays in the kernel's caches. Without a cgroup they say who they
/// are instead.
pub(crate) fn open(
    entrances: Entrances,
    errand: Option<Arc<Errand>>,
    joined: Namespaces,
    introduction: Option<Introduction>,
) -> EntranceSet {
    let enter = move || match &errand {
        Some(errand) => entrances.enter(Entrant::Any(&|successor| errand.run(successor))),
        None => entrances.enter(Entrant::This),
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
