//! The library API of fragment-runc: plan what a command or bundle needs, run it, explain it.
//!
//! | module | what it does |
//! |---|---|
//! | [`adaptive`] | preloading by the history of use |
//! | [`control`] | what is asked of a composition, and by whom |
//! | [`kernel`] | what the kernel can do |
//! | [`manager`] | the library of a node as one value, for programs that embed it |
//! | [`metrics`] | what all processes of this node have done |
//! | [`life`] | components on this node: loaded, used, in memory |
//! | [`library`] | the component library of this node |
//! | [`observe`] | what a run opens and misses, told |
//! | [`own_files`] | what an app brings itself |
//! | [`planner`] | from a bundle or [`Task`] to a [`Plan`], without root and without a change |
//! | [`explain`] | why each component is in a plan |
//! | [`inspect`] | what a container was composed of |
//! | [`pressure`] | how much a machine's memory and disk are asked for |
//! | [`runtime`] | containers: the OCI operations, with composition |
//! | [`runner`] | runs a [`Task`] to its end |
//! | [`task`] | a command that need not exist anywhere but in the library |
//! | [`trace`] | how long each phase took |
//! | [`settings`] | where things are on this node, and what it wants of every composition |

pub mod adaptive;
mod cache;
pub mod control;
pub mod explain;
pub mod inspect;
pub mod kernel;
pub mod library;
pub mod life;
pub mod manager;
pub mod metrics;
mod mounts;
pub mod observe;
pub mod own_files;
pub mod planner;
pub mod pressure;
mod process;
pub mod runner;
pub mod runtime;
pub mod settings;
mod subject;
mod supervisor;
pub mod task;
pub mod trace;

pub use control::{ControlError, Wishes};
pub use fragment_build::DirectoryComponent;
pub use fragment_launch as launch;
pub use fragment_resolve::{CORE_CAPABILITY, Compose, Policy};
pub use fragment_store as store;
pub use fragment_sys::{main, pool, start};
pub use fragment_types::{
    Capability, Catalogue, ComponentName, ComponentSummary, Digest, Grade, Lock, Manifest, Plan,
    manifest, plan,
};
pub use library::Library;
pub use manager::{ComposedFragment, Manager, ManagerError};
pub use planner::{PlanError, PlanErrorKind};
pub use runtime::{Runtime, RuntimeError};
pub use settings::Settings;
pub use supervisor::{Streams, begin};
pub use task::Task;

/// Version of fragment-runc.
///
/// # Panics
/// Never: Cargo refuses a package version that is not semantic.
#[must_use]
pub fn version() -> semver::Version {
    semver::Version::parse(env!("CARGO_PKG_VERSION")).expect("Cargo checked it")
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
