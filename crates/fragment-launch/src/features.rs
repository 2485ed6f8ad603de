//! What this runtime can do, as the specification's `features` document tells engines.

use serde_json::{Value, json};

use crate::records::state::OCI_VERSION as SPEC_VERSION;

/// Namespaces a container can have.
const NAMESPACES: [&str; 8] = [
    "cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts",
];

/// Mount options the runtime itself knows; all others are the file system's.
const MOUNT_OPTIONS: [&str; 61] = [
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "idmap",
    "lazytime",
    "loud",
    "mand",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "nolazytime",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "notmpcopyup",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "remount",
    "rexec",
    "ridmap",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnostrictatime",
    "rnosuid",
    "rnosymfollow",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "rsymfollow",
    "runbindable",
    "rw",
    "shared",
    "silent",
    "slave",
    "strictatime",
    "suid",
    "symfollow",
    "sync",
    "tmpcopyup",
    "unbindable",
];

const SECCOMP_ACTIONS: [&str; 9] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];

const SECCOMP_OPERATORS: [&str; 7] = [
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_LE",
    "SCMP_CMP_LT",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_CMP_NE",
];

/// In the order of linux/capability.h, without the prefix.
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What the oldest libseccomp knows that is linked (2.5), of this machine's byte order: it mixes none in one filter.
const SECCOMP_ARCHITECTURES: [&str; 10] = [
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
];

const SECCOMP_FLAGS: [&str; 4] = [
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];

/// set_mempolicy(2).
const MEMORY_MODES: [&str; 7] = [
    "MPOL_BIND",
    "MPOL_DEFAULT",
    "MPOL_INTERLEAVE",
    "MPOL_LOCAL",
    "MPOL_PREFERRED",
    "MPOL_PREFERRED_MANY",
    "MPOL_WEIGHTED_INTERLEAVE",
];

const MEMORY_FLAGS: [&str; 3] = [
    "MPOL_F_NUMA_BALANCING",
    "MPOL_F_RELATIVE_NODES",
    "MPOL_F_STATIC_NODES",
];

/// The `features` document (runtime-spec, features.md). What it claims is tried by the tests `features::*` of `tests/`.
#[must_use]
pub fn document() -> Value {
    let capabilities: Vec<String> = CAPABILITIES
        .iter()
        .map(|name| format!("CAP_{name}"))
        .collect();
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPEC_VERSION,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": MOUNT_OPTIONS.as_slice(),
        "linux": {
            "namespaces": NAMESPACES.as_slice(),
            "capabilities": capabilities,
            "cgroup": { "v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true },
            "seccomp": {
                "enabled": true,
                "actions": SECCOMP_ACTIONS.as_slice(),
                "operators": SECCOMP_OPERATORS.as_slice(),
                "archs": SECCOMP_ARCHITECTURES.as_slice(),
                "knownFlags": SECCOMP_FLAGS.as_slice(),
                "supportedFlags": SECCOMP_FLAGS.as_slice()
            },
            "apparmor": { "enabled": true },
            "selinux": { "enabled": true },
            "intelRdt": { "enabled": true },
            "memoryPolicy": { "modes": MEMORY_MODES.as_slice(), "flags": MEMORY_FLAGS.as_slice() },
            "mountExtensions": { "idmap": { "enabled": true } },
            "netDevices": { "enabled": true }
        },
        "annotations": annotations(),
        "potentiallyUnsafeConfigAnnotations": ["dev.fragment.", "org.criu.config", "org.systemd.property."]
    })
}

/// What this runtime has beyond others, and the versions of what it is made of.
fn annotations() -> Value {
    json!({
        "dev.fragment.version": env!("CARGO_PKG_VERSION"),
        // a bundle that lacks files gets them from components below its root; dev.fragment.* annotations steer that
        "dev.fragment.compose": "true",
        "dev.fragment.checkpoint.enabled": "true",
        "io.github.seccomp.libseccomp.version": libseccomp()
    })
}

/// The version that is linked.
fn libseccomp() -> String {
    libseccomp::ScmpVersion::current().map_or_else(|_| "unknown".to_owned(), |it| it.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use libcontainer::oci_spec::runtime::{
        Arch, Capability, LinuxNamespaceType, LinuxSeccompAction, LinuxSeccompFilterFlag,
        LinuxSeccompOperator, MemoryPolicyFlagType, MemoryPolicyModeType,
    };
    use serde::de::DeserializeOwned;

    fn known<T: DeserializeOwned>(names: &[&str]) {
        for name in names {
            let value = Value::from(*name);
            assert!(serde_json::from_value::<T>(value).is_ok(), "{name}");
        }
    }

    #[test]
    fn every_name_is_one_that_config_json_may_hold() {
        known::<LinuxNamespaceType>(&NAMESPACES);
        known::<LinuxSeccompAction>(&SECCOMP_ACTIONS);
        known::<LinuxSeccompOperator>(&SECCOMP_OPERATORS);
        known::<LinuxSeccompFilterFlag>(&SECCOMP_FLAGS);
        known::<Arch>(&SECCOMP_ARCHITECTURES);
        known::<MemoryPolicyModeType>(&MEMORY_MODES);
        known::<MemoryPolicyFlagType>(&MEMORY_FLAGS);
        for name in CAPABILITIES {
            let value = Value::from(format!("CAP_{name}"));
            assert!(
                serde_json::from_value::<Capability>(value).is_ok(),
                "{name}"
            );
        }
    }

    #[test]
    fn lists_are_in_order_and_hold_nothing_twice() {
        for list in [
            &MOUNT_OPTIONS[..],
            &SECCOMP_ARCHITECTURES,
            &SECCOMP_ACTIONS,
            &NAMESPACES,
        ] {
            assert!(list.is_sorted_by(|a, b| a < b), "{list:?}");
        }
    }
}
