//! A container's control groups.
//!
//! [`Layout`] says how the machine has them mounted, [`Cgroup`] where one container's are, [`Resources`] what it may use.
//! What is written for limits is a list of [`Write`]s, worked out by pure functions for v1 and v2 and then carried out;
//! which devices may be used is a set, kept in the kernel's list on v1 and compiled to a program on v2.
//!
//! Why not libcgroups, which comes with libcontainer: it has no systemd driver for v1, no device rules on v2 without
//! CAP_SYS_RESOURCE and libbpf, no notion of the hybrid layout, drops settings it does not know without a word, and lacks the
//! semantics of runc's `update` and `events` that engines rely on.

mod devices;
mod entrance;
mod error;
mod filter;
mod freezer;
mod gauge;
mod group;
mod layout;
mod limits;
mod oom;
mod plan;
mod resources;
pub mod stats;
mod stats_v1;
mod stats_v2;
mod systemd;
mod v1;
mod v2;

pub use devices::Rule;
pub use entrance::{Entrances, Entrant};
pub use error::{CgroupError, Errno};
pub use group::{Cgroup, Wish};
pub use layout::{Kind, Layout};
pub use limits::in_user_namespace;
pub use oom::{Notice, Watch};
pub use plan::Write;
pub use resources::{Block, DeviceWeight, Resources, Throttle};
pub use stats::Stats;
pub use systemd::{Scoped, Unit};
