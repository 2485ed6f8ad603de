//! Container names, by runc's rule.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A container's name: also a directory name, so what could lead out of the state directory is no name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId(String);

/// Why a string is not a container name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IdError {
    /// No characters at all.
    #[error("container id cannot be empty")]
    Empty,
    /// Something other than letters, digits and `_+-.`.
    #[error(
        "invalid container id format: {0:?} may hold letters, digits and the characters _ + - . only"
    )]
    Characters(String),
    /// `.hidden`, `.` or `..`: names with a leading dot are the runtime's own.
    #[error("invalid container id format: {0:?} must not start with a dot")]
    Dot(String),
    /// Longer than a name may be.
    #[error("invalid container id format: {length} characters, at most {limit} are possible", limit = ContainerId::LONGEST)]
    Long {
        /// How long it is.
        length: usize,
    },
}

impl ContainerId {
    /// What a state directory can be called (NAME_MAX is 255; longer names fail there with its words).
    pub const LONGEST: usize = 1024;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ContainerId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.is_empty() {
            return Err(IdError::Empty);
        }
        if text.len() > Self::LONGEST {
            return Err(IdError::Long { length: text.len() });
        }
        if text.starts_with('.') {
            return Err(IdError::Dot(text.to_owned()));
        }
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
        if !text.bytes().all(good) {
            return Err(IdError::Characters(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runc_s_rule_for_names() {
        for good in ["a", "A-1_2.3+4", "0", "x.y", &"n".repeat(1024)] {
            assert!(good.parse::<ContainerId>().is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            ".fragment",
            "a/b",
            "../x",
            "a b",
            "ü",
            "a\n",
            "a:b",
            &"n".repeat(1025),
        ] {
            assert!(bad.parse::<ContainerId>().is_err(), "{bad:?}");
        }
    }
}
