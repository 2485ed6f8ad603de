//! Network namespaces, which take the kernel longer to make than all other parts of a container.

use std::ffi::c_long;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, OwnedFd};

use crate::raw::call;

/// A network namespace that a helper makes, its loopback interface included, while this process does something else.
///
/// The helper has the memory and the descriptors of this process in common with it (clone(2), CLONE_VM and CLONE_FILES), so that it
/// costs next to nothing to make one; it calls nothing but the kernel. It is no thread, and this process has none afterwards. Nobody is
/// signalled when it ends, and no wait(2) but one with `__WALL` sees it.
#[derive(Debug)]
pub struct Ahead {
    helper: helper::Helper,
    namespace: OwnedFd,
}

impl Ahead {
    /// Has a helper begin.
    ///
    /// # Errors
    /// As clone(2) and open(2); `ENOSYS` where this is not done.
    pub fn begin() -> io::Result<Self> {
        // takes the number that the namespace will have; what it is must not be a namespace, should the helper fail
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
        let namespace = rustix::fs::open("/", flags, rustix::fs::Mode::empty())?;
        let helper = helper::Helper::begin(namespace.as_raw_fd())?;
        Ok(Self { helper, namespace })
    }

    /// The number of the descriptor that will be one of the namespace.
    #[must_use]
    pub fn number(&self) -> i32 {
        self.namespace.as_raw_fd()
    }

    /// Waits for the helper: the namespace.
    ///
    /// # Errors
    /// As unshare(2), open(2) and netdevice(7): there is no namespace then, and none is left.
    pub fn finish(mut self) -> io::Result<OwnedFd> {
        self.helper.finish()?;
        Ok(self.namespace)
    }
}

/// Makes the loopback interface of the current network namespace usable: a new namespace has it down (namespaces(7)).
///
/// # Errors
/// As netdevice(7)'s SIOCSIFFLAGS; `ENODEV` where there is no such interface.
pub fn raise_loopback() -> io::Result<()> {
    // SAFETY: none is asked for
    match i32::try_from(-unsafe { loopback() }) {
        Ok(errno) if errno > 0 => Err(io::Error::from_raw_os_error(errno)),
        _ => Ok(()),
    }
}

/// The same: 0, or an errno below zero. Calls nothing but the kernel.
///
/// # Safety
/// None beyond those of system calls.
unsafe fn loopback() -> c_long {
    // SAFETY: ifreq is plain data for which all zeroes is a value; the name ends with a zero byte, and the kernel fills ifru_flags in
    unsafe {
        let kind = c_long::from(libc::SOCK_DGRAM | libc::SOCK_CLOEXEC);
        let socket = call(libc::SYS_socket, [libc::AF_INET.into(), kind, 0, 0, 0]);
        if socket < 0 {
            return socket;
        }
        let mut request: libc::ifreq = MaybeUninit::zeroed().assume_init();
        request.ifr_name[0] = b'l'.cast_signed();
        request.ifr_name[1] = b'o'.cast_signed();
        let request = &raw mut request;
        let at = request as c_long;
        let get = libc::SIOCGIFFLAGS.cast_signed();
        let mut answer = call(libc::SYS_ioctl, [socket, get, at, 0, 0]);
        if answer >= 0 {
            (*request).ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
            let set = libc::SIOCSIFFLAGS.cast_signed();
            answer = call(libc::SYS_ioctl, [socket, set, at, 0, 0]);
        }
        call(libc::SYS_close, [socket, 0, 0, 0, 0]);
        answer.min(0)
    }
}

#[cfg(target_arch = "x86_64")]
mod helper {
    use std::ffi::{c_int, c_long, c_void};
    use std::io;
    use std::mem::MaybeUninit;
    use std::ptr;
    use std::sync::atomic::{AtomicI64, Ordering};

    use rustix::process::Pid;
    use rustix::thread::{sched_getaffinity, sched_getcpu, sched_setaffinity};

    use super::loopback;
    use crate::raw::call;

    /// Bytes of the helper's stack; it needs a few hundred.
    const STACK: usize = 16 << 10;

    /// What the helper is told and tells.
    #[derive(Debug)]
    struct Work {
        /// The descriptor that becomes the namespace's.
        number: c_int,
        /// The kernel's answer: 0, or an errno below zero.
        answer: AtomicI64,
    }

    #[derive(Debug)]
    pub(super) struct Helper {
        /// 0 when it was waited for.
        pub(super) pid: c_int,
        work: Box<Work>,
        /// In use until the helper has ended.
        _stack: Vec<MaybeUninit<u128>>,
    }

    impl Helper {
        pub(super) fn begin(number: c_int) -> io::Result<Self> {
            let words = STACK / size_of::<u128>();
            let mut stack: Vec<MaybeUninit<u128>> = Vec::with_capacity(words);
            let mut work = Box::new(Work {
                number,
                answer: AtomicI64::new(i64::from(-libc::EINTR)),
            });
            // SAFETY: the stack's end, aligned as the ABI wants it, and memory that both live in `Self` and so until the helper has
            // ended (`Drop`). The helper calls the kernel alone, so that nothing of the C library's that it has in common with
            // this process (errno, the allocator) is touched; no signal at its end, so nobody takes it for another child.
            let pid = unsafe {
                libc::clone(
                    make,
                    stack.as_mut_ptr().add(words).cast::<c_void>(),
                    libc::CLONE_VM | libc::CLONE_FILES,
                    ptr::from_mut(&mut *work).cast::<c_void>(),
                )
            };
            if pid < 0 {
                return Err(io::Error::last_os_error());
            }
            send_away(pid);
            Ok(Self {
                pid,
                work,
                _stack: stack,
            })
        }

        pub(super) fn finish(&mut self) -> io::Result<()> {
            self.wait();
            match i32::try_from(-self.work.answer.load(Ordering::Acquire)) {
                Ok(0) => Ok(()),
                errno => Err(io::Error::from_raw_os_error(errno.unwrap_or(libc::EINVAL))),
            }
        }

        fn wait(&mut self) {
            while self.pid != 0 {
                // SAFETY: the status is not asked for.
                let ended = unsafe { libc::waitpid(self.pid, ptr::null_mut(), libc::__WALL) };
                if ended >= 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                    self.pid = 0;
                }
            }
        }
    }

    /// Moves the helper to another processor: a new process waits for the one its maker runs on as often as not, until that sleeps, though
    /// others have nothing to do. Where there is no other, it stays.
    fn send_away(pid: c_int) {
        let Ok(mut others) = sched_getaffinity(None) else {
            return;
        };
        others.unset(sched_getcpu());
        if others.count() > 0 {
            let _ = sched_setaffinity(Pid::from_raw(pid), &others);
        }
    }

    impl Drop for Helper {
        fn drop(&mut self) {
            self.wait();
        }
    }

    extern "C" fn make(work: *mut c_void) -> c_int {
        // SAFETY: what `begin` gave, which outlives the helper.
        let work = unsafe { &*work.cast::<Work>() };
        // SAFETY: see `namespace`
        let answer = unsafe { namespace(work.number) };
        work.answer.store(answer, Ordering::Release);
        0
    }

    /// Leaves the network namespace for a new one and makes `number` a descriptor of it: 0, or an errno below zero.
    ///
    /// # Safety
    /// To be called by a process that ends then. `number` is a descriptor that nobody uses.
    unsafe fn namespace(number: c_int) -> c_long {
        // SAFETY: paths end with a zero byte.
        unsafe {
            let answer = call(libc::SYS_unshare, [libc::CLONE_NEWNET.into(), 0, 0, 0, 0]);
            if answer < 0 {
                return answer;
            }
            let answer = loopback();
            // ENODEV: a kernel without one
            if answer < 0 && answer != c_long::from(-libc::ENODEV) {
                return answer;
            }
            let path = c"/proc/self/ns/net".as_ptr() as c_long;
            let flags = c_long::from(libc::O_RDONLY | libc::O_CLOEXEC);
            let opened = call(libc::SYS_openat, [libc::AT_FDCWD.into(), path, flags, 0, 0]);
            if opened < 0 {
                return opened;
            }
            let closed_at_exec = libc::O_CLOEXEC.into();
            let answer = call(
                libc::SYS_dup3,
                [opened, number.into(), closed_at_exec, 0, 0],
            );
            call(libc::SYS_close, [opened, 0, 0, 0, 0]);
            answer.min(0)
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod helper {
    use std::io;

    #[derive(Debug)]
    pub(super) enum Helper {}

    impl Helper {
        pub(super) fn begin(_: i32) -> io::Result<Self> {
            Err(io::Error::from_raw_os_error(libc::ENOSYS))
        }

        pub(super) fn finish(&mut self) -> io::Result<()> {
            match *self {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::net::UdpSocket;
    use std::os::fd::AsFd as _;

    use rustix::io::Errno;
    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

    use super::*;

    fn inode(of: &impl std::os::fd::AsFd) -> u64 {
        rustix::fs::fstat(of).unwrap().st_ino
    }

    #[test]
    fn the_namespace_is_a_new_one_with_loopback_up_and_this_process_stays_where_it_is() {
        let before = inode(&File::open("/proc/thread-self/ns/net").unwrap());
        let ahead = match Ahead::begin() {
            Ok(ahead) => ahead,
            Err(error) => panic!("{error}"),
        };
        let number = ahead.number();
        let namespace = match ahead.finish() {
            Ok(namespace) => namespace,
            Err(error) if Errno::from_io_error(&error) == Some(Errno::PERM) => {
                eprintln!("skipped: no right to make a network namespace");
                return;
            }
            Err(error) => panic!("{error}"),
        };
        assert_eq!(namespace.as_raw_fd(), number);
        assert_ne!(inode(&namespace), before);
        assert_eq!(
            inode(&File::open("/proc/thread-self/ns/net").unwrap()),
            before
        );
        let flags = rustix::io::fcntl_getfd(&namespace).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        // in a thread of its own: the namespace is a thread's
        let inside = std::thread::spawn(move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            socket.send_to(b"hello", socket.local_addr()?)?;
            socket.recv(&mut [0; 8])
        });
        assert_eq!(inside.join().unwrap().unwrap(), 5);
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn one_that_is_not_asked_for_leaves_no_process() {
        let ahead = Ahead::begin().unwrap();
        let pid = ahead.helper.pid;
        let there =
            || rustix::process::test_kill_process(rustix::process::Pid::from_raw(pid).unwrap());
        assert_eq!(there(), Ok(()));
        drop(ahead);
        assert_eq!(there(), Err(Errno::SRCH));
    }
}
