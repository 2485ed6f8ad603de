//! Chosen layers and a bundle's rootfs in, one overlay out.
//!
//! | module | its job |
//! |---|---|
//! | [`rootfs`] | what the rootfs of a bundle is: facts, nothing changed |
//! | [`filesystem`] | which filesystems can hold an overlay's upper directory |
//! | [`generated`] | files that a root has once and components hold in parts |
//! | `layout` | what of the rootfs would hide the components |
//! | [`overlay`] | layers as mount options, within what each kernel takes |
//! | [`composition`] | the decision (needs no root, changes nothing) and its preparation |
//! | [`residue`] | what a composition leaves on the host, and its removal at any later time |
//! | [`kernel`] | kernel versions |
//! | `engine` | the overlay that an engine has mounted as the rootfs: its layers, and what they hide |
//! | [`exchange`] | that overlay taken away for one with more layers, and put back |
//! | `mounting` | overlays that this process mounts itself |
//! | `mapped` | layers with the owners of a container's user namespace |
//!
//! Where it can be, nothing is mounted here: the options become the first mount of the container's own mount namespace, so
//! that no mount ever stays on the host.

pub mod composition;
mod engine;
pub mod error;
pub mod exchange;
pub mod filesystem;
pub mod generated;
pub mod kernel;
mod layout;
mod mapped;
mod mounting;
pub mod overlay;
pub mod residue;
pub mod rootfs;

pub use composition::{Composition, Inputs, Prepared, Route, Site, compose};
pub use error::ComposeError;
pub use exchange::{give_back, reclaim, uncover};
pub use filesystem::Filesystem;
pub use generated::GeneratedError;
pub use kernel::KernelVersion;
pub use mounting::OverlayMount;
pub use overlay::{MountOptions, Overlay};
pub use residue::{Residue, cleanup};
pub use rootfs::RootfsFacts;
