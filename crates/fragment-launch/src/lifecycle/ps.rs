//! The processes of a container.

use crate::error::LaunchError;
use crate::records::id::ContainerId;
use crate::runtime::Runtime;

impl Runtime {
    /// The processes in the container's cgroup, by number in the runtime's PID namespace.
    ///
    /// # Errors
    /// When there is no container of that name.
    pub fn ps(&self, id: &ContainerId) -> Result<Vec<i32>, LaunchError> {
        let record = self.place(id).load_complete()?;
        Ok(record.cgroup.processes().into_iter().collect())
    }
}
