//! What makes a container, on the host, up to the process that waits for the start.

pub(crate) mod capture;
pub(crate) mod cgroup;
pub(crate) mod cgroup_mounts;
pub(crate) mod create;
pub(crate) mod diagnosis;
pub mod hook;
pub mod hook_run;
pub(crate) mod identities;
pub(crate) mod joined;
pub(crate) mod network;
pub(crate) mod scheduling;
pub(crate) mod user_namespace;
