//! Processes told apart from later ones of the same number.

use std::fs;

use fragment_store::HolderProcess;
use fragment_sys::file;

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

/// Whether the process still exists. One that has ended and that nobody has waited for does not.
pub(crate) fn is_alive(process: HolderProcess) -> bool {
    let Some(status) = status(process.pid) else {
        return false;
    };
    status.start_time == process.start_time && !(status.is_zombie && threads(process.pid) < 2)
}

/// How many threads it has: a zombie may be the first of several.
fn threads(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}

fn start_time(pid: u32) -> Option<u64> {
    status(pid).map(|status| status.start_time)
}

struct Status {
    is_zombie: bool,
    /// In clock ticks since boot.
    start_time: u64,
}

/// Fields 3 and 22 of proc_pid_stat(5), counted from behind the name, which may hold anything.
fn status(pid: u32) -> Option<Status> {
    let stat = file::read_text(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    Some(Status {
        is_zombie: matches!(fields.next()?, "Z" | "X"),
        start_time: fields.nth(18)?.parse().ok()?,
    })
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

    #[test]
    fn one_that_has_ended_is_gone_though_nobody_has_waited_for_it() {
        let mut child = std::process::Command::new("sleep")
            .arg("100")
            .spawn()
            .unwrap();
        let process = HolderProcess {
            pid: child.id(),
            start_time: start_time(child.id()).unwrap(),
        };
        assert!(is_alive(process));
        child.kill().unwrap();
        let ended = || status(process.pid).is_some_and(|status| status.is_zombie);
        while !ended() {
            std::thread::yield_now();
        }
        assert!(!is_alive(process));
        child.wait().unwrap();
    }
}
