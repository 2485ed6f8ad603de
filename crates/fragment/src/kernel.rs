//! What the kernel can do, found out by trying: in namespaces of this process' own, which end with it.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;

use fragment_sys::mount::{self, Change};
use fragment_sys::root::Root;
use fragment_sys::user_namespace::{self, Keeper};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
    mount_change, move_mount, open_tree,
};
use serde::{Deserialize, Serialize};

use crate::settings::is_rootless;

/// Where the tries' own filesystem is mounted.
const SCRATCH: &str = "/sys";

/// One try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Attempt {
    /// openat2(2).
    Openat2,
    /// pidfd_open(2).
    Pidfd,
    /// mount_setattr(2).
    MountSetattr,
    /// Filters are built in.
    Seccomp,
    /// An overlay of two layers.
    Overlay,
    /// The same, each lower layer an option of its own.
    LayerByLayer,
    /// The same with attributes that a user may write.
    UserXattr,
    /// A mount of the library's filesystem with identities mapped.
    Idmap,
    /// An overlay whose lower layer is in the library.
    Library,
}

/// What came of the tries.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Tried {
    /// Each try with its error, if it failed.
    pub outcomes: Vec<(Attempt, Option<String>)>,
    /// Why mounts could not be tried at all.
    pub failure: Option<String>,
}

impl Tried {
    /// What came of one try: `None` when it was not made, else its error, if it failed.
    pub fn outcome(&self, attempt: Attempt) -> Option<Option<&str>> {
        let mut outcomes = self.outcomes.iter();
        let (_, error) = outcomes.find(|(other, _)| *other == attempt)?;
        Some(error.as_deref())
    }
}

/// Makes all tries. This process has a mount namespace of its own afterwards, with a strange filesystem in it, and a user
/// namespace where the caller is not root: it is to have one thread, and to end. `store` is the library's directory.
#[must_use]
pub fn try_all(store: &Path) -> Tried {
    let mut tried = Tried::default();
    tried.put(Attempt::Openat2, openat2());
    tried.put(Attempt::Pidfd, pidfd());
    tried.put(Attempt::Seccomp, seccomp());
    if let Err(error) = own_namespaces() {
        tried.failure = Some(error.to_string());
        return tried;
    }
    // opened before a filesystem of the tries' own may hide it
    let library = open_directory(store);
    let scratch = match scratch() {
        Ok(scratch) => scratch,
        Err(error) => {
            tried.failure = Some(format!("mount a tmpfs: {error}"));
            return tried;
        }
    };
    let nosuid = mount::attribute_of("nosuid").map_or(0, |(bit, _)| bit);
    tried.put(
        Attempt::MountSetattr,
        mount::set_attributes(&scratch, nosuid, true),
    );
    tried.put(
        Attempt::Overlay,
        overlay(&[("lowerdir", &place("lower"))], false),
    );
    let layers = [("lowerdir+", place("lower")), ("lowerdir+", place("more"))];
    let layers: Vec<_> = layers
        .iter()
        .map(|(key, value)| (*key, value.as_str()))
        .collect();
    tried.put(Attempt::LayerByLayer, overlay(&layers, false));
    tried.put(
        Attempt::UserXattr,
        overlay(&[("lowerdir", &place("lower"))], true),
    );
    if let Ok(library) = library {
        let path = format!("/proc/self/fd/{}", library.as_raw_fd());
        tried.put(Attempt::Library, overlay(&[("lowerdir", &path)], false));
        if !is_rootless() {
            tried.put(Attempt::Idmap, idmap(store));
        }
    }
    tried
}

impl Tried {
    fn put(&mut self, attempt: Attempt, outcome: io::Result<()>) {
        let error = outcome.err().map(|error| error.to_string());
        self.outcomes.push((attempt, error));
    }
}

fn pidfd() -> io::Result<()> {
    let own = rustix::process::getpid();
    rustix::process::pidfd_open(own, rustix::process::PidfdFlags::empty())?;
    Ok(())
}

fn seccomp() -> io::Result<()> {
    // seccomp(2): the file is there since Linux 4.14
    let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail")?;
    if actions.split_whitespace().any(|action| action == "errno") {
        Ok(())
    } else {
        Err(io::Error::other("the kernel knows no action errno"))
    }
}

fn openat2() -> io::Result<()> {
    // one that exists everywhere; whatever else is wrong with it is not for this try to say
    Root::open("/").map(drop).map_err(io::Error::other)
}

/// What is mounted here stays here.
fn own_namespaces() -> io::Result<()> {
    if rustix::process::geteuid().is_root() {
        mount::unshare()?;
    } else {
        user_namespace::enter()?;
    }
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    Ok(mount_change("/", flags)?)
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// A fresh tmpfs with the directories that overlays are made of.
fn scratch() -> io::Result<OwnedFd> {
    let filesystem = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(filesystem.as_fd())?;
    let mount = fsmount(
        filesystem.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )?;
    // the namespace is nobody else's; no library lies there
    move_mount(
        mount.as_fd(),
        "",
        CWD,
        SCRATCH,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )?;
    for name in ["lower", "more", "upper", "work"] {
        rustix::fs::mkdirat(&mount, name, Mode::RWXU)?;
    }
    Ok(mount)
}

fn place(name: &str) -> String {
    format!("{SCRATCH}/{name}")
}

/// Makes an overlay and drops it.
fn overlay(lower: &[(&str, &str)], userxattr: bool) -> io::Result<()> {
    let filesystem = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in lower {
        fsconfig_set_string(filesystem.as_fd(), *key, *value)?;
    }
    for (key, name) in [("upperdir", "upper"), ("workdir", "work")] {
        fsconfig_set_string(filesystem.as_fd(), key, place(name))?;
    }
    if userxattr {
        fsconfig_set_flag(filesystem.as_fd(), "userxattr")?;
    }
    fsconfig_create(filesystem.as_fd())?;
    Ok(())
}

/// Maps the identities of the library's mount, on a copy of it.
fn idmap(store: &Path) -> io::Result<()> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, store, flags)?;
    let keeper = Keeper::new()?;
    fs::write(format!("/proc/{}/uid_map", keeper.pid()), "0 1 1")?;
    fs::write(format!("/proc/{}/gid_map", keeper.pid()), "0 1 1")?;
    let namespace = keeper.namespace()?;
    let wanted = Change {
        identities: Some(namespace.as_fd()),
        ..Change::default()
    };
    mount::change(tree.as_fd(), wanted, false)
}

/// Makes a user namespace and drops it.
///
/// # Errors
/// As [`Keeper::new`].
pub fn user_namespace() -> io::Result<()> {
    Keeper::new().map(drop)
}
