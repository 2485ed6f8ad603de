//! System calls without the C library, which keeps their errors in memory that a process made by CLONE_VM has in common with its maker,
//! and which is not there yet in a program's first instructions.

use std::arch::asm;
use std::ffi::c_long;

/// A system call: the kernel's answer, an errno below zero.
///
/// # Safety
/// As for the call.
#[inline]
pub(crate) unsafe fn call(number: c_long, arguments: [c_long; 5]) -> c_long {
    let [a, b, c, d, e] = arguments;
    let answer;
    // SAFETY: the kernel changes rax, rcx and r11 and what the caller has pointed it to (syscall(2))
    unsafe {
        asm!(
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
