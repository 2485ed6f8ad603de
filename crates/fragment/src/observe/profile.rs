//! A container's system call filter, with a listener.

use std::path::{Path, PathBuf};

use fragment_launch::oci::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSyscall, OciSpecError, Spec,
};

use super::calls;

/// Why a container cannot be observed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// Its filter has a listener of its own, and a process can have one only.
    #[error(
        "the bundle's seccomp profile has a listener of its own ({}), and a process can have one only: observe it without that profile", listener.display()
    )]
    Listener {
        /// Its path.
        listener: PathBuf,
    },
    /// It has no `linux` section.
    #[error("the bundle has no `linux` section to put a seccomp profile in")]
    NoLinux,
    /// A profile that cannot be written.
    #[error("write the seccomp profile")]
    Build(#[from] OciSpecError),
}

/// Has `spec` hand the calls that name files to whoever listens at `listener`, where it allows them: what it forbids stays
/// forbidden.
///
/// # Errors
/// [`ProfileError`].
pub fn listen(spec: &mut Spec, listener: &Path) -> Result<(), ProfileError> {
    let linux = spec.linux_mut().as_mut().ok_or(ProfileError::NoLinux)?;
    let mut profile = linux.seccomp().clone().map_or_else(open, Ok)?;
    let rules = profile.syscalls().clone().unwrap_or_default();
    let notifies = rules
        .iter()
        .any(|rule| rule.action() == LinuxSeccompAction::ScmpActNotify);
    if let Some(listener) = profile.listener_path().clone().filter(|_| notifies) {
        return Err(ProfileError::Listener { listener });
    }
    let is_allowed = |action| action == LinuxSeccompAction::ScmpActAllow;
    let mut changed = Vec::with_capacity(rules.len() + 1);
    let mut unnamed: Vec<String> = calls::names().map(str::to_owned).collect();
    for rule in rules {
        unnamed.retain(|name| !rule.names().contains(name));
        if !is_allowed(rule.action()) {
            changed.push(rule);
            continue;
        }
        let (observed, other): (Vec<String>, Vec<String>) = rule
            .names()
            .iter()
            .cloned()
            .partition(|name| calls::names().any(|observed| observed == name));
        for (names, action) in [
            (other, LinuxSeccompAction::ScmpActAllow),
            (observed, LinuxSeccompAction::ScmpActNotify),
        ] {
            if !names.is_empty() {
                let mut part = rule.clone();
                part.set_names(names).set_action(action);
                changed.push(part);
            }
        }
    }
    if is_allowed(profile.default_action()) && !unnamed.is_empty() {
        let mut rule = LinuxSyscall::default();
        rule.set_names(unnamed)
            .set_action(LinuxSeccompAction::ScmpActNotify);
        changed.push(rule);
    }
    profile.set_syscalls(Some(changed));
    profile.set_listener_path(Some(listener.to_owned()));
    profile.set_listener_metadata(None);
    linux.set_seccomp(Some(profile));
    Ok(())
}

/// A profile that allows everything, for programs of 32 bits too: a filter kills what is of an architecture it does not name.
fn open() -> Result<LinuxSeccomp, OciSpecError> {
    let mut profile = LinuxSeccomp::default();
    profile.set_default_action(LinuxSeccompAction::ScmpActAllow);
    let architectures = match std::env::consts::ARCH {
        "x86_64" => vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32],
        "aarch64" => vec![Arch::ScmpArchAarch64, Arch::ScmpArchArm],
        _ => vec![Arch::ScmpArchNative],
    };
    profile.set_architectures(Some(architectures));
    Ok(profile)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(seccomp: &str) -> Result<serde_json::Value, ProfileError> {
        let text = format!(r#"{{"ociVersion":"1.0.2","linux":{{{seccomp}}}}}"#);
        let mut spec: Spec = serde_json::from_str(&text).unwrap();
        listen(&mut spec, Path::new("/agent"))?;
        let spec = serde_json::to_value(&spec).unwrap();
        Ok(spec["linux"]["seccomp"].clone())
    }

    fn action(profile: &serde_json::Value, name: &str) -> Vec<String> {
        let rules = profile["syscalls"].as_array().unwrap().iter();
        rules
            .filter(|rule| rule["names"].as_array().unwrap().iter().any(|n| n == name))
            .map(|rule| rule["action"].as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn without_a_profile_everything_else_is_allowed() {
        let profile = changed("").unwrap();
        assert_eq!(profile["defaultAction"], "SCMP_ACT_ALLOW");
        assert_eq!(action(&profile, "openat"), ["SCMP_ACT_NOTIFY"]);
        assert!(action(&profile, "write").is_empty());
        assert_eq!(profile["listenerPath"], "/agent");
    }

    #[test]
    fn what_a_profile_allows_is_told_and_what_it_forbids_stays_forbidden() {
        let profile = changed(
            r#""seccomp":{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
                {"names":["openat","read"],"action":"SCMP_ACT_ALLOW"},{"names":["execve"],"action":"SCMP_ACT_KILL"}]}"#,
        )
        .unwrap();
        assert_eq!(action(&profile, "openat"), ["SCMP_ACT_NOTIFY"]);
        assert_eq!(action(&profile, "read"), ["SCMP_ACT_ALLOW"]);
        assert_eq!(action(&profile, "execve"), ["SCMP_ACT_KILL"]);
        assert!(action(&profile, "stat").is_empty());
    }

    #[test]
    fn a_listener_of_its_own_is_refused() {
        let error = changed(
            r#""seccomp":{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/its/own","syscalls":[
                {"names":["mkdir"],"action":"SCMP_ACT_NOTIFY"}]}"#,
        )
        .unwrap_err();
        assert!(error.to_string().contains("/its/own"), "{error}");
    }
}
