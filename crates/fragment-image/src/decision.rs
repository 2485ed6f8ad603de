//! What leaves an image and what stays.
//!
//! | leaves | when |
//! |---|---|
//! | identical | a component of the lock holds the same kind, mode and content at the same path, owned by root |
//! | supplied | its package is as packaged, is needed, and a component of the lock that holds that package has the path |
//! | unneeded | all its packages are part of every Debian or came as dependencies, and nothing that stays needs them |
//! | documentation | for people, of a package |
//! | derived | made from what leaves: bytecode, links to it, the state of the package manager |
//!
//! Everything else stays: what no package owns, what differs from its packaged digest, and what a package that is needed has
//! and no component. A package is needed when somebody installed it by name, when something that stays or that runs needs
//! one of its files, or when a package that is needed depends on it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use fragment_types::ComponentName;
use fragment_types::manifest::{PathEntry, PathKind};

use crate::dpkg::Database;
use crate::error::ImageError;
use crate::evidence;
use crate::inventory::{Inventory, Node, NodeKind};
use crate::shelf::Shelf;
use crate::view::{Step, View};

/// Read by people, not by programs (FHS 3.0, 4.11; the recipes cut the same from components).
const DOCUMENTATION: [&str; 12] = [
    "/usr/share/doc/",
    "/usr/share/doc-base/",
    "/usr/share/info/",
    "/usr/share/man/",
    "/usr/share/lintian/",
    "/usr/share/bug/",
    "/usr/share/menu/",
    "/usr/share/locale/",
    "/usr/share/bash-completion/",
    "/usr/share/zsh/",
    "/usr/share/gdb/",
    "/usr/share/common-licenses/",
];
/// Where a package keeps what it makes at run time, below its own name (FHS 3.0, 5.5, 5.8, 5.10).
const STATE: [&str; 3] = ["/var/lib/", "/var/cache/", "/var/log/"];
/// Most rounds of finding what stays and what that needs: each adds a package.
const MAX_ROUNDS: usize = 1000;

/// Why something leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Why {
    /// A component holds the same.
    Identical,
    /// A component holds the package.
    Supplied,
    /// Nobody needs its package.
    Unneeded,
    /// For people.
    Documentation,
    /// Made from what leaves.
    Derived,
}

/// What the caller wants to stay.
#[derive(Debug, Clone, Default)]
pub struct Keep {
    /// Paths, with everything below them.
    pub paths: Vec<String>,
    /// Packages, whole.
    pub packages: BTreeSet<String>,
}

/// Needed packages, and why.
pub(crate) type Needed = BTreeMap<String, String>;

/// What leaves an image.
#[derive(Debug)]
pub(crate) struct Decision {
    pub(crate) leaves: BTreeMap<String, Why>,
    /// Components that stand for packages of the image.
    pub(crate) components: BTreeSet<ComponentName>,
    /// Components that would bring back what the image has removed, with the path.
    pub(crate) refused: BTreeMap<ComponentName, String>,
    pub(crate) needed: Needed,
}

impl Decision {
    pub(crate) fn stays(&self, path: &str) -> bool {
        !self.leaves.contains_key(path)
    }
}

/// An image and what is known of it.
#[derive(Debug)]
pub(crate) struct Question<'q> {
    pub(crate) inventory: &'q Inventory,
    pub(crate) database: &'q Database,
    pub(crate) keep: &'q Keep,
    pub(crate) shelf: Shelf<'q>,
    /// Paths whose content differs from the packaged one, or is not known to be the same.
    changed: HashMap<String, bool>,
    digests: HashMap<String, Option<fragment_types::Digest>>,
}

impl<'q> Question<'q> {
    pub(crate) fn new(
        inventory: &'q Inventory,
        database: &'q Database,
        keep: &'q Keep,
        shelf: Shelf<'q>,
    ) -> Self {
        Self {
            inventory,
            database,
            keep,
            shelf,
            changed: HashMap::new(),
            digests: HashMap::new(),
        }
    }

    /// Decides, `evidence` being paths that something needs.
    pub(crate) fn decide(&mut self, evidence: &BTreeSet<String>) -> Result<Decision, ImageError> {
        let mut evidence = evidence.clone();
        let mut refused = BTreeMap::new();
        for _ in 0..MAX_ROUNDS {
            let (needed, components) = self.needed(&evidence, &refused)?;
            let closure = self.shelf.closure(&components)?;
            if let Some((component, path)) = self.resurrected(&components) {
                refused.insert(component, path);
                continue;
            }
            let decision = Decision {
                leaves: self.leaving(&needed, &closure)?,
                components,
                refused: refused.clone(),
                needed,
            };
            let more = evidence::of_what_stays(self.inventory, &decision)?;
            let before = evidence.len();
            evidence.extend(more);
            if evidence.len() == before {
                return Ok(decision);
            }
        }
        Err(ImageError::Tree {
            path: "/".to_owned(),
            detail: "what stays and what it needs does not come to an end",
        })
    }

    fn holder(
        &mut self,
        package: &str,
        refused: &BTreeMap<ComponentName, String>,
    ) -> Result<Option<ComponentName>, ImageError> {
        if self.keep.packages.contains(package) {
            return Ok(None);
        }
        let version = self.database.packages[package].version.clone();
        let holder = self.shelf.holder(package, &version)?;
        Ok(holder.filter(|name| !refused.contains_key(name)))
    }

    /// Needed packages, and the components that stand for them.
    fn needed(
        &mut self,
        evidence: &BTreeSet<String>,
        refused: &BTreeMap<ComponentName, String>,
    ) -> Result<(Needed, BTreeSet<ComponentName>), ImageError> {
        let database = self.database;
        let mut todo: VecDeque<(&str, String)> = VecDeque::new();
        for (name, package) in &database.packages {
            if package.is_wanted() {
                todo.push_back((name, "was installed by name".to_owned()));
            }
        }
        for name in &self.keep.packages {
            todo.push_back((name, "is kept".to_owned()));
        }
        for path in evidence {
            if self.is_kept(path) || self.is_documentation(path) {
                continue;
            }
            for owner in database.owners(path) {
                todo.push_back((owner, format!("{path} is used")));
            }
        }
        let (mut needed, mut components) = (Needed::new(), BTreeSet::new());
        while let Some((name, why)) = todo.pop_front() {
            if !database.packages.contains_key(name) || needed.contains_key(name) {
                continue;
            }
            needed.insert(name.to_owned(), why);
            let holder = self.holder(name, refused)?;
            let is_held = holder.is_some();
            components.extend(holder);
            for wanted in database.wants(name, !is_held) {
                // what every Debian has is there for installing and for people, unless something shows otherwise; what a
                // component's package depends on, the component requires or holds
                if self.holder(wanted, refused)?.is_some() || !database.packages[wanted].is_base {
                    todo.push_back((wanted, format!("{name} depends on it")));
                }
            }
        }
        Ok((needed, components))
    }

    /// A component that would bring back a file that the image has removed from a directory of the component's packages.
    fn resurrected(&self, components: &BTreeSet<ComponentName>) -> Option<(ComponentName, String)> {
        let nodes = &self.inventory.nodes;
        for name in components {
            let manifest = self.shelf.known(name)?;
            let is_ours = |package: &String| {
                let mut held = manifest.packages.iter();
                held.any(|held| held.name == *package && !held.sliced)
            };
            for entry in &manifest.provides.paths {
                let path = &entry.path;
                let is_state = path.starts_with("/etc/") || path.starts_with("/var/");
                if !is_state || entry.kind == PathKind::Directory || nodes.contains_key(path) {
                    continue;
                }
                let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
                let was_there = self.database.owners(path).iter().any(is_ours);
                let in_ours = nodes.contains_key(parent) && {
                    let owners = self.database.owners(parent);
                    !owners.is_empty() && owners.iter().all(is_ours)
                };
                if was_there || in_ours {
                    return Some((name.clone(), path.clone()));
                }
            }
        }
        None
    }

    fn is_kept(&self, path: &str) -> bool {
        self.keep.paths.iter().any(|kept| {
            path.strip_prefix(kept.trim_end_matches('/'))
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    fn is_documentation(&self, path: &str) -> bool {
        let is_below = DOCUMENTATION.iter().any(|above| path.starts_with(above));
        is_below && !self.database.owners(path).is_empty()
    }

    fn leaving(
        &mut self,
        needed: &Needed,
        closure: &BTreeSet<ComponentName>,
    ) -> Result<BTreeMap<String, Why>, ImageError> {
        let inventory = self.inventory;
        let mut leaves = BTreeMap::new();
        for (path, node) in &inventory.nodes {
            if node.is_directory() || self.is_kept(path) {
                continue;
            }
            if let Some(why) = self.leaves(path, node, needed, closure)? {
                leaves.insert(path.clone(), why);
            }
        }
        let supplied = self.shelf.paths(closure);
        self.derived(&mut leaves, needed, &supplied);
        self.directories(&mut leaves, needed, &supplied);
        Ok(leaves)
    }

    fn leaves(
        &mut self,
        path: &str,
        node: &Node,
        needed: &Needed,
        closure: &BTreeSet<ComponentName>,
    ) -> Result<Option<Why>, ImageError> {
        let entries: Vec<PathEntry> = {
            let manifests = closure.iter().filter_map(|name| self.shelf.known(name));
            manifests
                .filter_map(|manifest| {
                    let paths = &manifest.provides.paths;
                    let at = paths.binary_search_by(|entry| entry.path.as_str().cmp(path));
                    at.ok().map(|at| paths[at].clone())
                })
                .collect()
        };
        for entry in &entries {
            if self.is_identical(path, node, entry)? {
                return Ok(Some(Why::Identical));
            }
        }
        let owners = self.database.owners(path);
        if owners.is_empty()
            || owners
                .iter()
                .any(|owner| self.keep.packages.contains(owner))
        {
            return Ok(None);
        }
        if self.is_changed(path, node)? {
            return Ok(None);
        }
        if self.is_documentation(path) {
            return Ok(Some(Why::Documentation));
        }
        if !owners.iter().any(|owner| needed.contains_key(owner)) {
            return Ok(Some(Why::Unneeded));
        }
        let is_supplied = node.is_plain()
            && entries
                .iter()
                .any(|entry| kind(node) == Some(entry.kind) && has_mode(node, entry));
        Ok(is_supplied.then_some(Why::Supplied))
    }

    fn is_identical(
        &mut self,
        path: &str,
        node: &Node,
        entry: &PathEntry,
    ) -> Result<bool, ImageError> {
        if !node.is_plain() || !has_mode(node, entry) {
            return Ok(false);
        }
        match &node.kind {
            NodeKind::Symlink { target } => Ok(entry.target.as_ref() == Some(target)),
            NodeKind::File { size } if entry.kind == PathKind::File && entry.size == *size => {
                if !self.digests.contains_key(path) {
                    let digest = self.inventory.sha256(path)?;
                    self.digests.insert(path.to_owned(), Some(digest));
                }
                Ok(entry.digest.is_some() && self.digests[path] == entry.digest)
            }
            _ => Ok(false),
        }
    }

    /// Whether a file is not known to be as packaged.
    fn is_changed(&mut self, path: &str, node: &Node) -> Result<bool, ImageError> {
        if !matches!(node.kind, NodeKind::File { .. }) {
            return Ok(false);
        }
        if let Some(known) = self.changed.get(path) {
            return Ok(*known);
        }
        let changed = match self.database.packaged(path) {
            Some(packaged) => self.inventory.md5(path)? != packaged,
            None => true,
        };
        self.changed.insert(path.to_owned(), changed);
        Ok(changed)
    }

    /// What no package owns and what leaves made.
    fn derived(
        &self,
        leaves: &mut BTreeMap<String, Why>,
        needed: &Needed,
        supplied: &HashMap<&str, Vec<&PathEntry>>,
    ) {
        let nodes = &self.inventory.nodes;
        let unowned = |path: &str| self.database.owners(path).is_empty() && !self.is_kept(path);
        let mut more = Vec::new();
        for (path, node) in nodes {
            if node.is_directory() || leaves.contains_key(path) || !unowned(path) {
                continue;
            }
            let source = bytecode_source(path);
            let of_source = source.is_some_and(|source| leaves.contains_key(&source));
            if of_source || self.is_state(path, needed) || self.is_loader_cache(path, leaves) {
                more.push(path.clone());
            }
        }
        leaves.extend(more.into_iter().map(|path| (path, Why::Derived)));
        let whole = View::new(|path: &str| nodes.get(path).map(Step::of_node));
        let thin = View::new(|path: &str| {
            let own = nodes.get(path).filter(|_| !leaves.contains_key(path));
            own.map(Step::of_node).or_else(|| {
                let entries = supplied.get(path)?;
                entries.first().map(|entry| Step::of_entry(entry))
            })
        });
        let dangling: Vec<String> = nodes
            .iter()
            .filter(|(path, node)| {
                matches!(node.kind, NodeKind::Symlink { .. })
                    && !leaves.contains_key(*path)
                    && unowned(path)
                    && whole.resolve(path).is_some()
                    && thin.resolve(path).is_none()
            })
            .map(|(path, _)| path.clone())
            .collect();
        leaves.extend(dangling.into_iter().map(|path| (path, Why::Derived)));
    }

    /// State of a package that nobody needs, below its name or in its log.
    fn is_state(&self, path: &str, needed: &Needed) -> bool {
        state_of(path).is_some_and(|name| {
            self.database.packages.contains_key(name)
                && !needed.contains_key(name)
                && !self.keep.packages.contains(name)
        })
    }

    /// `ld.so.cache` lists libraries that leave; without it the loader searches its default directories (ld.so(8)). Where a
    /// configuration that stays names others, it stays too.
    fn is_loader_cache(&self, path: &str, leaves: &BTreeMap<String, Why>) -> bool {
        path == "/etc/ld.so.cache"
            && !self
                .inventory
                .nodes
                .range("/etc/ld.so.conf".to_owned().."/etc/ld.so.conf.d0".to_owned())
                .any(|(path, node)| !node.is_directory() && !leaves.contains_key(path))
    }

    /// Directories leave when nothing in them stays and they were a package's, as packages make them.
    fn directories(
        &self,
        leaves: &mut BTreeMap<String, Why>,
        needed: &Needed,
        supplied: &HashMap<&str, Vec<&PathEntry>>,
    ) {
        let mut occupied: BTreeSet<String> = BTreeSet::from(["/".to_owned()]);
        let nodes = &self.inventory.nodes;
        // below comes after above: from the end, every directory sees its children first
        for (path, node) in nodes.iter().rev() {
            if leaves.contains_key(path) {
                continue;
            }
            let parent = match path.rsplit_once('/') {
                Some(("", _)) | None => "/",
                Some((parent, _)) => parent,
            };
            let stays = !node.is_directory()
                || occupied.contains(path)
                || self.is_kept(path)
                || self.directory_stays(path, node, needed, supplied);
            if stays {
                occupied.insert(parent.to_owned());
            } else {
                leaves.insert(path.clone(), Why::Unneeded);
            }
        }
    }

    fn directory_stays(
        &self,
        path: &str,
        node: &Node,
        needed: &Needed,
        supplied: &HashMap<&str, Vec<&PathEntry>>,
    ) -> bool {
        let has_same = supplied.get(path).is_some_and(|entries| {
            node.is_plain()
                && entries
                    .iter()
                    .any(|entry| entry.kind == PathKind::Directory && has_mode(node, entry))
        });
        if has_same || bytecode_directory(path) || self.is_state(path, needed) {
            return false;
        }
        let owners = self.database.owners(path);
        owners.is_empty()
            || owners.iter().any(|owner| needed.contains_key(owner)) && !self.is_documentation(path)
    }
}

/// The name that a path below one of [`STATE`] says it is the state of.
pub(crate) fn state_of(path: &str) -> Option<&str> {
    let rest = STATE.iter().find_map(|above| path.strip_prefix(above))?;
    Some(match rest.split_once('/') {
        Some((name, _)) => name,
        None => rest.strip_suffix(".log").unwrap_or(rest),
    })
}

/// Modes of links mean nothing.
fn has_mode(node: &Node, entry: &PathEntry) -> bool {
    entry.kind == PathKind::Symlink || entry.mode == node.mode
}

fn kind(node: &Node) -> Option<PathKind> {
    match node.kind {
        NodeKind::Directory => Some(PathKind::Directory),
        NodeKind::File { .. } => Some(PathKind::File),
        NodeKind::Symlink { .. } => Some(PathKind::Symlink),
        NodeKind::Special { .. } => None,
    }
}

/// The source of Python bytecode (PEP 3147): `D/__pycache__/NAME.TAG.pyc` is made from `D/NAME.py`.
fn bytecode_source(path: &str) -> Option<String> {
    let (directory, file) = path.rsplit_once("/__pycache__/")?;
    let name = file.strip_suffix(".pyc")?.split('.').next()?;
    Some(format!("{directory}/{name}.py"))
}

fn bytecode_directory(path: &str) -> bool {
    path.ends_with("/__pycache__")
}
