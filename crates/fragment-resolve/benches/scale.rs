//! What resolution costs on a library of thousands of components: prints milliseconds for closures of growing size.
//!
//! `cargo bench -p fragment-resolve`. The library is made up, in the shape of a distribution: a component stands on a few
//! others by name, and its files need a few sonames of theirs.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark on the library of the tests"
)]

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use fragment_resolve::{Policy, Request, resolve};
use fragment_types::catalogue::{CatalogueError, CommandProvider, PathProvider, SonameProvider};
use fragment_types::{
    Catalogue, ComponentIndex, ComponentSummary, Digest, Evidence, EvidenceKind, Need, Requirement,
    Strength,
};

#[path = "../tests/memory/mod.rs"]
mod memory;

use memory::{Component, component, name};

/// A library with its indexes: the one of the tests searches linearly.
struct Indexed {
    library: memory::Library,
    named: HashMap<String, Vec<ComponentIndex>>,
    sonames: HashMap<String, Vec<SonameProvider>>,
    granting: HashMap<String, Vec<ComponentIndex>>,
}

impl Indexed {
    fn new(components: Vec<Component>) -> Self {
        let library = memory::Library(components);
        let (mut named, mut sonames, mut granting) = (
            HashMap::<String, Vec<_>>::new(),
            HashMap::<String, Vec<_>>::new(),
            HashMap::<String, Vec<_>>::new(),
        );
        for at in 0..library.0.len() {
            let index = ComponentIndex(u32::try_from(at).expect("few components"));
            let one = library.get(index);
            named
                .entry(one.summary.name.to_string())
                .or_default()
                .push(index);
            for capability in &one.summary.capabilities {
                granting
                    .entry(capability.to_string())
                    .or_default()
                    .push(index);
            }
            for (soname, provider) in one.sonames() {
                sonames
                    .entry(soname.clone())
                    .or_default()
                    .push(SonameProvider {
                        component: index,
                        ..provider.clone()
                    });
            }
        }
        Self {
            library,
            named,
            sonames,
            granting,
        }
    }
}

fn of<T: Clone>(map: &HashMap<String, Vec<T>>, key: &str) -> Result<Vec<T>, CatalogueError> {
    Ok(map.get(key).cloned().unwrap_or_default())
}

impl Catalogue for Indexed {
    fn generation(&self) -> Digest {
        self.library.generation()
    }
    fn len(&self) -> usize {
        self.library.len()
    }
    fn component(&self, index: ComponentIndex) -> Result<ComponentSummary, CatalogueError> {
        self.library.component(index)
    }
    fn named(&self, text: &str) -> Result<Vec<ComponentIndex>, CatalogueError> {
        of(&self.named, text)
    }
    fn providing_path(&self, _: &str) -> Result<Vec<PathProvider>, CatalogueError> {
        Ok(Vec::new())
    }
    fn providing_soname(&self, soname: &str) -> Result<Vec<SonameProvider>, CatalogueError> {
        of(&self.sonames, soname)
    }
    fn providing_command(&self, _: &str) -> Result<Vec<CommandProvider>, CatalogueError> {
        Ok(Vec::new())
    }
    fn providing_module(&self, _: &str, _: &str) -> Result<Vec<ComponentIndex>, CatalogueError> {
        Ok(Vec::new())
    }
    fn granting(&self, text: &str) -> Result<Vec<ComponentIndex>, CatalogueError> {
        of(&self.granting, text)
    }
    fn holding_package(&self, _: &str) -> Result<Vec<ComponentIndex>, CatalogueError> {
        Ok(Vec::new())
    }
}

/// `count` components; each stands on up to eight below it, the last one on `closure` of them.
fn library(count: usize, closure: usize) -> Indexed {
    let mut components = vec![
        component("core", 3)
            .grants("process_execution")
            .soname("libc.so.6", &[]),
    ];
    let mut seed = 42_u64;
    let mut random = move |below: usize| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).expect("fits") % below
    };
    for at in 1..count {
        let mut one = component(&format!("c{at}"), 100 + at as u64)
            .requires("core")
            .needs("libc.so.6", &[])
            .soname(&format!("lib{at}.so.1"), &["V1"]);
        let near = at.min(closure) - 1;
        for _ in 0..near.min(8) {
            let other = at - 1 - random(near);
            if other > 0 {
                one = one
                    .requires(&format!("c{other}"))
                    .needs(&format!("lib{other}.so.1"), &["V1"]);
            }
        }
        components.push(one);
    }
    Indexed::new(components)
}

fn main() {
    for closure in [10, 50, 100, 300, 600] {
        let library = library(closure + 1, closure);
        let need = Need::Component {
            name: name(&format!("c{closure}")),
        };
        let request = Request {
            requirements: vec![Requirement {
                need,
                strength: Strength::Hard,
                satisfied_by: None,
                chain: vec![Evidence {
                    kind: EvidenceKind::Entry,
                    source: "argv[0]".to_owned(),
                    detail: String::new(),
                }],
            }],
            policy: Policy::default(),
        };
        let mut best = f64::MAX;
        let mut layers = BTreeSet::new();
        for _ in 0..3 {
            let start = Instant::now();
            let resolution = resolve(&library, &request).expect("everything is there");
            best = best.min(start.elapsed().as_secs_f64() * 1e3);
            layers.insert(resolution.layers.len());
        }
        println!("{layers:?} layers: {best:.2} ms");
    }
}
