//! What the environment of this process asks for. An empty variable counts as unset.
//!
//! | variable | what it says |
//! |---|---|
//! | `FRAGMENT_COMPOSE` | `auto`, `always` or `off` |
//! | `FRAGMENT_COMPONENTS` | components that have to be in, separated by commas |
//! | `FRAGMENT_EXCLUDE` | components that must not be in |
//! | `FRAGMENT_REQUIRE` | capabilities that have to be granted |
//! | `FRAGMENT_MIN_GRADE` | grade that the evidence of a capability has to have |
//! | `FRAGMENT_LOCK` | `name@sha256:…` of every component |
//! | `FRAGMENT_STORE` | directory of the component library |
//! | `FRAGMENT_STATE` | state directory of `fragment run` and of kept plans |
//! | `FRAGMENT_TRACE` | file that the phases of commands are appended to |
//! | `FRAGMENT_CONFIG` | configuration file instead of the node's and the user's |
//! | `PHANTOM_FRAGMENT_*` | a setting, as its row of [`KEYS`] tells |

use std::ffi::OsString;

use super::schema::KEYS;
use super::{ControlError, Wishes, nearest, wish};

/// Variable that names another store directory.
pub const STORE: &str = "FRAGMENT_STORE";
/// Variable that names another state directory.
pub const STATE: &str = "FRAGMENT_STATE";
/// Variable that names the file of phases.
pub const TRACE: &str = "FRAGMENT_TRACE";
/// Variable that names a configuration file to read instead of the node's and the user's.
pub const CONFIG: &str = "FRAGMENT_CONFIG";

/// The variables that say what to compose, and the name of each wish.
pub const WISHES: [(&str, &str); 6] = [
    ("FRAGMENT_COMPOSE", "compose"),
    ("FRAGMENT_COMPONENTS", "components"),
    ("FRAGMENT_EXCLUDE", "exclude"),
    ("FRAGMENT_REQUIRE", "require"),
    ("FRAGMENT_MIN_GRADE", "min_grade"),
    ("FRAGMENT_LOCK", "lock"),
];

/// Variables of the batteries that drive the built binaries.
const OF_TESTS: [&str; 2] = ["FRAGMENT_RUNC", "FRAGMENT_TEST_ID"];

/// The variables that this release reads.
pub fn known() -> impl Iterator<Item = &'static str> {
    WISHES
        .into_iter()
        .map(|(variable, _)| variable)
        .chain(KEYS.iter().filter_map(|key| key.variable))
        .chain([CONFIG])
}

/// Those of `names` that look like variables of ours and that nobody reads, sorted, with the one that was meant.
pub fn strange(names: impl Iterator<Item = String>) -> Vec<(String, Option<&'static str>)> {
    let ours =
        |name: &String| name.starts_with("FRAGMENT_") || name.starts_with("PHANTOM_FRAGMENT_");
    let read = |name: &str| known().chain(OF_TESTS).any(|known| known == name);
    let mut strange: Vec<_> = names
        .filter(|name| ours(name) && !read(name))
        .map(|name| {
            let meant = nearest(&name, known());
            (name, meant)
        })
        .collect();
    strange.sort();
    strange
}

/// The value of a variable that is set to something.
pub(crate) fn set(variable: &impl Fn(&str) -> Option<OsString>, name: &str) -> Option<OsString> {
    variable(name).filter(|value| !value.is_empty())
}

/// Reads the wishes of an environment.
///
/// # Errors
/// [`ControlError`] for a value that cannot be followed.
pub fn wishes(variable: &impl Fn(&str) -> Option<OsString>) -> Result<Wishes, ControlError> {
    let mut wishes = Wishes::default();
    for (variable_name, name) in WISHES {
        let Some(value) = set(variable, variable_name) else {
            continue;
        };
        let invalid = |item: &str, expected: &dyn std::fmt::Display| ControlError::Value {
            place: format!("variable {variable_name}"),
            value: item.to_owned(),
            expected: expected.to_string(),
        };
        // what is not UTF-8 is no name: the replacement character is refused with the rest
        let text = value.to_string_lossy();
        if let Some(done) = wish(&mut wishes, name, &text, invalid) {
            done?;
        }
    }
    Ok(wishes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use fragment_resolve::Compose;

    use super::*;

    #[test]
    fn every_variable_is_a_wish() {
        let values = |name: &str| {
            Some(OsString::from(match name {
                "FRAGMENT_COMPOSE" => "off",
                "FRAGMENT_COMPONENTS" => "bash",
                "FRAGMENT_EXCLUDE" => "curl,wget",
                "FRAGMENT_REQUIRE" => "tcp_listen",
                "FRAGMENT_MIN_GRADE" => "argument",
                "FRAGMENT_LOCK" => "",
                _ => panic!("{name} is no variable of ours"),
            }))
        };
        let wishes = wishes(&values).unwrap();
        assert_eq!(wishes.compose, Some(Compose::Off));
        assert_eq!(wishes.components.len(), 1);
        assert_eq!(wishes.exclude.len(), 2);
        assert_eq!(wishes.require.len(), 1);
        assert_eq!(wishes.min_grade, Some(fragment_types::Grade::Argument));
        assert_eq!(wishes.lock, None, "an empty variable counts as unset");
    }

    #[test]
    fn a_slip_in_a_variable_s_name_is_found() {
        let names = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            strange(names.into_iter())
        };
        let known = [
            "PATH",
            "FRAGMENT_STORE",
            "FRAGMENT_LOCK",
            "PHANTOM_FRAGMENT_CACHE_SIZE",
            "FRAGMENT_RUNC",
        ];
        assert_eq!(names(&known), []);
        assert_eq!(
            names(&[
                "PHANTOM_FRAGMENT_CACHESIZE",
                "FRAGMENT_COMPONENT",
                "FRAGMENT_X"
            ]),
            [
                ("FRAGMENT_COMPONENT".to_owned(), Some("FRAGMENT_COMPONENTS")),
                ("FRAGMENT_X".to_owned(), None),
                (
                    "PHANTOM_FRAGMENT_CACHESIZE".to_owned(),
                    Some("PHANTOM_FRAGMENT_CACHE_SIZE")
                ),
            ]
        );
    }

    #[test]
    fn what_cannot_be_followed_names_the_variable_and_the_value() {
        for (variable, value) in [
            ("FRAGMENT_COMPOSE", OsString::from("never")),
            ("FRAGMENT_COMPONENTS", OsString::from("Bash")),
            ("FRAGMENT_MIN_GRADE", OsString::from("guess")),
            ("FRAGMENT_LOCK", OsString::from("bash@sha256:1")),
            ("FRAGMENT_EXCLUDE", OsString::from_vec(vec![b'a', 0xff])),
        ] {
            let values = |name: &str| (name == variable).then(|| value.clone());
            let message = wishes(&values).unwrap_err().to_string();
            assert!(message.contains(variable), "{message}");
        }
    }
}
