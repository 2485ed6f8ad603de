//! What is composed is asked for by annotations, by the image's `/.fragment.yaml`, by variables and by the node's
//! configuration: the runtime, `fragment plan`, `explain` and `run` follow the same.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use fragment_tests::{Call, Scene, fragment};
use serde_json::{Value, json};

const FILE: &str = ".fragment.yaml";

/// What a source says, if anything.
type Said<'a> = Option<&'a str>;

/// A bundle that lacks nothing.
fn full() -> Scene {
    let mut scene = Scene::new();
    scene
        .bundle
        .sh("grep -c ' / / .* - overlay ' /proc/self/mountinfo");
    scene
}

/// A bundle that holds nothing; its program tells whether curl is there, without naming it.
fn thin() -> Scene {
    let mut scene = Scene::empty();
    scene.bundle.args(&["sh", "-c", "echo /usr/bin/cur?"]);
    scene
}

fn annotate(scene: &mut Scene, name: &str, value: &str) {
    let key = format!("dev.fragment.{name}");
    scene.bundle.edit(|spec| {
        spec["annotations"][key] = json!(value);
    });
}

fn plan(scene: &Scene) -> Call {
    let bundle = scene.bundle.path().to_str().expect("UTF-8");
    fragment::call(&["plan", "--json", "--bundle", bundle])
}

fn components(plan: &Value) -> Vec<String> {
    let layers = plan["plan"]["layers"].as_array().expect("layers");
    let name = |layer: &Value| layer["name"].as_str().expect("a name").to_owned();
    let mut names: Vec<_> = layers.iter().map(name).collect();
    names.sort();
    names
}

/// The calls that make a plan of the scene's bundle, with a configuration file of this content.
fn configured(scene: &Scene, call: Call, configuration: &str) -> Call {
    let file = scene.file("fragment.yaml");
    fs::write(&file, configuration).expect("write the configuration");
    call.env("FRAGMENT_CONFIG", file)
}

#[test]
fn the_strongest_source_says_how_to_compose() {
    let table: [(Said<'_>, Said<'_>, Said<'_>, Said<'_>, bool); 9] = [
        (None, None, None, None, false),
        (None, None, None, Some("always"), true),
        (None, None, Some("auto"), Some("always"), false),
        (None, None, Some("always"), Some("off"), true),
        (None, Some("off"), Some("always"), Some("always"), false),
        (None, Some("always"), Some("off"), None, true),
        (Some("off"), Some("always"), Some("always"), None, false),
        (Some("auto"), Some("always"), None, Some("always"), false),
        (Some("always"), Some("off"), Some("off"), Some("off"), true),
    ];
    for (annotation, image, variable, configuration, is_composed) in table {
        let mut scene = full();
        if let Some(value) = annotation {
            annotate(&mut scene, "compose", value);
        }
        if let Some(value) = image {
            scene
                .bundle
                .file(FILE, &format!("compose: {value}\n"), 0o644);
        }
        let sources = |mut call: Call| {
            if let Some(value) = variable {
                call = call.env("FRAGMENT_COMPOSE", value);
            }
            match configuration {
                Some(value) => configured(&scene, call, &format!("compose: {value}\n")),
                None => call,
            }
        };
        let planned = sources(plan(&scene)).output().ok().json();
        let row = format!("{annotation:?} {image:?} {variable:?} {configuration:?}");
        assert_eq!(!components(&planned).is_empty(), is_composed, "{row}");
        let output = sources(scene.run_call(&[])).output();
        let expected = if is_composed { "1\n" } else { "0\n" };
        assert_eq!(output.stdout, expected, "{row}: {output}");
        scene.nothing_left();
    }
}

#[test]
fn an_image_names_the_components_it_wants() {
    let mut scene = thin();
    scene.run().ok().stdout("/usr/bin/cur?\n");
    scene.bundle.file(
        FILE,
        "# an image says it itself\ncomponents:\n- curl\n",
        0o644,
    );
    scene.run().ok().stdout("/usr/bin/curl\n");
}

#[test]
fn lists_are_united_and_the_stronger_source_decides_what_is_left_out() {
    let mut scene = thin();
    annotate(&mut scene, "components", "sqlite");
    scene
        .bundle
        .file(FILE, "components: [bash]\nexclude: [curl]\n", 0o644);
    let call = plan(&scene).env("FRAGMENT_COMPONENTS", "curl,tzdata");
    let names = components(
        &configured(&scene, call, "exclude: [tzdata]\n")
            .output()
            .ok()
            .json(),
    );
    for (name, is_there) in [
        ("sqlite", true),
        ("bash", true),
        ("curl", false),
        ("tzdata", true),
    ] {
        assert_eq!(
            names.iter().any(|one| one == name),
            is_there,
            "{name}: {names:?}"
        );
    }
    // flags are stronger than all of them
    let bundle = scene.bundle.path().to_str().expect("UTF-8").to_owned();
    let flags = ["plan", "--json", "--bundle", &bundle, "--component", "curl"];
    let names = components(&fragment::call(&flags).output().ok().json());
    assert!(names.contains(&"curl".to_owned()), "{names:?}");
}

#[test]
fn a_capability_is_required_from_anywhere() {
    let mut scene = thin();
    let granted = |call: Call| {
        let plan = call.output().ok().json();
        plan["plan"]["capabilities"]
            .to_string()
            .contains("\"tcp_listen\"")
    };
    assert!(!granted(plan(&scene)));
    assert!(granted(plan(&scene).env("FRAGMENT_REQUIRE", "tcp_listen")));
    assert!(granted(configured(
        &scene,
        plan(&scene),
        "require: [tcp_listen]\n"
    )));
    scene.bundle.file(FILE, "require: [tcp_listen]\n", 0o644);
    assert!(granted(plan(&scene)));
}

#[test]
fn a_command_without_a_bundle_follows_variables_and_configuration() {
    let state = tempfile::tempdir().expect("a directory");
    let run = |words: &[&str]| {
        fragment::call(&["run", "--"])
            .args(words)
            .env("FRAGMENT_STATE", state.path())
    };
    let glob = ["sh", "-c", "echo /usr/bin/cur?"];
    run(&glob).output().ok().stdout("/usr/bin/cur?\n");
    run(&glob)
        .env("FRAGMENT_COMPONENTS", "curl")
        .output()
        .ok()
        .stdout("/usr/bin/curl\n");
    let file = state.path().join("fragment.yaml");
    fs::write(&file, "components: [curl]\n").expect("write the configuration");
    run(&glob)
        .env("FRAGMENT_CONFIG", &file)
        .output()
        .ok()
        .stdout("/usr/bin/curl\n");
    let explained = fragment::call(&["explain", "--", "echo"])
        .env("FRAGMENT_CONFIG", &file)
        .output();
    explained.ok().says("-> curl ");
    run(&["echo"])
        .env("FRAGMENT_COMPOSE", "off")
        .output()
        .code(1)
        .fails_with("composition is off");
}

#[test]
fn a_user_s_own_configuration_is_read_for_that_user() {
    let home = tempfile::tempdir().expect("a directory");
    let directory = home.path().join(".config/fragment");
    fs::create_dir_all(&directory).expect("mkdir");
    fs::write(directory.join("fragment.yaml"), "components: [curl]\n").expect("write");
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    let plan = || {
        fragment::call(&["plan", "--json", "--", "echo"])
            .env("HOME", home.path())
            .env("FRAGMENT_CONFIG", "")
    };
    let has_curl = |call: Call| {
        let names = components(&call.output().ok().json());
        names.contains(&"curl".to_owned())
    };
    let user = "exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$@\"";
    assert!(has_curl(plan().within(user)));
    assert!(!has_curl(plan()), "root's is the node's");
}

#[test]
fn the_configuration_says_where_the_library_is() {
    let scene = thin();
    let store = fragment::store().canonicalize().expect("the library");
    let call = |configuration: &str| {
        let call = scene.run_call(&[]).env("FRAGMENT_STORE", "");
        configured(&scene, call, configuration).output()
    };
    call(&format!("store: {}\n", store.display()))
        .ok()
        .stdout("/usr/bin/cur?\n");
    let empty = scene.file("nothing-here");
    call(&format!("store: {}\n", empty.display()))
        .code(1)
        .fails_with("no component library")
        .fails_with("nothing-here");
}

/// The lock of the scene's plan, as `fragment plan --lock` prints it.
fn lock_of(scene: &Scene) -> String {
    let bundle = scene.bundle.path().to_str().expect("UTF-8").to_owned();
    let output = fragment::call(&["plan", "--lock", "--bundle", &bundle]).output();
    output.ok().stdout.clone()
}

fn curl() -> Scene {
    let mut scene = Scene::empty();
    scene.bundle.args(&["curl", "--version"]);
    scene
}

/// What only adds to a composition is read of a bundle that lacks nothing where something is composed in any case.
#[test]
fn what_a_complete_bundle_would_like_is_composed_where_composing_was_asked_for() {
    let mut scene = full();
    let zone = "/usr/share/zoneinfo/Europe/Berlin";
    let busybox = scene.bundle.rootfs().join("bin/busybox");
    scene.bundle.directory("app", 0o755);
    scene.bundle.copy(busybox, "app/busybox");
    scene.bundle.link(zone, "app/zone");
    scene
        .bundle
        .args(&["/app/busybox", "head", "-c4", "/app/zone"]);
    assert_eq!(components(&plan(&scene).output().ok().json()), [""; 0]);
    annotate(&mut scene, "compose", "always");
    assert_eq!(
        components(&plan(&scene).output().ok().json()),
        ["core", "tzdata"]
    );
    scene.run().ok().stdout("TZif");
}

#[test]
fn a_lock_is_composed_as_it_was_printed() {
    let mut scene = curl();
    let before = components(&plan(&scene).output().ok().json());
    let lock = lock_of(&scene);
    scene.bundle.file(FILE, &lock, 0o644);
    assert_eq!(components(&plan(&scene).output().ok().json()), before);
    scene.run().ok().says("curl ");
    assert_eq!(
        lock_of(&scene).lines().skip(1).collect::<Vec<_>>(),
        lock.lines().skip(1).collect::<Vec<_>>(),
        "the lock of a locked plan is that lock"
    );
    // what the node wants of every container is set aside
    let with_more = plan(&scene).env("FRAGMENT_COMPONENTS", "bash");
    assert_eq!(components(&with_more.output().ok().json()), before);
}

#[test]
fn a_locked_digest_that_the_library_does_not_have_is_told() {
    let mut scene = curl();
    let lock = lock_of(&scene);
    let line = |text: &str| {
        let mut lines = text.lines().filter(|line| line.contains("\"curl\": "));
        lines.next().expect("curl's line").to_owned()
    };
    let has = line(&lock).rsplit(' ').next().expect("a digest").to_owned();
    let wanted = format!("sha256:{}", "0".repeat(64));
    scene.bundle.file(FILE, &lock.replace(&has, &wanted), 0o644);
    let output = scene.run();
    output.code(1);
    for words in ["component `curl`", &wanted, &has, "fragment plan --lock"] {
        output.fails_with(words);
    }
    // the same by annotation, which is stronger
    scene.bundle.file(FILE, &lock, 0o644);
    scene.run().ok();
    annotate(&mut scene, "lock", &format!("curl@{wanted}"));
    scene.run().code(1).fails_with(&wanted);
}

#[test]
fn a_component_outside_the_lock_is_refused() {
    let mut scene = curl();
    let lock = lock_of(&scene);
    let without: Vec<_> = lock
        .lines()
        .filter(|line| !line.contains("\"curl\": "))
        .collect();
    scene.bundle.file(FILE, &without.join("\n"), 0o644);
    scene
        .run()
        .code(1)
        .fails_with("component `curl`")
        .fails_with("not in the lock");
}

#[test]
fn a_node_may_demand_a_lock() {
    let scene = curl();
    let required = |call: Call| configured(&scene, call, "lock_policy: required\n").output();
    required(scene.run_call(&[]))
        .code(1)
        .fails_with("lock_policy: required")
        .fails_with("fragment plan --lock");
    let locked = {
        let mut scene = curl();
        scene.bundle.file(FILE, &lock_of(&scene), 0o644);
        scene
    };
    required(locked.run_call(&[])).ok().says("curl ");
    // a bundle that lacks nothing is not composed
    required(full().run_call(&[])).stdout("0\n");
}

#[test]
fn a_plan_of_nothing_has_the_lock_of_nothing() {
    assert!(lock_of(&full()).ends_with("lock: {}\n"));
}

/// `/.fragment.yaml` is hostile input: it is followed or refused, never out of the root, and never for ever.
#[test]
fn a_hostile_file_of_the_image_is_refused() {
    let outside = tempfile::tempdir().expect("a directory");
    let secret = outside.path().join("secret.yaml");
    fs::write(&secret, "components: [curl]\n").expect("write");
    let relative = format!("../../../../../../../..{}", secret.display());
    type Make<'a> = Box<dyn Fn(&Path) + 'a>;
    let file = |content: String| -> Make<'_> {
        Box::new(move |path| fs::write(path, &content).expect("write"))
    };
    let cases: Vec<(&str, Make<'_>, &str)> = vec![
        (
            "a directory",
            Box::new(|path| fs::create_dir(path).expect("mkdir")),
            "not a regular file",
        ),
        (
            "a fifo",
            Box::new(|path| {
                let made = Command::new("mkfifo").arg(path).status().expect("mkfifo");
                assert!(made.success());
            }),
            "not a regular file",
        ),
        (
            "a loop",
            Box::new(|path| symlink(FILE, path).expect("link")),
            "too many levels of symbolic links",
        ),
        (
            "a huge file",
            file(format!("compose: auto\n#{}\n", "x".repeat(1 << 20))),
            "/.fragment.yaml:1: longer than 64 KiB",
        ),
        (
            "no YAML",
            file("compose: [\n".to_owned()),
            "/.fragment.yaml:",
        ),
        (
            "a deep document",
            file(format!("components: {}\n", "[".repeat(30_000))),
            "/.fragment.yaml:",
        ),
        (
            "an unknown key",
            file("compose: auto\nprivileged: yes\n".to_owned()),
            "/.fragment.yaml:2: `privileged` (of `yes`) is no key of this file",
        ),
        (
            "an unknown value",
            file("\n\ncompose: sometimes\n".to_owned()),
            "/.fragment.yaml:3: compose: `sometimes` is not valid: auto, always or off",
        ),
    ];
    for (what, make, words) in &cases {
        let mut scene = thin();
        make(&scene.bundle.rootfs().join(FILE));
        scene.bundle.note_all();
        let output = scene.run();
        assert!(output.stderr.contains(words), "{what}: {output}");
        output.code(1);
        scene.nothing_left();
    }
    // a link out of the root leads to what is at that path inside: nothing
    for target in [secret.to_str().expect("UTF-8"), &relative] {
        let mut scene = thin();
        scene.bundle.link(target, FILE);
        scene.run().ok().stdout("/usr/bin/cur?\n");
    }
}

#[test]
fn a_mistake_in_the_configuration_is_told_and_stops_nothing_but_creating() {
    let scene = {
        let mut scene = Scene::sleeper();
        scene.bundle.writable();
        scene
    };
    scene.up().ready();
    let file = scene.file("fragment.yaml");
    fs::write(&file, "compose: auto\ncache_size: 12\n").expect("write the configuration");
    let broken = |call: Call| call.env("FRAGMENT_CONFIG", &file).output();
    let message = "fragment.yaml:2: `cache_size` (of `12`) is no key of this file";
    let other = full();
    broken(other.run_call(&[])).code(1).fails_with(message);
    broken(plan(&other)).code(1).fails_with(message);
    broken(scene.call(["state", &scene.id])).ok();
    broken(scene.call(["kill", &scene.id, "KILL"])).ok();
    scene.stopped();
    broken(scene.call(["delete", &scene.id])).ok();
    let missing = scene.file("not-there.yaml");
    other
        .run_call(&[])
        .env("FRAGMENT_CONFIG", &missing)
        .output()
        .code(1)
        .fails_with("not-there.yaml");
}

#[test]
fn a_mistake_in_a_variable_is_told() {
    let scene = full();
    scene
        .run_call(&[])
        .env("FRAGMENT_COMPOSE", "never")
        .output()
        .code(1)
        .fails_with("variable FRAGMENT_COMPOSE: `never` is not valid: auto, always or off");
}
