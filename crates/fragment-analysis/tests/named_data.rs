//! Data that arguments name, descriptions of the container's terminal, lists of users, modules of QML.

#![allow(
    clippy::unwrap_used,
    reason = "clippy's exception is for test functions, not for what they call"
)]

mod support;

use fragment_analysis::Task;
use support::{Library, Rootfs, gcc, library, missing, task};

/// Paths that are missing and only soft.
fn paths(rootfs: &Rootfs, task: &Task, library: &Library) -> Vec<String> {
    let analysis = rootfs.analyse_with(task, library).unwrap();
    let needs = missing(&analysis).into_iter();
    needs
        .filter_map(|need| need.strip_prefix("soft /").map(|path| format!("/{path}")))
        .collect()
}

fn data() -> Library {
    library()
        .component("ncurses-base")
        .file("/usr/lib/terminfo/x/xterm", b"x")
        .component("ncurses-term")
        .file("/usr/share/terminfo/s/screen-256color", b"x")
        .component("aspell-en")
        .file("/usr/lib/aspell/en_US.multi", b"x")
        .file("/usr/lib/aspell/de.multi", b"x")
        .component("locales")
        .file("/usr/share/i18n/locales/fr_FR", b"x")
        .file("/usr/share/i18n/charmaps/UTF-8.gz", b"x")
        .component("pam")
        .file("/etc/pam.d/other", b"x")
        .component("schemas")
        .file(
            "/usr/share/glib-2.0/schemas/org.x.desktop.gschema.xml",
            b"x",
        )
        .component("shadow")
        .file("/etc/login.defs", b"x")
        .file("/etc/shadow", b"x")
}

#[test]
fn arguments_name_data_of_the_system() {
    let rootfs = Rootfs::new();
    for (argv, expected) in [
        (
            &["aspell", "-l", "en_US", "list"][..],
            &["/usr/lib/aspell/en_US.multi"][..],
        ),
        (
            &["sh", "-c", "aspell --lang=de_AT list"],
            &["/usr/lib/aspell/de.multi"],
        ),
        (&["aspell", "-l", "xx", "list"], &[]),
        (
            &["tput", "-Tscreen-256color", "colors"],
            &["/usr/share/terminfo/s/screen-256color"],
        ),
        (
            &["tput", "-T", "xterm", "colors"],
            &["/lib/terminfo/x/xterm"],
        ),
        (
            &["localedef", "-i", "fr_FR", "-f", "UTF-8", "/tmp/x"],
            &[
                "/usr/share/i18n/charmaps/UTF-8.gz",
                "/usr/share/i18n/locales/fr_FR",
            ],
        ),
        (&["pamtester", "-v", "other", "root"], &["/etc/pam.d/other"]),
        (
            &["gsettings", "get", "org.x.desktop", "key"],
            &["/usr/share/glib-2.0/schemas/org.x.desktop.gschema.xml"],
        ),
        (
            &["sh", "-c", "useradd -m x"],
            &["/etc/login.defs", "/etc/shadow"],
        ),
        (&["other", "-l", "en_US", "-T", "xterm"], &[]),
    ] {
        assert_eq!(
            paths(&rootfs, &task(argv, &[]), &data()),
            expected,
            "{argv:?}"
        );
    }
    // what the bundle has itself
    rootfs.file("/etc/terminfo/x/xterm", "x", 0o644);
    let argv = ["tput", "-T", "xterm", "colors"];
    assert_eq!(paths(&rootfs, &task(&argv, &[]), &data()), [""; 0]);
}

#[test]
fn a_terminal_is_described_for_those_who_draw_on_it() {
    let rootfs = Rootfs::new();
    let built = rootfs.at("/build/libtinfo.so.6");
    let place = built.parent().unwrap();
    let flags = ["-shared", "-fPIC", "-Wl,-soname,libtinfo.so.6"];
    gcc(
        place,
        "libtinfo.so.6",
        "int tgetent(void) { return 0; }",
        &flags,
    );
    let flag = built.to_string_lossy().into_owned();
    let draws = "int tgetent(void);\nint main(void) { return tgetent(); }";
    gcc(&rootfs.at("/"), "draws", draws, &[&flag]);
    gcc(
        &rootfs.at("/"),
        "plain",
        "int main(void) { return 0; }",
        &[],
    );
    std::fs::remove_dir_all(place).unwrap();
    let path = "/usr/lib/x86_64-linux-gnu/libtinfo.so.6";
    let library = data()
        .component("libtinfo6")
        .soname("libtinfo.so.6", path, &[])
        .component("editor")
        .file("/usr/bin/editor", b"x")
        .needs("libtinfo.so.6", &[])
        .component("printer")
        .file("/usr/bin/printer", b"x");
    let of = |argv: &[&str], env: &[&str], terminal| {
        let task = Task {
            terminal,
            ..task(argv, env)
        };
        let mut found = paths(&rootfs, &task, &library);
        found.retain(|path| path.contains("terminfo"));
        found
    };
    let xterm = ["TERM=xterm"];
    for argv in [
        &["/draws"][..],
        &["editor"],
        &["/usr/bin/editor"],
        &["sh", "-c", "editor"],
    ] {
        assert_eq!(
            of(argv, &xterm, true),
            ["/lib/terminfo/x/xterm"],
            "{argv:?}"
        );
        assert_eq!(
            of(argv, &xterm, false),
            [""; 0],
            "{argv:?} without a terminal"
        );
    }
    for argv in [&["/plain"][..], &["printer"]] {
        assert_eq!(of(argv, &xterm, true), [""; 0], "{argv:?}");
    }
    let screen = ["TERM=screen-256color"];
    assert_eq!(
        of(&["/draws"], &screen, true),
        ["/usr/share/terminfo/s/screen-256color"]
    );
    for env in [&[][..], &["TERM=nobody"], &["TERM=../x"], &["TERM="]] {
        assert_eq!(of(&["/draws"], env, true), [""; 0], "{env:?}");
    }
}

#[test]
fn modules_of_qml() {
    let rootfs = Rootfs::new();
    rootfs.file(
        "/app/main.qml",
        "import QtQuick 2.0\nimport QtQuick.Controls 2.5 as C; import Own 1.0\nimport \"parts\"\nimport \"x.js\" as X\n// important Nothing 1.0\nItem { }\n",
        0o644,
    )
    .file("/app/modules/Own/qmldir", "module Own\n", 0o644);
    let qt = "/usr/lib/x86_64-linux-gnu/qt5/qml";
    let library = library()
        .component("qml")
        .file("/usr/lib/qt5/bin/qml", b"x")
        .component("quick")
        .file(&format!("{qt}/QtQuick.2/qmldir"), b"x")
        .file(&format!("{qt}/QtQuick/Controls.2/qmldir"), b"x")
        .file(&format!("{qt}/QtQuick/Window.2/qmldir"), b"x")
        .file(&format!("{qt}/Own/qmldir"), b"x")
        .file(&format!("{qt}/Nothing/qmldir"), b"x");
    let argv = [
        "/usr/lib/qt5/bin/qml",
        "-I",
        "/app/modules",
        "/app/main.qml",
    ];
    assert_eq!(
        paths(&rootfs, &task(&argv, &[]), &library),
        [
            format!("{qt}/QtQuick.2/qmldir"),
            format!("{qt}/QtQuick/Controls.2/qmldir"),
            format!("{qt}/QtQuick/Window.2/qmldir")
        ]
    );
}

/// Modules of a language that are missing.
fn modules(rootfs: &Rootfs, argv: &[&str], library: &Library) -> Vec<String> {
    let analysis = rootfs.analyse_with(&task(argv, &[]), library).unwrap();
    let needs = missing(&analysis).into_iter();
    needs.filter(|need| need.contains(" module ")).collect()
}

#[test]
fn elements_of_a_pipeline() {
    let rootfs = Rootfs::new();
    let library = library()
        .component("plugins")
        .module("gstreamer", "videotestsrc")
        .module("gstreamer", "fakesink");
    let argv = [
        "gst-launch-1.0",
        "-q",
        "videotestsrc",
        "num-buffers=1",
        "!",
        "nothing",
        "!",
        "fakesink",
    ];
    assert_eq!(
        modules(&rootfs, &argv, &library),
        [
            "soft gstreamer module `fakesink`",
            "soft gstreamer module `videotestsrc`"
        ]
    );
    assert_eq!(modules(&rootfs, &["echo", "fakesink"], &library), [""; 0]);
}

#[test]
fn names_that_catalogues_of_xml_lead_on() {
    let rootfs = Rootfs::new();
    let text = "<!DOCTYPE article PUBLIC \"-//OASIS//DTD DocBook XML V4.5//EN\" \"http://x.example/docbookx.dtd\">\n<article/>";
    rootfs.file("/data/a.xml", text, 0o644);
    let library = library()
        .component("docbook-xml")
        .module("xml", "-//OASIS//DTD DocBook XML")
        .component("docbook-xsl")
        .module("xml", "http://docbook.example/release/xsl/");
    let sheet = "http://docbook.example/release/xsl/current/html/docbook.xsl";
    let argv = ["xsltproc", "--nonet", sheet, "/data/a.xml"];
    assert_eq!(
        modules(&rootfs, &argv, &library),
        [
            "soft xml module `-//OASIS//DTD DocBook XML`",
            "soft xml module `http://docbook.example/release/xsl/`"
        ]
    );
    assert_eq!(modules(&rootfs, &["cat", "/data/a.xml"], &library), [""; 0]);
    // a bundle with a catalogue of its own says itself what is where
    rootfs.file("/etc/xml/catalog", "<catalog/>", 0o644);
    assert_eq!(modules(&rootfs, &argv, &library), [""; 0]);
}

#[test]
fn extensions_of_php_by_what_a_text_calls() {
    let rootfs = Rootfs::new();
    let library = library()
        .component("php-intl")
        .module("php", "intl")
        .component("php-zip")
        .module("php", "zip");
    let text = "echo Locale::getDisplayLanguage('de'), idn_to_ascii('x'), new ZipArchive;";
    assert_eq!(
        modules(&rootfs, &["php", "-r", text], &library),
        ["soft php module `intl`", "soft php module `zip`"]
    );
}
