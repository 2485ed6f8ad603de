//! What a container uses, and what happens to it.

use fragment_cgroup::{Stats, Watch};

use crate::error::LaunchError;
use crate::records::id::ContainerId;
use crate::runtime::Runtime;

impl Runtime {
    /// What the container has used so far.
    ///
    /// # Errors
    /// When there is no such container, or its cgroup cannot be read.
    pub fn stats(&self, id: &ContainerId) -> Result<Stats, LaunchError> {
        Ok(self.place(id).load_complete()?.cgroup.stats()?)
    }

    /// A watch over its memory and its end.
    ///
    /// # Errors
    /// When there is no such container, or nothing to watch its memory with.
    pub fn watch(&self, id: &ContainerId) -> Result<Watch, LaunchError> {
        Ok(self.place(id).load_complete()?.cgroup.watch()?)
    }
}
