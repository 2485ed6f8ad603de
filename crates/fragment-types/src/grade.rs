//! How much a piece of evidence says about a capability.
//!
//! A command line that holds a URL will open a connection; a program that imports `connect` may; one whose libraries import it
//! hardly tells (39 % of Debian's commands do, 7 % import it themselves); a string that looks like a URL is often one that people
//! are meant to read.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The grade of evidence, the strongest first.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Grade {
    /// The user or the image said so.
    Declared,
    /// Words: of the command line, the environment, a script.
    Argument,
    /// Symbols and modules that the application itself imports.
    #[default]
    Import,
    /// Symbols that the libraries it uses import.
    LibraryImport,
    /// Strings in its programs.
    #[serde(rename = "string")]
    Text,
}

/// Every grade by its name, the strongest first.
const NAMES: [(Grade, &str); 5] = [
    (Grade::Declared, "declared"),
    (Grade::Argument, "argument"),
    (Grade::Import, "import"),
    (Grade::LibraryImport, "library-import"),
    (Grade::Text, "string"),
];

impl Grade {
    /// Whether it is `minimum` or stronger.
    #[must_use]
    pub fn reaches(self, minimum: Self) -> bool {
        self <= minimum
    }

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        NAMES
            .iter()
            .find_map(|(grade, name)| (*grade == self).then_some(*name))
            .unwrap_or_default()
    }

    /// Whether it is the one that counts where nobody says another: plans of that leave it out.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no grade.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("declared, argument, import, library-import or string")]
pub struct InvalidGrade;

impl FromStr for Grade {
    type Err = InvalidGrade;

    fn from_str(text: &str) -> Result<Self, InvalidGrade> {
        NAMES
            .iter()
            .find_map(|(grade, name)| (*name == text).then_some(*grade))
            .ok_or(InvalidGrade)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grades_have_the_same_name_everywhere() {
        for (grade, name) in NAMES {
            assert_eq!(grade.to_string(), name);
            assert_eq!(name.parse(), Ok(grade));
            assert_eq!(serde_json::to_value(grade).unwrap(), name);
        }
        assert_eq!("Import".parse::<Grade>(), Err(InvalidGrade));
    }

    #[test]
    fn what_is_stronger_reaches_what_is_weaker() {
        assert!(Grade::Declared.reaches(Grade::Import));
        assert!(Grade::Import.reaches(Grade::Import));
        assert!(!Grade::LibraryImport.reaches(Grade::Import));
        assert!(NAMES.is_sorted_by(|(a, _), (b, _)| a < b && a.reaches(*b)));
    }
}
