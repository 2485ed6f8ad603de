//! `spec`

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use anyhow::Context as _;
use fragment::start::ExitCode;
use serde_json::{Value, json};

use crate::arguments::SpecArguments;
use crate::runtime::SPEC_VERSION;

pub(crate) fn spec(arguments: &SpecArguments) -> anyhow::Result<ExitCode> {
    let path = arguments.bundle.join("config.json");
    let text = format!(
        "{}\n",
        serde_json::to_string_pretty(&document(arguments.rootless))?
    );
    // never over a file that is there: somebody wrote it
    let file = OpenOptions::new().write(true).create_new(true).open(&path);
    let mut file = file.with_context(|| {
        if path.exists() {
            format!("File {} exists. Remove it first", path.display())
        } else {
            format!("create {}", path.display())
        }
    })?;
    file.write_all(text.as_bytes())
        .with_context(|| format!("write {}", path.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// What runc's `spec` writes: a shell with three capabilities in a read-only rootfs.
fn document(rootless: bool) -> Value {
    let capabilities = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    let mut document = json!({
        "ociVersion": SPEC_VERSION,
        "process": {
            "terminal": true,
            "user": { "uid": 0, "gid": 0 },
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "fragment-runc",
        "mounts": mounts(),
        "linux": {
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
    });
    if rootless {
        without_root(&mut document);
    }
    // runc's rule: on cgroup v1 the namespace hides too little to be worth it
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
        && let Some(namespaces) = document["linux"]["namespaces"].as_array_mut()
    {
        namespaces.push(json!({ "type": "cgroup" }));
    }
    document
}

fn mounts() -> Vec<Value> {
    let mut mounts = fragment::task::default_mounts();
    mounts.push(json!(
        { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
          "options": ["nosuid", "noexec", "nodev", "relatime", "ro"] }
    ));
    mounts
}

/// A user namespace with the caller as root, no network of its own (then /sys cannot be mounted, only bound) and no limits.
fn without_root(document: &mut Value) {
    let mapping = |id: u32| json!([{ "containerID": 0, "hostID": id, "size": 1 }]);
    let linux = &mut document["linux"];
    linux["uidMappings"] = mapping(rustix::process::geteuid().as_raw());
    linux["gidMappings"] = mapping(rustix::process::getegid().as_raw());
    linux["namespaces"] = json!([
        { "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }, { "type": "user" }
    ]);
    if let Some(linux) = linux.as_object_mut() {
        linux.remove("resources");
    }
    let Some(mounts) = document["mounts"].as_array_mut() else {
        return;
    };
    for mount in mounts {
        if mount["destination"] == "/sys" {
            *mount = json!({ "destination": "/sys", "type": "none", "source": "/sys",
                             "options": ["rbind", "nosuid", "noexec", "nodev", "ro"] });
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
}
