//! AppArmor and SELinux: what they are set to, and whether components can be read under them.

use super::Finding;
use super::machine::Machine;

const SUBJECT: &str = "security modules";

pub(super) fn examine(machine: &Machine) -> Vec<Finding> {
    let apparmor = machine.setting("/sys/module/apparmor/parameters/enabled");
    let is_enabled = apparmor.as_deref() == Some("Y");
    let mut findings = Vec::new();
    if is_enabled && !machine.has_program("apparmor_parser") {
        findings.push(Finding::warning(
            SUBJECT,
            "AppArmor is on, and there is no apparmor_parser: engines cannot load the profiles they ask for",
            "install the package apparmor",
        ));
    } else if is_enabled {
        findings.push(Finding::ok(SUBJECT, "AppArmor is on"));
    }
    match machine.setting("/sys/fs/selinux/enforce").as_deref() {
        // composed roots carry no label of their own
        Some("1") => findings.push(Finding::warning(
            SUBJECT,
            "SELinux is enforcing, and components carry the label of the library's directory: confined containers may not read them",
            "semanage fcontext -a -t container_ro_file_t '/var/lib/fragment(/.*)?' and restorecon -R /var/lib/fragment",
        )),
        Some(_) => findings.push(Finding::ok(SUBJECT, "SELinux is permissive")),
        None => {}
    }
    if findings.is_empty() {
        findings.push(Finding::ok(SUBJECT, "neither AppArmor nor SELinux is on"));
    }
    findings
}
