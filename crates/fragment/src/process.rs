//! Processes told apart from later ones of the same number.

use std::fs;

use fragment_store::HolderProcess;

/// This process.
pub(crate) fn this() -> Option<HolderProcess> {
    let pid = std::process::id();
    let start_time = start_time(pid)?;
    Some(HolderProcess { pid, start_time })
}

/// A name that tells whose something is: this process, by number and start time, so that a reused number is told apart.
pub(crate) fn name(of: &str) -> String {
    let (pid, start_time) =
        this().map_or((std::process::id(), 0), |this| (this.pid, this.start_time));
    format!("{of}-{pid}-{start_time}")
}

/// Whether the process still exists.
pub(crate) fn is_alive(process: HolderProcess) -> bool {
    start_time(process.pid) == Some(process.start_time)
}

/// Start time in clock ticks since boot: field 22 of proc_pid_stat(5), counted from behind the name, which may hold
/// anything.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_process_of_the_same_number_is_another() {
        let this = this().unwrap();
        assert!(is_alive(this));
        let start_time = this.start_time + 1;
        assert!(!is_alive(HolderProcess { start_time, ..this }));
    }
}
