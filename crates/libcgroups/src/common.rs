//! The types and calls of youki's module of this name.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::unistd::Pid;
use oci_spec::runtime::LinuxResources;
use serde::Serialize;

/// Where everybody mounts control groups.
pub const DEFAULT_CGROUP_ROOT: &str = "/sys/fs/cgroup";

type Entrance = Box<dyn Fn() -> io::Result<()> + Send>;

static ENTRANCE: Mutex<Option<Entrance>> = Mutex::new(None);

/// Says how the processes that libcontainer clones from now on get into their control group, until what is returned is dropped.
/// The call is made in the new process.
pub fn set_entrance(entrance: impl Fn() -> io::Result<()> + Send + 'static) -> EntranceSet {
    *ENTRANCE.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(entrance));
    EntranceSet(())
}

/// An entrance is set ([`set_entrance`]): dropped, it is forgotten, with the files it held.
#[derive(Debug)]
#[must_use]
pub struct EntranceSet(());

impl Drop for EntranceSet {
    fn drop(&mut self) {
        *ENTRANCE.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// How control groups are mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupSetup {
    /// v1 and v2.
    Hybrid,
    /// v1.
    Legacy,
    /// v2.
    Unified,
}

impl fmt::Display for CgroupSetup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hybrid => "hybrid",
            Self::Legacy => "legacy",
            Self::Unified => "unified",
        })
    }
}

/// How control groups are mounted here.
///
/// # Errors
/// None.
pub fn get_cgroup_setup() -> Result<CgroupSetup, GetCgroupSetupError> {
    let root = Path::new(DEFAULT_CGROUP_ROOT);
    Ok(if is_unified(root) {
        CgroupSetup::Unified
    } else if is_unified(&root.join("unified")) {
        CgroupSetup::Hybrid
    } else {
        CgroupSetup::Legacy
    })
}

fn is_unified(path: &Path) -> bool {
    const CGROUP2_SUPER_MAGIC: i64 = 0x6367_7270;
    rustix::fs::statfs(path).is_ok_and(|it| it.f_type == CGROUP2_SUPER_MAGIC)
}

pub(crate) fn mount_points(kind: &str) -> io::Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let points = mounts.lines().filter_map(|line| {
        // proc_pid_mountinfo(5)
        let (before, after) = line.split_once(" - ")?;
        let this = after.split(' ').next() == Some(kind);
        this.then(|| before.split(' ').nth(4).map(PathBuf::from))?
    });
    Ok(points.collect())
}

/// What libcontainer would make of a specification.
#[derive(Debug, Clone)]
pub struct CgroupConfig {
    /// linux.cgroupsPath.
    pub cgroup_path: PathBuf,
    /// Whether it wants systemd's driver.
    pub systemd_cgroup: bool,
    /// The container's name.
    pub container_name: String,
}

/// What it would set.
#[derive(Debug, Clone)]
pub struct ControllerOpt<'a> {
    /// Limits.
    pub resources: &'a LinuxResources,
    /// Unused.
    pub disable_oom_killer: bool,
    /// Unused.
    pub oom_score_adj: Option<i32>,
    /// Unused.
    pub freezer_state: Option<FreezerState>,
}

/// The freezer's states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FreezerState {
    /// Not known.
    Undefined,
    /// Stopped.
    Frozen,
    /// Running.
    Thawed,
}

/// Statistics, which are not asked here.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Stats {}

/// The calls libcontainer makes.
pub trait CgroupManager {
    /// What goes wrong.
    type Error;

    /// Puts the calling process in.
    ///
    /// # Errors
    /// Whatever the entrance says.
    fn add_task(&self, pid: Pid) -> Result<(), Self::Error>;
    /// Sets limits.
    ///
    /// # Errors
    /// None.
    fn apply(&self, controller_opt: &ControllerOpt<'_>) -> Result<(), Self::Error>;
    /// Removes the group.
    ///
    /// # Errors
    /// None.
    fn remove(&self) -> Result<(), Self::Error>;
    /// Freezes or thaws.
    ///
    /// # Errors
    /// None.
    fn freeze(&self, state: FreezerState) -> Result<(), Self::Error>;
    /// Counts.
    ///
    /// # Errors
    /// None.
    fn stats(&self) -> Result<Stats, Self::Error>;
    /// Lists.
    ///
    /// # Errors
    /// None.
    fn get_all_pids(&self) -> Result<Vec<Pid>, Self::Error>;
}

/// The manager of a control group that is somebody else's.
#[derive(Debug, Clone, Copy)]
pub struct AnyCgroupManager(());

impl AnyCgroupManager {
    /// No difference.
    #[must_use]
    pub fn with_rootless(self, _rootless: bool) -> Self {
        self
    }
}

/// Never fails.
///
/// # Errors
/// None.
pub fn create_cgroup_manager(
    _config: CgroupConfig,
) -> Result<AnyCgroupManager, CreateCgroupSetupError> {
    Ok(AnyCgroupManager(()))
}

impl CgroupManager for AnyCgroupManager {
    type Error = AnyManagerError;

    fn add_task(&self, _pid: Pid) -> Result<(), Self::Error> {
        let entrance = ENTRANCE.lock().unwrap_or_else(PoisonError::into_inner);
        match &*entrance {
            Some(enter) => enter().map_err(AnyManagerError),
            None => Ok(()),
        }
    }

    fn apply(&self, _controller_opt: &ControllerOpt<'_>) -> Result<(), Self::Error> {
        Ok(())
    }

    fn remove(&self) -> Result<(), Self::Error> {
        Ok(())
    }

    fn freeze(&self, _state: FreezerState) -> Result<(), Self::Error> {
        Ok(())
    }

    fn stats(&self) -> Result<Stats, Self::Error> {
        Ok(Stats::default())
    }

    fn get_all_pids(&self) -> Result<Vec<Pid>, Self::Error> {
        Ok(Vec::new())
    }
}

/// The way in is closed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct AnyManagerError(#[source] io::Error);

/// There is nothing that can go wrong.
#[derive(Debug, thiserror::Error)]
#[error("no control groups")]
pub struct CreateCgroupSetupError(());

/// There is nothing that can go wrong.
#[derive(Debug, thiserror::Error)]
#[error("no control groups")]
pub struct GetCgroupSetupError(());
