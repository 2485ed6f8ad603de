//! The D-Bus wire format (D-Bus specification, "Message Protocol"), as far as systemd's manager needs it.

/// A value of a property.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Bool(bool),
    Byte(u8),
    I16(i16),
    U16(u16),
    I32(i32),
    U32(u32),
    I64(i64),
    U64(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    Numbers(Vec<u32>),
    Texts(Vec<String>),
    Pairs(Vec<(String, String)>),
}

impl Value {
    pub(crate) fn signature(&self) -> &'static str {
        match self {
            Self::Bool(_) => "b",
            Self::Byte(_) => "y",
            Self::I16(_) => "n",
            Self::U16(_) => "q",
            Self::I32(_) => "i",
            Self::U32(_) => "u",
            Self::I64(_) => "x",
            Self::U64(_) => "t",
            Self::Double(_) => "d",
            Self::Text(_) => "s",
            Self::Bytes(_) => "ay",
            Self::Numbers(_) => "au",
            Self::Texts(_) => "as",
            Self::Pairs(_) => "a(ss)",
        }
    }
}

/// A property and its value.
pub(crate) type Property = (String, Value);

/// Bytes being written; everything is little-endian and aligned to its own size from the start of the buffer.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn align(&mut self, to: usize) {
        while !self.0.len().is_multiple_of(to) {
            self.0.push(0);
        }
    }

    pub(crate) fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    fn number(&mut self, bytes: &[u8]) {
        self.align(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.number(&value.to_le_bytes());
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.u32(u32::from(value));
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.u32(length(text.len()));
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
    }

    pub(crate) fn signature(&mut self, text: &str) {
        self.0.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
    }

    /// An array; its length counts neither itself nor the padding before the first element.
    pub(crate) fn array(&mut self, alignment: usize, elements: impl FnOnce(&mut Self)) {
        self.u32(0);
        let at = self.0.len() - 4;
        self.align(alignment);
        let start = self.0.len();
        elements(self);
        let bytes = length(self.0.len() - start).to_le_bytes();
        self.0[at..at + 4].copy_from_slice(&bytes);
    }

    pub(crate) fn variant(&mut self, value: &Value) {
        self.signature(value.signature());
        match value {
            Value::Bool(value) => self.bool(*value),
            Value::Byte(value) => self.byte(*value),
            Value::I16(value) => self.number(&value.to_le_bytes()),
            Value::U16(value) => self.number(&value.to_le_bytes()),
            Value::I32(value) => self.number(&value.to_le_bytes()),
            Value::U32(value) => self.u32(*value),
            Value::I64(value) => self.number(&value.to_le_bytes()),
            Value::U64(value) => self.number(&value.to_le_bytes()),
            Value::Double(value) => self.number(&value.to_le_bytes()),
            Value::Text(text) => self.text(text),
            Value::Bytes(bytes) => self.array(1, |it| it.0.extend_from_slice(bytes)),
            Value::Numbers(list) => self.array(4, |it| list.iter().for_each(|one| it.u32(*one))),
            Value::Texts(list) => self.array(4, |it| list.iter().for_each(|one| it.text(one))),
            Value::Pairs(list) => self.array(8, |it| {
                for (first, second) in list {
                    it.align(8);
                    it.text(first);
                    it.text(second);
                }
            }),
        }
    }

    /// a(sv)
    pub(crate) fn properties(&mut self, list: &[Property]) {
        self.array(8, |it| {
            for (name, value) in list {
                it.align(8);
                it.text(name);
                it.variant(value);
            }
        });
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}

fn length(bytes: usize) -> u32 {
    // a message has 128 MiB at most
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Bytes being read. `None` for what is not there or not well formed.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.align(4);
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    pub(crate) fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.u32()?).ok()?;
        let text = self.take(length)?;
        self.byte()?;
        std::str::from_utf8(text).ok()
    }

    pub(crate) fn signature(&mut self) -> Option<&'a str> {
        let length = usize::from(self.byte()?);
        let text = self.take(length)?;
        self.byte()?;
        std::str::from_utf8(text).ok()
    }
}

/// What kind of message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Call = 1,
    Return = 2,
    Error = 3,
    Signal = 4,
}

/// A method call to be written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) destination: &'a str,
    pub(crate) path: &'a str,
    pub(crate) interface: &'a str,
    pub(crate) member: &'a str,
    pub(crate) signature: &'a str,
}

const LITTLE_ENDIAN: u8 = b'l';
const VERSION: u8 = 1;
/// Bytes before the header's fields: their length is the last four.
pub(crate) const FIXED: usize = 16;
/// More than systemd ever says to us.
const LARGEST: usize = 1 << 20;

impl Call<'_> {
    /// The whole message.
    pub(crate) fn message(&self, serial: u32, body: &[u8]) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.byte(LITTLE_ENDIAN);
        writer.byte(Kind::Call as u8);
        writer.byte(0);
        writer.byte(VERSION);
        writer.u32(length(body.len()));
        writer.u32(serial);
        writer.array(8, |it| {
            let mut field = |code: u8, kind: &str, text: &str| {
                it.align(8);
                it.byte(code);
                it.signature(kind);
                if kind == "g" {
                    it.signature(text);
                } else {
                    it.text(text);
                }
            };
            field(1, "o", self.path);
            field(2, "s", self.interface);
            field(3, "s", self.member);
            field(6, "s", self.destination);
            if !self.signature.is_empty() {
                field(8, "g", self.signature);
            }
        });
        writer.align(8);
        let mut message = writer.finish();
        message.extend_from_slice(body);
        message
    }
}

/// A message that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: Kind,
    /// To which call it is the answer.
    pub(crate) reply_to: u32,
    /// The name of a signal or an error.
    pub(crate) name: String,
    pub(crate) body: Vec<u8>,
}

/// How many bytes follow the first [`FIXED`].
pub(crate) fn rest(fixed: &[u8]) -> Option<usize> {
    let mut reader = Reader::new(fixed);
    if reader.byte()? != LITTLE_ENDIAN {
        // systemd runs on this machine: its order is ours, and all we build for are little-endian
        return None;
    }
    reader.take(3)?;
    let body = usize::try_from(reader.u32()?).ok()?;
    reader.u32()?;
    let fields = usize::try_from(reader.u32()?).ok()?;
    let total = (FIXED + fields).next_multiple_of(8) - FIXED + body;
    (total <= LARGEST && body <= LARGEST).then_some(total)
}

impl Message {
    /// From all its bytes.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        reader.byte()?;
        let kind = match reader.byte()? {
            1 => Kind::Call,
            2 => Kind::Return,
            3 => Kind::Error,
            4 => Kind::Signal,
            _ => return None,
        };
        reader.take(2)?;
        let body = usize::try_from(reader.u32()?).ok()?;
        reader.u32()?;
        let fields = usize::try_from(reader.u32()?).ok()?;
        let end = FIXED.checked_add(fields)?;
        let mut message = Self {
            kind,
            reply_to: 0,
            name: String::new(),
            body: bytes.get(bytes.len().checked_sub(body)?..)?.to_vec(),
        };
        let mut reader = Reader::new(bytes.get(..end)?);
        reader.at = FIXED;
        while !reader.is_at_end() {
            reader.align(8);
            message.field(&mut reader)?;
        }
        Some(message)
    }

    fn field(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        let code = reader.byte()?;
        match (code, reader.signature()?) {
            (5, "u") => self.reply_to = reader.u32()?,
            // member and error name
            (3 | 4, "s") => reader.text()?.clone_into(&mut self.name),
            (_, "s" | "o") => drop(reader.text()?),
            (_, "u") => drop(reader.u32()?),
            (_, "g") => drop(reader.signature()?),
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A message as the other side writes it.
    pub(crate) fn answer(kind: Kind, reply_to: u32, name: &str, body: &[u8]) -> Vec<u8> {
        let mut writer = Writer::default();
        for byte in [LITTLE_ENDIAN, kind as u8, 0, VERSION] {
            writer.byte(byte);
        }
        writer.u32(length(body.len()));
        writer.u32(1);
        writer.array(8, |it| {
            it.byte(5);
            it.signature("u");
            it.u32(reply_to);
            it.align(8);
            it.byte(if kind == Kind::Error { 4 } else { 3 });
            it.signature("s");
            it.text(name);
        });
        writer.align(8);
        let mut message = writer.finish();
        message.extend_from_slice(body);
        message
    }

    #[test]
    fn a_call_is_laid_out_as_the_specification_says() {
        let call = Call {
            destination: "org.freedesktop.DBus",
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member: "Hello",
            signature: "",
        };
        let message = call.message(1, &[]);
        let mut expected = vec![b'l', 1, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 109, 0, 0, 0];
        expected.extend_from_slice(b"\x01\x01o\0\x15\0\0\0/org/freedesktop/DBus\0\0\0");
        expected.extend_from_slice(b"\x02\x01s\0\x14\0\0\0org.freedesktop.DBus\0\0\0\0");
        expected.extend_from_slice(b"\x03\x01s\0\x05\0\0\0Hello\0\0\0");
        expected.extend_from_slice(b"\x06\x01s\0\x14\0\0\0org.freedesktop.DBus\0\0\0\0");
        assert_eq!(message, expected);
    }

    #[test]
    fn properties_are_aligned_structures() {
        let mut writer = Writer::default();
        writer.properties(&[
            ("A".to_owned(), Value::U64(5)),
            (
                "B".to_owned(),
                Value::Pairs(vec![("x".to_owned(), "y".to_owned())]),
            ),
        ]);
        let mut expected = vec![62, 0, 0, 0, 0, 0, 0, 0]; // length, padding to 8
        expected.extend_from_slice(b"\x01\0\0\0A\0\x01t\0\0\0\0\0\0\0\0"); // "A", variant t, padding to 8
        expected.extend_from_slice(&[5, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend_from_slice(b"\x01\0\0\0B\0\x05a(ss)\0"); // "B", variant a(ss)
        let bytes = writer.finish();
        assert_eq!(&bytes[..expected.len()], &expected);
        assert_eq!(usize::from(bytes[0]), bytes.len() - 8);
        assert_eq!(
            &bytes[bytes.len() - 14..],
            b"\x01\0\0\0x\0\0\0\x01\0\0\0y\0"
        );
    }

    #[test]
    fn an_answer_is_read() {
        let mut body = Writer::default();
        body.text("/org/freedesktop/systemd1/job/7");
        let bytes = answer(Kind::Return, 42, "", &body.finish());
        assert_eq!(rest(&bytes[..FIXED]), Some(bytes.len() - FIXED));
        let message = Message::parse(&bytes).unwrap();
        assert_eq!((message.kind, message.reply_to), (Kind::Return, 42));
        let path = Reader::new(&message.body).text().map(str::to_owned);
        assert_eq!(path.as_deref(), Some("/org/freedesktop/systemd1/job/7"));
    }

    #[test]
    fn damage_is_no_panic() {
        let bytes = answer(Kind::Error, 1, "org.freedesktop.DBus.Error.Failed", b"x");
        for length in 0..bytes.len() {
            let _ = Message::parse(&bytes[..length]);
            for value in [0, 7, 255] {
                let mut broken = bytes.clone();
                broken[length] = value;
                let _ = Message::parse(&broken);
                let _ = rest(&broken[..FIXED]);
            }
        }
    }
}
