//! Whether this machine, its component library and its engines are ready for fragment-runc, and what to do where they are not.
//!
//! | module | what it looks at |
//! |---|---|
//! | [`kernel`] | what the kernel offers, found out by trying |
//! | [`attempt`] | the tries, in a process of its own |
//! | [`user_namespaces`] | whether and how many |
//! | [`cgroups`] | the hierarchies, their controllers, what a user may do there |
//! | [`security_modules`] | AppArmor and SELinux |
//! | [`library`] | the component store |
//! | [`state`] | state directories |
//! | [`configuration`] | fragment.yaml and variables |
//! | [`engines`] | whether engines know the runtime |
//! | [`snippet`] | what makes them know it |
//! | [`machine`] | where all of them read |

pub(crate) mod attempt;
mod cgroups;
mod configuration;
mod engines;
mod kernel;
mod library;
pub(crate) mod machine;
mod security_modules;
pub(crate) mod snippet;
mod state;
mod user_namespaces;

use fragment::Settings;
use serde::Serialize;

use machine::Machine;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// As it should be.
    Ok,
    /// Something will not work, or not as well.
    Warning,
    /// Containers will fail.
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What was looked at.
    pub(crate) subject: &'static str,
    /// How bad it is.
    pub(crate) level: Level,
    /// What was found.
    pub(crate) finding: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remedy: Option<String>,
}

impl Finding {
    fn ok(subject: &'static str, finding: impl Into<String>) -> Self {
        Self {
            subject,
            level: Level::Ok,
            finding: finding.into(),
            remedy: None,
        }
    }

    fn warning(
        subject: &'static str,
        finding: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            level: Level::Warning,
            remedy: Some(remedy.into()),
            ..Self::ok(subject, finding)
        }
    }

    fn problem(
        subject: &'static str,
        finding: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            level: Level::Problem,
            ..Self::warning(subject, finding, remedy)
        }
    }
}

/// Looks at everything. `store` is the one of the command line.
pub(crate) fn examine(machine: &Machine, store: Option<std::path::PathBuf>) -> Vec<Finding> {
    let (mut settings, mut findings) = configuration::examine(machine);
    if let Some(store) = store {
        settings.store = store;
    }
    let tried = attempt::all(&machine.place(&settings.store));
    findings.splice(0..0, kernel::examine(machine, &tried));
    findings.extend(user_namespaces::examine(machine));
    findings.extend(cgroups::examine(machine));
    findings.extend(security_modules::examine(machine));
    findings.extend(library::examine(machine, &settings, &tried));
    findings.extend(state::examine(machine, &settings));
    findings.extend(engines::examine(machine));
    findings
}

/// The settings that findings about places are made with when the configuration cannot be followed.
fn fallback() -> Settings {
    Settings::of_environment()
}
