//! What is remembered of a container between one command and the next.

pub(crate) mod id;
pub(crate) mod process;
pub(crate) mod record;
pub(crate) mod state;
