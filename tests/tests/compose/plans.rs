//! `fragment plan` and `fragment explain`: what would be composed, without root and without a change.

use fragment_tests::fragment;
use serde_json::Value;

/// Stored bytes of the layers of a plan: those that grant capabilities (core and seed components), and the rest.
fn sizes(plan: &Value) -> (u64, u64) {
    let layers = plan["plan"]["layers"].as_array().expect("layers");
    let stored = |layer: &Value| layer["size"]["stored"].as_u64().expect("a size");
    let (seeds, rest): (Vec<_>, Vec<_>) = layers.iter().partition(|layer| {
        layer["capabilities"]
            .as_array()
            .is_some_and(|list| !list.is_empty())
    });
    (
        seeds.into_iter().map(stored).sum(),
        rest.into_iter().map(stored).sum(),
    )
}

fn plan(arguments: &[&str]) -> Value {
    fragment::call(&[&["plan", "--json"], arguments].concat())
        .output()
        .ok()
        .json()
}

fn granted(plan: &Value) -> Vec<&str> {
    plan["plan"]["capabilities"]
        .as_array()
        .expect("capabilities")
        .iter()
        .filter_map(Value::as_str)
        .collect()
}

#[track_caller]
fn at_most(plan: &Value, megabytes: u64) {
    let (seeds, _) = sizes(plan);
    assert!(seeds <= megabytes * 1_000_000, "{seeds} bytes: {plan:#}");
}

#[test]
fn class_simple_is_core_alone() {
    let plan = plan(&["--", "echo", "hello"]);
    let (seeds, rest) = sizes(&plan);
    assert!(seeds <= 3_000_000 && rest == 0, "{seeds} {rest}");
    assert_eq!(plan["plan"]["layers"].as_array().map(Vec::len), Some(1));
    assert_eq!(granted(&plan), ["process_execution"]);
}

#[test]
fn class_dns_fits_four_megabytes() {
    let plan = plan(&["--", "getent", "hosts", "example.org"]);
    at_most(&plan, 4);
    assert!(granted(&plan).contains(&"dns_lookup"), "{plan:#}");
}

#[test]
fn class_network_fits_seven_megabytes() {
    let plan = plan(&["--", "curl", "https://example.org/"]);
    at_most(&plan, 7);
    for capability in ["tcp_connections", "dns_lookup", "socket_create"] {
        assert!(
            granted(&plan).contains(&capability),
            "{capability}: {plan:#}"
        );
    }
}

#[test]
fn class_system_fits_nine_megabytes() {
    let plan = plan(&[
        "--require",
        "service_start",
        "--",
        "runsvdir",
        "/etc/service",
    ]);
    at_most(&plan, 9);
    assert!(granted(&plan).contains(&"process_management"), "{plan:#}");
}

#[test]
fn class_everything_fits_eighteen_megabytes() {
    let capabilities = [
        "tcp_connections",
        "tcp_listen",
        "dns_lookup",
        "dns_cache",
        "socket_create",
        "socket_bind",
        "process_management",
        "service_start",
        "service_control",
        "service_status",
        "device_access",
        "device_control",
        "job_control",
        "signal_handling",
        "advanced_proc_mgmt",
    ];
    let mut arguments = Vec::new();
    for capability in capabilities {
        arguments.extend(["--require", capability]);
    }
    let plan = plan(&[&arguments[..], &["--", "echo", "hello"]].concat());
    for capability in capabilities {
        assert!(
            granted(&plan).contains(&capability),
            "{capability}: {plan:#}"
        );
    }
    let (seeds, _) = sizes(&plan);
    assert!(seeds <= 18_000_000, "{seeds}");
}

#[test]
fn systemctl_chooses_systemd_and_a_service_the_small_supervisor() {
    let names = |plan: &Value| -> Vec<String> {
        let layers = plan["plan"]["layers"].as_array().expect("layers");
        layers
            .iter()
            .map(|layer| layer["name"].as_str().expect("a name").to_owned())
            .collect()
    };
    let systemd = names(&plan(&["--", "systemctl", "status"]));
    assert!(
        systemd.contains(&"init-system-systemd".to_owned()),
        "{systemd:?}"
    );
    assert!(!systemd.contains(&"init-system".to_owned()), "{systemd:?}");
    let small = names(&plan(&[
        "--require",
        "service_start",
        "--",
        "echo",
        "hello",
    ]));
    assert!(small.contains(&"init-system".to_owned()), "{small:?}");
    assert!(
        !small.contains(&"init-system-systemd".to_owned()),
        "{small:?}"
    );
}

#[test]
fn a_plan_is_the_same_twice_and_its_id_is_its_digest() {
    let one = plan(&["--", "curl", "https://example.org/"]);
    let two = plan(&["--", "curl", "https://example.org/"]);
    assert_eq!(one, two);
    let id = one["id"].as_str().expect("an id");
    assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
    let other = plan(&["--", "echo"]);
    assert_ne!(other["id"], one["id"]);
}

#[test]
fn plan_and_explain_need_no_root() {
    for verb in ["plan", "explain"] {
        let output = fragment::call(&[verb, "--json", "--", "curl", "https://example.org/"])
            .within("exec setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs \"$@\"")
            .output();
        output.ok().json();
    }
}

#[test]
fn explain_shows_the_chain_from_the_entry_to_the_component() {
    let text = fragment::call(&["explain", "--", "curl", "https://example.org/"])
        .output()
        .ok()
        .stdout
        .clone();
    for words in [
        "curl",
        "argument",
        "https://example.org ",
        "-> ca-certificates ",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    let document = fragment::call(&["explain", "--json", "--", "curl", "https://example.org/"])
        .output()
        .ok()
        .json();
    for component in document["components"].as_array().expect("components") {
        let steps = component["steps"].as_array().expect("steps");
        assert!(!steps.is_empty(), "{component:#}");
    }
}

#[test]
fn secrets_of_the_command_line_stay_out_of_plans() {
    let text = fragment::call(&[
        "plan",
        "--json",
        "--env",
        "https_proxy=http://u:hunter2@proxy:3128",
        "--",
        "curl",
        "https://joe:s3cret@example.org/",
    ])
    .output()
    .ok()
    .stdout
    .clone();
    assert!(
        !text.contains("hunter2") && !text.contains("s3cret"),
        "{text}"
    );
}

#[test]
fn the_installation_stays_under_a_hundred_megabytes() {
    let size = |path: &std::path::Path| {
        std::fs::metadata(path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
            .len()
    };
    let store = fragment::store();
    let core = fragment::call(&["library", "info", "core", "--json"])
        .output()
        .ok()
        .json();
    let binaries = [fragment::program(), fragment::runtime_program()].map(|path| size(&path));
    let bytes = |key: &str| core["size"][key].as_u64().expect("a size");
    let total = binaries.iter().sum::<u64>()
        + size(&store.join("catalogue"))
        + bytes("stored")
        + bytes("plain");
    assert!(total < 100_000_000, "{total} bytes: binaries {binaries:?}");
}

#[test]
fn the_seed_components_keep_their_budgets_and_grant_their_capabilities() {
    let list = fragment::call(&["library", "list", "--json"])
        .output()
        .ok()
        .json();
    let megabyte = 1_000_000;
    for (name, budget, capabilities) in [
        ("core", 3, &["process_execution"][..]),
        ("tcp-stack", 2, &["tcp_connections", "tcp_listen"]),
        ("dns-resolver", 1, &["dns_lookup", "dns_cache"]),
        ("socket-api", 1, &["socket_create", "socket_bind"]),
        ("init-system", 6, &["process_management", "service_start"]),
        (
            "init-system-systemd",
            6,
            &["process_management", "service_start"],
        ),
        ("service-manager", 3, &["service_control", "service_status"]),
        ("device-manager", 2, &["device_access", "device_control"]),
        ("job-control", 1, &["job_control"]),
        ("signal-handling", 1, &["signal_handling"]),
        ("advanced-proc-mgmt", 1, &["advanced_proc_mgmt"]),
    ] {
        let components = list.as_array().expect("a list");
        let component = components
            .iter()
            .find(|one| one["name"] == name)
            .unwrap_or_else(|| panic!("no {name}"));
        let stored = component["size"]["stored"].as_u64().expect("a size");
        assert!(stored <= budget * megabyte, "{name}: {stored}");
        for capability in capabilities {
            assert!(
                component["capabilities"]
                    .as_array()
                    .expect("capabilities")
                    .iter()
                    .any(|c| c == capability),
                "{name}: {capability}"
            );
        }
    }
}

#[test]
fn the_library_is_intact() {
    fragment::call(&["library", "verify"])
        .limit(std::time::Duration::from_secs(120))
        .output()
        .ok()
        .says("intact");
}

#[test]
fn damage_to_the_library_is_named_and_mended() {
    let directory = tempfile::tempdir().expect("a directory");
    let copy = directory.path().join("store");
    let copied = std::process::Command::new("cp")
        .arg("-a")
        // of a library that is reached by a link, the library and not the link
        .arg(fragment::store().canonicalize().expect("the library"))
        .arg(&copy)
        .status()
        .expect("run cp");
    assert!(copied.success());
    // those of containers of other tests, which use the store and not its copy
    for lease in std::fs::read_dir(copy.join("leases")).expect("leases") {
        std::fs::remove_file(lease.expect("a lease").path()).expect("remove a lease");
    }
    let list = fragment::call(&["library", "list", "--json"])
        .output()
        .ok()
        .json();
    let tzdata = list
        .as_array()
        .expect("a list")
        .iter()
        .find(|one| one["name"] == "tzdata")
        .expect("tzdata")
        .clone();
    let tree = tzdata["diff_id"]
        .as_str()
        .expect("a digest")
        .replace("sha256:", "");
    std::fs::write(
        copy.join("trees")
            .join(tree)
            .join("usr/share/zoneinfo/Asia/Tokyo"),
        "damaged",
    )
    .expect("write");
    let call = |arguments: &[&str]| {
        let limit = std::time::Duration::from_secs(120);
        fragment::call(&[&["library", "verify"], arguments].concat())
            .env("FRAGMENT_STORE", &copy)
            .limit(limit)
            .output()
    };
    call(&[])
        .code(1)
        .says("tzdata: /usr/share/zoneinfo/Asia/Tokyo");
    call(&["--repair"]).ok().says("intact");
    call(&[]).ok();
}
