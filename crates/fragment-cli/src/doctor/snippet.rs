//! What makes an engine know the runtime: the files of contrib/, with the paths of this machine filled in.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_json::Value;
use toml_edit::{DocumentMut, Item, Table};

use super::engines::{NAME, containerd, docker};
use super::machine::Machine;

/// The path of the runtime in the files of contrib/.
const DEFAULT_PATH: &str = "/usr/local/bin/fragment-runc";

/// Engines that can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Engine {
    /// podman and buildah: a drop-in of containers.conf
    Podman,
    /// docker: daemon.json
    Docker,
    /// containerd's CRI plugin: config.toml
    Containerd,
    /// CRI-O: a drop-in of crio.conf
    Crio,
    /// Kubernetes: a RuntimeClass
    Kubernetes,
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// There was none.
    New,
    /// The runtime was put into it, everything else in it was kept.
    Merged,
    /// It was ours, or --force was given.
    Replaced,
    /// It says so already.
    Unchanged,
}

impl Engine {
    /// Where it reads it; `None` where there is no such place.
    pub(crate) fn place(self, machine: &Machine) -> Option<PathBuf> {
        let own = machine
            .configurations
            .as_ref()
            .filter(|_| machine.is_rootless);
        let path = match self {
            Self::Podman => own
                .map_or_else(|| PathBuf::from("/etc"), Clone::clone)
                .join("containers/containers.conf.d/fragment-runc.conf"),
            Self::Docker => docker::FILE.into(),
            Self::Containerd => containerd::FILE.into(),
            Self::Crio => "/etc/crio/crio.conf.d/90-fragment-runc.conf".into(),
            Self::Kubernetes => return None,
        };
        Some(machine.place(path))
    }

    /// The snippet for a runtime at `runtime`.
    pub(crate) fn text(self, machine: &Machine, runtime: &Path) -> anyhow::Result<String> {
        let runtime = runtime
            .to_str()
            .context("the runtime's path is not UTF-8")?;
        if runtime.contains(['"', '\\', '\n']) {
            bail!("{runtime:?} cannot be written into a configuration file");
        }
        let text = match self {
            Self::Podman => include_str!("../../../../contrib/podman/fragment-runc.conf"),
            Self::Docker => include_str!("../../../../contrib/docker/daemon.json"),
            Self::Containerd => include_str!("../../../../contrib/containerd/config.toml"),
            Self::Crio => include_str!("../../../../contrib/crio/90-fragment-runc.conf"),
            Self::Kubernetes => include_str!("../../../../contrib/kubernetes/runtimeclass.yaml"),
        };
        let text = text.replace(DEFAULT_PATH, runtime);
        if machine.has("/run/systemd/system") {
            Ok(text)
        } else {
            Ok(text.replace("SystemdCgroup = true", "SystemdCgroup = false"))
        }
    }

    /// Puts the snippet into `file`.
    ///
    /// # Errors
    /// When the file cannot be read or written, is no document of its kind, or is somebody else's and `force` is not given.
    pub(crate) fn write(self, text: &str, file: &Path, force: bool) -> anyhow::Result<Written> {
        let old = match fs::read_to_string(file) {
            Ok(old) => Some(old),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| format!("read {}", file.display())),
        };
        let shown = || format!("merge into {}", file.display());
        let (new, how) = match old.as_deref().filter(|old| !old.trim().is_empty()) {
            None => (text.to_owned(), Written::New),
            Some(old) => match self {
                Self::Docker => (merged_json(old, text).with_context(shown)?, Written::Merged),
                Self::Containerd => (merged_toml(old, text).with_context(shown)?, Written::Merged),
                _ if force || is_ours(old, text) => (text.to_owned(), Written::Replaced),
                _ => bail!(
                    "{} exists and was not written by fragment: move it away, name another file with --to, or replace it with --force",
                    file.display()
                ),
            },
        };
        if old.as_ref() == Some(&new) {
            return Ok(Written::Unchanged);
        }
        replace(file, &new).with_context(|| format!("write {}", file.display()))?;
        Ok(how)
    }
}

/// Whether `old` begins as the snippet does: with its comment.
fn is_ours(old: &str, text: &str) -> bool {
    old.lines().next() == text.lines().next()
}

/// The file as it is, with the runtime in it.
fn merged_json(old: &str, text: &str) -> anyhow::Result<String> {
    let mut document: Value = serde_json::from_str(old)?;
    let ours: Value = serde_json::from_str(text)?;
    let runtimes = document
        .as_object_mut()
        .context("it is no JSON object")?
        .entry("runtimes")
        .or_insert_with(|| Value::Object(serde_json::Map::new()));
    let runtimes = runtimes
        .as_object_mut()
        .context("its key `runtimes` is no JSON object")?;
    let Some(runtime) = ours["runtimes"].get(NAME) else {
        bail!("the snippet names no runtime");
    };
    if runtimes.get(NAME) == Some(runtime) {
        // not even its spaces
        return Ok(old.to_owned());
    }
    runtimes.insert(NAME.to_owned(), runtime.clone());
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

/// The file as it is, comments and order too, with the handler in it.
fn merged_toml(old: &str, text: &str) -> anyhow::Result<String> {
    let mut document: DocumentMut = old.parse()?;
    let ours: DocumentMut = text.parse()?;
    if document.is_empty() {
        return Ok(text.to_owned());
    }
    let version = containerd::version(&document);
    if version < 2 {
        bail!(
            "it is a configuration of version 1: `containerd config migrate` makes a newer one of it"
        );
    }
    let handler = [
        "plugins",
        containerd::plugin(2),
        "containerd",
        "runtimes",
        NAME,
    ]
    .iter()
    .try_fold(ours.as_item(), |item, key| item.get(key))
    .context("the snippet has no handler")?
    .clone();
    let path = [
        "plugins",
        containerd::plugin(version),
        "containerd",
        "runtimes",
    ];
    let mut item = document.as_item_mut();
    for key in path {
        let table = item
            .as_table_like_mut()
            .with_context(|| format!("what holds `{key}` is no table"))?;
        if table.get(key).is_none() {
            let mut between = Table::new();
            between.set_implicit(true);
            table.insert(key, Item::Table(between));
        }
        item = table.get_mut(key).context("a table that was just made")?;
    }
    let runtimes = item.as_table_like_mut().context("`runtimes` is no table")?;
    if runtimes
        .get(NAME)
        .is_some_and(|known| same(known, &handler))
    {
        return Ok(old.to_owned());
    }
    runtimes.insert(NAME, placed(handler));
    Ok(document.to_string())
}

/// Whether two items say the same, whatever spaces and comments are around them.
fn same(one: &Item, other: &Item) -> bool {
    match (one.as_table_like(), other.as_table_like()) {
        (Some(one), Some(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .all(|(key, item)| other.get(key).is_some_and(|known| same(item, known)))
        }
        _ => one.to_string().trim() == other.to_string().trim(),
    }
}

/// A handler without its place in the document it comes from.
fn placed(mut handler: Item) -> Item {
    if let Some(table) = handler.as_table_mut() {
        table.set_position(None);
        for (_, item) in table.iter_mut() {
            if let Some(inner) = item.as_table_mut() {
                inner.set_position(None);
            }
        }
    }
    handler
}

/// Puts `text` into the place of `file` at once, with the mode of the old one.
fn replace(file: &Path, text: &str) -> anyhow::Result<()> {
    let directory = file.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(directory)?;
    // what a link leads to is replaced, not the link
    let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let directory = file.parent().unwrap_or(Path::new("/"));
    let mode = fs::metadata(&file).map_or(0o644, |data| data.permissions().mode() & 0o7777);
    let mut new = tempfile::NamedTempFile::new_in(directory)?;
    new.write_all(text.as_bytes())?;
    new.as_file()
        .set_permissions(Permissions::from_mode(mode))?;
    new.as_file().sync_all()?;
    new.persist(&file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Engine; 5] = [
        Engine::Podman,
        Engine::Docker,
        Engine::Containerd,
        Engine::Crio,
        Engine::Kubernetes,
    ];

    fn machine() -> Machine {
        Machine::new("/nonexistent".into())
    }

    fn text(engine: Engine) -> String {
        engine
            .text(&machine(), Path::new("/opt/fragment-runc"))
            .unwrap()
    }

    #[test]
    fn every_snippet_but_kubernetes_names_the_binary() {
        for engine in ALL {
            let text = text(engine);
            assert!(!text.contains(DEFAULT_PATH), "{text}");
            let is_named = text.contains("\"/opt/fragment-runc\"");
            assert_eq!(is_named, engine != Engine::Kubernetes, "{text}");
        }
        let hostile = Path::new("/opt/\"x\"/fragment-runc");
        assert!(Engine::Podman.text(&machine(), hostile).is_err());
    }

    #[test]
    fn daemon_json_keeps_its_keys() {
        let old = r#"{"data-root": "/srv/docker", "runtimes": {"kata": {"path": "kata"}, "fragment-runc": {"path": "old"}}, "debug": true}"#;
        let new = merged_json(old, &text(Engine::Docker)).unwrap();
        let new: Value = serde_json::from_str(&new).unwrap();
        assert_eq!(
            new,
            serde_json::json!({
                "data-root": "/srv/docker",
                "debug": true,
                "runtimes": { "kata": { "path": "kata" }, "fragment-runc": { "path": "/opt/fragment-runc" } }
            })
        );
        for wrong in ["[]", "{", r#"{"runtimes": []}"#] {
            assert!(
                merged_json(wrong, &text(Engine::Docker)).is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn config_toml_keeps_everything_else() {
        let snippet = text(Engine::Containerd);
        for (version, plugin) in [
            (2, "io.containerd.grpc.v1.cri"),
            (3, "io.containerd.cri.v1.runtime"),
        ] {
            let old = format!(
                "# of the node\nversion = {version}\nroot = \"/srv\" # kept\n[plugins.\"{plugin}\".cni]\n  bin_dir = \"/cni\"\n[plugins.\"{plugin}\".containerd.runtimes.runc]\nruntime_type = \"io.containerd.runc.v2\"\n[timeouts]\na = \"1s\"\n"
            );
            let new = merged_toml(&old, &snippet).unwrap();
            for line in old.lines() {
                assert!(new.contains(line), "{line} of\n{new}");
            }
            let read: DocumentMut = new.parse().unwrap();
            let runtimes = &read["plugins"][plugin]["containerd"]["runtimes"];
            let options = &runtimes[NAME]["options"];
            assert_eq!(options["BinaryName"].as_str(), Some("/opt/fragment-runc"));
            assert!(runtimes["runc"].is_table_like(), "{new}");
            assert_eq!(read["timeouts"]["a"].as_str(), Some("1s"));
            assert_eq!(merged_toml(&new, &snippet).unwrap(), new, "twice is once");
        }
        for wrong in [
            "root = \"/srv\"\n",
            "version = \n",
            "version = 2\nplugins = 1\n",
        ] {
            assert!(merged_toml(wrong, &snippet).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_file_of_somebody_else_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("deep/er/fragment-runc.conf");
        let snippet = text(Engine::Podman);
        let write = |force| Engine::Podman.write(&snippet, &file, force);
        assert_eq!(write(false).unwrap(), Written::New);
        assert_eq!(write(false).unwrap(), Written::Unchanged);
        let older = snippet.replace("/opt/fragment-runc", "/old/fragment-runc");
        fs::write(&file, older).unwrap();
        assert_eq!(write(false).unwrap(), Written::Replaced);
        fs::write(&file, "[engine]\nruntime = \"crun\"\n").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        assert!(write(false).unwrap_err().to_string().contains("--force"));
        assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 2);
        assert_eq!(write(true).unwrap(), Written::Replaced);
        assert_eq!(fs::read_to_string(&file).unwrap(), snippet);
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "the mode is kept");
        let names = fs::read_dir(file.parent().unwrap()).unwrap().count();
        assert_eq!(names, 1, "nothing of the writing is left");
    }
}
