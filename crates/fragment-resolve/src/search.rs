//! Choosing among candidates: no two chosen components conflict, every choice follows a rule, backtracking is bounded.
//!
//! Needs are taken in an order that depends on their value alone, and so that choices come late: what only one component
//! supplies first, capabilities (which many components may grant) after the rest, ties last of all. A need that
//! the chosen components already supply adds nothing.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use fragment_types::{
    CatalogueError, ComponentIndex, ComponentName, Evidence, EvidenceKind, Need, Strength,
};

use crate::candidate::{Candidate, Obstacle, Offer, offer, same_content};
use crate::refusal::{Refusal, Unmet, judge};
use crate::shelf::{Set, Shelf};

/// Branches given up before the search stops: far beyond what a sane library needs, a bound for the others.
const MAX_DEAD_ENDS: u32 = 2_000;

/// A need and what would supply it.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) need: Need,
    pub(crate) strength: Strength,
    pub(crate) chain: Vec<Evidence>,
    /// Named by the user: settled before anything else.
    pub(crate) explicit: bool,
    /// The component that needs it, when it is no need of the entrypoint.
    pub(crate) requirer: Option<ComponentIndex>,
    pub(crate) offer: Rc<Offer>,
}

/// Order in which needs are settled: named by the user, without a tie, no capability, without a choice, hard. What cannot
/// be met ranks before them all.
type Rank = (bool, bool, bool, bool, bool);

/// Position in the table of needs.
pub(crate) type NeedId = usize;

/// Why a component was chosen.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Why {
    Core,
    Supplies(NeedId),
    With(ComponentIndex),
}

/// Components chosen so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    pub(crate) chosen: BTreeMap<ComponentIndex, Why>,
    /// Names they do not go with.
    banned: BTreeSet<ComponentName>,
    /// Names and aliases they answer to.
    answered: BTreeSet<ComponentName>,
    /// Their own names.
    own: BTreeSet<ComponentName>,
    /// Needs not known to be supplied yet. What is supplied once stays so: components are only added.
    open: Vec<NeedId>,
    /// Ties among optional needs, settled by name.
    ties: BTreeSet<NeedId>,
}

impl State {
    pub(crate) fn components(&self) -> Set {
        self.chosen.keys().copied().collect()
    }

    pub(crate) fn ties(&self) -> impl Iterator<Item = NeedId> {
        self.ties.iter().copied()
    }
}

/// The candidates for one need that do not conflict with what is chosen, best first.
pub(crate) struct Ranked {
    pub(crate) order: Vec<usize>,
    tied: bool,
}

/// See the module.
pub(crate) struct Search<'a> {
    pub(crate) shelf: &'a Shelf<'a>,
    table: RefCell<Vec<Rc<Wanted>>>,
    offers: RefCell<HashMap<Need, Rc<Offer>>>,
    of_component: RefCell<HashMap<ComponentIndex, Rc<Vec<NeedId>>>>,
    dead_ends: Cell<u32>,
    failure: RefCell<Option<Refusal>>,
}

impl<'a> Search<'a> {
    pub(crate) fn new(shelf: &'a Shelf<'a>) -> Self {
        Self {
            shelf,
            table: RefCell::default(),
            offers: RefCell::default(),
            of_component: RefCell::default(),
            dead_ends: Cell::new(0),
            failure: RefCell::default(),
        }
    }

    pub(crate) fn add(&self, wanted: Wanted) -> NeedId {
        let mut table = self.table.borrow_mut();
        table.push(Rc::new(wanted));
        table.len() - 1
    }

    /// What the library offers for `need`: components share many needs, and libc is needed by nearly all.
    pub(crate) fn offer(&self, need: &Need) -> Result<Rc<Offer>, CatalogueError> {
        if let Some(known) = self.offers.borrow().get(need) {
            return Ok(Rc::clone(known));
        }
        let found = Rc::new(offer(self.shelf, need)?);
        self.offers
            .borrow_mut()
            .insert(need.clone(), Rc::clone(&found));
        Ok(found)
    }

    pub(crate) fn wanted(&self, id: NeedId) -> Rc<Wanted> {
        Rc::clone(&self.table.borrow()[id])
    }

    /// The smallest set that the rules lead to, above `core`.
    pub(crate) fn run(
        &self,
        core: ComponentIndex,
        closure: &Set,
        roots: &[NeedId],
    ) -> Result<State, Refusal> {
        self.dead_ends.set(0);
        self.failure.borrow_mut().take();
        let mut state = State {
            open: roots.to_vec(),
            ..State::default()
        };
        self.take(&mut state, &Set::from([core]), closure, Why::Core, core)?;
        if let Some(state) = self.explore(state)? {
            return Ok(state);
        }
        let failure = self.failure.borrow_mut().take();
        // every dead end records why, so there is always one; a library without a cause would still be damaged
        Err(failure.unwrap_or_else(|| {
            let detail = "no set of components fits, for no reason".to_owned();
            Refusal::Catalogue(CatalogueError { detail })
        }))
    }

    /// Whether `set` supplies the need.
    pub(crate) fn supplied(
        &self,
        wanted: &Wanted,
        set: impl Fn(ComponentIndex) -> bool,
    ) -> Result<bool, CatalogueError> {
        if wanted
            .offer
            .usable
            .iter()
            .any(|one| one.parts.iter().all(|part| set(*part)))
        {
            return Ok(true);
        }
        match &wanted.need {
            // a component's own need may be met by a library that is private to another one
            Need::Soname(needed) if wanted.requirer.is_some() => {
                Ok(!self.shelf.sonames_within(needed, set)?.is_empty())
            }
            _ => Ok(false),
        }
    }

    /// The components of `set` without which the need would go unmet, where only one way of meeting it is in `set`.
    pub(crate) fn only_supplier(
        &self,
        wanted: &Wanted,
        set: &Set,
    ) -> Result<Option<Set>, CatalogueError> {
        let usable = &wanted.offer.usable;
        let mut ways = usable.iter().filter(|one| one.parts.is_subset(set));
        if let Some(first) = ways.next() {
            return Ok(ways.next().is_none().then(|| first.parts.clone()));
        }
        match &wanted.need {
            Need::Soname(needed) if wanted.requirer.is_some() => {
                let within = self
                    .shelf
                    .sonames_within(needed, |one| set.contains(&one))?;
                Ok((within.len() == 1).then_some(within))
            }
            _ => Ok(None),
        }
    }

    /// The needs of `component` itself: what it requires by name, and the sonames its files need.
    pub(crate) fn needs_of(
        &self,
        component: ComponentIndex,
    ) -> Result<Rc<Vec<NeedId>>, CatalogueError> {
        if let Some(known) = self.of_component.borrow().get(&component) {
            return Ok(Rc::clone(known));
        }
        let summary = self.shelf.summary(component)?;
        let named = summary
            .requires
            .iter()
            .cloned()
            .map(|name| Need::Component { name });
        let sonames = summary.needs.iter().cloned().map(Need::Soname);
        let mut ids = Vec::new();
        for need in named.chain(sonames) {
            let offer = self.offer(&need)?;
            ids.push(self.add(Wanted {
                chain: vec![Evidence {
                    kind: EvidenceKind::Needed,
                    source: format!("component `{}`", summary.name),
                    detail: need.to_string(),
                }],
                need,
                strength: Strength::Hard,
                explicit: false,
                requirer: Some(component),
                offer,
            }));
        }
        let ids = Rc::new(ids);
        self.of_component
            .borrow_mut()
            .insert(component, Rc::clone(&ids));
        Ok(ids)
    }

    /// Whether nothing in the library has anything to do with a component's need: it is then the bundle's to supply,
    /// and worth a warning, not a refusal.
    pub(crate) fn is_foreign(wanted: &Wanted) -> bool {
        wanted.requirer.is_some()
            && matches!(wanted.need, Need::Soname(_))
            && wanted.offer.usable.is_empty()
            && wanted
                .offer
                .obstacles
                .iter()
                .all(|one| matches!(one, Obstacle::Machine { .. } | Obstacle::Private { .. }))
    }

    fn explore(&self, mut state: State) -> Result<Option<State>, CatalogueError> {
        loop {
            let Some((id, ranked)) = self.next(&mut state)? else {
                return Ok(self.failure_free(state));
            };
            let wanted = self.wanted(id);
            let hard = wanted.strength == Strength::Hard;
            if ranked.order.is_empty() {
                self.record(|| self.blocked(&state, &wanted))?;
                return Ok(None);
            }
            if ranked.tied && hard {
                self.record(|| self.ambiguous(&wanted, &ranked))?;
                return Ok(None);
            }
            if let ([only], true) = (ranked.order.as_slice(), hard) {
                self.take_candidate(&mut state, &wanted.offer.usable[*only], id)?;
                continue;
            }
            for position in &ranked.order {
                let mut next = state.clone();
                if ranked.tied {
                    next.ties.insert(id);
                }
                self.take_candidate(&mut next, &wanted.offer.usable[*position], id)?;
                if let Some(done) = self.explore(next)? {
                    return Ok(Some(done));
                }
                self.dead_ends.set(self.dead_ends.get() + 1);
                if self.dead_ends.get() > MAX_DEAD_ENDS {
                    return Ok(None);
                }
            }
            if hard {
                return Ok(None);
            }
            state.open.retain(|open| *open != id);
        }
    }

    /// A finished state; the failures met on the way to it no longer matter.
    fn failure_free(&self, state: State) -> Option<State> {
        self.failure.borrow_mut().take();
        Some(state)
    }

    /// The need to settle next. One that has to be met and cannot be comes at once (with no candidates left).
    fn next(&self, state: &mut State) -> Result<Option<(NeedId, Ranked)>, CatalogueError> {
        let open = std::mem::take(&mut state.open);
        let mut best: Option<(Rank, Rc<Wanted>, NeedId, Ranked)> = None;
        for id in open {
            let wanted = self.wanted(id);
            if Self::is_foreign(&wanted)
                || self.supplied(&wanted, |one| state.chosen.contains_key(&one))?
            {
                continue;
            }
            let ranked = self.rank(state, &wanted)?;
            let soft = wanted.strength == Strength::Soft;
            let rank = if !ranked.order.is_empty() {
                let capability = matches!(wanted.need, Need::Capability { .. });
                (
                    !wanted.explicit,
                    ranked.tied,
                    capability,
                    ranked.order.len() > 1,
                    soft,
                )
            } else if soft {
                continue; // left out: what conflicts now conflicts with every larger set
            } else {
                Rank::default()
            };
            state.open.push(id);
            // ids follow the numbering of the catalogue: among equals only values may decide
            let earlier = |(known, other, _, blocked): &(Rank, Rc<Wanted>, NeedId, Ranked)| {
                let key = |rank: Rank, ranked: &Ranked| (!ranked.order.is_empty(), rank);
                (key(rank, &ranked), &wanted.need, &wanted.chain)
                    < (key(*known, blocked), &other.need, &other.chain)
            };
            if best.as_ref().is_none_or(earlier) {
                best = Some((rank, wanted, id, ranked));
            }
        }
        Ok(best.map(|(_, _, id, ranked)| (id, ranked)))
    }

    fn rank(&self, state: &State, wanted: &Wanted) -> Result<Ranked, CatalogueError> {
        let mut keyed = Vec::new();
        for (position, candidate) in wanted.offer.usable.iter().enumerate() {
            if self.fits(state, candidate)? {
                let added = candidate
                    .members
                    .iter()
                    .filter(|one| !state.chosen.contains_key(one));
                let bytes = self.shelf.stored(added)?;
                let preference = self.shelf.summary(candidate.lead)?.preference;
                keyed.push(((!candidate.exact, Reverse(preference), bytes), position));
            }
        }
        keyed.sort_unstable();
        let tied = match keyed.as_slice() {
            [(first, a), (second, b), ..] if first == second => !same_content(
                self.shelf,
                &wanted.offer.usable[*a],
                &wanted.offer.usable[*b],
            )?,
            _ => false,
        };
        Ok(Ranked {
            order: keyed.into_iter().map(|(_, position)| position).collect(),
            tied,
        })
    }

    /// Whether no member of the candidate conflicts with what is chosen.
    fn fits(&self, state: &State, candidate: &Candidate) -> Result<bool, CatalogueError> {
        for member in candidate
            .members
            .iter()
            .filter(|one| !state.chosen.contains_key(one))
        {
            let summary = self.shelf.summary(*member)?;
            let banned = |name| state.banned.contains(name);
            if state.own.contains(&summary.name)
                || banned(&summary.name)
                || summary.aliases.iter().any(banned)
                || summary
                    .conflicts
                    .iter()
                    .any(|name| state.answered.contains(name))
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn take_candidate(
        &self,
        state: &mut State,
        candidate: &Candidate,
        id: NeedId,
    ) -> Result<(), CatalogueError> {
        let why = match self.wanted(id).requirer {
            Some(requirer) => Why::With(requirer),
            None => Why::Supplies(id),
        };
        self.take(
            state,
            &candidate.parts,
            &candidate.members,
            why,
            candidate.lead,
        )
    }

    fn take(
        &self,
        state: &mut State,
        parts: &Set,
        members: &Set,
        why: Why,
        lead: ComponentIndex,
    ) -> Result<(), CatalogueError> {
        for member in members {
            let why = if parts.contains(member) {
                why
            } else {
                Why::With(lead)
            };
            if state.chosen.contains_key(member) {
                continue;
            }
            state.chosen.insert(*member, why);
            state.open.extend(self.needs_of(*member)?.iter());
            let summary = self.shelf.summary(*member)?;
            state.banned.extend(summary.conflicts.iter().cloned());
            state.answered.extend(summary.aliases.iter().cloned());
            state.answered.insert(summary.name.clone());
            state.own.insert(summary.name.clone());
        }
        Ok(())
    }

    /// Keeps the first failure: the one that the rules meet before any backtracking.
    fn record(
        &self,
        failure: impl FnOnce() -> Result<Refusal, CatalogueError>,
    ) -> Result<(), CatalogueError> {
        if self.failure.borrow().is_none() {
            let failure = failure()?;
            self.failure.borrow_mut().replace(failure);
        }
        Ok(())
    }
}

/// A need that nobody supplies.
pub(crate) fn unmet(wanted: &Wanted) -> Unmet {
    let (kind, detail) = judge(&wanted.need, &wanted.offer.obstacles);
    Unmet {
        need: wanted.need.clone(),
        chain: wanted.chain.clone(),
        kind,
        detail,
    }
}
