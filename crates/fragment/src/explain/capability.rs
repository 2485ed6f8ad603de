//! The capabilities that an entrypoint needs, with how sure that is and who grants them.

use fragment_types::{
    Capability, Catalogue, CatalogueError, ComponentName, Evidence, Grade, Need, Plan, Requirement,
};
use serde::Serialize;

/// A capability that is needed, or may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NeededCapability {
    /// Its name.
    pub name: Capability,
    /// How much the evidence says.
    pub grade: Grade,
    /// The evidence, from the entrypoint on.
    pub evidence: Vec<Evidence>,
    /// Whether components are composed for it: its grade reaches the minimum.
    pub counts: bool,
    /// The components of the plan that grant it, whatever they are there for.
    pub granted_by: Vec<ComponentName>,
}

/// Every capability that there is evidence for, the strongest evidence first; with those that only libraries of components speak for,
/// which a plan does not hold unless somebody asks for evidence as weak as that.
///
/// # Errors
/// When the catalogue is damaged.
pub fn capabilities(
    plan: &Plan,
    library: &dyn Catalogue,
) -> Result<Vec<NeededCapability>, CatalogueError> {
    let weak = if plan.is_composed() {
        fragment_analysis::library_imports(&plan.requirements, library)?
    } else {
        Vec::new()
    };
    let mut found: Vec<NeededCapability> = plan
        .requirements
        .iter()
        .chain(&weak)
        .filter_map(|requirement| needed(plan, requirement))
        .collect();
    found.sort_by(|a, b| (a.grade, &a.name).cmp(&(b.grade, &b.name)));
    Ok(found)
}

fn needed(plan: &Plan, requirement: &Requirement) -> Option<NeededCapability> {
    let Need::Capability { name } = &requirement.need else {
        return None;
    };
    let granting = plan
        .layers
        .iter()
        .filter(|layer| layer.capabilities.contains(name));
    Some(NeededCapability {
        name: name.clone(),
        grade: requirement.grade(),
        evidence: requirement.chain.clone(),
        counts: !requirement.is_below(plan.min_grade),
        granted_by: granting.map(|layer| layer.name.clone()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::sample;
    use fragment_types::EvidenceKind;

    #[test]
    fn what_is_below_the_minimum_is_listed_and_does_not_count() {
        let mut plan = sample::plan();
        let text = |plan: &Plan| -> Vec<String> {
            let found = plan.requirements.iter().filter_map(|one| needed(plan, one));
            found
                .map(|one| {
                    format!(
                        "{} {} {} {:?}",
                        one.name, one.grade, one.counts, one.granted_by
                    )
                })
                .collect()
        };
        assert_eq!(
            text(&plan),
            [
                "tcp_connections library-import false []",
                "process_execution import true [\"core\"]"
            ]
        );
        plan.min_grade = Grade::Text;
        assert!(text(&plan)[0].contains("library-import true"));
        let last = plan.requirements[3].chain.last().unwrap();
        assert_eq!(last.kind, EvidenceKind::LibrarySymbol);
    }
}
