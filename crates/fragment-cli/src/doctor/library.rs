//! The component store.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use fragment::kernel::{Attempt, Tried};
use fragment::store::{Store, StoreError};
use fragment::{CORE_CAPABILITY, Catalogue as _, Library, Settings};
use rustix::fs::statvfs;

use super::machine::Machine;
use super::{Finding, kernel};
use crate::render::bytes;

const SUBJECT: &str = "component library";

/// Below this, a build or a load soon fails.
const LITTLE: u64 = 1 << 30;

pub(super) fn examine(machine: &Machine, settings: &Settings, tried: &Tried) -> Vec<Finding> {
    let place = machine.place(&settings.store);
    let opened = match Store::open(&place) {
        Ok(store) => store.catalogue().map(drop),
        Err(error) => Err(error),
    };
    let mut findings = match opened {
        Ok(()) => contents(&place),
        Err(StoreError::Absent { .. }) => {
            return vec![Finding::warning(
                SUBJECT,
                format!(
                    "there is none at {}: only bundles that lack nothing can run",
                    settings.store.display()
                ),
                "fragment library build, or name the directory of one with FRAGMENT_STORE or `store` in fragment.yaml",
            )];
        }
        Err(error) => {
            return vec![Finding::problem(
                SUBJECT,
                format!("{} cannot be used: {}", place.display(), chain(&error)),
                "fragment library verify, as root; fragment library build makes it anew",
            )];
        }
    };
    findings.extend(permissions(&place));
    findings.extend(reach(&place));
    findings.extend(space(&place));
    for attempt in [Attempt::Library, Attempt::Idmap] {
        if let Some(outcome) = tried.outcome(attempt) {
            findings.push(kernel::judge(SUBJECT, attempt, outcome));
        }
    }
    findings
}

/// What the catalogue holds.
fn contents(place: &Path) -> Vec<Finding> {
    let settings = Settings {
        store: place.to_owned(),
        ..Settings::default()
    };
    let listed = Library::open(&settings).map_err(|error| chain(&error));
    let listed = listed.and_then(|library| {
        let components = library.components().map_err(|error| chain(&error))?;
        Ok((library.generation(), components))
    });
    let (generation, components) = match listed {
        Ok(listed) => listed,
        Err(error) => {
            return vec![Finding::problem(
                SUBJECT,
                error,
                "fragment library verify, as root",
            )];
        }
    };
    if !components.iter().any(|one| one.grants(CORE_CAPABILITY)) {
        return vec![Finding::problem(
            SUBJECT,
            format!("no component grants {CORE_CAPABILITY}: nothing can be composed without one"),
            "fragment library build core",
        )];
    }
    vec![Finding::ok(
        SUBJECT,
        format!(
            "{} components, generation {} of {}",
            components.len(),
            generation.short(),
            place.display()
        ),
    )]
}

/// Files of the library end up in containers of every user: only its owner may write them.
fn permissions(place: &Path) -> Option<Finding> {
    const OTHERS_WRITE: u32 = 0o022;
    let open: Vec<_> = ["", "trees", "blobs", "catalogue"]
        .into_iter()
        .map(|name| place.join(name))
        .filter(|path| fs::metadata(path).is_ok_and(|data| data.mode() & OTHERS_WRITE != 0))
        .map(|path| path.display().to_string())
        .collect();
    (!open.is_empty()).then(|| {
        Finding::problem(
            SUBJECT,
            format!("others than its owner may write {}", open.join(", ")),
            format!(
                "chmod -R go-w {}, then fragment library verify",
                place.display()
            ),
        )
    })
}

/// Plans need the catalogue alone; composing needs the trees, which are their owner's to read.
fn reach(place: &Path) -> Option<Finding> {
    use rustix::fs::{Access, access};
    let trees = place.join("trees");
    access(&trees, Access::READ_OK | Access::EXEC_OK).err()?;
    Some(Finding::warning(
        SUBJECT,
        format!(
            "this user may plan with {}, but not read its components",
            place.display()
        ),
        "as root, or with a library of your own: name it with `store` in ~/.config/fragment/fragment.yaml",
    ))
}

fn space(place: &Path) -> Option<Finding> {
    let found = statvfs(place).ok()?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    (free < LITTLE).then(|| {
        Finding::warning(
            SUBJECT,
            format!("{} are free at {}", bytes(free), place.display()),
            "make room there, or move the library and name its directory with `store` in fragment.yaml",
        )
    })
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn a_library_without_a_core_is_a_problem() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("store");
        Store::open_or_create(&place).unwrap();
        let findings = contents(&place);
        assert_eq!(findings[0].level, Level::Problem, "{findings:?}");
        assert!(
            findings[0].finding.contains(CORE_CAPABILITY),
            "{findings:?}"
        );
    }
}
