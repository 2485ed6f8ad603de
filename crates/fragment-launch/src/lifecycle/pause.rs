//! Stopping and continuing all processes of a container.

use crate::error::LaunchError;
use crate::records::id::ContainerId;
use crate::records::state::{Status, settled_status};
use crate::runtime::Runtime;

impl Runtime {
    /// Freezes every process of a container.
    ///
    /// # Errors
    /// When the container does not run, or there is nothing to freeze it with.
    pub fn pause(&self, id: &ContainerId) -> Result<(), LaunchError> {
        let place = self.place(id);
        let _lock = place.lock_life()?;
        let record = place.load_complete()?;
        match settled_status(&record) {
            Status::Running | Status::Created => Ok(record.cgroup.freeze()?),
            _ => Err(LaunchError::NotRunning { id: record.id }),
        }
    }

    /// Lets them run again.
    ///
    /// # Errors
    /// When the container is not paused.
    pub fn resume(&self, id: &ContainerId) -> Result<(), LaunchError> {
        let place = self.place(id);
        let _lock = place.lock_life()?;
        let record = place.load_complete()?;
        match settled_status(&record) {
            Status::Paused => Ok(record.cgroup.thaw()?),
            _ => Err(LaunchError::NotPaused { id: record.id }),
        }
    }
}
