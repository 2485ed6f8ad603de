//! ELF programs and their libraries, compiled for the test.

#![allow(
    clippy::unwrap_used,
    reason = "clippy's exception is for test functions, not for what they call"
)]

mod support;

use fragment_analysis::elf::{self, ElfKind};
use fragment_analysis::{AnalysisError, analyse, check_merged};
use fragment_analysis::{MergedError, MergedProblem};
use fragment_types::manifest::Machine;
use fragment_types::plan::EntryKind;
use fragment_types::{EvidenceKind, Need};
use support::{Library, Rootfs, gcc, label, library, missing, task};

const MAIN: &str = "int f(void); int main(void) { return f(); }";
const LIBRARY: &str = "int f(void) { return 0; }";

/// A rootfs with `/app/bin/app`, which needs `libf.so.1` in `/app/lib`, linked with `flags`.
fn with_library(flags: &[&str], library_flags: &[&str]) -> Rootfs {
    let rootfs = Rootfs::new();
    let dir = rootfs.at("/");
    let mut shared = vec!["-shared", "-fPIC", "-Wl,-soname,libf.so.1", "-nostdlib"];
    shared.extend(library_flags);
    gcc(&dir, "app/lib/libf.so.1", LIBRARY, &shared);
    let mut all = vec!["app/lib/libf.so.1"];
    all.extend(flags);
    gcc(&dir, "app/bin/app", MAIN, &all);
    rootfs
}

fn satisfied(rootfs: &Rootfs, env: &[&str], soname: &str) -> Option<String> {
    let analysis = rootfs
        .analyse_with(&task(&["/app/bin/app"], env), &library())
        .unwrap();
    let of = |need: &Need| matches!(need, Need::Soname(needed) if needed.soname == soname);
    analysis
        .requirements
        .iter()
        .find(|r| of(&r.need))
        .unwrap()
        .satisfied_by
        .clone()
}

#[test]
fn a_dynamic_program_needs_loader_and_libraries() {
    let rootfs = Rootfs::new();
    gcc(
        &rootfs.at("/"),
        "app",
        "#include <stdio.h>\nint main(void) { puts(\"x\"); }",
        &[],
    );
    let analysis = rootfs.analyse(&["/app"]).unwrap();
    assert_eq!(analysis.entry.kind, EntryKind::DynamicElf);
    assert_eq!(
        missing(&analysis),
        [
            "hard /lib64/ld-linux-x86-64.so.2",
            "hard libc.so.6 GLIBC_2.2.5,GLIBC_2.34"
        ]
    );
    let libc = analysis
        .requirements
        .iter()
        .find(|r| label(r).contains("libc"))
        .unwrap();
    let Need::Soname(needed) = &libc.need else {
        panic!()
    };
    assert_eq!(needed.machine, Machine::X86_64);
    let chain: Vec<_> = libc
        .chain
        .iter()
        .map(|step| (step.kind, step.source.as_str()))
        .collect();
    assert_eq!(
        chain,
        [
            (EvidenceKind::Entry, "argv[0]"),
            (EvidenceKind::Needed, "/app")
        ]
    );
    assert_eq!(
        libc.chain[1].detail,
        "libc.so.6 (GLIBC_2.2.5 and GLIBC_2.34)"
    );
}

#[test]
fn static_programs_need_nothing() {
    for flag in ["-static", "-static-pie"] {
        let rootfs = Rootfs::new();
        gcc(
            &rootfs.at("/"),
            "app",
            "int main(void) { return 0; }",
            &[flag],
        );
        let analysis = rootfs.analyse(&["/app"]).unwrap();
        assert_eq!(analysis.entry.kind, EntryKind::StaticElf, "{flag}");
        assert_eq!(missing(&analysis), [""; 0], "{flag}");
        assert!(!analysis.is_thin());
    }
}

#[test]
fn libraries_are_searched_as_the_loader_does() {
    let lib = Some("/app/lib/libf.so.1".to_owned());
    for (flags, env, found) in [
        (&["-Wl,-rpath,$ORIGIN/../lib"][..], &[][..], &lib),
        (&["-Wl,-rpath,${ORIGIN}/../lib"], &[], &lib),
        (
            &["-Wl,-rpath,$ORIGIN/../lib", "-Wl,--disable-new-dtags"],
            &[],
            &lib,
        ),
        (&["-Wl,-rpath,/app/$LIB"], &[], &lib),
        (&["-Wl,-rpath,/nowhere:/app/lib"], &[], &lib),
        (&[], &["LD_LIBRARY_PATH=/x:/app/lib"], &lib),
        (&[], &["LD_LIBRARY_PATH="], &None),
        (&[], &[], &None),
        (&["-Wl,-rpath,/nowhere"], &[], &None),
    ] {
        let rootfs = with_library(flags, &[]);
        let path = satisfied(&rootfs, env, "libf.so.1").map(|path| path.replace("/bin/../", "/"));
        assert_eq!(path, *found, "{flags:?} {env:?}");
    }
}

#[test]
fn directories_of_the_system_are_searched() {
    let rootfs = with_library(&[], &[]);
    let lib = std::fs::read(rootfs.at("/app/lib/libf.so.1")).unwrap();
    for directory in [
        "/lib/x86_64-linux-gnu",
        "/usr/lib/x86_64-linux-gnu",
        "/lib",
        "/usr/lib",
    ] {
        let rootfs = with_library(&[], &[]);
        let path = format!("{directory}/libf.so.1");
        rootfs.file(&path, &lib, 0o644);
        assert_eq!(satisfied(&rootfs, &[], "libf.so.1"), Some(path));
    }
    // Configured directories count through the cache alone.
    rootfs.file(
        "/etc/ld.so.conf",
        "include /etc/ld.so.conf.d/*.conf\n",
        0o644,
    );
    rootfs.file("/etc/ld.so.conf.d/app.conf", "# mine\n/app/lib\n", 0o644);
    assert_eq!(satisfied(&rootfs, &[], "libf.so.1"), None);
    rootfs.file("/etc/ld.so.cache", "", 0o644);
    assert_eq!(
        satisfied(&rootfs, &[], "libf.so.1"),
        Some("/app/lib/libf.so.1".into())
    );
    // Debian's loader, which a component would bring, knows no /lib64.
    let rootfs = with_library(&[], &[]);
    rootfs.file("/lib64/libf.so.1", &lib, 0o644);
    assert_eq!(satisfied(&rootfs, &[], "libf.so.1"), None);
}

#[test]
fn an_inherited_rpath_serves_libraries_and_a_runpath_does_not() {
    for (tags, found) in [("--disable-new-dtags", true), ("--enable-new-dtags", false)] {
        let rootfs = Rootfs::new();
        let dir = rootfs.at("/");
        let shared = ["-shared", "-fPIC", "-nostdlib"];
        let with = |more: &[&'static str]| [&shared[..], more].concat();
        gcc(
            &dir,
            "app/lib/libg.so",
            "int g(void) { return 0; }",
            &with(&["-Wl,-soname,libg.so"]),
        );
        gcc(
            &dir,
            "app/lib/libf.so.1",
            "int g(void); int f(void) { return g(); }",
            &with(&["-Wl,-soname,libf.so.1", "app/lib/libg.so"]),
        );
        let tags = format!("-Wl,{tags}");
        let flags = [
            "app/lib/libf.so.1",
            "-Wl,-rpath,/app/lib",
            "-Wl,-rpath-link,app/lib",
            &tags,
        ];
        gcc(&dir, "app/bin/app", MAIN, &flags);
        assert!(satisfied(&rootfs, &[], "libf.so.1").is_some());
        assert_eq!(
            satisfied(&rootfs, &[], "libg.so").is_some(),
            found,
            "{tags}"
        );
    }
}

#[test]
fn missing_libraries_of_libraries_have_the_whole_chain() {
    let rootfs = Rootfs::new();
    let dir = rootfs.at("/");
    gcc(
        &dir,
        "libg.so.2",
        "int g(void) { return 0; }",
        &["-shared", "-fPIC", "-Wl,-soname,libg.so.2", "-nostdlib"],
    );
    let flags = [
        "-shared",
        "-fPIC",
        "-Wl,-soname,libf.so.1",
        "-nostdlib",
        "libg.so.2",
    ];
    gcc(
        &dir,
        "app/lib/libf.so.1",
        "int g(void); int f(void) { return g(); }",
        &flags,
    );
    let flags = [
        "app/lib/libf.so.1",
        "-Wl,-rpath,/app/lib",
        "-Wl,--allow-shlib-undefined",
    ];
    gcc(&dir, "app/bin/app", MAIN, &flags);
    let analysis = rootfs.analyse(&["/app/bin/app"]).unwrap();
    let g = analysis
        .requirements
        .iter()
        .find(|r| label(r) == "hard libg.so.2")
        .unwrap();
    let chain: Vec<_> = g.chain.iter().map(|step| step.source.as_str()).collect();
    assert_eq!(chain, ["argv[0]", "/app/bin/app", "/app/lib/libf.so.1"]);
}

const VERSIONS: &str = "F_1 { global: f; };\nF_2 { global: g; } F_1;\n";
const TWO: &str = "int f(void) { return 0; } int g(void) { return 0; }";

#[test]
fn a_library_of_the_bundle_must_define_the_versions() {
    let rootfs = Rootfs::new();
    let dir = rootfs.at("/");
    std::fs::write(dir.join("v.map"), VERSIONS).unwrap();
    std::fs::write(dir.join("old.map"), "F_1 { global: f; };\n").unwrap();
    let shared = ["-shared", "-fPIC", "-Wl,-soname,libf.so.1", "-nostdlib"];
    let with = |map: &'static str| [&shared[..], &[map]].concat();
    gcc(
        &dir,
        "app/lib/libf.so.1",
        TWO,
        &with("-Wl,--version-script=v.map"),
    );
    let main = "int f(void); int g(void); int main(void) { return f() + g(); }";
    gcc(
        &dir,
        "app/bin/app",
        main,
        &["app/lib/libf.so.1", "-Wl,-rpath,/app/lib"],
    );
    assert!(rootfs.analyse(&["/app/bin/app"]).is_ok());
    gcc(
        &dir,
        "app/lib/libf.so.1",
        LIBRARY,
        &with("-Wl,--version-script=old.map"),
    );
    let error = rootfs.analyse(&["/app/bin/app"]).unwrap_err();
    let AnalysisError::SymbolVersion {
        soname,
        path,
        missing,
        ..
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(
        (soname.as_str(), path.as_str()),
        ("libf.so.1", "/app/lib/libf.so.1")
    );
    assert_eq!(missing.iter().collect::<Vec<_>>(), ["F_2"]);
    // Of a program that only words lead to, it is a warning.
    let analysis = rootfs.analyse(&["sh", "-c", "/app/bin/app"]).unwrap();
    assert!(
        analysis.warnings[0].contains("needs F_2 of libf.so.1"),
        "{:?}",
        analysis.warnings
    );
    // Without any version the loader only warns.
    gcc(&dir, "app/lib/libf.so.1", TWO, &shared);
    assert!(rootfs.analyse(&["/app/bin/app"]).is_ok());
    // Missing altogether, a component may have it.
    std::fs::remove_file(rootfs.at("/app/lib/libf.so.1")).unwrap();
    let analysis = rootfs.analyse(&["/app/bin/app"]).unwrap();
    assert!(missing_labels(&analysis).contains(&"hard libf.so.1 F_1,F_2".to_owned()));
}

fn missing_labels(analysis: &fragment_analysis::Analysis) -> Vec<String> {
    missing(analysis)
}

#[test]
fn truncated_programs_are_refused_and_never_panic() {
    let rootfs = with_library(&["-Wl,-rpath,/app/lib"], &[]);
    let app = std::fs::read(rootfs.at("/app/bin/app")).unwrap();
    let sections = u64::from_le_bytes(app[40..48].try_into().unwrap()) as usize;
    let mut refused = 0;
    for len in (0..app.len()).step_by(64) {
        let parsed = elf::parse_bytes(&app[..len]);
        let _ = elf::imports(&&app[..len]);
        refused += usize::from(parsed.is_err());
        // Section headers and what is near them are not loaded: a file cut there still runs.
        assert!(
            parsed.is_err() || len > sections / 2,
            "{len} of {}",
            app.len()
        );
        rootfs.program("/app/bin/app", &app[..len]);
        let result = analyse(&rootfs.root(), &task(&["/app/bin/app"], &[]), &library());
        if len >= 4 {
            assert_eq!(result.is_err(), parsed.is_err(), "{len}");
        }
    }
    assert!(refused > 10);
    rootfs.program("/app/bin/app", &app[..app.len() / 4]);
    let text = rootfs.error(&["/app/bin/app"]);
    assert!(
        text.contains("/app/bin/app of the root filesystem cannot be loaded"),
        "{text}"
    );
    assert!(text.contains("it is truncated"), "{text}");
}

#[test]
fn truncated_libraries_are_refused_where_they_would_be_loaded() {
    let rootfs = with_library(&["-Wl,-rpath,/app/lib"], &[]);
    let lib = std::fs::read(rootfs.at("/app/lib/libf.so.1")).unwrap();
    for content in [&lib[..lib.len() / 4], b"", b"INPUT(libx.so)"] {
        rootfs.file("/app/lib/libf.so.1", content, 0o644);
        assert!(
            rootfs
                .error(&["/app/bin/app"])
                .contains("/app/lib/libf.so.1"),
            "{content:?}"
        );
    }
}

#[test]
fn every_flipped_byte_of_a_program_is_survived() {
    let rootfs = with_library(&["-Wl,-rpath,/app/lib"], &[]);
    let mut app = std::fs::read(rootfs.at("/app/bin/app")).unwrap();
    for at in 0..app.len().min(6000) {
        for value in [0, 0xff, app[at] ^ 0x80] {
            let old = std::mem::replace(&mut app[at], value);
            let _ = elf::parse_bytes(&app);
            let _ = elf::imports(&app.as_slice());
            app[at] = old;
        }
    }
}

#[test]
fn facts_of_a_real_library_are_right() {
    let libc = std::fs::read("/lib/x86_64-linux-gnu/libc.so.6").unwrap();
    let elf = elf::parse_bytes(&libc).unwrap();
    assert_eq!(
        (elf.machine, elf.kind),
        (Machine::X86_64, ElfKind::SharedObject)
    );
    assert_eq!(elf.soname.as_deref(), Some("libc.so.6"));
    assert_eq!(elf.needed, ["ld-linux-x86-64.so.2"]);
    assert!(elf.versions_defined.contains("GLIBC_2.34"));
    assert!(
        !elf.versions_defined.contains("libc.so.6"),
        "the base version is no version"
    );
    let imports = elf::imports(&libc.as_slice()).unwrap();
    assert!(
        imports.contains("__tls_get_addr") && !imports.contains("printf"),
        "{imports:?}"
    );
}

#[test]
fn a_musl_program_is_never_mixed_with_glibc_components() {
    let rootfs = with_library(&["-Wl,--dynamic-linker,/lib/ld-musl-x86_64.so.1"], &[]);
    rootfs.program(
        "/lib/ld-musl-x86_64.so.1",
        std::fs::read(rootfs.at("/app/lib/libf.so.1")).unwrap(),
    );
    let text = rootfs.error(&["/app/bin/app"]);
    assert!(
        text.contains("needs libf.so.1 for /lib/ld-musl-x86_64.so.1"),
        "{text}"
    );
    // Its own path file, and RUNPATH, serve it.
    rootfs.file("/etc/ld-musl-x86_64.path", "/x\n/app/lib\n", 0o644);
    let analysis = rootfs.analyse(&["/app/bin/app"]).unwrap();
    // `libc.so.6` is the loader itself: musl takes every `libc.*` for its own.
    assert!(!analysis.is_thin(), "{analysis:?}");
}

#[test]
fn merged_view_prefers_the_bundle_and_checks_versions() {
    let rootfs = Rootfs::new();
    let dir = rootfs.at("/");
    std::fs::write(dir.join("old.map"), "F_1 { global: f; };\n").unwrap();
    let flags = [
        "-shared",
        "-fPIC",
        "-Wl,-soname,libf.so.1",
        "-nostdlib",
        "-Wl,--version-script=old.map",
    ];
    gcc(&dir, "usr/lib/x86_64-linux-gnu/libf.so.1", LIBRARY, &flags);
    let library = |path: &str| {
        Library::default()
            .component("user")
            .needs("libf.so.1", &["F_1", "F_2"])
            .component("libf")
            .soname("libf.so.1", path, &["F_1", "F_2"])
    };
    let check = |library: &Library, chosen: &[&str]| {
        let chosen: Vec<_> = chosen.iter().map(|name| library.index(name)).collect();
        check_merged(&rootfs.root(), library, &chosen, &task(&["x"], &[]))
    };
    let same = library("/usr/lib/x86_64-linux-gnu/libf.so.1");
    let Err(MergedError::Mismatch(mismatches)) = check(&same, &["user", "libf"]) else {
        panic!()
    };
    assert_eq!(mismatches.len(), 1);
    assert_eq!(
        mismatches[0].problem,
        MergedProblem::Versions(["F_2".to_owned()].into())
    );
    assert_eq!(mismatches[0].path, "/usr/lib/x86_64-linux-gnu/libf.so.1");
    let text = mismatches[0].to_string();
    assert!(
        text.contains("component `user` needs libf.so.1") && text.contains("F_2"),
        "{text}"
    );
    // Nobody chosen needs it.
    assert!(check(&same, &["libf"]).is_ok());
    // In a directory that is searched later, the bundle's file is not loaded.
    std::fs::create_dir_all(rootfs.at("/usr/lib/x")).unwrap();
    std::fs::rename(
        rootfs.at("/usr/lib/x86_64-linux-gnu/libf.so.1"),
        rootfs.at("/usr/lib/libf.so.1"),
    )
    .unwrap();
    assert!(check(&same, &["user", "libf"]).is_ok());
    assert!(
        check(&same, &["user"]).is_err(),
        "without the component it is"
    );
    // A file that is no ELF file at all hides the component's too.
    rootfs.file("/usr/lib/x86_64-linux-gnu/libf.so.1", "text", 0o644);
    let Err(MergedError::Mismatch(mismatches)) = check(&same, &["user", "libf"]) else {
        panic!()
    };
    assert!(matches!(mismatches[0].problem, MergedProblem::Damaged(_)));
}

#[test]
fn libraries_for_musl_are_no_libraries_for_components() {
    let rootfs = Rootfs::new();
    let dir = rootfs.at("/");
    let shared = ["-shared", "-fPIC", "-nostdlib"];
    gcc(
        &dir,
        "libc.musl-x86_64.so.1",
        LIBRARY,
        &[&shared[..], &["-Wl,-soname,libc.musl-x86_64.so.1"]].concat(),
    );
    let flags = [
        &shared[..],
        &[
            "-Wl,-soname,libz.so.1",
            "-Wl,--no-as-needed",
            "libc.musl-x86_64.so.1",
        ],
    ]
    .concat();
    gcc(&dir, "usr/lib/libz.so.1", "int z;", &flags);
    let library = Library::default().component("user").needs("libz.so.1", &[]);
    let result = check_merged(
        &rootfs.root(),
        &library,
        &[library.index("user")],
        &task(&["x"], &[]),
    );
    let Err(MergedError::Mismatch(mismatches)) = result else {
        panic!()
    };
    assert_eq!(
        mismatches[0].problem,
        MergedProblem::ForeignLibc("libc.musl-x86_64.so.1".into())
    );
}

#[test]
fn a_wrapped_program_is_as_hard_as_its_wrapper() {
    let rootfs = with_library(&[], &[]);
    rootfs.program("/sbin/tini", std::fs::read("/bin/true").unwrap());
    for (argv, strength) in [
        (&["/sbin/tini", "--", "/app/bin/app"][..], "hard libf.so.1"),
        (&["env", "A=1", "/app/bin/app"], "hard libf.so.1"),
        (
            &["env", "LD_LIBRARY_PATH=/app/lib", "/app/bin/app"],
            "soft libf.so.1",
        ),
        (&["sh", "-c", "/app/bin/app"], "soft libf.so.1"),
        (&["xargs", "/app/bin/app"], "soft libf.so.1"),
        (&["supervise", "--run", "/app/bin/app"], "soft libf.so.1"),
    ] {
        let missing = missing(&rootfs.analyse(argv).unwrap());
        assert!(
            missing.iter().any(|label| label == strength),
            "{argv:?}: {missing:?}"
        );
    }
}

#[test]
fn a_rootfs_full_of_links_and_devices_is_survived() {
    let rootfs = with_library(&["-Wl,-rpath,/app/loop:/app/lib"], &[]);
    rootfs.link("/app/loop", "loop");
    std::process::Command::new("mkfifo")
        .arg(rootfs.at("/fifo"))
        .status()
        .unwrap();
    std::fs::set_permissions(
        rootfs.at("/fifo"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    assert!(satisfied(&rootfs, &[], "libf.so.1").is_some());
    assert!(rootfs.error(&["/fifo"]).contains("permission denied"));
    std::fs::remove_file(rootfs.at("/app/lib/libf.so.1")).unwrap();
    std::fs::rename(rootfs.at("/fifo"), rootfs.at("/app/lib/libf.so.1")).unwrap();
    assert_eq!(
        satisfied(&rootfs, &[], "libf.so.1"),
        None,
        "a FIFO is no library and blocks nobody"
    );
}

#[test]
fn loader_and_libc_of_different_releases_are_not_mixed() {
    let libc = std::fs::read("/lib/x86_64-linux-gnu/libc.so.6").unwrap();
    let versions = elf::parse_bytes(&libc).unwrap().versions_defined;
    let versions: Vec<&str> = versions.iter().map(String::as_str).collect();
    let rootfs = Rootfs::new();
    rootfs.program("/usr/lib/x86_64-linux-gnu/libc.so.6", &libc);
    let path = "/usr/lib/x86_64-linux-gnu/libc.so.6";
    for (versions, fits) in [(&versions[..], true), (&versions[1..], false)] {
        let library = Library::default()
            .component("core")
            .soname("libc.so.6", path, versions)
            .soname(
                "ld-linux-x86-64.so.2",
                "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
                &[],
            );
        let core = [library.index("core")];
        let result = check_merged(&rootfs.root(), &library, &core, &task(&["x"], &[]));
        assert_eq!(result.is_ok(), fits, "{result:?}");
        if let Err(error) = result {
            assert!(
                error
                    .to_string()
                    .contains("another release of the C library"),
                "{error}"
            );
        }
    }
    // With both halves in the bundle, nothing is mixed.
    rootfs.program("/lib64/ld-linux-x86-64.so.2", &libc);
    let library = Library::default()
        .component("core")
        .soname("libc.so.6", path, &["GLIBC_2.2.5"]);
    assert!(
        check_merged(
            &rootfs.root(),
            &library,
            &[library.index("core")],
            &task(&["x"], &[])
        )
        .is_ok()
    );
}

#[test]
fn commands_of_a_whole_system_lack_nothing() {
    let root = fragment_sys::root::Root::open("/").unwrap();
    for command in ["sh", "env", "gcc", "perl", "bash", "ld", "/usr/bin/ldd"] {
        let analysis = analyse(&root, &task(&[command, "--version"], &[]), &library()).unwrap();
        assert!(!analysis.is_thin(), "{command}: {:?}", missing(&analysis));
        assert!(analysis.requirements.len() >= 3, "{command}");
    }
}
