//! A dead end of the search in words: what blocks a need, and why that is there.

use std::collections::BTreeSet;

use fragment_types::{CatalogueError, ComponentIndex, ComponentName};

use crate::refusal::{ConflictSide, Refusal};
use crate::search::{Ranked, Search, State, Wanted, Why, unmet};
use crate::shelf::Set;

impl Search<'_> {
    /// Why no candidate is left for a need that has to be met.
    pub(crate) fn blocked(
        &self,
        state: &State,
        wanted: &Wanted,
    ) -> Result<Refusal, CatalogueError> {
        for candidate in &wanted.offer.usable {
            let added: Set = candidate
                .members
                .iter()
                .copied()
                .filter(|one| !state.chosen.contains_key(one))
                .collect();
            let Some((present, new)) = self
                .shelf
                .conflict_between(&added, state.chosen.keys().copied())?
            else {
                continue;
            };
            let second = if candidate.parts.contains(&new) {
                self.because(wanted)
            } else {
                format!("required by `{}`", self.shelf.summary(candidate.lead)?.name)
            };
            return Ok(Refusal::Conflict {
                first: ConflictSide {
                    component: self.shelf.summary(present)?.name.clone(),
                    because: self.because_chosen(state, present)?,
                },
                second: ConflictSide {
                    component: self.shelf.summary(new)?.name.clone(),
                    because: second,
                },
            });
        }
        Ok(Refusal::Unmet {
            unmet: vec![unmet(wanted)],
        })
    }

    fn because(&self, wanted: &Wanted) -> String {
        match wanted.chain.last() {
            Some(_) if wanted.explicit => "asked for by name".to_owned(),
            Some(evidence) => format!("for {}, needed by {}", wanted.need, evidence.source),
            None => format!("for {}", wanted.need),
        }
    }

    fn because_chosen(
        &self,
        state: &State,
        component: ComponentIndex,
    ) -> Result<String, CatalogueError> {
        Ok(match state.chosen.get(&component) {
            Some(Why::Supplies(id)) => self.because(&self.wanted(*id)),
            Some(Why::With(requirer)) => {
                format!("required by `{}`", self.shelf.summary(*requirer)?.name)
            }
            Some(Why::Core) | None => "the core fragment".to_owned(),
        })
    }

    pub(crate) fn ambiguous(
        &self,
        wanted: &Wanted,
        ranked: &Ranked,
    ) -> Result<Refusal, CatalogueError> {
        Ok(Refusal::Ambiguous {
            need: wanted.need.clone(),
            chain: wanted.chain.clone(),
            candidates: self.tied_names(wanted, &ranked.order)?,
        })
    }

    /// The two names of a tie.
    fn tied_names(
        &self,
        wanted: &Wanted,
        order: &[usize],
    ) -> Result<Vec<ComponentName>, CatalogueError> {
        let mut names = BTreeSet::new();
        for position in order.iter().take(2) {
            // candidates of one component differ in what its links lead to
            for part in &wanted.offer.usable[*position].parts {
                names.insert(self.shelf.summary(*part)?.name.clone());
            }
        }
        Ok(names.into_iter().collect())
    }
}
