//! What is done with a container that exists, a file for each command, and what those share.

pub(crate) mod console;
pub(crate) mod delete;
pub(crate) mod events;
pub(crate) mod foreground;
pub(crate) mod kill;
pub(crate) mod list;
pub(crate) mod pause;
pub(crate) mod ps;
pub(crate) mod signal;
pub(crate) mod start;
pub(crate) mod update;
