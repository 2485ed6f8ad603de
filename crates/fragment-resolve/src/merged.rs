//! The merged view of shared objects, topmost layer first, as the dynamic loader sees it.

use std::collections::BTreeMap;

use fragment_types::manifest::NeededSoname;
use fragment_types::{CatalogueError, ComponentIndex, Need, Strength};

use crate::refusal::{Refusal, RefusalKind, Unmet};
use crate::resolve::sort_unmet;
use crate::search::{NeedId, Search};
use crate::shelf::satisfies;

/// Where several layers hold one shared object at one path, the topmost is the one that is loaded: it has to satisfy
/// all who need it, not only those it was chosen for.
pub(crate) fn check_merged_sonames(
    search: &Search<'_>,
    chosen: &[ComponentIndex],
    roots: &[NeedId],
) -> Result<(), Refusal> {
    let place: BTreeMap<_, _> = chosen
        .iter()
        .enumerate()
        .map(|(at, one)| (*one, at))
        .collect();
    let mut ids = roots.to_vec();
    for component in chosen {
        ids.extend(search.needs_of(*component)?.iter());
    }
    let mut hidden = Vec::new();
    for id in ids {
        let wanted = search.wanted(id);
        let Need::Soname(needed) = &wanted.need else {
            continue;
        };
        if wanted.strength == Strength::Hard
            && let Some(detail) = hidden_by(search, &place, needed)?
        {
            hidden.push(Unmet {
                need: wanted.need.clone(),
                chain: wanted.chain.clone(),
                kind: RefusalKind::SymbolVersion,
                detail,
            });
        }
    }
    if hidden.is_empty() {
        return Ok(());
    }
    sort_unmet(&mut hidden);
    Err(Refusal::Unmet { unmet: hidden })
}

/// The layer whose copy of a needed library lacks versions and hides all copies that have them.
fn hidden_by(
    search: &Search<'_>,
    place: &BTreeMap<ComponentIndex, usize>,
    needed: &NeededSoname,
) -> Result<Option<String>, CatalogueError> {
    let mut topmost: BTreeMap<String, (usize, bool, ComponentIndex)> = BTreeMap::new();
    let (mut good, mut copies) = (false, 0);
    for provider in search.shelf.sonames(&needed.soname)?.iter() {
        let Some(at) = place.get(&provider.component) else {
            continue;
        };
        if provider.machine != needed.machine {
            continue;
        }
        copies += 1;
        let entry = (*at, satisfies(provider, needed), provider.component);
        let known = topmost.entry(provider.path.clone()).or_insert(entry);
        if entry.0 < known.0 {
            *known = entry;
        }
    }
    for (_, satisfied, _) in topmost.values() {
        good |= satisfied;
    }
    if good || copies < 2 {
        return Ok(None);
    }
    let Some((_, _, component)) = topmost.values().min() else {
        return Ok(None);
    };
    let versions: Vec<_> = needed.versions.iter().map(String::as_str).collect();
    Ok(Some(format!(
        "the copy in component `{}` hides the others and lacks one of the symbol versions {}",
        search.shelf.summary(*component)?.name,
        versions.join(", ")
    )))
}
