//! What holds for every library and request: the answer is complete, minimal, free of conflicts, core at the bottom, and
//! depends on nothing but names.

#![allow(clippy::unwrap_used, reason = "tests")]

mod memory;

use std::collections::BTreeSet;

use fragment_resolve::{Policy, Refusal, Request, Resolution, resolve};
use fragment_types::manifest::Machine;
use fragment_types::{
    Catalogue, ComponentIndex, Evidence, EvidenceKind, Lock, Need, Requirement, Strength,
};
use memory::{Component, Library, capability, component, name, needed};
use proptest::prelude::*;

const KINDS: u8 = 6;

/// A component as drawn: everything by small numbers, so that things meet.
#[derive(Debug, Clone)]
struct Drawn {
    stored: u64,
    preference: i32,
    commands: BTreeSet<u8>,
    sonames: BTreeSet<u8>,
    new_versions: bool,
    capabilities: BTreeSet<u8>,
    alias: Option<u8>,
    requires: BTreeSet<u8>,
    requires_alias: Option<u8>,
    conflicts: Option<u8>,
    needs: BTreeSet<u8>,
    link: Option<u8>,
}

fn few(max: u8, count: usize) -> impl Strategy<Value = BTreeSet<u8>> {
    prop::collection::btree_set(0..max, 0..=count)
}

fn drawn() -> impl Strategy<Value = Drawn> {
    (
        (
            1_u64..4,
            -1_i32..2,
            few(KINDS, 2),
            few(4, 1),
            any::<bool>(),
            few(3, 1),
        ),
        (
            prop::option::weighted(0.3, 0_u8..3),
            few(12, 2),
            prop::option::weighted(0.2, 0_u8..3),
            prop::option::weighted(0.15, 0_u8..12),
            few(4, 1),
            prop::option::weighted(0.2, 0_u8..KINDS),
        ),
    )
        .prop_map(|(a, b)| Drawn {
            stored: a.0,
            preference: a.1,
            commands: a.2,
            sonames: a.3,
            new_versions: a.4,
            capabilities: a.5,
            alias: b.0,
            requires: b.1,
            requires_alias: b.2,
            conflicts: b.3,
            needs: b.4,
            link: b.5,
        })
}

fn build(drawn: &[Drawn]) -> Vec<Component> {
    let mut all = vec![
        component("core", 7)
            .grants("process_execution")
            .command("c0")
            .soname("lib0.so", &["V1"]),
    ];
    for (at, one) in drawn.iter().enumerate() {
        // sizes that are rarely equal, so that not every draw ends in a tie
        let mut built =
            component(&format!("p{at}"), one.stored * 1_000 + at as u64).prefer(one.preference);
        for command in &one.commands {
            built = built.command(&format!("c{command}"));
        }
        for soname in &one.sonames {
            let versions: &[&str] = if one.new_versions {
                &["V1", "V2"]
            } else {
                &["V1"]
            };
            built = built.soname(&format!("lib{soname}.so"), versions);
        }
        for granted in &one.capabilities {
            built = built.grants(&format!("cap{granted}"));
        }
        for required in one
            .requires
            .iter()
            .filter(|one| usize::from(**one) < drawn.len())
        {
            built = built.requires(&format!("p{required}"));
        }
        for soname in &one.needs {
            built = built.needs(&format!("lib{soname}.so"), &["V1"]);
        }
        if let Some(alias) = one.alias {
            built = built.alias(&format!("alias{alias}"));
        }
        if let Some(alias) = one.requires_alias {
            built = built.requires(&format!("alias{alias}"));
        }
        if let Some(other) = one.conflicts.filter(|other| usize::from(*other) != at) {
            built = built.conflicts(&format!("p{other}"));
        }
        if let Some(command) = one.link {
            built = built.link(
                &format!("/opt/l{command}"),
                &format!("../usr/bin/c{command}"),
            );
        }
        all.push(built);
    }
    all
}

fn need(kind: u8, which: u8) -> Need {
    match kind {
        0 => Need::Command {
            name: format!("c{}", which % KINDS),
        },
        1 => Need::Soname(needed(&format!("lib{}.so", which % 4), &["V1"])),
        2 => Need::Soname(needed(&format!("lib{}.so", which % 4), &["V2"])),
        3 => Need::Capability {
            name: capability(&format!("cap{}", which % 3)),
        },
        4 => Need::Component {
            name: name(&format!("p{which}")),
        },
        5 => Need::Component {
            name: name(&format!("alias{}", which % 3)),
        },
        _ => Need::Path {
            path: format!("/opt/l{}", which % KINDS),
        },
    }
}

fn requirements() -> impl Strategy<Value = Vec<Requirement>> {
    let one = (0_u8..7, 0_u8..12, prop::bool::weighted(0.3)).prop_map(|(kind, which, hard)| {
        let need = need(kind, which);
        let evidence = Evidence {
            kind: EvidenceKind::Argument,
            source: "argv[1]".to_owned(),
            detail: need.to_string(),
        };
        let strength = if hard { Strength::Hard } else { Strength::Soft };
        Requirement {
            need,
            strength,
            satisfied_by: None,
            chain: vec![evidence],
        }
    });
    prop::collection::vec(one, 1..7)
}

/// Whether `set` meets `need`: written from the rules alone, without a look at the resolver.
fn meets(
    library: &Library,
    set: &BTreeSet<ComponentIndex>,
    need: &Need,
    of_component: bool,
) -> bool {
    let has = |found: Vec<ComponentIndex>| found.iter().any(|one| set.contains(one));
    match need {
        Need::Command { name } => has(library
            .providing_command(name)
            .unwrap()
            .iter()
            .map(|one| one.component)
            .collect()),
        Need::Soname(needed) => library
            .providing_soname(&needed.soname)
            .unwrap()
            .iter()
            .any(|one| {
                set.contains(&one.component)
                    && (one.public || of_component)
                    && one.machine == Machine::X86_64
                    && needed.versions.is_subset(&one.versions)
            }),
        Need::Capability { name } => has(library.granting(name.as_str()).unwrap()),
        Need::Component { name } => has(library.named(name.as_str()).unwrap()),
        Need::Path { path } => {
            // the only paths asked for are links /opt/lN -> /usr/bin/cN
            let target = path.replace("/opt/l", "/usr/bin/c");
            let holds = |path: &str| {
                has(library
                    .providing_path(path)
                    .unwrap()
                    .iter()
                    .map(|one| one.component)
                    .collect())
            };
            holds(path) && holds(&target)
        }
        Need::Module { .. } => unreachable!("not drawn"),
    }
}

/// Whether every component of `set` has what it needs, as far as the library has it at all.
fn is_closed(library: &Library, set: &BTreeSet<ComponentIndex>) -> bool {
    set.iter().all(|index| {
        let summary = &library.get(*index).summary;
        let named = summary
            .requires
            .iter()
            .all(|name| meets(library, set, &Need::Component { name: name.clone() }, true));
        let sonames = summary.needs.iter().all(|needed| {
            library.providing_soname(&needed.soname).unwrap().is_empty()
                || meets(library, set, &Need::Soname(needed.clone()), true)
        });
        named && sonames
    })
}

fn conflict(library: &Library, a: ComponentIndex, b: ComponentIndex) -> bool {
    let (a, b) = (&library.get(a).summary, &library.get(b).summary);
    a.conflicts
        .iter()
        .any(|name| b.name == *name || b.aliases.contains(name))
}

fn ask(library: &Library, requirements: &[Requirement]) -> Result<Resolution, Refusal> {
    let request = Request {
        requirements: requirements.to_vec(),
        policy: Policy::default(),
    };
    resolve(library, &request)
}

/// All that may be compared between two numberings of a library.
fn shown(answer: &Result<Resolution, Refusal>) -> String {
    match answer {
        Ok(resolution) => format!("{:#?} {:#?}", resolution.layers, resolution.warnings),
        Err(refusal) => format!("{:?} {refusal}", refusal.kind()),
    }
}

fn check(library: &Library, requirements: &[Requirement], resolution: &Resolution) {
    let set: BTreeSet<_> = resolution.chosen.iter().copied().collect();
    let core = ComponentIndex(
        u32::try_from(
            library
                .0
                .iter()
                .position(|c| c.summary.name.as_str() == "core")
                .unwrap(),
        )
        .unwrap(),
    );
    assert_eq!(
        resolution.chosen.last(),
        Some(&core),
        "core is the lowest layer"
    );
    assert_eq!(resolution.chosen.len(), set.len(), "every component once");
    assert!(is_closed(library, &set), "closure is complete");
    for requirement in requirements
        .iter()
        .filter(|one| one.strength == Strength::Hard)
    {
        assert!(
            meets(library, &set, &requirement.need, false),
            "{:?}",
            requirement.need
        );
    }
    for a in &set {
        for b in &set {
            assert!(
                a == b || !conflict(library, *a, *b),
                "conflicting pair {a:?} {b:?}"
            );
        }
    }
    let met: Vec<_> = requirements
        .iter()
        .filter(|one| meets(library, &set, &one.need, false))
        .collect();
    for index in set.iter().filter(|index| **index != core) {
        let mut rest = set.clone();
        rest.remove(index);
        let enough = is_closed(library, &rest)
            && met
                .iter()
                .all(|one| meets(library, &rest, &one.need, false));
        assert!(
            !enough,
            "{} is superfluous",
            library.get(*index).summary.name
        );
    }
    for (at, layer) in resolution.layers.iter().enumerate() {
        assert!(!layer.reasons.is_empty(), "{} has no reason", layer.name);
        assert_eq!(layer.name, library.get(resolution.chosen[at]).summary.name);
    }
}

/// The lock of an answer gives that answer again, without a wish for anything the lock does not hold.
fn check_lock(library: &Library, requirements: &[Requirement], resolution: &Resolution) {
    let mut lock = Lock::default();
    for layer in &resolution.layers {
        lock.insert(layer.name.clone(), layer.digest).unwrap();
    }
    let policy = Policy {
        lock: Some(lock),
        ..Policy::default()
    };
    let request = Request {
        requirements: requirements.to_vec(),
        policy,
    };
    let again = resolve(library, &request).unwrap();
    let set = |answer: &Resolution| answer.chosen.iter().copied().collect::<BTreeSet<_>>();
    assert_eq!(set(&again), set(resolution));
}

/// Requirers above what they require, except within cycles.
fn check_order(library: &Library, resolution: &Resolution) {
    let requires = |a: ComponentIndex, b: ComponentIndex| {
        let (a, b) = (&library.get(a).summary, &library.get(b).summary);
        a.requires.contains(&b.name) || b.aliases.iter().any(|alias| a.requires.contains(alias))
    };
    let all = &resolution.chosen;
    let reaches = |from: ComponentIndex, to: ComponentIndex| {
        let mut seen = BTreeSet::from([from]);
        let mut queue = vec![from];
        while let Some(next) = queue.pop() {
            for other in all {
                let soname = library.get(next).summary.needs.iter().any(|needed| {
                    meets(
                        library,
                        &[*other].into(),
                        &Need::Soname(needed.clone()),
                        true,
                    )
                });
                if (requires(next, *other) || soname) && seen.insert(*other) {
                    queue.push(*other);
                }
            }
        }
        seen.contains(&to)
    };
    for (at, upper) in all.iter().enumerate() {
        for lower in &all[at + 1..all.len().max(1)] {
            if requires(*lower, *upper) && Some(lower) != all.last() {
                assert!(
                    reaches(*upper, *lower),
                    "{lower:?} requires {upper:?} but lies below it"
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn answers_are_complete_minimal_and_the_same_in_any_order(
        drawn in prop::collection::vec(drawn(), 0..12),
        requirements in requirements(),
        seed in any::<u64>(),
    ) {
        let library = Library(build(&drawn));
        let answer = ask(&library, &requirements);
        if let Ok(resolution) = &answer
            && !resolution.is_empty()
        {
            check(&library, &requirements, resolution);
            check_order(&library, resolution);
            check_lock(&library, &requirements, resolution);
        }
        prop_assert_eq!(shown(&answer), shown(&ask(&library, &requirements)), "deterministic");

        let mut renumbered = library.clone();
        let mut reordered = requirements.clone();
        shuffle(&mut renumbered.0, seed);
        shuffle(&mut reordered, seed.rotate_left(17));
        prop_assert_eq!(shown(&answer), shown(&ask(&renumbered, &reordered)), "independent of order");
    }
}

/// Fisher-Yates over a linear congruential generator (the constants of Knuth's MMIX).
fn shuffle<T>(items: &mut [T], mut seed: u64) {
    for at in (1..items.len()).rev() {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        items.swap(at, (seed >> 33) as usize % (at + 1));
    }
}

/// Draws must not all end in refusals: a property that is never tested holds always.
#[test]
fn most_draws_are_answered() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let strategy = (prop::collection::vec(drawn(), 6..12), requirements());
    let (mut composed, mut layers) = (0, 0);
    for _ in 0..300 {
        let (drawn, requirements) = strategy.new_tree(&mut runner).unwrap().current();
        if let Ok(resolution) = ask(&Library(build(&drawn)), &requirements) {
            composed += usize::from(!resolution.is_empty());
            layers += resolution.chosen.len();
        }
    }
    assert!(composed >= 60, "{composed} of 300 composed");
    assert!(
        layers >= 3 * composed,
        "{layers} layers in {composed} compositions"
    );
}
