//! Dropping what the final set can do without.
//!
//! The search prefers what is chosen already, but a later choice may supply what an earlier component was chosen for. A
//! component is dropped with all that cannot stay without it, if every need that was met is met still.

use std::cmp::Reverse;

use fragment_types::{CatalogueError, ComponentIndex};

use crate::search::{NeedId, Search};
use crate::shelf::Set;

/// The part of `set` that meets the same `roots`; `core` always stays.
pub(crate) fn minimal(
    search: &Search<'_>,
    core: ComponentIndex,
    set: Set,
    roots: &[NeedId],
) -> Result<Set, CatalogueError> {
    let mut met = Vec::new();
    for id in roots {
        if search.supplied(&search.wanted(*id), |one| set.contains(&one))? {
            met.push(*id);
        }
    }
    let fixed = fixed(search, core, &set, &met)?;
    let mut order = Vec::new();
    for index in set.difference(&fixed) {
        let summary = search.shelf.summary(*index)?;
        // the biggest first; names make the order that of the library, not of its numbering
        order.push((
            Reverse(summary.size.stored),
            summary.name.clone(),
            summary.digest,
            *index,
        ));
    }
    order.sort();
    let mut kept = set;
    loop {
        let before = kept.len();
        for (.., index) in &order {
            if kept.contains(index)
                && let Some(smaller) = without(search, core, &kept, *index, &met)?
            {
                kept = smaller;
            }
        }
        if kept.len() == before {
            return Ok(kept);
        }
    }
}

/// What cannot be dropped: core, the only suppliers of the needs that are met, and those of these components' own needs. In most
/// sets that is everything, and finding it costs one look at each need.
fn fixed(
    search: &Search<'_>,
    core: ComponentIndex,
    set: &Set,
    met: &[NeedId],
) -> Result<Set, CatalogueError> {
    let mut fixed = Set::from([core]);
    let mut queue = vec![core];
    let mut needs = met.to_vec();
    loop {
        for id in needs.drain(..) {
            if let Some(parts) = search.only_supplier(&search.wanted(id), set)? {
                queue.extend(parts.into_iter().filter(|part| fixed.insert(*part)));
            }
        }
        let Some(next) = queue.pop() else {
            return Ok(fixed);
        };
        needs.extend(search.needs_of(next)?.iter());
    }
}

/// `set` without `index` and all that cannot stay without it, unless a need or core would go unmet.
fn without(
    search: &Search<'_>,
    core: ComponentIndex,
    set: &Set,
    index: ComponentIndex,
    met: &[NeedId],
) -> Result<Option<Set>, CatalogueError> {
    let mut rest = set.clone();
    rest.remove(&index);
    let is_met = |rest: &Set| -> Result<bool, CatalogueError> {
        for id in met {
            if !search.supplied(&search.wanted(*id), |one| rest.contains(&one))? {
                return Ok(false);
            }
        }
        Ok(true)
    };
    // most components are the only ones to supply something: no need to look further
    if !is_met(&rest)? {
        return Ok(None);
    }
    loop {
        let mut broken = Vec::new();
        for component in &rest {
            for id in search.needs_of(*component)?.iter() {
                let wanted = search.wanted(*id);
                if !search.supplied(&wanted, |one| rest.contains(&one))?
                    && search.supplied(&wanted, |one| set.contains(&one))?
                {
                    broken.push(*component);
                    break;
                }
            }
        }
        if broken.contains(&core) {
            return Ok(None);
        }
        if broken.is_empty() {
            break;
        }
        rest.retain(|component| !broken.contains(component));
    }
    Ok(is_met(&rest)?.then_some(rest))
}
