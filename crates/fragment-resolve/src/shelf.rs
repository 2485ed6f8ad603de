//! The catalogue with every answer remembered, the user's exclusions applied, and closures and conflicts worked out.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use fragment_types::catalogue::{CommandProvider, PathProvider, SonameProvider};
use fragment_types::manifest::NeededSoname;
use fragment_types::{
    Catalogue, CatalogueError, ComponentIndex, ComponentName, ComponentSummary, Lock,
};

use crate::request::Policy;

/// A set of components.
pub(crate) type Set = BTreeSet<ComponentIndex>;

/// Why a component cannot be used at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// The user excluded it.
    Excluded { component: ComponentName },
    /// The user's lock does not hold it, or holds it by another digest.
    Unlocked { component: ComponentName },
    /// Something in its closure requires a component that is not in the library.
    Lacks {
        requirer: ComponentName,
        name: ComponentName,
    },
    /// Something in its closure requires a component that the user excluded.
    LacksExcluded {
        requirer: ComponentName,
        name: ComponentName,
    },
    /// Something in its closure requires a component that the user's lock does not hold.
    LacksUnlocked {
        requirer: ComponentName,
        name: ComponentName,
    },
    /// Two components of its closure exclude each other.
    Torn {
        left: ComponentName,
        right: ComponentName,
    },
}

/// Components that come with a component whatever else is chosen.
pub(crate) type Closure = Result<Rc<Set>, Rc<Unusable>>;

type Memo<K, V> = RefCell<HashMap<K, V>>;

/// See the module.
pub(crate) struct Shelf<'a> {
    catalogue: &'a dyn Catalogue,
    exclude: &'a BTreeSet<ComponentName>,
    lock: Option<&'a Lock>,
    summaries: Memo<ComponentIndex, Rc<ComponentSummary>>,
    sonames: Memo<String, Rc<Vec<SonameProvider>>>,
    named: Memo<ComponentName, Rc<Vec<ComponentIndex>>>,
    closures: Memo<ComponentIndex, Closure>,
}

impl std::fmt::Debug for Shelf<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shelf")
            .field("exclude", self.exclude)
            .field("lock", &self.lock)
            .finish_non_exhaustive()
    }
}

impl<'a> Shelf<'a> {
    pub(crate) fn new(catalogue: &'a dyn Catalogue, policy: &'a Policy) -> Self {
        Self {
            catalogue,
            exclude: &policy.exclude,
            lock: policy.lock.as_ref(),
            summaries: RefCell::default(),
            sonames: RefCell::default(),
            named: RefCell::default(),
            closures: RefCell::default(),
        }
    }

    /// The component at `index`.
    pub(crate) fn summary(
        &self,
        index: ComponentIndex,
    ) -> Result<Rc<ComponentSummary>, CatalogueError> {
        if let Some(known) = self.summaries.borrow().get(&index) {
            return Ok(Rc::clone(known));
        }
        let summary = Rc::new(self.catalogue.component(index)?);
        self.summaries
            .borrow_mut()
            .insert(index, Rc::clone(&summary));
        Ok(summary)
    }

    /// Whether the user excluded the component, by name or alias.
    pub(crate) fn is_excluded(&self, index: ComponentIndex) -> Result<bool, CatalogueError> {
        if self.exclude.is_empty() {
            return Ok(false);
        }
        let summary = self.summary(index)?;
        Ok(self.exclude.iter().any(|name| answers_to(&summary, name)))
    }

    /// Whether the user's lock keeps the component out.
    fn is_unlocked(&self, index: ComponentIndex) -> Result<bool, CatalogueError> {
        let Some(lock) = self.lock else {
            return Ok(false);
        };
        let summary = self.summary(index)?;
        Ok(lock.digest(&summary.name) != Some(summary.digest))
    }

    /// Components with this name or alias: the exact name first, then by preference, name and version. Excluded ones
    /// are among them.
    pub(crate) fn named(
        &self,
        name: &ComponentName,
    ) -> Result<Rc<Vec<ComponentIndex>>, CatalogueError> {
        if let Some(known) = self.named.borrow().get(name) {
            return Ok(Rc::clone(known));
        }
        let mut found = Vec::new();
        for index in self.catalogue.named(name.as_str())? {
            found.push((index, self.summary(index)?));
        }
        found.sort_by_key(|(_, s)| {
            (
                s.name != *name,
                Reverse(s.preference),
                s.name.clone(),
                Reverse(s.version.clone()),
                s.digest,
            )
        });
        let sorted = Rc::new(
            found
                .into_iter()
                .map(|(index, _)| index)
                .collect::<Vec<_>>(),
        );
        self.named
            .borrow_mut()
            .insert(name.clone(), Rc::clone(&sorted));
        Ok(sorted)
    }

    /// Every shared object of this soname in the library.
    pub(crate) fn sonames(&self, soname: &str) -> Result<Rc<Vec<SonameProvider>>, CatalogueError> {
        if let Some(known) = self.sonames.borrow().get(soname) {
            return Ok(Rc::clone(known));
        }
        let found = Rc::new(self.catalogue.providing_soname(soname)?);
        self.sonames
            .borrow_mut()
            .insert(soname.to_owned(), Rc::clone(&found));
        Ok(found)
    }

    pub(crate) fn paths(&self, path: &str) -> Result<Vec<PathProvider>, CatalogueError> {
        self.catalogue.providing_path(path)
    }

    pub(crate) fn commands(&self, name: &str) -> Result<Vec<CommandProvider>, CatalogueError> {
        self.catalogue.providing_command(name)
    }

    pub(crate) fn modules(
        &self,
        language: &str,
        name: &str,
    ) -> Result<Vec<ComponentIndex>, CatalogueError> {
        self.catalogue.providing_module(language, name)
    }

    pub(crate) fn granting(&self, capability: &str) -> Result<Vec<ComponentIndex>, CatalogueError> {
        self.catalogue.granting(capability)
    }

    /// Sum of the stored bytes of `components`.
    pub(crate) fn stored<'s>(
        &self,
        components: impl IntoIterator<Item = &'s ComponentIndex>,
    ) -> Result<u64, CatalogueError> {
        let mut sum = 0_u64;
        for index in components {
            sum = sum.saturating_add(self.summary(*index)?.size.stored);
        }
        Ok(sum)
    }

    /// What comes with `index` whatever else is chosen: itself and, transitively, the components required by a name to
    /// which only one usable component answers. Cycles end at what is in already.
    pub(crate) fn closure(&self, index: ComponentIndex) -> Result<Closure, CatalogueError> {
        // what is required first: a closure is then put together from those below it, save in a cycle
        let mut pending = vec![index];
        let mut visited = Set::new();
        while let Some(next) = pending.last().copied() {
            if self.closures.borrow().contains_key(&next) {
                pending.pop();
            } else if visited.insert(next) {
                for name in &self.summary(next)?.requires {
                    let below = self.named(name)?;
                    pending.extend(below.iter().filter(|one| !visited.contains(one)));
                }
            } else {
                let closure = self.walk_closure(next)?;
                let closure = closure.map(Rc::new).map_err(Rc::new);
                self.closures.borrow_mut().insert(next, closure);
                pending.pop();
            }
        }
        let known = self.closures.borrow();
        // the loop ends when it is there
        Ok(known
            .get(&index)
            .map_or_else(|| Ok(Rc::default()), Clone::clone))
    }

    fn walk_closure(&self, from: ComponentIndex) -> Result<Result<Set, Unusable>, CatalogueError> {
        if self.is_excluded(from)? {
            return Ok(Err(Unusable::Excluded {
                component: self.summary(from)?.name.clone(),
            }));
        }
        if self.is_unlocked(from)? {
            return Ok(Err(Unusable::Unlocked {
                component: self.summary(from)?.name.clone(),
            }));
        }
        let mut set = Set::from([from]);
        let mut queue = vec![from];
        while let Some(index) = queue.pop() {
            if let Some(known) = self.closures.borrow().get(&index) {
                match known {
                    Ok(below) => set.append(&mut Set::clone(below)),
                    Err(why) => return Ok(Err(Unusable::clone(why))),
                }
                continue;
            }
            let summary = self.summary(index)?;
            for name in &summary.requires {
                let answering = self.named(name)?;
                if answering.iter().any(|one| set.contains(one)) {
                    continue;
                }
                let (mut usable, mut unlocked) = (Vec::new(), false);
                for one in answering.iter() {
                    if self.is_excluded(*one)? {
                        continue;
                    }
                    if self.is_unlocked(*one)? {
                        unlocked = true;
                    } else {
                        usable.push(*one);
                    }
                }
                let requirer = summary.name.clone();
                let name = name.clone();
                match usable.as_slice() {
                    [] if answering.is_empty() => {
                        return Ok(Err(Unusable::Lacks { requirer, name }));
                    }
                    [] if unlocked => return Ok(Err(Unusable::LacksUnlocked { requirer, name })),
                    [] => return Ok(Err(Unusable::LacksExcluded { requirer, name })),
                    [only] => {
                        set.insert(*only);
                        queue.push(*only);
                    }
                    _ => {} // a choice: the search settles it
                }
            }
        }
        Ok(match self.conflict_within(&set)? {
            Some((left, right)) => Err(Unusable::Torn {
                left: self.summary(left)?.name.clone(),
                right: self.summary(right)?.name.clone(),
            }),
            None => Ok(set),
        })
    }

    /// Whether two components cannot be composed together.
    pub(crate) fn conflict(
        &self,
        left: ComponentIndex,
        right: ComponentIndex,
    ) -> Result<bool, CatalogueError> {
        if left == right {
            return Ok(false);
        }
        let (l, r) = (self.summary(left)?, self.summary(right)?);
        Ok(l.name == r.name // two versions of one component
            || l.conflicts.iter().any(|name| answers_to(&r, name))
            || r.conflicts.iter().any(|name| answers_to(&l, name)))
    }

    /// The first pair (by name) of `added` and `present` that cannot be composed together.
    pub(crate) fn conflict_between(
        &self,
        added: &Set,
        present: impl Iterator<Item = ComponentIndex> + Clone,
    ) -> Result<Option<(ComponentIndex, ComponentIndex)>, CatalogueError> {
        let mut pairs = BTreeMap::new();
        for new in added {
            for old in present.clone() {
                if self.conflict(*new, old)? {
                    let key = (
                        self.summary(old)?.name.clone(),
                        self.summary(*new)?.name.clone(),
                    );
                    pairs.insert(key, (old, *new));
                }
            }
        }
        Ok(pairs.into_values().next())
    }

    /// As [`Self::conflict_between`] of a set with itself, by names: closures of hundreds of components are common.
    fn conflict_within(
        &self,
        set: &Set,
    ) -> Result<Option<(ComponentIndex, ComponentIndex)>, CatalogueError> {
        let mut summaries = Vec::with_capacity(set.len());
        let mut answering: HashMap<&ComponentName, Vec<ComponentIndex>> = HashMap::new();
        for index in set {
            summaries.push((*index, self.summary(*index)?));
        }
        for (index, summary) in &summaries {
            for name in std::iter::once(&summary.name).chain(&summary.aliases) {
                answering.entry(name).or_default().push(*index);
            }
        }
        let mut suspects = Set::new();
        for (index, summary) in &summaries {
            let named = summary.conflicts.iter().chain([&summary.name]);
            for other in named.filter_map(|name| answering.get(name)).flatten() {
                if other != index && self.conflict(*index, *other)? {
                    suspects.extend([*index, *other]);
                }
            }
        }
        self.conflict_between(&suspects, suspects.iter().copied())
    }

    /// The components of `set` with a shared object that satisfies `needed`, wherever it lies: a component may find
    /// another's private library by its RPATH.
    pub(crate) fn sonames_within(
        &self,
        needed: &NeededSoname,
        set: impl Fn(ComponentIndex) -> bool,
    ) -> Result<Set, CatalogueError> {
        Ok(self
            .sonames(&needed.soname)?
            .iter()
            .filter(|provider| set(provider.component) && satisfies(provider, needed))
            .map(|provider| provider.component)
            .collect())
    }
}

/// Whether `summary` has this name or alias.
pub(crate) fn answers_to(summary: &ComponentSummary, name: &ComponentName) -> bool {
    summary.name == *name || summary.aliases.contains(name)
}

/// Whether the shared object is for the needed machine and defines every needed symbol version.
pub(crate) fn satisfies(provider: &SonameProvider, needed: &NeededSoname) -> bool {
    use fragment_types::manifest::Machine;
    provider.machine == needed.machine
        && needed.machine != Machine::Other
        && needed.versions.is_subset(&provider.versions)
}
