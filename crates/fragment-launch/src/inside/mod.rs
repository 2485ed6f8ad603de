//! What happens in the container between its new root and the first instruction of its program.

pub(crate) mod copyup;
pub mod deferred;
pub mod dev;
pub(crate) mod environment;
pub(crate) mod executor;
pub(crate) mod first;
pub(crate) mod hidden;
pub(crate) mod listener;
pub(crate) mod masks;
pub(crate) mod privileges;
pub(crate) mod program;
pub(crate) mod pty;
pub mod seccomp;
