//! The listener's side of a system call filter (seccomp_unotify(2)).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `_IOWR('!', 0, struct seccomp_notif)`, `_IOWR('!', 1, struct seccomp_notif_resp)` and `_IOW('!', 2, __u64)` of
/// linux/seccomp.h.
const RECEIVE: libc::c_ulong = 0xc050_2100;
const SEND: libc::c_ulong = 0xc018_2101;
const IS_VALID: libc::c_ulong = 0x4008_2102;

/// SECCOMP_USER_NOTIF_FLAG_CONTINUE.
const CONTINUE: u32 = 1;

/// A system call that waits for an answer (`struct seccomp_notif`).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Notification {
    /// What it is answered by.
    pub id: u64,
    /// The calling thread, in the PID namespace of this process; 0 when it is outside.
    pub thread: u32,
    flags: u32,
    /// Number of the call.
    pub call: i32,
    /// Architecture of the call (AUDIT_ARCH_…).
    pub architecture: u32,
    instruction: u64,
    /// Its arguments.
    pub arguments: [u64; 6],
}

#[repr(C)]
struct Answer {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// Waits for the next call.
///
/// # Errors
/// As ioctl(2); `ENOENT` when the caller was interrupted meanwhile.
pub fn receive(listener: BorrowedFd<'_>) -> io::Result<Notification> {
    let mut notification = Notification::default();
    // SAFETY: the structure is zeroed, as the kernel asks, has the layout of seccomp_notif and outlives the call
    // (seccomp_unotify(2)).
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), RECEIVE as _, &raw mut notification) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(notification)
}

/// Lets the call `id` happen as if nobody had been asked.
///
/// # Errors
/// As ioctl(2); `ENOENT` when nobody waits for that answer any more, `EINPROGRESS` when the call was not received yet.
pub fn proceed(listener: BorrowedFd<'_>, id: u64) -> io::Result<()> {
    let answer = Answer {
        id,
        value: 0,
        error: 0,
        flags: CONTINUE,
    };
    // SAFETY: the structure has the layout of seccomp_notif_resp and outlives the call (seccomp_unotify(2)).
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), SEND as _, &raw const answer) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Whether the caller of `id` still waits: what was read of its memory is then its own, not that of a process that got its number
/// since.
#[must_use]
pub fn is_waiting(listener: BorrowedFd<'_>, id: u64) -> bool {
    // SAFETY: the kernel reads one u64, which outlives the call (seccomp_unotify(2)).
    unsafe { libc::ioctl(listener.as_raw_fd(), IS_VALID as _, &raw const id) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn structures_have_the_sizes_the_requests_name() {
        for (request, size) in [
            (RECEIVE, size_of::<Notification>()),
            (SEND, size_of::<Answer>()),
            (IS_VALID, size_of::<u64>()),
        ] {
            assert_eq!(request >> 16 & 0x3fff, size as libc::c_ulong);
        }
    }

    #[test]
    fn what_is_no_listener_is_an_error() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(receive(file.as_fd()).is_err());
        assert!(proceed(file.as_fd(), 1).is_err());
        assert!(!is_waiting(file.as_fd(), 1));
    }
}
