//! The one place where commands meet the library below.

use std::ffi::OsString;
use std::path::PathBuf;

pub(crate) use fragment_launch::oci::{Capability, Process};
pub(crate) use fragment_launch::{
    BeginError, Bundle, ContainerId, ContainerState, CreateOptions, ErrorEvents, ExecOptions,
    ProcessChanges, Runtime, SignalNumber, UserChange, features,
};
use fragment_launch::{LaunchError, RuntimeOptions};

use crate::arguments::Global;

/// Version of the runtime specification this follows.
pub(crate) const SPEC_VERSION: &str = "1.2.1";

/// Commands that put a process of ours into a container.
const ENTERING: [&str; 3] = ["create", "run", "exec"];

/// What has to be done before anything else.
pub(crate) fn begin(arguments: impl Iterator<Item = OsString>) -> Result<(), BeginError> {
    // a word too many only costs one exec
    let enters = arguments
        .skip(1)
        .any(|argument| ENTERING.iter().any(|name| argument == *name));
    fragment_launch::begin(enters)
}

/// The runtime the global flags describe.
pub(crate) fn open(global: &Global) -> Runtime {
    let root = global.root.clone().unwrap_or_else(default_root);
    Runtime::new(RuntimeOptions {
        root,
        systemd_cgroup: global.systemd_cgroup,
    })
}

/// /run for root, the user's runtime directory otherwise; podman's rootless engine is root of its namespace and sets the
/// variable.
fn default_root() -> PathBuf {
    let base = std::env::var_os("XDG_RUNTIME_DIR")
        .filter(|_| is_rootless())
        .map(PathBuf::from);
    base.unwrap_or_else(|| PathBuf::from("/run"))
        .join("fragment-runc")
}

fn is_rootless() -> bool {
    // the initial user namespace maps everything (user_namespaces(7))
    let initial =
        std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| map.contains("4294967295"));
    !initial || !rustix::process::geteuid().is_root()
}

/// Creates a container.
pub(crate) fn create(
    runtime: &Runtime,
    bundle: &Bundle,
    options: &CreateOptions,
) -> Result<(), LaunchError> {
    runtime.create(bundle, options, None, serde_json::Value::Null)
}

/// Creates a container, starts it and, in the foreground, waits for its end.
pub(crate) fn run(
    runtime: &Runtime,
    bundle: &Bundle,
    options: &CreateOptions,
) -> Result<i32, LaunchError> {
    runtime.run(bundle, options, None, serde_json::Value::Null)
}

/// Removes a container.
pub(crate) fn delete(runtime: &Runtime, id: &ContainerId, force: bool) -> Result<(), LaunchError> {
    runtime.delete(id, force).map(drop)
}
