//! What has to be made for a composition. Needs no more rights than to look at the rootfs; reads no tree.

use std::collections::BTreeMap;

use fragment_sys::root::{Kind, Root};
use fragment_types::manifest::{Account, PathKind};
use fragment_types::plan::{Generated, Layer, Part, PartKind};
use fragment_types::{Catalogue, CatalogueError, ComponentIndex, Digest, canonical};

use super::{GeneratedError, accounts, loader};

/// Changes when the same parts are made in another way.
const FORMAT: u32 = 1;
/// Lists of users and groups (passwd(5), group(5)).
const LISTS: [&str; 2] = ["/etc/passwd", "/etc/group"];
/// Their passwords (shadow(5), gshadow(5)): looked for only where several layers have users.
const SHADOWS: [&str; 2] = ["/etc/shadow", "/etc/gshadow"];
/// Directories that a merged-/usr root has as links into `/usr`.
const MERGED: [&str; 4] = ["/bin", "/sbin", "/lib", "/lib64"];
/// Most entries of a directory of the rootfs that are looked at.
const MAX_ENTRIES: usize = 4096;
/// Most directories that are bridged.
const MAX_DIRECTORIES: usize = 256;

/// What has to be made, and what a person should know about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// For the plan; none: nothing has to be made.
    pub generated: Option<Generated>,
    /// No path of this host is in them.
    pub warnings: Vec<String>,
}

/// The rootfs and the layers below it, as they are decided about.
struct View<'a> {
    root: &'a Root,
    catalogue: &'a dyn Catalogue,
    chosen: &'a [ComponentIndex],
    layers: &'a [Layer],
}

/// Decides what has to be made for `layers` below `root`; `chosen` are the same components in the same order.
///
/// # Errors
/// When two components mean different users by one name or number, and when the rootfs or the catalogue cannot be read.
pub fn decide(
    root: &Root,
    catalogue: &dyn Catalogue,
    chosen: &[ComponentIndex],
    layers: &[Layer],
) -> Result<Decision, GeneratedError> {
    check_accounts(layers)?;
    let view = View {
        root,
        catalogue,
        chosen,
        layers,
    };
    let mut decision = Decision::default();
    let mut parts = view.lists()?;
    decision.warnings.extend(view.hidden_accounts());
    match view.loader_cache() {
        Some(Ok(part)) => parts.push(part),
        Some(Err(warning)) => decision.warnings.push(warning),
        None => {}
    }
    for path in MERGED {
        if view.is_directory(path) {
            let before = parts.len();
            view.links(path, before, &mut parts)?;
        }
    }
    if !parts.is_empty() {
        decision.generated = Some(named(parts));
    }
    Ok(decision)
}

/// The parts under their digest.
pub(super) fn named(parts: Vec<Part>) -> Generated {
    // a list of plain structures is always JSON
    let digest = canonical::digest(&(FORMAT, &parts)).unwrap_or_else(|_| Digest::of(b""));
    Generated { digest, parts }
}

impl View<'_> {
    /// Whether the rootfs has something at `path`, or on the way to it, that would hide what is made there.
    fn holds(&self, path: &str) -> bool {
        !matches!(self.root.lookup_nofollow_last(path), Ok(None))
    }

    fn is_directory(&self, path: &str) -> bool {
        let found = self.root.lookup_nofollow_last(path);
        matches!(found, Ok(Some(found)) if found.kind == Kind::Directory)
    }

    /// The layers that hold `path` as a `kind`, topmost first.
    fn holders(&self, path: &str, kind: PathKind) -> Result<Vec<Digest>, CatalogueError> {
        let mut providers = self.catalogue.providing_path(path)?;
        providers.retain(|provider| provider.kind == kind);
        let holds = |index: &ComponentIndex| providers.iter().any(|p| p.component == *index);
        Ok(self
            .chosen
            .iter()
            .zip(self.layers)
            .filter(|(index, _)| holds(index))
            .map(|(_, layer)| layer.diff_id)
            .collect())
    }

    /// The lists that more than one layer holds, but those that the rootfs has: they would be hidden.
    fn lists(&self) -> Result<Vec<Part>, CatalogueError> {
        let mut parts = Vec::new();
        let mut several = false;
        for paths in [LISTS, SHADOWS] {
            for path in paths {
                let from = self.holders(path, PathKind::File)?;
                if from.len() < 2 {
                    continue;
                }
                several = true;
                if !self.holds(path) {
                    parts.push(Part {
                        path: path.to_owned(),
                        kind: PartKind::Accounts,
                        from,
                    });
                }
            }
            if !several {
                break;
            }
        }
        Ok(parts)
    }

    /// Users of components that the rootfs' own list lacks, or has with another number.
    fn hidden_accounts(&self) -> Vec<String> {
        let accounts: Vec<_> = self
            .layers
            .iter()
            .flat_map(|layer| layer.accounts.iter().map(move |account| (layer, account)))
            .collect();
        if accounts.is_empty() || !self.holds(LISTS[0]) {
            return Vec::new();
        }
        // what cannot be read as a list, a link that leads nowhere say, is none for the container either
        let text = self
            .root
            .read_prefix(LISTS[0], accounts::MAX_LIST)
            .unwrap_or_default();
        let own = accounts::numbers(&text);
        let tell = |(layer, account): (&Layer, &Account)| {
            let (name, uid, component) = (&account.name, account.uid, &layer.name);
            match own.get(name.as_bytes()) {
                None => Some(format!(
                    "the rootfs has an /etc/passwd of its own without the user {name} ({uid}), which component {component} needs"
                )),
                Some(number) if *number != uid => Some(format!(
                    "the rootfs has an /etc/passwd of its own in which the user {name} is {number}: files of component \
                     {component} belong to {uid}"
                )),
                Some(_) => None,
            }
        };
        accounts.into_iter().filter_map(tell).collect()
    }

    /// The loader's cache of what it does not find by itself, or why there is none.
    fn loader_cache(&self) -> Option<Result<Part, String>> {
        let holders = self.layers.iter().filter(|layer| !layer.cached.is_empty());
        let from: Vec<Digest> = holders.map(|layer| layer.diff_id).collect();
        if from.is_empty() {
            return None;
        }
        if self.holds(loader::CACHE) {
            let objects = self.layers.iter().flat_map(|layer| &layer.cached);
            let names: Vec<&str> = objects.map(|object| object.path.as_str()).collect();
            return Some(Err(format!(
                "the rootfs has an {} of its own, which hides {} from the dynamic loader: remove it from the image",
                loader::CACHE,
                names.join(", ")
            )));
        }
        let mut objects = BTreeMap::new();
        for object in self.layers.iter().flat_map(|layer| &layer.cached) {
            // the topmost layer's, as everywhere
            objects
                .entry((object.soname.as_str(), object.machine))
                .or_insert(object);
        }
        Some(Ok(Part {
            path: loader::CACHE.to_owned(),
            kind: PartKind::LoaderCache {
                objects: objects.into_values().cloned().collect(),
            },
            from,
        }))
    }

    /// A directory of links in the place of `path`, and of every directory below it that the rootfs and a layer both have.
    fn links(
        &self,
        path: &str,
        before: usize,
        parts: &mut Vec<Part>,
    ) -> Result<(), GeneratedError> {
        let from = self.holders(&format!("/usr{path}"), PathKind::Directory)?;
        if from.is_empty() {
            return Ok(());
        }
        if parts.len() - before >= MAX_DIRECTORIES {
            let top = path
                .match_indices('/')
                .nth(1)
                .map_or(path.len(), |(at, _)| at);
            return Err(GeneratedError::TooManyDirectories {
                path: path[..top].to_owned(),
                limit: MAX_DIRECTORIES,
            });
        }
        parts.push(Part {
            path: path.to_owned(),
            kind: PartKind::Links,
            from,
        });
        let entries = self.root.read_dir(path, MAX_ENTRIES)?.unwrap_or_default();
        for entry in entries.iter().filter(|entry| entry.is_directory) {
            self.links(&format!("{path}/{}", entry.name), before, parts)?;
        }
        Ok(())
    }
}

/// No two components mean different users by one name or number.
fn check_accounts(layers: &[Layer]) -> Result<(), GeneratedError> {
    let mut seen: Vec<(&Layer, &Account)> = Vec::new();
    for layer in layers {
        for account in &layer.accounts {
            for (above, other) in &seen {
                let what = if other.name == account.name && other != &account {
                    format!(
                        "the user {} is {}:{} in one and {}:{} in the other",
                        account.name, other.uid, other.gid, account.uid, account.gid
                    )
                } else if other.name != account.name && other.uid == account.uid {
                    format!(
                        "the user id {} is {} in one and {} in the other",
                        account.uid, other.name, account.name
                    )
                } else if other.name != account.name && other.gid == account.gid {
                    format!(
                        "the group id {} is {} in one and {} in the other",
                        account.gid, other.name, account.name
                    )
                } else {
                    continue;
                };
                return Err(GeneratedError::AccountClash {
                    first: above.name.clone(),
                    second: layer.name.clone(),
                    what,
                });
            }
            seen.push((layer, account));
        }
    }
    Ok(())
}
