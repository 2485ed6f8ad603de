//! The mounts of a specification, in the form libcontainer reads, and what our executor does about them afterwards.

use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::Mount;
use libcontainer::rootfs::utils::is_bind;

use crate::derived::DeriveError;
use crate::target;

/// The mounts of one container.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mounts {
    /// For libcontainer.
    pub(crate) list: Vec<Mount>,
    /// What it leaves undone.
    pub(crate) after: AfterMounts,
}

/// What libcontainer leaves undone about mounts.
#[derive(Debug, Clone, Default)]
pub(crate) struct AfterMounts {
    /// tmpfs that start with what lies below them.
    pub(crate) copied: Vec<PathBuf>,
    /// Cgroup mounts, whose options are given to none of the file systems mounted for them on cgroup v1.
    pub(crate) cgroups: Vec<(PathBuf, Vec<String>)>,
    /// Mounts whose propagation is read and not set.
    pub(crate) propagations: Vec<(PathBuf, String)>,
}

impl Mounts {
    /// From a specification's `mounts`.
    pub(crate) fn new(given: &[Mount], bundle: &Path, rootfs: &Path) -> Result<Self, DeriveError> {
        let mut mounts = Self::default();
        let mut covered = Vec::new();
        for mount in given {
            let mut mount = mount.clone();
            let copied = normalise(&mut mount, bundle)?;
            place(&mut mount, rootfs, &covered)?;
            covered.push(mount.destination().clone());
            if copied {
                mounts.after.copied.push(mount.destination().clone());
            }
            mounts.after.propagations.extend(propagation_of(&mount));
            mounts.after.cgroups.extend(cgroup_mount(&mount));
            mounts.list.push(mount);
        }
        Ok(mounts)
    }
}

/// Puts a mount into the form libcontainer reads; whether it is to start with what lies below it.
fn normalise(mount: &mut Mount, bundle: &Path) -> Result<bool, DeriveError> {
    let mut options = mount.options().clone().unwrap_or_default();
    let is_bind = is_bind(mount);
    // no option libcontainer knows: a bind mount would follow links all the same
    if options.iter().any(|option| option == "nosymfollow") {
        return Err(DeriveError::MountOption {
            destination: mount.destination().clone(),
            option: "nosymfollow",
        });
    }
    // what lies below a tmpfs is not copied unless asked for, and then by our executor
    let copied = options.iter().any(|option| option == "tmpcopyup");
    options.retain(|option| option != "notmpcopyup" && option != "tmpcopyup");
    let read_only = options.iter().any(|option| option == "ro");
    if copied && (mount.typ().as_deref() != Some("tmpfs") || read_only) {
        return Err(DeriveError::CopyUp {
            destination: mount.destination().clone(),
        });
    }
    let source = match mount
        .source()
        .clone()
        .filter(|source| !source.as_os_str().is_empty())
    {
        Some(source) if is_bind => bundle.join(source),
        Some(source) => source,
        None if is_bind => {
            return Err(DeriveError::BindSource {
                destination: mount.destination().clone(),
            });
        }
        // mount(2) wants some source even from file systems that have none, libcontainer wants it said
        None => PathBuf::from(mount.typ().as_deref().unwrap_or("none")),
    };
    mount.set_source(Some(source)).set_options(Some(options));
    Ok(copied)
}

/// Follows the rootfs's links to where the mount really goes, and keeps it off /proc.
fn place(mount: &mut Mount, rootfs: &Path, covered: &[PathBuf]) -> Result<(), DeriveError> {
    let destination = target::resolve(rootfs, mount.destination(), covered);
    let is_procfs = if is_bind(mount) {
        let source = mount.source().as_deref().unwrap_or(Path::new(""));
        rustix::fs::statfs(source).is_ok_and(|statfs| statfs.f_type == rustix::fs::PROC_SUPER_MAGIC)
    } else {
        mount.typ().as_deref() == Some("proc")
    };
    if let Some(reason) = target::proc_rule(&destination, is_procfs) {
        return Err(DeriveError::Proc {
            destination,
            reason,
        });
    }
    // a link to the root itself: left to libcontainer, which does not take it for the overlay's place
    if destination != Path::new("/") {
        mount.set_destination(destination);
    }
    Ok(())
}

/// The propagation options of a mount: libcontainer parses and then drops them.
fn propagation_of(mount: &Mount) -> Vec<(PathBuf, String)> {
    const TYPES: [&str; 8] = [
        "private",
        "rprivate",
        "shared",
        "rshared",
        "slave",
        "rslave",
        "unbindable",
        "runbindable",
    ];
    let options = mount.options().iter().flatten();
    options
        .filter(|option| TYPES.contains(&option.as_str()))
        .map(|option| (mount.destination().clone(), option.clone()))
        .collect()
}

fn cgroup_mount(mount: &Mount) -> Option<(PathBuf, Vec<String>)> {
    let is_cgroup = mount.typ().as_deref() == Some("cgroup") && !is_bind(mount);
    is_cgroup.then(|| {
        (
            mount.destination().clone(),
            mount.options().clone().unwrap_or_default(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounts(json: &str) -> Result<Mounts, DeriveError> {
        let given: Vec<Mount> = serde_json::from_str(json).unwrap();
        Mounts::new(&given, Path::new("/bundle"), Path::new("/nonexistent"))
    }

    #[test]
    fn a_mount_without_source_gets_one() {
        let mounts =
            mounts(r#"[{"destination":"/tmp","type":"tmpfs","source":""},{"destination":"/x"}]"#)
                .unwrap();
        assert_eq!(mounts.list[0].source().as_deref(), Some(Path::new("tmpfs")));
        assert_eq!(mounts.list[1].source().as_deref(), Some(Path::new("none")));
    }

    #[test]
    fn a_bind_mount_is_relative_to_the_bundle_and_needs_a_source() {
        let good = mounts(r#"[{"destination":"/a","source":"data","options":["rbind","rslave"]}]"#)
            .unwrap();
        assert_eq!(
            good.list[0].source().as_deref(),
            Some(Path::new("/bundle/data"))
        );
        assert_eq!(
            good.after.propagations,
            [(PathBuf::from("/a"), "rslave".to_owned())]
        );
        let bad = mounts(r#"[{"destination":"/a","options":["bind"]}]"#);
        assert!(matches!(bad, Err(DeriveError::BindSource { .. })));
    }

    #[test]
    fn tmpcopyup_is_taken_out_and_remembered() {
        let good =
            mounts(r#"[{"destination":"/run","type":"tmpfs","options":["tmpcopyup","mode=755"]}]"#)
                .unwrap();
        assert_eq!(
            good.list[0].options().as_deref(),
            Some(&["mode=755".to_owned()][..])
        );
        assert_eq!(good.after.copied, [PathBuf::from("/run")]);
        let bad = mounts(r#"[{"destination":"/run","type":"tmpfs","options":["tmpcopyup","ro"]}]"#);
        assert!(matches!(bad, Err(DeriveError::CopyUp { .. })));
    }

    #[test]
    fn nosymfollow_is_refused_and_not_dropped() {
        let bad =
            mounts(r#"[{"destination":"/a","source":"/b","options":["bind","nosymfollow"]}]"#);
        assert!(matches!(bad, Err(DeriveError::MountOption { .. })));
    }

    #[test]
    fn nothing_covers_proc() {
        let bad = mounts(r#"[{"destination":"/tmp/../proc","type":"tmpfs"}]"#);
        assert!(matches!(bad, Err(DeriveError::Proc { .. })));
    }
}
