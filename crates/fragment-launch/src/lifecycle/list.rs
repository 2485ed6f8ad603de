//! All containers of a state directory.

use crate::error::LaunchError;
use crate::records::record;
use crate::records::state::ContainerState;
use crate::runtime::Runtime;

impl Runtime {
    /// The state of every container, by name. One that is just being made or removed may be missing.
    ///
    /// # Errors
    /// When the state directory cannot be read.
    pub fn list(&self) -> Result<Vec<ContainerState>, LaunchError> {
        let mut states = Vec::new();
        for id in record::names(self.root())? {
            match self.state(&id) {
                Ok(state) => states.push(state),
                Err(LaunchError::Missing { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(states)
    }
}
