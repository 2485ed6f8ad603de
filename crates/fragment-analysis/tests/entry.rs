//! The entrypoint: look-up, links, scripts.

mod support;

use fragment_analysis::AnalysisErrorKind;
use fragment_types::plan::EntryKind;
use fragment_types::{EvidenceKind, Need};
use support::{Library, Rootfs, library, missing, task};

#[test]
fn an_empty_rootfs_gets_its_command_from_the_library() {
    let analysis = Rootfs::new().analyse(&["echo", "hello"]).unwrap();
    assert!(analysis.is_thin());
    assert_eq!(missing(&analysis), ["hard command `echo`"]);
    // The core fragment goes before any other provider, and its links are followed.
    assert_eq!(analysis.entry.path, "/usr/bin/busybox");
    assert_eq!(
        (analysis.entry.kind, analysis.entry.in_bundle),
        (EntryKind::Component, false)
    );
}

#[test]
fn a_missing_entry_stays_a_hard_requirement() {
    let analysis = Rootfs::new().analyse(&["nosuch"]).unwrap();
    assert_eq!(missing(&analysis), ["hard command `nosuch`"]);
    let analysis = Rootfs::new().analyse(&["/opt/nosuch"]).unwrap();
    assert_eq!(missing(&analysis), ["hard /opt/nosuch"]);
    let analysis = Rootfs::new().analyse(&["/bin/sh"]).unwrap();
    assert_eq!(analysis.entry.path, "/usr/bin/busybox");
    assert_eq!(missing(&analysis), ["hard /bin/sh"]);
}

#[test]
fn what_cannot_be_executed_is_said_in_the_words_of_runc() {
    let rootfs = Rootfs::new();
    rootfs
        .directory("/dir/x")
        .file("/plain", "x", 0o644)
        .link("/a", "/b")
        .link("/b", "a");
    for (argv, words, kind) in [
        (
            &[][..],
            "process.args must not be empty",
            AnalysisErrorKind::Other,
        ),
        (
            &["/dir"],
            "exec: \"/dir\": is a directory: permission denied",
            AnalysisErrorKind::NotExecutable,
        ),
        (
            &["./dir"],
            "exec: \"./dir\": is a directory: permission denied",
            AnalysisErrorKind::NotExecutable,
        ),
        (
            &["/plain"],
            "exec: \"/plain\": permission denied",
            AnalysisErrorKind::NotExecutable,
        ),
        (
            &["/plain/x"],
            "leads through something that is not a directory",
            AnalysisErrorKind::Other,
        ),
        (
            &["/a"],
            "too many levels of symbolic links: /a -> /b, /b -> a",
            AnalysisErrorKind::Other,
        ),
    ] {
        let text = rootfs.error(argv);
        assert!(text.contains(words), "{argv:?}: {text}");
        assert_eq!(rootfs.analyse(argv).unwrap_err().kind(), kind, "{argv:?}");
    }
}

#[test]
fn a_command_outside_of_path_is_not_found() {
    let task = task(&["echo"], &["PATH=/opt/bin"]);
    let error = Rootfs::new().analyse_with(&task, &library()).unwrap_err();
    assert_eq!(error.kind(), AnalysisErrorKind::NotFound);
    assert!(
        error
            .to_string()
            .starts_with("exec: \"echo\": executable file not found in $PATH")
    );
}

#[test]
fn path_is_searched_in_the_rootfs_in_order() {
    let rootfs = Rootfs::new();
    rootfs
        .program("/two/x", "#!/bin/sh\n")
        .program("/three/x", "")
        .file("/one/x", "", 0o644);
    rootfs.directory("/zero/x");
    let task = task(&["x"], &["PATH=/zero:/one:/two:/three"]);
    let analysis = rootfs.analyse_with(&task, &library()).unwrap();
    assert_eq!(analysis.entry.path, "/two/x");
    assert_eq!(analysis.entry.kind, EntryKind::Script);
    assert!(analysis.entry.in_bundle);
    assert_eq!(missing(&analysis), ["hard /bin/sh"]);
}

#[test]
fn links_are_confined_and_recorded() {
    let rootfs = Rootfs::new();
    rootfs
        .program("/opt/app", "#!/bin/sh\n")
        .link("/usr/local/bin/app", "../../../../../../../opt/current")
        .link("/opt/current", "/opt/app");
    let analysis = rootfs.analyse(&["app"]).unwrap();
    assert_eq!(analysis.entry.path, "/opt/app");
    let entry = &analysis.requirements[0];
    assert_eq!(entry.satisfied_by.as_deref(), Some("/opt/app"));
    let links: Vec<_> = entry
        .chain
        .iter()
        .map(|step| step.source.as_str())
        .collect();
    assert_eq!(links, ["argv[0]", "/usr/local/bin/app", "/opt/current"]);
    // A link to a file of the host is a link to nothing.
    rootfs.link("/bin/out", "/etc/hostname-that-is-not-here");
    let analysis = rootfs.analyse(&["/bin/out"]).unwrap();
    assert_eq!(missing(&analysis), ["hard /etc/hostname-that-is-not-here"]);
}

#[test]
fn a_link_may_lead_into_a_component() {
    let rootfs = Rootfs::new();
    rootfs.link("/usr/bin/py", "python3");
    for command in ["py", "/usr/bin/py"] {
        let analysis = rootfs.analyse(&[command]).unwrap();
        assert_eq!(missing(&analysis), ["hard /usr/bin/python3"], "{command}");
        assert_eq!(analysis.entry.path, "/usr/bin/python3.11");
        assert_eq!(analysis.requirements[0].chain[1].detail, "-> python3");
    }
}

#[test]
fn scripts_need_their_interpreters() {
    for (text, expected) in [
        ("#!/bin/sh\n", &["hard /bin/sh"][..]),
        (
            "#!/usr/bin/env python3\n",
            &["hard /usr/bin/env", "hard command `python3`"],
        ),
        (
            "#!/usr/bin/env -S python3 -u\n",
            &["hard /usr/bin/env", "hard command `python3`"],
        ),
        (
            "#!/usr/bin/env -S A=1 /opt/x -y\n",
            &["hard /opt/x", "hard /usr/bin/env"],
        ),
        (
            "#!/usr/bin/env -S PATH=/x python3\n",
            &["hard /usr/bin/env", "soft command `python3`"],
        ),
        ("#!/usr/bin/env\n", &["hard /usr/bin/env"]),
        ("#! /opt/a/b c d\n", &["hard /opt/a/b"]),
        ("#!relative\n", &["hard /relative"]),
    ] {
        let rootfs = Rootfs::new();
        rootfs.program("/run", text);
        let analysis = rootfs.analyse(&["/run"]).unwrap();
        assert_eq!(missing(&analysis), expected, "{text}");
        assert_eq!(analysis.entry.kind, EntryKind::Script);
    }
    let rootfs = Rootfs::new();
    rootfs.program(
        "/run",
        "#!/usr/bin/env -S TOKEN=s3cret sh -c 'T=s3cret x'\n",
    );
    let text = format!("{:?}", rootfs.analyse(&["/run"]).unwrap());
    assert!(
        text.contains("TOKEN=…") && !text.contains("s3cret"),
        "{text}"
    );
}

#[test]
fn an_env_string_that_env_refuses_is_a_warning() {
    let rootfs = Rootfs::new();
    rootfs.program("/run", "#!/usr/bin/env -S 'python3\n");
    let analysis = rootfs.analyse(&["/run"]).unwrap();
    assert_eq!(missing(&analysis), ["hard /usr/bin/env"]);
    assert_eq!(
        analysis.warnings,
        ["/run: env -S: no terminating quote in the string"]
    );
}

#[test]
fn carriage_returns_are_explained() {
    let rootfs = Rootfs::new();
    rootfs
        .program("/a", "#!/bin/sh\r\necho\r\n")
        .program("/b", "#!/usr/bin/env python3\r\n");
    let text = rootfs.error(&["/a"]);
    assert!(text.contains("no such file or directory"), "{text}");
    assert!(text.contains("carriage return"), "{text}");
    let kind = rootfs.analyse(&["/a"]).unwrap_err().kind();
    assert_eq!(kind, AnalysisErrorKind::NotFound);
    // Of the other the kernel starts env.
    let analysis = rootfs.analyse(&["/b"]).unwrap();
    assert_eq!(missing(&analysis), ["hard /usr/bin/env"]);
    assert!(
        analysis.warnings[0].contains("`python3` with a carriage return"),
        "{:?}",
        analysis.warnings
    );
    // The kernel looks for exactly that name, and so it may be there.
    rootfs.program("/bin/sh\r", "#!/bin/busybox\n");
    assert_eq!(
        missing(&rootfs.analyse(&["/a"]).unwrap()),
        ["hard /bin/busybox"]
    );
}

#[test]
fn scripts_nest_as_deep_as_the_kernel_allows() {
    let rootfs = Rootfs::new();
    rootfs.program("/s1", "#!/bin/sh\n");
    for depth in 2..=6 {
        rootfs.program(&format!("/s{depth}"), format!("#!/s{}\n", depth - 1));
    }
    let analysis = rootfs.analyse(&["/s5"]).unwrap();
    assert_eq!(missing(&analysis), ["hard /bin/sh"]);
    let chain = &analysis
        .requirements
        .iter()
        .find(|r| r.is_missing())
        .unwrap()
        .chain;
    assert_eq!(
        chain
            .iter()
            .filter(|step| step.kind == EvidenceKind::Shebang)
            .count(),
        5
    );
    assert!(rootfs.error(&["/s6"]).contains("too many levels"));
    rootfs
        .program("/self", "#!/self\n")
        .program("/round", "#!/usr/bin/env round\n");
    assert!(rootfs.error(&["/self"]).contains("too many levels"));
    // Through env there is no limit, the program never ends, and the analysis does.
    rootfs.link("/usr/bin/round", "/round");
    assert!(rootfs.analyse(&["/round"]).is_ok());
}

#[test]
fn other_files_are_left_to_the_kernel() {
    let rootfs = Rootfs::new();
    rootfs
        .program("/text", "echo hello\n")
        .program("/empty", "")
        .program("/bang", "#!\n");
    for command in ["/text", "/empty", "/bang"] {
        let analysis = rootfs.analyse(&[command]).unwrap();
        assert_eq!(analysis.entry.kind, EntryKind::Other);
        assert!(!analysis.is_thin());
        // execve says what is wrong with a text; why a line that begins with `#!` is none, only we can
        let told: Vec<bool> = analysis
            .warnings
            .iter()
            .map(|one| one.contains("exec format error"))
            .collect();
        let expected: &[bool] = if command == "/bang" { &[true] } else { &[] };
        assert_eq!(told, expected, "{command}: {:?}", analysis.warnings);
    }
}

#[test]
fn the_preferred_component_is_the_entry() {
    let library = Library::default()
        .component("b")
        .file("/usr/bin/x", b"b")
        .component("a")
        .file("/usr/bin/x", b"a")
        .component("c")
        .prefer(1)
        .link("/usr/bin/x", "../lib/x/real")
        .file("/usr/lib/x/real", b"c");
    let analysis = Rootfs::new()
        .analyse_with(&task(&["x"], &[]), &library)
        .unwrap();
    assert_eq!(analysis.entry.path, "/usr/lib/x/real");
    let need = Need::Command { name: "x".into() };
    assert_eq!(analysis.requirements[0].need, need);
}
