//! Waiting for processes with a deadline.

use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// What a call of the runtime may take, in the worst case, on a machine that is busy with other builds.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Waits for `child`; `None` when it is still running after `limit`.
///
/// # Panics
/// When the child cannot be waited for at all.
pub fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let pid = Pid::from_child(child);
    // the child is not reaped yet, so the pid is still its own (pidfd_open(2))
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).expect("a pidfd of our own child");
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).expect("a limit in seconds"),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return None,
            Ok(_) => return Some(child.wait().expect("wait for our own child")),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("poll of a pidfd: {error}"),
        }
    }
}

/// Waits for `child` and kills it when it takes longer than `limit`.
///
/// # Panics
/// When the child took longer.
pub fn wait_or_kill(child: &mut Child, limit: Duration, what: &str) -> ExitStatus {
    wait(child, limit).unwrap_or_else(|| {
        let _ = child.kill();
        let _ = child.wait();
        panic!("still running after {limit:?}, killed: {what}");
    })
}

/// Sends a signal to a process of this test.
///
/// # Panics
/// When `pid` is not a process id.
pub fn signal(pid: u32, signal: Signal) -> rustix::io::Result<()> {
    kill_process(process_id(pid), signal)
}

/// Whether the process exists and is not a zombie.
#[must_use]
pub fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        // the state follows the command, which is in parentheses and may hold any character (proc_pid_stat(5))
        !stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .trim_start()
            .starts_with(['Z', 'X'])
    })
}

fn process_id(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).expect("a process id")).expect("a process id above 0")
}

/// Asks `condition` every few milliseconds until it holds.
///
/// # Panics
/// When it does not hold within [`LIMIT`].
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
