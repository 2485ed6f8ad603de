//! Which packages make one component: each its own, but for those that depend on each other.

use std::collections::{BTreeMap, BTreeSet};

use fragment_types::ComponentName;

use crate::dpkg::Database;
use crate::library::Library;
use crate::recipe::Defaults;

/// Packages that are one component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) name: ComponentName,
    pub(crate) members: BTreeSet<String>,
    /// The world they are taken from.
    pub(crate) world: usize,
}

/// All packages of all worlds that no recipe of the store claims, as components.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    pub(crate) all: BTreeMap<ComponentName, Group>,
    of: BTreeMap<String, ComponentName>,
    /// Package -> the recipe's component that holds it.
    claimed: BTreeMap<String, ComponentName>,
    /// To which packages dependencies do not lead, and which of them come along all the same.
    defaults: Defaults,
    essential: BTreeSet<String>,
}

impl Groups {
    /// Groups the packages of `worlds`; a package that several worlds have is taken from the first. `present` answers
    /// whether the store has a component.
    pub(crate) fn new(
        worlds: &[&Database],
        library: &Library,
        present: &dyn Fn(&ComponentName) -> bool,
    ) -> Self {
        let mut groups = Self {
            defaults: library.defaults().clone(),
            ..Self::default()
        };
        for (world, database) in worlds.iter().enumerate() {
            let mut graph: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
            for (name, package) in database.packages() {
                if package.essential {
                    groups.essential.insert(name.clone());
                }
                if let Some(component) = library.claimed_by(name).filter(|c| present(c)) {
                    groups.claimed.insert(name.clone(), component.clone());
                } else if !groups.of.contains_key(name) {
                    let depends = package.depends.iter();
                    let depends = depends.filter_map(|group| database.satisfier(group));
                    graph.insert(
                        name,
                        depends.filter(|d| groups.defaults.follows(d)).collect(),
                    );
                }
            }
            for members in strongly_connected(&graph) {
                groups.insert(members, world, library);
            }
        }
        groups
    }

    fn insert(&mut self, members: BTreeSet<String>, world: usize, library: &Library) {
        let mut names: Vec<&String> = members.iter().collect();
        names.sort_by_key(|n| (n.len(), n.as_str()));
        let is_free = |name: &ComponentName| {
            library.named(name.as_str()).is_err() && !self.all.contains_key(name)
        };
        let free = names
            .iter()
            .filter_map(|n| ComponentName::new(n.as_str()).ok());
        let spare = names
            .iter()
            .filter_map(|n| ComponentName::new(format!("{n}-deb")).ok());
        let Some(name) = free.chain(spare).find(is_free) else {
            return;
        };
        for member in &members {
            self.of.insert(member.clone(), name.clone());
        }
        let group = Group {
            name: name.clone(),
            members,
            world,
        };
        self.all.insert(name, group);
    }

    /// The component that holds a package.
    pub(crate) fn component(&self, package: &str) -> Option<&ComponentName> {
        self.claimed.get(package).or_else(|| self.of.get(package))
    }

    /// The component of a package that something depends on or needs a file of; packages that are never followed have one
    /// only where every root has them.
    pub(crate) fn needed(&self, package: &str) -> Option<&ComponentName> {
        let skip = !self.defaults.follows(package) && !self.essential.contains(package);
        self.component(package).filter(|_| !skip)
    }

    /// Components of the machinery of installation, as far as `wanted` or what they depend on depends on one:
    /// nothing requires them, and what a program asks for by name, path or module is there.
    pub(crate) fn beside(
        &self,
        wanted: &[String],
        databases: &[&Database],
    ) -> BTreeSet<ComponentName> {
        let mut beside = BTreeSet::new();
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        let mut pending: Vec<&str> = wanted.iter().map(String::as_str).collect();
        while let Some(package) = pending.pop() {
            if !seen.insert(package) {
                continue;
            }
            if self.defaults.machinery.contains(package) {
                beside.extend(self.of.get(package).cloned());
            }
            let world = self.component(package).and_then(|name| self.all.get(name));
            let found = match world.and_then(|group| databases.get(group.world)) {
                Some(database) => database.package(package).map(|one| (*database, one)),
                // a recipe's package
                None => databases
                    .iter()
                    .find_map(|database| Some((*database, database.package(package)?))),
            };
            let Some((database, installed)) = found else {
                continue;
            };
            let depends = installed.depends.iter();
            pending.extend(depends.filter_map(|group| database.satisfier(group)));
        }
        beside
    }

    /// Whether every root has the package.
    pub(crate) fn is_essential(&self, package: &str) -> bool {
        self.essential.contains(package)
    }

    /// Components required because packages of `group` depend on others.
    pub(crate) fn depends(&self, group: &Group, database: &Database) -> BTreeSet<ComponentName> {
        let mut requires = BTreeSet::new();
        for member in &group.members {
            let depends = database.package(member).map(|p| p.depends.as_slice());
            for dependency in depends.into_iter().flatten() {
                let Some(satisfier) = database.satisfier(dependency) else {
                    continue;
                };
                if self.defaults.follows(satisfier)
                    && let Some(component) = self.component(satisfier)
                {
                    requires.insert(component.clone());
                }
            }
        }
        requires.remove(&group.name);
        requires
    }
}

/// Tarjan's strongly connected components, without recursion: dependency chains are long.
fn strongly_connected(graph: &BTreeMap<&str, Vec<&str>>) -> Vec<BTreeSet<String>> {
    let numbers: BTreeMap<&str, usize> = graph.keys().enumerate().map(|(n, k)| (*k, n)).collect();
    let names: Vec<&str> = graph.keys().copied().collect();
    let edges: Vec<Vec<usize>> = graph
        .values()
        .map(|to| to.iter().filter_map(|t| numbers.get(t).copied()).collect())
        .collect();
    let count = names.len();
    let (mut index, mut low) = (vec![usize::MAX; count], vec![0; count]);
    let (mut on_stack, mut stack) = (vec![false; count], Vec::new());
    let (mut next, mut found) = (0, Vec::new());
    for start in 0..count {
        if index[start] != usize::MAX {
            continue;
        }
        let mut calls = vec![(start, 0)];
        while let Some((node, edge)) = calls.pop() {
            if edge == 0 {
                (index[node], low[node]) = (next, next);
                next += 1;
                stack.push(node);
                on_stack[node] = true;
            } else {
                let child = edges[node][edge - 1];
                if on_stack[child] {
                    low[node] = low[node].min(low[child]);
                }
            }
            if let Some(&child) = edges[node].get(edge) {
                calls.push((node, edge + 1));
                if index[child] == usize::MAX {
                    calls.push((child, 0));
                }
                continue;
            }
            if low[node] == index[node] {
                let mut members = BTreeSet::new();
                while let Some(member) = stack.pop() {
                    on_stack[member] = false;
                    members.insert(names[member].to_owned());
                    if member == node {
                        break;
                    }
                }
                found.push(members);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::strongly_connected;

    #[test]
    fn cycles_are_one_group() {
        let graph = BTreeMap::from([
            ("a", vec!["b", "gone"]),
            ("b", vec!["c"]),
            ("c", vec!["a", "d"]),
            ("d", vec!["e"]),
            ("e", vec![]),
            ("f", vec!["f", "a"]),
        ]);
        let mut found: Vec<Vec<String>> = strongly_connected(&graph)
            .into_iter()
            .map(|members| members.into_iter().collect())
            .collect();
        found.sort();
        assert_eq!(
            found,
            [vec!["a", "b", "c"], vec!["d"], vec!["e"], vec!["f"]]
        );
        let long: Vec<String> = (0..20_000).map(|n| format!("{n:05}")).collect();
        let chain = (1..long.len()).map(|n| (long[n - 1].as_str(), vec![long[n].as_str()]));
        assert_eq!(strongly_connected(&chain.collect()).len(), 19_999);
    }
}
