//! Symbols of shared objects that tell what a program does.
//!
//! A component's manifest holds which of them each of its libraries imports, so that nobody has to read the library again. What they
//! imply is for analysis to say (`rules.rs`), which may change its mind without a component being built anew.

/// The symbols, sorted. Of `iconv_open` libraries are silent that name no character set beyond the C library's built-in ones: C++'s
/// standard library imports it for those who ask, and is no evidence.
pub const TELLING: &[&str] = &[
    "__res_query",
    "__res_search",
    "accept",
    "accept4",
    "bind",
    "blkid_get_cache",
    "blkid_new_probe",
    "blkid_new_probe_from_filename",
    "connect",
    "delete_module",
    "dm_task_create",
    "execl",
    "execle",
    "execlp",
    "execv",
    "execve",
    "execvp",
    "execvpe",
    "fexecve",
    "finit_module",
    "getaddrinfo",
    "gethostbyname",
    "gethostbyname2",
    "gethostbyname_r",
    "iconv_open",
    "inet_addr",
    "inet_aton",
    "inet_pton",
    "init_module",
    "kmod_new",
    "libusb_control_transfer",
    "libusb_init",
    "libusb_init_context",
    "listen",
    "pidfd_send_signal",
    "popen",
    "posix_spawn",
    "posix_spawnp",
    "process_vm_readv",
    "process_vm_writev",
    "pthread_sigqueue",
    "ptrace",
    "recvfrom",
    "recvmsg",
    "res_nquery",
    "res_nsearch",
    "res_query",
    "res_search",
    "sd_booted",
    "sd_bus_default_system",
    "sd_bus_open_system",
    "sd_event_add_child",
    "sd_event_add_child_pidfd",
    "sd_listen_fds",
    "sd_listen_fds_with_names",
    "sd_notify",
    "sd_notifyf",
    "sd_pid_notify",
    "sd_watchdog_enabled",
    "sendmsg",
    "sendto",
    "setpgid",
    "sigqueue",
    "socket",
    "system",
    "tcsetpgrp",
    "udev_device_new_from_devnum",
    "udev_device_new_from_subsystem_sysname",
    "udev_device_new_from_syspath",
    "udev_enumerate_new",
    "udev_monitor_new_from_netlink",
    "udev_new",
];

/// Those of `imports` that tell something, without their symbol versions.
pub fn telling<'i>(
    imports: impl IntoIterator<Item = &'i str>,
) -> std::collections::BTreeSet<String> {
    imports
        .into_iter()
        .filter(|name| TELLING.binary_search(name).is_ok())
        .map(str::to_owned)
        .collect()
}

/// Whether a text is the name of a character set that the C library converts by a plugin; UTF-8, ASCII and UCS-2 and -4 are
/// built in (`iconv/gconv_builtin.h` of glibc).
#[must_use]
pub fn is_plugged_charset(text: &[u8]) -> bool {
    if !(3..=16).contains(&text.len()) {
        return false;
    }
    let plain: Vec<u8> = text
        .iter()
        .filter(|byte| !matches!(byte, b'-' | b'_'))
        .map(u8::to_ascii_uppercase)
        .collect();
    let numbered = [
        &b"ISO8859"[..],
        b"CP",
        b"WINDOWS",
        b"LATIN",
        b"UTF16",
        b"UTF32",
    ];
    let is_numbered = |prefix: &&[u8]| {
        plain.strip_prefix(*prefix).is_some_and(|rest| {
            let rest = rest
                .strip_suffix(b"LE")
                .or(rest.strip_suffix(b"BE"))
                .unwrap_or(rest);
            rest.len() <= 4
                && rest.iter().all(u8::is_ascii_digit)
                && (!rest.is_empty() || prefix.starts_with(b"UTF"))
        })
    };
    let named = [
        &b"BIG5"[..],
        b"EUCCN",
        b"EUCJP",
        b"EUCKR",
        b"EUCTW",
        b"GB18030",
        b"GB2312",
        b"GBK",
        b"KOI8R",
        b"KOI8U",
        b"SHIFTJIS",
        b"SJIS",
        b"UTF7",
    ];
    named.contains(&plain.as_slice()) || numbered.iter().any(is_numbered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_says_each_symbol_once() {
        assert!(TELLING.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn only_what_tells_something_is_kept() {
        let kept = telling(["printf", "socket", "connect", "socket", "sock"]);
        assert_eq!(kept.into_iter().collect::<Vec<_>>(), ["connect", "socket"]);
    }

    #[test]
    fn character_sets_beyond_the_built_in_ones() {
        for (text, expected) in [
            ("ISO-8859-1", true),
            ("ISO8859-15", true),
            ("utf-16le", true),
            ("UTF-16", true),
            ("CP1252", true),
            ("EUC-JP", true),
            ("UTF-8", false),
            ("UCS-4LE", false),
            ("ASCII", false),
            ("CP", false),
            ("CPU0", false),
        ] {
            assert_eq!(is_plugged_charset(text.as_bytes()), expected, "{text}");
        }
    }
}
