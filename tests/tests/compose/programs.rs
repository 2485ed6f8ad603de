//! Real programs run from bundles that hold nothing else.

use std::fs;

use fragment_tests::Scene;
use fragment_tests::programs::Program;
use serde_json::json;

#[test]
fn bash_with_a_pipeline() {
    let scene = Scene::only(
        "/usr/bin/bash",
        &[
            "-c",
            "printf 'b\\na\\nb\\n' | sort | uniq -c | tr -s ' ' | tail -n 1",
        ],
    );
    scene.run().ok().stdout(" 2 b\n");
}

#[test]
fn getent_passwd() {
    let scene = Scene::only("/usr/bin/getent", &["passwd", "root"]);
    let output = scene.run();
    output.ok().says("root:x:0:0:");
}

#[test]
fn date_in_another_time_zone() {
    let mut scene = Scene::only("/usr/bin/date", &["-d", "@1782907200", "+%H:%M %Z"]);
    scene.bundle.edit(|spec| {
        spec["process"]["env"]
            .as_array_mut()
            .expect("env")
            .push(json!("TZ=Asia/Tokyo"));
    });
    scene.run().ok().stdout("21:00 JST\n");
}

#[test]
fn openssl_verifies_a_root_of_the_ca_bundle() {
    // any self-signed root that the distribution trusts; the container has to find it in its own CA bundle
    let mut roots: Vec<_> = fs::read_dir("/usr/share/ca-certificates/mozilla")
        .expect("package ca-certificates")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    roots.sort();
    let mut scene = Scene::only("/usr/bin/openssl", &["verify", "/root.crt"]);
    scene.bundle.copy(&roots[0], "root.crt");
    scene.run().ok().stdout("/root.crt: OK\n");
}

#[test]
fn openssl_refuses_a_certificate_nobody_signed() {
    let mut scene = Scene::only("/usr/bin/openssl", &["verify", "/own.pem"]);
    let made = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=nobody",
            "-keyout",
            "/dev/null",
            "-out",
        ])
        .arg(scene.file("own.pem"))
        .output()
        .expect("run openssl");
    assert!(made.status.success(), "{made:?}");
    let certificate = scene.file("own.pem");
    scene.bundle.copy(certificate, "own.pem");
    scene.run().code(2);
}

fn compiled(program: Program) {
    let mut scene = Scene::empty();
    scene
        .bundle
        .copy(program.build(), "program")
        .args(&["/program"])
        .writable();
    scene.run().ok().stdout(program.stdout());
}

#[test]
fn a_dynamically_linked_c_program() {
    compiled(Program::C);
}

#[test]
fn a_dynamically_linked_cxx_program() {
    compiled(Program::Cxx);
}

#[test]
fn a_dynamically_linked_rust_program() {
    compiled(Program::Rust);
}

#[test]
fn a_dynamically_linked_go_program() {
    compiled(Program::Go);
}

#[test]
fn a_static_program_gets_no_overlay() {
    let mut scene = Scene::empty();
    for directory in ["dev", "proc", "sys"] {
        scene.bundle.directory(directory, 0o755);
    }
    scene
        .bundle
        .copy(Program::StaticC.build(), "program")
        .args(&["/program"]);
    scene.create().ok();
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", scene.pid())).expect("mountinfo");
    assert!(!mounts.contains(" - overlay "), "{mounts}");
    scene.delete();
}

#[test]
fn a_python_script_with_native_modules_and_data() {
    let mut scene = Scene::empty();
    scene
        .bundle
        .file(
            "demo.py",
            "#!/usr/bin/env python3\nimport sqlite3, ssl, zoneinfo\n\
             print(sqlite3.connect(':memory:').execute('select 6*7').fetchone()[0],\n\
             ssl.create_default_context().cert_store_stats()['x509_ca'] > 50, zoneinfo.ZoneInfo('Asia/Tokyo'))\n",
            0o755,
        )
        .args(&["/demo.py"])
        .writable();
    scene.bundle.expect("rootfs");
    scene.run().ok().stdout("42 True Asia/Tokyo\n");
}

#[test]
fn writes_land_in_the_rootfs_of_the_bundle() {
    let mut scene = Scene::only(
        "/usr/bin/bash",
        &["-c", "echo new > /srv-file && echo changed >> /etc/passwd"],
    );
    scene.bundle.expect("rootfs");
    scene.run().ok();
    let rootfs = scene.bundle.rootfs();
    assert_eq!(
        fs::read_to_string(rootfs.join("srv-file")).expect("the new file"),
        "new\n"
    );
    // the component's file was copied up whole, the component itself is untouched
    let passwd = fs::read_to_string(rootfs.join("etc/passwd")).expect("the changed file");
    assert!(
        passwd.starts_with("root:") && passwd.ends_with("changed\n"),
        "{passwd}"
    );
}

#[test]
fn a_read_only_root_is_composed_and_stays_read_only() {
    let mut scene = Scene::only("/usr/bin/bash", &["-c", "echo x > /file; echo $?"]);
    scene
        .bundle
        .edit(|spec| spec["root"]["readonly"] = true.into());
    let output = scene.run();
    output.ok().says("1\n");
    assert!(output.stderr.contains("Read-only file system"), "{output}");
}

#[test]
fn exec_sees_the_composed_root() {
    let mut scene = Scene::only("/usr/bin/bash", &["-c", fragment_tests::FOREVER]);
    scene.bundle.expect("rootfs");
    scene.up().ready();
    scene
        .exec(&["grep", "root", "/etc/passwd"])
        .ok()
        .says("root:x:0:0:");
    scene
        .exec(&["sh", "-c", "echo from core"])
        .ok()
        .stdout("from core\n");
    scene.delete();
}

#[test]
fn two_containers_share_one_tree() {
    let mut scene = Scene::only("/usr/bin/bash", &["-c", fragment_tests::FOREVER]);
    scene.bundle.expect("rootfs");
    let mut other = Scene::only("/usr/bin/bash", &["-c", fragment_tests::FOREVER]);
    other.bundle.expect("rootfs");
    scene.up().ready();
    other.up().ready();
    let libc = |pid: u32| {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("maps");
        let line = maps
            .lines()
            .find(|line| line.ends_with("/libc.so.6"))
            .expect("libc is mapped")
            .to_owned();
        line.split_whitespace().nth(4).map(str::to_owned)
    };
    assert_eq!(libc(scene.pid()), libc(other.pid()), "inode of libc");
    scene.delete();
    other.delete();
}
