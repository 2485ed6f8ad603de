//! Files of the system that programs read by a convention: locales, conversions, time zones, PAM's services, headers, `.pc` files.

#![allow(
    clippy::unwrap_used,
    reason = "clippy's exception is for test functions, not for what they call"
)]

mod support;

use fragment_types::EvidenceKind;
use support::{Library, Rootfs, gcc, library, missing, soft, task};

const LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu";

/// Paths that are missing and only soft.
fn paths(rootfs: &Rootfs, argv: &[&str], env: &[&str], library: &Library) -> Vec<String> {
    let analysis = rootfs.analyse_with(&task(argv, env), library).unwrap();
    let needs = missing(&analysis).into_iter();
    needs
        .filter_map(|need| need.strip_prefix("soft /").map(|path| format!("/{path}")))
        .collect()
}

#[test]
fn a_zone_that_a_program_sets_itself() {
    let rootfs = Rootfs::new();
    let set = "#include <stdlib.h>\n#include <time.h>\nint main(void) { setenv(\"TZ\", \"Europe/Berlin\", 1); tzset(); return 0; }";
    gcc(&rootfs.at("/"), "set", set, &[]);
    let put = "#include <stdlib.h>\n#include <time.h>\nint main(void) { putenv(\"TZ=Europe/Berlin\"); time_t t = 0; return localtime(&t)->tm_hour; }";
    gcc(&rootfs.at("/"), "put", put, &[]);
    for program in ["/set", "/put"] {
        assert_eq!(
            paths(&rootfs, &[program], &[], &library()),
            ["/usr/share/zoneinfo/Europe/Berlin"],
            "{program}"
        );
    }
    // Who prints such a name, or a zone that nobody has, sets none.
    let prints = "#include <stdio.h>\nint main(void) { return puts(\"Europe/Berlin\"); }";
    gcc(&rootfs.at("/"), "prints", prints, &[]);
    gcc(
        &rootfs.at("/"),
        "other",
        &set.replace("Berlin", "Atlantis"),
        &[],
    );
    for program in ["/prints", "/other"] {
        assert_eq!(
            paths(&rootfs, &[program], &[], &library()),
            [""; 0],
            "{program}"
        );
    }
}

#[test]
fn c_utf_8_is_for_programs_that_set_their_locale() {
    let library = library()
        .component("c-utf8")
        .file("/usr/lib/locale/C.utf8/LC_CTYPE", b"x");
    let locale = ["/usr/lib/locale/C.utf8/LC_CTYPE"];
    let rootfs = Rootfs::new();
    let sets = "#include <locale.h>\nint main(void) { return !setlocale(LC_ALL, \"\"); }";
    gcc(&rootfs.at("/"), "sets", sets, &[]);
    gcc(
        &rootfs.at("/"),
        "plain",
        "int main(void) { return 0; }",
        &[],
    );
    for env in ["LC_ALL=C.UTF-8", "LANG=C.utf8", "LC_CTYPE=C.UTF-8"] {
        assert_eq!(
            paths(&rootfs, &["/sets"], &[env], &library),
            locale,
            "{env}"
        );
    }
    // commands of components are not looked into: all but core's may set it
    let env = ["LANG=C.UTF-8"];
    assert_eq!(
        paths(&rootfs, &["sh", "-c", "python3 -V"], &env, &library),
        locale
    );
    for argv in [&["/plain"][..], &["sh", "-c", "echo"]] {
        assert_eq!(paths(&rootfs, argv, &env, &library), [""; 0], "{argv:?}");
    }
    assert_eq!(paths(&rootfs, &["/sets"], &["LANG=C"], &library), [""; 0]);
}

/// A library of which one shared object converts.
fn converting(imports: &[&str]) -> Library {
    library()
        .component("near")
        .soname(
            "libnear.so.1",
            "/usr/lib/x86_64-linux-gnu/libnear.so.1",
            &[],
        )
        .telling("libnear.so.1", &["libfar.so.1"], imports)
        .component("far")
        .soname("libfar.so.1", "/usr/lib/x86_64-linux-gnu/libfar.so.1", &[])
        .telling("libfar.so.1", &[], &["iconv_open"])
        .component("gconv")
        .file("/usr/lib/x86_64-linux-gnu/gconv/ISO8859-1.so", b"x")
}

#[test]
fn conversions_of_a_library_that_the_program_names() {
    let rootfs = Rootfs::new();
    let build = rootfs.at("/build/libnear.so.1");
    let directory = build.parent().unwrap();
    gcc(
        directory,
        "libnear.so.1",
        "int near(void) { return 0; }",
        &["-shared", "-fPIC", "-Wl,-soname,libnear.so.1"],
    );
    let flag = build.to_string_lossy().into_owned();
    gcc(
        &rootfs.at("/"),
        "app",
        "int near(void);\nint main(void) { return near(); }",
        &[&flag],
    );
    std::fs::remove_dir_all(directory).unwrap();
    let plugin = format!("{LIBRARIES}/gconv/ISO8859-1.so");
    let analysis = rootfs
        .analyse_with(&task(&["/app"], &[]), &converting(&["iconv_open"]))
        .unwrap();
    let need = analysis
        .requirements
        .iter()
        .find(|one| one.need.to_string() == plugin)
        .unwrap();
    let last = need.chain.last().unwrap();
    assert_eq!(last.kind, EvidenceKind::LibrarySymbol);
    assert_eq!(
        (last.source.as_str(), last.detail.as_str()),
        ("libnear.so.1 of component near", "iconv_open")
    );
    // so does the entry that a component supplies, or the interpreter of a script
    let library = converting(&["iconv_open"])
        .component("tool")
        .file("/usr/bin/tool", b"x")
        .needs("libnear.so.1", &[])
        .component("whole")
        .file("/usr/bin/whole", b"x")
        .soname(
            "libwhole.so.1",
            "/usr/lib/x86_64-linux-gnu/libwhole.so.1",
            &[],
        )
        .telling("libwhole.so.1", &[], &["iconv_open"]);
    rootfs.program("/script", "#!/usr/bin/tool\n");
    for argv in [&["tool"][..], &["/usr/bin/tool"], &["/script"], &["whole"]] {
        assert_eq!(
            paths(&rootfs, argv, &[], &library),
            [plugin.as_str()],
            "{argv:?}"
        );
    }
    // what stands behind it is there for something else
    assert_eq!(paths(&rootfs, &["/app"], &[], &converting(&[])), [""; 0]);
}

#[test]
fn conversions_of_a_known_program_that_names_a_character_set() {
    let plugin = format!("{LIBRARIES}/gconv/ISO8859-1.so");
    let source = |name: &str| {
        format!(
            "#include <iconv.h>\nint main(void) {{ return iconv_open(\"{name}\", \"UTF-8\") == 0; }}"
        )
    };
    for (name, expected) in [("ISO-8859-15", &[plugin.as_str()][..]), ("UCS-4", &[])] {
        let rootfs = Rootfs::new();
        let program = gcc(&rootfs.at("/"), "usr/bin/convert", &source(name), &[]);
        let library = library()
            .component("tool")
            .file("/usr/bin/convert", &std::fs::read(program).unwrap())
            .component("gconv")
            .file(&plugin, b"x");
        assert_eq!(
            paths(&rootfs, &["convert"], &[], &library),
            expected,
            "{name}"
        );
    }
}

#[test]
fn pam_services_of_the_bundles_programs_are_followed() {
    let rootfs = Rootfs::new();
    gcc(
        &rootfs.at("/"),
        "usr/bin/become",
        "int main(void) { return 0; }",
        &[],
    );
    rootfs
        .file(
            "/etc/pam.d/become",
            "#%PAM-1.0\n@include common-auth\nauth required pam_env.so\n-session optional pam_nowhere.so\naccount substack inner\n",
            0o644,
        )
        .file("/etc/pam.d/inner", "account [default=ignore] pam_unix.so\n", 0o644)
        .file("/etc/pam.d/become-login", "@include common-session\n", 0o644)
        .file("/etc/pam.d/other", "auth required pam_deny.so\n", 0o644);
    let module = |name: &str| format!("{LIBRARIES}/security/{name}");
    let library = library()
        .component("pam")
        .file("/etc/pam.d/common-auth", b"x")
        .file("/etc/pam.d/common-session", b"x")
        .file(&module("pam_env.so"), b"x")
        .file(&module("pam_unix.so"), b"x")
        .file(&module("pam_deny.so"), b"x");
    assert_eq!(
        paths(&rootfs, &["/usr/bin/become"], &[], &library),
        [
            "/etc/pam.d/common-auth".to_owned(),
            "/etc/pam.d/common-session".to_owned(),
            module("pam_env.so"),
            module("pam_unix.so"),
        ]
    );
}

#[test]
fn pkg_config_modules() {
    let rootfs = Rootfs::new();
    rootfs.file(
        "/opt/lib/pkgconfig/own.pc",
        "Name: own\nRequires: zlib >= 1.2\nRequires.private: dep\n",
        0o644,
    );
    let zlib = format!("{LIBRARIES}/pkgconfig/zlib.pc");
    let library = library()
        .component("zlib-dev")
        .file(&zlib, b"x")
        .component("dep-dev")
        .file("/usr/share/pkgconfig/dep.pc", b"x");
    let both = [zlib.as_str(), "/usr/share/pkgconfig/dep.pc"];
    let mut both: Vec<String> = both.iter().map(|path| (*path).to_owned()).collect();
    both.sort();
    for (argv, env, expected) in [
        (&["pkgconf", "--libs", "zlib"][..], &[][..], &both[..1]),
        (
            &["sh", "-c", "pkg-config --cflags 'zlib >= 1.2'"],
            &[],
            &both[..1],
        ),
        (
            &["x86_64-linux-gnu-pkg-config", "zlib", "=", "dep"],
            &[],
            &both[..1],
        ),
        (
            &["pkgconf", "own"],
            &["PKG_CONFIG_PATH=/opt/lib/pkgconfig"],
            &both,
        ),
        (&["pkgconf", "own"], &[], &[]),
        (&["other-config", "zlib"], &[], &[]),
    ] {
        let mut found = paths(&rootfs, argv, env, &library);
        found.retain(|path| path.ends_with(".pc"));
        found.sort();
        let mut expected = expected.to_vec();
        expected.sort();
        assert_eq!(found, expected, "{argv:?}");
    }
}

#[test]
fn headers_and_libraries_of_what_is_compiled() {
    let rootfs = Rootfs::new();
    rootfs
        .file(
            "/src/main.c",
            "#include <stdio.h>\n#include \"own.h\"\n#include <sub.h>\n#include <nobody.h>\n",
            0o644,
        )
        .file("/src/own.h", "#include <bits/x.h>\n", 0o644)
        .file("/src/include/sub.h", "#include \"sub2.h\"\n", 0o644);
    let object = |name: &str| format!("{LIBRARIES}/{name}");
    let library = library()
        .component("libc6-dev")
        .file("/usr/include/stdio.h", b"x")
        .file("/usr/include/x86_64-linux-gnu/bits/x.h", b"x")
        .file(&object("crt1.o"), b"x")
        .file(&object("libc.so"), b"x")
        .file(&object("libm.so"), b"x")
        .component("sub")
        .file("/usr/include/sub2.h", b"x");
    let headers = [
        "/usr/include/stdio.h".to_owned(),
        "/usr/include/sub2.h".to_owned(),
        "/usr/include/x86_64-linux-gnu/bits/x.h".to_owned(),
    ];
    let compile = [
        "gcc-12",
        "-I",
        "/src/include",
        "-c",
        "-o",
        "x.c",
        "/src/main.c",
    ];
    assert_eq!(paths(&rootfs, &compile, &[], &library), headers);
    let link = [
        "x86_64-linux-gnu-g++",
        "/src/main.c",
        "-I/src/include",
        "-lm",
        "-lnobody",
    ];
    let mut all = headers.to_vec();
    all.extend(["crt1.o", "libc.so", "libm.so"].map(object));
    assert_eq!(paths(&rootfs, &link, &[], &library), all);
    // without a source nothing is compiled
    assert_eq!(
        paths(&rootfs, &["gcc", "--version"], &[], &library),
        [""; 0]
    );
}

#[test]
fn a_linker_script_of_the_bundle_names_libraries() {
    let rootfs = Rootfs::new();
    let vector = format!("{LIBRARIES}/libmvec.so.1");
    rootfs
        .file("/src/main.c", "int main(void) { return 0; }\n", 0o644)
        .file(
            &format!("{LIBRARIES}/libm.so"),
            format!("/* GNU ld script\n*/\nGROUP ( AS_NEEDED ( {vector} ) )\n"),
            0o644,
        );
    let library = library().component("glibc-more").file(&vector, b"x");
    let found = soft(&rootfs, &["cc", "/src/main.c", "-lm"], &library);
    assert!(found.contains(&vector), "{found:?}");
}

#[test]
fn data_that_a_library_reads_for_its_users() {
    let rootfs = Rootfs::new();
    let flags = ["-shared", "-fPIC", "-Wl,-soname,libkpathsea.so.6"];
    let source = "int find(void) { return 0; }";
    gcc(&rootfs.at("/"), "libkpathsea.so.6", source, &flags);
    let uses = "int find(void);\nint main(void) { return find(); }";
    let built = rootfs.at("/libkpathsea.so.6");
    let flag = built.to_string_lossy().into_owned();
    gcc(&rootfs.at("/"), "uses", uses, &[&flag]);
    gcc(
        &rootfs.at("/"),
        "plain",
        "int main(void) { return 0; }",
        &[],
    );
    std::fs::remove_file(built).unwrap();
    let data = "/usr/share/texmf/web2c/texmf.cnf";
    let vapi = "/usr/share/vala-0.56/vapi/glib-2.0.vapi";
    let library = library()
        .component("tex")
        .file(data, b"x")
        .component("tex-bin")
        .file("/usr/bin/bibtex", b"x")
        .needs("libkpathsea.so.6", &[])
        .component("vapi")
        .file(vapi, b"x")
        .component("valac-bin")
        .file("/usr/bin/valac-0.56", b"x")
        .link("/usr/bin/valac", "valac-0.56")
        .needs("libvala-0.56.so.0", &[]);
    for (argv, expected) in [
        (&["/uses"][..], &[data][..]),
        (&["sh", "-c", "bibtex a"], &[data]),
        (&["/usr/bin/bibtex", "a"], &[data]),
        (&["sh", "-c", "valac -C a.vala"], &[vapi]),
        (&["/plain"], &[]),
        (&["sh", "-c", "echo"], &[]),
    ] {
        assert_eq!(paths(&rootfs, argv, &[], &library), expected, "{argv:?}");
    }
}
