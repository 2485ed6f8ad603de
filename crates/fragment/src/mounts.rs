//! What the bundle's bind mounts supply: a file that is mounted into the container is not missing, wherever it lies.

use std::path::{Path, PathBuf};

use fragment_launch::oci::{Mount, Spec};
use fragment_sys::root::Root;
use fragment_types::{Need, Requirement};

/// A bind mount: what of the host appears where.
#[derive(Debug)]
struct Bind {
    destination: PathBuf,
    source: PathBuf,
}

/// Marks what bind mounts supply as satisfied. `directories` is where commands are looked for.
pub(crate) fn satisfy(
    requirements: &mut [Requirement],
    spec: &Spec,
    bundle: &Path,
    directories: &[String],
) {
    let binds: Vec<Bind> = spec
        .mounts()
        .iter()
        .flatten()
        .filter_map(|mount| bind(mount, bundle))
        .collect();
    if binds.is_empty() {
        return;
    }
    for requirement in requirements.iter_mut().filter(|one| one.is_missing()) {
        requirement.satisfied_by = match &requirement.need {
            Need::Path { path } => supplied(&binds, Path::new(path)),
            Need::Command { name } => directories
                .iter()
                .find_map(|directory| supplied(&binds, &Path::new(directory).join(name))),
            _ => None,
        };
    }
}

fn bind(mount: &Mount, bundle: &Path) -> Option<Bind> {
    let options = mount.options().iter().flatten();
    let is_bind = mount.typ().as_deref() == Some("bind")
        || options
            .into_iter()
            .any(|option| option == "bind" || option == "rbind");
    let source = mount.source().as_ref().filter(|_| is_bind)?;
    Some(Bind {
        destination: mount.destination().clone(),
        // runc takes a relative source as relative to the bundle
        source: bundle.join(source),
    })
}

/// The path itself, if one of the mounts covers it and holds it. Of several the last is on top.
fn supplied(binds: &[Bind], path: &Path) -> Option<String> {
    let bind = binds
        .iter()
        .rev()
        .find(|bind| path.starts_with(&bind.destination))?;
    let rest = path.strip_prefix(&bind.destination).ok()?;
    let exists = if rest.as_os_str().is_empty() {
        bind.source.exists()
    } else {
        // links inside are the container's to follow: what leads out of the mount is not looked for here
        let root = Root::open(&bind.source).ok()?;
        root.lookup(rest.to_str()?).ok()?.is_some()
    };
    exists.then(|| path.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use fragment_types::Strength;

    use super::*;

    #[test]
    fn a_mounted_file_is_not_missing() {
        let host = tempfile::tempdir().unwrap();
        std::fs::write(host.path().join("init"), "").unwrap();
        std::fs::create_dir(host.path().join("bin")).unwrap();
        std::fs::write(host.path().join("bin/tool"), "").unwrap();
        let spec: Spec = serde_json::from_value(serde_json::json!({
            "ociVersion": "1.0.2",
            "mounts": [
                {"destination": "/dev/init", "type": "bind", "source": host.path().join("init"), "options": ["bind"]},
                {"destination": "/opt", "source": "bin", "options": ["rbind"]},
                {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},
            ],
        }))
        .unwrap();
        let path = |path: &str| Need::Path {
            path: path.to_owned(),
        };
        let command = |name: &str| Need::Command {
            name: name.to_owned(),
        };
        for (need, expected) in [
            (path("/dev/init"), Some("/dev/init")),
            (path("/opt/tool"), Some("/opt/tool")),
            (path("/opt/other"), None),
            (path("/tmp/x"), None),
            (path("/dev/initial"), None),
            (command("tool"), Some("/opt/tool")),
            (command("other"), None),
        ] {
            let mut requirements = [Requirement {
                need: need.clone(),
                strength: Strength::Hard,
                satisfied_by: None,
                chain: Vec::new(),
            }];
            satisfy(
                &mut requirements,
                &spec,
                host.path(),
                &["/usr/bin".to_owned(), "/opt".to_owned()],
            );
            assert_eq!(requirements[0].satisfied_by.as_deref(), expected, "{need}");
        }
    }
}
