//! A plan for tests: a program that needs OpenSSL, which needs zlib; core below them.

use fragment_types::manifest::{Machine, Size};
use fragment_types::plan::{Entry, EntryKind, Form, Layer, Reason};
use fragment_types::{
    Capability, ComponentName, Digest, Evidence, EvidenceKind, Grade, Need, Plan, Requirement,
    Strength,
};

pub(super) fn name(text: &str) -> ComponentName {
    ComponentName::new(text).unwrap()
}

pub(super) fn layer(text: &str, stored: u64, reasons: Vec<Reason>) -> Layer {
    Layer {
        name: name(text),
        version: semver::Version::new(1, 0, 0),
        upstream_version: "1.0-1".to_owned(),
        digest: Digest::of(text.as_bytes()),
        diff_id: Digest::of(format!("tree of {text}").as_bytes()),
        size: Size {
            plain: stored * 2,
            stored,
            entries: 3,
        },
        capabilities: Default::default(),
        accounts: Vec::new(),
        cached: Vec::new(),
        reasons,
    }
}

pub(super) fn required_by(component: &str, via: &str) -> Reason {
    Reason::RequiredBy {
        component: name(component),
        via: via.to_owned(),
    }
}

pub(super) fn requirement(
    need: Need,
    strength: Strength,
    steps: &[(EvidenceKind, &str, &str)],
) -> Requirement {
    let step = |(kind, source, detail): &(EvidenceKind, &str, &str)| Evidence {
        kind: *kind,
        source: (*source).to_owned(),
        detail: (*detail).to_owned(),
    };
    Requirement {
        need,
        strength,
        satisfied_by: None,
        chain: steps.iter().map(step).collect(),
    }
}

pub(super) fn capability(text: &str) -> Need {
    Need::Capability {
        name: Capability::new(text).unwrap(),
    }
}

pub(super) fn plan() -> Plan {
    let entry = (EvidenceKind::Entry, "/app", "/app");
    let versions = ["OPENSSL_3.0.0".to_owned()].into();
    let soname = Need::soname("libssl.so.3", Machine::X86_64, versions);
    let interpreter = Need::Path {
        path: "/lib64/ld.so".to_owned(),
    };
    let bundle = Need::Path {
        path: "/etc/ca.crt".to_owned(),
    };
    let requirements = vec![
        requirement(
            interpreter.clone(),
            Strength::Hard,
            &[entry, (EvidenceKind::Interpreter, "/app", "/lib64/ld.so")],
        ),
        requirement(
            soname.clone(),
            Strength::Hard,
            &[entry, (EvidenceKind::Needed, "/app", "libssl.so.3")],
        ),
        requirement(
            bundle.clone(),
            Strength::Soft,
            &[entry, (EvidenceKind::Argument, "argv[1]", "https://…")],
        ),
        requirement(
            capability("tcp_connections"),
            Strength::Soft,
            &[
                entry,
                (
                    EvidenceKind::LibrarySymbol,
                    "libssl.so.3 of component openssl",
                    "connect",
                ),
            ],
        ),
        requirement(
            capability("process_execution"),
            Strength::Soft,
            &[entry, (EvidenceKind::Symbol, "/app", "execve")],
        ),
    ];
    let supplies = |requirement: &Need| Reason::Supplies {
        requirement: requirement.clone(),
    };
    let mut core = layer(
        "core",
        1_300_000,
        vec![
            supplies(&interpreter),
            required_by("openssl", "libc.so.6"),
            Reason::Core,
        ],
    );
    let granted = Capability::new("process_execution").unwrap();
    core.capabilities = [granted.clone()].into();
    let layers = vec![
        layer("certificates", 100, vec![supplies(&bundle)]),
        layer("openssl", 600_000, vec![supplies(&soname)]),
        layer(
            "zlib",
            50_000,
            vec![
                required_by("openssl", "libz.so.1"),
                required_by("openssl", "zlib"),
            ],
        ),
        core,
    ];
    Plan {
        schema: fragment_types::plan::SCHEMA.to_owned(),
        runtime: semver::Version::new(0, 1, 0),
        library: Digest::of(b"library"),
        entry: Entry {
            command: "/app".to_owned(),
            path: "/app".to_owned(),
            kind: EntryKind::DynamicElf,
            in_bundle: true,
        },
        form: Form::Upper,
        layers,
        generated: None,
        requirements,
        min_grade: Grade::Import,
        capabilities: [granted].into(),
        size: Size {
            plain: 3_900_200,
            stored: 1_950_100,
            entries: 12,
        },
        warnings: Vec::new(),
    }
}
