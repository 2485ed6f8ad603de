//! From a bundle to a running container, and back: the derived spec, libcontainer, our own executor, the foreground loop and
//! the records of what runs.
//!
//! This is the only crate that names libcontainer. What that library leaves open or gets wrong for the engines that drive a
//! runtime is mended here, each mend with the reason beside it:
//!
//! * the caller's bundle is never given to libcontainer; it sees a *derived* bundle ([`mod@derived`]) that lives outside its
//!   state directory until the container is deleted;
//! * everything between the new root and the first instruction of the program is done by our executor;
//! * state, kill and delete are ours, so a process is only ever signalled through a descriptor that cannot come to mean
//!   another one.
//!
//! A program that creates containers calls [`begin`] first thing in `main`.

mod admission;
mod begin;
pub mod bundle;
mod capture;
mod cgroup;
mod checkpoint;
mod console;
mod copyup;
mod creation;
mod criu;
pub mod deferred;
mod delete;
pub mod derived;
pub mod dev;
mod diagnosis;
mod dialogue;
mod environment;
mod error;
mod events;
mod exec;
mod executor;
pub mod features;
mod foreground;
mod hidden;
pub mod hook;
pub mod hook_run;
mod id;
mod identities;
mod joined;
mod kill;
mod list;
mod listener;
mod masks;
mod mounts;
mod namespaces;
mod options;
mod pause;
mod privileges;
mod process;
mod program;
mod ps;
mod pty;
mod record;
mod restore;
pub mod rules;
mod runtime;
mod scheduling;
pub mod seccomp;
mod signal;
mod start;
mod state;
mod target;
mod tenant;
mod update;
mod user_namespace;

pub use admission::{SubCgroupError, SubCgroups};
pub use begin::{BeginError, begin};
pub use bundle::{Bundle, BundleError};
pub use capture::ErrorEvents;
pub use checkpoint::CheckpointOptions;
pub use criu::{CriuError, CriuOptions};
pub use error::{ContainerSide, LaunchError};
pub use exec::{ExecOptions, ProcessChanges, UserChange};
pub use id::{ContainerId, IdError};
pub use restore::RestoreOptions;
pub use runtime::{CreateOptions, Runtime, RuntimeOptions};
pub use scheduling::SchedulingError;
pub use signal::{SignalError, SignalNumber};
pub use state::{ContainerState, OCI_VERSION, Status};
pub use tenant::TenantError;
pub use user_namespace::UserNamespaceError;

/// What a container may use and has used.
pub mod resources {
    pub use fragment_cgroup::{CgroupError, Notice, Resources, Stats, Watch};
}

/// The OCI runtime specification's types, as libcontainer reads them.
pub mod oci {
    pub use libcontainer::oci_spec::OciSpecError;
    pub use libcontainer::oci_spec::runtime::*;
}
