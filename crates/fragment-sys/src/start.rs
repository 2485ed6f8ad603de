//! The start of a program whose every call is short.
//!
//! Rust's runtime reads /proc/self/maps to find the end of the stack and makes a stack for signals, all to tell a stack overflow from another
//! segmentation fault: 15 system calls and the C library's scanf, a twentieth of `state`. A program with [`main!`](crate::main) does without,
//! and gets all else that the runtime does: descriptors 0 to 2 are open, SIGPIPE is an error of write(2), and what was printed is written out
//! at the end. Its arguments are [`std::env::args_os`], as always; its memory is an [`Arena`](crate::memory::Arena).

use std::ffi::c_int;
use std::io::{self, Write as _};

use crate::memory;
use crate::process::is_open;

/// What a program tells who called it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitCode(u8);

impl ExitCode {
    /// That all went well.
    pub const SUCCESS: Self = Self(0);
}

impl From<u8> for ExitCode {
    fn from(code: u8) -> Self {
        Self(code)
    }
}

/// Makes `fn() -> ExitCode` the program. The crate has to be `#![no_main]` and to name no allocator.
#[macro_export]
macro_rules! main {
    ($program:path) => {
        #[global_allocator]
        static MEMORY: $crate::memory::Arena = $crate::memory::Arena;

        /// Called by the C library.
        #[unsafe(no_mangle)]
        pub extern "C" fn main(
            _: ::std::ffi::c_int,
            _: *const *const ::std::ffi::c_char,
        ) -> ::std::ffi::c_int {
            $crate::start::run($program)
        }
    };
}

/// Runs a program: its code for the C library.
#[doc(hidden)]
#[must_use]
pub fn run(program: fn() -> ExitCode) -> c_int {
    memory::begin();
    open_standard_streams();
    // SAFETY: ignoring a signal installs no code
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    let ExitCode(code) = program();
    // exit(3) knows nothing of what is still to be written
    let _ = io::stdout().flush();
    c_int::from(code)
}

/// A file that is opened while one of them is closed would have its number, and be read or written as the standard stream.
fn open_standard_streams() {
    while let Some(closed) = (0..=2).find(|number| !is_open(*number)) {
        // SAFETY: the path ends with a zero byte. The lowest free number is the one that is looked for.
        let opened = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
        if opened != closed {
            std::process::abort();
        }
    }
}
