//! A bundle with a static busybox and a state directory of its own, removed with everything in it.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Debian's package busybox-static.
const BUSYBOX: &str = "/usr/bin/busybox";
const APPLETS: [&str; 15] = [
    "sh", "readlink", "true", "sleep", "cat", "echo", "id", "pwd", "env", "mknod", "ls", "touch",
    "kill", "grep", "stat",
];

/// One test's world.
pub(crate) struct World {
    directory: tempfile::TempDir,
    id: String,
}

impl World {
    /// A bundle that runs `args`.
    pub(crate) fn new(args: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let id = format!("trap-{}-{count}", std::process::id());
        let world = Self {
            directory: tempfile::tempdir().unwrap(),
            id,
        };
        fs::create_dir_all(world.rootfs().join("bin")).unwrap();
        fs::copy(BUSYBOX, world.rootfs().join("bin/busybox"))
            .expect("apt-get install busybox-static");
        for applet in APPLETS {
            symlink("busybox", world.rootfs().join("bin").join(applet)).unwrap();
        }
        world.write(&config(args));
        world
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn bundle(&self) -> PathBuf {
        self.directory.path().join("bundle")
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.bundle().join("rootfs")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Our record of the container.
    pub(crate) fn record(&self) -> PathBuf {
        self.state()
            .join(".fragment")
            .join(&self.id)
            .join("record.json")
    }

    /// Changes the specification.
    pub(crate) fn edit(&self, change: impl FnOnce(&mut Value)) {
        let text = fs::read(self.bundle().join("config.json")).unwrap();
        let mut config: Value = serde_json::from_slice(&text).unwrap();
        change(&mut config);
        self.write(&config);
    }

    fn write(&self, config: &Value) {
        fs::write(self.bundle().join("config.json"), config.to_string()).unwrap();
    }

    /// The runtime with this world's state directory.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fragment-runc"));
        command.arg("--root").arg(self.state()).stdin(Stdio::null());
        command
    }

    /// Runs the runtime, with files for output: a container keeps pipes open.
    pub(crate) fn call(&self, arguments: &[&str]) -> Answer {
        let (out, err) = (self.file("stdout"), self.file("stderr"));
        let status = self
            .command()
            .args(arguments)
            .stdout(fs::File::create(&out).unwrap())
            .stderr(fs::File::create(&err).unwrap())
            .status()
            .unwrap();
        let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        Answer {
            code: status.code(),
            stdout: read(&out),
            stderr: read(&err),
        }
    }

    pub(crate) fn run(&self) -> Answer {
        self.call(&["run", "-b", self.bundle().to_str().unwrap(), self.id()])
    }

    pub(crate) fn create(&self) -> Answer {
        self.call(&["create", "-b", self.bundle().to_str().unwrap(), self.id()])
    }

    pub(crate) fn up(&self) {
        self.create().good();
        self.call(&["start", self.id()]).good();
    }

    pub(crate) fn status(&self) -> String {
        let state = self.call(&["state", self.id()]).good();
        let state: Value = serde_json::from_str(&state.stdout).unwrap();
        state["status"].as_str().unwrap().to_owned()
    }

    pub(crate) fn pid(&self) -> i32 {
        let record: Value = serde_json::from_slice(&fs::read(self.record()).unwrap()).unwrap();
        i32::try_from(record["init"]["pid"].as_i64().unwrap()).unwrap()
    }

    /// Nothing of the container is in the state directory or below any cgroup.
    pub(crate) fn assert_clean(&self) {
        let left: Vec<PathBuf> = files(&self.state())
            .into_iter()
            .filter(|path| path.ends_with(&self.id))
            .collect();
        assert!(left.is_empty(), "left in the state directory: {left:?}");
        let cgroups = self.cgroups();
        assert!(cgroups.is_empty(), "left cgroups: {cgroups:?}");
    }

    fn cgroups(&self) -> Vec<PathBuf> {
        let name = format!("fragment-{}", self.id);
        let hierarchies = fs::read_dir("/sys/fs/cgroup")
            .unwrap()
            .filter_map(Result::ok);
        hierarchies
            .map(|entry| entry.path().join(&name))
            .filter(|path| path.exists())
            .collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self
            .command()
            .args(["delete", "--force", &self.id])
            .output();
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
    {
        found.push(entry.path());
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        }
    }
    found
}

/// What a call of the runtime came to.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn good(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn bad(self, words: &str) -> Self {
        assert!(self.code.is_some_and(|code| code != 0), "{self:?}");
        assert!(self.stderr.contains(words), "{words:?} not in {self:?}");
        self
    }
}

/// Waits until something is so; fails when it is not within ten seconds.
#[track_caller]
pub(crate) fn eventually(what: &str, so: impl Fn() -> bool) {
    let started = Instant::now();
    while !so() {
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "not within 10 s: {what}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for a child for at most `patience`; `None` when it still runs.
pub(crate) fn wait(child: &mut std::process::Child, patience: Duration) -> Option<i32> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if started.elapsed() > patience {
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[allow(dead_code)]
pub(crate) fn output(command: &mut Command) -> Output {
    command.output().unwrap()
}

fn config(args: &[&str]) -> Value {
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": { "uid": 0, "gid": 0 },
            "args": args,
            "env": ["PATH=/bin"],
            "cwd": "/",
            "capabilities": {
                "bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]
            }
        },
        "root": { "path": "rootfs" },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"] }
        ],
        "linux": {
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }
            ]
        }
    })
}
