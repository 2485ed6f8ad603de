//! What `fragment.yaml` declares of components: the maps `core`, `components` and `strategies`.

use std::fmt::Display;

use fragment_types::{Capability, ComponentName};

use super::compose;
use super::configuration::Reader;
use super::document::{Content, Entry};
use super::schema::{TRUTH, truth};
use crate::settings::life::{Declared, Strategy};
use crate::settings::quantity::{self, SIZE, TIME};
use fragment_resolve::Compose;

/// Keys of the core component: it is always there, so nothing is to be said of its life.
const OF_CORE: [&str; 3] = ["size", "capabilities", "load_time"];
/// Keys of any other component.
const OF_COMPONENT: [&str; 6] = [
    "size",
    "capabilities",
    "load_time",
    "preload",
    "retention",
    "compose",
];

/// The map `core`.
pub(super) fn core<'d>(reader: &mut Reader<'d>, entry: &'d Entry) {
    let mut declared = std::mem::take(&mut reader.settings.life.core);
    for key in reader.entries(entry, "core") {
        let name = format!("core.{}", key.key);
        match key.key.as_str() {
            known if OF_CORE.contains(&known) => declare(reader, &name, key, &mut declared),
            "preload" | "retention" | "compose" => {
                let problem = format!("`{name}` is no key of this file: core is always there");
                let mistake = reader.document.error(key.line, problem);
                reader.mistakes.push(mistake);
            }
            _ => reader.unknown(key, "core.", &OF_CORE, &[]),
        }
    }
    reader.settings.life.core = declared;
}

/// The map `components`. It composes nothing by itself: a list of names does that, or `compose` of a component.
pub(super) fn map<'d>(reader: &mut Reader<'d>, entry: &'d Entry) {
    for component in reader.entries(entry, "components") {
        let whole = format!("components.{}", component.key);
        let prefix = format!("{whole}.");
        let Some(name) = named(reader, "components", component) else {
            continue;
        };
        let known = reader.settings.life.components.remove(&name);
        let mut declared = known.unwrap_or_default();
        for key in reader.entries(component, &whole) {
            let of_key = format!("{prefix}{}", key.key);
            match key.key.as_str() {
                "compose" => composed(reader, &of_key, key, &name),
                known if OF_COMPONENT.contains(&known) => {
                    declare(reader, &of_key, key, &mut declared);
                }
                _ => reader.unknown(key, &prefix, &OF_COMPONENT, &[]),
            }
        }
        reader.note(&whole, component);
        reader.settings.life.components.insert(name, declared);
    }
}

/// `compose` of a component: `always` is to be in a list `components`, `off` to be in `exclude`.
fn composed(reader: &mut Reader<'_>, whole: &str, entry: &Entry, name: &ComponentName) {
    if entry.value.content == Content::Null {
        return;
    }
    let Some(text) = reader.text(entry) else {
        return;
    };
    let wishes = &mut reader.said.wishes;
    match compose(text) {
        Ok(Compose::Auto) => {}
        Ok(Compose::Always) => wishes.components.push(name.clone()),
        Ok(Compose::Off) => {
            wishes.exclude.insert(name.clone());
        }
        Err(expected) => reader.refuse(entry, whole, text, &expected),
    }
    reader.said.lines.insert(whole.to_owned(), entry.line);
}

/// One thing that is declared of a component.
fn declare(reader: &mut Reader<'_>, whole: &str, entry: &Entry, declared: &mut Declared) {
    if entry.value.content == Content::Null {
        return;
    }
    if entry.key == "capabilities" {
        let before = reader.mistakes.len();
        let named = Entry {
            key: whole.to_owned(),
            ..entry.clone()
        };
        let capabilities = reader
            .document
            .names(&named, Capability::new, &mut reader.mistakes);
        if reader.mistakes.len() == before {
            declared.capabilities = capabilities;
            reader.note(whole, entry);
        }
        return;
    }
    let Some(text) = reader.text(entry) else {
        return;
    };
    let expected: Option<&dyn Display> = match entry.key.as_str() {
        "size" => kept(quantity::size(text), &mut declared.size, &SIZE),
        "load_time" => kept(quantity::time(text), &mut declared.load_time, &TIME),
        "retention" => kept(quantity::time(text), &mut declared.retention, &TIME),
        _ => kept(truth(text), &mut declared.preload, &TRUTH),
    };
    match expected {
        Some(expected) => reader.refuse(entry, whole, text, expected),
        None => reader.note(whole, entry),
    }
}

/// Keeps a value that could be read; else what was expected.
fn kept<'e, T>(
    read: Option<T>,
    field: &mut Option<T>,
    expected: &'e dyn Display,
) -> Option<&'e dyn Display> {
    match read {
        Some(value) => {
            *field = Some(value);
            None
        }
        None => Some(expected),
    }
}

/// The map `strategies`.
pub(super) fn strategies<'d>(reader: &mut Reader<'d>, entry: &'d Entry) {
    for class in reader.entries(entry, "strategies") {
        let whole = format!("strategies.{}", class.key);
        let prefix = format!("{whole}.");
        let Some(name) = named(reader, "strategies", class) else {
            continue;
        };
        let known = reader.settings.life.strategies.remove(name.as_str());
        let mut strategy: Strategy = known.unwrap_or_default();
        for key in reader.entries(class, &whole) {
            if key.key != "components" {
                reader.unknown(key, &prefix, &["components"], &[]);
            } else if key.value.content != Content::Null {
                let named = Entry {
                    key: format!("{prefix}components"),
                    ..key.clone()
                };
                let mistakes = &mut reader.mistakes;
                strategy.components = reader.document.names(&named, ComponentName::new, mistakes);
                reader.note(&named.key, key);
            }
        }
        reader.note(&whole, class);
        reader
            .settings
            .life
            .strategies
            .insert(name.to_string(), strategy);
    }
}

/// The key as a name; names of classes follow the same grammar.
fn named(reader: &mut Reader<'_>, map: &str, entry: &Entry) -> Option<ComponentName> {
    match ComponentName::new(entry.key.as_str()) {
        Ok(name) => Some(name),
        Err(error) => {
            let mistake = reader.document.invalid(entry.line, map, &entry.key, &error);
            reader.mistakes.push(mistake);
            None
        }
    }
}
