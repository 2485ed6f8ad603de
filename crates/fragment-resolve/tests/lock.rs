//! A lock: all of its components, and no other.

#![allow(clippy::unwrap_used, reason = "tests")]

mod memory;

use fragment_resolve::{Compose, Policy, Refusal, RefusalKind, Request, Resolution, resolve};
use fragment_types::{Digest, Evidence, EvidenceKind, Lock, Need, Requirement, Strength};
use memory::{Component, Library, component, name};

fn library() -> Library {
    Library(vec![
        component("core", 100)
            .grants("process_execution")
            .command("sh"),
        component("curl", 20).command("curl").requires("libcurl"),
        component("libcurl", 10),
        component("gawk", 5).command("awk").alias("awk"),
        component("mawk", 6).command("awk").prefer(1),
    ])
}

fn lock(names: &[&str]) -> Lock {
    let mut lock = Lock::default();
    for text in names {
        lock.insert(name(text), Digest::of(text.as_bytes()))
            .unwrap();
    }
    lock
}

fn command(text: &str, strength: Strength) -> Requirement {
    let need = Need::Command {
        name: text.to_owned(),
    };
    Requirement {
        chain: vec![Evidence {
            kind: EvidenceKind::Argument,
            source: "argv[1]".to_owned(),
            detail: text.to_owned(),
        }],
        need,
        strength,
        satisfied_by: None,
    }
}

fn ask(requirements: &[Requirement], policy: Policy) -> Result<Resolution, Refusal> {
    let request = Request {
        requirements: requirements.to_vec(),
        policy,
    };
    resolve(&library(), &request)
}

fn locked(names: &[&str]) -> Policy {
    Policy {
        lock: Some(lock(names)),
        ..Policy::default()
    }
}

fn names(resolution: &Resolution) -> Vec<&str> {
    let layers = resolution.layers.iter();
    layers.map(|layer| layer.name.as_str()).collect()
}

#[test]
fn every_component_of_a_lock_is_in_needed_or_not() {
    let awk = [command("awk", Strength::Hard)];
    let answer = ask(&awk, locked(&["core", "gawk", "curl", "libcurl"])).unwrap();
    let mut found = names(&answer);
    found.sort_unstable();
    assert_eq!(found, ["core", "curl", "gawk", "libcurl"], "and not mawk");
    // and a bundle that lacks nothing is composed of it
    assert_eq!(names(&ask(&[], locked(&["core"])).unwrap()), ["core"]);
}

#[test]
fn a_component_outside_the_lock_is_refused_by_name() {
    let curl = [command("curl", Strength::Hard)];
    let refusal = ask(&curl, locked(&["core"])).unwrap_err();
    assert_eq!(refusal.kind(), RefusalKind::Locked);
    let message = refusal.to_string();
    for words in [
        "component `curl`",
        "not in the lock",
        "fragment plan --lock",
    ] {
        assert!(message.contains(words), "{words}: {message}");
    }
    // nor may one be in the lock without what it requires
    let message = ask(&curl, locked(&["core", "curl"]))
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("`curl` requires component `libcurl`, which is not in the lock"),
        "{message}"
    );
    // core lies below every composition
    let message = ask(&[], locked(&["curl", "libcurl"]))
        .unwrap_err()
        .to_string();
    assert!(message.contains("component `core`"), "{message}");
    let asked = Policy {
        components: vec![name("gawk")],
        ..locked(&["core"])
    };
    assert_eq!(ask(&[], asked).unwrap_err().kind(), RefusalKind::Locked);
}

#[test]
fn an_empty_lock_is_a_composition_of_nothing() {
    assert!(ask(&[], locked(&[])).unwrap().is_empty());
    let curl = [command("curl", Strength::Hard)];
    assert_eq!(
        ask(&curl, locked(&[])).unwrap_err().kind(),
        RefusalKind::Locked
    );
}

#[test]
fn optional_needs_outside_the_lock_are_left_out_without_a_word() {
    let curl = [command("curl", Strength::Soft)];
    let answer = ask(&curl, locked(&["core"])).unwrap();
    assert_eq!(names(&answer), ["core"]);
    assert_eq!(answer.warnings, Vec::<String>::new());
}

#[test]
fn another_digest_than_the_library_s_is_an_error_that_names_both() {
    let mut lock = lock(&["core"]);
    let (old, gone) = (Digest::of(b"curl of last year"), Digest::of(b"gone"));
    lock.insert(name("curl"), old).unwrap();
    // an alias is not a name
    lock.insert(name("awk"), gone).unwrap();
    let policy = Policy {
        lock: Some(lock),
        ..Policy::default()
    };
    let refusal = ask(&[], policy).unwrap_err();
    assert_eq!(refusal.kind(), RefusalKind::Locked);
    let message = refusal.to_string();
    let has = Digest::of(b"curl");
    for words in [
        format!("component `curl` at {old}, and the library has it at {has}"),
        format!("component `awk` at {gone}, and the library has none of that name"),
        "fragment plan --lock".to_owned(),
    ] {
        assert!(message.contains(&words), "{words}: {message}");
    }
}

/// Of two versions of one component the lock's is taken, which need not be the newest.
#[test]
fn the_digest_decides_between_versions() {
    let mut newer: Component = component("curl", 20).command("curl");
    newer.summary.version = semver::Version::new(2, 0, 0);
    newer.summary.digest = Digest::of(b"curl 2");
    let mut library = library();
    library.0.push(newer);
    let request = |policy| Request {
        requirements: vec![command("curl", Strength::Hard)],
        policy,
    };
    let version = |policy| {
        let answer = resolve(&library, &request(policy)).unwrap();
        let mut layers = answer.layers.iter();
        let curl = layers.find(|layer| layer.name.as_str() == "curl");
        curl.map(|layer| layer.version.major).unwrap()
    };
    assert_eq!(version(Policy::default()), 2);
    assert_eq!(version(locked(&["core", "curl", "libcurl"])), 1);
}

#[test]
fn a_node_may_compose_nothing_without_a_lock() {
    let required = |lock| Policy {
        lock_required: true,
        lock,
        ..Policy::default()
    };
    let curl = [command("curl", Strength::Hard)];
    let refusal = ask(&curl, required(None)).unwrap_err();
    assert_eq!(refusal.kind(), RefusalKind::Locked);
    assert!(refusal.to_string().contains("lock_policy: required"));
    let whole = Some(lock(&["core", "curl", "libcurl"]));
    assert_eq!(ask(&curl, required(whole)).unwrap().layers.len(), 3);
    assert!(
        ask(&[], required(None)).unwrap().is_empty(),
        "nothing is composed"
    );
}

#[test]
fn off_is_stronger_than_a_lock() {
    let off = Policy {
        compose: Compose::Off,
        ..locked(&["core"])
    };
    let answer = ask(&[], off).unwrap();
    assert!(answer.is_empty());
    assert_eq!(answer.warnings, ["a lock is given, but composition is off"]);
}

#[test]
fn a_locked_component_that_is_excluded_is_refused() {
    let policy = Policy {
        exclude: [name("curl")].into(),
        ..locked(&["core", "curl", "libcurl"])
    };
    assert_eq!(ask(&[], policy).unwrap_err().kind(), RefusalKind::Excluded);
}
