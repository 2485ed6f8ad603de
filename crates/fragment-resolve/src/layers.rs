//! Order of the layers, and why each is there.
//!
//! What requires lies above what it requires, so that a component's own files win over those of its dependencies; core
//! lies below everything. Names settle the rest.

use std::collections::{BTreeMap, BTreeSet};

use fragment_types::plan::{Layer, Reason};
use fragment_types::{CatalogueError, ComponentIndex, Need};

use crate::search::{NeedId, Search, Wanted};
use crate::shelf::Set;

/// For each component, those of the set that it stands on.
type Edges = BTreeMap<ComponentIndex, Set>;

/// The components of `set`, topmost first.
pub(crate) fn order(
    search: &Search<'_>,
    core: ComponentIndex,
    set: &Set,
) -> Result<Vec<ComponentIndex>, CatalogueError> {
    let below = reachable(&edges(search, set)?);
    // what lies in a cycle with each other may lie either way
    let stands_on = |upper: &ComponentIndex, lower: &ComponentIndex| {
        upper != lower && below[upper].contains(lower) && !below[lower].contains(upper)
    };
    let mut above: BTreeMap<ComponentIndex, usize> = set.iter().map(|one| (*one, 0)).collect();
    for (upper, lower) in below
        .iter()
        .flat_map(|(one, all)| all.iter().map(move |b| (one, b)))
    {
        if stands_on(upper, lower) {
            *above.entry(*lower).or_default() += 1;
        }
    }
    // the first by name on which nothing is left to put
    let mut free = BTreeMap::new();
    let key = |index: ComponentIndex| -> Result<_, CatalogueError> {
        let summary = search.shelf.summary(index)?;
        Ok((summary.name.clone(), summary.digest))
    };
    for (index, _) in above
        .iter()
        .filter(|(one, count)| **count == 0 && **one != core)
    {
        free.insert(key(*index)?, *index);
    }
    let mut order = Vec::with_capacity(set.len());
    while let Some((_, upper)) = free.pop_first() {
        order.push(upper);
        for lower in below[&upper]
            .iter()
            .filter(|lower| stands_on(&upper, lower))
        {
            let count = above.entry(*lower).or_default();
            *count -= 1;
            if *count == 0 && *lower != core {
                free.insert(key(*lower)?, *lower);
            }
        }
    }
    order.push(core);
    Ok(order)
}

fn edges(search: &Search<'_>, set: &Set) -> Result<Edges, CatalogueError> {
    let mut edges = Edges::new();
    for index in set {
        let mut below = Set::new();
        for id in search.needs_of(*index)?.iter() {
            let wanted = search.wanted(*id);
            below.extend(suppliers(search, &wanted, set)?);
        }
        edges.insert(*index, below);
    }
    Ok(edges)
}

/// Every component of `set` that supplies (part of) the need.
fn suppliers(search: &Search<'_>, wanted: &Wanted, set: &Set) -> Result<Set, CatalogueError> {
    let mut found = Set::new();
    for candidate in &wanted.offer.usable {
        if candidate.parts.is_subset(set) {
            found.extend(&candidate.parts);
        }
    }
    if found.is_empty()
        && let Need::Soname(needed) = &wanted.need
    {
        found = search
            .shelf
            .sonames_within(needed, |one| set.contains(&one))?;
    }
    Ok(found)
}

/// The transitive closure of `edges`.
fn reachable(edges: &Edges) -> Edges {
    let mut all = Edges::new();
    for start in edges.keys() {
        let mut seen = Set::new();
        let mut queue = vec![*start];
        while let Some(next) = queue.pop() {
            for below in edges.get(&next).into_iter().flatten() {
                if seen.insert(*below) {
                    queue.push(*below);
                }
            }
        }
        all.insert(*start, seen);
    }
    all
}

/// The layers for `order` with the reasons for each.
pub(crate) fn layers(
    search: &Search<'_>,
    core: ComponentIndex,
    order: &[ComponentIndex],
    roots: &[NeedId],
) -> Result<Vec<Layer>, CatalogueError> {
    let set: Set = order.iter().copied().collect();
    let place: BTreeMap<_, _> = order
        .iter()
        .enumerate()
        .map(|(at, index)| (*index, at))
        .collect();
    let mut reasons: BTreeMap<ComponentIndex, BTreeSet<Reason>> = BTreeMap::new();
    reasons.entry(core).or_default().insert(Reason::Core);
    for id in roots {
        let wanted = search.wanted(*id);
        let topmost = wanted
            .offer
            .usable
            .iter()
            .filter(|candidate| candidate.parts.is_subset(&set))
            .min_by_key(|candidate| (place[&candidate.lead], candidate.parts.len()));
        for part in topmost.into_iter().flat_map(|candidate| &candidate.parts) {
            let requirement = wanted.need.clone();
            reasons
                .entry(*part)
                .or_default()
                .insert(Reason::Supplies { requirement });
        }
    }
    for requirer in order {
        for id in search.needs_of(*requirer)?.iter() {
            let wanted = search.wanted(*id);
            let via = match &wanted.need {
                Need::Component { name } => name.to_string(),
                need => need.to_string(),
            };
            // all of them when several stand in for each other: each may be what the requirer really uses
            for supplier in suppliers(search, &wanted, &set)? {
                if supplier != *requirer {
                    let component = search.shelf.summary(*requirer)?.name.clone();
                    let reason = Reason::RequiredBy {
                        component,
                        via: via.clone(),
                    };
                    reasons.entry(supplier).or_default().insert(reason);
                }
            }
        }
    }
    let mut layers = Vec::with_capacity(order.len());
    for index in order {
        let summary = search.shelf.summary(*index)?;
        layers.push(Layer {
            name: summary.name.clone(),
            version: summary.version.clone(),
            upstream_version: summary.upstream_version.clone(),
            digest: summary.digest,
            diff_id: summary.diff_id,
            size: summary.size,
            capabilities: summary.capabilities.clone(),
            accounts: summary.accounts.clone(),
            cached: summary.cached.clone(),
            reasons: reasons
                .remove(index)
                .unwrap_or_default()
                .into_iter()
                .collect(),
        });
    }
    Ok(layers)
}
