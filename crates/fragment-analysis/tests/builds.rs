//! Tools that run what a description in the bundle says, and compilers that leave linking to C's.

#![allow(
    clippy::unwrap_used,
    reason = "clippy's exception is for test functions, not for what they call"
)]

mod support;

use support::{Library, Rootfs, library, soft};

const LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu";

/// A library with compilers, tools that build, and what is linked with.
fn tools() -> Library {
    let command = |library: Library, name: &str| {
        library
            .component(name)
            .file(&format!("/usr/bin/{name}"), name.as_bytes())
    };
    let names = [
        "aclocal",
        "autoconf",
        "autoheader",
        "automake",
        "bison",
        "c++",
        "cc",
        "clang",
        "cmake",
        "gcc",
        "gfortran",
        "g++",
        "scons",
        "libtoolize",
        "ln",
        "make",
        "meson",
        "ninja",
        "pkg-config",
        "pdflatex",
    ];
    names
        .into_iter()
        .fold(library(), command)
        .component("libc6-dev")
        .file("/usr/include/stdio.h", b"x")
        .file(&format!("{LIBRARIES}/crt1.o"), b"x")
        .file(&format!("{LIBRARIES}/libc.so"), b"x")
        .file(&format!("{LIBRARIES}/libm.so"), b"x")
        .component("zlib-dev")
        .file("/usr/include/zlib.h", b"x")
        .file(&format!("{LIBRARIES}/pkgconfig/zlib.pc"), b"x")
        .component("fmt-dev")
        .file(&format!("{LIBRARIES}/cmake/fmt/fmt-config.cmake"), b"x")
        .component("autoconf-archive")
        .file("/usr/share/aclocal/ax_pthread.m4", b"x")
}

/// Names of commands, and of files without their directories, that a shell text needs.
fn wanted(rootfs: &Rootfs, text: &str) -> Vec<String> {
    of(rootfs, &["/bin/sh", "-c", text])
}

fn of(rootfs: &Rootfs, argv: &[&str]) -> Vec<String> {
    let needs = soft(rootfs, argv, &tools()).into_iter();
    let name = |need: String| match need.strip_prefix("command ") {
        Some(command) => Some(command.trim_matches('`').to_owned()),
        None => need
            .starts_with('/')
            .then(|| need.rsplit('/').next().unwrap().to_owned()),
    };
    let mut out: Vec<String> = needs.filter_map(name).collect();
    out.retain(|name| !["cp", "env", "mkdir", "nice", "sh"].contains(&name.as_str()));
    out.sort();
    out
}

#[track_caller]
fn has(found: &[String], expected: &[&str]) {
    for name in expected {
        assert!(found.iter().any(|one| one == name), "{name}: {found:?}");
    }
}

#[track_caller]
fn lacks(found: &[String], expected: &[&str]) {
    for name in expected {
        assert!(!found.iter().any(|one| one == name), "{name}: {found:?}");
    }
}

#[test]
fn cmake_reads_its_lists() {
    let rootfs = Rootfs::new();
    rootfs
        .file(
            "/data/CMakeLists.txt",
            "project(h CXX)\nadd_subdirectory(sub)\nadd_executable(h h.cc)\nfind_package(ZLIB)\nfind_package(fmt)\n",
            0o644,
        )
        .file("/data/h.cc", "#include <stdio.h>\n", 0o644)
        .file("/data/sub/CMakeLists.txt", "enable_language(Fortran)\ntarget_link_libraries(x m)\n", 0o644);
    let all = [
        "c++",
        "cmake",
        "crt1.o",
        "fmt-config.cmake",
        "gfortran",
        "libc.so",
        "libm.so",
        "make",
        "stdio.h",
        "zlib.pc",
    ];
    for text in [
        "cmake -S /data -B /tmp/b && cmake --build /tmp/b",
        "cd /data/build && cmake ..",
        "mkdir b && cd b && cmake /data",
        "cp -r /data /tmp/s && cd /tmp/s && cmake .",
        "cp /data/h.cc /data/CMakeLists.txt /tmp && cd /tmp && env X=1 cmake .",
        "cp -r /data/* /tmp && cd /tmp && cmake .",
    ] {
        assert_eq!(wanted(&rootfs, text), all, "{text}");
    }
    let found = wanted(&rootfs, "cmake -G Ninja /data");
    has(&found, &["ninja", "c++"]);
    lacks(&found, &["make", "cc"]);
    for text in [
        "cmake --version",
        "cmake -E copy /data /x",
        "ls /data && cmake -P /data/none.cmake",
    ] {
        lacks(&wanted(&rootfs, text), &["c++", "make"]);
    }
    // what was configured says what it was configured with
    rootfs.file(
        "/b/CMakeCache.txt",
        "CMAKE_MAKE_PROGRAM:FILEPATH=/usr/bin/ninja\nCMAKE_C_COMPILER:FILEPATH=/usr/bin/clang\n",
        0o644,
    );
    let found = wanted(&rootfs, "cmake --build /b");
    has(&found, &["ninja", "clang"]);
    lacks(&found, &["make", "cc"]);
}

#[test]
fn meson_reads_its_builds() {
    let rootfs = Rootfs::new();
    rootfs
        .file(
            "/data/meson.build",
            "project('h', 'c')\nsubdir('src')\n",
            0o644,
        )
        .file(
            "/data/src/meson.build",
            "executable('h', 'h.c', dependencies: dependency('zlib'))\n",
            0o644,
        )
        .file("/data/src/h.c", "#include <stdio.h>\n", 0o644);
    let all = [
        "cc",
        "crt1.o",
        "libc.so",
        "meson",
        "ninja",
        "pkg-config",
        "stdio.h",
        "zlib.pc",
    ];
    for text in [
        "meson setup /tmp/b /data && ninja -C /tmp/b",
        "meson setup /data /tmp/b",
        "cd /data && meson setup --buildtype=release b",
        "meson /tmp/b /data",
    ] {
        assert_eq!(wanted(&rootfs, text), all, "{text}");
    }
    lacks(
        &wanted(&rootfs, "cd /data && meson introspect"),
        &["cc", "ninja"],
    );
}

#[test]
fn autotools_read_macros_and_variables() {
    let rootfs = Rootfs::new();
    rootfs
        .file("/data/configure.ac", "AC_INIT([h],[1])\nAM_INIT_AUTOMAKE([foreign])\nAC_PROG_CC\nLT_INIT\nAX_PTHREAD\nAC_CHECK_LIB([m],[cos])\nAC_OUTPUT\n", 0o644)
        .file("/data/Makefile.am", "bin_PROGRAMS = h\nh_SOURCES = h.c\n", 0o644)
        .file("/data/h.c", "#include <stdio.h>\n", 0o644);
    assert_eq!(
        wanted(
            &rootfs,
            "cp -r /data /tmp/s && cd /tmp/s && autoreconf -i && ./configure -q"
        ),
        [
            "aclocal",
            "autoconf",
            "automake",
            "autoreconf",
            "ax_pthread.m4",
            "cc",
            "crt1.o",
            "libc.so",
            "libm.so",
            "libtoolize",
            "stdio.h"
        ]
    );
    has(
        &wanted(&rootfs, "cd /data && ./configure"),
        &["cc", "crt1.o", "stdio.h"],
    );
    // a script that is made already says by what it was made from
    rootfs.file("/other/Makefile.in", "CXX = @CXX@\n", 0o644);
    let found = wanted(&rootfs, "cd /other && ./configure");
    has(&found, &["c++"]);
    lacks(&found, &["cc"]);
    // without a description nothing is compiled
    lacks(
        &wanted(&rootfs, "cd /tmp && autoreconf"),
        &["cc", "automake"],
    );
}

#[test]
fn make_runs_the_recipes_of_its_goals() {
    let rootfs = Rootfs::new();
    rootfs
        .file("/data/Makefile", "include more.mk\nh: h.o\n\t$(CC) -o $@ $^ -lm\nh.o: h.c\n\t$(CC) -c $<\ndoc:\n\tpdflatex doc\nlink:\n\tln --relative -s a b\n", 0o644)
        .file("/data/more.mk", "CC = clang\n", 0o644)
        .file("/data/h.c", "#include <stdio.h>\n", 0o644);
    let compiled = ["clang", "crt1.o", "libc.so", "libm.so", "make", "stdio.h"];
    for text in [
        "make -C /data",
        "cd /data && make -j4",
        "make -f /data/Makefile h",
        "cp -r /data /tmp/s && make -C /tmp/s",
        "nice make --directory=/data h",
    ] {
        assert_eq!(wanted(&rootfs, text), compiled, "{text}");
    }
    assert_eq!(wanted(&rootfs, "make -C /data doc"), ["make", "pdflatex"]);
    assert_eq!(
        wanted(&rootfs, "make -C /data CC=gcc h")[..2],
        ["crt1.o", "gcc"]
    );
    // a script of make's own
    rootfs.program("/app/mk", "#!/usr/bin/make -f\nall: ; @bison x.y\n");
    assert_eq!(of(&rootfs, &["/app/mk"]), ["bison"]);
    // rules that make brings: a source says what makes it
    rootfs.file("/own/h.cc", "#include <stdio.h>\n", 0o644);
    has(
        &wanted(&rootfs, "cp -r /own /tmp/s; cd /tmp/s; make h"),
        &["g++", "stdio.h", "crt1.o"],
    );
    lacks(&wanted(&rootfs, "cd /own && make other"), &["g++", "cc"]);
    rootfs.file("/own/Makefile", "all: h\n", 0o644);
    has(
        &wanted(&rootfs, "cd /own && make"),
        &["g++", "stdio.h", "crt1.o"],
    );
}

#[test]
fn ninja_runs_the_commands_of_its_rules() {
    let rootfs = Rootfs::new();
    rootfs.file(
        "/data/build.ninja",
        "cc = gcc\nrule c\n command = $cc -c $in -o $out\nbuild x.o: c x.c\n",
        0o644,
    );
    for text in ["ninja -C /data", "ninja -f /data/build.ninja"] {
        assert_eq!(wanted(&rootfs, text), ["gcc", "ninja"], "{text}");
    }
}

#[test]
fn scons_compiles_what_builders_are_given() {
    let rootfs = Rootfs::new();
    rootfs
        .file("/data/SConstruct", "SConscript('sub/SConscript')\n", 0o644)
        .file("/data/sub/SConscript", "Program('h', 'h.c')\n", 0o644)
        .file("/data/sub/h.c", "#include <stdio.h>\n", 0o644);
    for text in [
        "scons -Q -f /data/SConstruct",
        "cd /data && scons",
        "scons -C /data",
    ] {
        has(&wanted(&rootfs, text), &["cc", "stdio.h", "crt1.o"]);
    }
}

/// A tool that is itself a program of many files of the bundle.
#[test]
fn a_long_program_leaves_something_for_its_words() {
    let rootfs = Rootfs::new();
    let imports: String = (0..300).map(|n| format!("import m{n}\n")).collect();
    rootfs.program("/usr/bin/meson", format!("#!/usr/bin/python3\n{imports}"));
    for n in 0..300 {
        let names = (0..40).map(|k| format!("import m{}\n", (n * 7 + k) % 300));
        let more: String = names.collect();
        rootfs.file(&format!("/usr/bin/m{n}.py"), more.repeat(20), 0o644);
    }
    let build = "project('h', 'c')\nexecutable('h', 'h.c')\n";
    rootfs.file("/data/meson.build", build, 0o644);
    rootfs.file("/data/h.c", "#include <stdio.h>\n", 0o644);
    let found = of(&rootfs, &["/usr/bin/meson", "setup", "/tmp/b", "/data"]);
    has(&found, &["cc", "stdio.h", "crt1.o"]);
    let found = wanted(&rootfs, "meson setup /tmp/b /data && pdflatex x");
    has(&found, &["cc", "stdio.h", "crt1.o", "pdflatex"]);
}

#[test]
fn names_are_seen_from_where_cd_leads() {
    let rootfs = Rootfs::new();
    rootfs
        .file("/data/h.c", "#include <stdio.h>\n", 0o644)
        .program("/data/sub/run", "#!/bin/sh\nbison x.y\n");
    has(&wanted(&rootfs, "cd /data && gcc h.c"), &["stdio.h"]);
    has(&wanted(&rootfs, "cd /data && cd sub && ./run"), &["bison"]);
}

#[test]
fn compilers_of_other_languages_link_with_cs() {
    let rootfs = Rootfs::new();
    let linked = ["crt1.o", "libc.so"];
    for (text, command) in [
        ("ldc2 -of=/tmp/a a.d", "cc"),
        ("nim c -o:h h.nim", "gcc"),
        ("valac -o h h.vala", "cc"),
        ("shc -f x.sh", "cc"),
    ] {
        let found = wanted(&rootfs, text);
        has(&found, &linked);
        has(&found, &[command]);
    }
    let rootfs_with = Rootfs::new();
    // the bundle's own compiler, by its path
    rootfs_with.program("/usr/bin/ldc2", "#!/bin/sh\n");
    let found = of(&rootfs_with, &["/usr/bin/ldc2", "/data/a.d"]);
    has(&found, &["cc", "crt1.o"]);
    for text in ["ldc2 -c a.d", "nim js h.nim", "gfortran -c x.f90"] {
        lacks(&wanted(&rootfs, text), &["cc", "gcc", "crt1.o"]);
    }
    has(&wanted(&rootfs, "gfortran x.f90"), &linked);
}

#[test]
fn go_packages_with_c() {
    let rootfs = Rootfs::new();
    let text = "package main\n\n// #cgo pkg-config: zlib\n// #cgo LDFLAGS: -lm\n// #include <stdio.h>\nimport \"C\"\n";
    rootfs.file("/data/main.go", text, 0o644).file(
        "/plain/main.go",
        "package main\n\nimport \"fmt\"\n",
        0o644,
    );
    for text in [
        "cd /data && go build -o /tmp/h .",
        "go run /data/main.go",
        "cd / && go test ./data/...",
    ] {
        let found = wanted(&rootfs, text);
        has(
            &found,
            &[
                "gcc",
                "crt1.o",
                "libm.so",
                "stdio.h",
                "pkg-config",
                "zlib.pc",
            ],
        );
    }
    for text in ["cd /plain && go build", "cd /data && go fmt ."] {
        lacks(&wanted(&rootfs, text), &["gcc", "stdio.h"]);
    }
}

#[test]
fn descriptions_that_a_script_writes() {
    let rootfs = Rootfs::new();
    let cmake = "mkdir /tmp/p; cd /tmp/p; cat > CMakeLists.txt <<'E'\nproject(h C)\nadd_executable(h h.c)\nE\n\
        cat > h.c <<E\n#include <stdio.h>\nE\ncmake . && make";
    let found = wanted(&rootfs, cmake);
    has(&found, &["cc", "crt1.o", "make", "stdio.h"]);
    lacks(&found, &["c++"]);
    let lines = "cd /tmp; echo 'project(h C)' > CMakeLists.txt; echo 'add_executable(h h.c)' >> CMakeLists.txt; cmake .";
    lacks(&wanted(&rootfs, lines), &["c++"]);
    let make = "printf 'all:\\n\\tpdflatex x\\n' > Makefile; make";
    has(&wanted(&rootfs, make), &["pdflatex"]);
    let compile = "printf '#include <zlib.h>\\nint main(){}' > /tmp/x.c; gcc /tmp/x.c";
    has(&wanted(&rootfs, compile), &["zlib.h"]);
    // who writes such a text and builds nothing needs nothing
    let written = "printf '#include <zlib.h>\\nAC_INIT\\nAC_PROG_CC\\n'";
    lacks(&wanted(&rootfs, written), &["zlib.h", "cc"]);
    // the bundle's own goes before
    rootfs.file("/data/CMakeLists.txt", "project(h NONE)\n", 0o644);
    let both = "echo 'project(x CXX)'; cmake /data";
    lacks(&wanted(&rootfs, both), &["c++"]);
}
