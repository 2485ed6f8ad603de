//! What is asked of resolution, and its answer.

use std::collections::BTreeSet;

pub use fragment_types::catalogue::CORE_CAPABILITY;
use fragment_types::manifest::Size;
use fragment_types::plan::Layer;
use fragment_types::{
    Capability, ComponentIndex, ComponentName, EvidenceKind, Grade, Lock, Requirement, Strength,
};

/// When to compose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compose {
    /// Only a bundle that lacks something it cannot start without, or for which something was asked by name.
    #[default]
    Auto,
    /// Every bundle: at least the core fragment lies below it.
    Always,
    /// No bundle: what is missing is a refusal.
    Off,
}

/// What the user says about the choice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// When to compose.
    pub compose: Compose,
    /// Components that have to be in, by name or alias.
    pub components: Vec<ComponentName>,
    /// Components that must not be in, by name or alias.
    pub exclude: BTreeSet<ComponentName>,
    /// Capabilities that have to be granted.
    pub require: BTreeSet<Capability>,
    /// The components a composition consists of, all of them and no other.
    pub lock: Option<Lock>,
    /// Whether a composition without a lock is refused.
    pub lock_required: bool,
    /// Grade that the evidence of a capability has to have for components to be chosen for it.
    pub min_grade: Grade,
}

impl Policy {
    /// Whether the user asked for components, by name or by `always`, whatever the bundle holds.
    #[must_use]
    pub fn is_composed(&self) -> bool {
        self.compose != Compose::Off && (self.compose == Compose::Always || self.names_something())
    }

    /// Whether the user named components or capabilities.
    fn names_something(&self) -> bool {
        let lock = self.lock.as_ref();
        !self.components.is_empty()
            || !self.require.is_empty()
            || lock.is_some_and(|lock| !lock.is_empty())
    }
}

/// A question to resolution.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// What the entrypoint needs, satisfied by the bundle or not, in any order.
    pub requirements: Vec<Requirement>,
    /// What the user says.
    pub policy: Policy,
}

impl Request {
    /// Whether the bundle cannot start as it is, or the user asked for something it does not hold.
    #[must_use]
    pub fn is_thin(&self) -> bool {
        self.policy.names_something()
            || self.requirements.iter().any(|requirement| {
                requirement.is_missing()
                    && (requirement.strength == Strength::Hard || is_declared(requirement))
            })
    }
}

/// Whether the user or the image named the need itself: what *follows* from something declared is not declared.
pub(crate) fn is_declared(requirement: &Requirement) -> bool {
    requirement
        .chain
        .last()
        .is_some_and(|evidence| evidence.kind == EvidenceKind::Declared)
}

/// The components to compose. Empty: the bundle runs as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolution {
    /// The components, topmost layer first.
    pub chosen: Vec<ComponentIndex>,
    /// The same as layers of a plan, in the same order, with reasons.
    pub layers: Vec<Layer>,
    /// Capabilities they grant together.
    pub capabilities: BTreeSet<Capability>,
    /// Sum of their sizes.
    pub size: Size,
    /// What a person should know.
    pub warnings: Vec<String>,
}

impl Resolution {
    /// Whether there is nothing to compose.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chosen.is_empty()
    }
}
