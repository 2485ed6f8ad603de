//! User namespaces: containers of users without rights, and containers whose root is nobody outside.

use fragment::kernel;

use super::Finding;
use super::machine::Machine;

const SUBJECT: &str = "user namespaces";

pub(super) fn examine(machine: &Machine) -> Vec<Finding> {
    let mut findings = Vec::new();
    let most = machine.number("/proc/sys/user/max_user_namespaces");
    if most == Some(0) {
        findings.push(Finding::warning(
            SUBJECT,
            "user.max_user_namespaces is 0: there are none, for rootless engines and --userns neither",
            "sysctl -w user.max_user_namespaces=15000, and the same in /etc/sysctl.d/",
        ));
    }
    if machine.number("/proc/sys/kernel/unprivileged_userns_clone") == Some(0) {
        findings.push(Finding::warning(
            SUBJECT,
            "kernel.unprivileged_userns_clone is 0: only root may make one",
            "for rootless engines: sysctl -w kernel.unprivileged_userns_clone=1, and the same in /etc/sysctl.d/",
        ));
    }
    if machine.number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1) {
        findings.push(Finding::warning(
            SUBJECT,
            "kernel.apparmor_restrict_unprivileged_userns is 1: root of a user's namespace may mount nothing without a profile",
            "for rootless engines: give them AppArmor profiles with `userns,`, or sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ));
    }
    if machine.is_rootless {
        findings.extend(subordinate(machine));
    }
    if findings.is_empty() {
        findings.push(match kernel::user_namespace() {
            Ok(()) => Finding::ok(SUBJECT, "can be made"),
            Err(error) => Finding::warning(
                SUBJECT,
                format!("none can be made: {error}"),
                "raise user.max_user_namespaces, or ask who limits this process",
            ),
        });
    }
    findings
}

/// Identities beyond the user's own, for images with files of more than one.
fn subordinate(machine: &Machine) -> Option<Finding> {
    let user = std::env::var("USER").ok()?;
    let id = rustix::process::getuid().as_raw().to_string();
    let lacks = |file: &str| {
        let text = machine.setting(file).unwrap_or_default();
        let mut names = text.lines().filter_map(|line| line.split(':').next());
        !names.any(|name| name == user || name == id)
    };
    (lacks("/etc/subuid") || lacks("/etc/subgid")).then(|| {
        Finding::warning(
            SUBJECT,
            format!("{user} has no subordinate identities: images with files of several owners cannot be used"),
            format!("usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}"),
        )
    })
}
