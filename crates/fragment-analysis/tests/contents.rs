//! What an application's ELF files say besides their tables, and where its links lead.

#![allow(
    clippy::unwrap_used,
    reason = "clippy's exception is for test functions, not for what they call"
)]

mod support;

use fragment_analysis::analyse_whole;
use fragment_types::manifest::PathKind;
use support::{Library, Rootfs, gcc, library, missing, soft, task};

fn directory(mut library: Library, component: &str, path: &str) -> Library {
    let component = library.index(component);
    let provider = fragment_types::catalogue::PathProvider {
        component,
        kind: PathKind::Directory,
        size: 0,
        digest: None,
        target: None,
    };
    library.0[component.0 as usize]
        .paths
        .push((path.to_owned(), provider));
    library
}

const PROGRAM: &str = r#"
#include <stdio.h>
const char *volatile names[] = {"libpq.so.5", "libnone.so.9", "/usr/share/words/list", "/usr/share/terminfo", "/usr/share/doc",
    "/usr/share/%s/x", "/usr/bin/busybox"};
int main(void) { return puts(names[0]); }
"#;

#[test]
fn sonames_and_paths_among_constants_are_needed_where_a_component_has_them() {
    let rootfs = Rootfs::new();
    gcc(&rootfs.at("/"), "app", PROGRAM, &[]);
    let library = library()
        .component("libpq")
        .soname("libpq.so.5", "/usr/lib/x86_64-linux-gnu/libpq.so.5", &[])
        .component("words")
        .file("/usr/share/words/list", b"x")
        .component("ncurses-base");
    let library = directory(library, "ncurses-base", "/usr/share/terminfo");
    // Of directories that many components have, a name says nothing.
    let library = directory(
        directory(library, "words", "/usr/share/doc"),
        "libpq",
        "/usr/share/doc",
    );
    let found = soft(&rootfs, &["/app"], &library);
    assert_eq!(
        found,
        ["/usr/share/terminfo", "/usr/share/words/list", "libpq.so.5"]
    );
}

const NOTE: &str = r#"
#define NOTE(name, json) \
    __attribute__((used, section(".note.dlopen"), aligned(4))) static const struct { \
        unsigned owner, content, kind; char name[4]; char text[sizeof(json)]; \
    } name = {4, sizeof(json), 0x407c0c0a, "FDO", json}
NOTE(one, "[{\"feature\":\"tls\",\"priority\":\"recommended\",\"soname\":[\"libnew.so.2\",\"libold.so.1\"]}]");
NOTE(two, "[{\"feature\":\"x\",\"priority\":\"suggested\",\"soname\":[\"libsuggested.so.1\"]}]");
NOTE(bad, "[{\"soname\":");
int main(void) { return 0; }
"#;

#[test]
fn notes_say_what_is_loaded_later() {
    let rootfs = Rootfs::new();
    gcc(&rootfs.at("/"), "app", NOTE, &[]);
    let library = library()
        .component("old")
        .soname("libold.so.1", "/usr/lib/x86_64-linux-gnu/libold.so.1", &[])
        .component("suggested")
        .soname(
            "libsuggested.so.1",
            "/usr/lib/x86_64-linux-gnu/libsuggested.so.1",
            &[],
        );
    let analysis = rootfs
        .analyse_with(&task(&["/app"], &[]), &library)
        .unwrap();
    let found = missing(&analysis);
    assert!(found.contains(&"soft libold.so.1".to_owned()), "{found:?}");
    assert!(
        !found.iter().any(|label| label.contains("suggested")),
        "{found:?}"
    );
    let need = analysis
        .requirements
        .iter()
        .find(|r| r.need.to_string() == "libold.so.1")
        .unwrap();
    assert_eq!(
        need.chain.last().unwrap().detail,
        "loads libold.so.1 (recommended)"
    );
}

#[test]
fn links_of_the_application_lead_to_components() {
    let rootfs = Rootfs::new();
    rootfs
        .program("/opt/app/run", "#!/bin/sh\n")
        .link("/opt/app/conf/words", "/usr/share/words/list")
        .link("/opt/app/conf/nowhere", "/usr/share/nowhere")
        .link("/opt/app/own", "run");
    let library = library()
        .component("words")
        .file("/usr/share/words/list", b"x");
    assert_eq!(
        soft(&rootfs, &["/opt/app/run"], &library),
        ["/usr/share/words/list"]
    );
}

#[test]
fn words_that_name_files_of_components_need_them() {
    let library = library()
        .component("words")
        .file("/usr/share/words/list", b"x");
    let library = directory(library, "words", "/usr/share/words");
    let rootfs = Rootfs::new();
    assert_eq!(
        soft(&rootfs, &["grep", "x", "/usr/share/words/list"], &library),
        ["/usr/share/words/list"]
    );
    for text in [
        "cd /usr/share/words/list",
        "rm -f /usr/share/words/list",
        "[ -f /usr/share/words/list ]",
        "cd /usr/share/words",
    ] {
        assert!(
            soft(&rootfs, &["sh", "-c", text], &library)
                .iter()
                .all(|need| !need.starts_with('/')),
            "{text}"
        );
    }
}

#[test]
fn variables_that_name_files_of_components_need_them() {
    let library = library()
        .component("words")
        .file("/usr/share/words/list", b"x");
    let rootfs = Rootfs::new();
    for (variable, expected) in [
        ("WORDS=/usr/share/words/list", 1),
        ("WORDS=/usr/share/words/none", 0),
        ("SHELL=/usr/bin/sh", 0),
    ] {
        let task = task(&["echo"], &[variable]);
        let analysis = rootfs.analyse_with(&task, &library).unwrap();
        let found = missing(&analysis);
        let paths = found.iter().filter(|need| need.starts_with("soft /"));
        assert_eq!(paths.count(), expected, "{variable}: {found:?}");
    }
}

/// Go's compiler is no part of the build: without it this test says so and ends.
#[test]
fn go_functions_survive_stripping() {
    const SOURCE: &str = "package main\nimport (\"crypto/x509\"; \"net\"; \"os/user\"; \"time\")\nfunc main() {\n c, err := net.Dial(\"tcp\", \"x:80\")\n p, _ := x509.SystemCertPool()\n u, _ := user.Lookup(\"root\")\n l, _ := time.LoadLocation(\"Europe/Berlin\")\n println(c, err, p, u, l)\n}\n";
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("main.go"), SOURCE).unwrap();
    let built = std::process::Command::new("go")
        .current_dir(directory.path())
        .env("CGO_ENABLED", "0")
        .env("GOCACHE", directory.path().join("cache"))
        .env("GOFLAGS", "-mod=mod")
        .env("GO111MODULE", "off")
        .args(["build", "-ldflags", "-s -w", "-o", "app", "main.go"])
        .output();
    match built {
        Ok(output) if output.status.success() => {}
        other => {
            let why = other.map(|output| String::from_utf8_lossy(&output.stderr).into_owned());
            let _ = std::io::Write::write_all(
                &mut std::io::stderr(),
                format!("skipped: no Go compiler that works: {why:?}\n").as_bytes(),
            );
            return;
        }
    }
    let rootfs = Rootfs::new();
    rootfs.program("/app", std::fs::read(directory.path().join("app")).unwrap());
    // A static program lacks nothing: what asks for a composition is the script that runs it.
    rootfs.program("/run", "#!/bin/sh\nexec /app\n");
    let found = soft(&rootfs, &["/run"], &library());
    for need in [
        "/etc/hosts",
        "/etc/nsswitch.conf",
        "/etc/passwd",
        "/etc/services",
        "/etc/ssl/certs/ca-certificates.crt",
        "/usr/share/zoneinfo/Etc/UTC",
        "capability `dns_lookup`",
        "capability `tcp_connections`",
    ] {
        assert!(found.iter().any(|own| own == need), "{need}: {found:?}");
    }
    assert!(
        !found.iter().any(|own| own.contains("tcp_listen")),
        "{found:?}"
    );
    // by itself it gets them where something is composed in any case
    let direct = task(&["/app"], &[]);
    let alone = rootfs.analyse_with(&direct, &library()).unwrap();
    assert_eq!(missing(&alone), [""; 0]);
    let whole = analyse_whole(&rootfs.root(), &direct, &library()).unwrap();
    let zone = "soft /usr/share/zoneinfo/Etc/UTC".to_owned();
    assert!(missing(&whole).contains(&zone), "{whole:?}");
    assert!(!whole.is_thin());
}
