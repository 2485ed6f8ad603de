//! podman and buildah: containers.conf(5).

use std::path::PathBuf;

use super::super::Finding;
use super::super::machine::Machine;
use super::{NAME, absent, no_program, table, texts, toml};

const SUBJECT: &str = "podman";

const REMEDY: &str = "fragment doctor --write podman";

/// What the files say together.
#[derive(Default)]
struct Said {
    /// Where the runtime is named, and the paths it may lie at.
    runtime: Option<(PathBuf, Vec<String>)>,
    /// Where the list of runtimes with JSON messages is, and the list.
    json: Option<(PathBuf, Vec<String>)>,
}

pub(super) fn examine(machine: &Machine) -> Vec<Finding> {
    let is_installed = machine.has_program("podman") || machine.has_program("buildah");
    let mut said = Said::default();
    for file in files(machine) {
        if let Err(finding) = said.read(machine, file) {
            return vec![finding];
        }
    }
    let Some((file, paths)) = &said.runtime else {
        if !is_installed {
            return absent(SUBJECT);
        }
        let text = format!("no containers.conf names {NAME} among its runtimes");
        return vec![Finding::warning(SUBJECT, text, REMEDY)];
    };
    let is_program = |path: &String| machine.is_program(path.as_ref());
    if !paths.iter().any(is_program) {
        let first = paths.first().map_or("nothing", String::as_str);
        return no_program(machine, SUBJECT, file, first, REMEDY)
            .into_iter()
            .collect();
    }
    match &said.json {
        Some((_, names)) if names.iter().any(|name| name == NAME) => vec![Finding::ok(
            SUBJECT,
            format!("{} names it: podman run --runtime {NAME}", file.display()),
        )],
        Some((file, _)) => vec![Finding::problem(
            SUBJECT,
            format!(
                "runtime_supports_json of {} lacks {NAME}: error messages and exit codes 126 and 127 are lost",
                file.display()
            ),
            REMEDY,
        )],
        None => vec![Finding::problem(
            SUBJECT,
            format!(
                "runtime_supports_json is not set, and {NAME} is not in podman's own list: error messages and exit codes 126 and 127 are lost"
            ),
            REMEDY,
        )],
    }
}

/// The files podman reads, in order: what comes later is put over it.
fn files(machine: &Machine) -> Vec<PathBuf> {
    let variable = |name: &str| {
        let value = std::env::var_os(name).filter(|value| !value.is_empty());
        value.filter(|_| machine.is_this()).map(PathBuf::from)
    };
    let mut files = match variable("CONTAINERS_CONF") {
        Some(file) => vec![file],
        None => of_directories(machine),
    };
    files.extend(variable("CONTAINERS_CONF_OVERRIDE"));
    files
}

fn of_directories(machine: &Machine) -> Vec<PathBuf> {
    let mut files = vec![PathBuf::from("/usr/share/containers/containers.conf")];
    let own = machine
        .configurations
        .as_ref()
        .filter(|_| machine.is_rootless);
    let own = own.map(|path| path.join("containers"));
    for directory in std::iter::once("/etc/containers".into()).chain(own) {
        files.push(directory.join("containers.conf"));
        files.extend(machine.files(directory.join("containers.conf.d"), ".conf"));
    }
    files
}

impl Said {
    fn read(&mut self, machine: &Machine, file: PathBuf) -> Result<(), Finding> {
        let Some(document) = toml(machine, SUBJECT, &file)? else {
            return Ok(());
        };
        if let Some(paths) = table(&document, &["engine", "runtimes"]).and_then(|all| all.get(NAME))
        {
            self.runtime = Some((file.clone(), texts(paths)));
        }
        let engine = table(&document, &["engine"]);
        if let Some(names) = engine.and_then(|engine| engine.get("runtime_supports_json")) {
            self.json = Some((file, texts(names)));
        }
        Ok(())
    }
}
