//! CRI-O: crio.conf(5).

use std::path::PathBuf;

use toml_edit::Item;

use super::super::Finding;
use super::super::machine::Machine;
use super::{NAME, PREFIX, absent, no_program, table, texts, toml};

const SUBJECT: &str = "CRI-O";

const REMEDY: &str = "fragment doctor --write crio";

pub(super) fn examine(machine: &Machine) -> Vec<Finding> {
    let mut handler: Option<(PathBuf, Item)> = None;
    let mut files = vec![PathBuf::from("/etc/crio/crio.conf")];
    files.extend(machine.files("/etc/crio/crio.conf.d", ""));
    for file in files {
        let document = match toml(machine, SUBJECT, &file) {
            Ok(Some(document)) => document,
            Ok(None) => continue,
            Err(finding) => return vec![finding],
        };
        let runtimes = table(&document, &["crio", "runtime", "runtimes"]);
        if let Some(item) = runtimes.and_then(|all| all.get(NAME)) {
            handler = Some((file, item.clone()));
        }
    }
    let Some((file, handler)) = handler else {
        if !machine.has_program("crio") {
            return absent(SUBJECT);
        }
        let text = format!("no file of /etc/crio has a runtime handler for {NAME}");
        return vec![Finding::warning(SUBJECT, text, REMEDY)];
    };
    let get = |key: &str| handler.as_table_like().and_then(|handler| handler.get(key));
    let allowed = get("allowed_annotations").map(texts).unwrap_or_default();
    if let Some(wrong) = allowed.iter().find(|name| name.starts_with(PREFIX)) {
        let text = format!(
            "allowed_annotations of {} holds {wrong}: CRI-O starts with its own annotations in that list only, and hands others on anyway",
            file.display()
        );
        return vec![Finding::problem(SUBJECT, text, REMEDY)];
    }
    // without a path, CRI-O looks for the handler's name on its PATH
    let program = get("runtime_path").and_then(Item::as_str);
    let program = program.filter(|path| !path.is_empty()).unwrap_or(NAME);
    no_program(machine, SUBJECT, &file, program, REMEDY).map_or_else(
        || {
            let text = format!("{} names it: runtimeClassName {NAME}", file.display());
            vec![Finding::ok(SUBJECT, text)]
        },
        |finding| vec![finding],
    )
}
