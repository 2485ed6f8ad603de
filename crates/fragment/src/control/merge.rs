//! Putting the wishes of several sources together.

use fragment_resolve::{Compose, Policy};

use super::Wishes;

/// The policy that follows from `sources`, strongest first.
///
/// - `compose`, `min_grade` and `lock` are those of the strongest source that has one.
/// - The lists are united. Where one source names a component and another excludes it, the stronger one is followed; one
///   source that does both contradicts itself, which resolution refuses.
/// - A `lock` and a `compose: off` say all there is to say: components, capabilities and exclusions of weaker sources do not
///   count any more.
#[must_use]
pub fn merge(sources: impl IntoIterator<Item = Wishes>) -> Policy {
    let mut policy = Policy::default();
    let (mut compose, mut min_grade) = (None, None);
    for wishes in sources {
        let is_settled = policy.lock.is_some() || compose == Some(Compose::Off);
        compose = compose.or(wishes.compose);
        min_grade = min_grade.or(wishes.min_grade);
        if is_settled {
            continue;
        }
        let stronger = policy.components.clone();
        for name in wishes.components {
            if !policy.exclude.contains(&name) && !policy.components.contains(&name) {
                policy.components.push(name);
            }
        }
        let mut exclude = wishes.exclude;
        exclude.retain(|name| !stronger.contains(name));
        policy.exclude.extend(exclude);
        policy.require.extend(wishes.require);
        policy.lock = wishes.lock;
    }
    policy.compose = compose.unwrap_or_default();
    policy.min_grade = min_grade.unwrap_or_default();
    policy
}

#[cfg(test)]
mod tests {
    use fragment_types::{Capability, ComponentName, Digest, Grade, Lock};

    use super::*;

    fn names<L: FromIterator<ComponentName>>(texts: &[&str]) -> L {
        let names = texts.iter().map(|text| ComponentName::new(*text).unwrap());
        names.collect()
    }

    fn components(texts: &[&str]) -> Wishes {
        Wishes {
            components: names(texts),
            ..Wishes::default()
        }
    }

    fn exclude(texts: &[&str]) -> Wishes {
        Wishes {
            exclude: names(texts),
            ..Wishes::default()
        }
    }

    fn compose(compose: Compose) -> Wishes {
        Wishes {
            compose: Some(compose),
            ..Wishes::default()
        }
    }

    fn lock(texts: &[&str]) -> Wishes {
        let mut lock = Lock::default();
        for name in names::<Vec<_>>(texts) {
            let digest = Digest::of(name.as_str().as_bytes());
            lock.insert(name, digest).unwrap();
        }
        Wishes {
            lock: Some(lock),
            ..Wishes::default()
        }
    }

    #[test]
    fn nobody_asks_for_anything() {
        assert_eq!(merge([]), Policy::default());
        assert_eq!(merge([Wishes::default()]), Policy::default());
    }

    #[test]
    fn the_strongest_source_that_says_how_to_compose_is_followed() {
        let (auto, always, off) = (Compose::Auto, Compose::Always, Compose::Off);
        for (sources, expected) in [
            (vec![auto, always], auto),
            (vec![always, off], always),
            (vec![off, always], off),
        ] {
            let sources = sources.into_iter().map(compose);
            let silent = std::iter::once(Wishes::default());
            assert_eq!(merge(silent.chain(sources)).compose, expected);
        }
    }

    #[test]
    fn the_strongest_source_that_names_a_grade_is_followed() {
        let grade = |grade| Wishes {
            min_grade: Some(grade),
            ..Wishes::default()
        };
        assert_eq!(merge([]).min_grade, Grade::Import);
        let sources = [
            components(&["a"]),
            grade(Grade::Text),
            grade(Grade::Declared),
        ];
        assert_eq!(merge(sources).min_grade, Grade::Text);
    }

    #[test]
    fn lists_are_united_and_each_name_is_there_once() {
        let policy = merge([components(&["b", "a"]), components(&["c", "b"])]);
        assert_eq!(policy.components, names::<Vec<_>>(&["b", "a", "c"]));
        let policy = merge([exclude(&["a"]), exclude(&["b"])]);
        assert_eq!(policy.exclude, names(&["a", "b"]));
        let require = |text: &str| Wishes {
            require: [Capability::new(text).unwrap()].into(),
            ..Wishes::default()
        };
        assert_eq!(merge([require("x"), require("y")]).require.len(), 2);
    }

    #[test]
    fn the_stronger_source_decides_between_component_and_exclude() {
        let policy = merge([exclude(&["a"]), components(&["a", "b"])]);
        assert_eq!(policy.components, names::<Vec<_>>(&["b"]));
        assert_eq!(policy.exclude, names(&["a"]));
        let policy = merge([components(&["a"]), exclude(&["a", "b"])]);
        assert_eq!(policy.components, names::<Vec<_>>(&["a"]));
        assert_eq!(policy.exclude, names(&["b"]));
        // one source that contradicts itself is left for resolution to refuse
        let both = Wishes {
            exclude: names(&["a"]),
            ..components(&["a"])
        };
        let policy = merge([both]);
        assert_eq!(policy.components, names::<Vec<_>>(&["a"]));
        assert_eq!(policy.exclude, names(&["a"]));
    }

    #[test]
    fn a_lock_sets_aside_what_weaker_sources_want() {
        let policy = merge([
            components(&["above"]),
            lock(&["core"]),
            components(&["below"]),
            exclude(&["core"]),
            lock(&["other"]),
        ]);
        assert_eq!(policy.components, names::<Vec<_>>(&["above"]));
        assert_eq!(policy.exclude, names(&[]));
        assert_eq!(policy.lock, lock(&["core"]).lock);
        // but not that composition is off
        let policy = merge([lock(&["core"]), compose(Compose::Off)]);
        assert_eq!(policy.compose, Compose::Off);
    }

    #[test]
    fn off_sets_aside_what_weaker_sources_want() {
        let policy = merge([
            compose(Compose::Off),
            components(&["below"]),
            lock(&["core"]),
            compose(Compose::Always),
        ]);
        assert_eq!(
            policy,
            Policy {
                compose: Compose::Off,
                ..Policy::default()
            }
        );
    }
}
