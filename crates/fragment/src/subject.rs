//! What analysis and composition read of a `config.json`.

use fragment_launch::oci::{LinuxNamespaceType, Spec};

/// The process of the bundle as analysis sees it; an absent process is an empty command line, which analysis refuses.
pub(crate) fn task_of(spec: &Spec) -> fragment_analysis::Task {
    let Some(process) = spec.process() else {
        return fragment_analysis::Task {
            argv: Vec::new(),
            env: Vec::new(),
            cwd: "/".to_owned(),
            uid: 0,
            gid: 0,
            terminal: false,
        };
    };
    fragment_analysis::Task {
        argv: process.args().clone().unwrap_or_default(),
        env: process.env().clone().unwrap_or_default(),
        cwd: process.cwd().to_string_lossy().into_owned(),
        uid: process.user().uid(),
        gid: process.user().gid(),
        terminal: process.terminal().unwrap_or(false),
    }
}

fn has(spec: &Spec, wanted: LinuxNamespaceType, only_new: bool) -> bool {
    spec.linux()
        .iter()
        .filter_map(|linux| linux.namespaces().as_ref())
        .flatten()
        .any(|namespace| namespace.typ() == wanted && !(only_new && namespace.path().is_some()))
}

/// Whether the container gets a mount namespace that is made for it: in a joined one the overlay would stay behind.
pub(crate) fn has_own_mount_namespace(spec: &Spec) -> bool {
    has(spec, LinuxNamespaceType::Mount, true)
}

/// Whether the container runs in a user namespace.
pub(crate) fn has_user_namespace(spec: &Spec) -> bool {
    has(spec, LinuxNamespaceType::User, false)
}

/// Destinations of the mounts.
pub(crate) fn mount_targets(spec: &Spec) -> Vec<String> {
    let mounts = spec.mounts().iter().flatten();
    mounts
        .map(|mount| mount.destination().to_string_lossy().into_owned())
        .collect()
}
