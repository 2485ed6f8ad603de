//! Pausing a container: the freezer of v1, cgroup.freeze of v2.

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use fragment_sys::file;

use crate::error::CgroupError;
use crate::group::{Cgroup, read, write};
use crate::layout::Kind;

/// Attempts to freeze a v1 cgroup. The kernel cannot reliably freeze one in which processes keep appearing; runc found these
/// numbers by trying.
const ATTEMPTS: u32 = 1000;
/// Every so many attempts the cgroup is let go and given some time.
const ROUND: u32 = 50;
/// How often a v2 cgroup is asked whether all of it is frozen, and how far apart.
const LOOKS: u32 = 1000;
const PAUSE: Duration = Duration::from_millis(10);

/// Whether the cgroup in this directory is frozen itself, not by one above.
pub(crate) fn holds(directory: &Path) -> bool {
    let holds = |file: &str, words: &[&str]| {
        file::read_text(directory.join(file)).is_ok_and(|text| words.contains(&text.trim()))
    };
    if holds("freezer.state", &["FROZEN", "FREEZING"]) {
        // missing on old kernels
        return !holds("freezer.self_freezing", &["0"]);
    }
    holds("cgroup.freeze", &["1"])
}

impl Cgroup {
    /// Whether the freezer holds the cgroup.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.freezer().is_some_and(holds)
    }

    /// Stops every process in the cgroup and below, and returns when they have stopped.
    ///
    /// # Errors
    /// When there is no freezer, or something cannot be stopped; what was stopped runs again then.
    pub fn freeze(&self) -> Result<(), CgroupError> {
        let directory = self.freezer().ok_or(CgroupError::NoFreezer)?;
        let frozen = if self.kind == Kind::Unified {
            freeze_unified(directory)
        } else {
            freeze_legacy(directory)
        };
        frozen.inspect_err(|_| self.thaw_quietly())
    }

    /// Lets them run again.
    ///
    /// # Errors
    /// When there is no freezer or the kernel refuses.
    pub fn thaw(&self) -> Result<(), CgroupError> {
        let directory = self.freezer().ok_or(CgroupError::NoFreezer)?;
        let (file, word) = if self.kind == Kind::Unified {
            ("cgroup.freeze", "0")
        } else {
            ("freezer.state", "THAWED")
        };
        write(&directory.join(file), word)
    }

    /// The same where it is only a precaution: a frozen process does not die of SIGKILL on cgroup v1.
    pub fn thaw_quietly(&self) {
        if self.is_frozen() {
            // it then is either thawed already or gone; what follows tells
            let _ = self.thaw();
        }
    }

    fn freezer(&self) -> Option<&Path> {
        self.directory("freezer")
    }
}

fn freeze_legacy(directory: &Path) -> Result<(), CgroupError> {
    let file = directory.join("freezer.state");
    for attempt in 1..=ATTEMPTS {
        if attempt % ROUND == 0 {
            write(&file, "THAWED")?;
            sleep(PAUSE);
        }
        write(&file, "FROZEN")?;
        if attempt % (ROUND / 2) == 0 {
            sleep(Duration::from_micros(10));
        }
        match read(&file)?.trim() {
            "FROZEN" => return Ok(()),
            "FREEZING" => {}
            other => {
                return Err(CgroupError::Parse {
                    path: file,
                    line: other.to_owned(),
                });
            }
        }
    }
    Err(CgroupError::Unfreezable)
}

fn freeze_unified(directory: &Path) -> Result<(), CgroupError> {
    write(&directory.join("cgroup.freeze"), "1")?;
    let events = directory.join("cgroup.events");
    for _ in 0..LOOKS {
        if read(&events)?.lines().any(|line| line == "frozen 1") {
            return Ok(());
        }
        sleep(PAUSE);
    }
    Err(CgroupError::Unfreezable)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn frozen_from_above_is_not_frozen() {
        let dir = tempfile::tempdir().unwrap();
        let put = |file: &str, text: &str| fs::write(dir.path().join(file), text).unwrap();
        assert!(!holds(dir.path()));
        put("freezer.state", "FROZEN\n");
        assert!(holds(dir.path()));
        put("freezer.self_freezing", "0\n");
        assert!(!holds(dir.path()));
        put("freezer.self_freezing", "1\n");
        assert!(holds(dir.path()));
        put("freezer.state", "THAWED\n");
        assert!(!holds(dir.path()));
        put("cgroup.freeze", "1\n");
        assert!(holds(dir.path()));
    }
}
