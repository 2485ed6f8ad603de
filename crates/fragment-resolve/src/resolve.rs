//! From request to resolution.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use fragment_types::manifest::Size;
use fragment_types::{
    Capability, Catalogue, CatalogueError, ComponentIndex, Evidence, EvidenceKind, Lock, Need,
    Requirement, Strength,
};

use crate::candidate::Offer;
use crate::layers::{layers, order};
use crate::merged::check_merged_sonames;
use crate::minimal::minimal;
use crate::refusal::{Absent, Refusal, RefusalKind, Unmet};
use crate::request::{CORE_CAPABILITY, Compose, Policy, Request, Resolution, is_declared};
use crate::search::{NeedId, Search, State, Wanted, unmet};
use crate::shelf::{Set, Shelf};

/// Chooses the components to compose.
///
/// # Errors
/// [`Refusal`]: something cannot be supplied, be chosen without guessing, or be composed together.
pub fn resolve(library: &dyn Catalogue, request: &Request) -> Result<Resolution, Refusal> {
    let policy = &request.policy;
    if policy.compose == Compose::Off {
        return composition_is_off(request);
    }
    if policy.compose == Compose::Auto && !request.is_thin() {
        return Ok(Resolution::default());
    }
    match &policy.lock {
        Some(lock) => check_lock(library, lock)?,
        None if policy.lock_required => return Err(Refusal::LockRequired),
        None => {}
    }
    let shelf = Shelf::new(library, policy);
    let search = Search::new(&shelf);
    let mut warnings = Vec::new();
    let (roots, mut refused) = collect(&search, request, &mut warnings)?;
    let core = match core(&search)? {
        Ok(core) => core,
        Err(unmet) => {
            refused.push(unmet);
            return Err(Refusal::Unmet { unmet: refused });
        }
    };
    if !refused.is_empty() {
        return Err(Refusal::Unmet { unmet: refused });
    }
    // `core` comes from an offer, and an offer admits only what has a closure
    let closure = shelf
        .closure(core)?
        .unwrap_or_else(|_| Rc::new(Set::from([core])));
    let state = choose(&search, core, &closure, &roots, &mut warnings)?;
    let set = minimal(&search, core, state.components(), &roots)?;
    warn(&search, &set, &roots, &state, &mut warnings)?;
    let chosen = order(&search, core, &set)?;
    check_merged_sonames(&search, &chosen, &roots)?;
    answer(&search, core, chosen, &roots, warnings)
}

/// The library has to have every component of the lock.
fn check_lock(library: &dyn Catalogue, lock: &Lock) -> Result<(), Refusal> {
    let mut absent = Vec::new();
    for (name, wanted) in lock.iter() {
        let mut present = Vec::new();
        for index in library.named(name.as_str())? {
            let summary = library.component(index)?;
            if summary.name == *name {
                present.push(summary.digest);
            }
        }
        if !present.contains(wanted) {
            present.sort();
            absent.push(Absent {
                component: name.clone(),
                wanted: *wanted,
                present,
            });
        }
    }
    if absent.is_empty() {
        Ok(())
    } else {
        Err(Refusal::Lock { absent })
    }
}

/// Nothing is composed: right if nothing is missing.
fn composition_is_off(request: &Request) -> Result<Resolution, Refusal> {
    let mut missing: Vec<_> = request
        .requirements
        .iter()
        .filter(|one| one.is_missing() && one.strength == Strength::Hard)
        .map(|one| Unmet {
            need: one.need.clone(),
            chain: one.chain.clone(),
            kind: RefusalKind::Off,
            detail: String::new(),
        })
        .collect();
    if !missing.is_empty() {
        sort_unmet(&mut missing);
        return Err(Refusal::Off { unmet: missing });
    }
    let policy = &request.policy;
    let asked = policy
        .components
        .iter()
        .map(|name| format!("component `{name}`"));
    let granted = policy
        .require
        .iter()
        .map(|name| format!("capability `{name}`"));
    let mut warnings: Vec<_> = asked
        .chain(granted)
        .map(|what| format!("{what} is asked for, but composition is off"))
        .collect();
    if policy.lock.as_ref().is_some_and(|lock| !lock.is_empty()) {
        warnings.push("a lock is given, but composition is off".to_owned());
    }
    Ok(Resolution {
        warnings,
        ..Resolution::default()
    })
}

/// The needs of the request with what would supply them, merged by value; and those nobody supplies.
fn collect(
    search: &Search<'_>,
    request: &Request,
    warnings: &mut Vec<String>,
) -> Result<(Vec<NeedId>, Vec<Unmet>), CatalogueError> {
    let explicit = explicit(&request.policy);
    let mut merged: BTreeMap<&Need, &Requirement> = BTreeMap::new();
    let counts = |one: &&Requirement| one.is_missing() && !one.is_below(request.policy.min_grade);
    for requirement in request.requirements.iter().filter(counts) {
        merged
            .entry(&requirement.need)
            .and_modify(|known| {
                // the stronger claim; among equals the shorter chain, then the smaller value
                let key = |one: &Requirement| {
                    (
                        one.strength == Strength::Soft,
                        one.chain.len(),
                        one.chain.clone(),
                    )
                };
                if key(requirement) < key(known) {
                    *known = requirement;
                }
            })
            .or_insert(requirement);
    }
    for requirement in &explicit {
        merged.insert(&requirement.need, requirement);
    }
    let (mut roots, mut refused) = (Vec::new(), Vec::new());
    for (need, requirement) in merged {
        let is_explicit = explicit.iter().any(|one| one.need == *need);
        let mut offer = search.offer(need)?;
        if is_explicit && offer.usable.iter().any(|candidate| candidate.exact) {
            let mut exact = Offer::clone(&offer);
            exact.usable.retain(|candidate| candidate.exact);
            offer = Rc::new(exact);
        }
        let wanted = Wanted {
            need: need.clone(),
            strength: requirement.strength,
            chain: requirement.chain.clone(),
            explicit: is_explicit,
            requirer: None,
            offer,
        };
        if !wanted.offer.usable.is_empty() {
            roots.push(search.add(wanted));
        } else if wanted.strength == Strength::Hard {
            refused.push(unmet(&wanted));
        } else if is_worth_a_warning(requirement) && !is_wished_away(&wanted) {
            let unmet = unmet(&wanted);
            warnings.push(format!("{}: {}", unsupplied(&wanted), unmet.detail));
        }
    }
    sort_unmet(&mut refused);
    Ok((roots, refused))
}

/// Whether the user kept out what would supply it.
fn is_wished_away(wanted: &Wanted) -> bool {
    matches!(
        unmet(wanted).kind,
        RefusalKind::Excluded | RefusalKind::Locked
    )
}

/// What the policy asks for by name, as requirements.
fn explicit(policy: &Policy) -> Vec<Requirement> {
    let declared = |need: Need| Requirement {
        chain: vec![Evidence {
            kind: EvidenceKind::Declared,
            source: "the configuration of this container".to_owned(),
            detail: need.to_string(),
        }],
        need,
        strength: Strength::Hard,
        satisfied_by: None,
    };
    let locked = policy.lock.iter().flat_map(Lock::iter);
    let components = policy
        .components
        .iter()
        .chain(locked.map(|(name, _)| name))
        .cloned()
        .map(|name| Need::Component { name });
    let capabilities = policy
        .require
        .iter()
        .cloned()
        .map(|name| Need::Capability { name });
    components.chain(capabilities).map(declared).collect()
}

/// The entrypoint first, then by value.
pub(crate) fn sort_unmet(unmet: &mut [Unmet]) {
    unmet.sort_by(|a, b| {
        (!a.is_entry(), &a.need, &a.chain).cmp(&(!b.is_entry(), &b.need, &b.chain))
    });
}

/// The component below every composition: of those that grant [`CORE_CAPABILITY`] the one with the highest preference.
fn core(search: &Search<'_>) -> Result<Result<ComponentIndex, Unmet>, Refusal> {
    let Ok(name) = Capability::new(CORE_CAPABILITY) else {
        let detail = format!("`{CORE_CAPABILITY}` is no capability");
        return Err(CatalogueError { detail }.into());
    };
    let need = Need::Capability { name };
    let offer = search.offer(&need)?;
    let chain = vec![Evidence {
        kind: EvidenceKind::Declared,
        source: "every composition".to_owned(),
        detail: "core fragment".to_owned(),
    }];
    let mut keyed = Vec::new();
    for candidate in &offer.usable {
        let summary = search.shelf.summary(candidate.lead)?;
        keyed.push((summary.preference, summary.name.clone(), candidate.lead));
    }
    let Some(best) = keyed.iter().map(|(preference, ..)| *preference).max() else {
        let wanted = Wanted {
            need,
            strength: Strength::Hard,
            chain,
            explicit: false,
            requirer: None,
            offer,
        };
        return Ok(Err(unmet(&wanted)));
    };
    keyed.retain(|(preference, ..)| *preference == best);
    match keyed.as_slice() {
        [(.., only)] => Ok(Ok(*only)),
        several => Err(Refusal::Ambiguous {
            need,
            chain,
            candidates: several.iter().map(|(_, name, _)| name.clone()).collect(),
        }),
    }
}

/// Searches with all needs and, if optional ones stand in the way beyond what backtracking undoes, without those.
fn choose(
    search: &Search<'_>,
    core: ComponentIndex,
    closure: &Set,
    roots: &[NeedId],
    warnings: &mut Vec<String>,
) -> Result<State, Refusal> {
    match search.run(core, closure, roots) {
        Err(refusal @ Refusal::Catalogue(_)) => Err(refusal),
        Ok(state) => Ok(state),
        Err(_) => {
            let is_hard = |id: &NeedId| search.wanted(*id).strength == Strength::Hard;
            let hard: Vec<_> = roots.iter().copied().filter(is_hard).collect();
            let state = search.run(core, closure, &hard)?;
            warnings.push(
                "optional needs are left out: no combination of components for them was found"
                    .to_owned(),
            );
            Ok(state)
        }
    }
}

/// Warnings about what was left out or guessed.
fn warn(
    search: &Search<'_>,
    set: &Set,
    roots: &[NeedId],
    state: &State,
    warnings: &mut Vec<String>,
) -> Result<(), CatalogueError> {
    for id in roots {
        let wanted = search.wanted(*id);
        if !search.supplied(&wanted, |one| set.contains(&one))? {
            warnings.push(format!(
                "{}: it conflicts with what the container cannot start without",
                unsupplied(&wanted)
            ));
        }
    }
    for id in state.ties() {
        let wanted = search.wanted(id);
        warnings.push(format!(
            "{} is provided by several components and no rule prefers one: taken by name (choose with components or exclude)",
            wanted.need
        ));
    }
    for component in set {
        for id in search.needs_of(*component)?.iter() {
            let wanted = search.wanted(*id);
            if Search::is_foreign(&wanted) && !search.supplied(&wanted, |one| set.contains(&one))? {
                warnings.push(format!(
                    "component `{}` needs {}, which no component provides",
                    search.shelf.summary(*component)?.name,
                    wanted.need
                ));
            }
        }
    }
    Ok(())
}

fn unsupplied(wanted: &Wanted) -> String {
    match wanted.chain.last() {
        Some(evidence) => format!("{} ({}) is not supplied", wanted.need, evidence.source),
        None => format!("{} is not supplied", wanted.need),
    }
}

/// Whether a person said it, and not a guess from symbols or imports.
fn is_worth_a_warning(requirement: &Requirement) -> bool {
    is_declared(requirement)
        || requirement.chain.last().is_some_and(|evidence| {
            matches!(
                evidence.kind,
                EvidenceKind::Argument | EvidenceKind::Environment
            )
        })
}

fn answer(
    search: &Search<'_>,
    core: ComponentIndex,
    chosen: Vec<ComponentIndex>,
    roots: &[NeedId],
    mut warnings: Vec<String>,
) -> Result<Resolution, Refusal> {
    let layers = layers(search, core, &chosen, roots)?;
    let mut capabilities = BTreeSet::new();
    let mut size = Size::default();
    for component in &chosen {
        let summary = search.shelf.summary(*component)?;
        capabilities.extend(summary.capabilities.iter().cloned());
        size.plain = size.plain.saturating_add(summary.size.plain);
        size.stored = size.stored.saturating_add(summary.size.stored);
        size.entries = size.entries.saturating_add(summary.size.entries);
    }
    warnings.sort();
    warnings.dedup();
    Ok(Resolution {
        chosen,
        layers,
        capabilities,
        size,
        warnings,
    })
}
