//! `features` says what is true: what it lists is tried.

use std::fs;

use fragment_tests::Scene;
use serde_json::{Value, json};

fn document() -> Value {
    Scene::new().call(["features"]).output().ok().json()
}

fn words(document: &Value, pointer: &str) -> Vec<String> {
    let list = document.pointer(pointer).and_then(Value::as_array);
    list.unwrap_or_else(|| panic!("{pointer} in {document}"))
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// A mount that the option makes sense for.
fn mount_with(option: &str) -> Value {
    match option {
        // clone of a mount, with mappings for it alone
        "idmap" | "ridmap" => json!({
            "destination": "/mnt", "type": "bind", "source": "rootfs/home", "options": ["bind", option],
            "uidMappings": [{ "containerID": 0, "hostID": 1000, "size": 1000 }],
            "gidMappings": [{ "containerID": 0, "hostID": 1000, "size": 1000 }]
        }),
        "bind" | "rbind" => {
            json!({ "destination": "/mnt", "type": "none", "source": "rootfs/home", "options": [option] })
        }
        option
            if option.starts_with('r')
                && !["ro", "rw", "relatime", "remount"].contains(&option) =>
        {
            json!({ "destination": "/mnt", "type": "none", "source": "rootfs/home", "options": ["rbind", option] })
        }
        option => {
            json!({ "destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": [option] })
        }
    }
}

#[test]
fn every_mount_option_that_is_listed_is_taken() {
    let probe = Scene::new();
    unless_runc!(probe, "its list names options this kernel refuses on tmpfs");
    let mut refused = Vec::new();
    for option in words(&document(), "/mountOptions") {
        let mut scene = Scene::new();
        scene.bundle.directory("mnt", 0o755);
        scene.bundle.mount(mount_with(&option));
        let output = scene.run();
        if !output.status.success() {
            refused.push(format!("{option}: {}", output.stderr));
        }
        scene.bundle.note_all();
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

#[test]
fn options_that_are_not_listed_are_for_the_file_system_which_refuses_them() {
    let probe = Scene::new();
    unless_runc!(probe, "asked of our own list");
    let listed = words(&document(), "/mountOptions");
    for option in [
        "acl",
        "noacl",
        "iversion",
        "noiversion",
        "nosuchoption",
        "rnosuch",
    ] {
        assert!(!listed.iter().any(|known| known == option), "{option}");
        let mut scene = Scene::new();
        scene.bundle.directory("mnt", 0o755);
        scene.bundle.mount(
            json!({ "destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": [option] }),
        );
        scene.run().fails_with("/mnt");
        scene.bundle.note_all();
    }
}

#[test]
fn every_namespace_that_is_listed_is_made() {
    let document = document();
    let names = words(&document, "/linux/namespaces");
    for name in &names {
        let mut scene = Scene::sleeper();
        scene.bundle.without_namespace(name);
        scene.bundle.namespace(json!({ "type": name }));
        if name == "user" {
            let mapping = json!([{ "containerID": 0, "hostID": 0, "size": 65536 }]);
            scene.bundle.edit(|spec| {
                spec["linux"]["uidMappings"] = mapping.clone();
                spec["linux"]["gidMappings"] = mapping;
            });
        }
        scene.up();
        let file = match name.as_str() {
            "mount" => "mnt",
            "network" => "net",
            other => other,
        };
        let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{file}")).unwrap();
        assert_ne!(of(&scene.pid().to_string()), of("self"), "{name}");
        scene.delete();
    }
    // and one that is not is an error, not silence
    let mut scene = Scene::new();
    scene.bundle.namespace(json!({ "type": "nosuch" }));
    scene.run().fails_with("nosuch");
}

#[test]
fn the_capabilities_that_are_listed_are_the_kernels() {
    let last: usize = fs::read_to_string("/proc/sys/kernel/cap_last_cap")
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let listed = words(&document(), "/linux/capabilities");
    assert!(listed.len() >= last.min(40), "{} of {last}", listed.len());
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let own = own
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:\t"))
        .unwrap();
    let own = u64::from_str_radix(own, 16).unwrap();
    // one at a time, where this machine has it to give
    for (number, name) in listed
        .iter()
        .enumerate()
        .filter(|(number, _)| own >> number & 1 == 1)
    {
        let mut scene = Scene::sh("grep CapBnd /proc/self/status");
        scene.bundle.capabilities(&[name]);
        let output = scene.run();
        let mask = u64::from_str_radix(
            output.ok().stdout.trim_start_matches("CapBnd:\t").trim(),
            16,
        );
        assert_eq!(mask, Ok(1 << number), "{name}");
    }
}

#[test]
fn every_seccomp_action_operator_architecture_and_flag_that_is_listed_is_taken() {
    let probe = Scene::new();
    unless_runc!(probe, "it lists architectures libseccomp does not mix");
    let document = document();
    let try_filter = |filter: Value| {
        let mut scene = Scene::new();
        scene.bundle.edit(|spec| spec["linux"]["seccomp"] = filter);
        scene.run().ok();
    };
    // "personality" with an argument nobody passes: the rule is loaded and never met
    let rule = |action: &str, operator: &str| {
        json!({ "names": ["personality"], "action": action,
                "args": [{ "index": 0, "value": 12345, "valueTwo": 12345, "op": operator }] })
    };
    for action in words(&document, "/linux/seccomp/actions") {
        // a rule like the default one is refused by libseccomp; a listener needs somebody who listens (seccomp::*)
        if !["SCMP_ACT_ALLOW", "SCMP_ACT_NOTIFY"].contains(&action.as_str()) {
            try_filter(
                json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule(&action, "SCMP_CMP_EQ")] }),
            );
        }
    }
    for operator in words(&document, "/linux/seccomp/operators") {
        try_filter(
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule("SCMP_ACT_LOG", &operator)] }),
        );
    }
    for architecture in words(&document, "/linux/seccomp/archs") {
        try_filter(
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": [architecture],
                           "syscalls": [rule("SCMP_ACT_LOG", "SCMP_CMP_EQ")] }),
        );
    }
    for pointer in ["/linux/seccomp/knownFlags", "/linux/seccomp/supportedFlags"] {
        if document.pointer(pointer).is_none() {
            continue;
        }
        for flag in words(&document, pointer) {
            // this one is about listeners only (seccomp(2))
            if flag != "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" {
                try_filter(json!({ "defaultAction": "SCMP_ACT_ALLOW", "flags": [flag],
                                   "syscalls": [rule("SCMP_ACT_LOG", "SCMP_CMP_EQ")] }));
            }
        }
    }
}

#[test]
fn the_annotations_of_features_name_what_is_ours() {
    let probe = Scene::new();
    unless_runc!(probe, "asked of our own annotations");
    let document = document();
    let annotations = document["annotations"].as_object().unwrap();
    assert!(
        annotations
            .keys()
            .all(|key| key.starts_with("dev.fragment.") || key.contains("libseccomp")),
        "{document}"
    );
    let unsafe_ones = words(&document, "/potentiallyUnsafeConfigAnnotations");
    assert!(
        unsafe_ones.contains(&"dev.fragment.".to_owned()),
        "{document}"
    );
}
