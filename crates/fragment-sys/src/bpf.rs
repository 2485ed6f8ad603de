//! Device programs of control groups: loading, attaching and finding them, bpf(2).
//!
//! Only what that takes. RLIMIT_MEMLOCK is left alone: since Linux 5.11 the memory of programs is charged to the memory
//! cgroup, and raising the limit would need CAP_SYS_RESOURCE.

use std::ffi::{CStr, c_int, c_uint};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

// enum bpf_cmd, linux/bpf.h
const PROG_LOAD: c_int = 5;
const PROG_ATTACH: c_int = 8;
const PROG_DETACH: c_int = 9;
const PROG_GET_FD_BY_ID: c_int = 13;
const PROG_QUERY: c_int = 16;

// enum bpf_prog_type, enum bpf_attach_type
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;

const ALLOW_MULTI: u32 = 1 << 1;
const REPLACE: u32 = 1 << 2;

/// Programs one cgroup can have (BPF_CGROUP_MAX_PROGS).
const MOST: usize = 64;
const INSTRUCTION: usize = 8;
/// Calls again after EAGAIN, which the verifier returns when a signal is pending.
const ATTEMPTS: u32 = 5;
const LICENCE: &CStr = c"Apache-2.0";

/// The part of union bpf_attr for loading.
#[repr(C)]
#[derive(Default)]
struct Load {
    prog_type: u32,
    instruction_count: u32,
    instructions: u64,
    licence: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

/// For attaching and detaching.
#[repr(C)]
#[derive(Default)]
struct Attach {
    target: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
    replaced: u32,
    padding: u32,
}

/// For asking what is attached.
#[repr(C)]
#[derive(Default)]
struct Query {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
}

/// For finding a program by its number.
#[repr(C)]
#[derive(Default)]
struct ById {
    id: u32,
    next_id: u32,
    open_flags: u32,
    padding: u32,
}

/// A loaded device program.
#[derive(Debug)]
pub struct DeviceProgram(OwnedFd);

impl DeviceProgram {
    /// Loads a program of type BPF_PROG_TYPE_CGROUP_DEVICE; `instructions` are in the kernel's layout, 8 bytes each.
    ///
    /// # Errors
    /// As bpf(2): `EPERM` without CAP_BPF and CAP_NET_ADMIN or CAP_SYS_ADMIN in the initial user namespace, `EINVAL` when
    /// the verifier refuses or the kernel knows no device programs (before 4.15).
    pub fn load(instructions: &[u8]) -> io::Result<Self> {
        let mut attributes = Load {
            prog_type: TYPE_CGROUP_DEVICE,
            instruction_count: u32::try_from(instructions.len() / INSTRUCTION)
                .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
            instructions: instructions.as_ptr() as u64,
            licence: LICENCE.as_ptr() as u64,
            ..Load::default()
        };
        // what bpftool shows
        attributes.name[..8].copy_from_slice(b"fragment");
        let mut attempt = 0;
        loop {
            // SAFETY: the attributes are the head of union bpf_attr for this command; both buffers outlive the call and
            // have the lengths given (the licence is NUL-terminated). bpf(2).
            match unsafe { bpf(PROG_LOAD, &mut attributes) } {
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) && attempt < ATTEMPTS => {
                    attempt += 1;
                }
                // SAFETY: on success the kernel returns a descriptor that nobody else owns.
                other => return other.map(|fd| Self(unsafe { OwnedFd::from_raw_fd(fd) })),
            }
        }
    }

    /// Attaches it to a cgroup (a descriptor of its directory on cgroup v2). Where exactly one program is attached it is
    /// replaced in one step; where there are several, this one is added first and the others are taken away then.
    ///
    /// # Errors
    /// As bpf(2).
    pub fn attach(&self, cgroup: BorrowedFd<'_>) -> io::Result<()> {
        let old = attached(cgroup)?;
        if let [one] = &old[..] {
            match self.attach_with(cgroup, Some(one)) {
                // Linux before 5.6 cannot replace
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
                other => return other,
            }
        }
        self.attach_with(cgroup, None)?;
        for one in &old {
            let mut attributes = Attach {
                target: raw(&cgroup),
                program: raw(&one.0),
                attach_type: ATTACH_CGROUP_DEVICE,
                ..Attach::default()
            };
            // SAFETY: the attributes are the head of union bpf_attr for this command and hold no pointer. bpf(2).
            unsafe { bpf(PROG_DETACH, &mut attributes) }?;
        }
        Ok(())
    }

    fn attach_with(&self, cgroup: BorrowedFd<'_>, replaced: Option<&Self>) -> io::Result<()> {
        let mut attributes = Attach {
            target: raw(&cgroup),
            program: raw(&self.0),
            attach_type: ATTACH_CGROUP_DEVICE,
            flags: ALLOW_MULTI,
            ..Attach::default()
        };
        if let Some(replaced) = replaced {
            attributes.flags |= REPLACE;
            attributes.replaced = raw(&replaced.0);
        }
        // SAFETY: the attributes are the head of union bpf_attr for this command and hold no pointer. bpf(2).
        unsafe { bpf(PROG_ATTACH, &mut attributes) }.map(drop)
    }
}

/// The device programs attached to a cgroup itself; those that may not be opened are left out.
fn attached(cgroup: BorrowedFd<'_>) -> io::Result<Vec<DeviceProgram>> {
    let mut ids = [0_u32; MOST];
    let mut attributes = Query {
        target: raw(&cgroup),
        attach_type: ATTACH_CGROUP_DEVICE,
        ids: ids.as_mut_ptr() as u64,
        count: MOST as u32,
        ..Query::default()
    };
    // SAFETY: the attributes are the head of union bpf_attr for this command; the array has as many places as they say and
    // outlives the call. bpf(2).
    unsafe { bpf(PROG_QUERY, &mut attributes) }?;
    let count = usize::try_from(attributes.count).unwrap_or(MOST).min(MOST);
    let mut programs = Vec::new();
    for id in &ids[..count] {
        let mut attributes = ById {
            id: *id,
            ..ById::default()
        };
        // SAFETY: the attributes are the head of union bpf_attr for this command and hold no pointer. bpf(2).
        match unsafe { bpf(PROG_GET_FD_BY_ID, &mut attributes) } {
            // SAFETY: on success the kernel returns a descriptor that nobody else owns.
            Ok(fd) => programs.push(DeviceProgram(unsafe { OwnedFd::from_raw_fd(fd) })),
            // a security module guards systemd's; programs only ever restrict, so leaving one is safe. ENOENT: it has just
            // been taken away
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EACCES | libc::EPERM | libc::ENOENT)
                ) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(programs)
}

fn raw(fd: &impl AsRawFd) -> u32 {
    // an open descriptor is never negative
    c_uint::try_from(fd.as_raw_fd()).unwrap_or(c_uint::MAX)
}

/// bpf(2).
///
/// # Safety
/// `attributes` must be laid out as the head of union bpf_attr that `command` reads, and what it points to must be valid for
/// the call.
unsafe fn bpf<T>(command: c_int, attributes: &mut T) -> io::Result<c_int> {
    // SAFETY: the caller's promise; the size passed is that of the structure.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attributes),
            size_of::<T>(),
        )
    };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    c_int::try_from(answer).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
}
