//! From a bundle to a running container, and back: the derived spec, libcontainer, our own executor, the foreground loop and
//! the records of what runs.
//!
//! This is the only crate that names libcontainer. What that library leaves open or gets wrong for the engines that drive a
//! runtime is mended here, each mend with the reason beside it:
//!
//! * the caller's bundle is never given to libcontainer; it sees a *derived* bundle ([`mod@specification::derived`]) that lives outside its
//!   state directory until the container is deleted;
//! * everything between the new root and the first instruction of the program is done by our executor;
//! * state, kill and delete are ours, so a process is only ever signalled through a descriptor that cannot come to mean
//!   another one.
//!
//! A program that creates containers calls [`begin`] first thing in `main`.

mod begin;
mod checkpoint;
pub mod creation;
mod error;
pub mod features;
pub mod inside;
mod joining;
mod lifecycle;
mod records;
mod runtime;
mod sockets;
pub mod specification;

pub use begin::{BeginError, begin};
pub use checkpoint::criu::{CriuError, CriuOptions};
pub use checkpoint::restore::RestoreOptions;
pub use checkpoint::save::CheckpointOptions;
pub use creation::capture::ErrorEvents;
pub use creation::network::Underway;
pub use creation::scheduling::SchedulingError;
pub use creation::user_namespace::UserNamespaceError;
pub use error::{ContainerSide, LaunchError};
pub use fragment_sys::program::ENTERING;
pub use joining::admission::{SubCgroupError, SubCgroups};
pub use joining::exec::{ExecOptions, ProcessChanges, UserChange};
pub use joining::tenant::TenantError;
pub use lifecycle::signal::{SignalError, SignalNumber};
pub use records::id::{ContainerId, IdError};
pub use records::state::{ContainerState, OCI_VERSION, Status};
pub use runtime::{CreateOptions, Runtime, RuntimeOptions, StartNotice};
pub use sockets::receive as receive_descriptor;
pub use specification::bundle::{Bundle, BundleError, adapt_process, read_as};
pub use specification::names::respell;

/// What a container may use and has used.
pub mod resources {
    pub use fragment_cgroup::{CgroupError, Notice, Resources, Stats, Watch};
}

/// The OCI runtime specification's types, as libcontainer reads them.
pub mod oci {
    pub use libcontainer::oci_spec::OciSpecError;
    pub use libcontainer::oci_spec::runtime::*;
}
