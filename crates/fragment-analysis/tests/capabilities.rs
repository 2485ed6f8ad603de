//! Every capability has evidence that leads to it, and each kind of evidence has its grade.

#![allow(
    clippy::unwrap_used,
    reason = "clippy's exception is for test functions, not for what they call"
)]

mod support;

use fragment_analysis::library_imports;
use fragment_types::manifest::Machine;
use fragment_types::{Evidence, EvidenceKind, Grade, Need, Requirement, Strength};
use support::{Library, Rootfs, gcc, library, task};

/// Where evidence is found.
enum In {
    Words(&'static [&'static str]),
    Script(&'static str),
    Variable(&'static str),
    Symbols(&'static [&'static str]),
    Python(&'static str),
    Text(&'static str),
}

use In::{Python, Script, Symbols, Text, Variable, Words};

const CASES: &[(&str, Grade, In)] = &[
    ("process_execution", Grade::Import, Symbols(&["execve"])),
    (
        "process_execution",
        Grade::Import,
        Python("import subprocess"),
    ),
    (
        "tcp_connections",
        Grade::Argument,
        Words(&["x", "https://example.org/"]),
    ),
    (
        "tcp_connections",
        Grade::Import,
        Symbols(&["socket", "connect", "inet_pton"]),
    ),
    ("tcp_connections", Grade::Import, Python("import requests")),
    ("tcp_connections", Grade::Text, Text("redis://%s:%d")),
    (
        "tcp_listen",
        Grade::Argument,
        Words(&["x", "--port", "8080"]),
    ),
    (
        "tcp_listen",
        Grade::Import,
        Symbols(&["socket", "bind", "listen", "accept4"]),
    ),
    ("tcp_listen", Grade::Import, Python("import socketserver")),
    (
        "dns_lookup",
        Grade::Argument,
        Words(&["getent", "hosts", "example.org"]),
    ),
    (
        "dns_lookup",
        Grade::Argument,
        Variable("RES_OPTIONS=rotate"),
    ),
    ("dns_lookup", Grade::Import, Symbols(&["getaddrinfo"])),
    ("dns_lookup", Grade::Text, Text("/etc/resolv.conf")),
    (
        "dns_cache",
        Grade::Argument,
        Words(&["resolvectl", "flush-caches"]),
    ),
    (
        "dns_cache",
        Grade::Argument,
        Variable("DNSCACHEIP=127.0.0.1"),
    ),
    ("dns_cache", Grade::Text, Text("/var/run/nscd/socket")),
    (
        "socket_create",
        Grade::Argument,
        Variable("https_proxy=http://proxy:3128"),
    ),
    (
        "socket_create",
        Grade::Import,
        Symbols(&["socket", "connect", "getaddrinfo"]),
    ),
    (
        "socket_bind",
        Grade::Argument,
        Words(&["x", "--bind", "0.0.0.0"]),
    ),
    (
        "socket_bind",
        Grade::Import,
        Symbols(&["socket", "bind", "recvfrom", "sendto", "inet_aton"]),
    ),
    (
        "process_management",
        Grade::Argument,
        Words(&["runsvdir", "/etc/service"]),
    ),
    (
        "process_management",
        Grade::Import,
        Symbols(&["sd_event_add_child"]),
    ),
    (
        "process_management",
        Grade::Text,
        Text("/etc/service/%s/run"),
    ),
    (
        "service_start",
        Grade::Argument,
        Script("/etc/init.d/nginx start"),
    ),
    ("service_start", Grade::Argument, Variable("LISTEN_FDS=1")),
    ("service_start", Grade::Import, Symbols(&["sd_listen_fds"])),
    (
        "service_control",
        Grade::Argument,
        Script("systemctl restart nginx"),
    ),
    (
        "service_control",
        Grade::Import,
        Symbols(&["sd_bus_open_system"]),
    ),
    (
        "service_control",
        Grade::Text,
        Text("org.freedesktop.systemd1"),
    ),
    (
        "service_status",
        Grade::Argument,
        Variable("NOTIFY_SOCKET=/run/n"),
    ),
    ("service_status", Grade::Import, Symbols(&["sd_notify"])),
    ("service_status", Grade::Text, Text("NOTIFY_SOCKET")),
    (
        "device_access",
        Grade::Argument,
        Words(&["dd", "if=/dev/sda"]),
    ),
    (
        "device_access",
        Grade::Import,
        Symbols(&["udev_enumerate_new"]),
    ),
    ("device_access", Grade::Import, Python("import pyudev")),
    ("device_access", Grade::Text, Text("/dev/input/event%d")),
    ("device_control", Grade::Argument, Script("udevadm trigger")),
    ("device_control", Grade::Import, Symbols(&["finit_module"])),
    ("device_control", Grade::Text, Text("/run/udev/control")),
    ("job_control", Grade::Argument, Script("sleep 1 & fg")),
    ("job_control", Grade::Argument, Script("set -m")),
    (
        "job_control",
        Grade::Import,
        Symbols(&["tcsetpgrp", "setpgid"]),
    ),
    (
        "signal_handling",
        Grade::Argument,
        Script("pkill -HUP server"),
    ),
    ("signal_handling", Grade::Import, Symbols(&["sigqueue"])),
    (
        "advanced_proc_mgmt",
        Grade::Argument,
        Words(&["strace", "-p", "1"]),
    ),
    ("advanced_proc_mgmt", Grade::Import, Symbols(&["ptrace"])),
    ("advanced_proc_mgmt", Grade::Import, Python("import psutil")),
    ("advanced_proc_mgmt", Grade::Text, Text("/proc/%d/mem")),
];

/// The sixteen names of the product: what core grants, and the fifteen that other components do.
const NAMES: [&str; 16] = [
    "advanced_proc_mgmt",
    "device_access",
    "device_control",
    "dns_cache",
    "dns_lookup",
    "job_control",
    "process_execution",
    "process_management",
    "service_control",
    "service_start",
    "service_status",
    "signal_handling",
    "socket_bind",
    "socket_create",
    "tcp_connections",
    "tcp_listen",
];

/// A program that calls `symbols` and holds `text`. The symbols are those of a stand-in, which the rootfs lacks.
fn program(symbols: &[&str], text: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let each =
        |form: fn(&str) -> String| -> String { symbols.iter().map(|one| form(one)).collect() };
    let stand_in = each(|name| format!("int {name}() {{ return 0; }}\n"));
    let shared = [
        "-shared",
        "-fPIC",
        "-nostdlib",
        "-w",
        "-fno-builtin",
        "-Wl,-soname,libother.so",
    ];
    gcc(directory.path(), "libother.so", &stand_in, &shared);
    let declared = each(|name| format!("int {name}();\n"));
    let called = each(|name| format!("  count += {name}();\n"));
    let source = format!(
        "{declared}const char text[] = \"{text}\";\nint main(int count, char **v) {{\n{called}  return count + text[count];\n}}\n"
    );
    let flags = ["-w", "-fno-builtin", "-Wl,--no-as-needed", "./libother.so"];
    let path = gcc(directory.path(), "app", &source, &flags);
    std::fs::read(path).unwrap()
}

/// The requirement of the capability `name` in what an analysis finds.
fn found(name: &str, evidence: &In) -> Option<Requirement> {
    let rootfs = Rootfs::new();
    let (argv, env): (Vec<&str>, Vec<&str>) = match evidence {
        Words(words) => (words.to_vec(), vec![]),
        Script(text) => (vec!["sh", "-c", text], vec![]),
        Variable(variable) => (vec!["x"], vec![variable]),
        Python(text) => (vec!["python3", "-c", text], vec![]),
        Symbols(symbols) => {
            rootfs.program("/app", program(symbols, ""));
            (vec!["/app"], vec![])
        }
        Text(text) => {
            rootfs.program("/app", program(&[], text));
            (vec!["/app"], vec![])
        }
    };
    let analysis = rootfs
        .analyse_with(&task(&argv, &env), &commands())
        .unwrap();
    let is_it = |need: &Need| need.to_string() == format!("capability `{name}`");
    analysis
        .requirements
        .into_iter()
        .find(|one| is_it(&one.need))
}

/// A library with the commands that the cases start.
fn commands() -> Library {
    [
        "x",
        "dd",
        "resolvectl",
        "runsvdir",
        "strace",
        "sh",
        "python3",
    ]
    .iter()
    .fold(library(), |library, name| {
        library.file(&format!("/usr/bin/{name}"), name.as_bytes())
    })
}

#[test]
fn every_capability_is_derived_from_evidence_of_its_grade() {
    for (at, (name, grade, evidence)) in CASES.iter().enumerate() {
        let found = found(name, evidence);
        let requirement = found.unwrap_or_else(|| panic!("case {at}: nothing leads to {name}"));
        assert_eq!(
            requirement.grade(),
            *grade,
            "case {at}: {name}: {requirement:?}"
        );
        assert_eq!(requirement.strength, Strength::Soft, "case {at}: {name}");
    }
    let mut names: Vec<&str> = CASES.iter().map(|(name, ..)| *name).collect();
    names.dedup();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names, NAMES);
}

#[test]
fn what_says_nothing_leads_to_nothing() {
    let quiet = [
        Words(&["x", "/dev/null", "/proc/cpuinfo", "--report", "80"]),
        Script("trap 'rm -f x' EXIT; kill $pid; echo fg; wait"),
        Symbols(&["socket", "connect", "kill", "setpgid", "bind"]),
        Text("see https://example.org for help"),
        Variable("SIGNAL=TERM"),
    ];
    for name in NAMES {
        for (at, evidence) in quiet.iter().enumerate() {
            assert_eq!(found(name, evidence), None, "{name} {at}");
        }
    }
}

#[test]
fn the_strongest_evidence_is_the_one_that_is_told() {
    let rootfs = Rootfs::new();
    rootfs.program("/app", program(&["getaddrinfo"], "https://example.org"));
    let analysis = rootfs.analyse_with(&task(&["/app", "https://example.org"], &[]), &library());
    let requirements = analysis.unwrap().requirements;
    let lookup = requirements
        .iter()
        .find(|one| one.need.to_string().contains("dns_lookup"));
    assert_eq!(lookup.unwrap().grade(), Grade::Argument);
}

#[test]
fn libraries_of_components_speak_for_the_program_at_the_lowest_but_one_grade() {
    let library = Library::default()
        .component("curl")
        .soname("libcurl.so.4", "/usr/lib/libcurl.so.4", &[])
        .telling(
            "libcurl.so.4",
            &["libres.so.1"],
            &["connect", "socket", "inet_pton"],
        )
        .component("res")
        .soname("libres.so.1", "/usr/lib/libres.so.1", &[])
        .telling("libres.so.1", &["libcurl.so.4"], &["getaddrinfo", "ptrace"]);
    let needed = Requirement {
        need: Need::soname("libcurl.so.4", Machine::X86_64, Default::default()),
        strength: Strength::Hard,
        satisfied_by: None,
        chain: vec![Evidence {
            kind: EvidenceKind::Needed,
            source: "/app".into(),
            detail: "libcurl.so.4".into(),
        }],
    };
    let text = |found: &[Requirement]| -> Vec<String> {
        let last = |one: &Requirement| one.chain.last().map(|last| last.source.clone());
        found
            .iter()
            .map(|one| {
                format!(
                    "{} {} {}",
                    one.need,
                    one.grade(),
                    last(one).unwrap_or_default()
                )
            })
            .collect()
    };
    let found = library_imports(std::slice::from_ref(&needed), &library).unwrap();
    assert_eq!(
        text(&found),
        [
            "capability `tcp_connections` library-import libcurl.so.4 of component curl",
            "capability `socket_create` library-import libcurl.so.4 of component curl",
            "capability `dns_lookup` library-import libres.so.1 of component res",
            "capability `advanced_proc_mgmt` library-import libres.so.1 of component res",
        ]
    );
    // the library's own chain leads there
    assert_eq!(found[2].chain.len(), 3, "{:?}", found[2].chain);
    assert!(found.iter().all(|one| one.is_below(Grade::Import)));
    assert!(found.iter().all(|one| !one.is_below(Grade::LibraryImport)));
    // what the bundle holds is not the library's to speak for
    let own = Requirement {
        satisfied_by: Some("/usr/lib/libcurl.so.4".into()),
        ..needed
    };
    assert_eq!(library_imports(&[own], &library).unwrap(), []);
}
