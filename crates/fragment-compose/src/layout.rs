//! What of the rootfs would hide the components below it.
//!
//! Components keep everything below `/usr` and reach `/bin`, `/sbin`, `/lib` and `/lib64` through links that core holds. The
//! rootfs lies on top: where it has a directory, a generated one of links shows the components beside what the rootfs has there
//! ([`crate::generated`]); anything else hides them, whatever form the composition has.

use std::path::Component;

use fragment_types::Need;
use fragment_types::plan::{Layer, Reason};

use crate::error::ComposeError;
use crate::rootfs::{Entry, RootfsFacts};

const MUST_BE_DIRECTORIES: [&str; 4] = ["dev", "proc", "sys", "usr"];
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// Where programs of this machine find their dynamic loader (System V psABI supplements): every dynamic program of every
/// component goes through it.
const LOADERS: &[&str] = if cfg!(target_arch = "x86_64") {
    &["/lib64/ld-linux-x86-64.so.2"]
} else if cfg!(target_arch = "aarch64") {
    &["/lib/ld-linux-aarch64.so.1"]
} else {
    &[]
};

/// Checks that the rootfs leaves the components visible; the rest comes back as warnings.
pub(crate) fn check(facts: &RootfsFacts, layers: &[Layer]) -> Result<Vec<String>, ComposeError> {
    for name in MUST_BE_DIRECTORIES {
        match facts.entry(name) {
            None | Some(Entry::Directory) => {}
            Some(found) => {
                return Err(ComposeError::MustBeDirectory {
                    rootfs: facts.path.clone(),
                    name,
                    found: found.describe(),
                });
            }
        }
    }
    let mut warnings = Vec::new();
    for directory in MERGED {
        let Some(found) = facts
            .entry(directory)
            .filter(|entry| **entry != Entry::Directory && !is_merged(entry, directory))
        else {
            continue;
        };
        if let Some(path) = supplied_through(layers, directory).find(|path| !facts.holds(path)) {
            return Err(ComposeError::Hidden {
                directory,
                found: found.describe(),
                path: path.to_owned(),
            });
        }
        warnings.push(format!(
            "/{directory} of the rootfs is {} and hides what components hold in /usr/{directory} from those who look in \
             /{directory}: make it a link to usr/{directory}",
            found.describe()
        ));
    }
    Ok(warnings)
}

/// Whether the entry leads where core's own link would.
fn is_merged(entry: &Entry, directory: &str) -> bool {
    let Entry::Link(target) = entry else {
        return false;
    };
    let mut parts = Vec::new();
    for part in target.components() {
        match part {
            Component::Normal(part) => parts.push(part),
            Component::RootDir | Component::CurDir => {}
            // at the root `..` stays where it is; anywhere else it does not lead there plainly
            Component::ParentDir if parts.is_empty() => {}
            Component::ParentDir | Component::Prefix(_) => return false,
        }
    }
    parts == ["usr", directory]
}

/// Paths in `directory` that the layers are to supply.
fn supplied_through<'a>(
    layers: &'a [Layer],
    directory: &'static str,
) -> impl Iterator<Item = &'a str> {
    let wanted = layers
        .iter()
        .flat_map(|layer| &layer.reasons)
        .filter_map(|reason| match reason {
            Reason::Supplies {
                requirement: Need::Path { path },
            } => Some(path.as_str()),
            _ => None,
        });
    let loaders = LOADERS.iter().copied().filter(|_| !layers.is_empty());
    wanted.chain(loaders).filter(move |path| {
        path.strip_prefix('/')
            .and_then(|path| path.strip_prefix(directory))
            .is_some_and(|rest| rest.starts_with('/'))
    })
}

#[cfg(test)]
mod tests {
    use super::{Entry, is_merged};

    #[test]
    fn links_as_distributions_write_them_are_merged() {
        for (target, expected) in [
            ("usr/bin", true),
            ("/usr/bin", true),
            ("./usr/bin/", true),
            ("../usr/bin", true),
            ("usr/sbin", false),
            ("opt/../usr/bin", false),
            ("usr", false),
            ("", false),
        ] {
            assert_eq!(
                is_merged(&Entry::Link(target.into()), "bin"),
                expected,
                "{target}"
            );
        }
        assert!(!is_merged(&Entry::Directory, "bin"));
    }
}
