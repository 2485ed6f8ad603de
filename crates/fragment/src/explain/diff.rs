//! What is different between two plans.

use std::collections::{BTreeMap, BTreeSet};

use fragment_types::manifest::Size;
use fragment_types::plan::{self, Form, Layer};
use fragment_types::{Capability, ComponentName, Digest, Evidence, Grade, Need, Plan, Strength};
use serde::{Deserialize, Serialize};

/// A text that is no saved plan.
#[derive(Debug, thiserror::Error)]
pub enum NoPlan {
    /// Other JSON, or none.
    #[error("not a plan as `fragment plan --json` prints it")]
    Json(#[from] serde_json::Error),
    /// Of another release.
    #[error("a plan of schema `{0}`; this release reads `{expected}`", expected = plan::SCHEMA)]
    Schema(String),
}

/// Reads what `fragment plan --json` printed: the plan, alone or beside its id.
///
/// # Errors
/// [`NoPlan`].
pub fn read(text: &str) -> Result<Plan, NoPlan> {
    /// Told first, so that another release is not told by the first field that it has more.
    #[derive(Deserialize)]
    struct Schema {
        schema: Option<String>,
        plan: Option<Box<Schema>>,
    }
    let schema: Schema = serde_json::from_str(text)?;
    let is_beside_its_id = schema.plan.is_some();
    let named = match schema.plan {
        Some(inner) => inner.schema,
        None => schema.schema,
    };
    if let Some(other) = named.filter(|name| name != plan::SCHEMA) {
        return Err(NoPlan::Schema(other));
    }
    if is_beside_its_id {
        #[derive(Deserialize)]
        struct Printed {
            plan: Plan,
        }
        return Ok(serde_json::from_str::<Printed>(text)?.plan);
    }
    Ok(serde_json::from_str(text)?)
}

/// What came, what went, what is another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Ids of the two.
    pub fragment: Change<Digest>,
    /// Paths of the entrypoints.
    pub entry: Change<String>,
    /// Forms of the overlay.
    pub form: Change<Form>,
    /// Generations of the library they were made on.
    pub library: Change<Digest>,
    /// Minimum grades.
    pub min_grade: Change<Grade>,
    /// Sums of the layers.
    pub size: Change<Size>,
    /// Components of the second plan alone.
    pub added: Vec<Component>,
    /// Components of the first plan alone.
    pub removed: Vec<Component>,
    /// Components of both, of another content.
    pub changed: Vec<ChangedComponent>,
    /// Requirements of the second plan alone.
    pub requirements_added: Vec<NeedOf>,
    /// Requirements of the first plan alone.
    pub requirements_removed: Vec<NeedOf>,
    /// Capabilities that the second plan alone grants.
    pub capabilities_added: BTreeSet<Capability>,
    /// Capabilities that the first plan alone grants.
    pub capabilities_removed: BTreeSet<Capability>,
    /// Warnings of the second plan alone.
    pub warnings_added: Vec<String>,
    /// Warnings of the first plan alone.
    pub warnings_removed: Vec<String>,
}

/// The same of both plans.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change<T> {
    /// Of the first.
    pub from: T,
    /// Of the second.
    pub to: T,
}

impl<T: PartialEq> Change<T> {
    /// Whether there is a difference.
    pub fn is_one(&self) -> bool {
        self.from != self.to
    }
}

/// A component of one plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Component {
    /// Its name.
    pub name: ComponentName,
    /// Its version, as the distribution spells it.
    pub version: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size.
    pub size: Size,
}

/// A component of both plans.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChangedComponent {
    /// Its name.
    pub name: ComponentName,
    /// Its versions, as the distribution spells them; the same where only its content is another.
    pub version: Change<String>,
    /// Its digests.
    pub digest: Change<Digest>,
    /// Its sizes.
    pub size: Change<Size>,
}

/// A requirement of one plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NeedOf {
    /// What is needed.
    #[serde(flatten)]
    pub need: Need,
    /// How strongly.
    pub strength: Strength,
    /// How it was found.
    pub chain: Vec<Evidence>,
}

impl Difference {
    /// From `old` to `new`.
    #[must_use]
    pub fn between(old: &Plan, new: &Plan) -> Self {
        fn change<T>(from: T, to: T) -> Change<T> {
            Change { from, to }
        }
        let (from, to) = (by_name(old), by_name(new));
        let only = |of: &BTreeMap<&ComponentName, &Layer>,
                    not: &BTreeMap<&ComponentName, &Layer>| {
            of.iter()
                .filter(|(name, _)| !not.contains_key(*name))
                .map(|(_, layer)| component(layer))
                .collect()
        };
        let changed = from.iter().filter_map(|(name, before)| {
            let after = to.get(name)?;
            (before.digest != after.digest).then(|| ChangedComponent {
                name: before.name.clone(),
                version: change(
                    before.upstream_version.clone(),
                    after.upstream_version.clone(),
                ),
                digest: change(before.digest, after.digest),
                size: change(before.size, after.size),
            })
        });
        let warnings = |of: &Plan, not: &Plan| {
            let mut only = of.warnings.clone();
            only.retain(|warning| !not.warnings.contains(warning));
            only
        };
        Self {
            fragment: change(old.id(), new.id()),
            entry: change(old.entry.path.clone(), new.entry.path.clone()),
            form: change(old.form, new.form),
            library: change(old.library, new.library),
            min_grade: change(old.min_grade, new.min_grade),
            size: change(old.size, new.size),
            added: only(&to, &from),
            removed: only(&from, &to),
            changed: changed.collect(),
            requirements_added: requirements(new, old),
            requirements_removed: requirements(old, new),
            capabilities_added: &new.capabilities - &old.capabilities,
            capabilities_removed: &old.capabilities - &new.capabilities,
            warnings_added: warnings(new, old),
            warnings_removed: warnings(old, new),
        }
    }

    /// Whether both plans are one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.fragment.is_one()
    }
}

fn by_name(plan: &Plan) -> BTreeMap<&ComponentName, &Layer> {
    plan.layers
        .iter()
        .map(|layer| (&layer.name, layer))
        .collect()
}

fn component(layer: &Layer) -> Component {
    Component {
        name: layer.name.clone(),
        version: layer.upstream_version.clone(),
        digest: layer.digest,
        size: layer.size,
    }
}

/// What `of` needs and `not` does not, symbol versions counted; in the order in which it was found.
fn requirements(of: &Plan, not: &Plan) -> Vec<NeedOf> {
    let known: BTreeSet<&Need> = not.requirements.iter().map(|one| &one.need).collect();
    of.requirements
        .iter()
        .filter(|one| !known.contains(&one.need))
        .map(|one| NeedOf {
            need: one.need.clone(),
            strength: one.strength,
            chain: one.chain.clone(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::sample;

    #[test]
    fn a_plan_is_the_same_as_itself() {
        let plan = sample::plan();
        let difference = Difference::between(&plan, &plan);
        assert!(difference.is_empty());
        assert_eq!((difference.added.len(), difference.changed.len()), (0, 0));
        assert!(difference.requirements_added.is_empty());
    }

    #[test]
    fn components_and_requirements_come_and_go_and_change() {
        let old = sample::plan();
        let mut new = old.clone();
        let gone = new.layers.remove(2);
        let mut come = sample::layer("zstd", 9, gone.reasons);
        come.upstream_version = "7".to_owned();
        new.layers.insert(0, come);
        new.layers[2].upstream_version = "1.0-2".to_owned();
        new.layers[2].digest = Digest::of(b"other");
        new.requirements.remove(0);
        new.capabilities.clear();
        new.warnings.push("careful".to_owned());
        let difference = Difference::between(&old, &new);
        let names = |of: &[Component]| -> Vec<String> {
            of.iter().map(|one| one.name.to_string()).collect()
        };
        assert_eq!(names(&difference.added), ["zstd"]);
        assert_eq!(names(&difference.removed), ["zlib"]);
        assert_eq!(difference.changed.len(), 1);
        assert_eq!(difference.changed[0].name, sample::name("openssl"));
        assert_eq!(difference.changed[0].version.to, "1.0-2");
        assert_eq!(difference.requirements_removed.len(), 1);
        assert_eq!(
            difference.requirements_removed[0].need.to_string(),
            "/lib64/ld.so"
        );
        assert_eq!(difference.capabilities_removed.len(), 1);
        assert_eq!(difference.warnings_added, ["careful"]);
        assert!(!difference.is_empty());
    }

    #[test]
    fn a_saved_plan_is_read_with_and_without_its_id() {
        let plan = sample::plan();
        let bare = serde_json::to_string(&plan).unwrap();
        assert_eq!(read(&bare).unwrap(), plan);
        let printed = serde_json::json!({ "id": plan.id(), "plan": plan }).to_string();
        assert_eq!(read(&printed).unwrap(), plan);
        let other = bare.replace(plan::SCHEMA, "dev.fragment.plan/9");
        let message = read(&other).unwrap_err().to_string();
        assert!(message.contains("dev.fragment.plan/9"), "{message}");
        for text in ["", "{}", "[]", "{\"plan\":{}}", "{\"plan\":3}"] {
            assert!(matches!(read(text), Err(NoPlan::Json(_))), "{text}");
        }
    }
}
