//! What the kernel offers.

use super::Finding;
use super::machine::Machine;
use fragment::kernel::{Attempt, Tried};

const SUBJECT: &str = "kernel";

/// What each try is for, and what to do when it fails.
fn meaning(attempt: Attempt) -> (&'static str, &'static str) {
    match attempt {
        Attempt::Openat2 => (
            "openat2: looking into root filesystems safely",
            "run Linux 5.6 or newer",
        ),
        Attempt::Pidfd => ("pidfd: waiting for processes", "run Linux 5.3 or newer"),
        Attempt::MountSetattr => (
            "mount_setattr: read-only mounts with everything below them",
            "run Linux 5.12 or newer",
        ),
        Attempt::Seccomp => ("seccomp filters", "run a kernel with CONFIG_SECCOMP_FILTER"),
        Attempt::Overlay => (
            "overlayfs: putting components below a bundle",
            "load it (modprobe overlay) and run a kernel with CONFIG_OVERLAY_FS",
        ),
        Attempt::LayerByLayer => (
            "overlayfs takes its layers one by one (lowerdir+)",
            "run Linux 6.5 or newer; on older ones a composition of many components may not fit the option's length",
        ),
        Attempt::UserXattr => (
            "overlayfs with userxattr: composition for users without rights",
            "run Linux 5.11 or newer for rootless composition",
        ),
        Attempt::Idmap => (
            "idmapped mounts of the library: composition in user namespaces",
            "keep the library on a filesystem that takes them (ext4, xfs, btrfs; Linux 5.12 or newer)",
        ),
        Attempt::Library => (
            "overlayfs takes layers from the library's filesystem",
            "keep the library on a filesystem that overlayfs takes as a lower layer (ext4, xfs, btrfs, tmpfs)",
        ),
    }
}

/// Whether containers fail without it.
fn is_needed(attempt: Attempt) -> bool {
    !matches!(
        attempt,
        Attempt::LayerByLayer | Attempt::UserXattr | Attempt::Idmap
    )
}

/// The kernel's version, and every try that is not about the library.
pub(super) fn examine(machine: &Machine, tried: &Tried) -> Vec<Finding> {
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let mut findings = vec![Finding::ok(SUBJECT, format!("Linux {release}"))];
    if let Some(reason) = &tried.failure {
        findings.push(Finding::warning(
            SUBJECT,
            format!("what mounts can do could not be tried: {reason}"),
            "run `fragment doctor` as root, or allow user namespaces",
        ));
    }
    findings.extend(
        tried
            .outcomes
            .iter()
            .filter(|(attempt, _)| !matches!(attempt, Attempt::Idmap | Attempt::Library))
            .map(|(attempt, outcome)| judge(SUBJECT, *attempt, outcome.as_deref())),
    );
    findings.extend(limits(machine));
    findings
}

/// The finding for one try; `outcome` is the error, if there was one.
pub(super) fn judge(subject: &'static str, attempt: Attempt, outcome: Option<&str>) -> Finding {
    let (what, remedy) = meaning(attempt);
    match outcome {
        None => Finding::ok(subject, what),
        Some(error) if is_needed(attempt) => {
            Finding::problem(subject, format!("{what}: {error}"), remedy)
        }
        Some(error) => Finding::warning(subject, format!("{what}: {error}"), remedy),
    }
}

/// Limits under which many containers fail.
fn limits(machine: &Machine) -> Option<Finding> {
    const PATH: &str = "/proc/sys/fs/mount-max";
    const FEW: u64 = 10_000;
    let most = machine.number(PATH)?;
    (most < FEW).then(|| {
        Finding::warning(
            SUBJECT,
            format!("fs.mount-max is {most}: a mount namespace holds that many mounts"),
            "sysctl -w fs.mount-max=100000",
        )
    })
}
