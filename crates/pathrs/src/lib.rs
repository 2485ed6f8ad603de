//! Paths inside a rootfs and inside /proc that cannot be led astray, as far as libcontainer asks for them.
//!
//! The workspace puts this crate in the place of libpathrs (`[patch.crates-io]`). That one also serves kernels without
//! openat2(2), which this runtime does not run on, and looks anew, for every directory of every mount, whether /proc is the
//! kernel's: 1,100 of the 2,400 system calls of a start were its. Here a directory that exists takes one call and one that does
//! not takes two for each component that is missing. What it protects from is the same: no symbolic link, no `..` and no magic
//! link leads out of the rootfs ([`Root`]), and nothing that somebody mounted over a file of /proc is taken for it
//! ([`procfs::ProcfsHandle`]).
//!
//! Only the items that libcontainer 0.7.0 names are here.

pub mod error;
pub mod flags;
pub mod procfs;
mod root;

pub use root::{Handle, Root};

use std::ffi::OsStr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

/// How often a look-up that raced with a rename is tried again (openat2(2), EAGAIN).
const RETRIES: usize = 16;

/// openat2(2) below `directory`.
fn open(
    directory: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    mode: Mode,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let path = match path.as_os_str() {
        empty if empty.is_empty() => OsStr::new("."),
        path => path,
    };
    let mut tries = 0;
    loop {
        match openat2(directory, path, flags | OFlags::CLOEXEC, mode, resolve) {
            Err(Errno::AGAIN) if tries < RETRIES => tries += 1,
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}
