//! What libcontainer's messages leave out: the errno of a failed mount, the key of a failed sysctl.
//!
//! Its errors carry a cause and are printed without it. What failed once fails again the same way, so the part that can be
//! tried without effect is tried here, after everything of the container is gone.

use std::fmt::Write as _;
use std::io::{self, Read};
use std::path::Path;

use libcontainer::oci_spec::runtime::{Mount, Spec};
use libcontainer::rootfs::utils::{is_bind, parse_mount};
use rustix::mount::FsOpenFlags;

/// Kinds of file system that have no options worth trying and state of their own.
const NOT_TRIED: [&str; 5] = ["cgroup", "cgroup2", "proc", "sysfs", "mqueue"];

/// An errno as C libraries and Go write it, the form engines look for: lower case and without a number.
pub(crate) fn words(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_lowercase().chain(characters).collect(),
        None => text.to_owned(),
    }
}

/// An error and what it comes from, on one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause
            .downcast_ref::<io::Error>()
            .map_or_else(|| cause.to_string(), words);
        // writing to a String cannot fail
        let _ = write!(text, ": {said}");
        next = cause.source();
    }
    text
}

/// A better message for one of libcontainer's, where there is one.
pub(crate) fn explain(message: &str, spec: &Spec) -> Option<String> {
    if let Some(told) = failed_hook(message) {
        return Some(told);
    }
    if message.contains("procfs failed") || message.contains("failed to set sysctl") {
        return missing_sysctl(spec);
    }
    if let Some(explained) = network_devices(message, spec) {
        return Some(explained);
    }
    let (_, dump) = message.split_once("failed to mount Mount { destination: \"")?;
    let (destination, rest) = dump.split_once('"')?;
    let mount = spec
        .mounts()
        .iter()
        .flatten()
        .find(|mount| mount.destination() == Path::new(destination))?;
    let told = rest.rsplit_once(" }: ").map_or("", |(_, told)| told);
    Some(format!(
        "{}: {}",
        describe(mount),
        cause(mount).unwrap_or_else(|| told.to_owned())
    ))
}

/// runc's words for a hook of creation that failed.
fn failed_hook(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("failed to run ")?;
    let (stage, cause) = rest.split_once(" hooks")?;
    let cause = cause.trim_start_matches([':', ' ']);
    let cause = cause.trim_start_matches("err=");
    let mut words = stage.split(' ');
    let first = words.next()?;
    let rest = words.map(|word| match word.split_at_checked(1) {
        Some((initial, rest)) => format!("{}{rest}", initial.to_ascii_uppercase()),
        None => String::new(),
    });
    let stage = format!("{first}{}", rest.collect::<String>());
    Some(format!("error running {stage} hook: {}", ending(cause)))
}

/// How a hook ended, in the words of Go's os/exec.
fn ending(cause: &str) -> String {
    if let Some((_, code)) = cause.split_once("exited with non-zero exit code: ") {
        return format!("error running hook: exit status {code}");
    }
    if cause.contains("due to a timeout") {
        return "hook ran past specified timeout".to_owned();
    }
    cause.to_owned()
}

fn describe(mount: &Mount) -> String {
    let what = mount
        .source()
        .as_ref()
        .map(|source| source.display().to_string())
        .unwrap_or_default();
    let destination = mount.destination().display();
    let mut text = if is_bind(mount) {
        format!("bind {what} to {destination}")
    } else {
        let kind = mount.typ().as_deref().unwrap_or("none");
        format!("mount {kind} ({what}) on {destination}")
    };
    if let Some(options) = mount
        .options()
        .as_ref()
        .filter(|options| !options.is_empty())
    {
        // writing to a String cannot fail
        let _ = write!(text, " with {}", options.join(","));
    }
    text
}

fn cause(mount: &Mount) -> Option<String> {
    if is_bind(mount) {
        return mount
            .source()
            .as_ref()?
            .canonicalize()
            .err()
            .map(|error| words(&error));
    }
    let kind = mount.typ().as_deref()?;
    if NOT_TRIED.contains(&kind) {
        return None;
    }
    try_filesystem(kind, mount).err()
}

/// Makes the file system and mounts it nowhere: fsopen(2), fsconfig(2). The kernel's own words, which it leaves in the
/// context's log, are added to the errno.
fn try_filesystem(kind: &str, mount: &Mount) -> Result<(), String> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(|errno| words(&errno.into()))?;
    let source = mount.source().as_deref().unwrap_or(Path::new("none"));
    let mut configured = rustix::mount::fsconfig_set_string(&context, "source", source);
    for option in parse_mount(mount)
        .map(|parsed| parsed.data)
        .unwrap_or_default()
    {
        configured = configured.and_then(|()| match option.split_once('=') {
            Some((key, value)) => rustix::mount::fsconfig_set_string(&context, key, value),
            None => rustix::mount::fsconfig_set_flag(&context, option.as_str()),
        });
    }
    configured
        .and_then(|()| rustix::mount::fsconfig_create(&context))
        .map_err(|errno| {
            let mut log = String::new();
            // each read gives one message; the end is ENODATA
            let _ = std::fs::File::from(context)
                .take(4096)
                .read_to_string(&mut log);
            match log.trim().trim_start_matches("e ") {
                "" => words(&errno.into()),
                told => format!("{} ({told})", words(&errno.into())),
            }
        })
}

/// The answer of rtnetlink(7) is told as a number and without what it is about.
fn network_devices(message: &str, spec: &Spec) -> Option<String> {
    let (_, number) = message.split_once("Netlink error: -")?;
    let digits = number.split(|character: char| !character.is_ascii_digit());
    let errno = io::Error::from_raw_os_error(digits.into_iter().next()?.parse().ok()?);
    let devices = spec.linux().as_ref()?.net_devices().as_ref()?;
    let mut names: Vec<&str> = devices.keys().map(String::as_str).collect();
    names.sort_unstable();
    Some(format!(
        "move network device {} into the container: {}",
        names.join(", "),
        words(&errno)
    ))
}

fn missing_sysctl(spec: &Spec) -> Option<String> {
    let sysctls = spec.linux().as_ref()?.sysctl().as_ref()?;
    sysctls.keys().find_map(|key| {
        let file = Path::new("/proc/sys").join(key.replace('.', "/"));
        let error = file.symlink_metadata().err()?;
        Some(format!(
            "set sysctl {key}: open {}: {}",
            file.display(),
            words(&error)
        ))
    })
}
