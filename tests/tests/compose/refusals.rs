//! What cannot be composed or run: a clear error, exit code 1 as runc's, and nothing left (every scene checks that).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use fragment_tests::programs::Program;
use fragment_tests::{Scene, cache, fragment};
use serde_json::json;

fn gcc(directory: &Path, arguments: &[&str]) {
    let output = Command::new("gcc")
        .args(arguments)
        .current_dir(directory)
        .output()
        .expect("run gcc");
    assert!(
        output.status.success(),
        "gcc: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A program that needs symbol version FUTURE_9 of a library that the component library has, without that version.
fn program_of_the_future() -> PathBuf {
    cache::made("program-of-the-future", "1", |directory| {
        fs::create_dir_all(directory).expect("a directory");
        fs::write(
            directory.join("lib.c"),
            "int zlibVersion(void) { return 9; }\n",
        )
        .expect("write");
        fs::write(
            directory.join("map"),
            "FUTURE_9 { global: zlibVersion; local: *; };\n",
        )
        .expect("write");
        fs::write(
            directory.join("main.c"),
            "int zlibVersion(void); int main(void) { return zlibVersion(); }\n",
        )
        .expect("write");
        gcc(
            directory,
            &[
                "-shared",
                "-fPIC",
                "-Wl,-soname,libz.so.1",
                "-Wl,--version-script=map",
                "-o",
                "libz.so",
                "lib.c",
            ],
        );
        gcc(directory, &["-o", "program", "main.c", "-L.", "-lz"]);
    })
    .join("program")
}

/// A program that needs a soname nobody has.
fn program_with_an_unknown_library() -> PathBuf {
    cache::made("program-with-an-unknown-library", "1", |directory| {
        fs::create_dir_all(directory).expect("a directory");
        fs::write(directory.join("lib.c"), "int seven(void) { return 7; }\n").expect("write");
        fs::write(
            directory.join("main.c"),
            "int seven(void); int main(void) { return seven(); }\n",
        )
        .expect("write");
        gcc(
            directory,
            &[
                "-shared",
                "-fPIC",
                "-Wl,-soname,libnobodyhasthis.so.7",
                "-o",
                "libseven.so",
                "lib.c",
            ],
        );
        gcc(directory, &["-o", "program", "main.c", "-L.", "-lseven"]);
    })
    .join("program")
}

#[test]
fn an_unknown_command() {
    let mut scene = Scene::empty();
    scene.bundle.args(&["nobody-has-this"]);
    scene
        .run()
        .code(1)
        .fails_with(r#"exec: "nobody-has-this": executable file not found in $PATH"#);
}

#[test]
fn an_unknown_path() {
    let mut scene = Scene::empty();
    scene.bundle.args(&["/opt/nobody/has/this"]);
    scene
        .run()
        .code(1)
        .fails_with("no such file or directory")
        .fails_with("/opt/nobody/has/this");
}

#[test]
fn an_unknown_library() {
    let mut scene = Scene::empty();
    scene
        .bundle
        .copy(program_with_an_unknown_library(), "program")
        .args(&["/program"]);
    scene
        .run()
        .code(1)
        .fails_with("libnobodyhasthis.so.7")
        .fails_with("/program");
}

#[test]
fn a_symbol_version_nobody_defines() {
    let mut scene = Scene::empty();
    scene
        .bundle
        .copy(program_of_the_future(), "program")
        .args(&["/program"]);
    scene
        .run()
        .code(1)
        .fails_with("libz.so.1")
        .fails_with("FUTURE_9");
}

#[test]
fn an_unknown_component() {
    let mut scene = Scene::empty();
    scene.bundle.args(&["echo"]).edit(|spec| {
        spec["annotations"] = json!({ "dev.fragment.components": "no-such-component" });
    });
    scene.run().code(1).fails_with("no-such-component");
}

#[test]
fn composition_switched_off_for_a_bundle_that_lacks_something() {
    let mut scene = Scene::empty();
    scene.bundle.args(&["/usr/bin/echo"]).edit(|spec| {
        spec["annotations"] = json!({ "dev.fragment.compose": "off" });
    });
    scene.run().code(1).fails_with("composition is off");
}

#[test]
fn an_annotation_that_means_nothing() {
    let mut scene = Scene::empty();
    scene.bundle.args(&["echo"]).edit(|spec| {
        spec["annotations"] = json!({ "dev.fragment.compose": "perhaps" });
    });
    scene
        .run()
        .code(1)
        .fails_with("dev.fragment.compose")
        .fails_with("perhaps");
}

#[test]
fn a_configuration_that_is_not_json() {
    let mut scene = Scene::empty();
    scene.bundle.config("{\"ociVersion\": \"1.0.2\", ");
    scene.run().code(1).fails_with("config.json");
}

#[test]
fn a_rootfs_that_is_a_link_out_stays_inside() {
    // the rootfs itself may be a link (runc follows it too); links inside it must not lead out of it
    let mut scene = Scene::empty();
    let rootfs = scene.bundle.rootfs();
    symlink("/usr/bin/true", rootfs.join("true")).expect("a link");
    scene.bundle.note_all();
    scene.bundle.args(&["/true"]).writable();
    // /usr/bin/true of the host is not the container's: it comes from core
    scene.run().ok();

    let mut scene = Scene::empty();
    symlink(
        "../../../../../../../../etc/login.defs",
        scene.bundle.rootfs().join("entry"),
    )
    .expect("a link");
    scene.bundle.note_all();
    scene.bundle.args(&["/entry"]);
    scene
        .run()
        .code(1)
        .fails_with("/etc/login.defs")
        .fails_with("no such file or directory");
}

#[test]
fn a_rootfs_that_does_not_exist() {
    let mut scene = Scene::empty();
    scene
        .bundle
        .args(&["echo"])
        .edit(|spec| spec["root"]["path"] = "elsewhere".into());
    scene.run().code(1).fails_with("elsewhere");
}

#[test]
fn an_entry_that_is_a_directory() {
    let mut scene = Scene::empty();
    scene.bundle.directory("app", 0o755).args(&["/app"]);
    scene.run().code(1).fails_with("is a directory");
}

#[test]
fn an_entry_that_cannot_be_executed() {
    let mut scene = Scene::empty();
    scene.bundle.file("app", "text", 0o644).args(&["/app"]);
    scene.run().code(1).fails_with("permission denied");
}

#[test]
fn a_truncated_elf_file() {
    let whole = fs::read(Program::C.build()).expect("read the program");
    for length in [20, 64, 500] {
        let mut scene = Scene::empty();
        fs::write(scene.bundle.rootfs().join("program"), &whole[..length]).expect("write");
        fs::set_permissions(
            scene.bundle.rootfs().join("program"),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .expect("chmod");
        scene.bundle.note_all();
        scene.bundle.args(&["/program"]);
        scene.run().code(1).fails_with("/program");
    }
}

#[test]
fn cyclic_links() {
    let mut scene = Scene::empty();
    scene.bundle.link("two", "one").link("one", "two");
    scene.bundle.args(&["/one"]);
    scene.run().code(1).fails_with("/one");
}

#[test]
fn a_shebang_with_carriage_return() {
    let mut scene = Scene::empty();
    scene
        .bundle
        .file("script", "#!/bin/sh\r\necho hello\r\n", 0o755)
        .args(&["/script"]);
    scene
        .run()
        .code(1)
        .fails_with("no such file or directory")
        .fails_with("carriage return");
}

#[test]
fn a_shebang_through_env_with_carriage_return() {
    let mut scene = Scene::empty();
    scene
        .bundle
        .file("script", "#!/usr/bin/env sh\r\necho hello\r\n", 0o755)
        .args(&["/script"]);
    // as under any runtime: env is started, and says what it did not find
    scene.run().code(127).fails_with("env: ");
}

#[test]
fn something_to_compose_and_no_mount_namespace() {
    let mut scene = Scene::empty();
    scene.bundle.args(&["echo"]).without_namespace("mount");
    scene.run().code(1).fails_with("mount namespace");
}

#[test]
fn a_bin_that_leads_elsewhere() {
    let mut scene = Scene::empty();
    scene.bundle.directory("opt", 0o755);
    scene
        .bundle
        .link("opt", "bin")
        .file("opt/app", "#!/bin/sh\necho hello\n", 0o755)
        .args(&["/bin/app"]);
    scene.run().code(1).fails_with("/opt/sh (needed by /bin)");
}

#[test]
fn the_command_line_tool_refuses_in_the_same_words() {
    fragment::call(&["plan", "--", "nobody-has-this"])
        .output()
        .fails_with(r#"exec: "nobody-has-this": executable file not found in $PATH"#);
    fragment::call(&["plan", "--component", "no-such-component", "--", "echo"])
        .output()
        .fails_with("no-such-component");
    fragment::call(&["library", "info", "no-such-component"])
        .output()
        .fails_with("no-such-component");
}

#[test]
fn a_node_without_a_library_says_how_to_get_one() {
    let directory = tempfile::tempdir().expect("a directory");
    fragment::call(&["plan", "--", "echo"])
        .env("FRAGMENT_STORE", directory.path())
        .output()
        .fails_with("fragment library build");
}
