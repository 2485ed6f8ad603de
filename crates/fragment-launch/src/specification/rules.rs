//! What a specification must not say, in runc's words: engines and people search for them.
//!
//! libcontainer checks some of this too, later and in its own words.

use std::io;
use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::{Linux, LinuxNamespaceType, Process, Spec};
use rustix::fs::Stat;
use thiserror::Error;

use crate::specification::derived::empty_linux;

/// A rule of the specification, or of the kernel, that is broken.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RuleError {
    /// A name without a namespace of its own would be the host's.
    #[error("unable to set {0} without a private UTS namespace")]
    HostName(&'static str),
    /// Masks without mounts of its own would be the host's.
    #[error("unable to restrict sys entries without a private MNT namespace")]
    Restrictions,
    /// A label for a kernel without SELinux.
    #[error("{0}: selinux label is specified in config, but selinux is disabled or not supported")]
    Selinux(&'static str),
    /// A profile for a kernel without AppArmor.
    #[error(
        "process.apparmorProfile: apparmor profile {0:?} is specified in config, but apparmor is not enabled on the system"
    )]
    AppArmor(String),
    /// A user namespace that cannot be made or joined.
    #[error(
        "user namespaces enabled, but no namespace path to join nor mappings to apply specified"
    )]
    NoMappings,
    /// One list of mappings without the other.
    #[error("user namespaces enabled, but no {0} mappings found")]
    OneMapping(&'static str),
    /// Mappings and no namespace.
    #[error("user namespace mappings specified, but user namespace isn't enabled in the config")]
    MappingsWithoutNamespace,
    /// Mappings of a namespace that has its own already.
    #[error(
        "user namespaces enabled, but both namespace path and non-matching mapping specified -- you may only provide one"
    )]
    MappingsAndPath,
    /// Offsets and no time namespace.
    #[error("time namespace offsets specified, but time namespace isn't enabled in the config")]
    OffsetsWithoutNamespace,
    /// Offsets of a namespace that has its own already.
    #[error(
        "time namespace enabled, but both namespace path and time offsets specified -- you may only provide one"
    )]
    OffsetsAndPath,
    /// A sysctl of the host's IPC namespace.
    #[error("sysctl {0:?} is not allowed in the hosts ipc namespace")]
    SysctlIpc(String),
    /// A sysctl of the host's network.
    #[error("sysctl {0:?} not allowed in host network namespace")]
    SysctlNetwork(String),
    /// A sysctl with a key of its own in the specification.
    #[error("sysctl {0:?} is not allowed as it conflicts with the OCI \"hostname\" field")]
    SysctlHostname(String),
    /// A sysctl of the host's users.
    #[error("setting ucounts without a user namespace not allowed: {0}")]
    SysctlUser(String),
    /// A sysctl of the whole machine.
    #[error("sysctl {0:?} is not in a separate kernel namespace")]
    Sysctl(String),
    /// The network namespace to join.
    #[error("invalid netns path: stat {path}", path = .path.display())]
    NetworkPath {
        /// As given.
        path: PathBuf,
        /// The errno.
        #[source]
        source: io::Error,
    },
    /// One resource limited twice (config.md, "rlimits").
    #[error("process.rlimits: duplicate entry for {0}")]
    DuplicateRlimit(String),
    /// Resource Director Technology where there is none.
    #[error("intelRdt.{0} is specified in config, but Intel RDT/{1} is not enabled")]
    IntelRdt(&'static str, &'static str),
    /// A name that is no directory's.
    #[error("invalid intelRdt.ClosID {0:?}")]
    ClosId(String),
}

/// Checks what concerns the container as a whole.
pub(crate) fn check(spec: &Spec) -> Result<(), RuleError> {
    let linux = spec.linux().clone().unwrap_or_else(empty_linux);
    let namespaces = Namespaces(&linux);
    for (name, key) in [
        (spec.hostname(), "hostname"),
        (spec.domainname(), "domainname"),
    ] {
        if is_given(name.as_deref()) && !namespaces.has(LinuxNamespaceType::Uts) {
            return Err(RuleError::HostName(key));
        }
    }
    let any = |paths: &Option<Vec<String>>| paths.as_ref().is_some_and(|paths| !paths.is_empty());
    if (any(linux.masked_paths()) || any(linux.readonly_paths()))
        && !namespaces.has(LinuxNamespaceType::Mount)
    {
        return Err(RuleError::Restrictions);
    }
    if is_given(linux.mount_label().as_deref()) && !selinux_enabled() {
        return Err(RuleError::Selinux("linux.mountLabel"));
    }
    check_users(&linux, &namespaces)?;
    check_time(&linux, &namespaces)?;
    check_sysctls(&linux, &namespaces)?;
    check_intel_rdt(&linux)
}

/// Checks a process, be it a container's first or one of exec.
pub(crate) fn check_process(process: &Process) -> Result<(), RuleError> {
    if is_given(process.selinux_label().as_deref()) && !selinux_enabled() {
        return Err(RuleError::Selinux("process.selinuxLabel"));
    }
    if let Some(profile) = process.apparmor_profile().as_deref()
        && !profile.is_empty()
        && !apparmor_enabled()
    {
        return Err(RuleError::AppArmor(profile.to_owned()));
    }
    let mut seen = Vec::new();
    for limit in process.rlimits().iter().flatten() {
        if seen.contains(&limit.typ()) {
            return Err(RuleError::DuplicateRlimit(limit.typ().to_string()));
        }
        seen.push(limit.typ());
    }
    Ok(())
}

fn is_given(text: Option<&str>) -> bool {
    text.is_some_and(|text| !text.is_empty())
}

/// Whether labels mean anything to this kernel (is_selinux_enabled(3)).
pub(crate) fn selinux_enabled() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

fn apparmor_enabled() -> bool {
    std::fs::read_to_string("/sys/module/apparmor/parameters/enabled")
        .is_ok_and(|text| text.starts_with('Y'))
}

struct Namespaces<'linux>(&'linux Linux);

impl Namespaces<'_> {
    fn find(&self, kind: LinuxNamespaceType) -> Option<Option<&Path>> {
        let mut namespaces = self.0.namespaces().iter().flatten();
        let found = namespaces.find(|namespace| namespace.typ() == kind)?;
        let path = found.path().as_deref();
        Some(path.filter(|path| !path.as_os_str().is_empty()))
    }

    fn has(&self, kind: LinuxNamespaceType) -> bool {
        self.find(kind).is_some()
    }
}

fn check_users(linux: &Linux, namespaces: &Namespaces<'_>) -> Result<(), RuleError> {
    let given = |mappings: &Option<Vec<_>>| mappings.as_ref().is_some_and(|list| !list.is_empty());
    let (uid, gid) = (given(linux.uid_mappings()), given(linux.gid_mappings()));
    match namespaces.find(LinuxNamespaceType::User) {
        None if uid || gid => Err(RuleError::MappingsWithoutNamespace),
        Some(Some(path)) if (uid || gid) && !is_mapped_so(path, linux) => {
            Err(RuleError::MappingsAndPath)
        }
        Some(None) if !uid && !gid => Err(RuleError::NoMappings),
        Some(None) if !uid => Err(RuleError::OneMapping("uid")),
        Some(None) if !gid => Err(RuleError::OneMapping("gid")),
        _ => Ok(()),
    }
}

/// Whether the namespace at `/proc/PID/ns/user` has the mappings that are given as well: the same thing said twice is no
/// contradiction. Of a path elsewhere nobody can tell.
fn is_mapped_so(path: &Path, linux: &Linux) -> bool {
    let Some(process) = path.parent().and_then(Path::parent) else {
        return false;
    };
    let files = [
        ("uid_map", linux.uid_mappings()),
        ("gid_map", linux.gid_mappings()),
    ];
    files.into_iter().all(|(file, mappings)| {
        let Ok(text) = std::fs::read_to_string(process.join(file)) else {
            return !path.starts_with("/proc");
        };
        let numbers =
            |line: &str| -> Vec<String> { line.split_whitespace().map(str::to_owned).collect() };
        let has: Vec<Vec<String>> = text.lines().map(numbers).collect();
        let wants = mappings.iter().flatten().map(|mapping| {
            [mapping.container_id(), mapping.host_id(), mapping.size()]
                .map(|number| number.to_string())
                .to_vec()
        });
        wants.eq(has)
    })
}

fn check_time(linux: &Linux, namespaces: &Namespaces<'_>) -> Result<(), RuleError> {
    let offsets = linux.time_offsets().as_ref();
    if offsets.is_none_or(std::collections::HashMap::is_empty) {
        return Ok(());
    }
    match namespaces.find(LinuxNamespaceType::Time) {
        None => Err(RuleError::OffsetsWithoutNamespace),
        Some(Some(_)) => Err(RuleError::OffsetsAndPath),
        Some(None) => Ok(()),
    }
}

/// Keys of System V IPC (ipc_namespaces(7)).
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

fn check_sysctls(linux: &Linux, namespaces: &Namespaces<'_>) -> Result<(), RuleError> {
    for key in linux.sysctl().iter().flatten().map(|(key, _)| key) {
        let key = with_dots(key);
        let uts = namespaces.has(LinuxNamespaceType::Uts);
        if IPC.contains(&key.as_str()) || key.starts_with("fs.mqueue.") {
            if !namespaces.has(LinuxNamespaceType::Ipc) {
                return Err(RuleError::SysctlIpc(key));
            }
        } else if key.starts_with("net.") {
            if is_hosts_network(namespaces.find(LinuxNamespaceType::Network))? {
                return Err(RuleError::SysctlNetwork(key));
            }
        } else if key.starts_with("user.") {
            if !namespaces.has(LinuxNamespaceType::User) {
                return Err(RuleError::SysctlUser(key));
            }
        } else if uts && key == "kernel.hostname" {
            return Err(RuleError::SysctlHostname(key));
        } else if !uts || key != "kernel.domainname" {
            return Err(RuleError::Sysctl(key));
        }
    }
    Ok(())
}

/// A key with dots between its parts; one that is written with slashes may hold dots, which then stand for slashes
/// (sysctl.d(5)).
fn with_dots(key: &str) -> String {
    let first = key.find(['.', '/']);
    if first.is_none_or(|index| key.as_bytes()[index] == b'.') {
        return key.to_owned();
    }
    let swapped = key.chars().map(|character| match character {
        '.' => '/',
        '/' => '.',
        other => other,
    });
    swapped.collect()
}

fn is_hosts_network(network: Option<Option<&Path>>) -> Result<bool, RuleError> {
    let path = match network {
        None => return Ok(true),
        Some(None) => return Ok(false),
        Some(Some(path)) => path,
    };
    let look = |path: &Path| -> Result<Stat, RuleError> {
        rustix::fs::stat(path).map_err(|errno| RuleError::NetworkPath {
            path: path.to_owned(),
            source: errno.into(),
        })
    };
    let (own, joined) = (look(Path::new("/proc/self/ns/net"))?, look(path)?);
    Ok((own.st_dev, own.st_ino) == (joined.st_dev, joined.st_ino))
}

fn check_intel_rdt(linux: &Linux) -> Result<(), RuleError> {
    let Some(rdt) = linux.intel_rdt() else {
        return Ok(());
    };
    if let Some(class) = rdt.clos_id()
        && (class == "." || class == ".." || class.contains('/'))
    {
        return Err(RuleError::ClosId(class.clone()));
    }
    let has = |part: &str| Path::new("/sys/fs/resctrl/info").join(part).is_dir();
    if is_given(rdt.l3_cache_schema().as_deref()) && !has("L3") {
        return Err(RuleError::IntelRdt("l3CacheSchema", "CAT"));
    }
    if is_given(rdt.mem_bw_schema().as_deref()) && !has("MB") {
        return Err(RuleError::IntelRdt("memBwSchema", "MBA"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(linux: &str) -> String {
        let spec = format!(r#"{{"ociVersion":"1.2.0","linux":{linux}}}"#);
        let spec: Spec = serde_json::from_str(&spec).unwrap();
        check(&spec).map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn sysctls_need_their_namespaces() {
        for (key, namespaces, words) in [
            ("kernel.sem", "", "hosts ipc namespace"),
            ("kernel.sem", r#"{"type":"ipc"}"#, ""),
            ("net.ipv4.ip_forward", "", "host network namespace"),
            ("net/ipv4/ip_forward", r#"{"type":"network"}"#, ""),
            (
                "net.ipv4.ip_forward",
                r#"{"type":"network","path":"/proc/self/ns/net"}"#,
                "host network namespace",
            ),
            ("kernel.domainname", r#"{"type":"uts"}"#, ""),
            ("kernel.hostname", r#"{"type":"uts"}"#, "conflicts"),
            ("user.max_user_namespaces", "", "ucounts"),
            (
                "vm.swappiness",
                r#"{"type":"ipc"}"#,
                "separate kernel namespace",
            ),
        ] {
            let said = broken(&format!(
                r#"{{"namespaces":[{namespaces}],"sysctl":{{"{key}":"1"}}}}"#
            ));
            assert!(
                said.contains(words) && said.is_empty() == words.is_empty(),
                "{key}: {said}"
            );
        }
    }

    #[test]
    fn a_key_with_slashes_keeps_its_dots_apart() {
        assert_eq!(
            with_dots("net/ipv4/conf/eno2.100/rp_filter"),
            "net.ipv4.conf.eno2/100.rp_filter"
        );
        assert_eq!(with_dots("net.ipv4.ip_forward"), "net.ipv4.ip_forward");
    }

    #[test]
    fn mappings_and_namespaces_belong_together() {
        let one = r#"[{"containerID":0,"hostID":0,"size":1}]"#;
        let user = r#"[{"type":"user"}]"#;
        for (linux, words) in [
            (format!(r#"{{"uidMappings":{one}}}"#), "isn't enabled"),
            (format!(r#"{{"namespaces":{user}}}"#), "nor mappings"),
            (
                format!(r#"{{"namespaces":{user},"uidMappings":{one}}}"#),
                "no gid mappings",
            ),
            (
                format!(
                    r#"{{"namespaces":[{{"type":"user","path":"/proc/self/ns/user"}}],"uidMappings":{one},"gidMappings":{one}}}"#
                ),
                "non-matching mapping",
            ),
        ] {
            assert!(broken(&linux).contains(words), "{linux}");
        }
    }

    #[test]
    fn masks_without_mounts_of_its_own_would_be_the_hosts() {
        assert!(broken(r#"{"maskedPaths":["/proc/kcore"]}"#).contains("MNT namespace"));
        assert_eq!(broken(r#"{"maskedPaths":[]}"#), "");
    }

    #[test]
    fn resources_without_hardware_are_refused() {
        assert!(broken(r#"{"intelRdt":{"closID":"a/b"}}"#).contains("ClosID"));
    }
}
