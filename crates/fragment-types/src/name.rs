//! Names of components and capabilities.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest name accepted, in bytes: it has to fit a file name with room for a suffix.
pub const MAX_NAME: usize = 128;

/// A text that does not follow the grammar of its kind of name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {kind}: {rule}")]
pub struct InvalidName {
    /// `component name` or `capability`.
    pub kind: &'static str,
    /// The text as given.
    pub text: String,
    /// The rule it breaks.
    pub rule: &'static str,
}

macro_rules! name_type {
    ($(#[$doc:meta])* $type:ident, $kind:literal, $valid:path, $rule:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// Checks the grammar.
            ///
            /// # Errors
            /// [`InvalidName`] with the rule that `text` breaks.
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidName> {
                let text = text.into();
                if $valid(&text) {
                    Ok(Self(text))
                } else {
                    Err(InvalidName { kind: $kind, text, rule: $rule })
                }
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }

        impl FromStr for $type {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }
    };
}

name_type!(
    /// Name of a component, also its recipe's file name and its OCI repository name.
    ///
    /// The grammar is that of Debian package names (Debian Policy 5.6.7), so that any package can become a component.
    ComponentName,
    "component name",
    is_component_name,
    "it starts with a lower-case letter or digit, goes on with those, `+`, `-` and `.`, and has at most 128 characters"
);

name_type!(
    /// Name of a capability that components grant, such as `tcp_connections`. Not a Linux capability (`CAP_*`).
    Capability,
    "capability",
    is_capability,
    "it starts with a lower-case letter and goes on with those, digits and `_`, at most 128 characters"
);

fn is_component_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.len() <= MAX_NAME
        && text.bytes().next().is_some_and(plain)
        && text
            .bytes()
            .all(|b| plain(b) || matches!(b, b'+' | b'-' | b'.'))
}

fn is_capability(text: &str) -> bool {
    text.len() <= MAX_NAME
        && text.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::{Capability, ComponentName};

    #[test]
    fn component_names_follow_debian_policy() {
        for good in ["core", "tcp-stack", "libstdc++6", "python3.11", "7zip"] {
            assert!(ComponentName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-x", ".", "..", "Core", "a/b", "a b", "a_b", "ü"] {
            assert!(ComponentName::new(bad).is_err(), "{bad}");
        }
        assert!(ComponentName::new("a".repeat(129)).is_err());
    }

    #[test]
    fn capabilities_are_snake_case() {
        assert!(Capability::new("tcp_connections").is_ok());
        for bad in ["", "_x", "CAP_NET_ADMIN", "a-b", "1a"] {
            assert!(Capability::new(bad).is_err(), "{bad}");
        }
    }
}
