//! The requirements found so far, each once, with the shortest chain of evidence.

use std::collections::HashMap;

use fragment_types::manifest::Machine;
use fragment_types::{Evidence, Need, Requirement, Strength};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    /// Symbol versions of several users are merged into one requirement.
    Soname(String, Machine),
    Other(Need),
}

/// Requirements in the order in which they were first found, which is the order of the search and so the same every time.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    requirements: Vec<Requirement>,
    places: HashMap<Key, usize>,
}

impl Ledger {
    /// Adds a requirement, or merges it with an equal one: the stronger counts, then the shorter chain; what is missing for
    /// one is missing.
    pub(crate) fn add(
        &mut self,
        need: Need,
        strength: Strength,
        satisfied_by: Option<String>,
        chain: Vec<Evidence>,
    ) {
        let key = match &need {
            Need::Soname(needed) => Key::Soname(needed.soname.clone(), needed.machine),
            other => Key::Other(other.clone()),
        };
        let new = Requirement {
            need,
            strength,
            satisfied_by,
            chain,
        };
        let Some(place) = self.places.get(&key) else {
            self.places.insert(key, self.requirements.len());
            self.requirements.push(new);
            return;
        };
        let old = &mut self.requirements[*place];
        if let (Need::Soname(old), Need::Soname(new)) = (&mut old.need, &new.need) {
            old.versions.extend(new.versions.iter().cloned());
        }
        if old.satisfied_by.is_some() && new.satisfied_by.is_none() {
            old.satisfied_by = None;
        }
        // the stronger evidence of a capability is the one that counts, however long its chain
        let grade = |one: &Requirement| match one.need {
            Need::Capability { .. } => Some(std::cmp::Reverse(one.grade())),
            _ => None,
        };
        let better = (new.strength, grade(&new), old.chain.len())
            > (old.strength, grade(old), new.chain.len());
        if better {
            (old.strength, old.chain) = (new.strength, new.chain);
        }
    }

    /// Whether the bundle cannot start as it is.
    pub(crate) fn is_thin(&self) -> bool {
        is_thin(&self.requirements)
    }

    /// What was found so far.
    pub(crate) fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    pub(crate) fn into_requirements(self) -> Vec<Requirement> {
        self.requirements
    }
}

/// Whether something is missing that the entrypoint cannot start without.
pub(crate) fn is_thin(requirements: &[Requirement]) -> bool {
    requirements
        .iter()
        .any(|requirement| requirement.strength == Strength::Hard && requirement.is_missing())
}

#[cfg(test)]
mod tests {
    use fragment_types::EvidenceKind;

    use super::*;

    fn chain(steps: usize) -> Vec<Evidence> {
        let step = |n: usize| Evidence {
            kind: EvidenceKind::Needed,
            source: n.to_string(),
            detail: String::new(),
        };
        (0..steps).map(step).collect()
    }

    #[test]
    fn equal_needs_are_merged() {
        let mut ledger = Ledger::default();
        let soname =
            |version: &str| Need::soname("libc.so.6", Machine::X86_64, [version.to_owned()].into());
        ledger.add(
            soname("GLIBC_2.2.5"),
            Strength::Soft,
            Some("/lib/x".into()),
            chain(1),
        );
        assert!(!ledger.is_thin());
        ledger.add(soname("GLIBC_2.34"), Strength::Hard, None, chain(3));
        assert!(ledger.is_thin());
        ledger.add(soname("GLIBC_2.4"), Strength::Hard, None, chain(2));
        ledger.add(soname("GLIBC_2.4"), Strength::Soft, None, chain(1));
        let path = Need::Path { path: "/x".into() };
        ledger.add(path.clone(), Strength::Soft, None, chain(1));
        let out = ledger.into_requirements();
        assert_eq!(out.len(), 2);
        let Need::Soname(needed) = &out[0].need else {
            panic!("{out:?}")
        };
        assert_eq!(needed.versions.len(), 3);
        assert_eq!((out[0].strength, out[0].chain.len()), (Strength::Hard, 2));
        assert_eq!(out[0].satisfied_by, None);
        assert_eq!(out[1].need, path);
    }
}
