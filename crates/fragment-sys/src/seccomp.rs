//! Putting a system call filter in force.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// One instruction of a classic BPF program (linux/filter.h, `struct sock_filter`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// How many instructions to skip when a comparison holds.
    pub yes: u8,
    /// How many instructions to skip when it does not.
    pub no: u8,
    /// Operand.
    pub operand: u32,
}

/// How a filter is to be treated (seccomp(2)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Treatment {
    /// Log what is not allowed.
    pub log: bool,
    /// Leave the mitigation of speculative store bypass off.
    pub speculation: bool,
    /// Make a descriptor through which calls are notified.
    pub listener: bool,
    /// A call that was notified can be interrupted by a fatal signal only.
    pub wait_killable: bool,
}

/// Filters the calls of this thread from now on (seccomp(2), SECCOMP_SET_MODE_FILTER). With a listener it is returned, close on
/// exec.
///
/// # Errors
/// As seccomp(2); `E2BIG` for a program of more than 65,535 instructions.
pub fn filter(program: &[Instruction], treatment: Treatment) -> io::Result<Option<OwnedFd>> {
    let mut instructions: Vec<libc::sock_filter> = program
        .iter()
        .map(|instruction| libc::sock_filter {
            code: instruction.code,
            jt: instruction.yes,
            jf: instruction.no,
            k: instruction.operand,
        })
        .collect();
    let program = libc::sock_fprog {
        len: u16::try_from(instructions.len())
            .map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?,
        filter: instructions.as_mut_ptr(),
    };
    let flags = [
        (treatment.log, libc::SECCOMP_FILTER_FLAG_LOG),
        (treatment.speculation, libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW),
        (treatment.listener, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER),
        (
            treatment.wait_killable,
            libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
        ),
    ]
    .into_iter()
    .filter(|(on, _)| *on)
    .fold(0, |flags, (_, flag)| flags | flag);
    // SAFETY: `program` points to `len` instructions that outlive the call; the kernel copies and checks them (seccomp(2)).
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    if !treatment.listener {
        return Ok(None);
    }
    let number = i32::try_from(result).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    // SAFETY: with NEW_LISTENER the call returns a new descriptor that nobody else owns (seccomp(2)).
    Ok(Some(unsafe { OwnedFd::from_raw_fd(number) }))
}
