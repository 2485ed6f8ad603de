//! Another process in a running container.

pub(crate) mod admission;
pub(crate) mod dialogue;
pub(crate) mod exec;
pub(crate) mod namespaces;
pub(crate) mod tenant;
