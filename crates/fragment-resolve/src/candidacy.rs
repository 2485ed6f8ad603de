//! Who would supply a need, for those who ask why another was chosen.

use std::collections::BTreeSet;

use fragment_types::{Catalogue, CatalogueError, ComponentIndex, ComponentName, Need};

use crate::candidate::offer;
use crate::refusal::judge;
use crate::request::Policy;
use crate::shelf::Shelf;

/// A component that answers a need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidacy {
    /// The component.
    pub component: ComponentIndex,
    /// All that would come with it, itself among them, whatever else is chosen.
    pub members: BTreeSet<ComponentIndex>,
    /// For a component needed by name: whether it is its own name and not an alias.
    pub exact: bool,
}

/// The components that would supply a need; those that answer it and cannot, and in words why not.
pub type Answer = (Vec<Candidacy>, Vec<(ComponentName, String)>);

/// What a library offers, under a policy.
#[derive(Debug)]
pub struct Offers<'a> {
    shelf: Shelf<'a>,
}

impl<'a> Offers<'a> {
    /// Of `library`, under `policy`.
    #[must_use]
    pub fn new(library: &'a dyn Catalogue, policy: &'a Policy) -> Self {
        Self {
            shelf: Shelf::new(library, policy),
        }
    }

    /// The components that would supply `need`, and in words why others that answer it cannot.
    ///
    /// # Errors
    /// When the catalogue is damaged.
    pub fn of(&self, need: &Need) -> Result<Answer, CatalogueError> {
        let offer = offer(&self.shelf, need)?;
        let usable = offer.usable.iter().flat_map(|candidate| {
            candidate.parts.iter().map(|part| Candidacy {
                component: *part,
                members: BTreeSet::clone(&candidate.members),
                exact: candidate.exact,
            })
        });
        let obstacles = offer.obstacles.iter().map(|obstacle| {
            let (_, detail) = judge(need, std::slice::from_ref(obstacle));
            (obstacle.component().clone(), detail)
        });
        Ok((usable.collect(), obstacles.collect()))
    }

    /// Whether two components cannot be composed together.
    ///
    /// # Errors
    /// When the catalogue is damaged.
    pub fn conflict(
        &self,
        left: ComponentIndex,
        right: ComponentIndex,
    ) -> Result<bool, CatalogueError> {
        self.shelf.conflict(left, right)
    }
}
