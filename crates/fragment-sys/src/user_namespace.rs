//! User namespaces (user_namespaces(7)).

use std::fs::File;
use std::io;

/// A process that does nothing but be the only member of a new user namespace; killed when this is dropped. The namespace lives
/// on as long as somebody has it open or is in it.
#[derive(Debug)]
pub struct Keeper {
    pid: libc::pid_t,
}

impl Keeper {
    /// Makes a user namespace without mappings, and a process in it.
    ///
    /// # Errors
    /// As clone(2): `ENOSPC` when there are too many, `EPERM` where unprivileged users may not make any.
    pub fn new() -> io::Result<Self> {
        // no signal at its end: whoever waits for children must not take it for one
        let flags = libc::c_long::from(libc::CLONE_NEWUSER);
        let maker = std::process::id();
        // SAFETY: without CLONE_VM and without a stack the child goes on on a copy of this one's memory, as after fork(2); all
        // pointers are unused by these flags (clone(2)).
        let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
        match libc::pid_t::try_from(pid) {
            Ok(0) => keep(maker),
            Ok(pid) if pid > 0 => Ok(Self { pid }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The namespace.
    ///
    /// # Errors
    /// When /proc is not there.
    pub fn namespace(&self) -> io::Result<File> {
        File::open(format!("/proc/{}/ns/user", self.pid))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // SAFETY: the process is our child and not reaped, so the number is still its own; waitpid(2) takes a null status.
        // __WALL: a child without a signal at its end is waited for only so.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            while libc::waitpid(self.pid, std::ptr::null_mut(), libc::__WALL) < 0
                && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
            {}
        }
    }
}

/// Puts this process into a user namespace of its own, in which it is root and nobody else is anybody, and into a mount
/// namespace of that one.
///
/// # Errors
/// As unshare(2): `EINVAL` when the process has several threads, and as [`Keeper::new`].
pub fn enter() -> io::Result<()> {
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    // SAFETY: the flags separate identities and mounts from other processes; no memory and no descriptor is affected.
    if unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // without it, a user may not map groups (user_namespaces(7))
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("0 {} 1", user.as_raw()))?;
    std::fs::write("/proc/self/gid_map", format!("0 {} 1", group.as_raw()))
}

/// The child's whole life. Only system calls: in a copy of a program with several threads everything else may be locked.
fn keep(maker: u32) -> ! {
    // SAFETY: prctl(2) PR_SET_PDEATHSIG takes a signal number; getppid(2), pause(2) and _exit(2) take no pointer.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        // the maker died before that call: nobody would ever kill this process
        if libc::getppid().cast_unsigned() != maker {
            libc::_exit(0);
        }
        loop {
            libc::pause();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn the_namespace_is_another_and_outlives_its_keeper() {
        let keeper = match Keeper::new() {
            Ok(keeper) => keeper,
            Err(error) => return println!("skipped: no user namespaces here ({error})"),
        };
        let namespace = keeper.namespace().unwrap();
        let pid = keeper.pid();
        drop(keeper);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
        let own = File::open("/proc/self/ns/user").unwrap();
        assert_ne!(
            own.metadata().unwrap().ino(),
            namespace.metadata().unwrap().ino()
        );
    }
}
