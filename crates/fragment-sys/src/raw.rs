//! System calls without the C library, which keeps their errors in memory that a process made by CLONE_VM has in common with its maker,
//! and which is not there yet in a program's first instructions.

use std::ffi::c_long;

/// A system call: the kernel's answer, an errno below zero.
///
/// # Safety
/// As for the call.
#[inline]
#[cfg(target_arch = "x86_64")]
pub(crate) unsafe fn call(number: c_long, arguments: [c_long; 5]) -> c_long {
    let [a, b, c, d, e] = arguments;
    let answer;
    // SAFETY: the kernel changes rax, rcx and r11 and what the caller has pointed it to (syscall(2))
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number => answer,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            in("r8") e,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    answer
}

/// The same by the C library: for whom its errno does no harm.
///
/// # Safety
/// As for the call.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) unsafe fn call(number: c_long, arguments: [c_long; 5]) -> c_long {
    let [a, b, c, d, e] = arguments;
    // SAFETY: as promised
    match unsafe { libc::syscall(number, a, b, c, d, e) } {
        -1 => -c_long::from(
            std::io::Error::last_os_error()
                .raw_os_error()
                .unwrap_or(libc::EINVAL),
        ),
        answer => answer,
    }
}
