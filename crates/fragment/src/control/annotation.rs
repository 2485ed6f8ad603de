//! What the annotations of a bundle ask for.

use std::collections::HashMap;

use super::{ControlError, Wishes, wish};
use crate::observe;

/// Prefix of the annotations that control composition.
pub const PREFIX: &str = "dev.fragment.";

/// Reads the wishes of a bundle's annotations. Other annotations are nobody's business here.
///
/// # Errors
/// [`ControlError`] for a key or value that cannot be followed: a misspelt wish is not ignored.
pub fn wishes(annotations: &HashMap<String, String>) -> Result<Wishes, ControlError> {
    let mut wishes = Wishes::default();
    for (key, value) in annotations {
        let Some(name) = key.strip_prefix(PREFIX) else {
            continue;
        };
        if name == observe::ANNOTATION {
            if !observe::is_valid(value) {
                return Err(ControlError::Value {
                    place: format!("annotation `{key}`"),
                    value: value.clone(),
                    expected: "true, or a name for the report".to_owned(),
                });
            }
            continue;
        }
        let invalid = |item: &str, expected: &dyn std::fmt::Display| ControlError::Value {
            place: format!("annotation `{key}`"),
            value: item.to_owned(),
            expected: expected.to_string(),
        };
        wish(&mut wishes, name, value, invalid)
            .unwrap_or_else(|| Err(ControlError::UnknownAnnotation { key: key.clone() }))?;
    }
    Ok(wishes)
}

#[cfg(test)]
mod tests {
    use fragment_resolve::Compose;
    use fragment_types::{Capability, ComponentName, Digest};

    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Wishes, ControlError> {
        wishes(
            &pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn lists_are_separated_by_commas() {
        let core = format!("core@{}", Digest::of(b"core"));
        let wishes = parse(&[
            ("dev.fragment.components", "bash, curl,"),
            ("dev.fragment.require", "tcp_listen"),
            ("dev.fragment.compose", "always"),
            ("dev.fragment.lock", &core),
            ("org.example.other", "x"),
        ])
        .unwrap();
        let components = wishes.components.iter().map(ComponentName::as_str);
        assert_eq!(components.collect::<Vec<_>>(), ["bash", "curl"]);
        let require = wishes.require.iter().map(Capability::as_str);
        assert_eq!(require.collect::<Vec<_>>(), ["tcp_listen"]);
        assert_eq!(wishes.compose, Some(Compose::Always));
        assert_eq!(wishes.lock.unwrap().to_string(), core);
    }

    #[test]
    fn what_cannot_be_followed_is_an_error_that_names_key_and_value() {
        for (key, value) in [
            ("dev.fragment.compose", "maybe"),
            ("dev.fragment.components", "../etc"),
            ("dev.fragment.require", "CAP_SYS_ADMIN"),
            ("dev.fragment.lock", "bash"),
            ("dev.fragment.observe", "/etc/x"),
        ] {
            let message = parse(&[(key, value)]).unwrap_err().to_string();
            assert!(
                message.contains(key) && message.contains(value),
                "{message}"
            );
        }
        let message = parse(&[("dev.fragment.colour", "blue")]).unwrap_err();
        assert!(message.to_string().contains("dev.fragment.colour"));
    }
}
