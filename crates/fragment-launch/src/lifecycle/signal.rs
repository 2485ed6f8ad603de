//! Signals by name or number, as engines write them.

use std::str::FromStr;

use thiserror::Error;

/// A signal's number: 1 to 64 on Linux, real-time signals included; 0 only asks whether the process is there (kill(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignalNumber(i32);

/// A word that names no signal.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown signal {0:?}; use a name such as TERM or SIGRTMIN+3, or a number from 0 to 64")]
pub struct SignalError(String);

const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

impl SignalNumber {
    /// SIGKILL.
    pub const KILL: Self = Self(9);
    /// SIGTERM.
    pub const TERM: Self = Self(15);

    /// The number.
    #[must_use]
    pub fn raw(self) -> i32 {
        self.0
    }
}

impl FromStr for SignalNumber {
    type Err = SignalError;

    fn from_str(text: &str) -> Result<Self, SignalError> {
        let unknown = || SignalError(text.to_owned());
        let last = fragment_sys::signal::last_real_time();
        if let Ok(number) = text.parse::<i32>() {
            return if (0..=last).contains(&number) {
                Ok(Self(number))
            } else {
                Err(unknown())
            };
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let name = match name {
            "IOT" => "ABRT",
            "POLL" => "IO",
            "CLD" => "CHLD",
            other => other,
        };
        if let Some(index) = NAMES.iter().position(|known| *known == name) {
            return i32::try_from(index + 1).map(Self).map_err(|_| unknown());
        }
        real_time(name, last).map(Self).ok_or_else(unknown)
    }
}

/// RTMIN, RTMIN+n, RTMAX, RTMAX-n: systemd in a container is stopped with RTMIN+3.
fn real_time(name: &str, last: i32) -> Option<i32> {
    let first = fragment_sys::signal::first_real_time();
    let number = if let Some(offset) = name.strip_prefix("RTMIN") {
        first
            + if offset.is_empty() {
                0
            } else {
                offset.strip_prefix('+')?.parse::<i32>().ok()?
            }
    } else {
        let offset = name.strip_prefix("RTMAX")?;
        last - if offset.is_empty() {
            0
        } else {
            offset.strip_prefix('-')?.parse::<i32>().ok()?
        }
    };
    (first..=last).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, number) in [
            ("0", 0),
            ("9", 9),
            ("KILL", 9),
            ("SIGKILL", 9),
            ("sigterm", 15),
            ("Usr1", 10),
            ("SYS", 31),
            ("64", 64),
            ("SIGRTMIN+3", 37),
            ("RTMAX", 64),
            ("rtmax-14", 50),
            ("SIGPOLL", 29),
            ("IOT", 6),
        ] {
            assert_eq!(
                text.parse::<SignalNumber>().map(SignalNumber::raw),
                Ok(number),
                "{text}"
            );
        }
        for bad in [
            "",
            "-1",
            "65",
            "SIG",
            "TERMINATE",
            "RTMIN+99",
            "RTMIN-1",
            "SIGRTMAX+1",
        ] {
            assert!(bad.parse::<SignalNumber>().is_err(), "{bad}");
        }
    }
}
