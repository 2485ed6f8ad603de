//! The settings that have one value each: their keys, variables, defaults and grammars, in one table.
//!
//! A file nests what has a dot (`cache.size` is `size` in the map `cache`); `--set` of the `fragment` command takes the key as
//! it is here. Where its default stands is the [`Settings`] field of a row. docs/configuration.md tells the table to users, and a test
//! compares the two.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use fragment_types::ComponentName;
use serde_json::{Value, json};

use super::{ControlError, environment};
use crate::settings::level::{LEVELS, LogLevel};
use crate::settings::life::RETENTION;
use crate::settings::quantity::{self, PERCENT, SIZE, TIME};
use crate::settings::{Settings, level};

/// A setting.
#[derive(Debug)]
pub struct Key {
    /// Its name, with a dot where it lies in a map.
    pub name: &'static str,
    /// The variable that says the same.
    pub variable: Option<&'static str>,
    field: Field,
}

/// Where a value is, and what it has to look like.
#[derive(Debug)]
enum Field {
    Directory(fn(&mut Settings) -> &mut PathBuf),
    File(fn(&mut Settings) -> &mut Option<PathBuf>),
    LockPolicy(fn(&mut Settings) -> &mut bool),
    /// Of what, and how many at least.
    Count(&'static str, usize, fn(&mut Settings) -> &mut usize),
    Size(fn(&mut Settings) -> &mut u64),
    Limit(fn(&mut Settings) -> &mut Option<u64>),
    /// More than zero.
    Time(fn(&mut Settings) -> &mut Duration),
    Retention(fn(&mut Settings) -> &mut Option<Duration>),
    Percent(fn(&mut Settings) -> &mut u8),
    Truth(fn(&mut Settings) -> &mut bool),
    Level(fn(&mut Settings) -> &mut LogLevel),
    Components(fn(&mut Settings) -> &mut Vec<ComponentName>),
}

/// A value outside its grammar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The value, or the item of a list.
    pub(super) value: String,
    /// What would be right.
    pub(super) expected: String,
}

impl Refused {
    /// The error that tells `place` too: a variable or an option with its key.
    pub(crate) fn at(self, place: String) -> ControlError {
        ControlError::Value {
            place,
            value: self.value,
            expected: self.expected,
        }
    }
}

/// Every setting, in the order in which they are shown.
pub static KEYS: [Key; 19] = [
    Key {
        name: "store",
        variable: Some(environment::STORE),
        field: Field::Directory(|all| &mut all.store),
    },
    Key {
        name: "state",
        variable: Some(environment::STATE),
        field: Field::Directory(|all| &mut all.state),
    },
    Key {
        name: "lock_policy",
        variable: None,
        field: Field::LockPolicy(|all| &mut all.lock_required),
    },
    Key {
        name: "cache.size",
        variable: Some("PHANTOM_FRAGMENT_CACHE_SIZE"),
        field: Field::Count("entries", 0, |all| &mut all.life.cache.entries),
    },
    Key {
        name: "cache.cleanup_interval",
        variable: Some("PHANTOM_FRAGMENT_CLEANUP_INTERVAL"),
        field: Field::Time(|all| &mut all.life.cache.idle),
    },
    Key {
        name: "performance.max_concurrent_loads",
        variable: Some("PHANTOM_FRAGMENT_MAX_CONCURRENT_LOADS"),
        field: Field::Count("loads", 1, |all| &mut all.life.loads.concurrent),
    },
    Key {
        name: "performance.load_timeout",
        variable: Some("PHANTOM_FRAGMENT_LOAD_TIMEOUT"),
        field: Field::Time(|all| &mut all.life.loads.timeout),
    },
    Key {
        name: "memory.soft_limit",
        variable: None,
        field: Field::Limit(|all| &mut all.life.memory.soft_limit),
    },
    Key {
        name: "memory.target",
        variable: None,
        field: Field::Limit(|all| &mut all.life.memory.target),
    },
    Key {
        name: "disk.limit",
        variable: None,
        field: Field::Limit(|all| &mut all.life.disk.limit),
    },
    Key {
        name: "disk.min_free",
        variable: None,
        field: Field::Size(|all| &mut all.life.disk.min_free),
    },
    Key {
        name: "retention",
        variable: None,
        field: Field::Retention(|all| &mut all.life.retention),
    },
    Key {
        name: "preload.components",
        variable: Some("PHANTOM_FRAGMENT_PRELOAD_COMPONENTS"),
        field: Field::Components(|all| &mut all.life.preload.components),
    },
    Key {
        name: "preload.adaptive",
        variable: None,
        field: Field::Truth(|all| &mut all.life.preload.adaptive),
    },
    Key {
        name: "preload.memory_pressure",
        variable: None,
        field: Field::Percent(|all| &mut all.life.preload.memory_pressure),
    },
    Key {
        name: "preload.io_pressure",
        variable: None,
        field: Field::Percent(|all| &mut all.life.preload.io_pressure),
    },
    Key {
        name: "log_level",
        variable: Some("PHANTOM_FRAGMENT_LOG_LEVEL"),
        field: Field::Level(|all| &mut all.log_level),
    },
    Key {
        name: "debug",
        variable: Some("PHANTOM_FRAGMENT_DEBUG"),
        field: Field::Truth(|all| &mut all.debug),
    },
    Key {
        name: "trace",
        variable: Some(environment::TRACE),
        field: Field::File(|all| &mut all.trace),
    },
];

/// The setting of this name.
pub(crate) fn key(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

impl Key {
    /// Whether a file has a list for it.
    pub(super) fn is_list(&self) -> bool {
        matches!(self.field, Field::Components(_))
    }

    /// Whether `text` is a path as a value of it.
    pub(super) fn is_path(&self, text: &str) -> bool {
        match self.field {
            Field::Directory(_) => true,
            Field::File(_) => !text.eq_ignore_ascii_case("none"),
            _ => false,
        }
    }

    /// Takes the value of a variable or an option, in which a list is separated by commas. A path need not be UTF-8.
    pub(crate) fn set_raw(&self, settings: &mut Settings, value: &OsStr) -> Result<(), Refused> {
        match self.field {
            Field::Directory(field) => {
                *field(settings) = value.into();
                Ok(())
            }
            Field::File(field) => {
                *field(settings) = (value != "none").then(|| value.into());
                Ok(())
            }
            // what is not UTF-8 is nothing: the replacement character is refused with the rest
            _ => self.set(settings, &value.to_string_lossy()),
        }
    }

    /// Takes the value that a text says.
    pub(super) fn set(&self, settings: &mut Settings, text: &str) -> Result<(), Refused> {
        let refused = |expected: &str| Refused {
            value: text.to_owned(),
            expected: expected.to_owned(),
        };
        let is_none = text.eq_ignore_ascii_case("none");
        match self.field {
            Field::Directory(field) => *field(settings) = text.into(),
            Field::File(field) => *field(settings) = (!is_none).then(|| text.into()),
            Field::LockPolicy(field) => {
                *field(settings) = match text {
                    "optional" => false,
                    "required" => true,
                    _ => return Err(refused("optional or required")),
                }
            }
            Field::Count(what, least, field) => {
                let count = text.parse().ok().filter(|count| *count >= least);
                let expected = || refused(&format!("a number of {what}, {least} or more"));
                *field(settings) = count.ok_or_else(expected)?;
            }
            Field::Size(field) => {
                *field(settings) = quantity::size(text).ok_or_else(|| refused(SIZE))?;
            }
            Field::Limit(field) if is_none => *field(settings) = None,
            Field::Limit(field) => {
                let size = quantity::size(text);
                let expected = || refused(&format!("{SIZE}, or none"));
                *field(settings) = Some(size.ok_or_else(expected)?);
            }
            Field::Time(field) => {
                let time = quantity::time(text).filter(|time| !time.is_zero());
                let expected = || refused(&format!("{TIME}, more than 0"));
                *field(settings) = time.ok_or_else(expected)?;
            }
            Field::Retention(field) => {
                *field(settings) = Some(quantity::time(text).ok_or_else(|| refused(TIME))?);
            }
            Field::Percent(field) => {
                *field(settings) = quantity::percent(text).ok_or_else(|| refused(PERCENT))?;
            }
            Field::Truth(field) => {
                *field(settings) = truth(text).ok_or_else(|| refused(TRUTH))?;
            }
            Field::Level(field) => {
                *field(settings) = text
                    .parse()
                    .map_err(|_: level::InvalidLevel| refused(LEVELS))?;
            }
            Field::Components(field) => {
                let items = text.split(',').map(str::trim);
                let names = items.filter(|item| !item.is_empty()).map(component);
                *field(settings) = names.collect::<Result<_, _>>()?;
            }
        }
        Ok(())
    }

    /// Takes a list of components.
    pub(super) fn set_components(&self, settings: &mut Settings, names: Vec<ComponentName>) {
        if let Field::Components(field) = self.field {
            *field(settings) = names;
        }
    }

    /// Its value for people, and as a file would have it: sizes in bytes, times as texts.
    pub(super) fn shown(&self, settings: &mut Settings) -> (String, Value) {
        let said = |text: String| (text.clone(), Value::from(text));
        let size = |bytes: u64| (quantity::size_text(bytes), Value::from(bytes));
        match self.field {
            Field::Directory(field) => said(field(settings).display().to_string()),
            Field::File(field) => match field(settings) {
                Some(path) => said(path.display().to_string()),
                None => said("none".to_owned()),
            },
            Field::LockPolicy(field) => {
                let policy = if *field(settings) {
                    "required"
                } else {
                    "optional"
                };
                said(policy.to_owned())
            }
            Field::Count(_, _, field) => (field(settings).to_string(), json!(*field(settings))),
            Field::Size(field) => size(*field(settings)),
            Field::Limit(field) => match *field(settings) {
                Some(bytes) => size(bytes),
                None => said("none".to_owned()),
            },
            Field::Time(field) => said(quantity::time_text(*field(settings))),
            Field::Retention(field) => {
                said(quantity::time_text(field(settings).unwrap_or(RETENTION)))
            }
            Field::Percent(field) => said(format!("{}%", field(settings))),
            Field::Truth(field) => (field(settings).to_string(), json!(*field(settings))),
            Field::Level(field) => said(field(settings).to_string()),
            Field::Components(field) => {
                let names: Vec<&str> = field(settings).iter().map(ComponentName::as_str).collect();
                (names.join(", "), json!(names))
            }
        }
    }
}

/// What a truth value looks like, for messages.
pub(super) const TRUTH: &str = "true or false";

/// A truth value, by any of its names.
pub(super) fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" | "1" => Some(true),
        "false" | "off" | "no" | "0" => Some(false),
        _ => None,
    }
}

/// The name of a component.
pub(super) fn component(text: &str) -> Result<ComponentName, Refused> {
    ComponentName::new(text).map_err(|error| Refused {
        value: text.to_owned(),
        expected: error.to_string(),
    })
}
