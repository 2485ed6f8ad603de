//! A container's state as others see it: the specification's, with runc's additions.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::error::LaunchError;
use crate::records::id::ContainerId;
use crate::records::record::{Place, Record, Stage};
use crate::runtime::Runtime;

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Being made.
    Creating,
    /// Made, waiting for start.
    Created,
    /// Its program runs.
    Running,
    /// Frozen.
    Paused,
    /// Its first process has ended.
    Stopped,
}

impl Status {
    /// What a person can do about it, to go at the end of a sentence.
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Self::Running | Self::Paused => "; kill it first or use --force",
            Self::Creating | Self::Created | Self::Stopped => "",
        }
    }
}

impl Status {
    /// What lets exec do what it refuses, to go at the end of a sentence.
    pub(crate) fn exec_remedy(self) -> &'static str {
        match self {
            Self::Paused => " (use --ignore-paused to override)",
            _ => "",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        })
    }
}

/// The answer to `state` and a row of `list`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerState {
    /// Version of the specification this document follows.
    pub oci_version: &'static str,
    /// The container's name.
    pub id: String,
    /// Its first process in the runtime's PID namespace; 0 when it has ended.
    pub pid: i32,
    /// Where it is in its life.
    pub status: Status,
    /// The caller's bundle.
    pub bundle: PathBuf,
    /// The rootfs the bundle names.
    pub rootfs: PathBuf,
    /// When it was created, RFC 3339.
    pub created: String,
    /// The bundle's annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The user who created it.
    pub owner: String,
}

/// Version of the specification this runtime follows.
pub const OCI_VERSION: &str = "1.3.0";

impl Runtime {
    /// The state of a container.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn state(&self, id: &ContainerId) -> Result<ContainerState, LaunchError> {
        let place = self.place(id);
        let record = place.load_complete()?;
        let status = status_of(&place, &record)?;
        Ok(state_of(record, status))
    }

    /// What the creator of a container left with it; nothing where it left nothing.
    ///
    /// # Errors
    /// When there is no container of that name.
    pub fn extra(&self, id: &ContainerId) -> Result<Vec<u8>, LaunchError> {
        let place = self.place(id);
        place.load_extra(&place.load_complete()?)
    }
}

/// Where a container is: the record says how far it came, the kernel whether it still is.
pub(crate) fn status_of(place: &Place, record: &Record) -> Result<Status, LaunchError> {
    if record.stage == Stage::Creating {
        // its creator holds the lock as long as it lives
        return Ok(match place.try_lock_life(Duration::ZERO)? {
            Some(_) => Status::Stopped,
            None => Status::Creating,
        });
    }
    Ok(settled_status(record))
}

/// The status of a container that is not being made, as seen by who holds its lock.
pub(crate) fn settled_status(record: &Record) -> Status {
    let alive = record
        .init
        .is_some_and(crate::records::process::Identity::is_alive);
    match record.stage {
        Stage::Created | Stage::Started if alive && record.cgroup.is_frozen() => Status::Paused,
        Stage::Created if alive => Status::Created,
        Stage::Started if alive => Status::Running,
        _ => Status::Stopped,
    }
}

pub(crate) fn state_of(record: Record, status: Status) -> ContainerState {
    let pid = record
        .init
        .filter(|_| status != Status::Stopped)
        .map_or(0, |init| init.pid);
    ContainerState {
        oci_version: OCI_VERSION,
        owner: user_name(record.owner),
        id: record.id,
        pid,
        status,
        bundle: record.bundle,
        rootfs: record.rootfs,
        created: record.created,
        annotations: record.annotations.into_iter().collect(),
    }
}

fn user_name(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("#{uid}"))
}
