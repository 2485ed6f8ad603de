//! How long analysis takes, warm, beside ldd(1) and lddtree(1) on the same file in the same run: hack/bench-analysis.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program that prints figures"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fragment_analysis::analyse;
use support::{Library, Rootfs, gcc, library, task};

const LIBRARIES: usize = 30;
const LINES: usize = 200;
const ROUNDS: usize = 200;

/// Least and middle of several runs.
fn measure(rounds: usize, mut run: impl FnMut()) -> (Duration, Duration) {
    let mut times: Vec<Duration> = (0..rounds)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed()
        })
        .collect();
    times.sort();
    (times[0], times[rounds / 2])
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// A program with a chain and a fan of libraries: `app` needs all, each needs the next.
fn program(rootfs: &Rootfs) {
    let top = rootfs.at("/app/lib/x");
    let directory = top.parent().unwrap();
    let mut all = vec![
        "-Llib".to_owned(),
        "-Wl,--no-as-needed".to_owned(),
        "-Wl,-rpath,$ORIGIN/lib".to_owned(),
    ];
    for n in (0..LIBRARIES).rev() {
        let source = format!("int bench_{n}(void) {{ return {n}; }}");
        let soname = format!("-Wl,-soname,libbench{n}.so.1");
        let mut flags = vec![
            "-shared",
            "-fPIC",
            soname.as_str(),
            "-L.",
            "-Wl,--no-as-needed",
        ];
        let next = format!("-lbench{}", n + 1);
        if n + 1 < LIBRARIES {
            flags.push(&next);
        }
        gcc(directory, &format!("libbench{n}.so"), &source, &flags);
        std::fs::copy(
            directory.join(format!("libbench{n}.so")),
            directory.join(format!("libbench{n}.so.1")),
        )
        .unwrap();
        all.push(format!("-lbench{n}"));
    }
    let flags: Vec<&str> = all.iter().map(String::as_str).collect();
    gcc(
        &rootfs.at("/app"),
        "app",
        "int main(void) { return 0; }",
        &flags,
    );
}

fn script() -> String {
    let block = [
        "if [ -z \"${CONFIG:-}\" ]; then CONFIG=/etc/app.conf; fi",
        "for file in \"$DIR\"/*.conf; do grep -q '^#' \"$file\" && continue; sed -e \"s/@X@/$(hostname)/\" \"$file\"; done",
        "case \"$1\" in start|run) echo starting ;; stop) kill \"$(cat /run/app.pid)\" ;; *) usage; exit 2 ;; esac",
        "curl -fsS \"https://$HOST:8443/health\" | jq -r .status > /tmp/status 2>/dev/null || true",
        "find /var/log/app -name '*.log' -mtime +7 -exec gzip -9 {} \\;",
        "cat <<EOF",
        "value is $((1 + 2)) and `date +%s`",
        "EOF",
        "log() { printf '%s %s\\n' \"$(date)\" \"$*\" >&2; }",
        "[[ $MODE =~ ^(a|b)$ ]] || { log \"mode ${MODE:-none}\"; }",
    ];
    let mut text = String::from("#!/bin/sh\nset -eu\nDIR=$(dirname \"$0\")\n");
    while text.lines().count() < LINES {
        writeln!(text, "{}", block[text.lines().count() % block.len()]).unwrap();
    }
    text
}

fn main() {
    let rootfs = Rootfs::new();
    program(&rootfs);
    rootfs.program("/app/run.sh", script());
    let file = rootfs.at("/app/app");
    let (root, base) = (rootfs.root(), library());

    let (best, middle) = measure(ROUNDS, || {
        drop(analyse(&root, &task(&["/app/app"], &[]), &base).unwrap());
    });
    println!(
        "ELF, {LIBRARIES} libraries of the bundle       best {:8.0} us, median {:8.0} us (wanted: 1000)",
        micros(best),
        micros(middle)
    );

    // The same program alone, its libraries a component's.
    let thin = Rootfs::new();
    thin.program("/app/app", std::fs::read(&file).unwrap());
    let mut supplied: Library = library().component("bench");
    for n in 0..LIBRARIES {
        supplied = supplied.soname(
            &format!("libbench{n}.so.1"),
            &format!("/usr/lib/x86_64-linux-gnu/libbench{n}.so.1"),
            &[],
        );
    }
    let thin_root = thin.root();
    let (best_thin, middle_thin) = measure(ROUNDS, || {
        drop(analyse(&thin_root, &task(&["/app/app"], &[]), &supplied).unwrap());
    });
    println!(
        "ELF, {LIBRARIES} libraries of a component      best {:8.0} us, median {:8.0} us (wanted: 1000)",
        micros(best_thin),
        micros(middle_thin)
    );

    let (best, middle) = measure(ROUNDS, || {
        drop(analyse(&root, &task(&["/app/run.sh"], &[]), &base).unwrap());
    });
    println!(
        "shell script of {LINES} lines             best {:8.0} us, median {:8.0} us (wanted: 5000)",
        micros(best),
        micros(middle)
    );

    for command in ["ldd", "lddtree"] {
        let run = || {
            Command::new(command)
                .arg(&file)
                // lddtree is in Python: the distribution's, which has its modules.
                .env("PATH", "/usr/bin:/bin")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
        };
        match run() {
            Ok(status) if status.success() => {
                let (best, middle) = measure(20, || drop(run()));
                println!(
                    "{command:8} on the same ELF             best {:8.0} us, median {:8.0} us; best against best {:.0} times the analysis",
                    micros(best),
                    micros(middle),
                    micros(best) / micros(best_thin)
                );
            }
            _ => println!("skipped: {command} is not installed (lddtree: package pax-utils)"),
        }
    }
}
