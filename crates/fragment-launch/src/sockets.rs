//! Descriptors over sockets (unix(7)): to engines and agents, from libcontainer, criu and our own processes.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

/// Sends one message and one descriptor to whoever listens at `path`, and hangs up.
pub(crate) fn send(path: &Path, message: &[u8], descriptor: BorrowedFd<'_>) -> io::Result<()> {
    send_on(&connect(path)?, message, descriptor)
}

/// Sends one message and one descriptor.
pub(crate) fn send_on(
    socket: &impl AsFd,
    message: &[u8],
    descriptor: BorrowedFd<'_>,
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor];
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    let sent = rustix::net::sendmsg(
        socket,
        &[IoSlice::new(message)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    // the descriptor goes with the first byte; a long message can need several writes (unix(7))
    let mut rest = message.get(sent..).unwrap_or_default();
    while !rest.is_empty() {
        let sent = rustix::net::send(socket, rest, SendFlags::NOSIGNAL)?;
        rest = rest.get(sent..).unwrap_or_default();
    }
    Ok(())
}

/// Receives what fits into `buffer`, and a descriptor where one comes with it. No bytes: the other side has hung up.
///
/// # Errors
/// As recvmsg(2).
pub fn receive<'a>(
    socket: &impl AsFd,
    buffer: &'a mut [u8],
) -> rustix::io::Result<(&'a [u8], Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(
            socket,
            &mut [IoSliceMut::new(buffer)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )
    })?;
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok((buffer.get(..received.bytes).unwrap_or_default(), descriptor))
}

/// Connects to a socket, whose path may be longer than the 107 bytes an address holds (unix(7)).
pub(crate) fn connect(path: &Path) -> io::Result<UnixStream> {
    if path.as_os_str().len() < 108 {
        return UnixStream::connect(path);
    }
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(directory, flags, Mode::empty())?;
    let opened = format!("/proc/self/fd/{}", directory.as_raw_fd());
    UnixStream::connect(Path::new(&opened).join(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_long_message_arrives_whole_over_a_long_path() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("x".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let path = deep.join("s");
        let directory = std::fs::File::open(&deep).unwrap();
        let short = format!("/proc/self/fd/{}/s", directory.as_raw_fd());
        let listener = UnixListener::bind(short).unwrap();
        let message = vec![b'm'; 1 << 20];
        let expected = message.len();
        let reader = std::thread::spawn(move || {
            let mut read = Vec::new();
            listener.accept().unwrap().0.read_to_end(&mut read).unwrap();
            read.len()
        });
        send(&path, &message, std::io::stdin().as_fd()).unwrap();
        assert_eq!(reader.join().unwrap(), expected);
    }
}
