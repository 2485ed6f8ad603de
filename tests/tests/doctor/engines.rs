//! What the engines themselves make of the snippets, where they are installed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use fragment_tests::{child, fragment};
use serde_json::Value;

use super::{MadeUp, lacks};

/// Writes a snippet into `file` for the runtime under test.
fn write(engine: &str, file: &Path) {
    let runtime = fragment::runtime_program();
    let runtime = runtime.to_str().expect("UTF-8");
    let file = file.to_str().expect("UTF-8");
    fragment::call(&[
        "doctor",
        "--write",
        engine,
        "--to",
        file,
        "--runtime",
        runtime,
    ])
    .output()
    .ok();
}

fn output(command: &mut Command) -> Output {
    let mut limited = Command::new("timeout");
    limited
        .arg("60")
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            limited.env(name, value);
        }
    }
    limited.output().expect("run timeout")
}

fn text(output: &Output) -> String {
    format!(
        "{}\nstdout: {}\nstderr: {}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn runtime_path() -> String {
    let path = std::path::absolute(fragment::runtime_program()).expect("a path");
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn podman_takes_the_drop_in() {
    if lacks("/usr/bin/podman") {
        return;
    }
    let machine = MadeUp::new();
    let file = machine.place("/containers.conf");
    write("podman", &file);
    let place = |path: &str| machine.place(path).to_str().expect("UTF-8").to_owned();
    let mut podman = Command::new("/usr/bin/podman");
    podman
        .env("CONTAINERS_CONF", &file)
        .args(["--root", &place("/root"), "--runroot", &place("/run")])
        .args(["--storage-driver", "vfs", "--runtime", "fragment-runc"])
        .args(["info", "--format", "json"]);
    let output = output(&mut podman);
    assert!(output.status.success(), "{}", text(&output));
    let info: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let runtime = &info["host"]["ociRuntime"];
    assert_eq!(runtime["name"], "fragment-runc", "{runtime:#}");
    assert_eq!(runtime["path"], runtime_path(), "{runtime:#}");
    assert!(
        runtime["version"]
            .as_str()
            .is_some_and(|version| version.contains("fragment-runc")),
        "{runtime:#}"
    );
}

#[test]
fn containerd_takes_the_handler_and_keeps_the_rest() {
    if lacks("/usr/bin/containerd") {
        return;
    }
    let machine = MadeUp::new();
    let file = machine.place("/config.toml");
    machine.file(
        "/config.toml",
        "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"]\n  sandbox_image = \"of.the.node/pause:1\"\n",
    );
    write("containerd", &file);
    let mut containerd = Command::new("/usr/bin/containerd");
    containerd
        .arg("--config")
        .arg(&file)
        .args(["config", "dump"]);
    let output = output(&mut containerd);
    assert!(output.status.success(), "{}", text(&output));
    let dump = String::from_utf8_lossy(&output.stdout);
    let (_, handler) = dump
        .split_once("containerd.runtimes.fragment-runc]")
        .unwrap_or_else(|| panic!("no handler in {dump}"));
    for words in [
        format!("BinaryName = \"{}\"", runtime_path()),
        "pod_annotations = [\"dev.fragment.*\"]".to_owned(),
        "container_annotations = [\"dev.fragment.*\"]".to_owned(),
        "runtime_type = \"io.containerd.runc.v2\"".to_owned(),
    ] {
        assert!(handler.contains(&words), "{words}: {dump}");
    }
    assert!(dump.contains("of.the.node/pause:1"), "{dump}");
}

#[test]
fn dockerd_takes_daemon_json() {
    if lacks("/usr/sbin/dockerd") {
        return;
    }
    let help = output(Command::new("/usr/sbin/dockerd").arg("--help"));
    let machine = MadeUp::new();
    let file = machine.place("/daemon.json");
    machine.file("/daemon.json", r#"{"debug": true}"#);
    write("docker", &file);
    let document: Value = serde_json::from_str(&machine.read("/daemon.json")).expect("JSON");
    assert_eq!(document["debug"], true);
    assert_eq!(
        document["runtimes"]["fragment-runc"]["path"],
        runtime_path()
    );
    if text(&help).contains("--validate") {
        let mut dockerd = Command::new("/usr/sbin/dockerd");
        dockerd.arg("--validate").arg("--config-file").arg(&file);
        let output = output(&mut dockerd);
        assert!(output.status.success(), "{}", text(&output));
    } else {
        // --validate came with 23.0: an older one is started
        let runtimes = Dockerd::start(&machine, &file).runtimes();
        assert_eq!(
            runtimes["fragment-runc"]["path"],
            runtime_path(),
            "{runtimes:#}"
        );
    }
}

/// A docker daemon with directories and a socket of its own.
struct Dockerd {
    child: Child,
    socket: String,
    log: PathBuf,
}

impl Dockerd {
    fn start(machine: &MadeUp, configuration: &Path) -> Self {
        let place = |name: &str| machine.place(name);
        let log = place("/log");
        let socket = format!("unix://{}", place("/docker.sock").display());
        let child = Command::new("/usr/sbin/dockerd")
            .arg("--config-file")
            .arg(configuration)
            .arg("--data-root")
            .arg(place("/data"))
            .arg("--exec-root")
            .arg(place("/exec"))
            .arg("--pidfile")
            .arg(place("/pid"))
            .args(["--host", &socket, "--bridge", "none", "--iptables=false"])
            .args(["--storage-driver", "vfs"])
            .stdin(Stdio::null())
            .stdout(File::create(&log).expect("create"))
            .stderr(File::options().append(true).open(&log).expect("open"))
            .spawn()
            .expect("start dockerd");
        Self { child, socket, log }
    }

    /// What it says its runtimes are, as soon as it says anything.
    fn runtimes(&self) -> Value {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let mut docker = Command::new("/usr/bin/docker");
            docker.args([
                "--host",
                &self.socket,
                "info",
                "--format",
                "{{json .Runtimes}}",
            ]);
            let output = output(&mut docker);
            if let Ok(runtimes @ Value::Object(_)) = serde_json::from_slice(&output.stdout) {
                return runtimes;
            }
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            assert!(Instant::now() < deadline, "{}\n{log}", text(&output));
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        // it ends its own containerd; killed, it could not
        let _ = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status();
        let _ = child::wait(&mut self.child, Duration::from_secs(60));
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
