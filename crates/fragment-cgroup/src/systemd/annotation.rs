//! Properties that a specification sets itself: annotations `org.systemd.property.NAME`, whose value is GVariant text.

use std::collections::HashMap;

use crate::error::CgroupError;
use crate::systemd::wire::{Property, Value};

const PREFIX: &str = "org.systemd.property.";

/// The properties among a specification's annotations, sorted by name.
pub(crate) fn properties(
    annotations: &HashMap<String, String>,
) -> Result<Vec<Property>, CgroupError> {
    let mut found = Vec::new();
    for (key, text) in annotations {
        if let Some(name) = key.strip_prefix(PREFIX) {
            found.push(property(key, name, text)?);
        }
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(found)
}

fn property(key: &str, name: &str, text: &str) -> Result<Property, CgroupError> {
    // as systemd's own names: three letters and more, nothing else
    if name.len() < 3 || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Err(CgroupError::SystemdValue(format!(
            "annotation {key} name incorrect: only letters are allowed"
        )));
    }
    let wrong = |reason: &str| {
        CgroupError::SystemdValue(format!(
            "annotation {key}={text} value parse error: {reason}"
        ))
    };
    let value = parse(text).ok_or_else(|| wrong("not a value in GVariant text format"))?;
    // systemd.directives speak of seconds, its bus of microseconds
    let seconds = name.strip_suffix("Sec");
    match seconds.filter(|stem| stem.ends_with(|letter: char| letter.is_ascii_lowercase())) {
        Some(stem) => {
            let microseconds = microseconds(&value).ok_or_else(|| wrong("not a number"))?;
            Ok((format!("{stem}USec"), Value::U64(microseconds)))
        }
        None => Ok((name.to_owned(), value)),
    }
}

fn microseconds(value: &Value) -> Option<u64> {
    const SECOND: u64 = 1_000_000;
    let whole = match value {
        Value::Byte(it) => u64::from(*it),
        Value::I16(it) => u64::try_from(*it).ok()?,
        Value::U16(it) => u64::from(*it),
        Value::I32(it) => u64::try_from(*it).ok()?,
        Value::U32(it) => u64::from(*it),
        Value::I64(it) => u64::try_from(*it).ok()?,
        Value::U64(it) => *it,
        // beyond 2^53 microseconds fractions mean nothing
        Value::Double(it) if (0.0..9e9).contains(it) => return Some((it * 1e6) as u64),
        _ => return None,
    };
    whole.checked_mul(SECOND)
}

/// GVariant text: a number, `true`, a quoted string, a list of them, with a type in front where the default is not meant.
fn parse(text: &str) -> Option<Value> {
    let text = text.trim();
    let typed = |keyword: &str| {
        let rest = text.strip_prefix(keyword)?;
        rest.starts_with(char::is_whitespace)
            .then(|| rest.trim_start())
    };
    for keyword in ["byte", "@y"] {
        if let Some(rest) = typed(keyword) {
            return integer(rest).map(Value::Byte);
        }
    }
    let number = |keywords: [&str; 2], read: fn(&str) -> Option<Value>| {
        let mut keywords = keywords.into_iter();
        keywords.find_map(typed).map(read)
    };
    let attempts = [
        number(["int16", "@n"], |it| integer(it).map(Value::I16)),
        number(["uint16", "@q"], |it| integer(it).map(Value::U16)),
        number(["int32", "@i"], |it| integer(it).map(Value::I32)),
        number(["uint32", "@u"], |it| integer(it).map(Value::U32)),
        number(["int64", "@x"], |it| integer(it).map(Value::I64)),
        number(["uint64", "@t"], |it| integer(it).map(Value::U64)),
        number(["double", "@d"], |it| it.parse().ok().map(Value::Double)),
        number(["string", "@s"], |it| quoted(it).map(Value::Text)),
        number(["boolean", "@b"], |it| it.parse().ok().map(Value::Bool)),
        number(["@as", "@ao"], |it| {
            list(it)?
                .iter()
                .map(|one| quoted(one))
                .collect::<Option<_>>()
                .map(Value::Texts)
        }),
    ];
    if let Some(value) = attempts.into_iter().flatten().next() {
        return value;
    }
    if let Ok(value) = text.parse() {
        return Some(Value::Bool(value));
    }
    if let Some(value) = quoted(text) {
        return Some(Value::Text(value));
    }
    if let Some(items) = list(text) {
        // an empty list without a type could be anything
        let items = items
            .iter()
            .map(|one| quoted(one))
            .collect::<Option<Vec<_>>>()?;
        return (!items.is_empty()).then_some(Value::Texts(items));
    }
    if let Some(value) = integer(text) {
        return Some(Value::I32(value));
    }
    text.parse().ok().map(Value::Double)
}

/// Decimal, hexadecimal or octal.
fn integer<T: TryFrom<i128>>(text: &str) -> Option<T> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        Some(digits) => (16, digits),
        None if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
        None => (10, digits),
    };
    // the sign was taken: a second one is none of ours
    if !digits.starts_with(|letter: char| letter.is_ascii_hexdigit()) {
        return None;
    }
    let value = i128::from_str_radix(digits, radix).ok()?;
    T::try_from(if negative { -value } else { value }).ok()
}

fn quoted(text: &str) -> Option<String> {
    let text = text.trim();
    let quote = text
        .chars()
        .next()
        .filter(|quote| matches!(quote, '\'' | '"'))?;
    let mut out = String::new();
    let mut letters = text.chars().skip(1);
    loop {
        match letters.next()? {
            '\\' => out.push(match letters.next()? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                'a' => '\u{7}',
                'b' => '\u{8}',
                'f' => '\u{c}',
                'v' => '\u{b}',
                other => other,
            }),
            letter if letter == quote => break,
            letter => out.push(letter),
        }
    }
    letters.next().is_none().then_some(out)
}

/// The elements of `[…]`.
fn list(text: &str) -> Option<Vec<String>> {
    let inner = text.trim().strip_prefix('[')?.strip_suffix(']')?;
    let mut items = vec![String::new()];
    let mut within = None;
    let mut escaped = false;
    for letter in inner.chars() {
        match (within, letter) {
            (None, ',') => items.push(String::new()),
            (None, '\'' | '"') => within = Some(letter),
            (Some(quote), letter) if letter == quote && !escaped => within = None,
            _ => {}
        }
        if !(within.is_none() && letter == ',') {
            items.last_mut()?.push(letter);
        }
        escaped = letter == '\\' && !escaped;
    }
    if items.len() == 1 && items[0].trim().is_empty() {
        items.clear();
    }
    Some(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, text: &str) -> Result<Property, CgroupError> {
        let annotations = HashMap::from([(format!("{PREFIX}{name}"), text.to_owned())]);
        properties(&annotations).map(|mut list| list.remove(0))
    }

    #[test]
    fn values_are_read() {
        let cases = [
            (
                "'inactive-or-failed'",
                Value::Text("inactive-or-failed".to_owned()),
            ),
            ("\"a\\\"b\"", Value::Text("a\"b".to_owned())),
            ("true", Value::Bool(true)),
            ("12", Value::I32(12)),
            ("-0x10", Value::I32(-16)),
            ("uint64 123456789", Value::U64(123_456_789)),
            ("@t 5", Value::U64(5)),
            ("1.5", Value::Double(1.5)),
            (
                "['a', 'b,c']",
                Value::Texts(vec!["a".to_owned(), "b,c".to_owned()]),
            ),
            ("@as []", Value::Texts(vec![])),
        ];
        for (text, value) in cases {
            assert_eq!(
                one("Thing", text).unwrap(),
                ("Thing".to_owned(), value),
                "{text}"
            );
        }
        for text in [
            "",
            "'open",
            "uint32 -1",
            "uint16 70000",
            "[]",
            "--5",
            "nonsense",
        ] {
            assert!(one("Thing", text).is_err(), "{text}");
        }
    }

    #[test]
    fn seconds_become_microseconds() {
        let found = one("TimeoutStopSec", "7").unwrap();
        assert_eq!(found, ("TimeoutStopUSec".to_owned(), Value::U64(7_000_000)));
        let found = one("TimeoutStopSec", "0.5").unwrap();
        assert_eq!(found, ("TimeoutStopUSec".to_owned(), Value::U64(500_000)));
        assert!(one("TimeoutStopSec", "'x'").is_err());
        // a name that ends so and is none
        assert_eq!(one("FOOSec", "7").unwrap().0, "FOOSec");
    }

    #[test]
    fn names_are_letters() {
        for name in ["", "ab", "A.b", "Foo_Bar"] {
            let told = one(name, "1").unwrap_err().to_string();
            assert!(told.contains("name incorrect"), "{told}");
        }
    }

    #[test]
    fn other_annotations_are_left_alone() {
        let annotations = HashMap::from([("org.example".to_owned(), "x".to_owned())]);
        assert!(properties(&annotations).unwrap().is_empty());
    }
}
