//! One test's world: a unique id, a bundle, a runtime with its own state directory, and the check at the end that nothing is
//! left of it.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::bundle::Bundle;
use crate::child;
use crate::console::{Socket, Terminal};
use crate::leftovers;
use crate::runtime::{Call, Output, Runtime};

/// The end of a shell script that goes on for ever and runs traps at once.
pub const FOREVER: &str = "echo > /dev/shm/ready; while :; do sleep 1000 & wait $!; done";

/// The unprivileged user of [`Scene::rootless`]; nothing of it is needed on this machine.
pub const USER: u32 = 1000;

/// One test's world. When it is dropped, it panics if anything is left of the test's containers (see [`leftovers`]) or if
/// the bundle was changed; a test that failed already is only cleaned up after.
#[derive(Debug)]
pub struct Scene {
    /// The container's id.
    pub id: String,
    /// Its bundle.
    pub bundle: Bundle,
    /// The runtime under test.
    pub runtime: Runtime,
    directory: tempfile::TempDir,
    pinned: Vec<String>,
}

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}

impl Scene {
    /// A scene whose bundle runs `/bin/true` of busybox.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Bundle::busybox)
    }

    /// A scene whose bundle has an empty rootfs.
    #[must_use]
    pub fn empty() -> Self {
        Self::with(Bundle::empty)
    }

    /// A scene whose rootfs holds this machine's `program` at its own path, and nothing else.
    ///
    /// # Panics
    /// When `program` is no absolute path of a file.
    #[must_use]
    pub fn only(program: &str, args: &[&str]) -> Self {
        let mut scene = Self::empty();
        let inside = program.trim_start_matches('/');
        let parent = Path::new(inside).parent().and_then(Path::to_str);
        scene.bundle.directory(parent.expect("a parent"), 0o755);
        scene.bundle.copy(program, inside);
        let words: Vec<&str> = [program].into_iter().chain(args.iter().copied()).collect();
        scene.bundle.args(&words).writable();
        scene
    }

    /// A scene whose bundle runs a shell script.
    #[must_use]
    pub fn sh(script: &str) -> Self {
        let mut scene = Self::new();
        scene.bundle.sh(script);
        scene
    }

    /// A scene whose container lives until it is killed.
    ///
    /// `sleep` would do, but pid 1 of a pid namespace ignores signals without a handler (pid_namespaces(7)); the shell ends
    /// with 0 at TERM. See [`Scene::ready`].
    #[must_use]
    pub fn sleeper() -> Self {
        Self::sh(&format!("trap 'exit 0' TERM; {FOREVER}"))
    }

    /// Makes the scene one of an unprivileged user ([`USER`], or the user who runs the test): the runtime is called by it, the
    /// bundle and the state directory belong to it, and the configuration is what `runc spec --rootless` prints, in which
    /// that user alone is mapped, to root.
    ///
    /// # Panics
    /// When the test's directory cannot be given to the user.
    #[must_use]
    pub fn rootless(mut self) -> Self {
        let own = rustix::process::geteuid();
        let user = if own.is_root() { USER } else { own.as_raw() };
        self.runtime = self.runtime.called_by(user);
        self.bundle.rootless(user);
        if own.is_root() {
            give(self.path(), user);
        }
        self.bundle.note_all();
        self
    }

    /// Waits until a script that ends in [`FOREVER`] has got there: its traps are set.
    pub fn ready(&self) -> &Self {
        let mark = format!("/proc/{}/root/dev/shm/ready", self.pid());
        child::until("the container is ready", || Path::new(&mark).exists());
        self
    }

    fn with(bundle: impl FnOnce(PathBuf, &str) -> Bundle) -> Self {
        let id = unique_id();
        let directory = tempfile::Builder::new()
            .prefix("fragment-test-")
            .tempdir()
            .expect("a temporary directory");
        // containers with user namespaces and hooks of other users have to reach the bundle
        fs::set_permissions(
            directory.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .expect("chmod");
        let root = directory.path().join("state");
        fs::create_dir(&root).expect("create the state directory");
        let runtime = Runtime::under_test(root, &id);
        let bundle = bundle(directory.path().join("bundle"), &format!("/{id}"));
        Self {
            id,
            bundle,
            runtime,
            directory,
            pinned: leftovers::pinned_namespaces(),
        }
    }

    /// The test's own directory, for files beside the bundle.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A file beside the bundle.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A second bundle, with the same root file system, for container `ID-name`; returns that id.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn another(&self, name: &str) -> (String, Bundle) {
        let id = format!("{}-{name}", self.id);
        let mut bundle = Bundle::empty(self.file(&format!("bundle-{name}")), &format!("/{id}"));
        let mut spec = self.bundle.spec().clone();
        spec["linux"]["cgroupsPath"] = format!("/{id}").into();
        spec["root"]["path"] = self.bundle.rootfs().to_string_lossy().into();
        bundle.edit(|old| *old = spec);
        (id, bundle)
    }

    /// `RUNTIME --root ROOT ARGUMENTS…`.
    pub fn call<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Call {
        self.runtime.call(arguments)
    }

    /// `VERB OPTIONS… ID`, made.
    #[must_use]
    pub fn verb(&self, verb: &str, options: &[&str]) -> Output {
        self.call([verb]).args(options).args([&self.id]).output()
    }

    /// `run` of the bundle, to be made.
    pub fn run_call(&self, options: &[&str]) -> Call {
        self.call(["run"])
            .args(options)
            .args(["--bundle"])
            .args([self.bundle.path()])
            .args([&self.id])
    }

    /// `run` of the bundle in the foreground.
    #[must_use]
    pub fn run(&self) -> Output {
        self.run_call(&[]).output()
    }

    /// `create` of the bundle, to be made.
    pub fn create_call(&self, options: &[&str]) -> Call {
        self.call(["create"])
            .args(options)
            .args(["--bundle"])
            .args([self.bundle.path()])
            .args([&self.id])
    }

    /// `create` of the bundle.
    #[must_use]
    pub fn create(&self) -> Output {
        self.create_call(&[]).output()
    }

    /// `start`.
    #[must_use]
    pub fn start(&self) -> Output {
        self.verb("start", &[])
    }

    /// `create` and `start`, both well.
    ///
    /// # Panics
    /// When one fails.
    #[track_caller]
    pub fn up(&self) -> &Self {
        self.create().ok();
        self.start().ok();
        self
    }

    /// `create` and `start` of a container with a terminal, whose other end comes through `socket`.
    ///
    /// # Panics
    /// When something fails.
    #[track_caller]
    pub fn up_with_terminal(&self, socket: &Socket) -> Terminal {
        self.create_call(&["--console-socket", socket.path().to_str().expect("UTF-8")])
            .output()
            .ok();
        let terminal = socket.terminal();
        self.start().ok();
        terminal
    }

    /// `state`, which must succeed, as JSON.
    #[must_use]
    #[track_caller]
    pub fn state(&self) -> Value {
        self.verb("state", &[]).ok().json()
    }

    /// The status that `state` reports.
    ///
    /// # Panics
    /// When `state` fails.
    #[must_use]
    #[track_caller]
    pub fn status(&self) -> String {
        self.state()["status"]
            .as_str()
            .expect("a status")
            .to_owned()
    }

    /// The pid that `state` reports.
    ///
    /// # Panics
    /// When `state` fails.
    #[must_use]
    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.state()["pid"]
            .as_u64()
            .and_then(|pid| pid.try_into().ok())
            .expect("a pid")
    }

    /// Waits until `state` reports `stopped`.
    pub fn stopped(&self) -> &Self {
        child::until("the container is stopped", || self.status() == "stopped");
        self
    }

    /// `exec`, to be made: options, then the words of the command.
    pub fn exec_call(&self, options: &[&str], command: &[&str]) -> Call {
        self.call(["exec"])
            .args(options)
            .args([&self.id])
            .args(command)
    }

    /// `exec` of a command.
    #[must_use]
    pub fn exec(&self, command: &[&str]) -> Output {
        self.exec_call(&[], command).output()
    }

    /// `delete --force`, well.
    #[track_caller]
    pub fn delete(&self) {
        self.verb("delete", &["--force"]).ok();
    }

    /// Everything that is left of the test's containers, in words.
    #[must_use]
    pub fn leftovers(&self) -> Vec<String> {
        let mut found = leftovers::of(&self.id, self.directory.path());
        // `ip netns` of somebody else on this machine keeps its own below /run/netns
        let pinned = leftovers::pinned_namespaces().into_iter();
        let pinned =
            pinned.filter(|line| !self.pinned.contains(line) && !line.contains(" /run/netns/"));
        found.extend(pinned.map(|line| format!("namespace {line}")));
        let state = fs::read_dir(self.runtime.root())
            .into_iter()
            .flatten()
            .filter_map(Result::ok);
        found.extend(state.map(|entry| format!("state {}", entry.path().display())));
        found.extend(crate::fragment::leases(&self.id));
        found
    }

    /// Checks in the middle of a test that nothing is left.
    ///
    /// # Panics
    /// When something is.
    #[track_caller]
    pub fn nothing_left(&self) {
        let found = self.leftovers();
        assert!(found.is_empty(), "left behind:\n{}", found.join("\n"));
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let mut found = Vec::new();
        if !std::thread::panicking() {
            found = self.leftovers();
            found.extend(self.bundle.changes());
        }
        leftovers::remove(&self.id, self.directory.path());
        for lease in crate::fragment::leases(&self.id) {
            let _ = fs::remove_file(lease);
        }
        assert!(found.is_empty(), "left behind:\n{}", found.join("\n"));
    }
}

/// Makes `path` and what lies below it the user's.
fn give(path: &Path, user: u32) {
    std::os::unix::fs::lchown(path, Some(user), Some(user)).expect("chown");
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path).expect("read a directory") {
            give(&entry.expect("an entry").path(), user);
        }
    }
}

/// Unique on this machine: tests run as threads of one process or as processes of their own.
fn unique_id() -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let time = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.subsec_nanos());
    format!("ft{}x{count}x{time:x}", std::process::id())
}
