//! Limits of a container that exists, changed.

use fragment_cgroup::Resources;

use crate::error::LaunchError;
use crate::records::id::ContainerId;
use crate::records::state::{Status, settled_status};
use crate::runtime::Runtime;

impl Runtime {
    /// Changes limits; what `change` does not say stays as it is. When one of them cannot be had, those of before hold.
    ///
    /// # Errors
    /// When the container does not run, or the kernel refuses a value.
    pub fn update(&self, id: &ContainerId, change: &Resources) -> Result<(), LaunchError> {
        let place = self.place(id);
        let _lock = place.lock_life()?;
        let mut record = place.load_complete()?;
        if settled_status(&record) == Status::Stopped {
            return Err(LaunchError::NotRunning { id: record.id });
        }
        record.cgroup.update(&record.resources, change)?;
        record.resources = record.resources.changed(change);
        place.save(&record)
    }
}
