//! The catalogue against a naive model, and against damage.

use std::collections::BTreeSet;
use std::fs;

use fragment_types::catalogue::{CommandProvider, PathProvider, SonameProvider};
use fragment_types::manifest::{
    Command, Layer, Machine, Module, NeededSoname, Package, PathEntry, PathKind, Provides,
    Requires, SCHEMA, Size, Soname,
};
use fragment_types::{Catalogue, CatalogueError, ComponentIndex, ComponentName, Digest, Manifest};
use proptest::prelude::*;

use super::{Builder, MappedCatalogue, UnresolvedNeed, generation};
use crate::error::StoreError;

fn name(text: &str) -> ComponentName {
    ComponentName::new(text).unwrap()
}

fn manifest(component: &str) -> Manifest {
    Manifest {
        schema: SCHEMA.to_owned(),
        name: name(component),
        version: "1.0.0".parse().unwrap(),
        upstream_version: "1".to_owned(),
        description: String::new(),
        architecture: "amd64".to_owned(),
        eol: None,
        aliases: BTreeSet::new(),
        preference: 0,
        capabilities: BTreeSet::new(),
        provides: Provides::default(),
        requires: Requires::default(),
        conflicts: BTreeSet::new(),
        accounts: Vec::new(),
        packages: Vec::new(),
        retention_seconds: 0,
        size: Size::default(),
        layer: Layer {
            digest: Digest::of(component.as_bytes()),
            diff_id: Digest::of(component.as_bytes()),
        },
    }
}

fn digest_of(manifest: &Manifest) -> Digest {
    fragment_types::canonical::digest(manifest).unwrap()
}

fn bytes_of(manifests: &[Manifest]) -> Vec<u8> {
    let mut builder = Builder::default();
    for manifest in manifests {
        builder.add(digest_of(manifest), manifest);
    }
    builder.finish().unwrap()
}

fn open(bytes: &[u8]) -> Result<MappedCatalogue, StoreError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalogue");
    fs::write(&path, bytes).unwrap();
    MappedCatalogue::open(&path)
}

fn catalogue(manifests: &[Manifest]) -> MappedCatalogue {
    open(&bytes_of(manifests)).unwrap()
}

/// Every manifest with its index.
fn indexed(manifests: &[Manifest]) -> impl Iterator<Item = (ComponentIndex, &Manifest)> {
    (0u32..).map(ComponentIndex).zip(manifests)
}

/// What the catalogue must answer, by looking at everything.
mod model {
    use super::{CommandProvider, ComponentIndex, Manifest, PathProvider, SonameProvider, indexed};

    pub(super) fn having(
        manifests: &[Manifest],
        has: impl Fn(&Manifest) -> bool,
    ) -> Vec<ComponentIndex> {
        indexed(manifests)
            .filter(|(_, manifest)| has(manifest))
            .map(|(index, _)| index)
            .collect()
    }

    pub(super) fn path(manifests: &[Manifest], path: &str) -> Vec<PathProvider> {
        indexed(manifests)
            .flat_map(|(component, manifest)| {
                manifest
                    .provides
                    .paths
                    .iter()
                    .filter(|entry| entry.path == path)
                    .map(move |entry| PathProvider {
                        component,
                        kind: entry.kind,
                        size: entry.size,
                        digest: entry.digest,
                        target: entry.target.clone(),
                    })
            })
            .collect()
    }

    pub(super) fn soname(manifests: &[Manifest], name: &str) -> Vec<SonameProvider> {
        indexed(manifests)
            .flat_map(|(component, manifest)| {
                manifest
                    .provides
                    .sonames
                    .iter()
                    .filter(|soname| soname.soname == name)
                    .map(move |soname| SonameProvider {
                        component,
                        path: soname.path.clone(),
                        machine: soname.machine,
                        public: soname.public,
                        versions: soname.versions.clone(),
                        needs: soname.needs.clone(),
                    })
            })
            .collect()
    }

    pub(super) fn command(manifests: &[Manifest], name: &str) -> Vec<CommandProvider> {
        indexed(manifests)
            .flat_map(|(component, manifest)| {
                manifest
                    .provides
                    .commands
                    .iter()
                    .filter(|command| command.name == name)
                    .map(move |command| CommandProvider {
                        component,
                        path: command.path.clone(),
                    })
            })
            .collect()
    }
}

/// Few different texts, so that components share and lack things; some longer than a block.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ab]{0,3}",
        "lib[a-c]\\.so\\.[0-2]",
        "/usr/(bin|lib)/[a-c]{1,2}",
        "\\PC{0,12}",
        Just("long".repeat(1500)),
    ]
}

fn machine() -> impl Strategy<Value = Machine> {
    prop::sample::select(vec![
        Machine::X86_64,
        Machine::I386,
        Machine::Aarch64,
        Machine::Other,
    ])
}

fn needed() -> impl Strategy<Value = NeededSoname> {
    (text(), machine(), prop::collection::btree_set(text(), 0..3)).prop_map(
        |(soname, machine, versions)| NeededSoname {
            soname,
            machine,
            versions,
        },
    )
}

fn path_entry() -> impl Strategy<Value = PathEntry> {
    (
        text(),
        prop::sample::select(vec![PathKind::Directory, PathKind::File, PathKind::Symlink]),
        any::<u64>(),
        prop::option::of(any::<[u8; 32]>().prop_map(Digest::from_bytes)),
        prop::option::of(text()),
    )
        .prop_map(|(path, kind, size, digest, target)| PathEntry {
            path,
            kind,
            mode: 0,
            size,
            digest,
            target,
        })
}

fn soname() -> impl Strategy<Value = Soname> {
    (
        text(),
        text(),
        machine(),
        any::<bool>(),
        prop::collection::btree_set(text(), 0..4),
        prop::collection::vec(needed(), 0..3),
    )
        .prop_map(|(soname, path, machine, public, versions, needs)| Soname {
            soname,
            path,
            machine,
            public,
            versions,
            needs,
            imports: BTreeSet::new(),
        })
}

fn random_manifest() -> impl Strategy<Value = Manifest> {
    let component = || "[a-e]{1,2}".prop_map(|text| name(&text));
    let names = move || prop::collection::btree_set(component(), 0..3);
    let provides = (
        prop::collection::vec(path_entry(), 0..30),
        prop::collection::vec(soname(), 0..4),
        prop::collection::vec((text(), text()), 0..4),
        prop::collection::btree_set((text(), text()), 0..3),
        prop::collection::vec(text(), 0..3),
    );
    let requires = (names(), prop::collection::vec(needed(), 0..4));
    (component(), names(), -2i32..3, provides, requires).prop_map(
        |(own, aliases, preference, provides, (components, sonames))| {
            let (paths, provided, commands, modules, packages) = provides;
            let mut manifest = manifest(own.as_str());
            manifest.aliases = aliases.into_iter().filter(|alias| *alias != own).collect();
            manifest.preference = preference;
            manifest.provides.paths = paths;
            manifest.provides.sonames = provided;
            manifest.provides.commands = commands
                .into_iter()
                .map(|(name, path)| Command { name, path })
                .collect();
            manifest.provides.modules = modules
                .into_iter()
                .map(|(language, name)| Module { language, name })
                .collect();
            manifest.packages = packages
                .into_iter()
                .map(|name| Package {
                    source: name.clone(),
                    name,
                    ..Package::default()
                })
                .collect();
            manifest.requires = Requires {
                components,
                sonames,
            };
            manifest
        },
    )
}

fn random_library() -> impl Strategy<Value = Vec<Manifest>> {
    prop::collection::vec(random_manifest(), 0..8)
}

/// All names worth asking for, present ones and a few others.
fn questions(manifests: &[Manifest]) -> BTreeSet<String> {
    let mut questions: BTreeSet<String> = ["", "a", "/", "zzz", "\u{10ffff}"]
        .map(str::to_owned)
        .into();
    for manifest in manifests {
        let provides = &manifest.provides;
        questions.extend(provides.paths.iter().map(|entry| entry.path.clone()));
        questions.extend(provides.sonames.iter().map(|soname| soname.soname.clone()));
        questions.extend(provides.commands.iter().map(|command| command.name.clone()));
        questions.extend(manifest.packages.iter().map(|package| package.name.clone()));
        questions.extend(
            manifest
                .aliases
                .iter()
                .map(|alias| alias.as_str().to_owned()),
        );
        questions.insert(manifest.name.as_str().to_owned());
    }
    questions
}

/// Asks everything; a damaged catalogue may refuse an answer, never give a wrong one.
fn check_answers(
    manifests: &[Manifest],
    catalogue: &MappedCatalogue,
) -> Result<(), CatalogueError> {
    let mut refusal = None;
    let mut check = |result: Result<bool, CatalogueError>| match result {
        Ok(right) => assert!(right, "wrong answer"),
        Err(error) => refusal = Some(error),
    };
    for question in &questions(manifests) {
        check(
            catalogue
                .providing_path(question)
                .map(|found| found == model::path(manifests, question)),
        );
        check(
            catalogue
                .providing_soname(question)
                .map(|found| found == model::soname(manifests, question)),
        );
        check(
            catalogue
                .providing_command(question)
                .map(|found| found == model::command(manifests, question)),
        );
        let named = model::having(manifests, |m| {
            m.name.as_str() == question || m.aliases.iter().any(|a| a.as_str() == question)
        });
        check(catalogue.named(question).map(|found| found == named));
        let held = model::having(manifests, |m| {
            m.packages.iter().any(|package| package.name == *question)
        });
        check(
            catalogue
                .holding_package(question)
                .map(|found| found == held),
        );
    }
    for manifest in manifests {
        for Module { language, name } in &manifest.provides.modules {
            let having = model::having(manifests, |m| {
                m.provides.modules.contains(&Module {
                    language: language.clone(),
                    name: name.clone(),
                })
            });
            check(
                catalogue
                    .providing_module(language, name)
                    .map(|found| found == having),
            );
        }
    }
    for (index, manifest) in indexed(manifests) {
        check(catalogue.component(index).map(|summary| {
            summary.name == manifest.name
                && summary.digest == digest_of(manifest)
                && summary.requires.is_superset(&manifest.requires.components)
                && summary.needs == manifest.requires.sonames
        }));
    }
    check(catalogue.unresolved().map(|_| true));
    refusal.map_or(Ok(()), Err)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn answers_are_those_of_a_naive_model(manifests in random_library()) {
        let catalogue = catalogue(&manifests);
        prop_assert_eq!(catalogue.len(), manifests.len());
        prop_assert_eq!(catalogue.generation(), generation(manifests.iter().map(digest_of)));
        prop_assert!(check_answers(&manifests, &catalogue).is_ok());
        prop_assert!(catalogue.verify().is_ok());
    }

    #[test]
    fn damage_is_refused_and_never_a_wrong_answer(
        manifests in random_library(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let good = bytes_of(&manifests);
        let mut bytes = good.clone();
        for (at, bits) in damage {
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()).max(1));
        }
        prop_assume!(bytes != good);
        if let Ok(catalogue) = open(&bytes) {
            let refused = check_answers(&manifests, &catalogue).is_err();
            // what no question touched is found by reading everything
            prop_assert!(refused || catalogue.verify().is_err());
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 1..2000)) {
        prop_assert!(open(&bytes).is_err());
    }
}

/// Damage that keeps the check sums right: only a forger makes it, but even that must not panic.
#[test]
fn forged_blocks_are_refused() {
    let manifests = [manifest("one"), manifest("two")];
    let good = bytes_of(&manifests);
    let section = |index: usize| {
        let at = 56 + index * 16;
        let number = |at: usize| {
            usize::try_from(u64::from_le_bytes(good[at..at + 8].try_into().unwrap())).unwrap()
        };
        number(at)..number(at) + number(at + 8)
    };
    let blocks = section(1);
    for at in blocks.start + 4..blocks.end {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut bytes = good.clone();
            bytes[at] = value;
            let sum = super::crc(&bytes[blocks.start + 4..blocks.end]);
            bytes[blocks.start..blocks.start + 4].copy_from_slice(&sum.to_le_bytes());
            let catalogue = open(&bytes).unwrap();
            for question in ["one", "two", "", "zzz"] {
                let _ = catalogue.named(question);
                let _ = catalogue.providing_path(question);
            }
            let _ = catalogue.verify();
        }
    }
}

#[test]
fn every_byte_of_an_empty_catalogue_counts() {
    let good = bytes_of(&[]);
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        assert!(
            open(&bytes).map_or(true, |catalogue| catalogue.verify().is_err()),
            "byte {at}"
        );
    }
}

#[test]
fn another_version_is_named() {
    let mut bytes = bytes_of(&[]);
    bytes[8] = 9;
    let error = open(&bytes).unwrap_err().to_string();
    assert!(error.contains("format version 9"), "{error}");
}

#[test]
fn generations_do_not_depend_on_order() {
    let digests = [Digest::of(b"a"), Digest::of(b"b")];
    let reversed = [digests[1], digests[0]];
    assert_eq!(
        generation(digests.into_iter()),
        generation(reversed.into_iter())
    );
    assert_ne!(
        generation(digests.into_iter()),
        generation(digests.into_iter().take(1))
    );
}

fn providing(component: &str, soname: &str, versions: &[&str]) -> Manifest {
    let mut manifest = manifest(component);
    manifest.provides.sonames.push(Soname {
        soname: soname.to_owned(),
        path: format!("/usr/lib/{soname}"),
        machine: Machine::X86_64,
        public: true,
        versions: versions.iter().map(|&version| version.to_owned()).collect(),
        needs: Vec::new(),
        imports: BTreeSet::new(),
    });
    manifest
}

fn needing(component: &str, soname: &str, versions: &[&str]) -> Manifest {
    let mut manifest = manifest(component);
    manifest.requires.sonames.push(NeededSoname {
        soname: soname.to_owned(),
        machine: Machine::X86_64,
        versions: versions.iter().map(|&version| version.to_owned()).collect(),
    });
    manifest
}

/// Names that the first component requires, and what is unresolved.
fn links(manifests: &[Manifest]) -> (Vec<String>, Vec<UnresolvedNeed>) {
    let catalogue = catalogue(manifests);
    let requires = catalogue.component(ComponentIndex(0)).unwrap().requires;
    let unresolved = catalogue.unresolved().unwrap();
    assert!(
        unresolved
            .iter()
            .all(|unresolved| unresolved.component == manifests[0].name)
    );
    (
        requires
            .into_iter()
            .map(|name| name.as_str().to_owned())
            .collect(),
        unresolved
            .into_iter()
            .map(|unresolved| unresolved.need)
            .collect(),
    )
}

#[test]
fn a_unique_provider_is_required() {
    let (requires, unresolved) = links(&[
        needing("app", "libx.so.1", &["X_1"]),
        providing("x", "libx.so.1", &["X_1", "X_2"]),
    ]);
    assert_eq!(requires, ["x"]);
    assert_eq!(unresolved, []);
}

#[test]
fn a_provider_without_the_symbol_version_of_another_machine_or_private_is_none() {
    let mut other_machine = providing("x", "libx.so.1", &["X_1"]);
    other_machine.provides.sonames[0].machine = Machine::I386;
    let mut private = providing("x", "libx.so.1", &["X_1"]);
    private.provides.sonames[0].public = false;
    for provider in [
        providing("x", "libx.so.1", &["X_2"]),
        other_machine,
        private,
    ] {
        let (requires, unresolved) = links(&[needing("app", "libx.so.1", &["X_1"]), provider]);
        assert!(requires.is_empty());
        assert!(matches!(&unresolved[..], [UnresolvedNeed::Soname(needed)]
            if needed.soname == "libx.so.1" && needed.versions.contains("X_1")));
    }
}

#[test]
fn what_the_declared_closure_provides_is_not_required_again() {
    let mut app = needing("app", "libx.so.1", &[]);
    app.requires.components.insert(name("middle"));
    let mut middle = manifest("middle");
    middle.requires.components.insert(name("x-alias"));
    let mut x = providing("x", "libx.so.1", &[]);
    x.aliases.insert(name("x-alias"));
    let mut preferred = providing("y", "libx.so.1", &[]);
    preferred.preference = 10;
    let (requires, unresolved) = links(&[app, middle, x, preferred]);
    assert_eq!(requires, ["middle"]);
    assert_eq!(unresolved, []);
}

#[test]
fn preference_decides_and_its_absence_leaves_it_open() {
    let app = needing("app", "libx.so.1", &[]);
    let plain = providing("x", "libx.so.1", &[]);
    let mut preferred = providing("y", "libx.so.1", &[]);
    preferred.preference = 1;
    let (requires, _) = links(&[app.clone(), plain.clone(), preferred.clone()]);
    assert_eq!(requires, ["y"]);
    preferred.preference = 0;
    let (requires, unresolved) = links(&[app, plain, preferred]);
    assert!(requires.is_empty());
    assert!(
        matches!(&unresolved[..], [UnresolvedNeed::Ambiguous { providers, .. }]
        if providers.len() == 2)
    );
}

#[test]
fn an_ambiguity_is_settled_by_another_need() {
    let mut app = needing("app", "liba.so.1", &[]);
    app.requires
        .sonames
        .extend(needing("b", "libb.so.1", &[]).requires.sonames);
    let mut both = providing("both", "liba.so.1", &[]);
    both.provides
        .sonames
        .extend(providing("b", "libb.so.1", &[]).provides.sonames);
    let (requires, unresolved) = links(&[app, providing("one", "liba.so.1", &[]), both]);
    assert_eq!(requires, ["both"]);
    assert_eq!(unresolved, []);
}

#[test]
fn a_component_that_is_not_there_is_told() {
    let mut app = manifest("app");
    app.requires.components.insert(name("ghost"));
    let (requires, unresolved) = links(&[app]);
    assert_eq!(requires, ["ghost"]);
    assert_eq!(
        unresolved,
        [UnresolvedNeed::Component {
            name: name("ghost")
        }]
    );
}

#[test]
fn components_that_require_each_other_end() {
    let mut one = needing("one", "libx.so.1", &[]);
    one.requires.components.insert(name("two"));
    let mut two = providing("two", "libx.so.1", &[]);
    two.requires.components.insert(name("one"));
    assert_eq!(links(&[one, two]).0, ["two"]);
}

#[test]
fn unresolved_needs_read_as_sentences() {
    let library = [needing("app", "libx.so.1", &["X_1", "X_2"])];
    let unresolved = catalogue(&library).unresolved().unwrap();
    assert_eq!(
        unresolved[0].to_string(),
        "component `app` needs libx.so.1 with X_1, X_2, which no component provides"
    );
}

/// Opening and asking touch a few pages of a large library, and the file stays small.
#[test]
fn a_large_library_is_searched_in_place() {
    let manifests: Vec<_> = (0..300)
        .map(|number| {
            let mut manifest = manifest(&format!("component-{number}"));
            manifest.provides.paths = (0..200)
                .map(|file| PathEntry {
                    path: format!("/usr/share/component-{number}/some/directory/file-{file}"),
                    kind: PathKind::File,
                    mode: 0o644,
                    size: file,
                    digest: Some(Digest::of(&file.to_le_bytes())),
                    target: None,
                })
                .collect();
            manifest
        })
        .collect();
    let bytes = bytes_of(&manifests);
    // 60,000 paths of about 60 bytes and a digest of 32 each
    assert!(bytes.len() < 60_000 * 50, "{}", bytes.len());
    let catalogue = open(&bytes).unwrap();
    for number in [0, 137, 299] {
        let path = format!("/usr/share/component-{number}/some/directory/file-77");
        let found = catalogue.providing_path(&path).unwrap();
        assert_eq!(found, model::path(&manifests, &path));
        assert!(
            catalogue
                .providing_path(&format!("{path}x"))
                .unwrap()
                .is_empty()
        );
    }
}
