//! What the user asked of the composition, read from annotations.

use std::collections::{BTreeSet, HashMap};

use fragment_resolve::{Compose, Policy};
use fragment_types::{Capability, ComponentName};

/// Prefix of the annotations that control composition.
pub const PREFIX: &str = "dev.fragment.";

/// An annotation that cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// A key under [`PREFIX`] that this release does not know.
    #[error(
        "annotation `{key}` is not one this release knows: use {PREFIX}compose, {PREFIX}components, {PREFIX}exclude or {PREFIX}require"
    )]
    UnknownKey {
        /// The key.
        key: String,
    },
    /// A value outside the key's grammar.
    #[error("annotation `{key}`: `{value}` is not valid: {expected}")]
    BadValue {
        /// The key.
        key: String,
        /// The value, or the item of the list.
        value: String,
        /// What would be.
        expected: String,
    },
}

/// Reads the policy from a bundle's annotations. Other annotations are nobody's business here.
///
/// # Errors
/// [`PolicyError`] for a key or value that cannot be followed: a misspelt wish is not ignored.
pub fn from_annotations(annotations: &HashMap<String, String>) -> Result<Policy, PolicyError> {
    let mut policy = Policy::default();
    for (key, value) in annotations {
        let Some(name) = key.strip_prefix(PREFIX) else {
            continue;
        };
        match name {
            "compose" => {
                policy.compose = match value.as_str() {
                    "auto" => Compose::Auto,
                    "always" => Compose::Always,
                    "off" => Compose::Off,
                    _ => return Err(bad_value(key, value, "auto, always or off")),
                }
            }
            "components" => policy.components = list(key, value, ComponentName::new)?,
            "exclude" => {
                policy.exclude = list(key, value, ComponentName::new)?
                    .into_iter()
                    .collect::<BTreeSet<_>>();
            }
            "require" => {
                policy.require = list(key, value, Capability::new)?
                    .into_iter()
                    .collect::<BTreeSet<_>>();
            }
            _ => return Err(PolicyError::UnknownKey { key: key.clone() }),
        }
    }
    Ok(policy)
}

fn list<'v, T, E: std::fmt::Display>(
    key: &str,
    value: &'v str,
    parse: impl Fn(&'v str) -> Result<T, E>,
) -> Result<Vec<T>, PolicyError> {
    value
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(|item| parse(item).map_err(|error| bad_value(key, item, error)))
        .collect()
}

fn bad_value(key: &str, value: &str, expected: impl std::fmt::Display) -> PolicyError {
    PolicyError::BadValue {
        key: key.to_owned(),
        value: value.to_owned(),
        expected: expected.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Policy, PolicyError> {
        from_annotations(
            &pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn lists_are_separated_by_commas() {
        let policy = parse(&[
            ("dev.fragment.components", "bash, curl,"),
            ("dev.fragment.require", "tcp_listen"),
            ("dev.fragment.compose", "always"),
            ("org.example.other", "x"),
        ])
        .unwrap();
        assert_eq!(
            policy
                .components
                .iter()
                .map(ComponentName::as_str)
                .collect::<Vec<_>>(),
            ["bash", "curl"]
        );
        assert_eq!(
            policy
                .require
                .iter()
                .map(Capability::as_str)
                .collect::<Vec<_>>(),
            ["tcp_listen"]
        );
        assert!(matches!(policy.compose, Compose::Always));
    }

    #[test]
    fn what_cannot_be_followed_is_an_error_that_names_key_and_value() {
        for (key, value) in [
            ("dev.fragment.compose", "maybe"),
            ("dev.fragment.components", "bash,../etc"),
            ("dev.fragment.require", "CAP_SYS_ADMIN"),
            ("dev.fragment.colour", "blue"),
        ] {
            let message = parse(&[(key, value)]).unwrap_err().to_string();
            assert!(message.contains(key), "{message}");
        }
    }
}
