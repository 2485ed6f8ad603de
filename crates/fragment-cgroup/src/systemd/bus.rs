//! A conversation with systemd: the system bus for root, or its private socket where no bus runs; the session bus for users.

use std::env;
use std::io::{self, Read as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use fragment_sys::file;

use crate::error::{CgroupError, Errno};
use crate::systemd::wire::{Call, FIXED, Kind, Message, Property, Reader, Writer, rest};

const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const SYSTEMD: &str = "org.freedesktop.systemd1";
const SYSTEMD_PATH: &str = "/org/freedesktop/systemd1";
const BUS: &str = "org.freedesktop.DBus";
const BUS_PATH: &str = "/org/freedesktop/DBus";
const SYSTEM_BUS: &str = "unix:path=/run/dbus/system_bus_socket";
const PRIVATE: &str = "unix:path=/run/systemd/private";
/// How long systemd may take for a job.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection that has introduced itself.
#[derive(Debug)]
pub(crate) struct Bus {
    stream: UnixStream,
    address: String,
    serial: u32,
    /// Jobs that ended while something else was waited for: object and result.
    ended: Vec<(String, String)>,
}

/// What systemd answered instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// org.freedesktop.systemd1.…
    pub(crate) name: String,
    pub(crate) message: String,
}

impl Bus {
    /// Connects to the systemd that manages this user's cgroups.
    pub(crate) fn open(user: bool) -> Result<Self, CgroupError> {
        if user {
            return Self::connect(&session_address()?, true);
        }
        let address = env::var("DBUS_SYSTEM_BUS_ADDRESS").unwrap_or_else(|_| SYSTEM_BUS.to_owned());
        // early at boot, and in small systems, there is no bus
        Self::connect(&address, true)
            .or_else(|error| Self::connect(PRIVATE, false).map_err(|_| error))
    }

    fn connect(address: &str, is_bus: bool) -> Result<Self, CgroupError> {
        let stream = dial(address).map_err(|source| CgroupError::Bus {
            operation: "connect to systemd",
            address: address.to_owned(),
            source: Errno(source),
        })?;
        Self::introduce(stream, address, is_bus)
    }

    /// Over a socket that is connected.
    pub(crate) fn introduce(
        stream: UnixStream,
        address: &str,
        is_bus: bool,
    ) -> Result<Self, CgroupError> {
        let mut bus = Self {
            stream,
            address: address.to_owned(),
            serial: 0,
            ended: Vec::new(),
        };
        let prepared = bus.stream.set_read_timeout(Some(PATIENCE));
        prepared
            .and_then(|()| bus.authenticate())
            .map_err(bus.fail("authenticate"))?;
        if is_bus {
            bus.must(&bus_call("Hello", ""), &[])?;
            let rule = format!("type='signal',interface='{MANAGER}',member='JobRemoved'");
            bus.must(&bus_call("AddMatch", "s"), &text(&rule))?;
        }
        // a manager whose signals nobody wants sends none; refused to users of some old ones, which send them anyway
        let _ = bus.call(&manager_call("Subscribe", ""), &[])?;
        Ok(bus)
    }

    fn fail(&self, operation: &'static str) -> impl FnOnce(io::Error) -> CgroupError + use<> {
        let address = self.address.clone();
        move |source| CgroupError::Bus {
            operation,
            address,
            source: Errno(source),
        }
    }

    /// The user is told by the socket; the name only has to agree with it (D-Bus specification, EXTERNAL).
    fn authenticate(&mut self) -> io::Result<()> {
        let uid = outer_uid().to_string();
        let name: String = uid.bytes().map(|byte| format!("{byte:02x}")).collect();
        self.stream
            .write_all(format!("\0AUTH EXTERNAL {name}\r\n").as_bytes())?;
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte)?;
            line.push(byte[0]);
            if line.len() > 1024 {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        if !line.starts_with(b"OK ") {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.stream.write_all(b"BEGIN\r\n")
    }

    /// Calls and waits for the answer's body.
    pub(crate) fn call(
        &mut self,
        call: &Call<'_>,
        body: &[u8],
    ) -> Result<Result<Vec<u8>, Refusal>, CgroupError> {
        self.serial += 1;
        let serial = self.serial;
        let sent = self.stream.write_all(&call.message(serial, body));
        sent.map_err(self.fail("call systemd"))?;
        loop {
            let message = self.receive()?;
            match message.kind {
                Kind::Return if message.reply_to == serial => return Ok(Ok(message.body)),
                Kind::Error if message.reply_to == serial => {
                    let words = Reader::new(&message.body).text().unwrap_or_default();
                    return Ok(Err(Refusal {
                        name: message.name,
                        message: words.to_owned(),
                    }));
                }
                _ => self.note(&message),
            }
        }
    }

    fn must(&mut self, call: &Call<'_>, body: &[u8]) -> Result<Vec<u8>, CgroupError> {
        self.call(call, body)?.map_err(|refusal| {
            let source = io::Error::other(refusal.message);
            self.fail("call systemd")(source)
        })
    }

    fn receive(&mut self) -> Result<Message, CgroupError> {
        read_message(&mut self.stream).map_err(self.fail("hear from systemd"))
    }

    /// JobRemoved(u id, o job, s unit, s result)
    fn note(&mut self, message: &Message) {
        if message.kind != Kind::Signal || message.name != "JobRemoved" {
            return;
        }
        let mut reader = Reader::new(&message.body);
        let parts = (reader.u32(), reader.text(), reader.text(), reader.text());
        if let (_, Some(job), _, Some(result)) = parts {
            self.ended.push((job.to_owned(), result.to_owned()));
        }
    }

    /// Calls something that starts a job, and waits for the job's end: its result, `done` when all went well.
    pub(crate) fn job(
        &mut self,
        member: &str,
        signature: &str,
        body: &[u8],
    ) -> Result<Result<String, Refusal>, CgroupError> {
        let answer = match self.call(&manager_call(member, signature), body)? {
            Ok(answer) => answer,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let job = Reader::new(&answer).text().unwrap_or_default().to_owned();
        let started = Instant::now();
        loop {
            if let Some((_, result)) = self.ended.iter().find(|(ended, _)| *ended == job) {
                return Ok(Ok(result.clone()));
            }
            if started.elapsed() > PATIENCE {
                return Err(self.fail("wait for systemd")(
                    io::ErrorKind::TimedOut.into(),
                ));
            }
            let message = self.receive()?;
            self.note(&message);
        }
    }

    /// Calls a method of the manager that answers at once.
    pub(crate) fn manage(
        &mut self,
        member: &str,
        signature: &str,
        body: &[u8],
    ) -> Result<Result<(), Refusal>, CgroupError> {
        let answer = self.call(&manager_call(member, signature), body)?;
        Ok(answer.map(drop))
    }

    /// A text property of the manager.
    pub(crate) fn property(&mut self, name: &str) -> Result<String, CgroupError> {
        let call = Call {
            interface: "org.freedesktop.DBus.Properties",
            ..manager_call("Get", "ss")
        };
        let mut body = Writer::default();
        body.text(MANAGER);
        body.text(name);
        let answer = self.must(&call, &body.finish())?;
        let mut reader = Reader::new(&answer);
        let kind = reader.signature();
        let value = reader.text().filter(|_| kind == Some("s"));
        let value = value.map(str::to_owned);
        value.ok_or_else(|| self.fail("understand systemd")(io::ErrorKind::InvalidData.into()))
    }
}

fn read_message(stream: &mut UnixStream) -> io::Result<Message> {
    let mut bytes = vec![0; FIXED];
    stream.read_exact(&mut bytes)?;
    let rest = rest(&bytes).ok_or(io::ErrorKind::InvalidData)?;
    bytes.resize(FIXED + rest, 0);
    stream.read_exact(&mut bytes[FIXED..])?;
    Message::parse(&bytes).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn manager_call<'a>(member: &'a str, signature: &'a str) -> Call<'a> {
    Call {
        destination: SYSTEMD,
        path: SYSTEMD_PATH,
        interface: MANAGER,
        member,
        signature,
    }
}

fn bus_call<'a>(member: &'a str, signature: &'a str) -> Call<'a> {
    Call {
        destination: BUS,
        path: BUS_PATH,
        interface: BUS,
        member,
        signature,
    }
}

/// One string.
pub(crate) fn text(value: &str) -> Vec<u8> {
    let mut body = Writer::default();
    body.text(value);
    body.finish()
}

/// s s a(sv) a(sa(sv)): StartTransientUnit
pub(crate) fn start_body(unit: &str, properties: &[Property]) -> Vec<u8> {
    let mut body = Writer::default();
    body.text(unit);
    body.text("replace");
    body.properties(properties);
    body.array(8, |_| {});
    body.finish()
}

/// s b a(sv): SetUnitProperties, for as long as the machine runs
pub(crate) fn set_body(unit: &str, properties: &[Property]) -> Vec<u8> {
    let mut body = Writer::default();
    body.text(unit);
    body.bool(true);
    body.properties(properties);
    body.finish()
}

/// s s: StopUnit
pub(crate) fn stop_body(unit: &str) -> Vec<u8> {
    let mut body = Writer::default();
    body.text(unit);
    body.text("replace");
    body.finish()
}

/// The user as systemd knows it: of a user namespace's root the one outside. The kernel tells it by the owner of what belongs
/// to us outside, the runtime directory.
fn outer_uid() -> u32 {
    let own = rustix::process::geteuid().as_raw();
    let map = file::read_text("/proc/self/uid_map").unwrap_or_default();
    mapped(&map, own)
}

/// `inside outside count` a line (user_namespaces(7)).
fn mapped(map: &str, own: u32) -> u32 {
    let outside = map.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace().map(str::parse::<u32>);
        let (first, outside, count) = (
            fields.next()?.ok()?,
            fields.next()?.ok()?,
            fields.next()?.ok()?,
        );
        let offset = own.checked_sub(first).filter(|offset| *offset < count)?;
        outside.checked_add(offset)
    });
    outside.unwrap_or(own)
}

fn session_address() -> Result<String, CgroupError> {
    if let Ok(address) = env::var("DBUS_SESSION_BUS_ADDRESS") {
        return Ok(address);
    }
    let directory =
        env::var("XDG_RUNTIME_DIR").unwrap_or_else(|_| format!("/run/user/{}", outer_uid()));
    for (socket, address) in [
        ("bus", format!("unix:path={directory}/bus")),
        (
            "systemd/private",
            format!("unix:path={directory}/systemd/private"),
        ),
    ] {
        if Path::new(&directory).join(socket).exists() {
            return Ok(address);
        }
    }
    Err(CgroupError::SystemdValue(
        "could not detect DBUS_SESSION_BUS_ADDRESS: set it, or XDG_RUNTIME_DIR to a directory with the socket bus in it"
            .to_owned(),
    ))
}

/// The first address of a list that answers.
fn dial(addresses: &str) -> io::Result<UnixStream> {
    let mut last = io::Error::from(io::ErrorKind::InvalidInput);
    for address in addresses.split(';') {
        let Some(options) = address.strip_prefix("unix:") else {
            continue;
        };
        for option in options.split(',') {
            let tried = match option.split_once('=') {
                Some(("path", path)) => UnixStream::connect(unescaped(path)),
                Some(("abstract", name)) => SocketAddr::from_abstract_name(unescaped(name))
                    .and_then(|address| UnixStream::connect_addr(&address)),
                _ => continue,
            };
            match tried {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
    }
    Err(last)
}

/// `%20` is a space.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let code = (*first == b'%')
            .then(|| std::str::from_utf8(after.get(..2)?).ok())
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match code {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::systemd::wire::tests::answer;

    /// The other side: what it is called, in order, and what it says to each.
    fn scripted(
        answers: Vec<(&'static str, Vec<Vec<u8>>)>,
    ) -> (UnixStream, thread::JoinHandle<()>) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let other = thread::spawn(move || {
            let mut line = Vec::new();
            let mut byte = [0];
            while !line.ends_with(b"\r\n") {
                theirs.read_exact(&mut byte).unwrap();
                line.push(byte[0]);
            }
            assert!(line.starts_with(b"\0AUTH EXTERNAL 3"), "{line:?}");
            theirs.write_all(b"OK 1234\r\n").unwrap();
            let mut begin = [0; 7];
            theirs.read_exact(&mut begin).unwrap();
            assert_eq!(&begin, b"BEGIN\r\n");
            for (member, replies) in answers {
                let mut bytes = vec![0; FIXED];
                theirs.read_exact(&mut bytes).unwrap();
                let rest = rest(&bytes).unwrap();
                bytes.resize(FIXED + rest, 0);
                theirs.read_exact(&mut bytes[FIXED..]).unwrap();
                assert_eq!(Message::parse(&bytes).unwrap().name, member);
                for reply in replies {
                    theirs.write_all(&reply).unwrap();
                }
            }
        });
        (ours, other)
    }

    fn removed(job: &str, result: &str) -> Vec<u8> {
        let mut body = Writer::default();
        body.u32(7);
        for part in [job, "x.scope", result] {
            body.text(part);
        }
        answer(Kind::Signal, 0, "JobRemoved", &body.finish())
    }

    fn done(serial: u32) -> Vec<u8> {
        answer(Kind::Return, serial, "", &[])
    }

    #[test]
    fn a_job_is_waited_for_even_when_it_ends_before_its_answer() {
        let started = answer(Kind::Return, 4, "", &text("/job/7"));
        let (stream, other) = scripted(vec![
            ("Hello", vec![done(1)]),
            ("AddMatch", vec![done(2)]),
            ("Subscribe", vec![done(3)]),
            (
                "StartTransientUnit",
                vec![
                    removed("/job/6", "failed"),
                    removed("/job/7", "done"),
                    started,
                ],
            ),
        ]);
        let mut bus = Bus::introduce(stream, "test", true).unwrap();
        let result = bus.job(
            "StartTransientUnit",
            "ssa(sv)a(sa(sv))",
            &start_body("x.scope", &[]),
        );
        assert_eq!(result.unwrap(), Ok("done".to_owned()));
        other.join().unwrap();
    }

    #[test]
    fn a_refusal_is_given_back_with_its_words() {
        let name = "org.freedesktop.systemd1.UnitExists";
        let (stream, other) = scripted(vec![
            ("Subscribe", vec![done(1)]),
            (
                "StopUnit",
                vec![answer(
                    Kind::Error,
                    2,
                    name,
                    &text("Unit x.scope already exists."),
                )],
            ),
        ]);
        let mut bus = Bus::introduce(stream, "test", false).unwrap();
        let refusal = bus
            .job("StopUnit", "ss", &stop_body("x.scope"))
            .unwrap()
            .unwrap_err();
        assert_eq!(refusal.name, name);
        assert_eq!(refusal.message, "Unit x.scope already exists.");
        other.join().unwrap();
    }

    #[test]
    fn a_property_is_a_variant() {
        let mut body = Writer::default();
        body.signature("s");
        body.text("252.39-1~deb12u1");
        let (stream, other) = scripted(vec![
            ("Subscribe", vec![done(1)]),
            ("Get", vec![answer(Kind::Return, 2, "", &body.finish())]),
        ]);
        let mut bus = Bus::introduce(stream, "test", false).unwrap();
        assert_eq!(bus.property("Version").unwrap(), "252.39-1~deb12u1");
        other.join().unwrap();
    }

    #[test]
    fn a_user_namespaces_root_is_the_user_outside() {
        assert_eq!(mapped("0 1000 1\n1 100000 65536\n", 0), 1000);
        assert_eq!(mapped("0 1000 1\n1 100000 65536\n", 5), 100_004);
        assert_eq!(mapped("0 0 4294967295\n", 1000), 1000);
        assert_eq!(mapped("", 7), 7);
    }

    #[test]
    fn addresses_are_unescaped() {
        assert_eq!(unescaped("/run/a%20b%2"), "/run/a b%2");
    }
}
