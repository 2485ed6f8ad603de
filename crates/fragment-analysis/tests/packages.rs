//! Bundles that hold one package of several that were made for each other.

#![allow(
    clippy::unwrap_used,
    reason = "clippy's exception is for test functions, not for what they call"
)]

mod support;

use support::{Library, Rootfs, gcc, missing, soft, task};

#[test]
fn a_script_that_the_library_knows_brings_its_package() {
    let text = "#!/usr/bin/python3\nimport json\n";
    let library = Library::default()
        .component("python3")
        .file("/usr/bin/python3", b"\x7fELF")
        .component("python3-tool")
        .file("/usr/bin/tool", text.as_bytes());
    let rootfs = Rootfs::new();
    rootfs.program("/usr/bin/tool", text);
    let wanted = soft(&rootfs, &["/usr/bin/tool"], &library);
    assert!(
        wanted.iter().any(|need| need.contains("`python3-tool`")),
        "{wanted:?}"
    );
    // of the same length
    rootfs.program("/usr/bin/tool", text.replace("json", "glob"));
    let wanted = soft(&rootfs, &["/usr/bin/tool"], &library);
    assert!(
        !wanted.iter().any(|need| need.contains("python3-tool")),
        "{wanted:?}"
    );
}

#[test]
fn a_private_library_is_found_by_the_run_path_of_its_user() {
    let rootfs = Rootfs::new();
    let dir = rootfs.at("/");
    let shared = ["-shared", "-fPIC", "-Wl,-soname,libf.so.1", "-nostdlib"];
    gcc(&dir, "libf.so.1", "int f(void) { return 0; }", &shared);
    let main = "int f(void); int main(void) { return f(); }";
    let flags = ["libf.so.1", "-Wl,-rpath,$ORIGIN/../lib/private"];
    gcc(&dir, "usr/bin/app", main, &flags);
    std::fs::remove_file(dir.join("libf.so.1")).unwrap();
    let task = task(&["/usr/bin/app"], &[]);
    let of = |library: &Library| missing(&rootfs.analyse_with(&task, library).unwrap());
    let library = Library::default()
        .component("app-libs")
        .file("/usr/lib/private/libf.so.1", b"\x7fELF");
    let needs = of(&library);
    assert!(
        needs.contains(&"hard /usr/lib/private/libf.so.1".to_owned()),
        "{needs:?}"
    );
    // elsewhere the loader would not look
    let library = Library::default()
        .component("app-libs")
        .file("/usr/lib/other/libf.so.1", b"\x7fELF");
    let needs = of(&library);
    assert!(needs.contains(&"hard libf.so.1".to_owned()), "{needs:?}");
}

#[test]
fn a_module_that_the_library_knows_brings_its_package() {
    let module = "/usr/lib/python3/dist-packages/tool/__init__.py";
    let library = Library::default()
        .component("python3")
        .file("/usr/bin/python3", b"\x7fELF")
        .component("python3-tool")
        .file(module, b"import os\n");
    let rootfs = Rootfs::new();
    rootfs.file(module, "import os\n", 0o644);
    let wanted = soft(&rootfs, &["/usr/bin/python3", "-m", "tool"], &library);
    assert!(
        wanted.iter().any(|need| need.contains("`python3-tool`")),
        "{wanted:?}"
    );
}

#[test]
fn the_link_that_the_entry_is_belongs_to_a_package_too() {
    let library = Library::default()
        .component("server")
        .file("/usr/bin/server-core", b"\x7fELF")
        .component("server-plugin")
        .link("/usr/bin/server-plugin", "server-core");
    let rootfs = Rootfs::new();
    rootfs.directory("/usr/bin");
    rootfs.link("/usr/bin/server-plugin", "server-core");
    let wanted = soft(&rootfs, &["/usr/bin/server-plugin"], &library);
    assert!(
        wanted.iter().any(|need| need.contains("`server-plugin`")),
        "{wanted:?}"
    );
}
