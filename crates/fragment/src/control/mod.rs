//! What is asked of a composition, and by whom.
//!
//! | source, strongest first | module |
//! |---|---|
//! | flags of the `fragment` command | (the caller's [`Wishes`]) |
//! | annotations `dev.fragment.*` of the bundle | [`annotation`] |
//! | `/.fragment.yaml` of its rootfs | [`image`] |
//! | variables of the runtime's own process | [`environment`] |
//! | `fragment.yaml` of the user, then of the node | [`configuration`] |
//!
//! Settings that say nothing about composition are in the same files, in variables and options of their own: [`schema`].
//!
//! How they are put together is [`merge`]'s to say; docs/control.md tells it to users.

pub mod annotation;
mod components;
pub mod configuration;
pub mod document;
pub mod effective;
pub mod environment;
mod error;
pub mod expectation;
pub mod image;
mod merge;
mod nearest;
mod origin;
mod place;
pub mod schema;

use std::collections::BTreeSet;
use std::path::Path;

use fragment_launch::Bundle;
use fragment_resolve::{Compose, Policy};
use fragment_sys::root::Root;
use fragment_types::{Capability, ComponentName, Grade, Lock};

pub use error::ControlError;
pub use merge::merge;
pub use nearest::nearest;
pub use origin::Origin;
pub use place::{Place, Said};

use crate::settings::Settings;

/// What one source asks for. What it is silent about is left to weaker sources.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    /// When to compose.
    pub compose: Option<Compose>,
    /// Components that have to be in.
    pub components: Vec<ComponentName>,
    /// Components that must not be in.
    pub exclude: BTreeSet<ComponentName>,
    /// Capabilities that have to be granted.
    pub require: BTreeSet<Capability>,
    /// The components a composition consists of.
    pub lock: Option<Lock>,
    /// Grade that the evidence of a capability has to have.
    pub min_grade: Option<Grade>,
}

/// The policy for a bundle whose composition is asked for with `flags`.
///
/// # Errors
/// [`ControlError`]: what cannot be followed is not ignored.
pub fn of_bundle(
    settings: &Settings,
    bundle: &Bundle,
    flags: Wishes,
) -> Result<Policy, ControlError> {
    Ok(policy(settings, &said_of_bundle(settings, bundle, flags)?))
}

/// The policy for a task, which has neither annotations nor a rootfs.
#[must_use]
pub fn of_task(settings: &Settings, flags: Wishes) -> Policy {
    policy(settings, &said_of_task(settings, flags))
}

/// What every place says about a bundle, strongest first.
///
/// # Errors
/// As [`of_bundle`].
pub fn said_of_bundle(
    settings: &Settings,
    bundle: &Bundle,
    flags: Wishes,
) -> Result<Vec<Said>, ControlError> {
    let mut said = vec![Said::by(Place::Flag, flags)];
    if let Some(annotations) = bundle.spec.annotations().as_ref() {
        let wishes = annotation::wishes(annotations)?;
        said.push(Said::by(Place::Annotation, wishes));
    }
    if let Some(rootfs) = bundle.rootfs() {
        let wishes = of_image(&rootfs)?;
        said.extend(wishes.map(|wishes| Said::by(Place::Image, wishes)));
    }
    said.extend(settings.said.iter().cloned());
    Ok(said)
}

/// What every place says about a task, strongest first.
#[must_use]
pub fn said_of_task(settings: &Settings, flags: Wishes) -> Vec<Said> {
    let flags = Said::by(Place::Flag, flags);
    std::iter::once(flags)
        .chain(settings.said.iter().cloned())
        .collect()
}

/// The policy that follows from what all places say, strongest first.
#[must_use]
pub fn policy(settings: &Settings, said: &[Said]) -> Policy {
    Policy {
        lock_required: settings.lock_required,
        ..merge(said.iter().map(|one| one.wishes.clone()))
    }
}

fn of_image(rootfs: &Path) -> Result<Option<Wishes>, ControlError> {
    image::wishes(&Root::open(rootfs)?)
}

/// The values of `compose`, by name.
fn compose(text: &str) -> Result<Compose, &'static str> {
    match text {
        "auto" => Ok(Compose::Auto),
        "always" => Ok(Compose::Always),
        "off" => Ok(Compose::Off),
        _ => Err("auto, always or off"),
    }
}

/// One wish by its name, its value a text in which lists are separated by commas. `None`: there is no such wish.
fn wish(
    wishes: &mut Wishes,
    name: &str,
    value: &str,
    invalid: impl Fn(&str, &dyn std::fmt::Display) -> ControlError,
) -> Option<Result<(), ControlError>> {
    let done = match name {
        "compose" => compose(value)
            .map(|compose| wishes.compose = Some(compose))
            .map_err(|expected| invalid(value, &expected)),
        "components" => items(value, ComponentName::new, &invalid)
            .map(|components| wishes.components = components),
        "exclude" => {
            items(value, ComponentName::new, &invalid).map(|exclude| wishes.exclude = exclude)
        }
        "require" => {
            items(value, Capability::new, &invalid).map(|require| wishes.require = require)
        }
        "min_grade" => value
            .parse()
            .map(|grade| wishes.min_grade = Some(grade))
            .map_err(|error| invalid(value, &error)),
        "lock" => value
            .parse()
            .map(|lock| wishes.lock = Some(lock))
            .map_err(|error| invalid(value, &error)),
        _ => return None,
    };
    Some(done)
}

fn items<'v, T, L: FromIterator<T>, E: std::fmt::Display>(
    value: &'v str,
    parse: impl Fn(&'v str) -> Result<T, E>,
    invalid: &impl Fn(&str, &dyn std::fmt::Display) -> ControlError,
) -> Result<L, ControlError> {
    value
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(|item| parse(item).map_err(|error| invalid(item, &error)))
        .collect()
}
