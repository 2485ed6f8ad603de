//! The specification libcontainer is given: the caller's, put into the form that library can read, with the overlay as its
//! first mount.
//!
//! libcontainer reads its specification from `<bundle>/config.json` only, at create and again at every exec, so the derived
//! one is a file in a directory of ours that lives until the container is deleted. What the program itself is to get
//! (capabilities, seccomp, working directory, environment) is taken out here and done by our executor.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Component, Path, PathBuf};

use libcontainer::oci_spec::runtime::{
    Hook, Linux, LinuxNamespace, LinuxNamespaceType, MountBuilder, Process, Root as OciRoot, Spec,
};
use thiserror::Error;

use crate::creation::cgroup::DERIVED_PATH;
use crate::creation::hook;
use crate::creation::identities::Root;
use crate::error::LaunchError;
use crate::inside::masks::Masks;
use crate::inside::seccomp::{self, SeccompError};
use crate::specification::bundle::Bundle;
use crate::specification::mounts::{AfterMounts, Mounts, Scenery};
use crate::specification::rules::{self, RuleError};

/// What a bundle asks for that cannot be done, each with what to do about it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DeriveError {
    /// ociVersion is missing or of another major version.
    #[error("ociVersion {0:?} is not supported; this runtime reads version 1 of the specification")]
    Version(String),
    /// A filter that cannot be.
    #[error("seccomp: {0}")]
    Seccomp(#[from] SeccompError),
    /// No process to run.
    #[error("config.json: process property must not be empty")]
    NoProcess,
    /// No command.
    #[error("config.json: args must not be empty")]
    NoArgs,
    /// A working directory that is none.
    #[error("config.json: process.cwd {0:?} must be an absolute path")]
    Cwd(PathBuf),
    /// No rootfs.
    #[error(
        "config.json: root is missing; it names the directory that holds the container's files"
    )]
    NoRoot,
    /// The rootfs is not there.
    #[error("invalid rootfs {path}", path = .path.display())]
    Rootfs {
        /// Where it should be.
        path: PathBuf,
        /// The errno.
        #[source]
        source: io::Error,
    },
    /// The rootfs is reached through a symlink, so it can be another directory by the time it is mounted.
    #[error("invalid rootfs {path}: not an absolute path, or a symlink (it leads to {target})", path = .path.display(), target = .target.display())]
    RootfsLink {
        /// As named.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// The rootfs is a file.
    #[error("invalid rootfs {path}: not a directory", path = .path.display())]
    RootfsFile {
        /// As named.
        path: PathBuf,
    },
    /// Something has to be composed and the container shares the host's mounts: the overlay would stay on the host.
    #[error(
        "the bundle lacks files and its specification has no mount namespace to compose them in; add \
         {{\"type\": \"mount\"}} to linux.namespaces or provide a complete rootfs"
    )]
    NoMountNamespace,
    /// Something has to be composed into a mount namespace that exists already, where others would see it.
    #[error(
        "the bundle lacks files and its specification joins the mount namespace {path}; let it make its own or provide a \
         complete rootfs",
        path = .0.display()
    )]
    JoinedMountNamespace(PathBuf),
    /// A bind mount of nothing.
    #[error("config.json: mount {destination} is a bind mount without source", destination = .destination.display())]
    BindSource {
        /// Where it should go.
        destination: PathBuf,
    },
    /// Something on /proc that is no procfs.
    #[error("config.json: {destination} cannot be mounted because {reason}", destination = .destination.display())]
    Proc {
        /// Where it should go.
        destination: PathBuf,
        /// Which rule forbids it.
        reason: &'static str,
    },
    /// A procfs or sysfs where the rootfs has a link or a file.
    #[error("filesystem {kind:?} must be mounted on ordinary directory")]
    NotOrdinary {
        /// Its type.
        kind: String,
    },
    /// Two namespaces of one type.
    #[error("config.json: malformed spec file: duplicated ns {0:?} in linux.namespaces")]
    DuplicateNamespace(String),
    /// A rule of the specification.
    #[error("config.json")]
    Rule(#[from] RuleError),
    /// An id-mapped mount that cannot be one.
    #[error("config.json: invalid mount {destination}: {reason}", destination = .destination.display())]
    IdMap {
        /// Which mount.
        destination: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// A copy of what lies below into something that cannot take one.
    #[error("config.json: mount option tmpcopyup of {destination} is for tmpfs mounts only", destination = .destination.display())]
    CopyUp {
        /// Which mount.
        destination: PathBuf,
    },
    /// rootfsPropagation is no propagation type.
    #[error(
        "config.json: linux.rootfsPropagation {0:?} is not one of shared, slave, private, unbindable"
    )]
    Propagation(String),
    /// Hooks run through this very program, and this one does not serve them.
    #[error(
        "the bundle has hooks and this program does not serve them; start it with fragment-runc"
    )]
    HooksUnserved,
}

/// A specification for libcontainer and what it no longer says.
#[derive(Debug, Clone)]
pub(crate) struct Derived {
    /// For libcontainer.
    pub(crate) spec: Spec,
    /// The process as the caller described it.
    pub(crate) process: Process,
    /// Run by our executor just before the program.
    pub(crate) start_container: Vec<Hook>,
    /// Run by us in the runtime's namespaces.
    pub(crate) poststart: Vec<Hook>,
    /// Run by us in the runtime's namespaces.
    pub(crate) poststop: Vec<Hook>,
    /// What libcontainer leaves undone about mounts.
    pub(crate) after_mounts: AfterMounts,
    /// The root to bind to the mount point: where the container shares the runtime's mounts.
    pub(crate) shared_root: Option<PathBuf>,
}

impl Derived {
    /// Checks the caller's specification and derives libcontainer's. `mount_point` is the directory that becomes the root
    /// when an overlay will be mounted there (`composed`), or when the container has no mount namespace of its own: the mounts that
    /// libcontainer makes on the root are then all below a directory of ours, where they can be found and removed.
    pub(crate) fn new(
        bundle: &Bundle,
        mount_point: &Path,
        composed: bool,
    ) -> Result<Self, DeriveError> {
        let mut spec = bundle.spec.clone();
        if !spec.version().starts_with("1.") {
            return Err(DeriveError::Version(spec.version().clone()));
        }
        let process = checked_process(&spec)?;
        let rootfs = checked_rootfs(bundle)?;
        rules::check(&spec)?;
        normalise_names(&mut spec);
        let mut linux = spec.linux().clone().unwrap_or_else(empty_linux);
        normalise_linux(&mut linux)?;
        let scenery = Scenery {
            bundle: &bundle.dir,
            rootfs: &rootfs,
            root: Root::of(Some(&linux)),
            private: has_mount_namespace(&linux),
        };
        let mut mounts = Mounts::new(
            spec.mounts().as_deref().unwrap_or_default(),
            linux.devices().as_deref().unwrap_or_default(),
            scenery,
        )?;
        if composed {
            check_composable(&linux)?;
        }
        let shared_root = (!has_mount_namespace(&linux)).then(|| rootfs.clone());
        let moved = composed || shared_root.is_some();
        let mut root = spec.root().clone().unwrap_or_default();
        mounts.after.masks = take_masks(&mut root, &mut linux);
        root.set_path(if moved {
            mount_point.to_owned()
        } else {
            rootfs
        });
        let inside = root.path().clone();
        linux.set_devices(Some(mounts.devices));
        if let Some(filter) = linux.seccomp() {
            seccomp::check(filter)?;
        }
        linux.set_seccomp(None);
        let hooks = spec.hooks().clone().unwrap_or_default();
        spec.set_root(Some(root))
            .set_mounts(Some(mounts.list))
            .set_linux(Some(linux))
            .set_hooks(hook::wrapped(&hooks, &bundle.dir, &inside)?)
            .set_process(Some(stripped(&process)));
        Ok(Self {
            spec,
            process,
            start_container: hooks.start_container().clone().unwrap_or_default(),
            poststart: hooks.poststart().clone().unwrap_or_default(),
            poststop: hooks.poststop().clone().unwrap_or_default(),
            after_mounts: mounts.after,
            shared_root,
        })
    }

    /// Prepares for a root that is entered without pivot_root(2). Mounts that are the runtime's too are not hidden: they would
    /// be gone for the whole machine.
    pub(crate) fn without_pivot(&mut self) {
        if self.shared_root.is_some() {
            return;
        }
        let Some(root) = self.spec.root().as_ref().map(|root| root.path().clone()) else {
            return;
        };
        let hooks = hook::hiding(self.spec.hooks().clone(), &root);
        self.spec.set_hooks(Some(hooks));
    }

    /// Opens the sources of mounts and devices that are left to our executor, with the rights and in the namespaces of this
    /// process; the descriptors reach it through clone(2). `user`: the container's user namespace, made or to be joined.
    pub(crate) fn open(&mut self, user: Option<&File>) -> Result<(), LaunchError> {
        let user = user.map(AsFd::as_fd);
        let after = &mut self.after_mounts;
        let dev = after.dev.iter_mut().filter_map(|dev| dev.bind.as_mut());
        for mount in dev.chain(&mut after.deferred) {
            mount.open(user)?;
        }
        if user.is_some() {
            for node in &mut after.nodes {
                node.open()?;
            }
        }
        Ok(())
    }

    /// The user namespace that the container is to join, if any.
    pub(crate) fn joined_user_namespace(&self) -> Result<Option<File>, LaunchError> {
        let linux = self.spec.linux().iter();
        let mut namespaces = linux
            .filter_map(|linux| linux.namespaces().as_ref())
            .flatten();
        let user = namespaces.find(|namespace| namespace.typ() == LinuxNamespaceType::User);
        let path = user.and_then(|namespace| namespace.path().clone());
        path.map(|path| File::open(&path).map_err(LaunchError::io("open", path)))
            .transpose()
    }

    /// Puts an overlay with these options where the container's root will be: the first mount, so that every other lands
    /// on it. One option a layer: fsconfig(2) takes 255 bytes a value.
    pub(crate) fn overlay(&mut self, options: Vec<String>) {
        // the builder fails on fields without default only, and all have one
        let overlay = MountBuilder::default()
            .destination("/")
            .typ("overlay")
            .source("fragment")
            .options(options)
            .build()
            .unwrap_or_default();
        let mut mounts = self.spec.mounts().clone().unwrap_or_default();
        mounts.insert(0, overlay);
        self.spec.set_mounts(Some(mounts));
    }
}

/// The process as libcontainer is to see it: what our executor does itself is left out.
///
/// * the working directory, which runc creates when it is missing and libcontainer does not;
/// * capabilities, so that seccomp can be loaded with them where no_new_privs is off (seccomp(2) asks for CAP_SYS_ADMIN);
/// * HOME, which libcontainer would look up with getpwuid(3): that reads the container's nsswitch.conf and can load its NSS
///   modules into the runtime (CVE-2019-14271 is the same fault in docker cp);
/// * no_new_privs, which comes with the filter;
/// * a umask where none is given: the default is 0022 as with runc, not the caller's.
pub(crate) fn stripped(process: &Process) -> Process {
    let mut process = process.clone();
    let mut user = process.user().clone();
    if user.umask().is_none() {
        user.set_umask(Some(0o022));
    }
    process
        .set_user(user)
        .set_cwd(PathBuf::from("/"))
        .set_capabilities(None)
        .set_no_new_privileges(None)
        .set_env(Some(vec!["HOME=/".to_owned()]));
    process
}

/// Checks a process description, be it of a bundle or for exec.
pub(crate) fn check_process(process: &Process) -> Result<(), DeriveError> {
    if process.args().as_ref().is_none_or(Vec::is_empty) {
        return Err(DeriveError::NoArgs);
    }
    if !process.cwd().is_absolute() {
        return Err(DeriveError::Cwd(process.cwd().clone()));
    }
    rules::check_process(process)?;
    Ok(())
}

fn checked_process(spec: &Spec) -> Result<Process, DeriveError> {
    let mut process = spec.process().clone().ok_or(DeriveError::NoProcess)?;
    check_process(&process)?;
    // an empty profile is no profile; libcontainer would refuse it where AppArmor is off
    if process.apparmor_profile().as_deref() == Some("") {
        process.set_apparmor_profile(None);
    }
    Ok(process)
}

fn checked_rootfs(bundle: &Bundle) -> Result<PathBuf, DeriveError> {
    let path = lexically_clean(&bundle.rootfs().ok_or(DeriveError::NoRoot)?);
    let target = path.canonicalize().map_err(|source| DeriveError::Rootfs {
        path: path.clone(),
        source,
    })?;
    if target != path {
        return Err(DeriveError::RootfsLink { path, target });
    }
    if !path.is_dir() {
        return Err(DeriveError::RootfsFile { path });
    }
    Ok(path)
}

fn lexically_clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir => {}
            other => clean.push(other),
        }
    }
    clean
}

/// Go engines write empty strings for what is not set; libcontainer takes them for values.
fn normalise_names(spec: &mut Spec) {
    if spec.hostname().as_deref() == Some("") {
        spec.set_hostname(None);
    }
    if spec.domainname().as_deref() == Some("") {
        spec.set_domainname(None);
    }
}

pub(crate) fn empty_linux() -> Linux {
    // Linux::default() is a whole example configuration; an empty object is what a missing section means
    serde_json::from_str("{}").unwrap_or_default()
}

fn normalise_linux(linux: &mut Linux) -> Result<(), DeriveError> {
    if linux.mount_label().as_deref() == Some("") {
        linux.set_mount_label(None);
    }
    drop_personality_flags(linux);
    linux
        .set_resources(None)
        .set_cgroups_path(Some(PathBuf::from(DERIVED_PATH)));
    if let Some(propagation) = linux.rootfs_propagation().as_deref() {
        // the recursive names are what engines write; libcontainer knows the others, and always acts recursively
        let plain = match propagation {
            "" => None,
            "shared" | "rshared" => Some("shared"),
            "slave" | "rslave" => Some("slave"),
            "private" | "rprivate" => Some("private"),
            "unbindable" | "runbindable" => Some("unbindable"),
            other => return Err(DeriveError::Propagation(other.to_owned())),
        };
        linux.set_rootfs_propagation(plain.map(str::to_owned));
    }
    let mut namespaces = linux.namespaces().clone().unwrap_or_default();
    check_duplicates(&namespaces)?;
    for namespace in &mut namespaces {
        if namespace
            .path()
            .as_ref()
            .is_some_and(|path| path.as_os_str().is_empty())
        {
            namespace.set_path(None);
        }
    }
    linux.set_namespaces(Some(namespaces));
    Ok(())
}

/// There are no values for them yet (config-linux.md, "Personality"); runc warns as well.
fn drop_personality_flags(linux: &mut Linux) {
    let Some(personality) = linux.personality().clone() else {
        return;
    };
    let flags = personality.flags().clone().unwrap_or_default();
    if !flags.is_empty() {
        tracing::warn!("ignoring unsupported personality flags: {flags:?}");
        let mut plain = personality;
        plain.set_flags(None);
        linux.set_personality(Some(plain));
    }
}

fn has_mount_namespace(linux: &Linux) -> bool {
    let mut namespaces = linux.namespaces().iter().flatten();
    namespaces.any(|namespace| namespace.typ() == LinuxNamespaceType::Mount)
}

/// Takes out what has to come after the mounts that are ours.
fn take_masks(root: &mut OciRoot, linux: &mut Linux) -> Masks {
    let paths = |paths: &Option<Vec<String>>| -> Vec<PathBuf> {
        paths.iter().flatten().map(PathBuf::from).collect()
    };
    let masks = Masks {
        root_read_only: root.readonly() == Some(true),
        read_only: paths(linux.readonly_paths()),
        masked: paths(linux.masked_paths()),
        label: linux.mount_label().clone(),
    };
    root.set_readonly(None);
    linux.set_masked_paths(None).set_readonly_paths(None);
    masks
}

fn check_duplicates(namespaces: &[LinuxNamespace]) -> Result<(), DeriveError> {
    for (index, namespace) in namespaces.iter().enumerate() {
        let kind = namespace.typ();
        if namespaces
            .iter()
            .take(index)
            .any(|earlier| earlier.typ() == kind)
        {
            return Err(DeriveError::DuplicateNamespace(kind.to_string()));
        }
    }
    Ok(())
}

fn check_composable(linux: &Linux) -> Result<(), DeriveError> {
    let namespaces = linux.namespaces().iter().flatten();
    let mut mount_namespace = Err(DeriveError::NoMountNamespace);
    for namespace in namespaces {
        match (namespace.typ(), namespace.path()) {
            (LinuxNamespaceType::Mount, None) => mount_namespace = Ok(()),
            (LinuxNamespaceType::Mount, Some(path)) => {
                mount_namespace = Err(DeriveError::JoinedMountNamespace(path.clone()));
            }
            _ => {}
        }
    }
    mount_namespace
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(namespaces: &str) -> (tempfile::TempDir, Bundle) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("rootfs")).unwrap();
        let config = format!(
            r#"{{"ociVersion":"1.0.2","root":{{"path":"rootfs"}},"hostname":"",
                "process":{{"user":{{"uid":0,"gid":0}},"args":["x"],"cwd":"/srv","env":["A=1"],"noNewPrivileges":false}},
                "linux":{{"namespaces":{namespaces},"rootfsPropagation":"rslave"}}}}"#
        );
        std::fs::write(dir.path().join("config.json"), config).unwrap();
        let bundle = Bundle::load(dir.path()).unwrap();
        (dir, bundle)
    }

    const POINT: &str = "/point";

    fn derive(bundle: &Bundle, composed: bool) -> Result<Derived, DeriveError> {
        Derived::new(bundle, Path::new(POINT), composed)
    }

    #[test]
    fn an_overlay_without_a_mount_namespace_is_refused() {
        let (_dir, bundle) = bundle(r#"[{"type":"pid"}]"#);
        assert!(matches!(
            derive(&bundle, true),
            Err(DeriveError::NoMountNamespace)
        ));
        assert!(derive(&bundle, false).is_ok());
    }

    #[test]
    fn an_overlay_in_a_joined_mount_namespace_is_refused() {
        let (_dir, joined) = bundle(r#"[{"type":"mount","path":"/proc/1/ns/mnt"}]"#);
        assert!(matches!(
            derive(&joined, true),
            Err(DeriveError::JoinedMountNamespace(_))
        ));
    }

    #[test]
    fn the_overlay_is_the_first_mount() {
        let (_dir, bundle) = bundle(r#"[{"type":"mount","path":""}]"#);
        let mut derived = derive(&bundle, true).unwrap();
        derived.overlay(vec!["lowerdir+=/a".to_owned()]);
        let mounts = derived.spec.mounts().as_ref().unwrap();
        assert_eq!(mounts[0].destination(), Path::new("/"));
        assert_eq!(
            derived.spec.root().as_ref().unwrap().path(),
            Path::new(POINT)
        );
    }

    #[test]
    fn without_a_mount_namespace_the_root_is_a_directory_of_ours_and_nothing_is_hidden() {
        let root_of = |derived: &Derived| derived.spec.root().as_ref().unwrap().path().clone();
        let (dir, shared) = bundle(r#"[{"type":"pid"}]"#);
        let mut derived = derive(&shared, false).unwrap();
        assert_eq!(root_of(&derived), Path::new(POINT));
        let rootfs = dir.path().canonicalize().unwrap().join("rootfs");
        assert_eq!(derived.shared_root.as_ref(), Some(&rootfs));
        derived.without_pivot();
        assert!(derived.spec.hooks().is_none());
        let (dir, private) = bundle(r#"[{"type":"mount"}]"#);
        let mut derived = derive(&private, false).unwrap();
        assert_eq!(
            root_of(&derived),
            dir.path().canonicalize().unwrap().join("rootfs")
        );
        assert_eq!(derived.shared_root, None);
        derived.without_pivot();
        assert!(derived.spec.hooks().is_some());
    }

    #[test]
    fn what_go_engines_write_for_nothing_is_nothing() {
        let (_dir, bundle) = bundle(r#"[{"type":"network","path":""}]"#);
        let spec = derive(&bundle, false).unwrap().spec;
        assert_eq!(spec.hostname(), &None);
        let linux = spec.linux().as_ref().unwrap();
        assert_eq!(linux.namespaces().as_ref().unwrap()[0].path(), &None);
        assert_eq!(linux.rootfs_propagation().as_deref(), Some("slave"));
    }

    #[test]
    fn libcontainer_sees_neither_environment_nor_directory_nor_privileges() {
        let (_dir, bundle) = bundle("[]");
        let derived = derive(&bundle, false).unwrap();
        let process = derived.spec.process().as_ref().unwrap();
        assert_eq!(process.env().as_deref(), Some(&["HOME=/".to_owned()][..]));
        assert_eq!(process.cwd(), Path::new("/"));
        assert_eq!(process.no_new_privileges(), None);
        assert_eq!(process.user().umask(), Some(0o022));
        assert_eq!(derived.process.cwd(), Path::new("/srv"));
    }
}
