//! What is chosen, case by case.

#![allow(clippy::unwrap_used, reason = "tests")]

mod memory;

use fragment_resolve::{Compose, Policy, Refusal, RefusalKind, Request, Resolution, resolve};
use fragment_types::plan::Reason;
use fragment_types::{Evidence, EvidenceKind, Need, Requirement, Strength};
use memory::{Component, Library, capability, component, name, needed};

fn want(need: Need, strength: Strength, kind: EvidenceKind) -> Requirement {
    let evidence = |kind, source: &str| Evidence {
        kind,
        source: source.to_owned(),
        detail: need.to_string(),
    };
    let mut chain = vec![evidence(EvidenceKind::Entry, "argv[0]")];
    if kind != EvidenceKind::Entry {
        chain.push(evidence(kind, "/app/program"));
    }
    Requirement {
        need,
        strength,
        satisfied_by: None,
        chain,
    }
}

fn command(text: &str) -> Requirement {
    let need = Need::Command {
        name: text.to_owned(),
    };
    want(need, Strength::Hard, EvidenceKind::Entry)
}

fn word(text: &str) -> Requirement {
    let need = Need::Command {
        name: text.to_owned(),
    };
    want(need, Strength::Soft, EvidenceKind::Argument)
}

fn path(text: &str) -> Requirement {
    let need = Need::Path {
        path: text.to_owned(),
    };
    want(need, Strength::Hard, EvidenceKind::Interpreter)
}

fn entry(text: &str) -> Requirement {
    let need = Need::Path {
        path: text.to_owned(),
    };
    want(need, Strength::Hard, EvidenceKind::Entry)
}

fn soname(text: &str, versions: &[&str]) -> Requirement {
    want(
        Need::Soname(needed(text, versions)),
        Strength::Hard,
        EvidenceKind::Needed,
    )
}

fn grant(text: &str, strength: Strength) -> Requirement {
    want(
        Need::Capability {
            name: capability(text),
        },
        strength,
        EvidenceKind::Argument,
    )
}

fn core() -> Component {
    component("core", 1_000)
        .grants("process_execution")
        .link("/bin", "usr/bin")
        .link("/lib64", "usr/lib64")
        .directory("/etc")
        .file("/usr/bin/busybox", "busybox")
        .command_link("sh", "busybox")
        .command_link("ls", "busybox")
        .file("/usr/lib64/ld-linux-x86-64.so.2", "ld.so")
        .soname("libc.so.6", &["GLIBC_2.2.5", "GLIBC_2.36", "GLIBC_2.4"])
}

fn library(more: impl IntoIterator<Item = Component>) -> Library {
    let mut all = vec![core()];
    all.extend(more);
    Library(all)
}

fn ask(
    library: &Library,
    requirements: &[Requirement],
    policy: Policy,
) -> Result<Resolution, Refusal> {
    resolve(
        library,
        &Request {
            requirements: requirements.to_vec(),
            policy,
        },
    )
}

fn names(resolution: &Resolution) -> Vec<&str> {
    resolution
        .layers
        .iter()
        .map(|layer| layer.name.as_str())
        .collect()
}

#[track_caller]
fn chosen(library: &Library, requirements: &[Requirement], expected: &[&str]) -> Resolution {
    let resolution = ask(library, requirements, Policy::default()).unwrap();
    assert_eq!(names(&resolution), expected, "{:#?}", resolution.warnings);
    resolution
}

#[track_caller]
fn refused(library: &Library, requirements: &[Requirement], kind: RefusalKind) -> String {
    let refusal = ask(library, requirements, Policy::default()).unwrap_err();
    assert_eq!(refusal.kind(), kind, "{refusal}");
    refusal.to_string()
}

#[test]
fn a_bundle_that_lacks_nothing_is_left_alone_whatever_soft_evidence_says() {
    let library = library([component("curl", 10).command("curl")]);
    let satisfied = Requirement {
        satisfied_by: Some("/bin/x".to_owned()),
        ..command("x")
    };
    let resolution = chosen(&library, &[satisfied, word("curl")], &[]);
    assert!(resolution.is_empty());
    assert_eq!(resolution.size.stored, 0);
}

#[test]
fn core_is_below_every_composition_and_supplies_what_it_can() {
    let library = library([component("coreutils", 10).command("ls").prefer(50)]);
    let resolution = chosen(&library, &[command("ls")], &["core"]);
    let reasons = &resolution.layers[0].reasons;
    assert!(reasons.contains(&Reason::Core), "{reasons:?}");
    assert!(
        reasons.contains(&Reason::Supplies {
            requirement: command("ls").need
        }),
        "{reasons:?}"
    );
    assert_eq!(
        resolution.capabilities,
        [capability("process_execution")].into()
    );
}

#[test]
fn of_several_cores_the_preferred_one_is_taken() {
    let other = component("core-next", 900)
        .grants("process_execution")
        .command("sh");
    chosen(
        &library([other.clone().prefer(1)]),
        &[command("sh")],
        &["core-next"],
    );
    chosen(
        &library([other.clone().prefer(-1)]),
        &[command("sh")],
        &["core"],
    );
    let message = refused(&library([other]), &[command("sh")], RefusalKind::Ambiguous);
    assert!(message.contains("`core` and `core-next`"), "{message}");
}

#[test]
fn composition_always_means_core_and_soft_needs() {
    let library = library([component("curl", 10).command("curl")]);
    let policy = Policy {
        compose: Compose::Always,
        ..Policy::default()
    };
    let resolution = ask(&library, &[word("curl"), word("nonesuch")], policy).unwrap();
    assert_eq!(names(&resolution), ["curl", "core"]);
    assert_eq!(resolution.warnings.len(), 1);
    assert!(
        resolution.warnings[0].contains("`nonesuch`"),
        "{:?}",
        resolution.warnings
    );
}

#[test]
fn composition_off_refuses_what_is_missing_and_says_so() {
    let library = library([component("curl", 10).command("curl")]);
    let off = || Policy {
        compose: Compose::Off,
        ..Policy::default()
    };
    let refusal = ask(&library, &[command("curl")], off()).unwrap_err();
    assert_eq!(refusal.kind(), RefusalKind::Off);
    let message = refusal.to_string();
    assert!(
        message.starts_with("exec: \"curl\": executable file not found in $PATH"),
        "{message}"
    );
    assert!(message.contains("composition is off"), "{message}");
    assert!(ask(&library, &[word("curl")], off()).unwrap().is_empty());
    let asked = Policy {
        components: vec![name("curl")],
        ..off()
    };
    assert_eq!(ask(&library, &[], asked).unwrap().warnings.len(), 1);
}

#[test]
fn a_missing_entry_is_told_in_the_words_engines_read() {
    let library = library([]);
    let message = refused(&library, &[command("foo")], RefusalKind::CommandNotFound);
    assert!(
        message.starts_with(
            "exec: \"foo\": executable file not found in $PATH: no component of the library provides it"
        ),
        "{message}"
    );
    assert!(message.contains("fragment library build"), "{message}");
    let message = refused(&library, &[entry("/x/y")], RefusalKind::NotFound);
    assert!(
        message.starts_with("exec: \"/x/y\": stat /x/y: no such file or directory"),
        "{message}"
    );
}

#[test]
fn an_empty_library_speaks_of_the_command_first() {
    let message = refused(
        &Library::default(),
        &[command("foo")],
        RefusalKind::CommandNotFound,
    );
    assert!(
        message.starts_with("exec: \"foo\": executable file not found in $PATH"),
        "{message}"
    );
    assert!(message.contains("`process_execution`"), "{message}");
}

#[test]
fn every_unmet_need_is_named_at_once_and_the_entry_first() {
    let needs = [
        soname("liba.so.1", &[]),
        path("/lib/ld-musl-x86_64.so.1"),
        command("zz"),
    ];
    let message = refused(&library([]), &needs, RefusalKind::CommandNotFound);
    let order = [
        "\"zz\"",
        "/lib/ld-musl-x86_64.so.1",
        "liba.so.1 (needed by /app/program)",
    ];
    let places: Vec<_> = order.map(|text| message.find(text).expect(text)).into();
    assert!(places.is_sorted(), "{message}");
}

#[test]
fn a_missing_symbol_version_is_named_with_what_there_is() {
    let needs = [soname("libc.so.6", &["GLIBC_2.4", "GLIBC_2.38"])];
    let message = refused(&library([]), &needs, RefusalKind::SymbolVersion);
    assert_eq!(
        message,
        "shared library libc.so.6 (needed by /app/program): component `core` has it without symbol \
         version GLIBC_2.38 (it goes up to GLIBC_2.36); add it to the bundle, or write a recipe in \
         library/ and run `fragment library build`"
    );
}

#[test]
fn sonames_of_another_machine_or_private_ones_do_not_count() {
    let library = library([component("a", 1).private_soname("libp.so.1")]);
    let message = refused(&library, &[soname("libp.so.1", &[])], RefusalKind::NotFound);
    assert!(message.contains("/usr/lib/private/libp.so.1"), "{message}");
    let mut foreign = needed("libc.so.6", &[]);
    foreign.machine = fragment_types::manifest::Machine::Aarch64;
    let need = want(Need::Soname(foreign), Strength::Hard, EvidenceKind::Needed);
    let message = refused(&library, &[need], RefusalKind::NotFound);
    assert!(message.contains("another machine"), "{message}");
}

#[test]
fn requirers_lie_above_what_they_require_and_names_settle_the_rest() {
    let library = library([
        component("zlib", 1).soname("libz.so.1", &[]),
        component("curl", 9)
            .command("curl")
            .requires("openssl")
            .requires("zlib"),
        component("openssl", 5).requires("zlib"),
        component("bash", 2).command("bash"),
        component("unused", 1).command("unused"),
    ]);
    let needs = [command("curl"), word("bash")];
    let resolution = chosen(
        &library,
        &needs,
        &["bash", "curl", "openssl", "zlib", "core"],
    );
    let zlib = &resolution.layers[3].reasons;
    let by = |component: &str| Reason::RequiredBy {
        component: name(component),
        via: "zlib".into(),
    };
    assert_eq!(*zlib, [by("curl"), by("openssl")]);
    assert_eq!(resolution.size.stored, 1_017);
}

#[test]
fn cycles_among_requires_are_tolerated() {
    let library = library([
        component("a", 1).command("a").requires("b"),
        component("b", 1).requires("c"),
        component("c", 1).requires("b").requires("a"),
        component("top", 1).command("top").requires("c"),
    ]);
    chosen(&library, &[command("a")], &["a", "b", "c", "core"]);
    chosen(&library, &[command("top")], &["top", "a", "b", "c", "core"]);
}

#[test]
fn preference_decides_before_size_and_size_before_names() {
    let big = component("big", 100).command("x");
    let small = component("small", 10).command("x");
    chosen(
        &library([big.clone(), small.clone()]),
        &[command("x")],
        &["small", "core"],
    );
    chosen(
        &library([big.prefer(1), small]),
        &[command("x")],
        &["big", "core"],
    );
}

#[test]
fn what_is_chosen_anyway_is_used_again() {
    let library = library([
        component("slim", 1).command("x").prefer(9),
        component("suite", 50).command("x").command("y"),
    ]);
    chosen(&library, &[command("x"), command("y")], &["suite", "core"]);
}

#[test]
fn what_a_later_choice_makes_superfluous_is_dropped() {
    // x and y both leave a choice; the better one for x also comes with the better one for y
    let library = library([
        component("x-only", 1).command("x"),
        component("both", 5).command("x").command("y").prefer(1),
        component("y-only", 1).command("y"),
        component("other-y", 1)
            .command("y")
            .prefer(3)
            .requires("both"),
    ]);
    chosen(&library, &[command("x"), command("y")], &["both", "core"]);
}

#[test]
fn a_tie_is_refused_naming_both_and_settled_by_rules() {
    let library = library([
        component("gawk", 10).command("awk"),
        component("mawk", 10).command("awk"),
    ]);
    let message = refused(&library, &[command("awk")], RefusalKind::Ambiguous);
    assert!(message.contains("`gawk` and `mawk`"), "{message}");
    assert!(message.contains("exclude"), "{message}");
    for policy in [
        Policy {
            exclude: [name("gawk")].into(),
            ..Policy::default()
        },
        Policy {
            components: vec![name("mawk")],
            ..Policy::default()
        },
    ] {
        let resolution = ask(&library, &[command("awk")], policy).unwrap();
        assert_eq!(names(&resolution), ["mawk", "core"]);
    }
    // optional, it must not stop the container: taken by name, and said
    let resolution = chosen(&library, &[command("sh"), word("awk")], &["gawk", "core"]);
    assert!(
        resolution.warnings[0].contains("several"),
        "{:?}",
        resolution.warnings
    );
}

#[test]
fn two_providers_of_the_same_content_are_no_tie() {
    let library = library([
        component("b", 10).shared_soname("libx.so.1"),
        component("a", 10).shared_soname("libx.so.1"),
    ]);
    chosen(&library, &[soname("libx.so.1", &[])], &["a", "core"]);
}

#[test]
fn a_tie_that_another_need_settles_is_none() {
    let library = library([
        component("gawk", 10).command("awk").command("gawk"),
        component("mawk", 10).command("awk"),
    ]);
    chosen(&library, &[command("awk"), word("gawk")], &["gawk", "core"]);
}

fn supervisors() -> Library {
    library([
        component("init-system", 10)
            .grants("process_management")
            .command("runsv")
            .prefer(10),
        component("init-system-systemd", 90)
            .grants("process_management")
            .alias("init-system")
            .conflicts("init-system"),
        component("service-manager", 20)
            .grants("service_control")
            .command("systemctl")
            .requires("init-system-systemd"),
        component("supervised", 1)
            .command("supervised")
            .requires("init-system"),
    ])
}

#[test]
fn a_capability_is_taken_from_what_is_required_anyway_when_its_default_conflicts() {
    let library = supervisors();
    chosen(
        &library,
        &[grant("process_management", Strength::Hard)],
        &["init-system", "core"],
    );
    let systemd = ["service-manager", "init-system-systemd", "core"];
    for strength in [Strength::Hard, Strength::Soft] {
        chosen(
            &library,
            &[command("systemctl"), grant("process_management", strength)],
            &systemd,
        );
        chosen(
            &library,
            &[
                grant("process_management", Strength::Hard),
                word("systemctl"),
            ],
            &systemd,
        );
        let both = [
            grant("process_management", Strength::Hard),
            grant("service_control", strength),
        ];
        chosen(&library, &both, &systemd);
    }
    // a component that requires `init-system` takes either
    chosen(
        &library,
        &[command("supervised")],
        &["supervised", "init-system", "core"],
    );
    chosen(
        &library,
        &[command("supervised"), word("systemctl")],
        &[
            "service-manager",
            "supervised",
            "init-system-systemd",
            "core",
        ],
    );
}

#[test]
fn a_conflict_names_both_and_who_wants_them() {
    let message = refused(
        &supervisors(),
        &[command("systemctl"), path("/usr/bin/runsv")],
        RefusalKind::Conflict,
    );
    assert!(
        message.contains("`init-system` (for /usr/bin/runsv"),
        "{message}"
    );
    assert!(
        message.contains("`init-system-systemd` (required by `service-manager`)"),
        "{message}"
    );
}

#[test]
fn an_optional_need_gives_way_to_a_conflict() {
    let needs = [path("/usr/bin/runsv"), word("systemctl")];
    let resolution = chosen(&supervisors(), &needs, &["init-system", "core"]);
    assert!(
        resolution.warnings[0].contains("conflicts"),
        "{:?}",
        resolution.warnings
    );
}

#[test]
fn exclusion_works_by_name_and_alias_and_is_named_when_it_hurts() {
    let library = supervisors();
    let without = |text: &str| Policy {
        exclude: [name(text)].into(),
        ..Policy::default()
    };
    let need = [grant("process_management", Strength::Hard)];
    let refusal = ask(&library, &need, without("init-system")).unwrap_err();
    assert_eq!(refusal.kind(), RefusalKind::Excluded, "{refusal}");
    let refusal = ask(
        &library,
        &[command("systemctl")],
        without("init-system-systemd"),
    )
    .unwrap_err();
    assert_eq!(refusal.kind(), RefusalKind::Excluded);
    let message = refusal.to_string();
    assert!(
        message.contains("requires component `init-system-systemd`, which is excluded"),
        "{message}"
    );
    let refusal = ask(&library, &[command("sh")], without("core")).unwrap_err();
    assert_eq!(refusal.kind(), RefusalKind::Excluded, "{refusal}");
}

#[test]
fn explicit_names_are_exact_where_they_can_be() {
    let library = supervisors();
    let policy = |text: &str| Policy {
        components: vec![name(text)],
        ..Policy::default()
    };
    let resolution = ask(&library, &[], policy("init-system-systemd")).unwrap();
    assert_eq!(names(&resolution), ["init-system-systemd", "core"]);
    let resolution = ask(&library, &[], policy("init-system")).unwrap();
    assert_eq!(names(&resolution), ["init-system", "core"]);
    let refusal = ask(&library, &[], policy("nonesuch")).unwrap_err();
    assert_eq!(refusal.kind(), RefusalKind::NotFound);
    let require = Policy {
        require: [capability("service_control")].into(),
        ..Policy::default()
    };
    let resolution = ask(&library, &[], require).unwrap();
    assert_eq!(
        names(&resolution),
        ["service-manager", "init-system-systemd", "core"]
    );
}

#[test]
fn links_are_followed_into_other_components() {
    let library = library([
        component("alternatives", 1)
            .link("/usr/bin/editor", "/etc/alternatives/editor")
            .link("/etc/alternatives/editor", "/bin/vi"),
        component("vim", 9).command("vi"),
        component("ssl", 2).link("/usr/lib/ssl/certs", "../../../etc/ssl/certs"),
        component("certs", 3)
            .directory("/etc/ssl/certs")
            .file("/etc/ssl/certs/ca.crt", "ca"),
        component("hole", 1).link("/usr/bin/hole", "nowhere"),
        component("loop", 1).link("/a", "b").link("/b", "a"),
        component("mtab", 1).link("/usr/lib/mtab", "/proc/self/mounts"),
    ]);
    chosen(
        &library,
        &[path("/bin/editor")],
        &["alternatives", "vim", "core"],
    );
    chosen(
        &library,
        &[path("/usr/lib/ssl/certs/ca.crt")],
        &["certs", "ssl", "core"],
    );
    chosen(&library, &[path("/lib/mtab")], &["mtab", "core"]);
    let message = refused(&library, &[path("/usr/bin/hole")], RefusalKind::NotFound);
    assert!(
        message.contains("`hole` has a link to /usr/bin/nowhere"),
        "{message}"
    );
    refused(&library, &[path("/a")], RefusalKind::NotFound);
}

#[test]
fn a_component_whose_requirement_is_not_in_the_library_is_no_use() {
    let library = library([component("x", 1).command("x").requires("gone")]);
    let message = refused(&library, &[command("x")], RefusalKind::CommandNotFound);
    assert!(
        message.contains("`x` requires component `gone`, which is not in the library"),
        "{message}"
    );
}

#[test]
fn sonames_of_components_are_supplied_checked_or_warned_of() {
    let all = [
        component("app", 1)
            .command("app")
            .needs("libssl.so.3", &["OPENSSL_3.0.0"])
            .needs("libpam.so.0", &[]),
        component("openssl", 5).soname("libssl.so.3", &["OPENSSL_3.0.0"]),
        component("openssl-old", 2)
            .soname("libssl.so.3", &[])
            .prefer(5),
        component("new", 1)
            .command("new")
            .needs("libssl.so.3", &["OPENSSL_3.9.0"]),
        component("private", 1)
            .command("private")
            .needs("libp.so.1", &[])
            .requires("holder"),
        component("holder", 1).private_soname("libp.so.1"),
    ];
    let library = library(all);
    let resolution = chosen(&library, &[command("app")], &["app", "openssl", "core"]);
    assert!(
        resolution.warnings[0].contains("`app` needs libpam.so.0"),
        "{:?}",
        resolution.warnings
    );
    assert_eq!(
        resolution.layers[1].reasons,
        [Reason::RequiredBy {
            component: name("app"),
            via: "libssl.so.3".into()
        }]
    );
    let message = refused(&library, &[command("new")], RefusalKind::SymbolVersion);
    assert!(
        message.contains("component `new`") && message.contains("OPENSSL_3.9.0"),
        "{message}"
    );
    let resolution = chosen(
        &library,
        &[command("private")],
        &["private", "holder", "core"],
    );
    assert!(resolution.warnings.is_empty(), "{:?}", resolution.warnings);
}

#[test]
fn a_copy_on_top_must_not_hide_the_symbol_versions_below() {
    // `old` is chosen for its command and lies above core, where its libc would be loaded instead of core's
    let old = component("old", 1)
        .command("old")
        .soname("libc.so.6", &["GLIBC_2.2.5"]);
    let needs = [command("old"), soname("libc.so.6", &["GLIBC_2.36"])];
    let message = refused(&library([old]), &needs, RefusalKind::SymbolVersion);
    assert!(message.contains("component `old` hides"), "{message}");
}

#[test]
fn of_two_versions_of_a_component_the_newest_that_will_do_is_taken() {
    let library = library([
        component("lib", 1).version(2).soname("libx.so.1", &["X_2"]),
        component("lib", 1)
            .version(3)
            .soname("libx.so.1", &["X_2", "X_3"]),
    ]);
    let resolution = chosen(&library, &[soname("libx.so.1", &["X_2"])], &["lib", "core"]);
    assert_eq!(resolution.layers[0].version.major, 3);
}

#[test]
fn weak_evidence_is_silent_and_modules_and_components_are_found() {
    let library = library([
        component("python3", 9)
            .module("python3", "ssl")
            .command("python3"),
        component("tzdata", 2)
            .alias("zoneinfo")
            .directory("/usr/share/zoneinfo"),
    ]);
    let module = |text: &str| {
        let need = Need::Module {
            language: "python3".to_owned(),
            name: text.to_owned(),
        };
        want(need, Strength::Soft, EvidenceKind::Import)
    };
    let owner = Need::Component {
        name: name("zoneinfo"),
    };
    let needs = [
        command("sh"),
        module("ssl"),
        module("numpy"),
        want(owner, Strength::Soft, EvidenceKind::Owner),
    ];
    let resolution = chosen(&library, &needs, &["python3", "tzdata", "core"]);
    assert!(resolution.warnings.is_empty(), "{:?}", resolution.warnings);
}

#[test]
fn a_declared_need_makes_a_bundle_thin() {
    let library = library([component("tzdata", 2).directory("/usr/share/zoneinfo")]);
    let need = Need::Path {
        path: "/usr/share/zoneinfo".to_owned(),
    };
    let declared = want(need, Strength::Soft, EvidenceKind::Declared);
    chosen(&library, &[declared], &["tzdata", "core"]);
}

#[test]
fn a_link_on_the_way_to_an_interpreter_is_not_the_entry() {
    let mut need = path("/opt/python");
    let link = Evidence {
        kind: EvidenceKind::Entry,
        source: "/usr/bin/python".to_owned(),
        detail: "-> /opt/python".to_owned(),
    };
    need.chain.push(link);
    let message = refused(&library([]), &[need], RefusalKind::NotFound);
    assert!(
        message.starts_with("/opt/python (needed by /usr/bin/python): no such file or directory"),
        "{message}"
    );
}

/// The bound is generous: it catches a search that became exponential, not a slow machine.
#[test]
fn a_large_request_is_answered_in_no_time() {
    let mut all = vec![core()];
    let mut needs = vec![command("c0")];
    for n in 0..30_u64 {
        let mut one = component(&format!("n{n}"), n + 1)
            .command(&format!("c{n}"))
            .soname(&format!("lib{n}.so"), &["V1"]);
        for below in (1..4).map(|step| n + step * 7).filter(|below| *below < 30) {
            one = one
                .requires(&format!("n{below}"))
                .needs(&format!("lib{below}.so"), &["V1"]);
        }
        all.push(one);
    }
    needs.extend((0..30).map(|n| word(&format!("c{n}"))));
    needs.extend((0..30).map(|n| soname(&format!("lib{n}.so"), &["V1"])));
    let library = Library(all);
    let started = std::time::Instant::now();
    let resolution = ask(&library, &needs, Policy::default()).unwrap();
    assert!(resolution.chosen.len() > 30);
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    println!(
        "{} layers in {:?}",
        resolution.chosen.len(),
        started.elapsed()
    );
}
