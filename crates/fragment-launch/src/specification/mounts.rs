//! The mounts of a specification, in the form libcontainer reads, and what our executor does about them afterwards.

use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::{LinuxDevice, Mount};
use libcontainer::rootfs::utils::is_bind;

use crate::creation::identities::Root;
use crate::inside::copyup::Copied;
use crate::inside::deferred::{Deferred, Identities};
use crate::inside::dev::{self, Node, RealDev};
use crate::inside::masks::Masks;
use crate::specification::derived::DeriveError;
use crate::specification::options::{Attributes, Options, read_only_bit};
use crate::specification::target;

/// File systems of which there is one a namespace: it is not made for the mount, and not made read-only by it.
const SHARED: [&str; 6] = ["proc", "sysfs", "cgroup", "cgroup2", "mqueue", "devpts"];

/// What has a bearing on a container's mounts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenery<'bundle> {
    /// What relative sources are relative to.
    pub(crate) bundle: &'bundle Path,
    /// The container's root on the host.
    pub(crate) rootfs: &'bundle Path,
    /// Who root is, in a user namespace.
    pub(crate) root: Option<Root>,
    /// The container has a mount namespace.
    pub(crate) private: bool,
}

/// The mounts of one container.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mounts {
    /// For libcontainer.
    pub(crate) list: Vec<Mount>,
    /// Devices for libcontainer.
    pub(crate) devices: Vec<LinuxDevice>,
    /// What it leaves undone.
    pub(crate) after: AfterMounts,
}

/// What libcontainer leaves undone about mounts.
#[derive(Debug, Clone, Default)]
pub(crate) struct AfterMounts {
    /// A /dev that libcontainer has not touched.
    pub(crate) dev: Option<RealDev>,
    /// Mounts it cannot make.
    pub(crate) deferred: Vec<Deferred>,
    /// Devices it cannot make.
    pub(crate) nodes: Vec<Node>,
    /// tmpfs that start with what lies below them.
    pub(crate) copied: Vec<Copied>,
    /// Cgroup mounts, whose options are given to none of the file systems mounted for them on cgroup v1.
    pub(crate) cgroups: Vec<(PathBuf, Vec<String>)>,
    /// Mounts whose propagation is read and not set.
    pub(crate) propagations: Vec<(PathBuf, String)>,
    /// Attributes that are read and not set, or must not be there before everything is in its place.
    pub(crate) attributes: Vec<(PathBuf, Attributes)>,
    /// What is hidden and write-protected in the end.
    pub(crate) masks: Masks,
}

impl Mounts {
    /// From a specification's `mounts` and `linux.devices`.
    pub(crate) fn new(
        given: &[Mount],
        devices: &[LinuxDevice],
        scenery: Scenery<'_>,
    ) -> Result<Self, DeriveError> {
        let mut mounts = Self::default();
        let mut planned = Vec::new();
        let mut covered = Vec::new();
        for mount in given {
            let mut mount = mount.clone();
            let options = normalise(&mut mount, scenery.bundle)?;
            place(&mut mount, scenery.rootfs, &covered)?;
            covered.push(mount.destination().clone());
            planned.push((mount, options));
        }
        let on_dev = planned
            .iter()
            .rev()
            .find(|(mount, _)| mount.destination() == Path::new(dev::DEV));
        if scenery.private && on_dev.is_none_or(|(_, options)| options.bind) {
            mounts.after.dev = Some(RealDev::default());
            mounts.list.push(RealDev::decoy());
        }
        for (mount, options) in planned {
            mounts.add(mount, options, scenery)?;
        }
        mounts.add_devices(devices, &covered, scenery);
        Ok(mounts)
    }

    fn add(
        &mut self,
        mut mount: Mount,
        mut options: Options,
        scenery: Scenery<'_>,
    ) -> Result<(), DeriveError> {
        let destination = mount.destination().clone();
        let after = &mut self.after;
        if options.copied {
            after.copied.push(Copied::new(&destination, &options));
        }
        let propagations = options.propagations.iter();
        let propagations = propagations.map(|kind| (destination.clone(), kind.clone()));
        after.propagations.extend(propagations);
        after.cgroups.extend(cgroup_mount(&mount));
        let late = late_attributes(&mount, &mut options);
        if !late.is_empty() {
            after.attributes.push((destination.clone(), late));
        }
        let identities = identities_of(&mount, &options, scenery.root)?;
        let on_dev = destination == Path::new(dev::DEV);
        if let (Some(real), true) = (&mut after.dev, on_dev) {
            real.bind = Some(Deferred::new(&mount, options, identities));
            return Ok(());
        }
        let source = mount.source().as_deref().unwrap_or(Path::new(""));
        let out_of_reach = options.bind && scenery.root.is_some_and(|root| !root.reaches(source));
        let entangled = after.deferred.iter().any(|earlier| {
            let earlier = earlier.destination();
            destination.starts_with(earlier) || earlier.starts_with(&destination)
        });
        let deferred =
            identities.is_some() || out_of_reach || entangled || dev::is_node(&destination);
        if deferred && scenery.private {
            after
                .deferred
                .push(Deferred::new(&mount, options, identities));
            return Ok(());
        }
        if let (Some(real), true) = (&mut after.dev, destination.starts_with(dev::DEV)) {
            real.below.push(destination);
        }
        mount.set_options(Some(for_libcontainer(&mount, &options)));
        self.list.push(mount);
        Ok(())
    }

    fn add_devices(&mut self, devices: &[LinuxDevice], covered: &[PathBuf], scenery: Scenery<'_>) {
        let mut seen: Vec<&Path> = Vec::new();
        for device in devices {
            let path = device.path();
            // the first of two wins, and a mount over both: as with runc, which takes "exists" for success
            let mounted = covered.iter().any(|mount| mount == path);
            if mounted || seen.contains(&path.as_path()) {
                continue;
            }
            seen.push(path);
            if !path.starts_with(dev::DEV) && scenery.private {
                self.after.nodes.push(Node::new(device.clone()));
            } else {
                self.devices.push(device.clone());
            }
        }
        if let Some(real) = &mut self.after.dev {
            real.devices.clone_from(&self.devices);
        }
    }
}

/// Puts a mount into the form libcontainer reads.
fn normalise(mount: &mut Mount, bundle: &Path) -> Result<Options, DeriveError> {
    let mut options = Options::of(mount);
    let is_tmpfs = mount.typ().as_deref() == Some("tmpfs") && !options.bind;
    if options.copied && !is_tmpfs {
        return Err(DeriveError::CopyUp {
            destination: mount.destination().clone(),
        });
    }
    if options.bind && !options.data.is_empty() {
        // mount(2) ignores them, as runc before 1.2 and crun do; later runc refuses them
        let ignored = std::mem::take(&mut options.data);
        if let Some(given) = mount.options_mut() {
            given.retain(|option| !ignored.contains(option));
        }
        let (destination, ignored) = (mount.destination().display(), ignored.join(","));
        tracing::warn!(
            "mount {destination}: a bind mount takes no options of a file system, ignoring {ignored}"
        );
    }
    let source = match mount
        .source()
        .clone()
        .filter(|source| !source.as_os_str().is_empty())
    {
        Some(source) if options.bind => bundle.join(source),
        Some(source) => source,
        None if options.bind => {
            return Err(DeriveError::BindSource {
                destination: mount.destination().clone(),
            });
        }
        // mount(2) wants some source even from file systems that have none, libcontainer wants it said
        None => PathBuf::from(mount.typ().as_deref().unwrap_or("none")),
    };
    mount.set_source(Some(source));
    Ok(options)
}

/// Which identities a mount is to show, if not those of its files.
fn identities_of(
    mount: &Mount,
    options: &Options,
    root: Option<Root>,
) -> Result<Option<Identities>, DeriveError> {
    let given = |mappings: &Option<Vec<_>>| mappings.clone().unwrap_or_default();
    let (uid, gid) = (given(mount.uid_mappings()), given(mount.gid_mappings()));
    let mapped = !uid.is_empty() || !gid.is_empty();
    if !mapped && options.idmap.is_none() {
        return Ok(None);
    }
    let refuse = |reason| {
        Err(DeriveError::IdMap {
            destination: mount.destination().clone(),
            reason,
        })
    };
    if !options.bind {
        return refuse("id-mapped mounts are only supported for bind-mounts");
    }
    if !crate::creation::identities::may_map() {
        return refuse("id-mapped mounts are not supported for rootless containers");
    }
    if !mapped && root.is_some() {
        return Ok(Some(Identities::Container));
    }
    if uid.is_empty() || gid.is_empty() {
        return refuse("id-mapped mounts must have both uid and gid mappings specified");
    }
    Ok(Some(Identities::Own { uid, gid }))
}

/// Attributes for the end: what libcontainer does not know or, for bind mounts, does not take away; and read-only where things
/// are still to be made inside.
fn late_attributes(mount: &Mount, options: &mut Options) -> Attributes {
    let mut late = Attributes::default();
    let on_dev = mount.destination() == Path::new(dev::DEV);
    let fresh = !options.bind && (on_dev || mount.typ().as_deref() == Some("tmpfs"));
    if fresh && options.is_read_only() {
        options.attributes.set &= !read_only_bit();
        late.set |= read_only_bit();
    }
    let unknown = fragment_sys::mount::attribute_of("nosymfollow").map_or(0, |(bit, _)| bit);
    late.set |= options.attributes.set & unknown;
    if options.bind {
        late.clear |= options.attributes.clear;
    }
    late
}

/// The options as libcontainer reads them: without those it takes for the file system's, and with those of the superblock in a
/// form it hands on.
fn for_libcontainer(mount: &Mount, options: &Options) -> Vec<String> {
    const NOT_FOR_ANYONE: [&str; 7] = [
        "nosymfollow",
        "symfollow",
        "tmpcopyup",
        "notmpcopyup",
        "silent",
        "loud",
        "idmap",
    ];
    let kind = mount.typ().as_deref().unwrap_or_default();
    let late_read_only = !options.is_read_only();
    let mut list = Vec::new();
    for option in mount.options().iter().flatten() {
        let option = option.as_str();
        if NOT_FOR_ANYONE.contains(&option) || (option == "ro" && late_read_only) {
            continue;
        }
        match option {
            // libcontainer takes them for attributes of the mount, where they do nothing (fsconfig(2), vfs_parse_sb_flag)
            "sync" | "dirsync" | "mand" if !options.bind => list.push(format!("{option}=")),
            _ if kind == "overlay" && option.len() > LONGEST_VALUE => list.extend(layers(option)),
            _ => list.push(option.to_owned()),
        }
        if option == "ro" && !options.bind && !SHARED.contains(&kind) {
            // a device that cannot be written is mounted by its file system read-only or not at all
            list.push("ro=".to_owned());
        }
    }
    list
}

/// What fsconfig(2) takes as a string, which libcontainer mounts with: 255 bytes.
const LONGEST_VALUE: usize = 255;

/// A long `lowerdir=a:b:c` layer by layer (overlayfs.rst, "lowerdir+"): engines mount images and volumes with it. Lists with
/// layers of data alone (`::`) are left as they are.
fn layers(option: &str) -> Vec<String> {
    let whole = || vec![option.to_owned()];
    let Some(list) = option.strip_prefix("lowerdir=") else {
        return whole();
    };
    let mut layers = vec![String::new()];
    let mut characters = list.chars();
    while let Some(character) = characters.next() {
        match (character, layers.last_mut()) {
            // a colon of a name is escaped in a list, and in a list only
            ('\\', Some(layer)) => layer.extend(characters.next()),
            (':', _) => layers.push(String::new()),
            (_, Some(layer)) => layer.push(character),
            (_, None) => {}
        }
    }
    if layers.iter().any(String::is_empty) {
        return whole();
    }
    let layers = layers.iter().map(|layer| format!("lowerdir+={layer}"));
    layers.collect()
}

/// Follows the rootfs's links to where the mount really goes, and keeps it off /proc.
fn place(mount: &mut Mount, rootfs: &Path, covered: &[PathBuf]) -> Result<(), DeriveError> {
    let shows_kernel = matches!(mount.typ().as_deref(), Some("proc" | "sysfs")) && !is_bind(mount);
    if shows_kernel && !target::is_ordinary(rootfs, mount.destination(), covered) {
        return Err(DeriveError::NotOrdinary {
            kind: mount.typ().clone().unwrap_or_default(),
        });
    }
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
        let scenery = Scenery {
            bundle: Path::new("/bundle"),
            rootfs: Path::new("/nonexistent"),
            root: None,
            private: true,
        };
        let dev = Mount::clone(&RealDev::decoy());
        let given: Vec<Mount> = std::iter::once(dev).chain(given).collect();
        let mut mounts = Mounts::new(&given, &[], scenery)?;
        assert!(mounts.after.dev.is_none());
        mounts.list.remove(0);
        Ok(mounts)
    }

    #[test]
    fn a_long_list_of_layers_is_given_one_by_one() {
        let long = "x".repeat(200);
        let json = format!(
            r#"[{{"destination":"/d","type":"overlay","source":"overlay","options":["lowerdir=/a\\:b/{long}:/c/{long}","private"]}}]"#
        );
        let mounts = mounts(&json).unwrap();
        let options = mounts.list[0].options().clone().unwrap();
        assert_eq!(
            options,
            [
                format!("lowerdir+=/a:b/{long}"),
                format!("lowerdir+=/c/{long}"),
                "private".to_owned()
            ]
        );
        assert_eq!(layers("lowerdir=/a::/b"), ["lowerdir=/a::/b"]);
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
        assert_eq!(good.after.copied[0].path, Path::new("/run"));
        let bad = mounts(
            r#"[{"destination":"/run","type":"bind","source":"/x","options":["tmpcopyup"]}]"#,
        );
        assert!(matches!(bad, Err(DeriveError::CopyUp { .. })));
    }

    #[test]
    fn a_read_only_tmpfs_is_so_in_the_end() {
        let good = mounts(r#"[{"destination":"/a","type":"tmpfs","options":["ro","nosuid"]}]"#);
        let good = good.unwrap();
        assert_eq!(
            good.list[0].options().as_deref(),
            Some(&["nosuid".to_owned()][..])
        );
        assert_eq!(good.after.attributes.len(), 1);
        assert_eq!(good.after.attributes[0].1.set, 1);
    }

    #[test]
    fn options_of_the_superblock_reach_it() {
        let good = mounts(r#"[{"destination":"/a","type":"ext4","options":["ro","sync"]}]"#);
        let good = good.unwrap();
        assert_eq!(
            good.list[0].options().as_deref(),
            Some(&["ro", "ro=", "sync="].map(str::to_owned)[..])
        );
    }

    #[test]
    fn what_comes_after_a_deferred_mount_and_below_is_deferred() {
        let good = mounts(
            r#"[{"destination":"/dev/null","source":"/x","options":["bind"]},
                {"destination":"/dev/null/y","type":"tmpfs"},{"destination":"/z","type":"tmpfs"}]"#,
        );
        let good = good.unwrap();
        assert_eq!(good.after.deferred.len(), 2);
        assert_eq!(good.list.len(), 1);
    }

    #[test]
    fn a_bind_mount_takes_no_options_of_a_file_system() {
        let without =
            mounts(r#"[{"destination":"/a","source":"/b","options":["bind","size=1m"]}]"#);
        let options = without.unwrap().list[0].options().clone();
        assert_eq!(options.as_deref(), Some(&["bind".to_owned()][..]));
    }

    #[test]
    fn nothing_covers_proc() {
        let bad = mounts(r#"[{"destination":"/tmp/../proc","type":"tmpfs"}]"#);
        assert!(matches!(bad, Err(DeriveError::Proc { .. })));
    }
}
