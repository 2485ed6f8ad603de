//! Why each component is in a plan: the shortest chain of evidence, from the entrypoint to the component.

use std::collections::BTreeSet;

use fragment_types::plan::{Layer, Reason};
use fragment_types::{Evidence, Need, Plan, Requirement};
use serde::Serialize;

/// The reason for one layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The component.
    pub component: String,
    /// Its version as the distribution spells it.
    pub version: String,
    /// Evidence from the entrypoint to the need that brought it (or the component that requires it) in.
    pub evidence: Vec<Evidence>,
    /// The steps as a person reads them: `entry /usr/bin/curl`, `needed libcurl.so.4`, `component curl`, …
    pub steps: Vec<String>,
}

/// Explains every layer of `plan`, topmost first.
#[must_use]
pub fn explain(plan: &Plan) -> Vec<Explanation> {
    plan.layers
        .iter()
        .map(|layer| explain_layer(plan, layer))
        .collect()
}

fn explain_layer(plan: &Plan, layer: &Layer) -> Explanation {
    let path = shortest_path(plan, layer);
    let mut explanation = Explanation {
        component: layer.name.to_string(),
        version: layer.upstream_version.clone(),
        evidence: Vec::new(),
        steps: Vec::new(),
    };
    // from the component that evidence names, down the requires, to the layer asked about
    for (from, reason) in path.iter().rev() {
        match reason {
            Reason::Core => explanation
                .steps
                .push("lies below every composition".to_owned()),
            Reason::Supplies { requirement } => {
                if let Some(requirement) = best_requirement(plan, requirement) {
                    explanation.evidence.clone_from(&requirement.chain);
                    explanation.steps.extend(requirement.chain.iter().map(step));
                    if let Need::Soname(needed) = &requirement.need {
                        explanation.steps.extend(newest(&needed.versions));
                    }
                }
                explanation.steps.push(format!("component {from}"));
            }
            Reason::RequiredBy { via, .. } => {
                if via != from {
                    explanation.steps.push(format!("requires {via}"));
                }
                explanation.steps.push(format!("component {from}"));
            }
        }
    }
    explanation
}

/// The reasons from `layer` up to one that is evidence: breadth first, so the shortest.
fn shortest_path<'p>(plan: &'p Plan, layer: &'p Layer) -> Vec<(&'p str, &'p Reason)> {
    let mut seen = BTreeSet::from([layer.name.as_str()]);
    let mut paths: Vec<(&Layer, Vec<(&str, &Reason)>)> = vec![(layer, Vec::new())];
    while !paths.is_empty() {
        let mut longer = Vec::new();
        for (layer, path) in paths {
            let ends = |reason: &&Reason| !matches!(reason, Reason::RequiredBy { .. });
            if let Some(reason) = layer.reasons.iter().find(ends) {
                return [path, vec![(layer.name.as_str(), reason)]].concat();
            }
            for reason in &layer.reasons {
                let Reason::RequiredBy { component, .. } = reason else {
                    continue;
                };
                if seen.insert(component.as_str())
                    && let Some(above) = plan.layers.iter().find(|other| other.name == *component)
                {
                    longer.push((
                        above,
                        [path.clone(), vec![(layer.name.as_str(), reason)]].concat(),
                    ));
                }
            }
        }
        paths = longer;
    }
    Vec::new()
}

/// The requirement of this need with the strongest evidence, then the shortest chain.
fn best_requirement<'p>(plan: &'p Plan, need: &Need) -> Option<&'p Requirement> {
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

fn step(evidence: &Evidence) -> String {
    let kind = serde_json::to_value(evidence.kind).ok();
    let kind = kind
        .as_ref()
        .and_then(serde_json::Value::as_str)
        .unwrap_or_default();
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
    use super::newest;

    #[test]
    fn versions_are_compared_as_numbers() {
        let versions = ["GLIBC_2.4", "GLIBC_2.34", "GLIBC_2.2.5"]
            .map(str::to_owned)
            .into();
        assert_eq!(newest(&versions).as_deref(), Some("GLIBC_2.34"));
    }
}
