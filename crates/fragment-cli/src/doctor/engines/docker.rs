//! docker: daemon.json.

use std::path::Path;

use serde_json::Value;

use super::super::Finding;
use super::super::machine::Machine;
use super::{NAME, absent, no_program};

const SUBJECT: &str = "docker";

const REMEDY: &str = "fragment doctor --write docker";

/// Its configuration.
pub(in super::super) const FILE: &str = "/etc/docker/daemon.json";

pub(super) fn examine(machine: &Machine) -> Vec<Finding> {
    let is_installed = machine.has_program("dockerd");
    let text = match machine.read(FILE) {
        Ok(text) => text,
        Err(error) => {
            let text = format!("{FILE} cannot be read: {error}");
            return vec![Finding::warning(
                SUBJECT,
                text,
                "run `fragment doctor` as root",
            )];
        }
    };
    if text.is_none() && !is_installed {
        return absent(SUBJECT);
    }
    let document: Value = match serde_json::from_str(&text.unwrap_or_else(|| "{}".to_owned())) {
        Ok(document) => document,
        Err(error) => {
            let text = format!("{FILE} is no JSON, and dockerd does not start with it: {error}");
            return vec![Finding::problem(SUBJECT, text, "correct it")];
        }
    };
    let Some(runtime) = document["runtimes"].get(NAME) else {
        let text = format!("{FILE} does not name {NAME} among its runtimes");
        return vec![Finding::warning(SUBJECT, text, REMEDY)];
    };
    let program = runtime["path"].as_str().unwrap_or(NAME);
    no_program(machine, SUBJECT, Path::new(FILE), program, REMEDY).map_or_else(
        || {
            let text = format!(
                "{FILE} names it: docker run --runtime {NAME}; docker hands no annotations on, /.fragment.yaml of the image does"
            );
            vec![Finding::ok(SUBJECT, text)]
        },
        |finding| vec![finding],
    )
}
