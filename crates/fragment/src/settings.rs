//! Where things are on this node.

use std::path::PathBuf;

/// Default store directory.
pub const DEFAULT_STORE: &str = "/var/lib/fragment";
/// Variable that names another store directory.
pub const STORE_VARIABLE: &str = "FRAGMENT_STORE";

/// Default state directory of `fragment run`.
pub const DEFAULT_STATE: &str = "/run/fragment";
/// Variable that names another state directory.
pub const STATE_VARIABLE: &str = "FRAGMENT_STATE";

/// Settings of this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Directory of the component store.
    pub store: PathBuf,
    /// Directory of the bundles and containers of `fragment run`; best on a tmpfs, as `/run` is.
    pub state: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            store: DEFAULT_STORE.into(),
            state: DEFAULT_STATE.into(),
        }
    }
}

impl Settings {
    /// Settings from the process environment; an empty variable counts as unset.
    #[must_use]
    pub fn from_environment() -> Self {
        Self::from_variables(|name| std::env::var_os(name))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> Self {
        let mut settings = Self::default();
        for (name, path) in [
            (STORE_VARIABLE, &mut settings.store),
            (STATE_VARIABLE, &mut settings.state),
        ] {
            if let Some(value) = variable(name).filter(|value| !value.is_empty()) {
                *path = value.into();
            }
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::{DEFAULT_STORE, Settings};

    #[test]
    fn an_empty_variable_counts_as_unset() {
        for (value, store) in [
            (None, DEFAULT_STORE),
            (Some(""), DEFAULT_STORE),
            (Some("/s"), "/s"),
        ] {
            let settings = Settings::from_variables(|_| value.map(Into::into));
            assert_eq!(settings.store, std::path::Path::new(store), "{value:?}");
        }
    }
}
