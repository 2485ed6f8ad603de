//! What a container was composed of: components and digests, the evidence for each, and who else holds them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use fragment_launch::{ContainerId, IdError, LaunchError, RuntimeOptions, Status};
use fragment_store::{Lease, Store, StoreError};
use fragment_types::{Digest, Plan};
use serde::Serialize;

use crate::explain::{self, Explanation};
use crate::runtime::{Runtime, RuntimeError};
use crate::settings::Settings;

/// A container, and what lies below its rootfs.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspection {
    /// Its name.
    pub id: String,
    /// The state directory it is kept in.
    pub root: PathBuf,
    /// Where it is in its life.
    pub status: Status,
    /// Its bundle.
    pub bundle: PathBuf,
    /// When it was created, RFC 3339.
    pub created: String,
    /// What was composed; `None` when the bundle lacked nothing.
    pub composition: Option<Composition>,
}

/// What was composed.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Composition {
    /// Digest of the plan.
    pub fragment: Digest,
    /// The store its layers lie in.
    pub store: PathBuf,
    /// Topmost first.
    pub components: Vec<Component>,
    /// Bytes of all components, unpacked.
    pub bytes: u64,
    /// Bytes of those that other containers hold too: once on disk and in the page cache for all of them.
    pub shared_bytes: u64,
    /// The plan the container was started with.
    pub plan: Plan,
}

/// One component of a container.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Component {
    /// Component digest.
    pub digest: Digest,
    /// Bytes, unpacked.
    pub bytes: u64,
    /// How many other containers hold it.
    pub shared_with: usize,
    /// Name, version and why it is there.
    #[serde(flatten)]
    pub explanation: Explanation,
}

/// A container that cannot be inspected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// Nothing is composed below a container of this name, and no state directory was given to look for others.
    #[error("no container {name:?} has components of {store}; name the state directory of one without: --root DIR", store = .store.display())]
    Unknown {
        /// What was asked for.
        name: String,
        /// Whose leases were searched.
        store: PathBuf,
    },
    /// The beginning of more than one name.
    #[error("{name:?} is the beginning of more than one container's name: {names}", names = .names.join(" "))]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// What it may mean.
        names: Vec<String>,
    },
    /// Not a name.
    #[error(transparent)]
    Name(#[from] IdError),
    /// The container's state could not be read.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The container's record could not be read.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The store or its leases could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Looks at the container `name` of the state directory `root`; without a directory, at the one whose name is or begins with
/// `name` among all that hold components of the store, whichever engine keeps them. Changes nothing.
///
/// # Errors
/// [`InspectError`].
pub fn inspect(
    settings: &Settings,
    name: &str,
    root: Option<&Path>,
) -> Result<Inspection, InspectError> {
    let (root, id) = match root {
        Some(root) => (root.to_owned(), name.to_owned()),
        None => holder(settings, name)?,
    };
    let id: ContainerId = id.parse()?;
    let launch = fragment_launch::Runtime::new(RuntimeOptions {
        root,
        systemd_cgroup: false,
        rootless: None,
    });
    let runtime = Runtime::new(launch, settings.clone());
    let state = runtime.launch().state(&id)?;
    let composition = match runtime.composition(&id)? {
        Some(composed) => {
            let mut others = Store::open(&composed.store)?.leases()?;
            others.retain(|Lease { holder, .. }| {
                holder.id != id.as_str() || holder.runtime_root != runtime.launch().root()
            });
            Some(composition(composed.plan, composed.store, &others))
        }
        None => None,
    };
    Ok(Inspection {
        id: state.id,
        root: runtime.launch().root().to_owned(),
        status: state.status,
        bundle: state.bundle,
        created: state.created,
        composition,
    })
}

fn composition(plan: Plan, store: PathBuf, others: &[Lease]) -> Composition {
    let holds = |lease: &&Lease, tree: &Digest| {
        let mut components = lease.components.iter();
        components.any(|component| component.diff_id == *tree)
    };
    let components: Vec<Component> = plan
        .layers
        .iter()
        .zip(explain::explain(&plan))
        .map(|(layer, explanation)| Component {
            digest: layer.digest,
            bytes: layer.size.plain,
            shared_with: others
                .iter()
                .filter(|lease| holds(lease, &layer.diff_id))
                .count(),
            explanation,
        })
        .collect();
    let shared = components
        .iter()
        .filter(|component| component.shared_with > 0);
    Composition {
        fragment: plan.id(),
        store,
        bytes: plan.size.plain,
        shared_bytes: shared.map(|component| component.bytes).sum(),
        components,
        plan,
    }
}

/// The container `name` means, by the leases of the store: its state directory and whole name.
fn holder(settings: &Settings, name: &str) -> Result<(PathBuf, String), InspectError> {
    let leases = Store::open(&settings.store)?.leases()?;
    let found: BTreeSet<(PathBuf, String)> = leases
        .into_iter()
        .map(|lease| (lease.holder.runtime_root, lease.holder.id))
        .filter(|(_, id)| !name.is_empty() && id.starts_with(name))
        .collect();
    choose(found, name).unwrap_or_else(|| {
        Err(InspectError::Unknown {
            name: name.to_owned(),
            store: settings.store.clone(),
        })
    })
}

/// A whole name comes before the beginning of one.
fn choose(
    found: BTreeSet<(PathBuf, String)>,
    name: &str,
) -> Option<Result<(PathBuf, String), InspectError>> {
    let (whole, partial): (Vec<_>, Vec<_>) = found.into_iter().partition(|(_, id)| id == name);
    let mut candidates = if whole.is_empty() { partial } else { whole };
    if candidates.len() > 1 {
        let shown = candidates
            .iter()
            .map(|(root, id)| format!("{id} (--root {})", root.display()));
        return Some(Err(InspectError::Ambiguous {
            name: name.to_owned(),
            names: shown.collect(),
        }));
    }
    candidates.pop().map(Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(names: &[(&str, &str)], name: &str) -> Option<Result<String, String>> {
        let found = names
            .iter()
            .map(|(root, id)| (PathBuf::from(root), (*id).to_owned()))
            .filter(|(_, id)| id.starts_with(name));
        choose(found.collect(), name).map(|one| match one {
            Ok((_, id)) => Ok(id),
            Err(error) => Err(error.to_string()),
        })
    }

    #[test]
    fn a_whole_name_comes_before_the_beginning_of_one() {
        let names = [("/r", "web"), ("/r", "web-2"), ("/r", "db-1")];
        assert_eq!(chosen(&names, "web"), Some(Ok("web".to_owned())));
        assert_eq!(chosen(&names, "d"), Some(Ok("db-1".to_owned())));
        assert_eq!(chosen(&names, "x"), None);
    }

    #[test]
    fn what_may_mean_two_is_refused_with_both() {
        let names = [("/r", "web-1"), ("/s", "web-1"), ("/r", "web-2")];
        let words = chosen(&names, "web-1").unwrap().unwrap_err();
        assert!(words.contains("web-1 (--root /r) web-1 (--root /s)"));
        assert!(chosen(&names, "web-").unwrap().is_err());
    }
}
