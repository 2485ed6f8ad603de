//! Processes made out of this one.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::process::exit_now;

/// Whose child a new process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// This process's.
    This,
    /// This process's parent's: a helper makes a process its own maker can wait for (clone(2), CLONE_PARENT).
    Ours,
}

/// A process just made.
#[derive(Debug)]
pub struct Forked {
    /// Its number in this process's PID namespace.
    pub pid: i32,
    /// A descriptor of it, closed at exec.
    pub pidfd: OwnedFd,
}

/// The exit code of a process whose closure panicked, as of a Rust program.
const PANICKED: i32 = 101;

/// clone3(2)'s arguments, their third version (Linux 5.7).
#[repr(C)]
#[derive(Default)]
struct Arguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

impl Arguments {
    /// The number of the new process; 0 in it.
    ///
    /// # Safety
    /// What the flags have the kernel write to has to be there until this returns, and there is to be no CLONE_VM.
    unsafe fn clone(&self) -> io::Result<i32> {
        // SAFETY: the structure is a valid clone_args of the size given; no stack and no CLONE_VM, so the child goes on on a copy of
        // this one's, as after fork(2).
        let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const *self, size_of::<Self>()) };
        match i32::try_from(pid) {
            Ok(pid) if pid >= 0 => Ok(pid),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Makes a process that does `work` and ends with the code it returns, or becomes another program meanwhile. It has a copy of
/// this one's memory and descriptors, runs no exit handler and flushes no buffer.
///
/// # Errors
/// `EDEADLK` when this process has several threads: what another one has locked stays locked in the copy for ever. A process that
/// makes a sibling is one of these copies and has one thread; it may have left the /proc behind that would say so. Otherwise as
/// clone3(2), which is Linux 5.3.
pub fn fork(parent: Parent, work: impl FnOnce() -> i32) -> io::Result<Forked> {
    if parent == Parent::This && std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::from_raw_os_error(libc::EDEADLK));
    }
    let mut pidfd: libc::c_int = -1;
    let (flags, exit_signal) = match parent {
        Parent::This => (0, libc::SIGCHLD),
        // with CLONE_PARENT the signal is the maker's own, and has to be left out (clone3(2), EINVAL)
        Parent::Ours => (libc::CLONE_PARENT, 0),
    };
    let arguments = Arguments {
        flags: u64::from((flags | libc::CLONE_PIDFD).cast_unsigned()),
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: u64::from(exit_signal.cast_unsigned()),
        ..Arguments::default()
    };
    // SAFETY: the kernel writes an int to `pidfd`, which lives until the call returns (clone3(2)).
    match unsafe { arguments.clone() }? {
        0 => exit_now(catch_unwind(AssertUnwindSafe(work)).unwrap_or(PANICKED)),
        pid => Ok(Forked {
            pid,
            // SAFETY: CLONE_PIDFD has just opened this descriptor, nobody else owns it.
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        }),
    }
}

/// Goes on as a new process, which is made in the cgroup v2 whose directory is open, and has this one's parent; this one is told its
/// number, does its `errand` meanwhile and ends with code 0. To make a process in a cgroup takes no lock against all forks on the
/// machine, as to move one there does.
///
/// To be called by a process that [`fork`] or something like it made, with one thread, and about which nobody knows more than that
/// it was made.
///
/// # Errors
/// As clone3(2): CLONE_INTO_CGROUP is Linux 5.7. This process goes on itself then.
pub fn move_into(cgroup: BorrowedFd<'_>, errand: &dyn Fn(i32)) -> io::Result<()> {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000; // linux/sched.h
    let arguments = Arguments {
        flags: u64::from(libc::CLONE_PARENT.cast_unsigned()) | CLONE_INTO_CGROUP,
        cgroup: u64::try_from(cgroup.as_raw_fd()).unwrap_or_default(),
        ..Arguments::default()
    };
    // SAFETY: the kernel writes nothing
    match unsafe { arguments.clone() }? {
        0 => Ok(()),
        pid => {
            let _ = catch_unwind(AssertUnwindSafe(|| errand(pid)));
            exit_now(0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_is_not_copied() {
        // the test harness runs each test in a thread of its own
        let error = fork(Parent::This, || 0).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EDEADLK));
    }
}
