//! Calls of the `fragment` command.

use std::ffi::OsStr;
use std::path::PathBuf;

use crate::runtime::Call;

/// `fragment ARGUMENTS…`, with the component library of [`store`]. The binary is named by `FRAGMENT`, else it is
/// `fragment` beside the test executable's directory, else on `PATH`.
pub fn call<A: AsRef<OsStr>>(arguments: &[A]) -> Call {
    Call::of(program()).args(arguments)
}

/// The binary of the `fragment` command.
#[must_use]
pub fn program() -> PathBuf {
    crate::runtime::binary("FRAGMENT", "fragment")
}

/// The binary of the runtime.
#[must_use]
pub fn runtime_program() -> PathBuf {
    crate::runtime::binary("FRAGMENT_RUNC", "fragment-runc")
}

/// Directory of the component library: `FRAGMENT_STORE`, else where `hack/library` puts it. It need not exist for bundles
/// that lack nothing.
#[must_use]
pub fn store() -> PathBuf {
    std::env::var_os("FRAGMENT_STORE").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/library")),
        PathBuf::from,
    )
}

/// Files of the leases that mention `id`.
#[must_use]
pub fn leases(id: &str) -> Vec<String> {
    let files = std::fs::read_dir(store().join("leases"))
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    let mentions =
        |path: &PathBuf| std::fs::read_to_string(path).is_ok_and(|text| text.contains(id));
    files
        .map(|entry| entry.path())
        .filter(mentions)
        .map(|path| path.display().to_string())
        .collect()
}
