//! Sizes and times as people write them, and back.

use std::time::Duration;

/// What a size looks like, for messages.
pub const SIZE: &str = "a size, as 100MB, 2GiB or a number of bytes";
/// What a time looks like, for messages.
pub const TIME: &str = "a time, as 300s, 5m, 50ms or a number of seconds";

/// What a part looks like, for messages.
pub const PERCENT: &str = "a whole number of percent, as 20% or 20, at most 100";

/// Units of sizes in bytes (IEC 80000-13), the one that is preferred first where two fit.
const SIZES: [(&str, u64); 9] = [
    ("TB", 1_000_000_000_000),
    ("TiB", 1 << 40),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("kB", 1000),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// Units of times in milliseconds.
const TIMES: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// The bytes that `text` says: a whole number, of bytes or of a unit (`B`, `kB`, `MB`, `GB`, `TB` of 1000; `KiB`, `MiB`, `GiB`,
/// `TiB` of 1024; in any case). None when it is no size.
#[must_use]
pub fn size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let known = |(name, _): &&(&str, u64)| name.eq_ignore_ascii_case(unit);
    let factor = match unit {
        "" => 1,
        _ => SIZES.iter().find(known)?.1,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// The time that `text` says: a number, of seconds or of a unit (`ms`, `s`, `m`, `h`, `d`). None when it is no time.
#[must_use]
pub fn time(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let unit = if unit.is_empty() { "s" } else { unit };
    let (_, milliseconds) = TIMES.iter().find(|(name, _)| *name == unit)?;
    if let Ok(number) = number.parse::<u64>() {
        return number.checked_mul(*milliseconds).map(Duration::from_millis);
    }
    let seconds = number.parse::<f64>().ok()? * (*milliseconds as f64 / 1000.0);
    Duration::try_from_secs_f64(seconds).ok()
}

/// The whole number of percent that `text` says, with or without the sign. None when it is none, or more than 100.
#[must_use]
pub fn percent(text: &str) -> Option<u8> {
    match split(text)? {
        (number, "" | "%") => number.parse().ok().filter(|percent| *percent <= 100),
        _ => None,
    }
}

/// A number of digits and at most one point, and the word after it.
fn split(text: &str) -> Option<(&str, &str)> {
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    let end = text.find(|c| !is_number(c)).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (!number.is_empty()).then(|| (number, unit.trim_start()))
}

/// `bytes` so that [`size`] reads the same again.
#[must_use]
pub fn size_text(bytes: u64) -> String {
    let fits = |(_, factor): &&(&str, u64)| bytes >= *factor && bytes.is_multiple_of(*factor);
    let (unit, factor) = SIZES.iter().find(fits).unwrap_or(&("B", 1));
    format!("{}{unit}", bytes / factor)
}

/// `time`, to the millisecond, so that [`self::time`] reads the same again.
#[must_use]
pub fn time_text(time: Duration) -> String {
    let (milliseconds, seconds) = (time.as_millis(), time.as_secs());
    if !milliseconds.is_multiple_of(1000) {
        format!("{milliseconds}ms")
    } else if seconds >= 3600 && seconds.is_multiple_of(3600) {
        format!("{}h", seconds / 3600)
    } else if seconds >= 600 && seconds.is_multiple_of(60) {
        format!("{}m", seconds / 60)
    } else {
        format!("{seconds}s")
    }
}

/// A time that was measured, to a tenth of a millisecond.
#[must_use]
pub fn measured_text(time: Duration) -> String {
    let tenths = (time.as_micros() + 50) / 100;
    match tenths % 10 {
        0 => format!("{}ms", tenths / 10),
        tenth => format!("{}.{tenth}ms", tenths / 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_whole_percents_up_to_a_hundred() {
        for (text, percent) in [("0", 0), ("5", 5), ("20%", 20), ("100 %", 100)] {
            assert_eq!(super::percent(text), Some(percent), "{text}");
        }
        for text in [
            "", "%", "101", "256", "-1", "0.5", "1.5%", "5%%", "ten", "5 pct", "٥",
        ] {
            assert_eq!(super::percent(text), None, "{text}");
        }
    }

    #[test]
    fn what_was_measured_has_a_tenth_of_a_millisecond() {
        for (micros, text) in [
            (0, "0ms"),
            (40_000, "40ms"),
            (1449, "1.4ms"),
            (99_960, "100ms"),
        ] {
            assert_eq!(measured_text(Duration::from_micros(micros)), text);
        }
    }

    #[test]
    fn sizes_have_units_of_1000_or_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("3B", 3),
            ("3 kB", 3000),
            ("100MB", 100_000_000),
            ("100mb", 100_000_000),
            ("2GiB", 2 << 30),
            ("1TB", 1_000_000_000_000),
        ] {
            assert_eq!(size(text), Some(bytes), "{text}");
            assert_eq!(size(&size_text(bytes)), Some(bytes), "{text}");
        }
        for text in [
            "",
            "MB",
            "-1",
            "1.5GB",
            "10M",
            "1e3",
            "99999999TB",
            "1MBs",
            "١MB",
        ] {
            assert_eq!(size(text), None, "{text}");
        }
        assert_eq!(size_text(100_000_000), "100MB");
        assert_eq!(size_text(2 << 30), "2GiB");
        assert_eq!(size_text(1001), "1001B");
    }

    #[test]
    fn times_have_units() {
        for (text, milliseconds) in [
            ("0", 0),
            ("30", 30_000),
            ("50ms", 50),
            ("1.5s", 1500),
            ("300s", 300_000),
            ("5m", 300_000),
            ("30m", 1_800_000),
            ("2h", 7_200_000),
            ("1 d", 86_400_000),
        ] {
            let duration = Duration::from_millis(milliseconds);
            assert_eq!(time(text), Some(duration), "{text}");
            assert_eq!(time(&time_text(duration)), Some(duration), "{text}");
        }
        for text in [
            "",
            "s",
            "soon",
            "-1",
            "nan",
            "inf",
            "1e400",
            "1..2",
            ".",
            "5min",
            "99999999999999d",
        ] {
            assert_eq!(time(text), None, "{text}");
        }
        assert_eq!(time_text(Duration::from_secs(300)), "300s");
    }
}
