//! A pseudo-terminal of the container's own devpts.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;

/// Where a devpts has its multiplexer; /dev/ptmx is a link to it or bound to it, or the container's to replace.
const MULTIPLEXER: &str = "/dev/pts/ptmx";
/// statfs(2).
const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;

/// Opens a new one; the master's side and the program's side.
///
/// The file is the container's to choose and so not believed: it has to be the multiplexer of a devpts (CVE-2025-52565), and the
/// program's side is asked of the master, not of a path (ioctl_tty(2), TIOCGPTPEER).
pub(crate) fn open() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let master = rustix::fs::open(MULTIPLEXER, flags, Mode::empty())?;
    let status = rustix::fs::fstat(&master)?;
    let multiplexer = rustix::fs::makedev(5, 2);
    if rustix::fs::fstatfs(&master)?.f_type != DEVPTS_SUPER_MAGIC || status.st_rdev != multiplexer {
        return Err(io::Error::other(format!(
            "{MULTIPLEXER} is not the multiplexer of a devpts"
        )));
    }
    rustix::pty::unlockpt(&master)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let program = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
    Ok((master, program))
}

/// Makes it this process's controlling terminal, which has to lead a session without one, and its standard streams.
pub(crate) fn take(program: &OwnedFd) -> io::Result<()> {
    rustix::process::ioctl_tiocsctty(program)?;
    rustix::stdio::dup2_stdin(program)?;
    rustix::stdio::dup2_stdout(program)?;
    rustix::stdio::dup2_stderr(program)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_are_one_terminal() {
        match open() {
            Ok((master, program)) => {
                rustix::io::write(&program, b"x").unwrap();
                let mut byte = [0];
                assert_eq!(rustix::io::read(&master, &mut byte), Ok(1));
            }
            Err(error) => println!("skipped: no devpts here ({error})"),
        }
    }
}
