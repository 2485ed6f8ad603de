//! An explanation as JSON. docs/schema/explain.json describes it.

use fragment_types::manifest::Size;
use fragment_types::plan::{Entry, Form};
use fragment_types::{Catalogue, CatalogueError, Digest, Grade, Plan};
use serde::Serialize;

use super::capability::{NeededCapability, capabilities};
use super::chain::{Explanation, explain_in};
use super::diff::Difference;
use super::path::Provenance;
use super::why_not::WhyNot;

/// The `schema` of the document. What is added keeps it; what is taken away or changes its meaning gets another.
pub const SCHEMA: &str = "dev.fragment.explain/1";

/// What `fragment explain --json` prints.
#[derive(Debug, Clone, Serialize)]
pub struct Document {
    /// Always [`SCHEMA`].
    pub schema: &'static str,
    /// Id of the plan that is explained.
    pub id: Digest,
    /// Its entrypoint.
    pub entry: Entry,
    /// How its root filesystem is put together.
    pub form: Form,
    /// Sum of its layers.
    pub size: Size,
    /// Grade that the evidence of a capability has to have.
    pub min_grade: Grade,
    /// Why each component is there, topmost first.
    pub components: Vec<Explanation>,
    /// What is needed of the system, and how sure that is.
    pub capabilities: Vec<NeededCapability>,
    /// Why a component is not there; asked for with `--why-not`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why_not: Option<WhyNot>,
    /// Where a path comes from; asked for with `--path`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Provenance>,
    /// What is different from another plan; asked for with `--diff`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<Difference>,
}

impl Document {
    /// The explanation of `plan`.
    ///
    /// # Errors
    /// When the catalogue is damaged.
    pub fn of(plan: &Plan, library: &dyn Catalogue) -> Result<Self, CatalogueError> {
        Ok(Self {
            schema: SCHEMA,
            id: plan.id(),
            entry: plan.entry.clone(),
            form: plan.form,
            size: plan.size,
            min_grade: plan.min_grade,
            components: explain_in(plan, library)?,
            capabilities: capabilities(plan, library)?,
            why_not: None,
            path: None,
            diff: None,
        })
    }
}
