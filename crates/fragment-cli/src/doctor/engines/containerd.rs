//! containerd: the runtime handlers of its CRI plugin.

use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, TableLike};

use super::super::Finding;
use super::super::machine::Machine;
use super::{NAME, PREFIX, absent, no_program, table, texts, toml};

const SUBJECT: &str = "containerd";

const REMEDY: &str = "fragment doctor --write containerd";

/// Its configuration.
pub(in super::super) const FILE: &str = "/etc/containerd/config.toml";

/// The CRI plugin's section in a configuration of this version, as a path of tables.
pub(in super::super) fn plugin(version: i64) -> &'static str {
    if version >= 3 {
        "io.containerd.cri.v1.runtime"
    } else {
        "io.containerd.grpc.v1.cri"
    }
}

/// The version of a configuration; without a number it is 1.
pub(in super::super) fn version(document: &DocumentMut) -> i64 {
    let version = document.get("version");
    version.and_then(toml_edit::Item::as_integer).unwrap_or(1)
}

pub(super) fn examine(machine: &Machine) -> Vec<Finding> {
    let is_installed = machine.has_program("containerd");
    let documents = match documents(machine) {
        Ok(documents) => documents,
        Err(finding) => return vec![finding],
    };
    if documents.is_empty() && !is_installed {
        return absent(SUBJECT);
    }
    // the last file with the plugin's section is followed
    for (file, document) in documents.iter().rev() {
        let plugin = plugin(version(document));
        let Some(section) = table(document, &["plugins", plugin]) else {
            continue;
        };
        if version(document) < 2 {
            break;
        }
        let runtimes = ["containerd", "runtimes"]
            .iter()
            .try_fold(section, |table, key| table.get(key)?.as_table_like());
        let ours = runtimes.and_then(|all| all.iter().find(|(name, item)| is_ours(name, item)));
        match ours.and_then(|(name, item)| Some((name, item.as_table_like()?))) {
            Some((name, handler)) => return judge(machine, file, name, handler),
            None => break,
        }
    }
    let text = format!("{FILE} has no runtime handler for {NAME}");
    vec![Finding::warning(SUBJECT, text, REMEDY)]
}

/// The configuration and the files it imports.
fn documents(machine: &Machine) -> Result<Vec<(PathBuf, DocumentMut)>, Finding> {
    let Some(main) = toml(machine, SUBJECT, Path::new(FILE))? else {
        return Ok(Vec::new());
    };
    let imports = main.get("imports").map(texts).unwrap_or_default();
    let mut documents = vec![(PathBuf::from(FILE), main)];
    for pattern in imports {
        let path = Path::new("/etc/containerd").join(&pattern);
        let files = match (pattern.rsplit_once('*'), path.parent()) {
            (Some((_, ending)), Some(directory)) => machine.files(directory, ending),
            _ => vec![path],
        };
        for file in files {
            if let Some(document) = toml(machine, SUBJECT, &file)? {
                documents.push((file, document));
            }
        }
    }
    Ok(documents)
}

/// Whether a handler runs fragment-runc.
fn is_ours(name: &str, handler: &toml_edit::Item) -> bool {
    let binary = handler
        .as_table_like()
        .and_then(binary)
        .map(|path| path.rsplit('/').next().unwrap_or_default().to_owned());
    name == NAME || binary.as_deref() == Some(NAME)
}

fn binary(handler: &dyn TableLike) -> Option<&str> {
    handler
        .get("options")?
        .as_table_like()?
        .get("BinaryName")?
        .as_str()
}

fn judge(machine: &Machine, file: &Path, name: &str, handler: &dyn TableLike) -> Vec<Finding> {
    let shown = file.display();
    let kind = handler.get("runtime_type").and_then(|item| item.as_str());
    if kind != Some("io.containerd.runc.v2") {
        let text = format!(
            "handler {name} of {shown} has runtime_type {}: the runtime is called by io.containerd.runc.v2",
            kind.unwrap_or("none")
        );
        return vec![Finding::problem(SUBJECT, text, REMEDY)];
    }
    let Some(program) = binary(handler) else {
        let text = format!("handler {name} of {shown} has no BinaryName: it runs runc");
        return vec![Finding::problem(SUBJECT, text, REMEDY)];
    };
    if let Some(finding) = no_program(machine, SUBJECT, file, program, REMEDY) {
        return vec![finding];
    }
    let mut findings = Vec::new();
    let lacks: Vec<_> = ["pod_annotations", "container_annotations"]
        .into_iter()
        .filter(|key| {
            let patterns = handler.get(key).map(texts).unwrap_or_default();
            !patterns.iter().any(|pattern| passes(pattern))
        })
        .collect();
    if !lacks.is_empty() {
        let text = format!(
            "handler {name} of {shown} hands annotations {PREFIX}* on to no runtime ({})",
            lacks.join(", ")
        );
        findings.push(Finding::warning(SUBJECT, text, REMEDY));
    }
    let options = handler.get("options").and_then(|item| item.as_table_like());
    let systemd = options
        .and_then(|options| options.get("SystemdCgroup"))
        .and_then(toml_edit::Item::as_bool)
        .unwrap_or(false);
    if !systemd && machine.has("/run/systemd/system") {
        let text = format!(
            "handler {name} of {shown} makes control groups past systemd, which manages them here"
        );
        findings.push(Finding::warning(
            SUBJECT,
            text,
            format!("{REMEDY}, and cgroupDriver: systemd in the kubelet's configuration"),
        ));
    }
    if findings.is_empty() {
        let text = format!("handler {name} of {shown} runs it: runtimeClassName {name}");
        findings.push(Finding::ok(SUBJECT, text));
    }
    findings
}

/// Whether a pattern of annotations lets all of ours through.
fn passes(pattern: &str) -> bool {
    pattern
        .strip_suffix('*')
        .is_some_and(|start| PREFIX.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::passes;

    #[test]
    fn a_pattern_passes_all_annotations_or_not() {
        for pattern in ["*", "dev.*", "dev.fragment.*"] {
            assert!(passes(pattern), "{pattern}");
        }
        for pattern in ["", "dev.fragment.", "dev.fragment.compose*", "io.*"] {
            assert!(!passes(pattern), "{pattern}");
        }
    }
}
