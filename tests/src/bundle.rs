//! A bundle with a busybox root file system and a `config.json` that starts from what `runc spec` prints.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// Debian's statically linked busybox, from the package busybox-static.
const BUSYBOX: &str = "/usr/bin/busybox";

/// The applets that the tests use; every one is a link to busybox.
const APPLETS: &[&str] = &[
    "ash", "awk", "cat", "chmod", "cut", "dd", "echo", "env", "false", "getopt", "grep", "head",
    "hostname", "id", "ifconfig", "ip", "kill", "ln", "ls", "mkdir", "mknod", "mount", "nc",
    "printf", "ps", "pwd", "readlink", "rm", "sed", "seq", "setsid", "sh", "sleep", "sort", "stat",
    "stty", "tail", "test", "touch", "tr", "true", "tty", "umount", "uname", "wc", "yes",
];

/// A bundle directory.
#[derive(Debug)]
pub struct Bundle {
    directory: PathBuf,
    spec: Value,
    files: BTreeMap<PathBuf, String>,
    expected: Vec<PathBuf>,
}

impl Bundle {
    /// Makes a bundle in `directory`, which must not exist, whose rootfs holds busybox.
    ///
    /// # Panics
    /// When busybox-static is not installed or the directory cannot be filled.
    #[must_use]
    pub fn busybox(directory: PathBuf, cgroups_path: &str) -> Self {
        let mut bundle = Self::empty(directory, cgroups_path);
        for directory in [
            "bin", "dev", "etc", "proc", "sys", "root", "mnt", "var", "home",
        ] {
            bundle.directory(directory, 0o755);
        }
        bundle.directory("tmp", 0o1777);
        bundle.copy(BUSYBOX, "bin/busybox");
        for applet in APPLETS {
            bundle.link("busybox", &format!("bin/{applet}"));
        }
        bundle.file(
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n",
            0o644,
        );
        bundle.file("etc/group", "root:x:0:\nuser:x:1000:\n", 0o644);
        bundle
    }

    /// Makes a bundle in `directory` with an empty rootfs.
    ///
    /// # Panics
    /// When the directory exists or cannot be made.
    #[must_use]
    pub fn empty(directory: PathBuf, cgroups_path: &str) -> Self {
        fs::create_dir(&directory).expect("create the bundle directory");
        let spec = default_spec(cgroups_path);
        let mut bundle = Self {
            directory,
            spec,
            files: BTreeMap::new(),
            expected: Vec::new(),
        };
        bundle.directory("", 0o755);
        bundle.edit(|_| {});
        bundle
    }

    /// The bundle directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// The root file system.
    #[must_use]
    pub fn rootfs(&self) -> PathBuf {
        self.directory.join("rootfs")
    }

    /// The configuration as written last by [`Bundle::edit`].
    #[must_use]
    pub fn spec(&self) -> &Value {
        &self.spec
    }

    /// Changes the configuration and writes it.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn edit(&mut self, change: impl FnOnce(&mut Value)) -> &mut Self {
        change(&mut self.spec);
        let text = serde_json::to_string_pretty(&self.spec).expect("a configuration in JSON");
        self.config(&text)
    }

    /// Writes `text` as the configuration, whatever it is.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn config(&mut self, text: &str) -> &mut Self {
        let path = self.directory.join("config.json");
        fs::write(&path, text).expect("write config.json");
        self.note(&path);
        self
    }

    /// Sets the words of the command.
    pub fn args(&mut self, args: &[&str]) -> &mut Self {
        self.edit(|spec| spec["process"]["args"] = json!(args))
    }

    /// Sets the command to `/bin/sh -c SCRIPT`.
    pub fn sh(&mut self, script: &str) -> &mut Self {
        self.args(&["/bin/sh", "-c", script])
    }

    /// Makes the root writable.
    pub fn writable(&mut self) -> &mut Self {
        self.edit(|spec| spec["root"]["readonly"] = json!(false))
    }

    /// Adds a mount after the others.
    pub fn mount(&mut self, mount: Value) -> &mut Self {
        self.edit(|spec| {
            spec["mounts"]
                .as_array_mut()
                .expect("mounts is an array")
                .push(mount);
        })
    }

    /// Changes the configuration as `runc spec --rootless` does: a user namespace in which `user` alone is mapped, to root, no
    /// network of its own, no cgroup and no limits.
    pub fn rootless(&mut self, user: u32) -> &mut Self {
        let mapping = json!([{ "containerID": 0, "hostID": user, "size": 1 }]);
        self.namespace(json!({ "type": "user" }));
        self.without_namespace("network");
        self.edit(|spec| {
            let linux = spec["linux"].as_object_mut().expect("linux is an object");
            linux.remove("cgroupsPath");
            linux.remove("resources");
            linux.insert("uidMappings".to_owned(), mapping.clone());
            linux.insert("gidMappings".to_owned(), mapping);
            let mounts = spec["mounts"].as_array_mut().expect("mounts is an array");
            mounts.retain(|mount| mount["destination"] != "/sys/fs/cgroup");
            for mount in mounts {
                if mount["destination"] == "/sys" {
                    // sysfs belongs to the network namespace
                    *mount = json!({
                        "destination": "/sys", "type": "none", "source": "/sys",
                        "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]
                    });
                }
                if mount["destination"] == "/dev/pts" {
                    // group 5 is not mapped
                    mount["options"] = json!([
                        "nosuid",
                        "noexec",
                        "newinstance",
                        "ptmxmode=0666",
                        "mode=0620"
                    ]);
                }
            }
        })
    }

    /// Replaces the capability sets by these (bounding, effective and permitted).
    pub fn capabilities(&mut self, names: &[&str]) -> &mut Self {
        self.edit(|spec| {
            spec["process"]["capabilities"] =
                json!({ "bounding": names, "effective": names, "permitted": names });
        })
    }

    /// Adds a namespace, or replaces the one of its type by one with a path.
    pub fn namespace(&mut self, namespace: Value) -> &mut Self {
        self.edit(|spec| {
            let namespaces = spec["linux"]["namespaces"]
                .as_array_mut()
                .expect("namespaces is an array");
            namespaces.retain(|old| old["type"] != namespace["type"]);
            namespaces.push(namespace);
        })
    }

    /// Takes a namespace away.
    pub fn without_namespace(&mut self, kind: &str) -> &mut Self {
        self.edit(|spec| {
            let namespaces = spec["linux"]["namespaces"]
                .as_array_mut()
                .expect("namespaces is an array");
            namespaces.retain(|namespace| namespace["type"] != kind);
        })
    }

    /// Writes a file below the rootfs.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn file(&mut self, path: &str, content: &str, mode: u32) -> &mut Self {
        let path = self.rootfs().join(path);
        fs::write(&path, content).expect("write a file of the rootfs");
        fs::set_permissions(&path, Permissions::from_mode(mode))
            .expect("chmod a file of the rootfs");
        self.note(&path)
    }

    /// Copies a file of this machine, with its mode, below the rootfs.
    ///
    /// # Panics
    /// When it cannot be copied.
    pub fn copy(&mut self, from: impl AsRef<Path>, path: &str) -> &mut Self {
        let (from, path) = (from.as_ref(), self.rootfs().join(path));
        if let Err(error) = fs::copy(from, &path) {
            panic!("copy {} to {}: {error}", from.display(), path.display());
        }
        self.note(&path)
    }

    /// Makes a directory below the rootfs, with its parents.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn directory(&mut self, path: &str, mode: u32) -> &mut Self {
        let path = self.rootfs().join(path);
        fs::create_dir_all(&path).expect("create a directory of the rootfs");
        fs::set_permissions(&path, Permissions::from_mode(mode))
            .expect("chmod a directory of the rootfs");
        let above: Vec<_> = path
            .ancestors()
            .take_while(|p| *p != self.directory)
            .map(Path::to_owned)
            .collect();
        for path in above {
            self.note(&path);
        }
        self
    }

    /// Makes a symbolic link below the rootfs.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn link(&mut self, target: &str, path: &str) -> &mut Self {
        let path = self.rootfs().join(path);
        symlink(target, &path).expect("create a link of the rootfs");
        self.note(&path)
    }

    /// Tells the leftover check that `path` (below the bundle) is the container's to make or change.
    pub fn expect(&mut self, path: &str) -> &mut Self {
        self.expected.push(self.directory.join(path));
        self
    }

    /// Takes the present state of `path`, with everything below it, as the state to compare with.
    pub fn note(&mut self, path: &Path) -> &mut Self {
        self.files.insert(path.to_owned(), describe(path));
        self
    }

    /// Takes the present state of the whole bundle as the state to compare with.
    pub fn note_all(&mut self) -> &mut Self {
        self.files = snapshot(&self.directory);
        self
    }

    /// How the bundle differs from what the test wrote, in words.
    #[must_use]
    pub fn changes(&self) -> Vec<String> {
        let now = snapshot(&self.directory);
        let excused = |path: &Path| {
            self.expected
                .iter()
                .any(|expected| path.starts_with(expected))
        };
        let paths = self
            .files
            .keys()
            .chain(now.keys().filter(|path| !self.files.contains_key(*path)));
        paths
            .filter(|path| !excused(path))
            .filter_map(|path| match (self.files.get(path), now.get(path)) {
                (Some(_), None) => Some(format!("bundle: {} is gone", path.display())),
                (None, Some(new)) => Some(format!("bundle: {} is new: {new}", path.display())),
                (Some(old), Some(new)) if old != new => {
                    Some(format!("bundle: {} was {old}, is {new}", path.display()))
                }
                _ => None,
            })
            .collect()
    }
}

fn snapshot(top: &Path) -> BTreeMap<PathBuf, String> {
    let mut files = BTreeMap::new();
    let mut stack = vec![top.to_owned()];
    while let Some(directory) = stack.pop() {
        for entry in fs::read_dir(&directory)
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
        {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                stack.push(path.clone());
            }
            files.insert(path.clone(), describe(&path));
        }
    }
    files
}

/// What must not change of a file: times of directories may (mount points are looked up in them), all else may not.
fn describe(path: &Path) -> String {
    let Ok(data) = fs::symlink_metadata(path) else {
        return "absent".to_owned();
    };
    let owner = format!("mode {:o} owner {}:{}", data.mode(), data.uid(), data.gid());
    if data.is_dir() {
        owner
    } else {
        format!(
            "{owner} size {} inode {} mtime {}.{}",
            data.size(),
            data.ino(),
            data.mtime(),
            data.mtime_nsec()
        )
    }
}

/// What `runc spec` prints, without the terminal, with a cgroup of the test's own.
#[must_use]
pub fn default_spec(cgroups_path: &str) -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.0.2-dev",
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": ["/bin/true"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities, "ambient": capabilities
            },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "fragment",
        "mounts": default_mounts(),
        "linux": {
            "cgroupsPath": cgroups_path,
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }
            ],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    })
}

fn default_mounts() -> Value {
    json!([
        { "destination": "/proc", "type": "proc", "source": "proc" },
        {
            "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]
        },
        {
            "destination": "/dev/pts", "type": "devpts", "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
        },
        {
            "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
            "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]
        },
        {
            "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
            "options": ["nosuid", "noexec", "nodev"]
        },
        {
            "destination": "/sys", "type": "sysfs", "source": "sysfs",
            "options": ["nosuid", "noexec", "nodev", "ro"]
        },
        {
            "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
            "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]
        }
    ])
}
