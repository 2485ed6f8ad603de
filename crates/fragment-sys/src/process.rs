//! What a runtime does to a process around exec that the standard library has no safe call for.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

/// Replaces the program of this process (execve(2)); returns only on failure.
pub fn execve(program: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    let argv = pointers(arguments);
    let envp = pointers(environment);
    // SAFETY: both arrays hold pointers to NUL-terminated strings that outlive the call and end with a null pointer.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    io::Error::last_os_error()
}

/// Replaces the program of this process by the file `program` refers to (execveat(2), AT_EMPTY_PATH); returns only on
/// failure.
pub fn execute_file(
    program: BorrowedFd<'_>,
    arguments: &[CString],
    environment: &[CString],
) -> io::Error {
    let argv = pointers(arguments);
    let envp = pointers(environment);
    // SAFETY: as in `execve`; the path is the empty string that AT_EMPTY_PATH asks for.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([ptr::null()])
        .collect()
}

/// Ends this process at once: no destructor, no exit handler, no flush (_exit(2)). For a process made by clone(2) out of
/// a larger one, whose handlers belong to the parent.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit(2) has no precondition.
    unsafe { libc::_exit(code) }
}

/// Joins the session keyring `name`, made if it does not exist (keyctl(2), KEYCTL_JOIN_SESSION_KEYRING), so that the keys
/// of whoever started the runtime stay out of the container's reach.
///
/// # Errors
/// As keyctl(2); `ENOSYS` on a kernel without keyrings.
pub fn join_session_keyring(name: &CStr) -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: the name is a NUL-terminated string that outlives the call.
    let serial =
        unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) };
    if serial < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Removes a variable from this process's environment.
///
/// To be called while the process has one thread, as at the start of `main`: getenv(3) in another thread would race.
pub fn remove_variable(name: &str) {
    // SAFETY: documented above; the callers are the first statements of single-threaded programs.
    unsafe { std::env::remove_var(name) };
}

/// Makes the descriptor of a file that the caller of this process left open under `number` ours; `None` when there is none.
///
/// Each number may be taken once, and only for descriptors that came through exec, not for those this program opened.
#[must_use]
pub fn inherited(number: i32) -> Option<OwnedFd> {
    // SAFETY: F_GETFD takes no pointer; it fails on a descriptor that is not open.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return None;
    }
    // SAFETY: it is open, and the caller promises that nothing else in this program owns it.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Closes every descriptor but standard input, output and error and those in `kept` (close_range(2), Linux 5.9). For a process
/// just made as a copy, whose owners of the others never run: they are in frames that it does not return to.
///
/// # Errors
/// As close_range(2).
pub fn close_all_but(kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut numbers: Vec<libc::c_uint> = kept
        .iter()
        .map(|descriptor| descriptor.as_raw_fd().cast_unsigned())
        .filter(|number| *number > 2)
        .collect();
    numbers.sort_unstable();
    let mut first = 3;
    for end in numbers.into_iter().chain([libc::c_uint::MAX]) {
        if first < end {
            // SAFETY: close_range(2) takes no pointer; nobody in this process uses the descriptors any more, as asked above.
            let result = unsafe { libc::syscall(libc::SYS_close_range, first, end - 1, 0) };
            if result != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        first = end.saturating_add(1);
    }
    Ok(())
}

/// Has every descriptor from `first` on closed at exec; none is closed before (close_range(2), CLOSE_RANGE_CLOEXEC).
///
/// # Errors
/// As close_range(2); on kernels before 5.11 as open(2) of `/proc/self/fd`.
pub fn close_at_exec(first: u32) -> io::Result<()> {
    // SAFETY: with CLOSE_RANGE_CLOEXEC nothing is closed, and no pointer is passed.
    let failed = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if failed == 0 {
        return Ok(());
    }
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.parse::<i32>().ok());
        let Some(number) = number.filter(|number| number.cast_unsigned() >= first) else {
            continue;
        };
        // SAFETY: F_SETFD takes no pointer and fails on a descriptor that has been closed meanwhile.
        unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}

/// Sets this process's execution domain (personality(2)).
///
/// # Errors
/// As personality(2).
pub fn set_personality(persona: u32) -> io::Result<()> {
    // SAFETY: personality(2) takes no pointer.
    if unsafe { libc::personality(libc::c_ulong::from(persona)) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Whether `number` is an open descriptor of this process.
#[must_use]
pub fn is_open(number: i32) -> bool {
    // SAFETY: F_GETFD takes no pointer.
    unsafe { libc::fcntl(number, libc::F_GETFD) >= 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_there_is_the_errno_of_execve() {
        let error = execve(c"/nonexistent/program", &[], &[]);
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
    }

    #[test]
    fn standard_output_is_open_and_a_high_number_is_not() {
        assert!(is_open(1));
        assert!(!is_open(900_000));
        assert!(inherited(900_000).is_none());
    }
}
