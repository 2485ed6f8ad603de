//! From sonames needed to components required: done once, when the catalogue is built.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use fragment_types::manifest::{Machine, NeededSoname, Soname};
use fragment_types::{ComponentName, Manifest};
use serde::{Deserialize, Serialize};

/// Something that a component needs and the library cannot give it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unresolved {
    /// The component.
    pub component: ComponentName,
    /// What it needs.
    #[serde(flatten)]
    pub need: UnresolvedNeed,
}

/// What cannot be given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "unresolved", rename_all = "kebab-case")]
pub enum UnresolvedNeed {
    /// No component of this name or alias.
    Component {
        /// The name.
        name: ComponentName,
    },
    /// No component has the shared object, with all symbol versions, where the loader finds it.
    Soname(NeededSoname),
    /// Several components have it, and none is preferred: resolution decides by what else is there.
    Ambiguous {
        /// What is needed.
        needed: NeededSoname,
        /// Who has it.
        providers: BTreeSet<ComponentName>,
    },
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let component = &self.component;
        match &self.need {
            UnresolvedNeed::Component { name } => {
                write!(
                    f,
                    "component `{component}` requires component `{name}`, which is not there"
                )
            }
            UnresolvedNeed::Soname(needed) => {
                write!(f, "component `{component}` needs {}", needed.soname)?;
                for (at, version) in needed.versions.iter().enumerate() {
                    write!(f, "{}{version}", if at == 0 { " with " } else { ", " })?;
                }
                f.write_str(", which no component provides")
            }
            UnresolvedNeed::Ambiguous { needed, providers } => {
                write!(
                    f,
                    "component `{component}` needs {}, provided by",
                    needed.soname
                )?;
                for (at, provider) in providers.iter().enumerate() {
                    write!(f, "{} `{provider}`", if at == 0 { "" } else { "," })?;
                }
                f.write_str(" alike")
            }
        }
    }
}

/// What links need to know of a component.
#[derive(Debug)]
struct Node {
    name: ComponentName,
    preference: i32,
    requires: BTreeSet<ComponentName>,
    needs: Vec<NeededSoname>,
}

/// A public shared object.
#[derive(Debug)]
struct Provider {
    node: usize,
    versions: BTreeSet<String>,
}

/// All components, by what they are required for.
#[derive(Debug, Default)]
pub(super) struct Links {
    nodes: Vec<Node>,
    by_name: HashMap<ComponentName, Vec<usize>>,
    sonames: HashMap<(String, Machine), Vec<Provider>>,
}

impl Links {
    pub(super) fn add(&mut self, manifest: &Manifest) {
        let node = self.nodes.len();
        for name in std::iter::once(&manifest.name).chain(&manifest.aliases) {
            self.by_name.entry(name.clone()).or_default().push(node);
        }
        for Soname {
            soname,
            machine,
            public,
            versions,
            ..
        } in &manifest.provides.sonames
        {
            if *public && *machine != Machine::Other {
                self.sonames
                    .entry((soname.clone(), *machine))
                    .or_default()
                    .push(Provider {
                        node,
                        versions: versions.clone(),
                    });
            }
        }
        self.nodes.push(Node {
            name: manifest.name.clone(),
            preference: manifest.preference,
            requires: manifest.requires.components.clone(),
            needs: manifest.requires.sonames.clone(),
        });
    }

    /// For every component, in the order added, the names of those it requires; and what could not be resolved.
    pub(super) fn resolve(&self) -> (Vec<BTreeSet<ComponentName>>, Vec<Unresolved>) {
        let mut all = Vec::with_capacity(self.nodes.len());
        let mut unresolved = Vec::new();
        for (at, node) in self.nodes.iter().enumerate() {
            let mut tell = |need| {
                unresolved.push(Unresolved {
                    component: node.name.clone(),
                    need,
                });
            };
            for name in &node.requires {
                if !self.by_name.contains_key(name) {
                    tell(UnresolvedNeed::Component { name: name.clone() });
                }
            }
            all.push(self.requires(at, node, &mut tell));
        }
        (all, unresolved)
    }

    fn requires(
        &self,
        at: usize,
        node: &Node,
        tell: &mut dyn FnMut(UnresolvedNeed),
    ) -> BTreeSet<ComponentName> {
        let mut requires = node.requires.clone();
        let mut closure = BTreeSet::new();
        self.extend_closure(at, &mut closure);
        let mut ambiguous = Vec::new();
        for needed in &node.needs {
            let providers = self.providers(needed);
            if providers.is_empty() {
                tell(UnresolvedNeed::Soname(needed.clone()));
            } else if providers.is_disjoint(&closure) {
                match self.preferred(&providers) {
                    Some(provider) => {
                        requires.insert(self.nodes[provider].name.clone());
                        self.extend_closure(provider, &mut closure);
                    }
                    None => ambiguous.push((needed, providers)),
                }
            }
        }
        // last, when everything that is certain is in the closure
        for (needed, providers) in ambiguous {
            if providers.is_disjoint(&closure) {
                tell(UnresolvedNeed::Ambiguous {
                    needed: needed.clone(),
                    providers: providers
                        .iter()
                        .map(|&p| self.nodes[p].name.clone())
                        .collect(),
                });
            }
        }
        requires
    }

    /// Adds `from` and everything it declares to require, and so on.
    fn extend_closure(&self, from: usize, closure: &mut BTreeSet<usize>) {
        let mut pending = vec![from];
        while let Some(node) = pending.pop() {
            if closure.insert(node) {
                pending.extend(self.nodes[node].requires.iter().filter_map(|name| {
                    let candidates = self.by_name.get(name)?.iter().copied().collect();
                    self.preferred(&candidates)
                }));
            }
        }
    }

    /// Components with a public shared object that satisfies `needed`.
    fn providers(&self, needed: &NeededSoname) -> BTreeSet<usize> {
        self.sonames
            .get(&(needed.soname.clone(), needed.machine))
            .into_iter()
            .flatten()
            .filter(|provider| needed.versions.is_subset(&provider.versions))
            .map(|provider| provider.node)
            .collect()
    }

    /// The one with the highest preference, if it is one.
    fn preferred(&self, candidates: &BTreeSet<usize>) -> Option<usize> {
        let highest = candidates
            .iter()
            .map(|&node| self.nodes[node].preference)
            .max()?;
        let mut best = candidates
            .iter()
            .copied()
            .filter(|&node| self.nodes[node].preference == highest);
        let first = best.next()?;
        best.next().is_none().then_some(first)
    }
}
