//! Why a component is not in a plan.

use std::collections::BTreeSet;

use fragment_resolve::{Candidacy, Compose, Offers};
use fragment_types::plan::Reason;
use fragment_types::{
    Catalogue, CatalogueError, ComponentIndex, ComponentName, ComponentSummary, Evidence, Grade,
    Need, Requirement,
};
use serde::Serialize;

use crate::control::Said;
use crate::planner::Planned;

/// Most names that are offered instead of one that does not exist.
const MAX_SIMILAR: usize = 5;

/// Why a component is not in a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WhyNot {
    /// The name that was asked about: a component's, an alias or a package.
    pub asked: String,
    /// The components of the library that answer to it.
    pub components: Vec<ComponentName>,
    /// The reasons, the first of them enough for itself.
    pub reasons: Vec<Absence>,
}

/// A reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "because", rename_all = "kebab-case")]
pub enum Absence {
    /// It is there.
    InPlan {
        /// The component of the plan that answers to the name.
        component: ComponentName,
    },
    /// The library has none of that name.
    NotInLibrary {
        /// Names that may be meant.
        similar: Vec<ComponentName>,
    },
    /// Nothing is composed at all.
    Off {
        /// Where that is said.
        place: String,
    },
    /// It is kept out by name.
    Excluded {
        /// Where that is said.
        place: String,
    },
    /// The lock does not hold it, or holds it by another digest.
    NotLocked {
        /// Where the lock is.
        place: String,
    },
    /// The bundle lacks nothing that it cannot start without, and what is only likely to be used never makes one composed.
    Complete {
        /// What it would supply.
        needs: Vec<NeedBrief>,
    },
    /// The bundle holds what it would supply.
    InBundle {
        /// What is needed.
        need: NeedBrief,
        /// The bundle's own file.
        path: String,
    },
    /// The evidence for a capability that it grants does not say enough.
    BelowGrade {
        /// The capability.
        need: NeedBrief,
        /// Grade of the evidence.
        grade: Grade,
        /// Grade that is asked for.
        minimum: Grade,
        /// The evidence.
        evidence: Option<Evidence>,
    },
    /// Another component of the plan supplies what it would supply.
    SuppliedByAnother {
        /// What is needed.
        need: NeedBrief,
        /// The component that does.
        by: ComponentName,
        /// Why that one.
        rule: Rule,
    },
    /// It has what is needed and cannot be used.
    Unusable {
        /// What is needed.
        need: NeedBrief,
        /// Why not.
        detail: String,
    },
    /// Nothing that is needed is anything it has.
    NotNeeded,
}

/// A need, and who has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct NeedBrief {
    /// The need.
    #[serde(flatten)]
    pub need: Need,
    /// The component whose need it is; none: the entrypoint's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needed_by: Option<ComponentName>,
}

/// By which rule another component was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum Rule {
    /// Core lies below every composition, and has it.
    Core,
    /// The two do not go with each other.
    Conflict {
        /// The component of the plan that it conflicts with.
        with: ComponentName,
    },
    /// The other one is there for another reason too.
    Anyway,
    /// A component's own name goes before the aliases of others.
    OwnName,
    /// The other one is preferred.
    Preference {
        /// Preference of the component asked about.
        own: i32,
        /// Preference of the one that was taken.
        other: i32,
    },
    /// The other one adds fewer bytes to the composition.
    Size {
        /// Bytes that the component asked about would add with all it requires.
        own: u64,
        /// Bytes that the other one adds.
        other: u64,
    },
    /// Nothing tells the two apart but their names.
    Order,
}

/// Why `name` is not in a plan.
///
/// # Errors
/// When the catalogue is damaged.
pub fn why_not(
    planned: &Planned,
    library: &dyn Catalogue,
    name: &str,
) -> Result<WhyNot, CatalogueError> {
    let mut indices = library.named(name)?;
    if indices.is_empty() {
        indices = library.holding_package(name)?;
    }
    let mut asked = Vec::new();
    for index in indices {
        asked.push((index, library.component(index)?));
    }
    // its own name is meant where there is one, and aliases only where not
    if asked.iter().any(|(_, one)| one.name.as_str() == name) {
        asked.retain(|(_, one)| one.name.as_str() == name);
    }
    let mut components: Vec<_> = asked.iter().map(|(_, one)| one.name.clone()).collect();
    components.dedup();
    let question = Question {
        planned,
        library,
        asked: &asked,
    };
    let reasons = match question.at_once(name)? {
        Some(reason) => vec![reason],
        None => question.by_need()?,
    };
    Ok(WhyNot {
        asked: name.to_owned(),
        components,
        reasons,
    })
}

struct Question<'q> {
    planned: &'q Planned,
    library: &'q dyn Catalogue,
    asked: &'q [(ComponentIndex, ComponentSummary)],
}

impl Question<'_> {
    /// The reasons for which no need has to be looked at.
    fn at_once(&self, name: &str) -> Result<Option<Absence>, CatalogueError> {
        let Planned {
            plan, policy, said, ..
        } = self.planned;
        if self.asked.is_empty() {
            let similar = similar(self.library, name)?;
            return Ok(Some(Absence::NotInLibrary { similar }));
        }
        let there = plan
            .layers
            .iter()
            .find(|layer| self.asked.iter().any(|(_, one)| one.digest == layer.digest));
        if let Some(layer) = there {
            let component = layer.name.clone();
            return Ok(Some(Absence::InPlan { component }));
        }
        if policy.compose == Compose::Off {
            let place = place(said, "compose", |one| one.wishes.compose.is_some());
            return Ok(Some(Absence::Off { place }));
        }
        let excluded = |one: &ComponentSummary| {
            policy
                .exclude
                .iter()
                .find(|name| one.name == **name || one.aliases.contains(*name))
        };
        if let Some(name) = self.asked.iter().find_map(|(_, one)| excluded(one)) {
            let place = place(said, "exclude", |one| one.wishes.exclude.contains(name));
            return Ok(Some(Absence::Excluded { place }));
        }
        if let Some(lock) = &policy.lock
            && self
                .asked
                .iter()
                .all(|(_, one)| lock.digest(&one.name) != Some(one.digest))
        {
            let place = place(said, "lock", |one| one.wishes.lock.is_some());
            return Ok(Some(Absence::NotLocked { place }));
        }
        Ok(None)
    }

    /// What became of each need that it would have supplied.
    fn by_need(&self) -> Result<Vec<Absence>, CatalogueError> {
        let plan = &self.planned.plan;
        let offers = Offers::new(self.library, &self.planned.policy);
        let mut weak = Vec::new();
        if plan.is_composed() {
            weak = fragment_analysis::library_imports(&plan.requirements, self.library)?;
        }
        let (mut reasons, mut soft) = (Vec::new(), Vec::new());
        for requirement in plan.requirements.iter().chain(&weak) {
            let brief = NeedBrief {
                need: requirement.need.clone(),
                needed_by: None,
            };
            let (candidates, obstacles) = offers.of(&requirement.need)?;
            match self.asked_among(&candidates) {
                None => reasons.extend(self.unusable(&brief, obstacles)),
                Some(_) if !plan.is_composed() && requirement.is_missing() => soft.push(brief),
                Some(own) => {
                    reasons.extend(self.of(&offers, requirement, brief, own, &candidates)?);
                }
            }
        }
        if !soft.is_empty() {
            reasons.push(Absence::Complete { needs: soft });
        }
        reasons.extend(self.of_components(&offers)?);
        if reasons.is_empty() {
            reasons.push(Absence::NotNeeded);
        }
        Ok(reasons)
    }

    fn of(
        &self,
        offers: &Offers<'_>,
        requirement: &Requirement,
        need: NeedBrief,
        own: &Candidacy,
        candidates: &[Candidacy],
    ) -> Result<Option<Absence>, CatalogueError> {
        let minimum = self.planned.plan.min_grade;
        if let Some(path) = &requirement.satisfied_by {
            let path = path.clone();
            return Ok(Some(Absence::InBundle { need, path }));
        }
        if requirement.is_below(minimum) {
            return Ok(Some(Absence::BelowGrade {
                need,
                grade: requirement.grade(),
                minimum,
                evidence: requirement.chain.last().cloned(),
            }));
        }
        self.supplied(offers, need, own, candidates)
    }

    /// The needs of the plan's components.
    fn of_components(&self, offers: &Offers<'_>) -> Result<Vec<Absence>, CatalogueError> {
        let (mut reasons, mut seen) = (Vec::new(), BTreeSet::new());
        for index in self.chosen()? {
            let summary = self.library.component(index)?;
            let named = summary.requires.iter().cloned();
            let named = named.map(|name| Need::Component { name });
            for need in named.chain(summary.needs.iter().cloned().map(Need::Soname)) {
                if !seen.insert(need.clone()) {
                    continue;
                }
                let (candidates, _) = offers.of(&need)?;
                if let Some(own) = self.asked_among(&candidates) {
                    let needed_by = Some(summary.name.clone());
                    let brief = NeedBrief { need, needed_by };
                    reasons.extend(self.supplied(offers, brief, own, &candidates)?);
                }
            }
        }
        Ok(reasons)
    }

    fn asked_among<'c>(&self, candidates: &'c [Candidacy]) -> Option<&'c Candidacy> {
        candidates
            .iter()
            .find(|one| self.asked.iter().any(|(index, _)| *index == one.component))
    }

    fn unusable(
        &self,
        need: &NeedBrief,
        obstacles: Vec<(ComponentName, String)>,
    ) -> Option<Absence> {
        let own = |(name, _): &(ComponentName, String)| {
            self.asked.iter().any(|(_, one)| one.name == *name)
        };
        let (_, detail) = obstacles.into_iter().find(own)?;
        let need = need.clone();
        Some(Absence::Unusable { need, detail })
    }

    /// The components of the plan, topmost first.
    fn chosen(&self) -> Result<Vec<ComponentIndex>, CatalogueError> {
        let mut chosen = Vec::new();
        for layer in &self.planned.plan.layers {
            for index in self.library.named(layer.name.as_str())? {
                if self.library.component(index)?.digest == layer.digest {
                    chosen.push(index);
                }
            }
        }
        Ok(chosen)
    }

    /// Which component of the plan supplies the need instead of `own`, and by which rule.
    fn supplied(
        &self,
        offers: &Offers<'_>,
        need: NeedBrief,
        own: &Candidacy,
        candidates: &[Candidacy],
    ) -> Result<Option<Absence>, CatalogueError> {
        let chosen = self.chosen()?;
        let taken = candidates
            .iter()
            .find(|one| chosen.contains(&one.component));
        let Some(taken) = taken else {
            return Ok(None);
        };
        let (mine, other) = (
            self.library.component(own.component)?,
            self.library.component(taken.component)?,
        );
        let layer = self
            .planned
            .plan
            .layers
            .iter()
            .find(|one| one.digest == other.digest);
        let reasons = layer.map_or(&[][..], |layer| &layer.reasons);
        let is_this = |reason: &Reason| match (reason, &need.needed_by) {
            (Reason::Supplies { requirement }, None) => *requirement == need.need,
            (Reason::RequiredBy { component, .. }, Some(by)) => component == by,
            _ => false,
        };
        let mut against = None;
        for index in &chosen {
            if against.is_none() && offers.conflict(own.component, *index)? {
                against = Some(self.library.component(*index)?.name);
            }
        }
        let bytes = |of: &Candidacy, but: &[ComponentIndex]| -> Result<u64, CatalogueError> {
            let added = of.members.iter().filter(|one| !but.contains(one));
            added
                .map(|one| Ok(self.library.component(*one)?.size.stored))
                .sum()
        };
        let (own_bytes, other_bytes) = (bytes(own, &chosen)?, bytes(taken, &[])?);
        let rule = if reasons.contains(&Reason::Core) {
            Rule::Core
        } else if let Some(with) = against {
            Rule::Conflict { with }
        } else if !reasons.iter().all(is_this) {
            Rule::Anyway
        } else if taken.exact && !own.exact {
            Rule::OwnName
        } else if mine.preference < other.preference {
            Rule::Preference {
                own: mine.preference,
                other: other.preference,
            }
        } else if own_bytes > other_bytes {
            Rule::Size {
                own: own_bytes,
                other: other_bytes,
            }
        } else {
            Rule::Order
        };
        let by = other.name;
        Ok(Some(Absence::SuppliedByAnother { need, by, rule }))
    }
}

/// The strongest place that says it.
fn place(said: &[Said], wish: &str, says: impl Fn(&Said) -> bool) -> String {
    let found = said.iter().find(|one| says(one));
    found.map_or_else(|| "the configuration".to_owned(), |one| one.place.of(wish))
}

/// Names of the library that may be meant by one that it does not have.
fn similar(library: &dyn Catalogue, name: &str) -> Result<Vec<ComponentName>, CatalogueError> {
    let mut near = Vec::new();
    for index in 0..u32::try_from(library.len()).unwrap_or(u32::MAX) {
        let summary = library.component(ComponentIndex(index))?;
        let other = summary.name.as_str();
        let contained =
            name.len() >= 3 && (other.contains(name) || name.contains(other) && other.len() >= 3);
        let distance = if contained { 1 } else { distance(name, other) };
        if distance <= 2 && distance < name.len() {
            near.push((distance, summary.name));
        }
    }
    near.sort();
    near.dedup();
    near.truncate(MAX_SIMILAR);
    Ok(near.into_iter().map(|(_, name)| name).collect())
}

/// Letters to put in, take out or change to make one name of the other (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (at, one) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (place, other) in to.iter().enumerate() {
            let changed = diagonal + usize::from(one != *other);
            diagonal = row[place + 1];
            row[place + 1] = changed.min(row[place] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::distance;

    #[test]
    fn distances_between_names() {
        for (from, to, expected) in [
            ("", "", 0),
            ("curl", "curl", 0),
            ("crul", "curl", 2),
            ("bash", "bsh", 1),
            ("", "abc", 3),
            ("openssl", "libssl", 4),
        ] {
            assert_eq!(distance(from, to), expected, "{from} {to}");
        }
    }
}
