//! What settings say of the library, compared with the library: components that it does not have, and expectations that do not
//! hold.

use std::fmt;
use std::time::Duration;

use fragment_resolve::CORE_CAPABILITY;
use fragment_types::{Capability, ComponentName, ComponentSummary};

use super::effective::origin;
use super::{Origin, nearest};
use crate::settings::Settings;
use crate::settings::life::Declared;
use crate::settings::quantity::{measured_text, size_text, time_text};

/// Something settings say of the library that is not so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    /// Where it was said.
    pub from: Origin,
    /// The key.
    pub key: String,
    /// What is not so.
    pub problem: String,
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.from, self.key, self.problem)
    }
}

/// Everything that `settings` say of a library of these `components` and that is not so. `measured` tells how long the last
/// load of a component took on this node, where that is known.
#[must_use]
pub fn unmet(
    settings: &Settings,
    components: &[ComponentSummary],
    measured: impl Fn(&ComponentName) -> Option<Duration>,
) -> Vec<Unmet> {
    let comparison = Comparison {
        settings,
        components,
        measured: &measured,
    };
    let mut all = comparison.names();
    let life = &settings.life;
    if life.core != Declared::default() {
        let cores = components.iter().filter(|one| one.grants(CORE_CAPABILITY));
        match cores.max_by_key(|one| one.preference) {
            Some(core) => all.extend(comparison.held("core", &life.core, core)),
            None => all.push(Unmet {
                from: comparison.first("core."),
                key: "core".to_owned(),
                problem: format!("no component of the library grants `{CORE_CAPABILITY}`"),
            }),
        }
    }
    for (name, declared) in &life.components {
        if let Some(component) = comparison.find(name) {
            let key = format!("components.{name}");
            all.extend(comparison.held(&key, declared, component));
        }
    }
    all
}

struct Comparison<'s> {
    settings: &'s Settings,
    components: &'s [ComponentSummary],
    measured: &'s dyn Fn(&ComponentName) -> Option<Duration>,
}

impl<'s> Comparison<'s> {
    /// The component of this name, or the first of those that answer to it.
    fn find(&self, name: &ComponentName) -> Option<&'s ComponentSummary> {
        let named = self.components.iter().find(|one| one.name == *name);
        let mut others = self.components.iter();
        named.or_else(|| others.find(|one| one.aliases.contains(name)))
    }

    /// Components and capabilities that are named and not there.
    fn names(&self) -> Vec<Unmet> {
        let mut all = Vec::new();
        let mut component = |from: Origin, key: &str, name: &ComponentName| {
            if self.find(name).is_none() {
                all.push(Unmet {
                    from,
                    key: key.to_owned(),
                    problem: self.absent(name),
                });
            }
        };
        for said in &self.settings.said {
            for name in &said.wishes.components {
                let from = origin(said, "components", Some(name.as_str()));
                component(from, "components", name);
            }
            for name in &said.wishes.exclude {
                component(
                    origin(said, "exclude", Some(name.as_str())),
                    "exclude",
                    name,
                );
            }
        }
        let life = &self.settings.life;
        for name in &life.preload.components {
            let key = "preload.components";
            component(self.settings.origin(key), key, name);
        }
        for name in life.components.keys() {
            let key = format!("components.{name}");
            component(self.settings.origin(&key), &key, name);
        }
        for (class, strategy) in &life.strategies {
            let key = format!("strategies.{class}.components");
            for name in &strategy.components {
                component(self.settings.origin(&key), &key, name);
            }
        }
        for said in &self.settings.said {
            for capability in &said.wishes.require {
                let mut library = self.components.iter();
                if !library.any(|one| one.grants(capability.as_str())) {
                    all.push(Unmet {
                        from: origin(said, "require", None),
                        key: "require".to_owned(),
                        problem: format!("no component of the library grants `{capability}`"),
                    });
                }
            }
        }
        all
    }

    fn absent(&self, name: &ComponentName) -> String {
        let known = self.components.iter().map(|one| one.name.as_str());
        let advice = match nearest(name.as_str(), known) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "see `fragment library list`".to_owned(),
        };
        format!("component `{name}` is not in the library: {advice}")
    }

    /// What `declared` expects of `component` and is not so.
    fn held(&self, map: &str, declared: &Declared, component: &ComponentSummary) -> Vec<Unmet> {
        let mut all = Vec::new();
        let mut put = |key: &str, problem: String| {
            let key = format!("{map}.{key}");
            all.push(Unmet {
                from: self.settings.origin(&key),
                key,
                problem,
            });
        };
        let (name, stored) = (&component.name, component.size.stored);
        if let Some(most) = declared.size.filter(|most| stored > *most) {
            put(
                "size",
                format!(
                    "component `{name}` takes {}, more than {}",
                    size_text(stored),
                    size_text(most)
                ),
            );
        }
        let lacking = declared.capabilities.difference(&component.capabilities);
        let lacking: Vec<&str> = lacking.map(Capability::as_str).collect();
        if !lacking.is_empty() {
            put(
                "capabilities",
                format!("component `{name}` does not grant {}", lacking.join(", ")),
            );
        }
        // asked for only where something is expected
        if let Some(most) = declared.load_time
            && let Some(took) = (self.measured)(name)
            && took > most
        {
            put(
                "load_time",
                format!(
                    "the last load of component `{name}` took {}, more than {}",
                    measured_text(took),
                    time_text(most)
                ),
            );
        }
        all
    }

    /// Where the first key below a map was said.
    fn first(&self, prefix: &str) -> Origin {
        let mut origins = self.settings.origins.iter();
        let found = origins.find(|(key, _)| key.starts_with(prefix));
        found.map(|(_, origin)| origin.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use fragment_types::manifest::Size;

    use super::super::configuration;
    use super::*;

    fn component(name: &str, stored: u64, capabilities: &[&str]) -> ComponentSummary {
        let named = |name: String| ComponentName::new(name).unwrap();
        let granted = capabilities.iter();
        ComponentSummary {
            size: Size {
                stored,
                ..Size::default()
            },
            aliases: [named(format!("{name}-alias"))].into(),
            capabilities: granted
                .map(|text| Capability::new(*text).unwrap())
                .collect(),
            ..ComponentSummary::named(named(name.to_owned()))
        }
    }

    fn compared(text: &str) -> Vec<String> {
        let library = [
            component("core", 1_300_000, &["process_execution"]),
            component("tcp-stack", 400_000, &["tcp_connections", "tcp_listen"]),
            component("bash", 600_000, &[]),
        ];
        let mut settings = Settings::default();
        let mistakes = configuration::put(Path::new("f"), text.as_bytes(), &mut settings);
        assert_eq!(mistakes, [], "{text}");
        let took = |name: &ComponentName| {
            let millis = if name.as_str() == "bash" { 40 } else { 4 };
            Some(Duration::from_millis(millis))
        };
        let all = unmet(&settings, &library, took);
        all.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_holds_is_not_told() {
        let text = "core: {size: 3MB, capabilities: [process_execution], load_time: 5ms}
components:
  tcp-stack: {size: 400kB, capabilities: [tcp_listen], load_time: 50ms, preload: true}
  bash-alias: {compose: always}
require: [tcp_listen]
preload: {components: [bash]}
strategies: {shell: {components: [bash, core]}}
";
        assert_eq!(compared(text), [""; 0]);
    }

    #[test]
    fn what_does_not_hold_is_told_with_its_place() {
        for (text, expected) in [
            (
                "components: [bsh]\n",
                "f:1: components: component `bsh` is not in the library: did you mean `bash`?",
            ),
            (
                "exclude: [wget]\n",
                "f:1: exclude: component `wget` is not in the library: see `fragment library list`",
            ),
            (
                "preload:\n  components: [wget]\n",
                "f:2: preload.components: component `wget` is not in the library: see `fragment library list`",
            ),
            (
                "strategies:\n  vm:\n    components: [qemu]\n",
                "f:3: strategies.vm.components: component `qemu` is not in the library: see `fragment library list`",
            ),
            (
                "components:\n  wget: {size: 1MB}\n",
                "f:2: components.wget: component `wget` is not in the library: see `fragment library list`",
            ),
            (
                "require: [fly]\n",
                "f:1: require: no component of the library grants `fly`",
            ),
            (
                "core:\n  size: 1MB\n",
                "f:2: core.size: component `core` takes 1300kB, more than 1MB",
            ),
            (
                "components:\n  bash:\n    capabilities: [job_control]\n",
                "f:3: components.bash.capabilities: component `bash` does not grant job_control",
            ),
            (
                "components: {bash: {load_time: 30ms}}\n",
                "f:1: components.bash.load_time: the last load of component `bash` took 40ms, more than 30ms",
            ),
        ] {
            assert_eq!(compared(text), [expected]);
        }
    }

    #[test]
    fn a_core_is_missed_in_a_library_without() {
        let mut settings = Settings::default();
        let text = b"core: {size: 3MB}\n";
        assert_eq!(configuration::put(Path::new("f"), text, &mut settings), []);
        let all = unmet(&settings, &[component("bash", 1, &[])], |_| None);
        assert_eq!(
            all[0].to_string(),
            "f:1: core: no component of the library grants `process_execution`"
        );
    }
}
