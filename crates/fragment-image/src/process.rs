//! The process of an image: its command line, environment, directory and user, and the bundle that runs it.

use std::path::Path;

use fragment::task::{DEFAULT_PATH, LINUX_CAPABILITIES, default_mounts};
use fragment_sys::root::Root;
use serde_json::{Value, json};

use crate::error::ImageError;

/// Largest passwd or group file read, in bytes.
const MAX_FILE: usize = 1 << 20;
/// What engines leave a container beyond what a task has.
const MORE_CAPABILITIES: [&str; 2] = ["CAP_AUDIT_WRITE", "CAP_MKNOD"];

/// What an image starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) argv: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) cwd: String,
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

impl Process {
    /// The process of the image configuration `config`, whose user is looked up in `root`.
    pub(crate) fn of(config: &Value, root: &Root) -> Result<Self, ImageError> {
        let config = &config["config"];
        let argv = [texts(&config["Entrypoint"]), texts(&config["Cmd"])].concat();
        if argv.first().is_none_or(String::is_empty) {
            return Err(ImageError::NoCommand);
        }
        let mut env = texts(&config["Env"]);
        if !env.iter().any(|variable| variable.starts_with("PATH=")) {
            env.push(format!("PATH={DEFAULT_PATH}"));
        }
        let cwd = config["WorkingDir"].as_str().filter(|cwd| !cwd.is_empty());
        let user = config["User"].as_str().unwrap_or_default();
        let (uid, gid, groups) = user_ids(user, root)?;
        Ok(Self {
            argv,
            env,
            cwd: cwd.unwrap_or("/").to_owned(),
            uid,
            gid,
            groups,
        })
    }

    pub(crate) fn task(&self) -> fragment_analysis::Task {
        fragment_analysis::Task {
            argv: self.argv.clone(),
            env: self.env.clone(),
            cwd: self.cwd.clone(),
            uid: self.uid,
            gid: self.gid,
            terminal: false,
        }
    }

    /// The same, running `argv`.
    pub(crate) fn with(&self, argv: Vec<String>) -> Self {
        Self {
            argv,
            ..self.clone()
        }
    }

    /// Writes the configuration of a bundle whose rootfs is `rootfs` in it; `compose` is what its annotation says.
    pub(crate) fn write_bundle(
        &self,
        directory: &Path,
        id: &str,
        annotations: &Value,
    ) -> Result<(), ImageError> {
        let capabilities = [&LINUX_CAPABILITIES[..], &MORE_CAPABILITIES].concat();
        let namespaces = ["pid", "ipc", "uts", "mount", "network", "cgroup"];
        let config = json!({
            "ociVersion": "1.0.2",
            "hostname": "thin",
            "annotations": annotations,
            "root": { "path": "rootfs", "readonly": false },
            "process": {
                "terminal": false,
                "args": self.argv,
                "env": self.env,
                "cwd": self.cwd,
                "user": { "uid": self.uid, "gid": self.gid, "additionalGids": self.groups },
                "capabilities": {
                    "bounding": capabilities,
                    "effective": capabilities,
                    "permitted": capabilities,
                },
            },
            "mounts": default_mounts(),
            "linux": {
                "cgroupsPath": format!("/fragment-image-{id}"),
                "namespaces": namespaces.map(|kind| json!({ "type": kind })),
            },
        });
        let path = directory.join("config.json");
        std::fs::write(&path, config.to_string()).map_err(ImageError::io("write", &path))
    }
}

fn texts(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}

/// `USER[:GROUP]` of image-spec `config.md`, each a name or a number.
fn user_ids(text: &str, root: &Root) -> Result<(u32, u32, Vec<u32>), ImageError> {
    if text.is_empty() {
        return Ok((0, 0, Vec::new()));
    }
    let (user, group) = text
        .split_once(':')
        .map_or((text, None), |(user, group)| (user, Some(group)));
    let read = |path: &str| {
        root.read_prefix(path, MAX_FILE)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    };
    let (passwd, groups) = (read("/etc/passwd"), read("/etc/group"));
    let unknown = || ImageError::UnknownUser(text.to_owned());
    let entry = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&user) || fields.get(2) == Some(&user));
    let number = |field: usize| entry.as_ref()?.get(field)?.parse::<u32>().ok();
    let uid = number(2)
        .or_else(|| user.parse().ok())
        .ok_or_else(unknown)?;
    let gid = match group {
        None => number(3).unwrap_or(0),
        Some(group) => group_id(group, &groups).ok_or_else(unknown)?,
    };
    let name = entry.as_ref().and_then(|fields| fields.first().copied());
    let supplementary = match (group, name) {
        (None, Some(name)) => members(name, &groups),
        _ => Vec::new(),
    };
    Ok((uid, gid, supplementary))
}

fn group_id(group: &str, groups: &str) -> Option<u32> {
    let named = groups.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.first() == Some(&group)).then(|| fields.get(2)?.parse().ok())?
    });
    named.or_else(|| group.parse().ok())
}

fn members(user: &str, groups: &str) -> Vec<u32> {
    let lines = groups
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>());
    lines
        .filter(|fields| {
            let list = fields.get(3).copied().unwrap_or_default();
            list.split(',').any(|member| member == user)
        })
        .filter_map(|fields| fields.get(2)?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_names_or_numbers() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("etc")).unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(directory.path().join("etc").join(name), text).unwrap();
        };
        write(
            "passwd",
            "root:x:0:0::/root:/bin/sh\nredis:x:104:106::/:/bin/sh\n",
        );
        write("group", "root:x:0:\nredis:x:106:\nssl:x:108:redis,x\n");
        let root = Root::open(directory.path()).unwrap();
        for (text, expected) in [
            ("", (0, 0, vec![])),
            ("redis", (104, 106, vec![108])),
            ("104", (104, 106, vec![108])),
            ("redis:ssl", (104, 108, vec![])),
            ("7:9", (7, 9, vec![])),
            ("7", (7, 0, vec![])),
        ] {
            assert_eq!(user_ids(text, &root).unwrap(), expected, "{text}");
        }
        assert!(user_ids("nobody", &root).is_err());
        assert!(user_ids("redis:nobody", &root).is_err());
    }
}
