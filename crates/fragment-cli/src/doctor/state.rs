//! Where the state of containers is kept.

use std::path::Path;

use fragment::Settings;
use rustix::fs::statfs;

use super::Finding;
use super::machine::Machine;

const SUBJECT: &str = "state directory";

/// Filesystem number of a tmpfs (statfs(2)).
const TMPFS: i64 = 0x0102_1994;

pub(super) fn examine(machine: &Machine, settings: &Settings) -> Vec<Finding> {
    if !machine.is_this() {
        return Vec::new();
    }
    let state = &settings.state;
    // the nearest directory that exists decides
    let Some(there) = state.ancestors().find(|path| path.exists()) else {
        return Vec::new();
    };
    let shown = state.display();
    if !is_writable(there) {
        let text = format!("{shown} cannot be written by this user: `fragment run` needs it");
        return vec![Finding::warning(
            SUBJECT,
            text,
            "run `fragment run` as root, or name a directory of your own with FRAGMENT_STATE",
        )];
    }
    let is_tmpfs = statfs(there).is_ok_and(|found| found.f_type == TMPFS);
    if is_tmpfs {
        return vec![Finding::ok(SUBJECT, format!("{shown} is on a tmpfs"))];
    }
    vec![Finding::warning(
        SUBJECT,
        format!("{shown} is not on a tmpfs: what a crash of the machine leaves there outlives it"),
        "mount a tmpfs at /run, or name a directory of another one with `state` in fragment.yaml",
    )]
}

fn is_writable(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
}
