//! Whether the engines of a machine know the runtime.

pub(super) mod containerd;
mod crio;
pub(super) mod docker;
mod podman;

use std::path::Path;

use toml_edit::{DocumentMut, Item, TableLike};

use super::Finding;
use super::machine::Machine;

/// The name under which engines know it.
pub(super) const NAME: &str = "fragment-runc";

/// Prefix of the annotations that control composition.
const PREFIX: &str = fragment::control::annotation::PREFIX;

pub(super) fn examine(machine: &Machine) -> Vec<Finding> {
    [
        podman::examine(machine),
        docker::examine(machine),
        containerd::examine(machine),
        crio::examine(machine),
    ]
    .concat()
}

/// The finding for an engine that is neither there nor configured.
fn absent(subject: &'static str) -> Vec<Finding> {
    vec![Finding::ok(subject, "not installed")]
}

/// Reads a TOML file; `None` when there is none.
fn toml(
    machine: &Machine,
    subject: &'static str,
    path: &Path,
) -> Result<Option<DocumentMut>, Finding> {
    let shown = path.display();
    let text = machine.read(path).map_err(|error| {
        Finding::warning(
            subject,
            format!("{shown} cannot be read: {error}"),
            "run `fragment doctor` as root",
        )
    })?;
    let document = text.map(|text| text.parse::<DocumentMut>()).transpose();
    document.map_err(|error| {
        let message = error.to_string();
        let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
        Finding::problem(
            subject,
            format!("{shown} is no TOML, and the engine does not start with it: {message}"),
            "correct it",
        )
    })
}

/// The table at `path`.
fn table<'d>(document: &'d DocumentMut, path: &[&str]) -> Option<&'d dyn TableLike> {
    let mut table: &dyn TableLike = document.as_table();
    for key in path {
        table = table.get(key)?.as_table_like()?;
    }
    Some(table)
}

/// The texts of a list.
fn texts(item: &Item) -> Vec<String> {
    let values = item.as_array().into_iter().flatten();
    values
        .filter_map(|value| value.as_str().map(str::to_owned))
        .collect()
}

/// The finding for a path that an engine would run, if it cannot.
fn no_program(
    machine: &Machine,
    subject: &'static str,
    file: &Path,
    program: &str,
    remedy: &str,
) -> Option<Finding> {
    (!machine.is_program(Path::new(program))).then(|| {
        Finding::problem(
            subject,
            format!(
                "{} names {program}, which is no program of this machine",
                file.display()
            ),
            format!("put fragment-runc there, or run `{remedy}`"),
        )
    })
}
