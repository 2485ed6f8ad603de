//! The harness of the black-box battery: it drives an OCI runtime binary from outside, as engines do.
//!
//! The runtime under test is named by the environment variable `FRAGMENT_RUNC`: a path. Without it, it is `fragment-runc`
//! beside the test executable's directory (where Cargo puts it), else on `PATH`. The yardstick is Debian's runc:
//! `FRAGMENT_RUNC=/usr/sbin/runc` passes the same tests, except those that say which deviation of runc they skip.
//!
//! | module | what it holds |
//! |---|---|
//! | [`scene`] | one test's world: unique id, bundle, runtime, and the check that nothing is left of it |
//! | [`bundle`] | a bundle with a busybox rootfs and a `config.json` that starts from `runc spec`'s |
//! | [`runtime`] | calls of the runtime, each with a deadline, and their output |
//! | [`child`] | waiting for processes with a deadline |
//! | [`leftovers`] | mounts, cgroups, processes and files that mention an id |
//! | [`console`] | the engine's end of `--console-socket` |
//! | [`overlay`] | a rootfs that is an overlay, as engines mount it |
//! | [`programs`] | tiny programs in several languages, compiled when first needed |
//! | [`debian`] | a whole Debian root file system, built when first needed |
//! | [`fragment`] | calls of the `fragment` command |
//! | [`validators`] | other people's readers of what the command writes |
//! | [`cache`] | where those are kept |

pub mod bundle;
pub mod cache;
pub mod child;
pub mod console;
pub mod debian;
pub mod fragment;
pub mod leftovers;
pub mod overlay;
pub mod programs;
pub mod runtime;
pub mod scene;
pub mod validators;

pub use bundle::Bundle;
pub use overlay::Overlay;
pub use runtime::{Call, Output, Runtime};
pub use scene::{FOREVER, Scene, USER};
