//! Where something was asked for, for people.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Wishes, annotation, environment, image};

/// A place that says what to compose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Flags of the `fragment` command.
    Flag,
    /// Annotations of the bundle.
    Annotation,
    /// `/.fragment.yaml` of the rootfs.
    Image,
    /// Variables of the process.
    Variable,
    /// A configuration file.
    File(PathBuf),
}

/// What one place says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Which one.
    pub place: Place,
    /// What it asks for.
    pub wishes: Wishes,
    /// Of a file: the line of each key that asks.
    pub lines: BTreeMap<String, u64>,
}

impl Said {
    /// What `place` says.
    #[must_use]
    pub fn by(place: Place, wishes: Wishes) -> Self {
        Self {
            place,
            wishes,
            lines: BTreeMap::new(),
        }
    }
}

impl Place {
    /// The place of one wish (`exclude`), as a person finds it.
    #[must_use]
    pub fn of(&self, wish: &str) -> String {
        match self {
            Self::Flag => format!("the flag --{}", flag(wish)),
            Self::Annotation => format!("the annotation {}{wish}", annotation::PREFIX),
            Self::Image => format!("`{wish}` in the image's {}", image::PATH),
            Self::Variable => {
                let known = environment::WISHES.iter().find(|(_, name)| *name == wish);
                let variable = known.map_or("FRAGMENT_…", |(variable, _)| *variable);
                format!("the variable {variable}")
            }
            Self::File(path) => format!("`{wish}` in {}", path.display()),
        }
    }
}

/// The flag of a wish, where it has another name.
fn flag(wish: &str) -> String {
    match wish {
        "components" => "component".to_owned(),
        "compose" => "always".to_owned(),
        other => other.replace('_', "-"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_told_so_that_it_can_be_found() {
        for (place, expected) in [
            (Place::Flag, "the flag --min-grade"),
            (Place::Annotation, "the annotation dev.fragment.min_grade"),
            (Place::Image, "`min_grade` in the image's /.fragment.yaml"),
            (Place::Variable, "the variable FRAGMENT_MIN_GRADE"),
            (Place::File("/x.yaml".into()), "`min_grade` in /x.yaml"),
        ] {
            assert_eq!(place.of("min_grade"), expected);
        }
    }
}
