//! A fragment: what a task needs, unpacked and kept.

use std::time::Duration;

use fragment_store::{Load, Store};
use fragment_types::plan::Layer;
use fragment_types::{Digest, Plan, Requirement};
use serde::Serialize;

use crate::task::Task;

/// What a task needs, ready to run. Its components stay where they are until it is dropped.
#[derive(Debug)]
pub struct ComposedFragment {
    task: Task,
    plan: Plan,
    loads: Vec<Load>,
    is_kept: bool,
    time: Duration,
    _held: Held,
}

/// A lease, released when this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    store: Store,
    key: String,
}

impl Held {
    pub(super) fn new(store: Store, key: String) -> Self {
        Self { store, key }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Err(error) = self.store.release(&self.key) {
            // it ends with the process all the same
            tracing::warn!("release components: {error}");
        }
    }
}

/// A fragment told in a few words, for JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Its digest.
    pub id: Digest,
    /// Its components, topmost first.
    pub components: Vec<String>,
    /// Bytes of their layers.
    pub stored: u64,
    /// Bytes of their files.
    pub unpacked: u64,
    /// Capabilities they grant.
    pub capabilities: Vec<String>,
    /// Whether the decision was one that was kept.
    pub cached: bool,
    /// Microseconds that it took.
    pub micros: u64,
    /// What a person should know.
    pub warnings: Vec<String>,
}

impl ComposedFragment {
    pub(super) fn new(
        task: Task,
        plan: Plan,
        loads: Vec<Load>,
        is_kept: bool,
        time: Duration,
        held: Held,
    ) -> Self {
        Self {
            task,
            plan,
            loads,
            is_kept,
            time,
            _held: held,
        }
    }

    /// Its digest: of everything that was decided.
    #[must_use]
    pub fn id(&self) -> Digest {
        self.plan.id()
    }

    /// The task it is for.
    #[must_use]
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// The whole decision.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Its components, topmost first.
    #[must_use]
    pub fn components(&self) -> &[Layer] {
        &self.plan.layers
    }

    /// Bytes of the files of its components.
    #[must_use]
    pub fn total_size(&self) -> u64 {
        self.plan.size.plain
    }

    /// What the task needs, each with the chain of evidence.
    #[must_use]
    pub fn evidence(&self) -> &[Requirement] {
        &self.plan.requirements
    }

    /// How each of its components came to be there.
    #[must_use]
    pub fn loads(&self) -> &[Load] {
        &self.loads
    }

    /// Whether the decision was made before and kept.
    #[must_use]
    pub fn is_cached(&self) -> bool {
        self.is_kept
    }

    /// How long it took to make.
    #[must_use]
    pub fn time(&self) -> Duration {
        self.time
    }

    /// The same in a few words.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary {
            id: self.id(),
            components: self
                .plan
                .layers
                .iter()
                .map(|layer| layer.name.to_string())
                .collect(),
            stored: self.plan.size.stored,
            unpacked: self.plan.size.plain,
            capabilities: self
                .plan
                .capabilities
                .iter()
                .map(ToString::to_string)
                .collect(),
            cached: self.is_kept,
            micros: u64::try_from(self.time.as_micros()).unwrap_or(u64::MAX),
            warnings: self.plan.warnings.clone(),
        }
    }
}
