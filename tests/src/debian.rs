//! A whole Debian root file system, built when first needed.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache;

/// The release that the library's components come from.
const SUITE: &str = "bookworm";

/// Directory of a minimal Debian, made by mmdebstrap. It is shared by all tests: use it read-only.
///
/// # Panics
/// When mmdebstrap is missing or fails.
#[must_use]
pub fn rootfs() -> PathBuf {
    cache::made("debian-rootfs", SUITE, bootstrap)
}

fn bootstrap(directory: &Path) {
    let mut command = Command::new("mmdebstrap");
    command
        .args(["--quiet", "--variant=minbase", "--format=directory", SUITE])
        .arg(directory);
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("start mmdebstrap: {error} (apt-get install mmdebstrap)"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}
