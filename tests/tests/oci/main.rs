//! The black-box battery: what an engine may expect of an OCI runtime, asked of the binary.
//!
//! Every test makes a [`fragment_tests::Scene`], which fails the test when anything is left of its containers.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "clippy exempts #[test] functions, not what they call"
)]

/// Leaves a test out under Debian's runc, saying why: a deviation of the yardstick, not of ours.
macro_rules! unless_runc {
    ($scene:expr, $reason:literal) => {
        if $scene.runtime.is_runc() {
            println!("skipped under runc: {}", $reason);
            return;
        }
    };
}

mod attributes;
mod caller;
mod cgroups;
mod cgroups_v2;
mod checkpoint;
mod config;
mod crash;
mod delete;
mod descriptors;
mod devices;
mod engines;
mod exec;
mod failures;
mod features;
mod filesystem;
mod foreground;
mod golden;
mod harness;
mod hooks;
mod information;
mod kill;
mod lifecycle;
mod limits;
mod list;
mod log;
mod mounts;
mod namespaces;
mod process;
mod rootless;
mod run;
mod seccomp;
mod signals;
mod stress;
mod systemd;
mod terminal;
mod users;
mod words;
