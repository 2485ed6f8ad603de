//! Signals as a file descriptor, and the clean signal state a program expects at exec.

use std::fs::File;
use std::io::{self, Read};
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

/// Every signal that is not the report of a fault of this very process, blocked and readable as a file.
///
/// Blocked signals stay pending, so what arrives between [`SignalFile::block`] and the first read is not lost: that is
/// what makes "block, then start the child, then wait" free of races.
#[derive(Debug)]
pub struct SignalFile {
    file: File,
    before: SignalMask,
}

/// A saved signal mask.
#[derive(Clone, Copy)]
pub struct SignalMask(libc::sigset_t);

impl std::fmt::Debug for SignalMask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SignalMask")
    }
}

/// Signals that the kernel raises for an instruction: blocking them would only hide a bug of ours (signal(7)).
const FAULTS: [libc::c_int; 6] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGSYS,
    libc::SIGTRAP,
];

impl SignalFile {
    /// Blocks the signals of this thread and opens them for reading. Children inherit the blocked mask: see
    /// [`restore_for_exec`].
    ///
    /// # Errors
    /// As sigprocmask(2) and signalfd(2).
    pub fn block() -> io::Result<Self> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        let mut before = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigfillset(3) initialises `set`, sigdelset(3) changes it, pthread_sigmask(3) initialises `before`;
        // all three pointers are valid for the calls.
        let (descriptor, before) = unsafe {
            libc::sigfillset(set.as_mut_ptr());
            for fault in FAULTS {
                libc::sigdelset(set.as_mut_ptr(), fault);
            }
            let failed = libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), before.as_mut_ptr());
            if failed != 0 {
                return Err(io::Error::from_raw_os_error(failed));
            }
            (
                libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK),
                before.assume_init(),
            )
        };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: signalfd(2) has just returned this descriptor, nobody else owns it.
        let file = File::from(unsafe { OwnedFd::from_raw_fd(descriptor) });
        Ok(Self {
            file,
            before: SignalMask(before),
        })
    }

    /// The number of the next pending signal, `None` when there is none.
    ///
    /// # Errors
    /// As read(2).
    pub fn read_next(&mut self) -> io::Result<Option<i32>> {
        let mut record = [0_u8; size_of::<libc::signalfd_siginfo>()];
        match self.file.read(&mut record) {
            // ssi_signo is the first field (signalfd(2))
            Ok(read) if read == record.len() => Ok(Some(i32::from_ne_bytes([
                record[0], record[1], record[2], record[3],
            ]))),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for SignalFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for SignalFile {
    fn drop(&mut self) {
        // SAFETY: the mask was initialised by the kernel in `block`.
        unsafe {
            libc::pthread_sigmask(
                libc::SIG_SETMASK,
                &raw const self.before.0,
                std::ptr::null_mut(),
            )
        };
    }
}

/// Gives the program about to be executed what it expects: no signal blocked and every one at its default. Ignored signals
/// stay ignored across execve(2), and the Rust runtime ignores SIGPIPE; a caller's nohup(1), an ignored SIGHUP or SIGINT, is
/// left as it is.
///
/// # Errors
/// As sigprocmask(2).
pub fn restore_for_exec() -> io::Result<()> {
    for number in
        (1..=libc::SIGRTMAX()).filter(|number| ![libc::SIGHUP, libc::SIGINT].contains(number))
    {
        set_default(number);
    }
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset(3) initialises `set` before it is used.
    let failed = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, set.as_ptr(), std::ptr::null_mut())
    };
    if failed == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(failed))
    }
}

/// Lets ended children wait to be reaped: with SIGCHLD ignored, which a caller can hand down, the kernel throws their exit
/// codes away (sigaction(2)).
pub fn keep_children() {
    set_default(libc::SIGCHLD);
}

fn set_default(number: libc::c_int) {
    /// The kernel's own structure (rt_sigaction(2)): the C library's call refuses the two signals it keeps for itself, and
    /// those can have been ignored by a caller too.
    #[repr(C)]
    struct Action {
        handler: libc::sighandler_t,
        flags: libc::c_ulong,
        restorer: usize,
        mask: u64,
    }
    let action = Action {
        handler: libc::SIG_DFL,
        flags: 0,
        restorer: 0,
        mask: 0,
    };
    // SAFETY: SIG_DFL installs no handler; the structure has the layout and the mask the size the kernel expects. Signals
    // that cannot be changed (SIGKILL, SIGSTOP) are errors without effect.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            number,
            &raw const action,
            std::ptr::null_mut::<Action>(),
            size_of::<u64>(),
        )
    };
}

/// Sends `signal`, which may be a real-time one, to the process a pidfd refers to (pidfd_send_signal(2)): no pid is looked
/// up, so no stranger that was given the number since can be hit.
///
/// # Errors
/// `ESRCH` when the process is gone.
pub fn send_to(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: no pointer but a null siginfo is passed, which pidfd_send_signal(2) allows.
    let failed = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0_u32,
        )
    };
    if failed == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The number of the last real-time signal the C library leaves to programs (64 on Linux).
#[must_use]
pub fn last_real_time() -> i32 {
    libc::SIGRTMAX()
}

/// The number of the first real-time signal the C library leaves to programs (34 with glibc).
#[must_use]
pub fn first_real_time() -> i32 {
    libc::SIGRTMIN()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_signal_is_read_from_the_file() {
        let mut signals = SignalFile::block().unwrap();
        assert_eq!(signals.read_next().unwrap(), None);
        // SAFETY: raise(3) takes no pointer; the signal is blocked in this thread and raise targets this thread.
        unsafe { libc::raise(libc::SIGUSR1) };
        assert_eq!(signals.read_next().unwrap(), Some(libc::SIGUSR1));
        assert_eq!(signals.read_next().unwrap(), None);
    }

    #[test]
    fn real_time_signals_lie_above_the_classic_ones() {
        assert!(first_real_time() > libc::SIGSYS);
        assert!(last_real_time() > first_real_time());
    }
}
