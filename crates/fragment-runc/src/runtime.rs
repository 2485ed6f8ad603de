//! The one place where commands meet the library below.

use std::ffi::OsString;
use std::path::PathBuf;

use fragment::Settings;
use fragment::launch::RuntimeOptions;
pub(crate) use fragment::launch::oci::{Capability, Process};
pub(crate) use fragment::launch::{
    BeginError, Bundle, ContainerId, ContainerState, CreateOptions, ErrorEvents, ExecOptions,
    ProcessChanges, Runtime, SignalNumber, UserChange, features,
};

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
    fragment::launch::begin(enters)
}

/// The runtime the global flags describe.
pub(crate) fn open(global: &Global) -> fragment::Runtime {
    let root = global.root.clone().unwrap_or_else(default_root);
    let launch = Runtime::new(RuntimeOptions {
        root,
        systemd_cgroup: global.systemd_cgroup,
    });
    fragment::Runtime::new(launch, Settings::from_environment())
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
