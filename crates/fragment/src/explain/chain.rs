//! The shortest chain of evidence from the entrypoint to a component.

use std::collections::BTreeSet;

use fragment_types::plan::{Layer, Reason};
use fragment_types::{Catalogue, CatalogueError, Evidence, EvidenceKind, Need, Plan, Requirement};
use serde::Serialize;

/// The reason for one layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The component.
    pub component: String,
    /// Its version as the distribution spells it.
    pub version: String,
    /// Bytes of it as stored.
    pub stored: u64,
    /// Evidence from the entrypoint to the need that brought it (or the component that requires it) in.
    pub evidence: Vec<Evidence>,
    /// The steps as a person reads them: `entry /usr/bin/curl`, `needed libssl.so.3`, `OPENSSL_3.0.0`, `openssl 3.0.17-1`.
    pub steps: Vec<String>,
}

/// Explains every layer of `plan`, topmost first.
#[must_use]
pub fn explain(plan: &Plan) -> Vec<Explanation> {
    let unknown = |_: &str, _: &str| Ok(None);
    // no look-up, no error
    explain_with(plan, &unknown).unwrap_or_default()
}

/// As [`explain`], with the symbol versions that components need of one another, which only the library knows.
///
/// # Errors
/// When the catalogue is damaged.
pub fn explain_in(
    plan: &Plan,
    library: &dyn Catalogue,
) -> Result<Vec<Explanation>, CatalogueError> {
    explain_with(plan, &|component, soname| {
        for index in library.named(component)? {
            let summary = library.component(index)?;
            if summary.name.as_str() == component
                && let Some(need) = summary.needs.iter().find(|need| need.soname == soname)
            {
                return Ok(newest(&need.versions));
            }
        }
        Ok(None)
    })
}

/// The symbol version that a component needs of a soname.
type Versions<'v> = dyn Fn(&str, &str) -> Result<Option<String>, CatalogueError> + 'v;

fn explain_with(plan: &Plan, versions: &Versions<'_>) -> Result<Vec<Explanation>, CatalogueError> {
    plan.layers
        .iter()
        .map(|layer| explain_layer(plan, layer, versions))
        .collect()
}

fn explain_layer(
    plan: &Plan,
    layer: &Layer,
    versions: &Versions<'_>,
) -> Result<Explanation, CatalogueError> {
    let path = shortest_path(plan, layer);
    let mut explanation = Explanation {
        component: layer.name.to_string(),
        version: layer.upstream_version.clone(),
        stored: layer.size.stored,
        evidence: Vec::new(),
        steps: Vec::new(),
    };
    // from the component that evidence names, down the requires, to the layer asked about
    for (at, reason) in path.iter().rev() {
        let named = format!("{} {}", at.name, at.upstream_version);
        let steps = &mut explanation.steps;
        match reason {
            Reason::Core => steps.push("lies below every composition".to_owned()),
            Reason::Supplies { requirement } => {
                if let Some(requirement) = best_requirement(plan, requirement) {
                    explanation.evidence.clone_from(&requirement.chain);
                    steps.extend(requirement.chain.iter().map(step));
                    if let Need::Soname(needed) = &requirement.need {
                        steps.extend(newest(&needed.versions));
                    }
                } else {
                    // by a flag, an annotation or the configuration: no need of the entrypoint
                    steps.push("asked for".to_owned());
                }
                steps.push(named);
            }
            Reason::RequiredBy { component, via } => {
                if *via == *at.name.as_str() {
                    steps.push("requires".to_owned());
                } else {
                    steps.push(format!("needed {via}"));
                    steps.extend(versions(component.as_str(), via)?);
                }
                steps.push(named);
            }
        }
    }
    explanation.steps.retain(|step| step != "requires");
    Ok(explanation)
}

/// The reasons from `layer` up to one that is evidence: breadth first, so the shortest. What a file needs says more than what a
/// package names.
pub(super) fn shortest_path<'p>(plan: &'p Plan, layer: &'p Layer) -> Vec<(&'p Layer, &'p Reason)> {
    let mut seen = BTreeSet::from([layer.name.as_str()]);
    let mut paths: Vec<(&Layer, Vec<(&Layer, &Reason)>)> = vec![(layer, Vec::new())];
    while !paths.is_empty() {
        let mut longer = Vec::new();
        for (layer, path) in paths {
            let ends = layer
                .reasons
                .iter()
                .filter(|reason| !matches!(reason, Reason::RequiredBy { .. }));
            if let Some(reason) = ends.min_by_key(|reason| strength(plan, reason)) {
                return [path, vec![(layer, reason)]].concat();
            }
            let mut required: Vec<_> = layer
                .reasons
                .iter()
                .filter_map(|reason| match reason {
                    Reason::RequiredBy { component, via } => Some((component, via, reason)),
                    _ => None,
                })
                .collect();
            required.sort_by_key(|(component, via, _)| (*component, *via == layer.name.as_str()));
            for (component, _, reason) in required {
                if seen.insert(component.as_str())
                    && let Some(above) = plan.layers.iter().find(|other| other.name == *component)
                {
                    longer.push((above, [path.clone(), vec![(layer, reason)]].concat()));
                }
            }
        }
        paths = longer;
    }
    Vec::new()
}

/// The order in which a layer's own reasons are told: the strongest evidence first, and core's being core last.
fn strength(plan: &Plan, reason: &Reason) -> (bool, Option<EvidenceKind>, usize) {
    match reason {
        Reason::Supplies { requirement } => {
            let chain = best_requirement(plan, requirement).map(|one| &one.chain);
            let kind = chain.and_then(|chain| chain.last()).map(|last| last.kind);
            (false, kind, chain.map_or(0, Vec::len))
        }
        _ => (true, None, 0),
    }
}

/// The requirement of this need with the strongest evidence, then the shortest chain.
pub(super) fn best_requirement<'p>(plan: &'p Plan, need: &Need) -> Option<&'p Requirement> {
    plan.requirements
        .iter()
        .filter(|requirement| requirement.need == *need)
        .min_by_key(|requirement| {
            (
                requirement.chain.last().map(|last| last.kind),
                requirement.chain.len(),
            )
        })
}

/// The name of a kind of evidence.
pub(super) fn kind(kind: EvidenceKind) -> String {
    match serde_json::to_value(kind) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

/// One step of evidence, as a person reads it.
pub(super) fn step(evidence: &Evidence) -> String {
    let kind = kind(evidence.kind);
    if evidence.detail == evidence.source || evidence.source.is_empty() {
        format!("{kind} {}", evidence.detail)
    } else {
        format!("{kind} {} ({})", evidence.detail, evidence.source)
    }
}

/// The symbol version that is hardest to satisfy: the last in version order.
fn newest(versions: &BTreeSet<String>) -> Option<String> {
    let key = |text: &String| {
        text.split(|c: char| !c.is_ascii_digit())
            .filter_map(|part| part.parse::<u64>().ok())
            .collect::<Vec<_>>()
    };
    versions.iter().max_by_key(|version| key(version)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::sample;

    #[test]
    fn versions_are_compared_as_numbers() {
        let versions = ["GLIBC_2.4", "GLIBC_2.34", "GLIBC_2.2.5"]
            .map(str::to_owned)
            .into();
        assert_eq!(newest(&versions).as_deref(), Some("GLIBC_2.34"));
    }

    #[test]
    fn a_chain_leads_from_the_entry_over_the_symbol_version_to_the_component() {
        let plan = sample::plan();
        let explained = explain(&plan);
        let of = |name: &str| {
            let found = explained.iter().find(|one| one.component == name);
            found.map(|one| one.steps.join(" -> ")).unwrap_or_default()
        };
        assert_eq!(
            of("openssl"),
            "entry /app -> needed libssl.so.3 (/app) -> OPENSSL_3.0.0 -> openssl 1.0-1"
        );
        assert_eq!(
            of("zlib"),
            "entry /app -> needed libssl.so.3 (/app) -> OPENSSL_3.0.0 -> openssl 1.0-1 -> needed libz.so.1 -> zlib 1.0-1",
            "what a file needs, rather than what a package names"
        );
        assert_eq!(
            of("core"),
            "entry /app -> interpreter /lib64/ld.so (/app) -> core 1.0-1"
        );
        assert_eq!(
            of("certificates"),
            "entry /app -> argument https://… (argv[1]) -> certificates 1.0-1"
        );
    }
}
