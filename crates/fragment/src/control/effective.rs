//! The settings as they are, and where each was said: what `fragment config show` prints.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Value, json};

use super::schema::KEYS;
use super::{Origin, Place, Said, environment, merge};
use crate::settings::quantity::{size_text, time_text};
use crate::settings::{Life, Settings};
use fragment_resolve::{Compose, Policy};
use fragment_types::{Capability, ComponentName};

/// A value in effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Effective {
    /// Its key, with dots where it is in maps.
    pub key: String,
    /// For programs, as a file may have it: sizes in bytes, times and names as texts.
    pub value: Value,
    /// For people.
    #[serde(skip)]
    pub text: String,
    /// Where it was said.
    pub from: Origin,
}

/// Every value in effect. A list that several places put together has an entry for each of them.
#[must_use]
pub fn effective(settings: &Settings) -> Vec<Effective> {
    let mut all = Vec::new();
    let mut copy = settings.clone();
    for key in &KEYS {
        let (text, value) = key.shown(&mut copy);
        all.push(Effective {
            key: key.name.to_owned(),
            value,
            text,
            from: settings.origin(key.name),
        });
    }
    wishes(&settings.said, &mut all);
    declared(settings, &mut all);
    all
}

/// What is wanted of every composition, after [`merge`].
fn wishes(said: &[Said], all: &mut Vec<Effective>) {
    let policy = merge(said.iter().map(|one| one.wishes.clone()));
    let mut one = |key: &str, text: String, says: &dyn Fn(&Said) -> bool| {
        let from = said.iter().find(|said| says(said));
        all.push(Effective {
            key: key.to_owned(),
            value: Value::from(text.clone()),
            text,
            from: from.map(|said| origin(said, key, None)).unwrap_or_default(),
        });
    };
    let compose = match policy.compose {
        Compose::Auto => "auto",
        Compose::Always => "always",
        Compose::Off => "off",
    };
    one("compose", compose.to_owned(), &|said| {
        said.wishes.compose.is_some()
    });
    one("min_grade", policy.min_grade.to_string(), &|said| {
        said.wishes.min_grade.is_some()
    });
    let lock = policy.lock.as_ref().map(ToString::to_string);
    one("lock", lock.unwrap_or_else(|| "none".to_owned()), &|said| {
        said.wishes.lock.is_some()
    });
    lists(said, &policy, all);
}

fn lists(said: &[Said], policy: &Policy, all: &mut Vec<Effective>) {
    let names = |names: &[ComponentName]| -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    };
    let set = |names: &BTreeSet<ComponentName>| -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    };
    let granted = |names: &BTreeSet<Capability>| -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    };
    list("components", names(&policy.components), said, all, |said| {
        names(&said.wishes.components)
    });
    list("exclude", set(&policy.exclude), said, all, |said| {
        set(&said.wishes.exclude)
    });
    list("require", granted(&policy.require), said, all, |said| {
        granted(&said.wishes.require)
    });
}

/// The items in effect by the strongest place that says each.
fn list(
    key: &str,
    items: Vec<String>,
    said: &[Said],
    all: &mut Vec<Effective>,
    of: impl Fn(&Said) -> Vec<String>,
) {
    let mut by_origin: Vec<(Origin, Vec<String>)> = Vec::new();
    for item in items {
        let place = said.iter().find(|said| of(said).contains(&item));
        let from = place.map(|said| origin(said, key, Some(&item)));
        let from = from.unwrap_or_default();
        match by_origin.iter_mut().find(|(known, _)| *known == from) {
            Some((_, items)) => items.push(item),
            None => by_origin.push((from, vec![item])),
        }
    }
    if by_origin.is_empty() {
        by_origin.push((Origin::Default, Vec::new()));
    }
    for (from, items) in by_origin {
        all.push(Effective {
            key: key.to_owned(),
            text: items.join(", "),
            value: json!(items),
            from,
        });
    }
}

/// Where a place says a wish, or one item of its list.
pub(super) fn origin(said: &Said, key: &str, item: Option<&str>) -> Origin {
    match &said.place {
        Place::File(path) => {
            let of_component = item.map(|item| format!("components.{item}.compose"));
            let line = said.lines.get(key);
            let line = line.or_else(|| said.lines.get(&of_component?));
            Origin::File {
                path: path.clone(),
                line: line.copied().unwrap_or(1),
            }
        }
        Place::Variable => {
            let mut known = environment::WISHES.iter();
            let found = known.find(|(_, name)| *name == key);
            Origin::Variable(found.map_or(key, |(variable, _)| *variable).to_owned())
        }
        place => Origin::Option(place.of(key)),
    }
}

/// What is declared of components, as far as it is.
fn declared(settings: &Settings, all: &mut Vec<Effective>) {
    let Life {
        core,
        components,
        strategies,
        ..
    } = &settings.life;
    let named = components
        .iter()
        .map(|(name, declared)| (format!("components.{name}"), declared));
    for (map, declared) in std::iter::once(("core".to_owned(), core)).chain(named) {
        let mut put = |key: &str, value: Option<(String, Value)>| {
            let key = format!("{map}.{key}");
            all.extend(value.map(|(text, value)| Effective {
                from: settings.origin(&key),
                key,
                value,
                text,
            }));
        };
        let time = |time| {
            let text = time_text(time);
            (text.clone(), Value::from(text))
        };
        let granted = &declared.capabilities;
        let texts: Vec<&str> = granted.iter().map(Capability::as_str).collect();
        put(
            "size",
            declared.size.map(|size| (size_text(size), size.into())),
        );
        put(
            "capabilities",
            (!texts.is_empty()).then(|| (texts.join(", "), json!(texts))),
        );
        put("load_time", declared.load_time.map(time));
        put(
            "preload",
            declared.preload.map(|is| (is.to_string(), is.into())),
        );
        put("retention", declared.retention.map(time));
    }
    for (class, strategy) in strategies {
        let key = format!("strategies.{class}.components");
        let names = strategy.components.iter().map(ComponentName::as_str);
        let names: Vec<&str> = names.collect();
        all.push(Effective {
            from: settings.origin(&key),
            key,
            text: names.join(", "),
            value: json!(names),
        });
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::configuration;
    use super::*;

    fn rows(settings: &Settings) -> Vec<String> {
        let rows = effective(settings).into_iter();
        rows.map(|row| format!("{}={} {}", row.key, row.text, row.from))
            .collect()
    }

    #[test]
    fn nothing_said_is_all_defaults() {
        let rows = rows(&Settings::default());
        assert!(
            rows.iter().all(|row| row.ends_with(" default")),
            "{rows:#?}"
        );
        for row in [
            "cache.size=100 default",
            "cache.cleanup_interval=300s default",
            "performance.max_concurrent_loads=10 default",
            "performance.load_timeout=30s default",
            "memory.soft_limit=none default",
            "retention=300s default",
            "compose=auto default",
            "components= default",
        ] {
            assert!(rows.iter().any(|one| one == row), "{row}: {rows:#?}");
        }
    }

    #[test]
    fn every_value_has_the_place_that_said_it() {
        let mut settings = Settings::default();
        let node = "cache: {size: 7}\ncomponents: [bash, curl]\nmemory:\n  soft_limit: 100MB\n";
        let user = "components:\n  sed:\n    compose: always\n    size: 1MB\nexclude: [curl]\n";
        for (path, text) in [("/node", node), ("/user", user)] {
            let mistakes = configuration::put(Path::new(path), text.as_bytes(), &mut settings);
            assert_eq!(mistakes, []);
        }
        let rows = rows(&settings);
        for row in [
            "cache.size=7 /node:1",
            "cache.cleanup_interval=300s default",
            "memory.soft_limit=100MB /node:4",
            "components=sed /user:3",
            "components=bash /node:2",
            "exclude=curl /user:5",
            "components.sed.size=1MB /user:4",
        ] {
            assert!(rows.iter().any(|one| one == row), "{row}: {rows:#?}");
        }
    }

    #[test]
    fn a_value_for_programs_is_read_as_it_is_written() {
        let mut settings = Settings::default();
        settings.life.memory.soft_limit = Some(5);
        for row in effective(&settings).iter().take(KEYS.len()) {
            let key = super::super::schema::key(&row.key).unwrap();
            let text = match &row.value {
                Value::String(text) => text.clone(),
                Value::Array(_) => continue,
                other => other.to_string(),
            };
            let mut again = Settings::default();
            key.set(&mut again, &text).unwrap();
            assert_eq!(key.shown(&mut again).1, row.value, "{}", row.key);
        }
    }

    #[test]
    fn the_table_for_users_is_the_schema() {
        let page = include_str!("../../../../docs/configuration.md");
        let mut settings = Settings::default();
        let mut rows = page.lines().filter(|line| line.starts_with("| `"));
        for key in &KEYS {
            let row = rows.next().unwrap_or_default();
            let variable = key.variable.map(|name| format!(" `{name}`"));
            let (mut default, _) = key.shown(&mut settings);
            if default.is_empty() {
                default = "-".to_owned();
            }
            let start = format!(
                "| `{}` |{} | `{default}` | ",
                key.name,
                variable.unwrap_or_default()
            );
            assert!(row.starts_with(&start), "{start}: {row}");
        }
    }
}
