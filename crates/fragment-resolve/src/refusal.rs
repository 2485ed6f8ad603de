//! Why a container cannot be composed, and what a person can do about it.

use std::fmt;

use fragment_types::{CatalogueError, ComponentName, Digest, Evidence, EvidenceKind, Need};

use crate::candidate::Obstacle;
use crate::shelf::Unusable;

/// Kind of a refusal, for callers that map it to exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefusalKind {
    /// The command is neither in the bundle nor in the library.
    CommandNotFound,
    /// Something else is neither in the bundle nor in the library.
    NotFound,
    /// A shared object is in the library, but lacks symbol versions.
    SymbolVersion,
    /// Several components would do and no rule prefers one.
    Ambiguous,
    /// What is needed cannot be composed together.
    Conflict,
    /// What is needed is in the library, but excluded.
    Excluded,
    /// What is needed is in the library, but the lock does not hold it, or holds what the library does not.
    Locked,
    /// Something is missing and composition is off.
    Off,
    /// The library itself cannot be read.
    Library,
}

/// A need that no component may supply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    /// The need.
    pub need: Need,
    /// The chain from the entrypoint to it.
    pub chain: Vec<Evidence>,
    /// Which kind of refusal it makes.
    pub kind: RefusalKind,
    /// Why nothing in the library will do.
    pub detail: String,
}

/// One of two components that cannot be composed together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConflictSide {
    /// The component.
    pub component: ComponentName,
    /// Why it is wanted.
    pub because: String,
}

impl fmt::Display for ConflictSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ({})", self.component, self.because)
    }
}

/// A component that the lock holds by a digest the library does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absent {
    /// Its name.
    pub component: ComponentName,
    /// The digest the lock wants.
    pub wanted: Digest,
    /// The digests the library has under that name.
    pub present: Vec<Digest>,
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "component `{}` at {}", self.component, self.wanted)?;
        let digests: Vec<_> = self.present.iter().map(ToString::to_string).collect();
        match digests.as_slice() {
            [] => f.write_str(", and the library has none of that name"),
            digests => write!(f, ", and the library has it at {}", digests.join(" and ")),
        }
    }
}

/// Why a container cannot be composed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Needs that nobody supplies: all of them, the entrypoint's own first.
    #[error("{}", unmet_message(unmet))]
    Unmet {
        /// Never empty.
        unmet: Vec<Unmet>,
    },
    /// Something is missing, and the user said not to compose.
    #[error(
        "{}; composition is off: allow it (compose = auto) or add what is missing to the bundle",
        parts(unmet)
    )]
    Off {
        /// What is missing; never empty.
        unmet: Vec<Unmet>,
    },
    /// Several components would do.
    #[error(
        "{need}{} is provided by {}, and no rule prefers one: name the one to take (components) or the ones to leave out (exclude)",
        who(chain),
        list(candidates)
    )]
    Ambiguous {
        /// The need.
        need: Need,
        /// The chain from the entrypoint to it.
        chain: Vec<Evidence>,
        /// The components, by name.
        candidates: Vec<ComponentName>,
    },
    /// Two components that are both needed cannot be composed together.
    #[error(
        "components {first} and {second} conflict, and nothing else supplies what they are needed for: exclude one of them or what needs it"
    )]
    Conflict {
        /// The one chosen first.
        first: ConflictSide,
        /// The one that could not be added.
        second: ConflictSide,
    },
    /// The lock holds what the library does not.
    #[error(
        "the lock wants {}; put that into the library, or renew the lock with `fragment plan --lock`",
        absent.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    )]
    Lock {
        /// Never empty.
        absent: Vec<Absent>,
    },
    /// Something has to be composed, and the node wants to know what before it is.
    #[error(
        "this node composes nothing without a lock (lock_policy: required): give it one with `fragment plan --lock`"
    )]
    LockRequired,
    /// The library cannot be read.
    #[error("components cannot be looked up in the library")]
    Catalogue(#[from] CatalogueError),
}

impl Refusal {
    /// Its kind. Of several unmet needs, that of the first counts.
    #[must_use]
    pub fn kind(&self) -> RefusalKind {
        match self {
            Self::Unmet { unmet } => unmet.first().map_or(RefusalKind::NotFound, |one| one.kind),
            Self::Off { .. } => RefusalKind::Off,
            Self::Ambiguous { .. } => RefusalKind::Ambiguous,
            Self::Conflict { .. } => RefusalKind::Conflict,
            Self::Lock { .. } | Self::LockRequired => RefusalKind::Locked,
            Self::Catalogue(_) => RefusalKind::Library,
        }
    }
}

impl Unmet {
    /// Whether the need is the entrypoint itself and not something that the entrypoint needs.
    #[must_use]
    pub fn is_entry(&self) -> bool {
        // links on the way to the entrypoint are of the same kind; so are links on the way to its interpreter
        self.chain
            .iter()
            .all(|evidence| evidence.kind == EvidenceKind::Entry)
    }

    /// The need in the words that container engines map to exit codes.
    fn complaint(&self) -> String {
        match &self.need {
            Need::Command { name } if self.is_entry() => {
                format!("exec: \"{name}\": executable file not found in $PATH")
            }
            Need::Path { path } if self.is_entry() => {
                format!("exec: \"{path}\": stat {path}: no such file or directory")
            }
            Need::Command { name } => {
                format!(
                    "command `{name}`{}: executable file not found in $PATH",
                    who(&self.chain)
                )
            }
            Need::Path { path } => {
                format!("{path}{}: no such file or directory", who(&self.chain))
            }
            Need::Soname(needed) if self.kind == RefusalKind::SymbolVersion => {
                format!("shared library {}{}", needed.soname, who(&self.chain))
            }
            Need::Soname(needed) => {
                format!(
                    "shared library {}{}: not found",
                    needed.soname,
                    who(&self.chain)
                )
            }
            need => format!("{need}{}: not found", who(&self.chain)),
        }
    }
}

fn parts(unmet: &[Unmet]) -> String {
    let texts: Vec<_> = unmet
        .iter()
        .map(|one| match one.detail.as_str() {
            "" => one.complaint(),
            detail => format!("{}: {detail}", one.complaint()),
        })
        .collect();
    texts.join("; ")
}

fn unmet_message(unmet: &[Unmet]) -> String {
    let is = |kind: RefusalKind| unmet.iter().any(|one| one.kind == kind);
    let advice = if is(RefusalKind::Excluded) {
        "take the component off the exclude list or add what is missing to the bundle"
    } else if is(RefusalKind::Locked) {
        "renew the lock with `fragment plan --lock` or add what is missing to the bundle"
    } else {
        "add it to the bundle, or write a recipe in library/ and run `fragment library build`"
    };
    format!("{}; {advice}", parts(unmet))
}

/// ` (needed by …)`: the last place of the chain.
fn who(chain: &[Evidence]) -> String {
    chain.last().map_or_else(String::new, |evidence| {
        format!(" (needed by {})", evidence.source)
    })
}

fn list(names: &[ComponentName]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => quoted.join(""),
    }
}

/// The kind and the words for a need that met nothing but `obstacles`.
pub(crate) fn judge(need: &Need, obstacles: &[Obstacle]) -> (RefusalKind, String) {
    let kind = if obstacles.iter().any(Obstacle::is_exclusion) {
        RefusalKind::Excluded
    } else if obstacles.iter().any(Obstacle::is_unlocked) {
        RefusalKind::Locked
    } else if obstacles
        .iter()
        .any(|one| matches!(one, Obstacle::Versions { .. }))
    {
        RefusalKind::SymbolVersion
    } else if obstacles.iter().any(Obstacle::is_conflict) {
        RefusalKind::Conflict
    } else if matches!(need, Need::Command { .. }) {
        RefusalKind::CommandNotFound
    } else {
        RefusalKind::NotFound
    };
    if obstacles.is_empty() {
        return (kind, "no component of the library provides it".to_owned());
    }
    let mut texts: Vec<_> = obstacles.iter().map(ToString::to_string).collect();
    texts.sort();
    texts.dedup();
    texts.truncate(4); // more do not help a reader
    (kind, texts.join(", "))
}

impl Obstacle {
    /// The component that it keeps from supplying the need.
    pub(crate) fn component(&self) -> &ComponentName {
        match self {
            Self::Unusable { component, .. }
            | Self::Versions { component, .. }
            | Self::Machine { component }
            | Self::Private { component, .. }
            | Self::Dangling { component, .. } => component,
        }
    }

    fn is_exclusion(&self) -> bool {
        matches!(
            self,
            Self::Unusable {
                why: Unusable::Excluded { .. } | Unusable::LacksExcluded { .. },
                ..
            }
        )
    }

    fn is_unlocked(&self) -> bool {
        matches!(
            self,
            Self::Unusable {
                why: Unusable::Unlocked { .. } | Unusable::LacksUnlocked { .. },
                ..
            }
        )
    }

    fn is_conflict(&self) -> bool {
        matches!(
            self,
            Self::Unusable {
                why: Unusable::Torn { .. },
                ..
            }
        )
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unusable { component, why } => why.describe(component, f),
            Self::Versions {
                component,
                missing,
                offered,
            } => {
                write!(
                    f,
                    "component `{component}` has it without symbol version {}{}",
                    missing.join(", "),
                    highest(missing, offered)
                )
            }
            Self::Machine { component } => {
                write!(f, "component `{component}` has it for another machine only")
            }
            Self::Private { component, path } => write!(
                f,
                "component `{component}` has it at {path} only, where the dynamic loader does not look"
            ),
            Self::Dangling { component, target } => write!(
                f,
                "component `{component}` has a link to {target}, which no component provides"
            ),
        }
    }
}

impl Unusable {
    fn describe(&self, provider: &ComponentName, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Excluded { component } => {
                write!(f, "component `{component}` provides it but is excluded")
            }
            Self::Lacks { requirer, name } => write!(
                f,
                "component `{provider}` provides it but cannot be used: `{requirer}` requires component `{name}`, which is not in the library"
            ),
            Self::LacksExcluded { requirer, name } => write!(
                f,
                "component `{provider}` provides it but cannot be used: `{requirer}` requires component `{name}`, which is excluded"
            ),
            Self::Unlocked { component } => {
                write!(
                    f,
                    "component `{component}` provides it but is not in the lock"
                )
            }
            Self::LacksUnlocked { requirer, name } => write!(
                f,
                "component `{provider}` provides it but cannot be used: `{requirer}` requires component `{name}`, which is not in the lock"
            ),
            Self::Torn { left, right } => write!(
                f,
                "component `{provider}` provides it but cannot be used: what it requires includes `{left}` and `{right}`, which conflict"
            ),
        }
    }
}

/// ` (up to GLIBC_2.36)`: the highest version offered of the family of the first missing one.
fn highest(missing: &[String], offered: &[String]) -> String {
    let family = |version: &str| {
        version
            .rsplit_once('_')
            .map(|(family, _)| family.to_owned())
    };
    let Some(wanted) = missing.first().and_then(|version| family(version)) else {
        return String::new();
    };
    offered
        .iter()
        .filter(|version| family(version).as_ref() == Some(&wanted))
        .max_by_key(|version| numbers(version))
        .map_or_else(String::new, |version| format!(" (it goes up to {version})"))
}

/// The numbers in a version text: `GLIBC_2.36` before `GLIBC_2.4` in text order, behind it in this one.
fn numbers(version: &str) -> Vec<u64> {
    version
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::highest;

    #[test]
    fn the_highest_version_is_found_by_number() {
        let offered = ["GLIBC_2.36", "GLIBC_2.4", "GLIBC_PRIVATE", "GCC_9.0"].map(str::to_owned);
        assert_eq!(
            highest(&["GLIBC_2.38".to_owned()], &offered),
            " (it goes up to GLIBC_2.36)"
        );
        assert_eq!(highest(&["LIBFOO_1".to_owned()], &offered), "");
        assert_eq!(highest(&[], &offered), "");
    }
}
