//! Root file systems that lack nothing run as under any other runtime: no overlay, the same mounts.

use std::path::{Path, PathBuf};

use fragment_tests::programs::Program;
use fragment_tests::{Scene, debian};
use serde_json::json;

/// Debian's runc, the yardstick.
const RUNC: &str = "/usr/sbin/runc";

/// A line of mountinfo without what differs from one container to the next: ids, device numbers, cgroup paths, the
/// order of options. See proc_pid_mountinfo(5).
fn normalised(line: &str, id: &str) -> String {
    let line = line.replace(id, "ID");
    let (mount, super_block) = line.split_once(" - ").expect("a line of mountinfo");
    let fields: Vec<_> = mount.split(' ').collect();
    let [_, _, _, root, target, options, optional @ ..] = fields.as_slice() else {
        panic!("{line}")
    };
    let sorted = |options: &str| {
        let mut options: Vec<_> = options.split(',').collect();
        options.sort_unstable();
        options.join(",")
    };
    let propagation: Vec<_> = optional
        .iter()
        .map(|tag| tag.split(':').next().unwrap_or_default())
        .collect();
    let mut rest = super_block.split(' ');
    let mut next = || rest.next().unwrap_or_default().to_owned();
    let (kind, source, mut super_options) = (next(), next(), sorted(&next()));
    let mut options = sorted(options);
    if options.split(',').any(|option| option == "ro") {
        // a read-only mount may be one of a writable superblock: nobody in the container can tell
        super_options = super_options.replace("rw", "ro");
    }
    if kind == "tmpfs" && *target == "/sys/fs/cgroup" {
        // runc 1.1 makes the controllers below it read-only, as config.json asks, and forgets the directory itself
        options = options.replace("rw", "ro");
        super_options = super_options.replace("rw", "ro");
    }
    if kind == "proc" && *root != "/" {
        // readonlyPaths: runc copies the flags of /proc (none in runc's own spec), libcontainer adds the strict ones
        let strict = |option: &&str| !["nosuid", "nodev", "noexec"].contains(option);
        options = options
            .split(',')
            .filter(strict)
            .collect::<Vec<_>>()
            .join(",");
    }
    // the backing superblock's options belong to the host, and an anonymous tmpfs's source is a name without meaning
    let source = if kind == "tmpfs" {
        "-".to_owned()
    } else {
        source
    };
    format!(
        "{target} {kind} {root} {options} {} {source} {super_options}",
        propagation.join(",")
    )
}

/// What a container of `rootfs` sees as its mount table, under the runtime under test and under runc.
fn compared(scene: &mut Scene, rootfs: &Path) -> [Vec<String>; 2] {
    scene
        .bundle
        .args(&["/bin/cat", "/proc/self/mountinfo"])
        .edit(|spec| {
            spec["root"] = json!({ "path": rootfs, "readonly": true });
        });
    let ours = scene.run();
    let runc = scene.runtime.with_program(RUNC);
    let theirs = runc
        .call(["run", "--bundle"])
        .args([scene.bundle.path()])
        .args([&scene.id])
        .output();
    [ours, theirs].map(|output| {
        let lines = output.ok().stdout.lines();
        let mut lines: Vec<_> = lines.map(|line| normalised(line, &scene.id)).collect();
        lines.sort();
        lines
    })
}

fn same_mounts(scene: &mut Scene, rootfs: &Path) {
    let [ours, theirs] = compared(scene, rootfs);
    assert!(
        !ours.iter().any(|line| line.contains(" overlay ")),
        "{ours:#?}"
    );
    let missing: Vec<_> = theirs.iter().filter(|line| !ours.contains(line)).collect();
    let extra: Vec<_> = ours.iter().filter(|line| !theirs.contains(line)).collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "only under runc: {missing:#?}\nonly under the runtime under test: {extra:#?}"
    );
}

#[test]
fn a_whole_debian_has_the_same_mounts_as_under_runc_and_no_overlay() {
    let mut scene = Scene::new();
    same_mounts(&mut scene, &debian::rootfs());
}

#[test]
fn a_busybox_has_the_same_mounts_as_under_runc_and_no_overlay() {
    let mut scene = Scene::new();
    let rootfs = scene.bundle.rootfs();
    same_mounts(&mut scene, &rootfs);
}

#[test]
fn a_whole_debian_runs_its_own_programs() {
    let mut scene = Scene::new();
    let rootfs = debian::rootfs();
    for (words, expected) in [
        (&["/bin/bash", "-c", "echo one | tr a-z A-Z"][..], "ONE\n"),
        (&["/usr/bin/perl", "-e", "print 6*7"], "42"),
        (
            &["/usr/bin/getent", "passwd", "root"],
            "root:x:0:0:root:/root:/bin/bash\n",
        ),
        (
            &[
                "/usr/bin/dpkg-query",
                "-W",
                "-f",
                "${Package}",
                "base-files",
            ],
            "base-files",
        ),
    ] {
        scene.bundle.args(words).edit(|spec| {
            spec["root"] = json!({ "path": rootfs, "readonly": true });
        });
        scene.run().ok().stdout(expected);
    }
}

/// Copies the libraries that the loader lists for `program` into the rootfs, at their own paths.
fn bring_libraries(scene: &mut Scene, program: &Path) {
    // trusted: compiled by this test; the loader is asked as ldd(1) does
    let loader = "/lib64/ld-linux-x86-64.so.2";
    let output = std::process::Command::new(loader)
        .arg("--list")
        .arg(program)
        .output()
        .expect("run the loader");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let libraries = text
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    for library in libraries.chain([loader]).map(PathBuf::from) {
        let inside = library.strip_prefix("/").expect("an absolute path");
        scene.bundle.directory(
            inside.parent().and_then(Path::to_str).expect("a parent"),
            0o755,
        );
        scene
            .bundle
            .copy(&library, inside.to_str().expect("a path in UTF-8"));
    }
}

#[test]
fn programs_that_bring_their_libraries_run_without_an_overlay() {
    for program in [Program::C, Program::Cxx, Program::Rust, Program::Go] {
        let path = program.build();
        let mut scene = Scene::new();
        bring_libraries(&mut scene, &path);
        scene.bundle.copy(&path, "program").args(&["/program"]);
        scene.run().ok().stdout(program.stdout());
        scene
            .bundle
            .sh("/program && grep -c ' overlay ' /proc/self/mountinfo; true");
        scene.run().ok().stdout(&format!("{}0\n", program.stdout()));
    }
}

#[test]
fn a_static_program_alone_runs() {
    let mut scene = Scene::empty();
    for directory in ["dev", "proc", "sys"] {
        scene.bundle.directory(directory, 0o755);
    }
    scene
        .bundle
        .copy(Program::StaticC.build(), "program")
        .args(&["/program"]);
    scene.run().ok().stdout(Program::StaticC.stdout());
}
