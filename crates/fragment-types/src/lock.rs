//! A lock: the components of a composition, each by its digest.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::digest::{Digest, InvalidDigest};
use crate::name::{ComponentName, InvalidName};
use crate::plan::Plan;

/// The components a composition consists of, and nothing else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock(BTreeMap<ComponentName, Digest>);

/// A text that is not a list of `name@sha256:…`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLock {
    /// An item without `@`.
    #[error("`{0}` is not of the form name@sha256:<64 lower-case hex digits>")]
    NoDigest(String),
    /// The part before the `@`.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The part after the `@`.
    #[error(transparent)]
    Digest(#[from] InvalidDigest),
    /// One component twice.
    #[error("component `{0}` is named twice")]
    Twice(ComponentName),
}

impl Lock {
    /// The lock of a plan: every component of it.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let layers = plan.layers.iter();
        Self(
            layers
                .map(|layer| (layer.name.clone(), layer.digest))
                .collect(),
        )
    }

    /// Adds a component.
    ///
    /// # Errors
    /// When it is there already.
    pub fn insert(&mut self, name: ComponentName, digest: Digest) -> Result<(), InvalidLock> {
        match self.0.insert(name.clone(), digest) {
            None => Ok(()),
            Some(_) => Err(InvalidLock::Twice(name)),
        }
    }

    /// The digest that component `name` has to have.
    #[must_use]
    pub fn digest(&self, name: &ComponentName) -> Option<Digest> {
        self.0.get(name).copied()
    }

    /// Whether it names no component.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The components, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&ComponentName, &Digest)> {
        self.0.iter()
    }

    /// The key `lock` of a `/.fragment.yaml`.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        if self.is_empty() {
            return "lock: {}\n".to_owned();
        }
        // a name that YAML takes for a number is still the name: keys are quoted
        let lines = self
            .iter()
            .map(|(name, digest)| format!("  \"{name}\": {digest}\n"));
        std::iter::once("lock:\n".to_owned()).chain(lines).collect()
    }
}

/// As in an annotation: `core@sha256:…,libcurl4@sha256:…`.
impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, digest)) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{name}@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Lock {
    type Err = InvalidLock;

    fn from_str(text: &str) -> Result<Self, InvalidLock> {
        let mut lock = Self::default();
        let items = text.split(',').map(str::trim);
        for item in items.filter(|item| !item.is_empty()) {
            let (name, digest) = item
                .split_once('@')
                .ok_or_else(|| InvalidLock::NoDigest(item.to_owned()))?;
            lock.insert(ComponentName::new(name)?, digest.parse()?)?;
        }
        Ok(lock)
    }
}

#[cfg(test)]
mod tests {
    use super::{InvalidLock, Lock};
    use crate::Digest;

    #[test]
    fn a_list_is_read_and_written() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let lock: Lock = format!(" core@{b}, bash@{a},").parse().unwrap();
        assert_eq!(lock.to_string(), format!("bash@{a},core@{b}"));
        assert_eq!(
            lock.to_yaml(),
            format!("lock:\n  \"bash\": {a}\n  \"core\": {b}\n")
        );
        assert!("".parse::<Lock>().unwrap().is_empty());
    }

    #[test]
    fn what_is_no_lock_is_told_apart() {
        let digest = Digest::of(b"");
        let read = |text: String| text.parse::<Lock>().unwrap_err();
        assert!(matches!(read("bash".into()), InvalidLock::NoDigest(_)));
        assert!(matches!(
            read(format!("Bash@{digest}")),
            InvalidLock::Name(_)
        ));
        assert!(matches!(
            read("bash@sha256:12".into()),
            InvalidLock::Digest(_)
        ));
        assert!(matches!(
            read(format!("bash@{digest},bash@{digest}")),
            InvalidLock::Twice(_)
        ));
    }
}
