//! Bundles made to hurt: each ends in a clear error or in a bounded analysis, within 100 ms and 64 MiB.
//!
//! Every case runs in a process of its own, which tells how much processor time an analysis took, several times repeated, and how much memory all of
//! them needed at most.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "clippy's exception is for test functions, not for what they call; the figures are the point"
)]

mod support;

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::process::Command;
use std::time::Duration;

use fragment_analysis::{Task, analyse};
use support::{Rootfs, library, task};

const TIME: Duration = Duration::from_millis(100);
const ROUNDS: u32 = 5;
const MEMORY: u64 = 64 << 20;
/// Names the case that a child process runs.
const CASE: &str = "FRAGMENT_HOSTILE_CASE";

/// A bundle, what is run in it, and a part of the error; an empty one is no error.
struct Case {
    name: &'static str,
    build: fn(&Rootfs) -> Task,
    error: &'static str,
}

const fn case(name: &'static str, build: fn(&Rootfs) -> Task, error: &'static str) -> Case {
    Case { name, build, error }
}

const CASES: &[Case] = &[
    case(
        "scripts that interpret one another",
        shebang_chain,
        "nested more than",
    ),
    case(
        "a script that interprets itself",
        shebang_loop,
        "nested more than",
    ),
    case("a chain of links", link_chain, "symbolic links"),
    case("a loop of links", link_loop, "symbolic links"),
    case(
        "10,000 needed entries",
        many_needed,
        "needs more than 512 shared objects",
    ),
    case("a search path that names itself", self_referencing, ""),
    case(
        "many directories and many libraries",
        many_places,
        "look-ups of shared objects",
    ),
    case(
        "libraries that all need one another",
        everybody_needs_everybody,
        "look-ups of shared objects",
    ),
    case(
        "long names in a small string table",
        overlapping_strings,
        "is larger than",
    ),
    case("long names in many files", heavy_files, "is larger than"),
    case("a huge string table", huge_strings, "is larger than"),
    case("names that are not UTF-8", not_utf8, ""),
    case("an interpreter that is not UTF-8", shebang_not_utf8, ""),
    case("a link that is not UTF-8", link_not_utf8, "UTF-8"),
    case("a FIFO as entry", fifo, "permission denied"),
    case("a socket as entry", socket, "permission denied"),
    case(
        "a directory as entry",
        |rootfs| named(rootfs.directory("/x")),
        "is a directory",
    ),
    case("a device as entry", device, "permission denied"),
    case("a script of one line of 64 MiB", long_line, ""),
    case("thousands of scripts in a script", candidates_in_script, ""),
    case(
        "thousands of programs on the command line",
        candidates_in_argv,
        "",
    ),
    case("100,000 words and variables", many_words, ""),
    case("a package.json of deep nesting", deep_document, ""),
    case("variables that multiply", multiplying_variables, ""),
    case("texts in texts", nested_texts, ""),
    case("commands in commands", nested_commands, ""),
    case("modules by the hundred in every language", many_modules, ""),
    case("texts made to be slow", slow_texts, ""),
    case("makefiles that multiply", multiplying_makefiles, ""),
    case("texts written for many builds", written_builds, ""),
    case("descriptions of builds made to be slow", slow_builds, ""),
];

/// A script that builds in many directories; `file` of each holds `text`.
fn builds(rootfs: &Rootfs, tool: &str, file: &str, text: &str) -> Task {
    let mut script = "#!/bin/sh\n".to_owned();
    for n in 0..64 {
        rootfs.file(&format!("/{n}/{file}"), text, 0o644);
        writeln!(script, "cd /{n} && {tool}").unwrap();
    }
    named(rootfs.program("/x", script))
}

fn multiplying_makefiles(rootfs: &Rootfs) -> Task {
    let mut text = "all: $(V63) a0\n\techo $(V63) $(X)\nX = $(X) $(X:a=b) $(foreach $(X)) $(if $(X),$(X),$(X))\n".to_owned();
    for n in 0..64 {
        writeln!(
            text,
            "V{} = $(V{n}) $(V{n}) $(patsubst %,%%{n},$(V{n}))",
            n + 1
        )
        .unwrap();
        writeln!(
            text,
            "a%: b%{n} a%{n} $(V{n})\n\t$(CC) -c $< $(V63)\nb%: a%\n"
        )
        .unwrap();
    }
    writeln!(text, "V0 = {}", "x ".repeat(1000)).unwrap();
    writeln!(text, "all: {}", "a0 b1 c2 ".repeat(4000)).unwrap();
    builds(rootfs, "make", "Makefile", &text)
}

/// Texts that commands write, each one an addition to the description of the next build.
fn written_builds(rootfs: &Rootfs) -> Task {
    let mut script = "#!/bin/sh\n".to_owned();
    for n in 0..250 {
        let text = format!("project({n} C)AC_INIT x:;#include <x> ").repeat(5);
        writeln!(script, "echo '{text}'; cmake x.c; autoreconf; make; cc x.c").unwrap();
    }
    named(rootfs.program("/x", script))
}

fn slow_builds(rootfs: &Rootfs) -> Task {
    let text = |piece: &str| piece.repeat((64 << 10) / piece.len());
    for (file, piece) in [
        ("CMakeLists.txt", "add_subdirectory(x.c #[=[\n("),
        ("meson.build", "subdir([('x.c' "),
        ("configure.ac", "PKG_CHECK_MODULES([[(x],"),
        ("Makefile.am", "SUBDIRS = . x.c\n"),
        ("build.ninja", "a = $a$a\nrule x\n command = $a$a\n"),
    ] {
        builds(rootfs, "", file, &text(piece));
    }
    builds(
        rootfs,
        "(cmake .; meson setup b .; autoreconf; ninja)",
        "x",
        "",
    )
}

fn named(_: &Rootfs) -> Task {
    task(&["/x"], &[])
}

fn shebang_chain(rootfs: &Rootfs) -> Task {
    for n in 0..50 {
        rootfs.program(&format!("/s{n}"), format!("#!/s{}\n", n + 1));
    }
    task(&["/s0"], &[])
}

fn shebang_loop(rootfs: &Rootfs) -> Task {
    named(rootfs.program("/x", "#!/x\n"))
}

fn link_chain(rootfs: &Rootfs) -> Task {
    for n in 0..200 {
        rootfs.link(&format!("/l{n}"), &format!("/l{}", n + 1));
    }
    task(&["/l0"], &[])
}

fn link_loop(rootfs: &Rootfs) -> Task {
    named(rootfs.link("/x", "y").link("/y", "/x"))
}

/// An ELF program or library with these entries of its dynamic section, whose values may be offsets in `strings`.
fn elf(strings: &[u8], entries: &[(u64, u64)]) -> Vec<u8> {
    const HEADERS: u64 = 64 + 2 * 56;
    let dynamic_size = (entries.len() as u64 + 3) * 16;
    let at = HEADERS + dynamic_size;
    let mut out = Vec::new();
    let half = |out: &mut Vec<u8>, value: u16| out.extend(value.to_le_bytes());
    let word = |out: &mut Vec<u8>, value: u32| out.extend(value.to_le_bytes());
    let long = |out: &mut Vec<u8>, value: u64| out.extend(value.to_le_bytes());
    out.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    half(&mut out, 3);
    half(&mut out, 62);
    word(&mut out, 1);
    for value in [0, 64, 0] {
        long(&mut out, value);
    }
    word(&mut out, 0);
    for value in [64, 56, 2, 0, 0, 0] {
        half(&mut out, value);
    }
    let size = at + strings.len() as u64;
    for (kind, offset, size) in [(1, 0, size), (2, HEADERS, dynamic_size)] {
        word(&mut out, kind);
        word(&mut out, 4);
        for value in [offset, offset, offset, size, size, 8] {
            long(&mut out, value);
        }
    }
    for (tag, value) in entries
        .iter()
        .chain(&[(5, at), (10, strings.len() as u64), (0, 0)])
    {
        long(&mut out, *tag);
        long(&mut out, *value);
    }
    out.extend(strings);
    out
}

const NEEDED: u64 = 1;
const RUNPATH: u64 = 29;

/// A program that needs these, found in `path`.
fn needs(names: impl Iterator<Item = String>, path: &str) -> Vec<u8> {
    let mut strings = vec![0];
    let mut entries = Vec::new();
    for name in names {
        entries.push((NEEDED, strings.len() as u64));
        strings.extend(name.as_bytes());
        strings.push(0);
    }
    if !path.is_empty() {
        entries.push((RUNPATH, strings.len() as u64));
        strings.extend(path.as_bytes());
        strings.push(0);
    }
    with_interpreter(&elf(&strings, &entries))
}

/// The same with a program interpreter: without one nothing is loaded. The second program header is moved to the end.
fn with_interpreter(program: &[u8]) -> Vec<u8> {
    let mut out = program.to_vec();
    let at = out.len() as u64;
    let headers = out[64..64 + 112].to_vec();
    out.extend(&headers);
    let interpreter = b"/lib64/ld-linux-x86-64.so.2\0";
    let place = at + 3 * 56;
    for value in [3_u32, 4] {
        out.extend(value.to_le_bytes());
    }
    for value in [
        place,
        place,
        place,
        interpreter.len() as u64,
        interpreter.len() as u64,
        1,
    ] {
        out.extend(value.to_le_bytes());
    }
    out.extend(interpreter);
    out[32..40].copy_from_slice(&at.to_le_bytes());
    out[56..58].copy_from_slice(&3_u16.to_le_bytes());
    out
}

fn many_needed(rootfs: &Rootfs) -> Task {
    let names = (0..10_000).map(|n| format!("libhostile-{n}.so.1"));
    named(rootfs.program("/x", needs(names, "")))
}

fn self_referencing(rootfs: &Rootfs) -> Task {
    let path = "$ORIGIN:$ORIGIN/.:${ORIGIN}/../:$ORIGIN/../x/..:/:".repeat(1000);
    let own = || ["libself.so".to_owned()].into_iter();
    rootfs.program("/libself.so", needs(own(), &path));
    named(rootfs.program("/x", needs(own(), &path)))
}

fn many_places(rootfs: &Rootfs) -> Task {
    let mut path = String::new();
    for n in 0..250 {
        rootfs.directory(&format!("/d{n}"));
        write!(path, "/d{n}:").unwrap();
    }
    named(rootfs.program("/x", needs((0..500).map(|n| format!("l{n}.so")), &path)))
}

fn everybody_needs_everybody(rootfs: &Rootfs) -> Task {
    let content = needs((0..400).map(|n| format!("l{n}.so")), "/");
    for n in 0..400 {
        rootfs.program(&format!("/l{n}.so"), &content);
    }
    named(rootfs.program("/x", &content))
}

fn overlapping_strings(rootfs: &Rootfs) -> Task {
    let mut strings = vec![b'a'; 60_000];
    strings.push(0);
    let entries: Vec<_> = (0..10_000).map(|n| (NEEDED, n)).collect();
    named(rootfs.program("/x", elf(&strings, &entries)))
}

fn heavy_files(rootfs: &Rootfs) -> Task {
    let mut strings = vec![b'b'; 60_000];
    strings.push(0);
    let heavy: Vec<_> = (0..60).map(|n| (NEEDED, n)).collect();
    let content = elf(&strings, &heavy);
    for n in 0..100 {
        rootfs.program(&format!("/l{n}.so"), &content);
    }
    named(rootfs.program("/x", needs((0..100).map(|n| format!("l{n}.so")), "/")))
}

fn huge_strings(rootfs: &Rootfs) -> Task {
    named(rootfs.program("/x", elf(&vec![b'c'; 65 << 20], &[(NEEDED, 0)])))
}

fn not_utf8(rootfs: &Rootfs) -> Task {
    let strings = b"\0lib\xff\xfe.so\0$ORIGIN/\xc3\x28:\x80\0";
    let program = elf(strings, &[(NEEDED, 1), (RUNPATH, 11)]);
    std::fs::write(rootfs.at("/").join(OsStr::from_bytes(b"\xff\xfe")), "x").unwrap();
    named(rootfs.program("/x", with_interpreter(&program)))
}

fn shebang_not_utf8(rootfs: &Rootfs) -> Task {
    named(rootfs.program("/x", b"#!/bin/\xff\xfe \x80\n"))
}

fn link_not_utf8(rootfs: &Rootfs) -> Task {
    symlink(OsStr::from_bytes(b"\xff"), rootfs.at("/x")).unwrap();
    named(rootfs)
}

fn fifo(rootfs: &Rootfs) -> Task {
    let made = Command::new("mkfifo")
        .arg("-m")
        .arg("755")
        .arg(rootfs.at("/x"))
        .status();
    assert!(made.unwrap().success());
    named(rootfs)
}

fn socket(rootfs: &Rootfs) -> Task {
    drop(std::os::unix::net::UnixListener::bind(rootfs.at("/x")).unwrap());
    named(rootfs)
}

/// Whoever may not make a device tests a link to one, which stays inside the root and so leads nowhere; then a FIFO stands in.
fn device(rootfs: &Rootfs) -> Task {
    let path = rootfs.at("/x");
    let made = Command::new("mknod")
        .arg("-m")
        .arg("755")
        .arg(&path)
        .args(["c", "1", "3"])
        .output()
        .unwrap();
    if !made.status.success() {
        return fifo(rootfs);
    }
    assert!(
        std::fs::metadata(path)
            .unwrap()
            .file_type()
            .is_char_device()
    );
    named(rootfs)
}

fn long_line(rootfs: &Rootfs) -> Task {
    let mut text = b"#!/bin/sh\n".to_vec();
    text.resize(64 << 20, b'a');
    named(rootfs.program("/x", text))
}

fn candidates_in_script(rootfs: &Rootfs) -> Task {
    let mut text = String::from("#!/bin/sh\n");
    for n in 0..5000 {
        rootfs.program(
            &format!("/c/{n}"),
            format!("#!/bin/sh\n/c/{}\ncmd{n}\n", (n * 7) % 5000),
        );
        writeln!(text, "/c/{n}").unwrap();
    }
    named(rootfs.program("/x", text))
}

fn candidates_in_argv(rootfs: &Rootfs) -> Task {
    let mut out = task(&["/x"], &[]);
    rootfs.program("/x", "#!/bin/sh\n");
    for n in 0..5000 {
        rootfs.program(&format!("/c/{n}"), "#!/bin/sh\na\n");
        out.argv.push(format!("/c/{n}"));
    }
    out
}

fn many_words(rootfs: &Rootfs) -> Task {
    let mut out = named(rootfs.program("/x", "#!/bin/sh\n"));
    out.argv.extend((0..100_000).map(|n| format!("/word/{n}")));
    out.env
        .extend((0..100_000).map(|n| format!("LC_ALL{n}_URL=http://x{n}")));
    out.env.push(format!("PATH={}", "/a:/b:".repeat(20_000)));
    out
}

fn deep_document(rootfs: &Rootfs) -> Task {
    rootfs.file("/app/x.js", "require('a')", 0o644);
    let text = format!("{{\"main\": {}", "[".repeat(200_000));
    rootfs.file("/app/package.json", &text, 0o644);
    rootfs.file("/app/node_modules/a/package.json", text, 0o644);
    task(&["node", "/app/x.js"], &[])
}

fn multiplying_variables(rootfs: &Rootfs) -> Task {
    let mut text = String::from("#!/bin/sh\nv0=abcdefgh\n");
    for n in 1..40 {
        writeln!(text, "v{n}=\"{}\"", format!("$v{} ", n - 1).repeat(40)).unwrap();
    }
    text.push_str(&"sh -c \"$v4\"; $v39 $v3\n".repeat(500));
    named(rootfs.program("/x", text))
}

fn nested_texts(rootfs: &Rootfs) -> Task {
    let mut text = String::from("#!/bin/sh\n");
    text.push_str("T='sh -c \"$T\"; eval \"$T\"; trap \"$T\" 0; T=\"$T $T\"'\n");
    text.push_str(&"sh -c \"$T\"; eval \"$T\"; python3 -c \"$T\"\n".repeat(1000));
    named(rootfs.program("/x", text))
}

fn nested_commands(rootfs: &Rootfs) -> Task {
    let mut out = named(rootfs.program("/x", "#!/bin/sh\n"));
    out.argv = vec!["find".into()];
    out.argv.extend(
        ["-exec", "find"]
            .map(str::to_owned)
            .into_iter()
            .cycle()
            .take(4000),
    );
    out.argv.extend(std::iter::repeat_n(";".to_owned(), 4000));
    out
}

fn many_modules(rootfs: &Rootfs) -> Task {
    let mut python = String::new();
    let mut node = String::new();
    for n in 0..2000 {
        writeln!(python, "import m{n}.a.b.c.d").unwrap();
        write!(node, "require('m{n}');").unwrap();
        rootfs.file(&format!("/app/m{n}.py"), &python, 0o644);
    }
    rootfs.file("/app/x.py", &python, 0o644);
    rootfs.file("/a/b/c/d/e/f/g/h/i/j/x.js", node, 0o644);
    rootfs.program(
        "/x",
        "#!/bin/sh\npython3 /app/x.py\nnode /a/b/c/d/e/f/g/h/i/j/x.js\n",
    );
    named(rootfs)
}

fn slow_texts(rootfs: &Rootfs) -> Task {
    let pieces = [
        "$(",
        "`",
        "((",
        "${x:-",
        "\"$(",
        "if a; then ",
        "case x in a) ",
        "<<E\n",
        "q(",
        "use ",
        "'",
        "\"\"\"",
        "/*",
        "--[[",
        "import (",
        "$:",
        "f(",
        "{",
    ];
    let mut text = String::from("#!/bin/sh\n");
    // what is tried as one thing and read as another, one in the other
    for (n, (open, close)) in [("$((", ") )"), ("?($(", ")\n"), ("$((?(`", "`) )\n")]
        .iter()
        .enumerate()
    {
        let own = format!("a {}a{}; ))", open.repeat(60), close.repeat(60));
        rootfs.file(&format!("/t/twice-{n}.sh"), &own, 0o644);
        writeln!(text, "sh /t/twice-{n}.sh").unwrap();
    }
    for (n, piece) in pieces.iter().enumerate() {
        let own = piece.repeat((64 << 10) / piece.len());
        for (interpreter, ending) in [
            ("sh", "sh"),
            ("python3", "py"),
            ("perl", "pl"),
            ("ruby", "rb"),
            ("php", "php"),
        ] {
            if n % 5 == ending.len() % 5 || n < 9 && ending == "sh" {
                rootfs.file(&format!("/t/{n}.{ending}"), &own, 0o644);
                writeln!(text, "{interpreter} /t/{n}.{ending}").unwrap();
            }
        }
    }
    named(rootfs.program("/x", text))
}

fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim()
        .trim_end_matches(" kB")
        .trim()
        .parse::<u64>()
        .unwrap()
        << 10
}

/// Time that this thread has been running: on a machine that does something else as well, the clock on the wall says nothing.
fn spent() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// Runs one case, in the child process.
fn run(case: &Case) {
    let rootfs = Rootfs::new();
    let task = (case.build)(&rootfs);
    let (root, library) = (rootfs.root(), library());
    // The peak of what came before is forgotten (proc(5)).
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = peak();
    let start = spent();
    for _ in 0..ROUNDS {
        let result = analyse(&root, &task, &library);
        match result {
            Ok(_) if case.error.is_empty() => {}
            Err(error) if !case.error.is_empty() => {
                let mut text = error.to_string();
                if let Some(cause) = std::error::Error::source(&error) {
                    write!(text, ": {cause}").unwrap();
                }
                assert!(text.contains(case.error), "{}: {text}", case.name);
            }
            other => panic!("{}: {other:?}", case.name),
        }
    }
    let mean = (spent() - start) / ROUNDS;
    let memory = peak() - before;
    println!(
        "{:45} {:6.1} ms {:5.1} MiB",
        case.name,
        mean.as_secs_f64() * 1e3,
        memory as f64 / f64::from(1 << 20)
    );
    assert!(mean <= TIME, "{}: {mean:?}", case.name);
    assert!(memory <= MEMORY, "{}: {memory} bytes", case.name);
}

#[test]
fn hostile_bundles_are_bounded() {
    if let Ok(name) = std::env::var(CASE) {
        return run(CASES.iter().find(|case| case.name == name).unwrap());
    }
    let mut failed = Vec::new();
    for case in CASES {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "hostile_bundles_are_bounded", "--nocapture"])
            .env(CASE, case.name)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        print!(
            "{}",
            text.lines()
                .filter(|line| line.contains(" MiB"))
                .fold(String::new(), |all, line| all + line + "\n")
        );
        if !output.status.success() {
            failed.push(format!(
                "{}{}",
                text,
                String::from_utf8_lossy(&output.stderr)
            ));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
