//! `fragment sbom`, and what scanners find in a composed root.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use fragment_tests::validators::validate;
use fragment_tests::{Scene, fragment};
use serde_json::Value;

const FORMATS: [&str; 2] = ["spdx", "cyclonedx"];

/// The document of a format, written to a file and found valid by other people's readers.
fn valid(scene: &Scene, format: &str, subject: &[&str]) -> Value {
    let file = scene.file(&format!("bom.{format}.json"));
    fragment::call(&["sbom", "--format", format, "--output"])
        .args([&file])
        .args(subject)
        .env("SOURCE_DATE_EPOCH", "1700000000")
        .output()
        .ok();
    let output = validate(format, &file);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{format} of {subject:?}: {words}");
    let text = fs::read(&file).expect("read the document");
    serde_json::from_slice(&text).expect("JSON")
}

/// The packages of either format: name, version, whether sliced.
fn packages(document: &Value) -> BTreeSet<(String, String, bool)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut found = BTreeSet::new();
    for package in document["packages"].as_array().into_iter().flatten() {
        if package["externalRefs"].is_array() {
            let sliced = text(&package["comment"]).starts_with("Sliced");
            found.insert((
                text(&package["name"]),
                text(&package["versionInfo"]),
                sliced,
            ));
        }
    }
    for package in document["components"].as_array().into_iter().flatten() {
        if package["purl"].is_string() {
            let properties = package["properties"].as_array().expect("properties");
            let sliced = properties
                .iter()
                .any(|p| p["name"] == "dev.fragment:sliced");
            found.insert((text(&package["name"]), text(&package["version"]), sliced));
        }
    }
    found
}

#[test]
fn documents_are_valid_and_both_formats_say_the_same() {
    let scene = Scene::empty();
    for command in ["/usr/bin/true", "curl", "python3", "perl"] {
        let plan = fragment::call(&["plan", "--json", "--", command]);
        let plan = plan.output().ok().json();
        let [spdx, cyclonedx] = FORMATS.map(|format| valid(&scene, format, &["--", command]));
        let found = packages(&spdx);
        assert_eq!(found, packages(&cyclonedx), "{command}");
        let has_libc = found.iter().any(|(name, _, _)| name == "libc6");
        assert!(has_libc, "{command}: {found:?}");
        for layer in plan["plan"]["layers"].as_array().unwrap() {
            let id = format!("SPDXRef-Component-{}", layer["name"].as_str().unwrap());
            let mut packages = spdx["packages"].as_array().unwrap().iter();
            let component = packages.find(|p| p["SPDXID"] == id).expect(&id);
            let digest = component["checksums"][0]["checksumValue"].as_str();
            let diff_id = layer["diff_id"].as_str().unwrap();
            assert!(diff_id.ends_with(digest.unwrap()), "{diff_id}");
        }
        assert_eq!(spdx["creationInfo"]["created"], "2023-11-14T22:13:20Z");
    }
}

#[test]
fn the_same_plan_gives_the_same_bytes_and_another_another_name() {
    let document = |format: &str, command: &str| {
        let call = fragment::call(&["sbom", "--created", "0", "--format", format, "--", command]);
        call.output().ok().json()
    };
    for (format, name) in [("spdx", "documentNamespace"), ("cyclonedx", "serialNumber")] {
        let first = document(format, "curl");
        assert_eq!(first, document(format, "curl"));
        assert_ne!(first[name], document(format, "perl")[name], "{first:#}");
    }
}

#[test]
fn files_of_the_app_are_listed_with_their_digests() {
    let mut scene = Scene::only("/usr/bin/sleep", &["1"]);
    scene.bundle.file("app.txt", "abc", 0o644);
    let bundle = scene.bundle.path().to_str().unwrap();
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let spdx = valid(&scene, "spdx", &["--bundle", bundle]);
    let mut files = spdx["packages"].as_array().unwrap().iter();
    let file = files.find(|p| p["packageFileName"] == "/app.txt").unwrap();
    assert_eq!(file["checksums"][0]["checksumValue"], digest);
    let cyclonedx = valid(&scene, "cyclonedx", &["--bundle", bundle]);
    let mut files = cyclonedx["components"].as_array().unwrap().iter();
    let file = files.find(|c| c["bom-ref"] == "file:/app.txt").unwrap();
    assert_eq!(file["hashes"][0]["content"], digest);
}

#[test]
fn a_container_is_described_by_what_it_was_created_with() {
    let scene = Scene::only("/usr/bin/sleep", &["1000"]);
    scene.up();
    let bundle = scene.bundle.path().to_str().unwrap();
    let planned = valid(&scene, "spdx", &["--bundle", bundle]);
    for format in FORMATS {
        let found = valid(&scene, format, &["--container", &scene.id]);
        assert_eq!(packages(&found), packages(&planned));
    }
    scene.delete();
    let gone = fragment::call(&["sbom", "--container", &scene.id]).output();
    gone.code(1).fails_with("no container");
    let both = fragment::call(&["sbom", "--container", "x", "--", "true"]).output();
    both.code(2).fails_with("cannot be used with");
    let neither = fragment::call(&["sbom"]).output();
    neither.code(2).fails_with("required");
}

/// What is below `/var/lib/dpkg/status.d` of a composed root is what the bill of materials says.
#[test]
fn scanners_find_the_packages_of_a_composed_root() {
    let scene = Scene::empty();
    let script = "cd /var/lib/dpkg/status.d && for f in *; do echo \"@@ $f\"; cat \"$f\"; done";
    let command = ["--component", "curl", "--", "sh", "-c", script];
    let bill = valid(&scene, "spdx", &command);
    let output = fragment::call(&["run"]).args(command).output();
    let directory = scene.file("status.d");
    fs::create_dir(&directory).unwrap();
    for file in output.ok().stdout.split("@@ ").skip(1) {
        let (name, text) = file.split_once('\n').unwrap();
        fs::write(directory.join(name), text).unwrap();
    }
    let read = validate("status", &directory);
    let words = String::from_utf8_lossy(&read.stderr);
    assert!(read.status.success(), "{words}");
    let found: BTreeSet<(String, String)> = String::from_utf8_lossy(&read.stdout)
        .lines()
        .map(|line| {
            let mut words = line.split(' ').map(str::to_owned);
            (words.next().unwrap(), words.next().unwrap())
        })
        .collect();
    let billed = packages(&bill).into_iter();
    let billed: BTreeSet<(String, String)> =
        billed.map(|(name, version, _)| (name, version)).collect();
    assert_eq!(found, billed);
    // dpkg's own reader, over all paragraphs in one file
    let database = scene.file("database");
    fs::create_dir(&database).unwrap();
    let mut joined = String::new();
    for (name, _) in &found {
        let paragraph = fs::read_to_string(directory.join(name)).unwrap();
        joined.push_str(&(paragraph + "\n"));
    }
    fs::write(database.join("status"), joined).unwrap();
    fs::write(database.join("available"), "").unwrap();
    let dpkg = Command::new("dpkg-query")
        .arg("--admindir")
        .arg(&database)
        .args(["-W", "-f", "${Package} ${Version} ${db:Status-Status}\\n"])
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&dpkg.stdout);
    let expected: Vec<String> = (found.iter())
        .map(|(name, version)| format!("{name} {version} installed"))
        .collect();
    assert_eq!(
        words.lines().collect::<BTreeSet<_>>(),
        expected.iter().map(String::as_str).collect(),
        "{dpkg:?}"
    );
}
