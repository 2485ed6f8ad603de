//! What words, variables, imports and symbols say: never more than soft.

#![allow(
    clippy::unwrap_used,
    reason = "clippy's exception is for test functions, not for what they call"
)]

mod support;

use fragment_types::{Need, Strength};
use support::{Library, Rootfs, gcc, library, missing, task};

const NETWORK: [&str; 3] = [
    "soft capability `dns_lookup`",
    "soft capability `socket_create`",
    "soft capability `tcp_connections`",
];

/// Missing soft requirements of a command in an empty rootfs.
fn soft(argv: &[&str], env: &[&str]) -> Vec<String> {
    let analysis = Rootfs::new()
        .analyse_with(&task(argv, env), &library())
        .unwrap();
    let text = format!("{analysis:?}");
    assert!(
        !text.contains("s3cret"),
        "secrets stay out of evidence: {text}"
    );
    missing(&analysis)
        .into_iter()
        .filter(|label| label.starts_with("soft"))
        .collect()
}

#[test]
fn task_classes() {
    assert_eq!(
        soft(
            &["echo", "hello"],
            &["HOME=/root", "LANG=C.UTF-8", "TZ=UTC"]
        ),
        [""; 0]
    );
    assert_eq!(
        soft(&["getent", "hosts", "example.org"], &[]),
        ["soft /etc/hosts", "soft capability `dns_lookup`"]
    );
    for (database, path) in [
        ("passwd", "/etc/passwd"),
        ("services", "/etc/services"),
        ("ethers", "/etc/ethers"),
    ] {
        let argv = ["getent", "-s", "files", database, "x"];
        assert_eq!(soft(&argv, &[]), [format!("soft {path}")]);
    }
    assert_eq!(
        soft(
            &["curl", "http://user:s3cret@example.org/s3cret?s3cret"],
            &[]
        ),
        NETWORK
    );
    assert_eq!(
        soft(&["systemctl", "status"], &[]),
        [
            "soft capability `process_management`",
            "soft capability `service_control`",
            "soft capability `service_start`",
            "soft capability `service_status`",
        ]
    );
    assert_eq!(
        soft(&["runsvdir", "/etc/service"], &[]),
        [
            "soft capability `process_management`",
            "soft capability `service_start`"
        ]
    );
}

#[test]
fn addresses_and_ports_imply_capabilities() {
    let listen = [
        "soft capability `socket_bind`",
        "soft capability `socket_create`",
        "soft capability `tcp_listen`",
    ];
    for argv in [
        &["x", "--listen"][..],
        &["x", "--port", "8080"],
        &["x", "--http-port=8080"],
        &["x", "-p", "8080"],
        &["x", ":8080"],
        &["x", "--addr=0.0.0.0:80"],
        &["x", "--bind", "127.0.0.1"],
    ] {
        assert_eq!(soft(argv, &[]), listen, "{argv:?}");
    }
    let mut all: Vec<&str> = NETWORK.into_iter().chain(listen).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(soft(&["nc", "example.org:80"], &[]), all);
    assert_eq!(
        soft(&["curl", "https://127.0.0.1:8443"], &[]),
        [
            "soft /etc/ssl/certs/ca-certificates.crt",
            NETWORK[1],
            NETWORK[2]
        ]
    );
    assert_eq!(
        soft(
            &["x", "12:30", "a:b", "file:///x", "mkdir", "-p", "dir"],
            &[]
        ),
        [""; 0]
    );
}

#[test]
fn variables_imply_data_and_capabilities() {
    assert_eq!(
        soft(&["echo"], &["https_proxy=http://u:s3cret@proxy:3128"]),
        NETWORK
    );
    assert_eq!(soft(&["echo"], &["ALL_PROXY=socks5://s3cret"]), NETWORK);
    assert_eq!(soft(&["echo"], &["http_proxy="]), [""; 0]);
    assert_eq!(
        soft(&["echo"], &["DATABASE_URL=postgres://u:s3cret@db/x"]),
        NETWORK
    );
    assert_eq!(soft(&["echo"], &["HOMEPAGE=https://example.org"]), [""; 0]);
    for (value, expected) in [
        ("Europe/Berlin", Some("/usr/share/zoneinfo/Europe/Berlin")),
        (":Europe/Berlin", Some("/usr/share/zoneinfo/Europe/Berlin")),
        ("Nowhere/Land", Some("/usr/share/zoneinfo/Nowhere/Land")),
        ("EST5EDT", Some("/usr/share/zoneinfo/EST5EDT")),
        ("/etc/zone", Some("/etc/zone")),
        ("CET-1CEST", None),
        ("UTC", None),
        ("../../etc/shadow", None),
        ("<+03>-3", None),
    ] {
        let expected: Vec<String> = expected.iter().map(|path| format!("soft {path}")).collect();
        assert_eq!(
            soft(&["echo"], &[&format!("TZ={value}")]),
            expected,
            "{value}"
        );
    }
    assert_eq!(
        soft(&["echo"], &["LANG=de_DE.UTF-8", "LC_ALL=C"]),
        ["soft /usr/lib/locale/de_DE.utf8"]
    );
    assert_eq!(
        soft(&["echo"], &["SSL_CERT_FILE=/etc/ssl/my.pem"]),
        ["soft /etc/ssl/my.pem"]
    );
    assert_eq!(soft(&["echo"], &["TZ=Europe/Berlin", "TZ=UTC"]), [""; 0]);
}

#[test]
fn words_of_shell_texts_are_commands() {
    assert_eq!(
        soft(
            &[
                "sh",
                "-c",
                "cd / && A=1 grep x /f | sort; exec timeout 5 curl \"$url\" || echo no"
            ],
            &[]
        ),
        [
            "soft command `curl`",
            "soft command `grep`",
            "soft command `sort`",
            "soft command `timeout`"
        ]
    );
    assert_eq!(
        soft(
            &[
                "env",
                "A=s3cret",
                "nice",
                "-n",
                "5",
                "curl",
                "http://10.0.0.1"
            ],
            &[]
        ),
        [
            NETWORK[1],
            NETWORK[2],
            "soft command `curl`",
            "soft command `nice`"
        ]
    );
    assert_eq!(
        soft(&["busybox", "sh", "-c", "curl"], &[]),
        ["soft command `curl`"]
    );
    assert_eq!(
        soft(&["sh", "-c", "$x; 'a b'; ./rel; 123; [ x ]"], &[]),
        [""; 0]
    );
    assert_eq!(soft(&["xargs", "/opt/tool"], &[]), ["soft /opt/tool"]);
}

#[test]
fn scripts_are_read_along_their_paths() {
    let rootfs = Rootfs::new();
    rootfs
        .program(
            "/run.sh",
            "#!/bin/sh\n. /lib.sh\nhelper\n/app/step.sh\nexec server --port 80\n",
        )
        .file("/lib.sh", "jq . x\n", 0o644)
        .program("/usr/bin/helper", "#!/bin/bash\nawk x\n")
        .program("/app/step.sh", "#!/usr/bin/perl\n");
    let analysis = rootfs.analyse(&["/run.sh"]).unwrap();
    assert_eq!(
        missing(&analysis),
        [
            "hard /bin/sh",
            "soft /bin/bash",
            "soft /usr/bin/perl",
            "soft capability `socket_bind`",
            "soft capability `socket_create`",
            "soft capability `tcp_listen`",
            "soft command `awk`",
            "soft command `jq`",
            "soft command `server`",
        ]
    );
}

#[test]
fn python_imports_are_modules() {
    let rootfs = Rootfs::new();
    rootfs
        .file(
            "/app/main.py",
            "import ssl, sqlite3\nimport local\nfrom zoneinfo import ZoneInfo\nimport sys\n",
            0o644,
        )
        .file("/app/local.py", "import json\n", 0o644)
        .file("/usr/lib/python3/dist-packages/yaml/__init__.py", "", 0o644);
    let mut task = task(&["python3", "main.py"], &[]);
    task.cwd = "/app".into();
    let analysis = rootfs.analyse_with(&task, &library()).unwrap();
    assert_eq!(
        missing(&analysis),
        [
            "hard command `python3`",
            "soft /etc/ssl/certs/ca-certificates.crt",
            "soft /usr/share/zoneinfo/Etc/UTC",
            "soft python3 module `json`",
            "soft python3 module `sqlite3`",
            "soft python3 module `ssl`",
            "soft python3 module `zoneinfo`",
        ]
    );
    rootfs.program("/s", "#!/usr/bin/python3\nimport yaml\n");
    let analysis = rootfs.analyse(&["/s"]).unwrap();
    assert_eq!(missing(&analysis), ["hard /usr/bin/python3"]);
    let yaml = analysis
        .requirements
        .iter()
        .find(|r| matches!(r.need, Need::Module { .. }))
        .unwrap();
    assert_eq!(
        yaml.satisfied_by.as_deref(),
        Some("/usr/lib/python3/dist-packages/yaml")
    );
    assert_eq!(
        soft(&["python3", "-m", "http.server", "80"], &[]),
        ["soft python3 module `http`"]
    );
}

#[test]
fn a_complete_bundle_stays_complete() {
    let rootfs = Rootfs::new();
    gcc(
        &rootfs.at("/"),
        "bin/app",
        "int main(void) { return 0; }",
        &["-static"],
    );
    let task = task(
        &[
            "/bin/app",
            "--listen",
            "https://example.org",
            "systemctl",
            "/opt/x",
        ],
        &[
            "http_proxy=http://x",
            "TZ=Europe/Berlin",
            "LANG=de_DE.UTF-8",
        ],
    );
    let analysis = rootfs.analyse_with(&task, &library()).unwrap();
    assert!(!analysis.is_thin());
    assert!(
        analysis
            .requirements
            .iter()
            .all(|r| r.strength == Strength::Soft || !r.is_missing())
    );
    assert!(
        analysis
            .requirements
            .iter()
            .any(fragment_types::Requirement::is_missing)
    );
}

const CLIENT: &str = r#"
#include <netdb.h>
#include <pwd.h>
#include <sys/socket.h>
int main(void) {
    struct addrinfo *a;
    if (getaddrinfo("example.org", "80", 0, &a)) return 1;
    int s = socket(a->ai_family, a->ai_socktype, 0);
    return connect(s, a->ai_addr, a->ai_addrlen) + !getpwnam("root");
}
"#;

#[test]
fn imports_of_unknown_programs_imply_capabilities() {
    let rootfs = Rootfs::new();
    gcc(&rootfs.at("/"), "app", CLIENT, &[]);
    let analysis = rootfs.analyse(&["/app"]).unwrap();
    let missing = missing(&analysis);
    for label in NETWORK.into_iter().chain(["soft /etc/passwd"]) {
        assert!(
            missing.iter().any(|own| own == label),
            "{label}: {missing:?}"
        );
    }
    let lookup = analysis
        .requirements
        .iter()
        .find(|r| r.need.to_string().contains("dns_lookup"));
    assert_eq!(lookup.unwrap().chain.last().unwrap().detail, "getaddrinfo");
}

#[test]
fn known_programs_bring_their_component_and_no_guesses() {
    let rootfs = Rootfs::new();
    let path = gcc(&rootfs.at("/"), "usr/bin/app", CLIENT, &[]);
    rootfs.link("/bin", "usr/bin");
    let content = std::fs::read(path).unwrap();
    let library: Library = library().component("app").file("/usr/bin/app", &content);
    let analysis = rootfs
        .analyse_with(&task(&["/bin/app"], &[]), &library)
        .unwrap();
    let missing = missing(&analysis);
    assert!(
        missing.iter().any(|label| label == "soft component `app`"),
        "{missing:?}"
    );
    assert!(
        !missing.iter().any(|label| label.contains("capability")),
        "{missing:?}"
    );
    // Another place, and so perhaps another program; but a command of that name is known, and its imports are not asked.
    rootfs.program("/opt/app", &content);
    let analysis = rootfs
        .analyse_with(&task(&["/opt/app"], &[]), &library)
        .unwrap();
    let labels = support::missing(&analysis);
    assert!(
        !labels.iter().any(|label| label.starts_with("soft")),
        "{labels:?}"
    );
    // The same size and path with another content is another file.
    let mut other = content;
    *other.last_mut().unwrap() ^= 1;
    let library: Library = support::library()
        .component("app")
        .file("/usr/bin/app", &other);
    let analysis = rootfs
        .analyse_with(&task(&["/bin/app"], &[]), &library)
        .unwrap();
    assert!(
        !support::missing(&analysis)
            .iter()
            .any(|label| label.contains("component"))
    );
}

#[test]
fn commands_of_a_script_that_the_bundle_holds_are_followed() {
    let rootfs = Rootfs::new();
    let source = "int main(void) { return 0; }";
    gcc(&rootfs.at("/"), "usr/bin/inner", source, &[]);
    rootfs
        .program(
            "/app/run",
            "#!/bin/sh\nunpack='outer --auto'\n\
             case $1 in *.gz) u='a -cd';; *.bz2) u=b;; *.lzo) u=c;; *.zst) u=d;; *) u=\"$unpack -q\";; esac\n$u -- \"$1\"\n",
        )
        .program("/usr/bin/outer", "#!/bin/sh\nexec inner \"$@\"\n");
    let analysis = rootfs.analyse(&["/app/run", "x"]).unwrap();
    let libc = analysis
        .requirements
        .iter()
        .find(|requirement| matches!(&requirement.need, Need::Soname(needed) if needed.soname == "libc.so.6"))
        .unwrap();
    let mut sources: Vec<_> = libc.chain.iter().map(|step| step.source.as_str()).collect();
    sources.dedup();
    assert_eq!(libc.strength, Strength::Soft);
    assert_eq!(
        sources,
        ["argv[0]", "/app/run", "/usr/bin/outer", "/usr/bin/inner"],
        "{:?}",
        libc.chain
    );
}

#[test]
fn options_of_gpg_ask_for_the_programs_that_keep_keys() {
    let library = library()
        .component("gpg")
        .file("/usr/bin/gpg", b"gpg")
        .component("gpg-agent")
        .file("/usr/bin/gpg-agent", b"agent")
        .component("dirmngr")
        .file("/usr/bin/dirmngr", b"dirmngr");
    let rootfs = Rootfs::new();
    let helpers = |text: &str| {
        let mut found = support::soft(&rootfs, &["/bin/sh", "-c", text], &library);
        found.retain(|need| need.contains("gpg-agent") || need.contains("dirmngr"));
        found
    };
    for text in [
        "gpg -q --batch --passphrase '' --quick-generate-key u@t",
        "echo text | gpg2 --clearsign > s",
        "gpg -bau me f",
        "xargs gpg --decrypt < list",
    ] {
        assert_eq!(helpers(text), ["command `gpg-agent`"], "{text}");
    }
    assert_eq!(helpers("gpg --recv-keys X"), ["command `dirmngr`"]);
    for text in ["gpg --verify s", "gpg --import k", "gpgv -d", "gpg -us x"] {
        assert_eq!(helpers(text), [""; 0], "{text}");
    }
}

#[test]
fn help2man_asks_its_program_what_it_is() {
    let library = library()
        .component("coreutils")
        .file("/usr/bin/env", b"env")
        .component("help2man")
        .file("/usr/bin/help2man", b"x");
    let rootfs = Rootfs::new();
    for (argv, expected) in [
        (&["help2man", "-N", "-n", "x", "/usr/bin/env"][..], true),
        (&["help2man", "--output=x", "env"], true),
        (&["help2man", "-o", "env", "other"], false),
    ] {
        let found = support::soft(&rootfs, argv, &library);
        let asked = found.iter().any(|need| need == "component `coreutils`");
        assert_eq!(asked, expected, "{argv:?}: {found:?}");
    }
}
