//! What can go wrong with a [`Manager`](super::Manager).

use fragment_store::StoreError;

use crate::planner::PlanError;

/// An operation that could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManagerError {
    /// A task that cannot run.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A component that cannot be had, or a library that cannot be read or changed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
