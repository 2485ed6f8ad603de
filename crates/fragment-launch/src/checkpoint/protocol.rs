//! criu's protocol (criu/images/rpc.proto, criu(8), "swrk"), for what its command line cannot: a terminal's other side comes over
//! the socket only, and a container's own configuration has the last word only there.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};

use crate::sockets;

// criu_req_type
const DUMP: u64 = 1;
const RESTORE: u64 = 2;
const NOTIFY: u64 = 6;
const SINGLE_PRE_DUMP: u64 = 13;

/// Words of the command line and the fields of `criu_opts` they are.
const FLAGS: [(&str, u64); 11] = [
    ("--leave-running", 3),
    ("--ext-unix-sk", 4),
    ("--tcp-established", 5),
    ("--shell-job", 7),
    ("--file-locks", 8),
    ("--track-mem", 15),
    ("--auto-dedup", 16),
    ("--link-remap", 18),
    ("--restore-sibling", 26),
    ("--skip-in-flight", 46),
    ("--lazy-pages", 48),
];
const TEXTS: [(&str, u64); 7] = [
    ("--log-file", 10),
    ("--root", 13),
    ("--prev-images-dir", 14),
    ("--external", 37),
    ("--freeze-cgroup", 44),
    ("--lsm-profile", 53),
    ("--lsm-mount-context", 63),
];
const NUMBERS: [(&str, u64); 2] = [("--tree", 2), ("--status-fd", 49)];
const DIRECTORIES: [(&str, u64); 2] = [("--images-dir", 1), ("--work-dir", 17)];
/// The answer says what they are for.
const ANSWERED: [&str; 2] = ["--restore-detached", "--pidfile"];
const CGROUP_MODES: [(&str, u64); 4] = [("ignore", 0), ("soft", 3), ("full", 4), ("strict", 5)];
/// clone(2).
const CLONE_NEWNET: u64 = 0x4000_0000;
/// Longer than any answer.
const LONGEST: usize = 1 << 16;

/// What criu answers.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) success: bool,
    /// The restored process.
    pub(crate) pid: Option<i32>,
    /// The other side of its terminal.
    pub(crate) terminal: Option<OwnedFd>,
}

/// What a call wants, and the directories it names by number, which are criu's to open while this is there.
#[derive(Debug)]
pub(crate) struct Request {
    text: Vec<u8>,
    _directories: Vec<OwnedFd>,
}

impl Request {
    /// The request that a command line would be.
    pub(crate) fn new(
        action: &str,
        words: &[(String, Option<OsString>)],
        config: Option<&Path>,
    ) -> io::Result<Self> {
        let mut options = Message::default();
        let mut server = Message::default();
        let mut directories = Vec::new();
        for (flag, value) in words {
            let value = value.as_deref().unwrap_or_default();
            if let Some(field) = field(&DIRECTORIES, flag) {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let opened = rustix::fs::open(value, flags, Mode::empty())?;
                options.number(field, u64::try_from(opened.as_raw_fd()).unwrap_or_default());
                directories.push(opened);
            } else if let Some(field) = field(&FLAGS, flag) {
                options.number(field, 1);
            } else if let Some(field) = field(&TEXTS, flag) {
                options.text(field, value);
            } else if let Some(field) = field(&NUMBERS, flag) {
                options.number(field, number(value)?);
            } else if let Some(mode) = flag.strip_prefix("--manage-cgroups=") {
                options.number(24, 1);
                options.number(34, self::field(&CGROUP_MODES, mode).unwrap_or_default());
            } else {
                special(flag, value, &mut options, &mut server)?;
            }
        }
        if !server.0.is_empty() {
            options.bytes(11, &server.0);
        }
        options.number(12, 1);
        options.number(50, 1);
        if let Some(config) = config {
            options.text(51, config.as_os_str());
        }
        let mut request = Message::default();
        request.number(
            1,
            match action {
                "restore" => RESTORE,
                "pre-dump" => SINGLE_PRE_DUMP,
                _ => DUMP,
            },
        );
        request.bytes(2, &options.0);
        Ok(Self {
            text: request.0,
            _directories: directories,
        })
    }

    /// Asks, and says yes to what criu tells on its way, until it answers. One that ends before has not done it.
    pub(crate) fn ask(&self, socket: &OwnedFd) -> io::Result<Answer> {
        match self.converse(socket) {
            Err(Errno::PIPE | Errno::CONNRESET) => Ok(Answer::default()),
            other => Ok(other?),
        }
    }

    fn converse(&self, socket: &OwnedFd) -> Result<Answer, Errno> {
        rustix::net::send(socket, &self.text, SendFlags::NOSIGNAL)?;
        let mut answer = Answer::default();
        loop {
            let mut buffer = vec![0; LONGEST];
            let (told, descriptor) = sockets::receive(socket, &mut buffer)?;
            answer.terminal = descriptor.or(answer.terminal);
            if told.is_empty() {
                return Ok(answer);
            }
            if number_of(told, 1)? == Some(NOTIFY) {
                let mut go_on = Message::default();
                go_on.number(1, NOTIFY);
                go_on.number(3, 1);
                rustix::net::send(socket, &go_on.0, SendFlags::NOSIGNAL)?;
                continue;
            }
            answer.success = number_of(told, 2)? == Some(1);
            let restored = bytes_of(told, 4)?.map(|restored| number_of(restored, 1));
            let pid = restored.transpose()?.flatten();
            answer.pid = pid.and_then(|pid| i32::try_from(pid).ok());
            return Ok(answer);
        }
    }
}

/// Two connected ends; criu's is the second one, which a program executed later has too.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, its) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    Ok((ours, rustix::io::dup(&its)?))
}

/// What is a message of its own in `criu_opts`.
fn special(
    flag: &str,
    value: &OsStr,
    options: &mut Message,
    server: &mut Message,
) -> io::Result<()> {
    let text = value.to_str().unwrap_or_default();
    match flag {
        "-v4" => options.number(9, 4),
        "--empty-ns" => options.number(38, CLONE_NEWNET),
        "--page-server" => {}
        "--address" => server.text(1, value),
        "--port" => server.number(2, number(value)?),
        "--cgroup-root" => {
            // CONTROLLERS:PATH, or PATH alone
            let mut root = Message::default();
            let (controllers, path) = text.split_once(':').unwrap_or(("", text));
            if !controllers.is_empty() {
                root.text(1, OsStr::new(controllers));
            }
            root.text(2, OsStr::new(path));
            options.bytes(25, &root.0);
        }
        "--inherit-fd" => {
            // fd[NUMBER]:KEY
            let parts = text
                .strip_prefix("fd[")
                .and_then(|text| text.split_once("]:"));
            let (descriptor, key) = parts.ok_or_else(|| unknown(flag))?;
            let mut inherited = Message::default();
            inherited.text(1, OsStr::new(key));
            inherited.number(2, number(OsStr::new(descriptor))?);
            options.bytes(27, &inherited.0);
        }
        _ if ANSWERED.contains(&flag) => {}
        _ => return Err(unknown(flag)),
    }
    Ok(())
}

fn field(table: &[(&str, u64)], name: &str) -> Option<u64> {
    let found = table.iter().find(|(known, _)| *known == name);
    found.map(|(_, field)| *field)
}

fn number(value: &OsStr) -> io::Result<u64> {
    let text = value.to_str().and_then(|text| text.parse().ok());
    text.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

fn unknown(flag: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{flag} has no place in criu's protocol"),
    )
}

/// A message of protocol buffers: fields with numbers, varints and bytes alone
/// (protobuf.dev/programming-guides/encoding).
#[derive(Debug, Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(0x80 | (value & 0x7f) as u8);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn number(&mut self, field: u64, value: u64) {
        self.varint(field << 3);
        self.varint(value);
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    fn text(&mut self, field: u64, value: &OsStr) {
        self.bytes(field, value.as_bytes());
    }
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn number_of(message: &[u8], wanted: u64) -> Result<Option<u64>, Errno> {
    let found = value_of(message, wanted)?;
    Ok(found.and_then(|value| match value {
        Value::Number(number) => Some(number),
        Value::Bytes(_) => None,
    }))
}

fn bytes_of(message: &[u8], wanted: u64) -> Result<Option<&[u8]>, Errno> {
    let found = value_of(message, wanted)?;
    Ok(found.and_then(|value| match value {
        Value::Bytes(bytes) => Some(bytes),
        Value::Number(_) => None,
    }))
}

/// The last value of a field.
fn value_of(mut message: &[u8], wanted: u64) -> Result<Option<Value<'_>>, Errno> {
    let mut found = None;
    while !message.is_empty() {
        let key = take_varint(&mut message)?;
        let value = match key & 7 {
            0 => Value::Number(take_varint(&mut message)?),
            2 => {
                let length = take_varint(&mut message)?;
                let length = usize::try_from(length).map_err(|_| Errno::BADMSG)?;
                let (bytes, rest) = message.split_at_checked(length).ok_or(Errno::BADMSG)?;
                message = rest;
                Value::Bytes(bytes)
            }
            _ => return Err(Errno::BADMSG),
        };
        if key >> 3 == wanted {
            found = Some(value);
        }
    }
    Ok(found)
}

fn take_varint(message: &mut &[u8]) -> Result<u64, Errno> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = message.split_first().ok_or(Errno::BADMSG)?;
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Errno::BADMSG)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(flag: &str, value: &str) -> (String, Option<OsString>) {
        let value = (!value.is_empty()).then(|| value.into());
        (flag.to_owned(), value)
    }

    #[test]
    fn a_command_line_becomes_a_request() {
        let words = [
            word("--images-dir", "/"),
            word("-v4", ""),
            word("--restore-detached", ""),
            word("--external", "mnt[/a]:/b"),
            word("--manage-cgroups=strict", ""),
            word("--cgroup-root", "cpu,cpuacct:/x"),
            word("--inherit-fd", "fd[7]:pipe:[300]"),
        ];
        let request = Request::new("restore", &words, Some(Path::new("/c"))).unwrap();
        assert_eq!(number_of(&request.text, 1).unwrap(), Some(RESTORE));
        let options = bytes_of(&request.text, 2).unwrap().unwrap();
        assert!(number_of(options, 1).unwrap().unwrap() > 2);
        assert_eq!(number_of(options, 9).unwrap(), Some(4));
        assert_eq!(number_of(options, 34).unwrap(), Some(5));
        assert_eq!(number_of(options, 50).unwrap(), Some(1));
        assert_eq!(bytes_of(options, 37).unwrap().unwrap(), b"mnt[/a]:/b");
        assert_eq!(bytes_of(options, 51).unwrap().unwrap(), b"/c");
        let root = bytes_of(options, 25).unwrap().unwrap();
        assert_eq!(bytes_of(root, 1).unwrap().unwrap(), b"cpu,cpuacct");
        assert_eq!(bytes_of(root, 2).unwrap().unwrap(), b"/x");
        let inherited = bytes_of(options, 27).unwrap().unwrap();
        assert_eq!(bytes_of(inherited, 1).unwrap().unwrap(), b"pipe:[300]");
        assert_eq!(number_of(inherited, 2).unwrap(), Some(7));
        // nothing gets lost
        assert!(Request::new("dump", &[word("--other", "")], None).is_err());
    }

    #[test]
    fn numbers_of_any_size_come_back_and_what_is_cut_off_is_an_error() {
        for value in [0, 1, 127, 128, 300, u64::MAX] {
            let mut message = Message::default();
            message.number(51, value);
            message.bytes(3, b"more");
            assert_eq!(number_of(&message.0, 51).unwrap(), Some(value));
            let cut = message.0.len() - 1;
            assert!(number_of(&message.0[..cut], 51).is_err());
        }
    }

    #[test]
    fn criu_is_told_to_go_on_until_it_answers() {
        let (ours, its) = pair().unwrap();
        let tell = |kind: u64, pid: Option<u64>| {
            let mut message = Message::default();
            message.number(1, kind);
            message.number(2, 1);
            if let Some(pid) = pid {
                let mut restored = Message::default();
                restored.number(1, pid);
                message.bytes(4, &restored.0);
            }
            rustix::net::send(&its, &message.0, SendFlags::empty()).unwrap();
        };
        tell(NOTIFY, None);
        tell(RESTORE, Some(4711));
        let request = Request::new("restore", &[], None).unwrap();
        let answer = request.ask(&ours).unwrap();
        assert!(answer.success);
        assert_eq!(answer.pid, Some(4711));
        let mut buffer = [0; 4096];
        assert!(rustix::io::read(&its, &mut buffer).unwrap() > 4);
        assert_eq!(rustix::io::read(&its, &mut buffer).unwrap(), 4);
        drop(its);
        assert!(!request.ask(&ours).unwrap().success);
    }
}
