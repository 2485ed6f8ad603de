//! Tasks as JSON.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Task, TaskError, TaskLimits};
use crate::settings::quantity;

/// The document; docs/manager.md tells it to users.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    command: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    workdir: Option<String>,
    timeout: Option<Quantity>,
    priority: Option<String>,
    network: Option<String>,
    #[serde(default)]
    limits: Limits,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    memory: Option<Quantity>,
    processes: Option<u32>,
    cpus: Option<f64>,
}

/// A number, or a text with a unit.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Quantity {
    Number(serde_json::Number),
    Text(String),
}

impl Quantity {
    fn text(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

impl Task {
    /// The task that a JSON document describes: `{"command": ["echo", "hello"], "env": {"A": "1"}, "workdir": "/srv", "timeout":
    /// "30s", "priority": "low", "network": "host", "limits": {"memory": "64MB", "processes": 10, "cpus": 0.5}}`, of which only the
    /// command is needed.
    ///
    /// # Errors
    /// [`TaskError::Document`] for what is no such document; those of the builder for values that it refuses.
    pub fn from_json(text: &str) -> Result<Self, TaskError> {
        let document: Document =
            serde_json::from_str(text).map_err(|error| TaskError::Document(error.to_string()))?;
        let quantity_error = |what: &str, given: &Quantity, wanted: &str| {
            TaskError::Document(format!("{what} `{}` is not {wanted}", given.text()))
        };
        let mut task = Self::new(document.command)?;
        for (name, value) in document.env {
            task = task.env(format!("{name}={value}"))?;
        }
        if let Some(workdir) = document.workdir {
            task = task.workdir(workdir)?;
        }
        if let Some(given) = document.timeout {
            let time = quantity::time(&given.text()).filter(|time| !time.is_zero());
            let time = time.ok_or_else(|| quantity_error("timeout", &given, quantity::TIME))?;
            task = task.timeout(time);
        }
        if let Some(priority) = document.priority {
            task = task.priority(priority.parse()?);
        }
        if let Some(network) = document.network {
            task = task.network(network.parse()?);
        }
        let memory = match document.limits.memory {
            None => None,
            Some(given) => Some(
                quantity::size(&given.text())
                    .ok_or_else(|| quantity_error("memory", &given, quantity::SIZE))?,
            ),
        };
        task.limits(TaskLimits {
            memory,
            processes: document.limits.processes,
            cpus: document.limits.cpus,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::task::{Network, Priority};

    #[test]
    fn a_document_says_everything_that_the_builder_takes() {
        let text = r#"{"command": ["echo", "a b"], "env": {"B": "2", "A": "1"}, "workdir": "/srv", "timeout": "1.5s",
            "priority": "critical", "network": "ns:/run/netns/x", "limits": {"memory": "64MB", "processes": 3, "cpus": 2}}"#;
        let limits = TaskLimits {
            memory: Some(64_000_000),
            processes: Some(3),
            cpus: Some(2.0),
        };
        let built = Task::new(["echo", "a b"])
            .and_then(|task| task.env("A=1"))
            .and_then(|task| task.env("B=2"))
            .and_then(|task| task.workdir("/srv"))
            .map(|task| task.timeout(Duration::from_millis(1500)))
            .map(|task| task.priority(Priority::Critical))
            .map(|task| task.network(Network::Namespace("/run/netns/x".into())))
            .and_then(|task| task.limits(limits));
        assert_eq!(Task::from_json(text).unwrap(), built.unwrap());
        let short = Task::from_json(r#"{"command": ["true"], "timeout": 30}"#).unwrap();
        assert_eq!(
            short,
            Task::new(["true"])
                .unwrap()
                .timeout(Duration::from_secs(30))
        );
    }

    #[test]
    fn what_is_no_task_is_told_by_name() {
        for (text, said) in [
            ("", "this is not a task"),
            ("[]", "this is not a task"),
            (r#"{"command": []}"#, "no command"),
            (r#"{"comand": ["true"]}"#, "`comand`"),
            (
                r#"{"command": ["true"], "timeout": "soon"}"#,
                "timeout `soon` is not a time",
            ),
            (r#"{"command": ["true"], "timeout": 0}"#, "timeout `0`"),
            (
                r#"{"command": ["true"], "priority": "urgent"}"#,
                "`urgent` is not a priority",
            ),
            (
                r#"{"command": ["true"], "network": "lan"}"#,
                "`lan` is not a network",
            ),
            (
                r#"{"command": ["true"], "limits": {"memory": "much"}}"#,
                "memory `much` is not a size",
            ),
            (r#"{"command": ["true"], "limits": {"disk": 1}}"#, "`disk`"),
            (r#"{"command": ["true"], "env": {"": "x"}}"#, "`=x`"),
        ] {
            let error = Task::from_json(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
