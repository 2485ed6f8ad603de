//! `fragment image thin`: what the library provides leaves, what is the app's stays, and nothing is written without a proof.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fragment_tests::{Output, fragment};
use serde_json::{Value, json};

/// A small Debian: the trees of bash and what it stands on, a package database that owns bash, and an app that nobody owns.
struct Debian {
    directory: tempfile::TempDir,
}

const STATUS: &str = "\
Package: dpkg
Essential: yes
Status: install ok installed
Priority: required
Architecture: amd64
Version: 1

Package: bash
Essential: yes
Status: install ok installed
Priority: required
Architecture: amd64
Version: VERSION
Depends: manual

Package: manual
Status: install ok installed
Priority: optional
Architecture: amd64
Version: 1
";
const APP: &str = "#!/bin/bash\necho \"hello from $(</etc/app.conf)\"\nread -r first </usr/share/doc/manual/text && echo \"$first\"\nexit 3\n";

impl Debian {
    fn new(app: &str) -> Self {
        let debian = Self {
            directory: tempfile::tempdir().expect("a directory"),
        };
        let plan = fragment::call(&["plan", "--json", "--", "bash"]);
        let plan = plan.output().ok().json();
        let root = debian.root();
        fs::create_dir(&root).expect("create the root");
        let mut version = "";
        for layer in plan["plan"]["layers"].as_array().expect("layers") {
            let name = layer["diff_id"].as_str().expect("a digest");
            copy(&fragment::store().join("trees").join(&name[7..]), &root);
            if layer["name"] == "bash" {
                version = layer["upstream_version"].as_str().expect("a version");
            }
        }
        debian.file("var/lib/dpkg/status", &STATUS.replace("VERSION", version));
        debian.owns("bash", &["usr/bin/bash", "etc/bash.bashrc"]);
        debian.file("usr/share/doc/manual/text", "a text\n");
        debian.owns("manual", &["usr/share/doc/manual/text"]);
        debian.file("etc/app.conf", "configuration\n");
        debian.file("app/run", app);
        debian.mode("app/run", 0o755);
        debian
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    fn output(&self) -> PathBuf {
        self.directory.path().join("thin")
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("create a directory");
        fs::write(path, text).expect("write a file");
    }

    fn mode(&self, path: &str, mode: u32) {
        fs::set_permissions(self.root().join(path), fs::Permissions::from_mode(mode))
            .expect("chmod");
    }

    /// Makes the files those of a package, as they are.
    fn owns(&self, package: &str, files: &[&str]) {
        let (mut list, mut sums) = (String::new(), String::new());
        for file in files {
            list += &format!("/{file}\n");
            let sum = Command::new("md5sum").arg(self.root().join(file)).output();
            let sum = String::from_utf8(sum.expect("md5sum").stdout).expect("text");
            sums += &format!("{}  {file}\n", &sum[..32]);
        }
        self.file(&format!("var/lib/dpkg/info/{package}.list"), &list);
        self.file(&format!("var/lib/dpkg/info/{package}.md5sums"), &sums);
    }

    fn thin(&self, output: &Path, more: &[&str]) -> Output {
        let (root, output) = (self.root(), output.to_owned());
        let mut words = vec![
            "image".into(),
            "thin".into(),
            root.into_os_string(),
            "--output".into(),
            output.into_os_string(),
            "--json".into(),
            "--entrypoint".into(),
            "/app/run".into(),
        ];
        words.extend(more.iter().map(Into::into));
        let call = fragment::call(&words).env("FRAGMENT_RUNC", fragment::runtime_program());
        let call = call.limit(Duration::from_secs(120));
        call.env("FRAGMENT_STORE", fragment::store()).output()
    }
}

fn copy(from: &Path, to: &Path) {
    let mut words = std::ffi::OsString::from(from);
    words.push("/.");
    let done = Command::new("cp").arg("-a").arg(words).arg(to).status();
    assert!(done.expect("cp").success());
}

/// The names in the one layer of a layout, its configuration and its manifest.
fn opened(layout: &Path) -> (Vec<String>, Value, Value) {
    let blob = |digest: &Value| {
        let digest = digest.as_str().expect("a digest");
        layout.join("blobs/sha256").join(&digest[7..])
    };
    let read = |path: PathBuf| -> Value {
        serde_json::from_str(&fs::read_to_string(path).expect("a document")).expect("JSON")
    };
    let index = read(layout.join("index.json"));
    let manifest = read(blob(&index["manifests"][0]["digest"]));
    let config = read(blob(&manifest["config"]["digest"]));
    assert_eq!(manifest["layers"].as_array().map(Vec::len), Some(1));
    let layer = blob(&manifest["layers"][0]["digest"]);
    let list = Command::new("tar")
        .arg("-tzf")
        .arg(layer)
        .output()
        .expect("tar");
    assert!(list.status.success(), "{list:?}");
    let names = String::from_utf8(list.stdout).expect("text");
    (names.lines().map(str::to_owned).collect(), config, manifest)
}

#[test]
fn only_what_is_the_apps_stays() {
    let debian = Debian::new(&APP.replace("read -r", "true || read -r"));
    let report = debian.thin(&debian.output(), &[]).ok().json();
    assert_eq!(report["outcome"], json!({ "outcome": "ended", "code": 3 }));
    let (names, config, manifest) = opened(&debian.output());
    for name in [".fragment.yaml", "app/run", "etc/app.conf"] {
        assert!(names.iter().any(|found| found == name), "{name}: {names:?}");
    }
    for name in [
        "usr/bin/bash",
        "usr/bin/busybox",
        "usr/share/doc/manual/text",
        "var/lib/dpkg/status",
    ] {
        assert!(
            !names.iter().any(|found| found == name),
            "{name}: {names:?}"
        );
    }
    let lock = report["lock"].as_str().expect("a lock");
    assert!(
        lock.contains("bash@sha256:") && lock.contains("core@sha256:"),
        "{lock}"
    );
    assert_eq!(config["config"]["Entrypoint"], json!(["/app/run"]));
    assert_eq!(config["config"]["Labels"]["dev.fragment.lock"], lock);
    assert_eq!(manifest["annotations"]["dev.fragment.lock"], lock);

    let again = debian.directory.path().join("again");
    let second = debian.thin(&again, &[]).ok().json();
    assert_eq!(second["manifest"], report["manifest"], "the same bytes");
}

#[test]
fn a_changed_file_of_a_package_stays() {
    let debian = Debian::new("#!/bin/bash\nexit 0\n");
    debian.file("etc/bash.bashrc", "# changed\n");
    debian.thin(&debian.output(), &[]).ok();
    let (names, ..) = opened(&debian.output());
    assert!(
        names.iter().any(|name| name == "etc/bash.bashrc"),
        "{names:?}"
    );
}

#[test]
fn what_the_whole_image_opens_and_the_thin_one_lacks_is_a_refusal() {
    let debian = Debian::new(APP);
    let refused = debian.thin(&debian.output(), &[]);
    refused
        .fails_with("/usr/share/doc/manual/text")
        .fails_with("nothing is written");
    assert!(!debian.output().exists());
    let left = fs::read_dir(debian.directory.path()).expect("a directory");
    assert_eq!(left.count(), 1, "the root alone");

    let kept = debian.thin(&debian.output(), &["--keep", "/usr/share/doc/manual"]);
    assert_eq!(kept.ok().json()["outcome"]["code"], 3);
}

#[test]
fn a_check_that_never_succeeds_is_a_refusal() {
    let debian = Debian::new("#!/bin/bash\nwhile :; do read -rt 1 <> <(:); done\n");
    let refused = debian.thin(&debian.output(), &["--check", "/bin/false", "--limit", "2"]);
    refused.fails_with("check");
    assert!(!debian.output().exists());
    let served = debian.thin(&debian.output(), &["--check", "/bin/true", "--alive", "1"]);
    assert_eq!(served.ok().json()["outcome"]["outcome"], "serving");
}

#[test]
fn an_output_that_exists_and_a_thin_source_are_refused() {
    let debian = Debian::new("#!/bin/bash\nexit 0\n");
    let there = debian.thin(debian.directory.path(), &[]);
    there.fails_with("exists already");
    debian.file(".fragment.yaml", "compose: off\n");
    debian
        .thin(&debian.output(), &[])
        .fails_with("thin already");
}
