//! Which package would provide a command, as the archive's indexes say.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::Result;
use crate::machine::output;
use crate::world::io;

/// Directories of commands, as the indexes spell them.
const DIRECTORIES: [&str; 5] = ["usr/bin/", "bin/", "usr/sbin/", "sbin/", "usr/games/"];

/// A package that would provide a command.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Provider {
    /// The package.
    pub package: String,
    /// The path of the command, or nothing where only the package's name says so.
    pub path: Option<String>,
}

/// The packages of the archive that would provide `command`, the likeliest first.
///
/// The machine's Contents indexes (apt-file's) are asked where apt has them; a package of the command's own name counts too:
/// alternatives (`vim`, `figlet`) are in no index.
///
/// # Errors
/// When apt cannot be run.
pub fn providers_of(command: &str) -> Result<Vec<Provider>> {
    let listed = output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(FILENAME)",
        "Created-By: Contents-deb",
    ]))?;
    let mut found = Vec::new();
    for file in listed.lines().filter(|f| Path::new(f).exists()) {
        found.extend(search(file, command)?);
    }
    let named = found.iter().any(|p: &Provider| p.package == command);
    if !named && is_package(command)? {
        found.push(Provider {
            package: command.to_owned(),
            path: None,
        });
    }
    found.sort_by(|a, b| {
        let key = |p: &Provider| (p.package != command, p.package.len(), p.clone());
        key(a).cmp(&key(b))
    });
    found.dedup();
    Ok(found)
}

fn is_package(name: &str) -> Result<bool> {
    if fragment_types::ComponentName::new(name).is_err() {
        return Ok(false);
    }
    let names = output(Command::new("apt-cache").args(["pkgnames", name]))?;
    Ok(names.lines().any(|n| n == name))
}

/// Reads one index; apt keeps them compressed.
fn search(file: &str, command: &str) -> Result<Vec<Provider>> {
    let path = Path::new("/usr/lib/apt/apt-helper");
    let mut child = Command::new(path)
        .args(["cat-file", file])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(io("running", path))?;
    let mut found = Vec::new();
    if let Some(output) = child.stdout.take() {
        let mut reader = BufReader::with_capacity(1 << 20, output);
        let mut line = Vec::new();
        while reader
            .read_until(b'\n', &mut line)
            .map_err(io("reading", path))?
            > 0
        {
            if let Ok(text) = std::str::from_utf8(&line) {
                found.extend(providers(text, command));
            }
            line.clear();
        }
    }
    child.wait().map_err(io("waiting for", path))?;
    Ok(found)
}

/// `usr/bin/jq    utils/jq,admin/other` where it is about `command`.
fn providers(line: &str, command: &str) -> Vec<Provider> {
    let rest = DIRECTORIES.iter().find_map(|d| line.strip_prefix(d));
    let Some(packages) = rest
        .and_then(|r| r.strip_prefix(command))
        .filter(|r| r.starts_with([' ', '\t']))
    else {
        return Vec::new();
    };
    let path = line[..line.len() - packages.len()].to_owned();
    let provider = |package: &str| Provider {
        package: package.rsplit('/').next().unwrap_or_default().to_owned(),
        path: Some(format!("/{path}")),
    };
    packages.trim().split(',').map(provider).collect()
}

#[cfg(test)]
mod tests {
    use super::{Provider, providers};

    #[test]
    fn index_lines() {
        let found = providers("usr/bin/jq      utils/jq,main/x/y\n", "jq");
        let provider = |package: &str| Provider {
            package: package.to_owned(),
            path: Some("/usr/bin/jq".to_owned()),
        };
        assert_eq!(found, [provider("jq"), provider("y")]);
        assert!(providers("usr/bin/jqp utils/jqp\n", "jq").is_empty());
        assert!(providers("usr/share/jq utils/jq\n", "jq").is_empty());
    }
}
