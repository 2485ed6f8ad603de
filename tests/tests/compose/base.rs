//! What a root has once and components hold in parts, and rootfs of another layout than the components'.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fragment_tests::{Scene, cache, fragment};
use serde_json::{Value, json};

/// A scene whose rootfs holds `/app`, a script for core's sh, and asks for `components`.
fn script(text: &str, components: &str) -> Scene {
    let mut scene = Scene::empty();
    scene
        .bundle
        .file("app", &format!("#!/bin/sh\n{text}"), 0o755)
        .args(&["/app"])
        .writable()
        .edit(|spec| spec["annotations"] = json!({ "dev.fragment.components": components }));
    scene.bundle.expect("rootfs");
    scene
}

fn plan(scene: &Scene) -> Value {
    let bundle = scene.bundle.path().display().to_string();
    fragment::call(&["plan", "--json", "--bundle", &bundle])
        .output()
        .ok()
        .json()["plan"]
        .clone()
}

/// Paths of the parts of the generated layer.
fn made(plan: &Value) -> Vec<&str> {
    let parts = plan["generated"]["parts"].as_array();
    parts
        .into_iter()
        .flatten()
        .map(|part| part["path"].as_str().expect("a path"))
        .collect()
}

fn generated(plan: &Value) -> PathBuf {
    let digest = plan["generated"]["digest"].as_str().expect("a digest");
    let hex = digest.strip_prefix("sha256:").expect("sha256");
    fragment::store().join("generated").join(hex)
}

#[test]
fn users_of_all_components_are_known() {
    let scene = script(
        "grep -c . /etc/passwd; grep redis /etc/passwd /etc/group; id -un; stat -c '%U:%G %a' /var/lib/redis\n",
        "redis",
    );
    let plan = plan(&scene);
    assert_eq!(made(&plan), ["/etc/passwd", "/etc/group"]);
    assert_eq!(plan["warnings"], json!([]));
    scene.run().ok().stdout(
        "19\n/etc/passwd:redis:x:100:101::/var/lib/redis:/usr/sbin/nologin\n/etc/group:redis:x:101:\nroot\nredis:redis 750\n",
    );
}

#[test]
fn components_without_users_need_nothing_made() {
    let scene = script("grep -c . /etc/passwd\n", "curl");
    assert!(plan(&scene).get("generated").is_none());
    scene.run().ok().stdout("18\n");
}

#[test]
fn users_of_the_rootfs_hide_those_of_components_and_that_is_told() {
    let mut scene = script("cat /etc/passwd; tail -n 1 /etc/group\n", "redis");
    scene.bundle.directory("etc", 0o755);
    scene
        .bundle
        .file("etc/passwd", "root:x:0:0::/:/bin/sh\n", 0o644);
    let plan = plan(&scene);
    assert_eq!(made(&plan), ["/etc/group"]);
    let warnings = plan["warnings"].as_array().expect("warnings");
    let warns = |one: &Value| {
        one.as_str()
            .is_some_and(|text| text.contains("redis (100)") && text.contains("component redis"))
    };
    assert!(warnings.iter().any(warns), "{warnings:?}");
    scene
        .run()
        .ok()
        .stdout("root:x:0:0::/:/bin/sh\nredis:x:101:\n");
}

#[test]
fn what_is_made_is_made_once_and_kept_by_leases() {
    let scene = script("exec sleep 1000\n", "redis");
    let other = script("exec sleep 1000\n", "redis");
    let path = generated(&plan(&scene));
    scene.up();
    let inode = |path: &PathBuf| {
        use std::os::unix::fs::MetadataExt as _;
        path.metadata().expect("the generated layer").ino()
    };
    let first = inode(&path);
    other.up();
    assert_eq!(inode(&path), first);
    let lease = fragment::leases(&scene.id);
    assert_eq!(lease.len(), 1, "{lease:?}");
    let lease: Value =
        serde_json::from_str(&fs::read_to_string(&lease[0]).expect("a lease")).expect("JSON");
    let hex = path
        .file_name()
        .and_then(|name| name.to_str())
        .expect("hex");
    assert_eq!(lease["generated"], format!("sha256:{hex}"));
    let names: Vec<String> = fs::read_dir(fragment::store().join("generated"))
        .expect("generated layers")
        .map(|entry| entry.expect("an entry").file_name().display().to_string())
        .filter(|name| name.starts_with('.'))
        .collect();
    assert_eq!(names, Vec::<String>::new(), "half-made layers");
    scene.delete();
    other.delete();
}

#[test]
fn inspect_and_plan_tell_what_was_made() {
    let scene = script("exec sleep 1000\n", "redis");
    let bundle = scene.bundle.path().display().to_string();
    let line = "made      /etc/passwd: the users and groups of redis core\n";
    fragment::call(&["plan", "--bundle", &bundle])
        .output()
        .ok()
        .says(line);
    scene.up();
    fragment::call(&["inspect", &scene.id])
        .output()
        .ok()
        .says(line);
    scene.delete();
}

#[test]
fn a_split_bin_shows_its_own_files_and_those_of_components() {
    let mut scene = Scene::empty();
    for directory in ["bin", "sbin"] {
        scene.bundle.directory(directory, 0o755);
    }
    scene
        .bundle
        .file(
            "bin/app",
            "#!/bin/sh\n/bin/own; /bin/echo from core; ls /bin/app /bin/sh /sbin/arp; /usr/bin/id -u\n",
            0o755,
        )
        .file("bin/own", "#!/bin/sh\necho own\n", 0o755)
        // the rootfs' file wins over core's of the same name
        .file("bin/echo", "#!/bin/sh\nprintf 'own echo %s\\n' \"$*\"\n", 0o755)
        .args(&["/bin/app"])
        .writable();
    scene.bundle.expect("rootfs");
    let plan = plan(&scene);
    assert_eq!(made(&plan), ["/bin", "/sbin"]);
    scene
        .run()
        .ok()
        .stdout("own\nown echo from core\n/bin/app\n/bin/sh\n/sbin/arp\n0\n");
}

#[test]
fn a_read_only_split_bin() {
    let mut scene = Scene::empty();
    scene
        .bundle
        .directory("bin", 0o755)
        .file(
            "bin/app",
            "#!/bin/sh\n/bin/echo hello; echo x > /bin/new || echo read-only\n",
            0o755,
        )
        .args(&["/bin/app"])
        .edit(|spec| spec["root"]["readonly"] = true.into());
    scene.run().ok().stdout("hello\nread-only\n");
}

/// A program in the rootfs' own /lib, with a library beside it, and the loader and C library of components.
fn program_with_own_library() -> PathBuf {
    cache::made("program-with-own-lib", "1", |directory| {
        fs::create_dir_all(directory).expect("a directory");
        let compile = |arguments: &[&str]| {
            let status = Command::new("gcc")
                .current_dir(directory)
                .args(arguments)
                .status()
                .expect("gcc");
            assert!(status.success());
        };
        let write = |name: &str, text: &str| {
            fs::write(directory.join(name), text).expect("write a source");
        };
        write("own.c", "int own(void) { return 42; }\n");
        write(
            "app.c",
            "#include <stdio.h>\nint own(void);\nint main(void) { printf(\"%d\\n\", own()); return 0; }\n",
        );
        compile(&[
            "-shared",
            "-fPIC",
            "-o",
            "libown.so.1",
            "-Wl,-soname,libown.so.1",
            "own.c",
        ]);
        compile(&["-o", "app", "app.c", "libown.so.1"]);
    })
}

#[test]
fn a_dynamic_program_with_directories_of_its_own_for_libraries() {
    let built = program_with_own_library();
    for (directories, made_of) in [
        (
            &["lib/x86_64-linux-gnu"][..],
            &["/lib", "/lib/x86_64-linux-gnu"][..],
        ),
        (&["lib", "lib64"], &["/lib", "/lib64"]),
        (&["usr/lib/x86_64-linux-gnu"], &[]),
    ] {
        let mut scene = Scene::empty();
        for directory in directories {
            scene.bundle.directory(directory, 0o755);
        }
        scene
            .bundle
            .copy(built.join("app"), "app")
            .copy(
                built.join("libown.so.1"),
                &format!("{}/libown.so.1", directories[0]),
            )
            .args(&["/app"])
            .writable();
        scene.bundle.expect("rootfs");
        assert_eq!(made(&plan(&scene)), made_of, "{directories:?}");
        scene.run().ok().stdout("42\n");
    }
}

#[test]
fn files_that_engines_mount_over_are_there_already() {
    for readonly in [false, true] {
        let mut scene = script(
            "cat /etc/hosts /etc/hostname /etc/resolv.conf; ls /etc\n",
            "core",
        );
        for name in ["hosts", "hostname", "resolv.conf"] {
            fs::write(scene.file(name), format!("{name} of the engine\n")).expect("write a file");
            let source = scene.file(name);
            scene.bundle.mount(json!({
                "destination": format!("/etc/{name}"), "type": "bind", "source": source,
                "options": ["rbind", "ro"],
            }));
        }
        scene
            .bundle
            .edit(|spec| spec["root"]["readonly"] = readonly.into());
        let output = scene.run();
        output
            .ok()
            .says("hosts of the engine\nhostname of the engine\nresolv.conf of the engine\n");
        // nothing had to be made in the rootfs
        assert!(!scene.bundle.rootfs().join("etc/hosts").exists());
        assert!(!scene.bundle.rootfs().join("etc/resolv.conf").exists());
    }
}

#[test]
fn a_base_of_files_is_there() {
    let scene = script(
        "for f in /etc/passwd /etc/group /etc/nsswitch.conf /etc/hosts /etc/os-release; do test -s $f || echo no $f; done\n\
         for f in /etc/hostname /etc/resolv.conf; do test -f $f || echo no $f; done; readlink /etc/mtab\n",
        "core",
    );
    scene.run().ok().stdout("../proc/self/mounts\n");
}

/// A store of its own with the trees of the library: what a killed maker leaves must not meet other tests.
fn store_of_links(directory: &Path) -> PathBuf {
    let copy = directory.join("store");
    let copied = Command::new("cp")
        .args(["-a", "--link"])
        .arg(fragment::store().join("."))
        .arg(&copy)
        .status();
    assert!(copied.expect("run cp").success());
    for name in ["generated", "leases"] {
        // the first is not there before the first composition that needs it
        let _ = fs::remove_dir_all(copy.join(name));
    }
    fs::create_dir(copy.join("leases")).expect("a directory for leases");
    copy
}

/// Names of generated layers, those half-made in front.
fn layers_in(store: &Path) -> Vec<String> {
    let entries = fs::read_dir(store.join("generated")).into_iter().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry").file_name().display().to_string())
        .collect();
    names.sort();
    names
}

#[test]
fn a_create_killed_at_any_step_leaves_no_half_of_a_generated_layer() {
    assert!(
        Path::new("/usr/bin/strace").exists(),
        "strace is missing: hack/setup test installs it"
    );
    let scene = script("grep -c . /etc/passwd\n", "redis");
    let directory = tempfile::tempdir().expect("a directory");
    let store = store_of_links(directory.path());
    let whole = generated(&plan(&scene))
        .file_name()
        .map(PathBuf::from)
        .expect("a name");
    let (mut steps, mut halves) = (0, 0);
    for call in ["mkdir", "fchmod", "chmod", "fsync", "rename", "flock"] {
        for number in 1.. {
            let _ = fs::remove_dir_all(store.join("generated"));
            let inject = format!("-e trace={call} -e inject={call}:signal=KILL:when={number}");
            let output = scene
                .create_call(&[])
                .env("FRAGMENT_STORE", &store)
                .within(&format!("exec strace -qq -o /dev/null {inject} \"$@\""))
                .limit(Duration::from_secs(60))
                .output();
            scene
                .call(["delete", "--force", &scene.id])
                .env("FRAGMENT_STORE", &store)
                .output();
            let left = layers_in(&store);
            halves += left.iter().filter(|name| name.starts_with('.')).count();
            if left.iter().any(|name| !name.starts_with('.')) {
                let passwd = store.join("generated").join(&whole).join("etc/passwd");
                let text = fs::read_to_string(passwd).expect("a whole layer");
                assert_eq!(text.lines().count(), 19, "{call} {number}: {output}");
            }
            // whatever was left, the next one works and takes it away
            scene
                .run_call(&[])
                .env("FRAGMENT_STORE", &store)
                .output()
                .ok()
                .stdout("19\n");
            assert_eq!(
                layers_in(&store),
                [whole.display().to_string()],
                "{call} {number}"
            );
            if output.status.success() {
                break;
            }
            steps += 1;
        }
    }
    assert!(steps > 10 && halves > 3, "{steps} steps, {halves} halves");
}
