//! Saving a running container's processes to images (criu(8)).

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::Spec;

use crate::checkpoint::criu::{
    Criu, CriuError, CriuOptions, foreign_network, host_mounts, masked_files,
};
use crate::error::LaunchError;
use crate::records::id::ContainerId;
use crate::records::record::Record;
use crate::records::state::{Status, settled_status};
use crate::runtime::{Runtime, write_json};
use crate::specification::bundle::Bundle;

/// Beside the images: what the standard streams were, which restore has to give anew.
pub(crate) const DESCRIPTORS: &str = "descriptors.json";
/// The name under which a network namespace that somebody else made is known to the images.
pub(crate) const NETWORK: &str = "extRootNetNS";

/// How a container is saved.
#[derive(Debug, Clone, Default)]
#[allow(clippy::struct_excessive_bools)] // one per flag of runc's command line
pub struct CheckpointOptions {
    /// What restore is told too.
    pub criu: CriuOptions,
    /// Images of an earlier pre-dump, relative to those to be made.
    pub parent: Option<PathBuf>,
    /// The container goes on.
    pub leave_running: bool,
    /// TCP connections that are being made are left out.
    pub skip_in_flight: bool,
    /// Deleted files are linked back.
    pub link_remap: bool,
    /// A descriptor of the caller that is told when pages can be asked for.
    pub status_fd: Option<i32>,
    /// Address and port of a page server.
    pub page_server: Option<(String, u16)>,
    /// Only the memory, and the container goes on.
    pub pre_dump: bool,
}

impl Runtime {
    /// Saves a container's processes and, unless it is to go on, removes the container.
    ///
    /// # Errors
    /// When it does not run, or criu is not there or fails: then the container goes on.
    pub fn checkpoint(
        &self,
        id: &ContainerId,
        options: &CheckpointOptions,
    ) -> Result<(), LaunchError> {
        let place = self.place(id);
        let goes_on = options.leave_running || options.pre_dump;
        {
            let _lock = place.lock_life()?;
            let record = place.load_complete()?;
            let status = settled_status(&record);
            if !matches!(status, Status::Running | Status::Paused) {
                return Err(LaunchError::Checkpoint { status });
            }
            dump(&record, options)?;
        }
        if !goes_on {
            self.delete(id, true)?;
        }
        Ok(())
    }
}

fn dump(record: &Record, options: &CheckpointOptions) -> Result<(), LaunchError> {
    let init = record.init.map_or(0, |init| init.pid);
    let images = &options.criu.images;
    for directory in [Some(images), options.criu.work.as_ref()]
        .into_iter()
        .flatten()
    {
        // memory of the container's processes is in there
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory);
        made.map_err(LaunchError::io("create", directory))?;
    }
    if let Some(parent) = &options.parent {
        check_parent(images, parent)?;
    }
    // libcontainer's own has lost what is done without it
    let spec = Bundle::load(&record.bundle)?.spec;
    if !record.residue.is_empty() {
        return Err(CriuError::Unsupported("a composed root file system").into());
    }
    let action = if options.pre_dump { "pre-dump" } else { "dump" };
    let mut criu = Criu::new(
        action,
        &options.criu,
        &spec,
        &record.rootfs,
        &record.annotations,
    )?;
    criu.value("--tree", init.to_string());
    if let Some(freezer) = freezer(record) {
        criu.value("--freeze-cgroup", freezer);
    }
    for (wanted, flag) in [
        (options.leave_running, "--leave-running"),
        (options.skip_in_flight, "--skip-in-flight"),
        (options.link_remap, "--link-remap"),
        (options.pre_dump || options.parent.is_some(), "--track-mem"),
    ] {
        criu.flag(wanted, flag);
    }
    if let Some(parent) = &options.parent {
        criu.value("--prev-images-dir", parent);
    }
    if let Some(fd) = options.status_fd {
        criu.value("--status-fd", fd.to_string());
    }
    if let Some((address, port)) = &options.page_server {
        // pages that are asked for later are served there by criu itself
        criu.flag(!options.criu.lazy_pages, "--page-server");
        criu.value("--address", address);
        criu.value("--port", port.to_string());
    }
    if !options.pre_dump {
        name_foreigners(&mut criu, &spec, record, init)?;
        write_json(&images.join(DESCRIPTORS), &streams(init))?;
    }
    criu.run()?;
    Ok(())
}

/// Tells criu what of the container is the host's and so not to be saved.
fn name_foreigners(
    criu: &mut Criu,
    spec: &Spec,
    record: &Record,
    init: i32,
) -> Result<(), LaunchError> {
    let mounted = mount_points(init)?;
    for (place, _) in host_mounts(spec, &record.rootfs) {
        let place = place.display();
        criu.value("--external", format!("mnt[{place}]:{place}"));
    }
    for path in masked_files(spec, |path| {
        mounted.contains(path) && !is_directory(init, path)
    }) {
        criu.value("--external", format!("mnt[{}]:/dev/null", path.display()));
    }
    if foreign_network(spec).is_some() {
        let path = format!("/proc/{init}/ns/net");
        let network = fs::metadata(&path).map_err(LaunchError::io("look at", path))?;
        criu.value("--external", format!("net[{}]:{NETWORK}", network.ino()));
    }
    Ok(())
}

/// Where something is mounted in the container (proc_pid_mountinfo(5), field 5).
fn mount_points(init: i32) -> Result<BTreeSet<PathBuf>, LaunchError> {
    let path = format!("/proc/{init}/mountinfo");
    let text = fs::read_to_string(&path).map_err(LaunchError::io("read", path))?;
    let points = text.lines().filter_map(|line| line.split(' ').nth(4));
    Ok(points.map(PathBuf::from).collect())
}

/// Masked directories are file systems of their own, which are saved.
fn is_directory(init: i32, path: &Path) -> bool {
    let inside = path.strip_prefix("/").unwrap_or(path);
    Path::new(&format!("/proc/{init}/root"))
        .join(inside)
        .is_dir()
}

/// What the first process's standard streams are, as the kernel names them.
fn streams(init: i32) -> Vec<String> {
    let name = |stream: u32| {
        let link = fs::read_link(format!("/proc/{init}/fd/{stream}"));
        link.map(|link| link.to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    (0..3).map(name).collect()
}

/// Runc's rules and words.
fn check_parent(images: &Path, parent: &Path) -> Result<(), LaunchError> {
    if parent.is_absolute() {
        return Err(LaunchError::ParentPath);
    }
    let directory = images.join(parent);
    let listed = fs::read_dir(&directory);
    listed
        .map(drop)
        .map_err(LaunchError::io("invalid --parent-path:", directory))
}

/// The cgroup by which criu stops all processes at once.
fn freezer(record: &Record) -> Option<PathBuf> {
    let mut directories = record.cgroup.directories();
    let of_v1 = record
        .cgroup
        .directories()
        .find(|directory| directory.join("freezer.state").exists());
    let found =
        of_v1.or_else(|| directories.find(|directory| directory.join("cgroup.freeze").exists()));
    found.map(Path::to_owned)
}
