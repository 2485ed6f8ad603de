//! Builds small components for real: as root, from the machine's own package archive.
#![allow(clippy::print_stderr, reason = "a skip says why")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fragment_build::{Builder, Built, Error, Library, Options, Silent};
use fragment_types::Digest;
use fragment_types::manifest::{Manifest, PathKind};

/// Set in the process that the test kills.
const CHILD: &str = "FRAGMENT_BUILD_TEST_CHILD";

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/library")
}

fn builder(recipes: &Path, work: &Path, output: &Path) -> Result<Builder, Error> {
    let options = Options {
        output: output.to_owned(),
        jobs: 2,
        refresh: false,
        rebuild: false,
    };
    Builder::new(Library::load(recipes)?, work, options)
}

fn build(recipes: &Path, work: &Path, output: &Path, names: &[&str]) -> Result<Vec<Built>, Error> {
    let mut built = Vec::new();
    builder(recipes, work, output)?.build(names, &Silent, &mut |component| {
        built.push(component);
        Ok(())
    })?;
    Ok(built)
}

#[test]
fn packages_become_components() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED packages_become_components: installing packages into a root needs root");
        return;
    }
    if let Some(directory) = std::env::var_os(CHILD) {
        let directory = PathBuf::from(directory);
        // built anew into an output of its own, until the parent kills it
        build(
            &fixtures(),
            &directory.join("work"),
            &directory.join("killed"),
            &[],
        )
        .unwrap();
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    let directory = temporary.path();
    let (work, output) = (directory.join("work"), directory.join("out"));
    let built = build(&fixtures(), &work, &output, &[]).unwrap();
    handed_over_in_order(&built);
    manifests_say_what_is_there(&manifests(&built));
    layers_hold_what_manifests_say(&built);
    unchanged_components_are_reused(&work, &output);
    same_input_same_digest(directory, &built);
    errors_say_what_to_do(directory, &work);
    killed_builds_leave_nothing(directory, &work);
    assert_eq!(mounts_below(directory), Vec::<String>::new());
}

fn manifests(built: &[Built]) -> BTreeMap<&str, &Manifest> {
    built
        .iter()
        .map(|b| (b.manifest.name.as_str(), &b.manifest))
        .collect()
}

fn handed_over_in_order(built: &[Built]) {
    let names: Vec<&str> = built.iter().map(|b| b.manifest.name.as_str()).collect();
    let at = |name| names.iter().position(|n| *n == name).unwrap();
    assert_eq!(names.len(), 5);
    assert_eq!(at("core"), 0);
    assert!(at("zlib") < at("pigz"));
}

fn manifests_say_what_is_there(manifests: &BTreeMap<&str, &Manifest>) {
    let paths = |name: &str| {
        let entries = manifests[name].provides.paths.iter();
        entries
            .map(|e| (e.path.as_str(), e))
            .collect::<BTreeMap<_, _>>()
    };
    let core = paths("core");
    assert_eq!(core["/lib64"].kind, PathKind::Symlink);
    assert_eq!(core["/tmp"].mode, 0o1777);
    assert_eq!(core["/usr/bin/busybox"].mode, 0o755);
    assert!(core.contains_key("/usr/lib/x86_64-linux-gnu/libc.so.6"));
    assert!(manifests["core"].requires.components.is_empty());
    let libc = manifests["core"]
        .provides
        .sonames
        .iter()
        .find(|s| s.soname == "libc.so.6")
        .unwrap();
    assert!(libc.public && libc.versions.contains("GLIBC_2.34"));
    let commands: Vec<&str> = manifests["core"]
        .provides
        .commands
        .iter()
        .map(|c| c.name.as_str())
        .collect();
    assert_eq!(commands, ["busybox", "sh"]);

    assert!(paths("netbase").contains_key("/etc/services"));
    assert!(
        !paths("netbase")
            .keys()
            .any(|p| p.starts_with("/usr/share/doc"))
    );
    assert!(manifests["netbase"].packages[0].licences.contains("GPL-2"));

    let pigz = manifests["pigz"];
    let required: Vec<&str> = pigz
        .requires
        .components
        .iter()
        .map(fragment_types::ComponentName::as_str)
        .collect();
    assert_eq!(required, ["core", "zlib"]);
    let needs: Vec<&str> = pigz
        .requires
        .sonames
        .iter()
        .map(|s| s.soname.as_str())
        .collect();
    assert_eq!(
        needs,
        ["libc.so.6", "libm.so.6", "libpthread.so.0", "libz.so.1"]
    );
    assert!(
        pigz.provides
            .commands
            .iter()
            .any(|c| c.path == "/usr/bin/unpigz")
    );

    // what maintainer scripts made, links included
    let certificates = paths("certificates");
    assert!(certificates["/etc/ssl/certs/ca-certificates.crt"].size > 100_000);
    assert!(certificates.keys().filter(|p| p.ends_with(".0")).count() > 50);
    for (name, manifest) in manifests {
        for entry in &manifest.provides.paths {
            let path = entry.path.as_str();
            let state = [
                "/var/lib/dpkg",
                "/var/lib/apt",
                "/var/log",
                "/run/",
                "/proc/",
                "/dev/",
            ];
            let kept = path == "/var/lib/dpkg" || path.starts_with("/var/lib/dpkg/status.d");
            assert!(
                kept || !state.iter().any(|s| path.starts_with(s)),
                "{name} holds {path}"
            );
            assert!(
                !["/bin/", "/lib/", "/lib64/"]
                    .iter()
                    .any(|s| path.starts_with(s)),
                "{path}"
            );
            assert_eq!(entry.mode & 0o6000, 0, "{name}: {path}");
        }
    }
}

fn layers_hold_what_manifests_say(built: &[Built]) {
    for component in built {
        let manifest = &component.manifest;
        let blob = fs::read(&component.layer_file).unwrap();
        assert_eq!(Digest::of(&blob), manifest.layer.digest);
        assert_eq!(blob.len() as u64, manifest.size.stored);
        let plain = zstd::decode_all(blob.as_slice()).unwrap();
        assert_eq!(Digest::of(&plain), manifest.layer.diff_id);
        let mut archive = tar::Archive::new(plain.as_slice());
        let mut names = Vec::new();
        let mut status = BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
            let file = name.strip_prefix("var/lib/dpkg/status.d/");
            if let Some(file) = file.filter(|f| !f.is_empty()) {
                let mut text = String::new();
                entry.read_to_string(&mut text).unwrap();
                status.insert(file.to_owned(), text);
            }
            names.push(format!("/{}", name.trim_end_matches('/')));
        }
        scanners_find_packages(manifest, &status);
        let listed: Vec<&str> = manifest
            .provides
            .paths
            .iter()
            .map(|e| e.path.as_str())
            .collect();
        assert_eq!(names, listed);
        let written: Manifest =
            serde_json::from_slice(&fs::read(&component.manifest_file).unwrap()).unwrap();
        assert_eq!(written, *manifest);
    }
}

/// `status`: what is below `/var/lib/dpkg/status.d`, by file name.
fn scanners_find_packages(manifest: &Manifest, status: &BTreeMap<String, String>) {
    for package in &manifest.packages {
        let (name, paragraph) = (&package.name, &status[&package.name]);
        let has = |line: &str| paragraph.lines().any(|l| l == line);
        assert!(has(&format!("Package: {name}")), "{paragraph}");
        assert!(has(&format!("Version: {}", package.version)), "{paragraph}");
        assert!(has("Status: install ok installed"), "{paragraph}");
        assert_eq!(has("Fragment-Slice: yes"), package.sliced, "{paragraph}");
        assert!(!paragraph.contains("\n\n") && !has("Conffiles:"));
        let architecture = package.architecture.as_ref().unwrap();
        assert!(has(&format!("Architecture: {architecture}")), "{paragraph}");
        let listed = status[&format!("{name}.md5sums")].lines();
        let listed: Vec<&str> = listed.map(|l| l.split_once("  ").unwrap().1).collect();
        for path in &listed {
            let held = |e: &&fragment_types::manifest::PathEntry| e.path[1..] == **path;
            assert!(manifest.provides.paths.iter().any(|e| held(&e)), "{path}");
        }
        let of_the_package = match name.as_str() {
            "zlib1g" => "usr/lib/x86_64-linux-gnu/libz.so.1.2.13",
            "busybox" => "usr/bin/busybox",
            "libc6" => "usr/lib/x86_64-linux-gnu/libc.so.6",
            _ => continue,
        };
        assert!(listed.contains(&of_the_package), "{name}: {listed:?}");
    }
    assert_eq!(status.len(), manifest.packages.len() * 2);
}

fn unchanged_components_are_reused(work: &Path, output: &Path) {
    let start = Instant::now();
    let again = build(&fixtures(), work, output, &[]).unwrap();
    assert!(again.iter().all(|b| b.reused));
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    // a damaged layer is noticed, and only that component is made again
    fs::write(output.join("netbase.tar.zst"), "damaged").unwrap();
    let again = build(&fixtures(), work, output, &[]).unwrap();
    let made: Vec<&str> = again
        .iter()
        .filter(|b| !b.reused)
        .map(|b| b.manifest.name.as_str())
        .collect();
    assert_eq!(made, ["netbase"]);
}

fn same_input_same_digest(directory: &Path, first: &[Built]) {
    let second = build(
        &fixtures(),
        &directory.join("other-work"),
        &directory.join("other-out"),
        &[],
    )
    .unwrap();
    for (a, b) in first.iter().zip(&second) {
        assert_eq!(a.manifest, b.manifest);
        assert_eq!(
            fs::read(&a.manifest_file).unwrap(),
            fs::read(&b.manifest_file).unwrap()
        );
    }
}

fn errors_say_what_to_do(directory: &Path, work: &Path) {
    for (recipe, expected) in [
        (
            "description: x\npackages: [no-such-package]\n",
            &["`bad`", "`no-such-package`", "apt-cache search"][..],
        ),
        (
            "description: x\npackages: [hello]\nbudget: 100\n",
            &["`bad`", "its budget is 100", "/usr/bin/hello"],
        ),
        (
            "description: x\nslices: { hello: [/usr/bin/hullo] }\n",
            &["`/usr/bin/hullo`", "matches nothing of hello"],
        ),
        (
            "description: x\npackages: [hello]\ngenerated: [/etc/nothing/**]\n",
            &["`/etc/nothing/**`", "generated"],
        ),
        (
            "description: x\npackages: [hello]\nspecial: [/usr/bin/hullo]\n",
            &["`special` names `/usr/bin/hullo`"],
        ),
        (
            "description: x\nslices: { libxml2-utils: [/usr/bin/xmllint] }\n",
            &[
                "/usr/bin/xmllint needs `libxml2.so.2`",
                "LIBXML2_2",
                "package `libxml2` has it",
                "allow_missing",
            ],
        ),
    ] {
        let recipes = directory.join("bad");
        fs::create_dir_all(&recipes).unwrap();
        for file in ["defaults.yaml", "core.yaml", "zlib.yaml"] {
            fs::copy(fixtures().join(file), recipes.join(file)).unwrap();
        }
        fs::write(recipes.join("bad.yaml"), recipe).unwrap();
        let output = directory.join("bad-out");
        let error = build(&recipes, work, &output, &["bad"])
            .unwrap_err()
            .to_string();
        for part in expected {
            assert!(error.contains(part), "{error}\n  does not contain\n{part}");
        }
        assert!(!output.join("bad.json").exists() && !output.join("bad.tar.zst").exists());
        assert_eq!(
            fs::read_dir(work.join("jobs")).map_or(0, Iterator::count),
            0
        );
    }
}

fn killed_builds_leave_nothing(directory: &Path, work: &Path) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "packages_become_components", "--test-threads=1"])
        .env(CHILD, directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mounted = || !mounts_below(directory).is_empty();
    wait_until("the killed build mounts an overlay", mounted);
    // a second build in the same working directory is refused, not corrupted
    assert!(matches!(
        builder(&fixtures(), work, &directory.join("x")),
        Err(Error::Busy { .. })
    ));
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until("its mounts go with it", || !mounted());
    drop(builder(&fixtures(), work, &directory.join("x")).unwrap());
    assert!(!work.join("jobs").exists());
    assert!(!directory.join("killed/certificates.json").exists());
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Mounts at paths below `directory` in any mount namespace of this machine.
fn mounts_below(directory: &Path) -> Vec<String> {
    let needle = format!(" {}/", directory.canonicalize().unwrap().display());
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").unwrap() {
        // processes come and go while we look
        let file = process.unwrap().path().join("mountinfo");
        let mounts = fs::read_to_string(file).unwrap_or_default();
        found.extend(
            mounts
                .lines()
                .filter(|l| l.contains(&needle))
                .map(str::to_owned),
        );
    }
    found
}
