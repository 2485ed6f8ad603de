//! How much is logged.

use std::fmt;
use std::str::FromStr;

/// The least severe events that are logged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// What ends a run.
    Error,
    /// And what will not work as well.
    #[default]
    Warning,
    /// And what is done.
    Info,
    /// And each step, libcontainer's own among them.
    Debug,
    /// And everything else.
    Trace,
}

/// Names, as logrus has them.
pub(crate) const LEVELS: &str = "error, warning, info, debug or trace";

/// A text that is no level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid log level: {0:?}")]
pub struct InvalidLevel(pub String);

impl FromStr for LogLevel {
    type Err = InvalidLevel;

    /// logrus' names, in any case.
    fn from_str(text: &str) -> Result<Self, InvalidLevel> {
        match text.to_ascii_lowercase().as_str() {
            "panic" | "fatal" | "error" => Ok(Self::Error),
            "warn" | "warning" => Ok(Self::Warning),
            "info" => Ok(Self::Info),
            "debug" => Ok(Self::Debug),
            "trace" => Ok(Self::Trace),
            _ => Err(InvalidLevel(text.to_owned())),
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_named_as_logrus_names_them() {
        for (text, level) in [
            ("fatal", LogLevel::Error),
            ("WARN", LogLevel::Warning),
            ("Trace", LogLevel::Trace),
        ] {
            assert_eq!(text.parse(), Ok(level));
            assert_eq!(level.to_string().parse(), Ok(level));
        }
        let error = "loud".parse::<LogLevel>().unwrap_err();
        assert_eq!(error.to_string(), "not a valid log level: \"loud\"");
        assert!(LogLevel::Debug > LogLevel::Warning);
    }
}
