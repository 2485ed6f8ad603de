//! Findings about this machine.

use std::fs;
use std::path::Path;

use fragment_tests::fragment;

use super::Findings;

fn doctor() -> Findings {
    Findings::of(fragment::call(&["doctor", "--json"]))
}

#[test]
fn the_kernel_is_tried() {
    let findings = doctor();
    // these batteries compose with every one of them
    for words in [
        "Linux ",
        "openat2",
        "pidfd",
        "seccomp",
        "putting components below a bundle",
        "lowerdir+",
        "userxattr",
        "mount_setattr",
    ] {
        findings.has("kernel", "ok", words);
    }
}

#[test]
fn the_library_is_opened_and_tried() {
    let findings = doctor();
    findings.has("component library", "ok", " components, generation ");
    findings.has(
        "component library",
        "ok",
        "takes layers from the library's filesystem",
    );
    findings.has("cgroups", "ok", "controllers: ");
}

#[test]
fn nothing_is_left_of_the_tries() {
    let mounts = || {
        let text = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        text.lines().filter(|line| line.contains(" /sys ")).count()
    };
    let before = mounts();
    doctor();
    assert_eq!(mounts(), before);
    assert!(!Path::new("/sys/lower").exists());
}

#[test]
fn text_for_people_ends_with_what_there_is_to_do() {
    let output = fragment::call(&["doctor"]).output();
    let last = output.stdout.lines().last().unwrap_or_default().to_owned();
    assert!(
        last.contains(" problems, ") && last.ends_with(" warnings"),
        "{output}"
    );
    let is_bad = !last.starts_with("0 problems");
    assert_eq!(output.status.code(), Some(i32::from(is_bad)), "{output}");
}

#[test]
fn a_user_without_rights_may_ask_too() {
    let directory = tempfile::tempdir().expect("a directory");
    std::os::unix::fs::chown(directory.path(), Some(65534), Some(65534)).expect("chown");
    let output = fragment::call(&["doctor", "--json"])
        .within("exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$@\"")
        .env("HOME", directory.path())
        .output();
    let document = output.json();
    let findings = document["findings"].as_array().expect("findings");
    let kernel = findings.iter().filter(|one| one["subject"] == "kernel");
    assert!(kernel.count() > 3, "{output}");
    // the library is root's
    let about = findings
        .iter()
        .filter(|one| one["subject"] == "component library");
    let words: Vec<_> = about.map(|one| one["finding"].to_string()).collect();
    assert!(
        words.iter().any(|text| text.contains("may plan with")),
        "{words:?}"
    );
}

#[test]
fn a_library_that_others_may_write_is_a_problem() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().expect("a directory");
    let store = directory.path().join("store");
    fs::create_dir(&store).expect("mkdir");
    for name in ["oci-layout", "index.json", "catalogue"] {
        fs::copy(fragment::store().join(name), store.join(name)).expect("copy");
    }
    for name in ["blobs", "trees", "leases", "tmp"] {
        fs::create_dir(store.join(name)).expect("mkdir");
    }
    fs::write(store.join("lock"), "").expect("write");
    fs::set_permissions(store.join("trees"), fs::Permissions::from_mode(0o777)).expect("chmod");
    let path = store.to_str().expect("UTF-8");
    let findings = Findings::of(fragment::call(&["--store", path, "doctor", "--json"]));
    findings.has("component library", "problem", "may write");
    assert_eq!(findings.code, Some(1));
    fs::set_permissions(store.join("trees"), fs::Permissions::from_mode(0o700)).expect("chmod");
    let findings = Findings::of(fragment::call(&["--store", path, "doctor", "--json"]));
    let problems = findings.about("component library");
    assert!(
        problems.iter().all(|one| one["level"] != "problem"),
        "{problems:#?}"
    );
}
