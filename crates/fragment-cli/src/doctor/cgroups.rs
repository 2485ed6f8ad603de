//! Control groups: limits, and what of them a user without rights may set.

use std::path::PathBuf;

use super::Finding;
use super::machine::Machine;

const SUBJECT: &str = "cgroups";

/// Controllers that engines ask for in every container with a limit.
const WANTED: [&str; 3] = ["cpu", "memory", "pids"];

/// The hierarchies of a machine.
#[derive(Debug, PartialEq, Eq)]
enum Mode {
    /// One hierarchy of version 2, at this mount point.
    Unified(PathBuf),
    /// Hierarchies of version 1, and one of version 2 beside them or not.
    Legacy {
        hybrid: bool,
        controllers: Vec<String>,
    },
    None,
}

pub(super) fn examine(machine: &Machine) -> Vec<Finding> {
    let Some(mounts) = machine.setting("/proc/self/mountinfo") else {
        return Vec::new();
    };
    let mode = mode(&mounts);
    let (text, controllers) = match &mode {
        Mode::None => {
            return vec![Finding::problem(
                SUBJECT,
                "no hierarchy is mounted",
                "mount -t cgroup2 cgroup2 /sys/fs/cgroup",
            )];
        }
        Mode::Unified(point) => {
            let file = point.join("cgroup.controllers");
            let text = file.to_str().and_then(|file| machine.setting(file));
            ("version 2", words(&text.unwrap_or_default()))
        }
        Mode::Legacy {
            hybrid,
            controllers,
        } => {
            let text = if *hybrid {
                "version 1 with a version 2 hierarchy beside it (hybrid)"
            } else {
                "version 1"
            };
            (text, controllers.clone())
        }
    };
    let mut findings = vec![Finding::ok(
        SUBJECT,
        format!("{text}; controllers: {}", controllers.join(" ")),
    )];
    findings.extend(missing(&controllers, ""));
    if machine.is_rootless {
        findings.extend(delegation(machine, &mode));
    }
    findings
}

/// The controllers that are wanted and not among `controllers`.
fn missing(controllers: &[String], whose: &str) -> Option<Finding> {
    let lacks: Vec<_> = WANTED
        .into_iter()
        .filter(|name| !controllers.iter().any(|one| one == name))
        .collect();
    (!lacks.is_empty()).then(|| {
        let remedy = if whose.is_empty() {
            "boot without cgroup_disable=, and on some boards with cgroup_enable=memory"
        } else {
            "write Delegate=cpu cpuset io memory pids below [Service] into /etc/systemd/system/user@.service.d/delegate.conf, systemctl daemon-reload, and log in again"
        };
        Finding::warning(
            SUBJECT,
            format!("no limits on {}{whose}", lacks.join(", ")),
            remedy,
        )
    })
}

/// What a user without rights may do.
fn delegation(machine: &Machine, mode: &Mode) -> Option<Finding> {
    let Mode::Unified(point) = mode else {
        return Some(Finding::warning(
            SUBJECT,
            "a user without rights cannot set limits with version 1",
            "boot with systemd.unified_cgroup_hierarchy=1",
        ));
    };
    let own = machine.setting("/proc/self/cgroup")?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    // a user's own part begins at the unit that systemd starts for them
    let unit = format!("user@{}.service", rustix::process::getuid().as_raw());
    let end = path.find(&unit).map_or(path.len(), |at| at + unit.len());
    let file = point.join(&path[..end]).join("cgroup.controllers");
    let controllers = words(&machine.setting(file.to_str()?)?);
    missing(&controllers, " for containers of this user")
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// Reads mountinfo (proc_pid_mountinfo(5)).
fn mode(mounts: &str) -> Mode {
    let mut unified = None;
    let mut controllers = Vec::new();
    for line in mounts.lines() {
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let point = left.split(' ').nth(4).unwrap_or_default();
        let mut right = right.split(' ');
        let (kind, options) = (right.next().unwrap_or_default(), right.nth(1));
        if kind == "cgroup2" && unified.is_none() {
            unified = Some(PathBuf::from(point));
        }
        if kind == "cgroup" {
            let options = options.unwrap_or_default().split(',');
            let names = options.filter(|name| !matches!(*name, "rw" | "ro" | "xattr"));
            let names = names.filter(|name| !name.starts_with("name=") && !name.contains('='));
            controllers.extend(names.map(str::to_owned));
        }
    }
    controllers.sort();
    controllers.dedup();
    match unified {
        Some(point) if controllers.is_empty() => Mode::Unified(point),
        None if controllers.is_empty() => Mode::None,
        unified => Mode::Legacy {
            hybrid: unified.is_some(),
            controllers,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "36 29 0:32 / /sys/fs/cgroup/memory rw,nosuid shared:1 - cgroup cgroup rw,memory\n37 29 0:33 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n38 29 0:34 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n";
    const V2: &str = "30 29 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn hierarchies_are_told_apart() {
        assert_eq!(mode(V2), Mode::Unified("/sys/fs/cgroup".into()));
        assert_eq!(mode(""), Mode::None);
        let controllers: Vec<String> = ["cpu", "cpuacct", "memory"].map(str::to_owned).into();
        let legacy = |hybrid| Mode::Legacy {
            hybrid,
            controllers: controllers.clone(),
        };
        assert_eq!(mode(V1), legacy(false));
        assert_eq!(mode(&format!("{V1}{V2}")), legacy(true));
    }

    #[test]
    fn a_missing_controller_is_a_warning() {
        let found = missing(&["cpu".to_owned()], "").unwrap();
        assert_eq!(found.finding, "no limits on memory, pids");
        assert!(missing(&WANTED.map(str::to_owned), "").is_none());
    }
}
