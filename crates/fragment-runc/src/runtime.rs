//! The one place where commands meet the library below.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::Context as _;
use fragment::ControlError;
pub(crate) use fragment::launch::OCI_VERSION as SPEC_VERSION;
pub(crate) use fragment::launch::oci::{Capability, LinuxResources, Process};
pub(crate) use fragment::launch::resources::{Notice, Resources};
pub(crate) use fragment::launch::{
    BeginError, Bundle, CheckpointOptions, ContainerId, ContainerState, CreateOptions, CriuOptions,
    ErrorEvents, ExecOptions, ProcessChanges, RestoreOptions, Runtime, SignalNumber, Status,
    SubCgroups, UserChange, adapt_process, features, read_as, respell,
};
use fragment::launch::{ENTERING, RuntimeOptions};
pub(crate) use fragment::settings::LogLevel;
use fragment::settings::{Settings, is_rootless};

use crate::arguments::Global;

/// The state directory's own name.
const NAME: &str = "fragment-runc";

/// What has to be done before anything else.
pub(crate) fn begin(arguments: impl Iterator<Item = OsString>) -> Result<(), BeginError> {
    // a word too many only costs one exec
    let enters = arguments
        .skip(1)
        .any(|argument| ENTERING.iter().any(|name| argument == *name));
    fragment::launch::begin(enters)
}

/// The runtime the global flags describe, without composition.
pub(crate) fn open(global: &Global) -> anyhow::Result<Runtime> {
    let root = match &global.root {
        Some(root) => root.clone(),
        None => default_root()?,
    };
    Ok(Runtime::new(RuntimeOptions {
        root,
        systemd_cgroup: global.systemd_cgroup,
        rootless: truth(&global.rootless),
    }))
}

/// What variables and files say, read once, and only by those who need it.
fn settings() -> Result<&'static Settings, &'static ControlError> {
    static SETTINGS: LazyLock<Result<Settings, ControlError>> = LazyLock::new(Settings::load);
    SETTINGS.as_ref()
}

/// The least severe events that are logged where no flag says so. A mistake is told by the commands that compose.
pub(crate) fn logged() -> LogLevel {
    settings().map(Settings::logged).unwrap_or_default()
}

/// The file of phases, if there is to be one.
pub(crate) fn trace() -> Option<&'static Path> {
    settings().ok()?.trace.as_deref()
}

/// The runtime that composes.
pub(crate) fn composing(launch: Runtime) -> anyhow::Result<fragment::Runtime> {
    Ok(fragment::Runtime::new(launch, settings()?.clone()))
}

/// The runtime that removes what was composed: a mistake in the configuration is no reason not to.
pub(crate) fn removing(launch: Runtime) -> fragment::Runtime {
    let settings = settings().cloned().unwrap_or_else(|error| {
        tracing::warn!("{error}");
        Settings::of_environment()
    });
    fragment::Runtime::new(launch, settings)
}

/// /run for root, the user's runtime directory for everybody else: runc's rule.
fn default_root() -> anyhow::Result<PathBuf> {
    let user_s = std::env::var_os("XDG_RUNTIME_DIR").filter(|base| !base.is_empty());
    match user_s.filter(|_| is_rootless()) {
        Some(base) => kept(Path::new(&base).join(NAME)),
        None => Ok(Path::new("/run").join(NAME)),
    }
}

/// What lies in the user's runtime directory may be removed after six hours without the sticky bit (XDG Base Directory
/// Specification, "$XDG_RUNTIME_DIR").
fn kept(root: PathBuf) -> anyhow::Result<PathBuf> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&root);
    made.with_context(|| {
        format!(
            "create {}: the path in $XDG_RUNTIME_DIR must be writable by the user",
            root.display()
        )
    })?;
    fs::set_permissions(&root, Permissions::from_mode(0o1700))
        .with_context(|| format!("set the sticky bit of {}", root.display()))?;
    Ok(root)
}

/// A truth value as Go reads it; `auto` is none.
fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
