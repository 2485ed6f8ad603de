//! A view of this very program that a container cannot write to.
//!
//! A process that enters a container can be made to offer `/proc/PID/exe` of the runtime to code inside, which then
//! overwrites the runtime on the host (CVE-2019-5736). [`protect`] runs the program again from a place where writing is
//! impossible: a detached read-only mount of its file (open_tree(2), mount_setattr(2)), or, where that cannot be had, a
//! sealed copy in memory (memfd_create(2)). The mount costs one exec of a static binary; the copy also its bytes.
//!
//! A container that holds CAP_SYS_ADMIN in the initial user namespace could make the mount writable again. It can also
//! mount the host's disks: this is no defence against such a container and is not meant to be.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags};
use rustix::mount::OpenTreeFlags;

use crate::{mount, process};

/// Commands that put a process of the program into a container, which it is protected for.
pub const ENTERING: [&str; 3] = ["create", "run", "exec"];

pub(crate) const OWN: &CStr = c"/proc/self/exe";

/// Runs this program again, same arguments and environment, from a view that cannot be written; returns when it already
/// runs from one.
///
/// To be called first thing in `main`: file descriptors stay as they are, everything else starts anew. A program that is linked
/// with [`crate::entry`] comes here when that is done.
///
/// # Errors
/// When neither a read-only view nor a sealed copy can be made.
pub fn protect() -> io::Result<()> {
    if is_protected()? {
        return Ok(());
    }
    let program = match read_only_view() {
        Ok(view) => view,
        Err(_) => sealed_copy()?,
    };
    let arguments = std::env::args_os()
        .map(|argument| c_string(argument.into_vec()))
        .collect::<io::Result<Vec<_>>>()?;
    let environment = std::env::vars_os()
        .map(|(name, value)| c_string([name.into_vec(), value.into_vec()].join(&b'=')))
        .collect::<io::Result<Vec<_>>>()?;
    Err(process::execute_file(
        program.as_fd(),
        &arguments,
        &environment,
    ))
}

/// Whether this program runs from a file that nobody can write: a read-only mount or a sealed memfd.
///
/// # Errors
/// When `/proc/self/exe` cannot be opened.
pub fn is_protected() -> io::Result<bool> {
    let flags = rustix::fs::statvfs(OWN)?.f_flag;
    if flags.contains(StatVfsMountFlags::RDONLY) {
        return Ok(true);
    }
    // a file on a disk has none
    Ok(rustix::fs::fcntl_get_seals(own()?).is_ok_and(|seals| seals.contains(SealFlags::WRITE)))
}

/// A clone of the mount the program lies on, cut down to the program's file and made read-only. It is attached nowhere,
/// so no path leads to it and nothing has to be unmounted.
fn read_only_view() -> io::Result<OwnedFd> {
    let tree = rustix::mount::open_tree(
        rustix::fs::CWD,
        OWN,
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
    )?;
    mount::set_attributes(&tree, libc::MOUNT_ATTR_RDONLY, false)?;
    Ok(tree)
}

/// This program's file.
fn own() -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(OWN, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

fn sealed_copy() -> io::Result<OwnedFd> {
    let copy =
        rustix::fs::memfd_create("fragment", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut copy = File::from(copy);
    io::copy(&mut File::from(own()?), &mut copy)?;
    rustix::fs::fcntl_add_seals(
        &copy,
        SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
    )?;
    // execveat(2) refuses a file that is open for writing (ETXTBSY)
    let read_only = File::open(format!(
        "/proc/self/fd/{}",
        std::os::fd::AsRawFd::as_raw_fd(&copy)
    ))?;
    Ok(read_only.into())
}

fn c_string(bytes: Vec<u8>) -> io::Result<CString> {
    CString::new(bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_binary_on_a_writable_disk_is_not_protected() {
        assert!(!is_protected().unwrap());
    }

    #[test]
    fn the_sealed_copy_holds_the_program_and_refuses_writes() {
        let copy = sealed_copy().unwrap();
        let seals = rustix::fs::fcntl_get_seals(&copy).unwrap();
        assert!(seals.contains(SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK));
        let length = rustix::fs::fstat(&copy).unwrap().st_size;
        assert_eq!(
            length.cast_unsigned(),
            std::fs::metadata("/proc/self/exe").unwrap().len()
        );
    }

    #[test]
    fn the_view_is_read_only() {
        match read_only_view() {
            Ok(view) => {
                assert!(
                    rustix::fs::fstatvfs(&view)
                        .unwrap()
                        .f_flag
                        .contains(StatVfsMountFlags::RDONLY)
                );
            }
            Err(error) => println!("skipped: needs CAP_SYS_ADMIN ({error})"),
        }
    }
}
