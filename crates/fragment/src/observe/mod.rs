//! What a run opens and misses, and what the library could have added to it. Nothing is changed by it: it is told.
//!
//! | module | what it does |
//! |---|---|
//! | [`profile`] | the container's system call filter, with a listener for the calls that name files |
//! | `calls` | which calls those are, and where each has its path |
//! | `sight` | a call -> the path it means in the container's root, and whether it is there |
//! | `process` | the observer: processes of their own that live as long as the container |
//! | [`report`] | what was seen, against the plan and the library |
//!
//! The observer is an agent as config-linux.md describes it: the runtime hands it the listener of the filter. It looks at the
//! arguments, looks by itself whether the path exists, and lets the call happen; the program gets the kernel's own answer.

mod calls;
mod process;
pub mod profile;
pub mod report;
mod sight;

use std::path::{Path, PathBuf};

use fragment_launch::Bundle;
use fragment_types::Plan;

use crate::settings::Settings;

pub use calls::Use;
pub use process::ObserveError;
pub(crate) use process::{Observer, begin};
pub use report::Report;

/// Where a report goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// The report as JSON.
    pub report: Option<PathBuf>,
    /// The proposed `/.fragment.yaml`, where there is something to propose.
    pub proposal: Option<PathBuf>,
}

/// The annotation that asks for it.
pub const ANNOTATION: &str = "observe";

impl Request {
    /// What a bundle's annotation asks for: `true`, or a name for the report. Both files lie in `observed` of the node's state
    /// directory: who starts a container may be allowed less than to have root write a file anywhere.
    #[must_use]
    pub fn of_bundle(settings: &Settings, bundle: &Bundle, id: &str) -> Option<Self> {
        let annotations = bundle.spec.annotations().as_ref()?;
        let key = format!("{}{ANNOTATION}", crate::control::annotation::PREFIX);
        let value = annotations.get(&key)?.as_str();
        let name = match value {
            "" | "false" => return None,
            "true" => id,
            name => name.trim_end_matches(".json"),
        };
        Some(Self::at(&settings.state.join("observed").join(name)))
    }

    /// `PATH.json` and `PATH.fragment.yaml`.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        let with = |suffix: &str| {
            let mut path = path.as_os_str().to_owned();
            path.push(suffix);
            Some(path.into())
        };
        Self {
            report: with(".json"),
            proposal: with(".fragment.yaml"),
        }
    }
}

/// Whether `value` can be the annotation's: a file name and nothing more.
pub(crate) fn is_valid(value: &str) -> bool {
    value.len() <= 128
        && !value.starts_with('.')
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

/// What an observer is to know of its container.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub(crate) settings: Settings,
    pub(crate) plan: Plan,
    pub(crate) request: Request,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_nowhere_else() {
        for value in ["true", "false", "web-1", "web.json", ""] {
            assert!(is_valid(value), "{value}");
        }
        for value in ["/etc/passwd", "a/b", "..", ".hidden", "a b", "a\n"] {
            assert!(!is_valid(value), "{value}");
        }
    }
}
