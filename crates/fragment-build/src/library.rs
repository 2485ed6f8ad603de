//! A directory of recipes, checked as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use fragment_types::{ComponentName, Digest};

use crate::error::{Error, Result};
use crate::recipe::{Defaults, Recipe, parse_yaml};

/// File of a library that holds what is true of all recipes.
const DEFAULTS: &str = "defaults.yaml";
/// Largest recipe file read, in bytes.
const MAX_RECIPE: u64 = 1 << 20;

/// All recipes of a directory. What contradicts itself is found here, before anything is built.
#[derive(Debug, Clone)]
pub struct Library {
    directory: PathBuf,
    defaults: Defaults,
    recipes: BTreeMap<ComponentName, Recipe>,
    /// Package -> the recipe that claims it.
    claims: BTreeMap<String, ComponentName>,
}

impl Library {
    /// Reads every `*.yaml` of `directory`.
    ///
    /// # Errors
    /// The first recipe that cannot be read, parsed or that contradicts another one.
    pub fn load(directory: &Path) -> Result<Self> {
        let mut defaults = Defaults::default();
        let mut recipes = BTreeMap::new();
        for file in recipe_files(directory)? {
            let text = read(&file)?;
            if file.ends_with(DEFAULTS) {
                defaults = parse_yaml(&file, &text)?;
                continue;
            }
            let stem = file.file_stem().unwrap_or_default().to_string_lossy();
            let name =
                ComponentName::new(stem.into_owned()).map_err(|source| Error::RecipeName {
                    file: file.clone(),
                    source,
                })?;
            let recipe = Recipe::parse(&file, &text)?;
            recipes.insert(name, recipe);
        }
        let mut library = Self {
            directory: directory.to_owned(),
            defaults,
            recipes,
            claims: BTreeMap::new(),
        };
        library.claim_packages()?;
        library.check_names()?;
        library.check_users()?;
        library.check_cycles()?;
        Ok(library)
    }

    /// The names of all recipes, sorted.
    pub fn names(&self) -> impl Iterator<Item = &ComponentName> {
        self.recipes.keys()
    }

    /// The recipe of this name.
    ///
    /// # Errors
    /// [`Error::UnknownComponent`].
    pub fn recipe(&self, name: &ComponentName) -> Result<&Recipe> {
        self.recipes
            .get(name)
            .ok_or_else(|| self.unknown(name.as_str()))
    }

    /// The recipe a person means by `text`: a name, or an alias of exactly one preferred recipe.
    ///
    /// # Errors
    /// [`Error::UnknownComponent`].
    pub fn named(&self, text: &str) -> Result<&ComponentName> {
        self.answers_to(text).ok_or_else(|| self.unknown(text))
    }

    pub(crate) fn unknown(&self, name: &str) -> Error {
        Error::UnknownComponent {
            name: name.to_owned(),
            directory: self.directory.clone(),
        }
    }

    /// What is true of all recipes.
    #[must_use]
    pub fn defaults(&self) -> &Defaults {
        &self.defaults
    }

    /// The recipe that claims `package`.
    #[must_use]
    pub fn claimed_by(&self, package: &str) -> Option<&ComponentName> {
        self.claims.get(package)
    }

    /// The recipes that hold `path` of `package`: those that claim the package and those whose slices match the path.
    pub(crate) fn holders<'a>(
        &'a self,
        package: &'a str,
        path: &'a str,
    ) -> impl Iterator<Item = &'a ComponentName> {
        self.recipes.iter().filter_map(move |(name, recipe)| {
            let sliced = recipe
                .slices
                .0
                .iter()
                .any(|(p, globs)| p == package && crate::glob::any(globs, path));
            (sliced || self.claims.get(package) == Some(name)).then_some(name)
        })
    }

    /// The components that `name` requires as its recipe and `defaults.yaml` say, by the recipes' own names.
    ///
    /// # Errors
    /// [`Error::UnknownComponent`].
    pub fn declared_requires(&self, name: &ComponentName) -> Result<BTreeSet<ComponentName>> {
        let mut requires = BTreeSet::new();
        for required in &self.recipe(name)?.requires {
            requires.insert(self.named(required.as_str())?.clone());
        }
        if !self.below_all().contains(name) {
            for required in &self.defaults.requires {
                requires.insert(self.named(required.as_str())?.clone());
            }
        }
        Ok(requires)
    }

    /// The components that `defaults.yaml` puts below all others, with what they declare to require.
    fn below_all(&self) -> BTreeSet<ComponentName> {
        let mut below = BTreeSet::new();
        let mut pending: Vec<&ComponentName> = self.defaults.requires.iter().collect();
        while let Some(text) = pending.pop() {
            if let Some(name) = self.answers_to(text.as_str())
                && below.insert(name.clone())
                && let Some(recipe) = self.recipes.get(name)
            {
                pending.extend(&recipe.requires);
            }
        }
        below
    }

    /// Digest of what decides about `name` in the recipe files themselves.
    pub(crate) fn digest(&self, name: &ComponentName) -> Result<Digest> {
        // comments and checks change nothing about the component
        let recipe = Recipe {
            check: Vec::new(),
            ..self.recipe(name)?.clone()
        };
        Ok(Digest::of(
            format!("{:?}\n{recipe:?}\n", self.defaults).as_bytes(),
        ))
    }

    fn answers_to(&self, text: &str) -> Option<&ComponentName> {
        if let Some((name, _)) = self.recipes.iter().find(|(name, _)| name.as_str() == text) {
            return Some(name);
        }
        self.recipes
            .iter()
            .filter(|(_, r)| r.aliases.iter().any(|a| a.as_str() == text))
            .max_by_key(|(_, r)| r.preference)
            .map(|(name, _)| name)
    }

    fn claim_packages(&mut self) -> Result<()> {
        for (name, recipe) in &self.recipes {
            for package in &recipe.packages {
                if let Some(first) = self.claims.insert(package.clone(), name.clone()) {
                    return Err(Error::ClaimedTwice {
                        package: package.clone(),
                        first,
                        second: name.clone(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Every name that a recipe mentions exists, and no two recipes answer to one name with one preference.
    fn check_names(&self) -> Result<()> {
        let mut answers: BTreeMap<(&str, i32), &ComponentName> = BTreeMap::new();
        for (name, recipe) in &self.recipes {
            let own = std::iter::once(name).chain(&recipe.aliases);
            for answer in own.collect::<BTreeSet<_>>() {
                let key = (answer.as_str(), recipe.preference);
                if let Some(first) = answers.insert(key, name) {
                    return Err(Error::AliasClash {
                        alias: answer.to_string(),
                        first: first.clone(),
                        second: name.clone(),
                    });
                }
            }
        }
        for (name, recipe) in &self.recipes {
            let mentioned = [
                ("requires", &recipe.requires),
                ("conflicts", &recipe.conflicts),
            ];
            for (key, others) in mentioned {
                if let Some(other) = others
                    .iter()
                    .find(|o| self.answers_to(o.as_str()).is_none())
                {
                    return Err(Error::UnknownMention {
                        name: name.clone(),
                        key,
                        other: other.clone(),
                    });
                }
            }
        }
        let missing = self
            .defaults
            .requires
            .iter()
            .find(|r| self.answers_to(r.as_str()).is_none());
        missing.map_or(Ok(()), |other| {
            Err(Error::UnknownDefault {
                file: self.directory.join(DEFAULTS),
                other: other.clone(),
            })
        })
    }

    /// Components are composed with each other: a name or number means the same user in all of them.
    fn check_users(&self) -> Result<()> {
        let mut seen: BTreeMap<String, &ComponentName> = BTreeMap::new();
        for (component, recipe) in &self.recipes {
            for (name, user) in &recipe.users {
                for what in [
                    format!("the user {name}"),
                    format!("the uid {}", user.uid),
                    format!("the gid {}", user.gid),
                ] {
                    if let Some(first) = seen.insert(what.clone(), component) {
                        return Err(Error::UserClash {
                            what,
                            first: first.clone(),
                            second: component.clone(),
                        });
                    }
                }
            }
        }
        Ok(())
    }

    fn check_cycles(&self) -> Result<()> {
        let mut graph = BTreeMap::new();
        for name in self.recipes.keys() {
            graph.insert(name.clone(), self.declared_requires(name)?);
        }
        order(&graph)
            .map(|_| ())
            .map_err(|cycle| Error::CyclicRequires { cycle })
    }
}

/// The keys of `graph` in an order in which everything a component requires comes before it, or a cycle.
///
/// # Errors
/// The cycle as `a -> b -> a`.
pub(crate) fn order(
    graph: &BTreeMap<ComponentName, BTreeSet<ComponentName>>,
) -> Result<Vec<ComponentName>, String> {
    fn visit(
        name: &ComponentName,
        graph: &BTreeMap<ComponentName, BTreeSet<ComponentName>>,
        path: &mut Vec<ComponentName>,
        done: &mut BTreeSet<ComponentName>,
        ordered: &mut Vec<ComponentName>,
    ) -> Result<(), String> {
        if done.contains(name) {
            return Ok(());
        }
        if let Some(start) = path.iter().position(|p| p == name) {
            let cycle = path[start..]
                .iter()
                .chain([name])
                .map(ComponentName::as_str);
            return Err(cycle.collect::<Vec<_>>().join(" -> "));
        }
        path.push(name.clone());
        for required in graph.get(name).into_iter().flatten() {
            visit(required, graph, path, done, ordered)?;
        }
        path.pop();
        done.insert(name.clone());
        ordered.push(name.clone());
        Ok(())
    }

    let mut ordered = Vec::with_capacity(graph.len());
    let (mut path, mut done) = (Vec::new(), BTreeSet::new());
    for name in graph.keys() {
        visit(name, graph, &mut path, &mut done, &mut ordered)?;
    }
    Ok(ordered)
}

/// The `*.yaml` files of `directory`, sorted.
fn recipe_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = |source| Error::ReadRecipe {
        file: directory.to_owned(),
        source,
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|e| e == "yaml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(file: &Path) -> Result<String> {
    let unreadable = |source| Error::ReadRecipe {
        file: file.to_owned(),
        source,
    };
    let size = std::fs::metadata(file).map_err(unreadable)?.len();
    if size > MAX_RECIPE {
        let reason = format!("it has {size} bytes, and recipes have at most {MAX_RECIPE}");
        return Err(Error::InvalidRecipe {
            file: file.to_owned(),
            reason,
        });
    }
    std::fs::read_to_string(file).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::Library;

    fn load(recipes: &[(&str, &str)]) -> Result<Library, String> {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in recipes {
            let text = if *name == "defaults" {
                (*text).to_owned()
            } else {
                format!("description: x\n{text}")
            };
            std::fs::write(directory.path().join(format!("{name}.yaml")), text).unwrap();
        }
        Library::load(directory.path()).map_err(|e| e.to_string())
    }

    #[test]
    fn contradictions_are_found_when_recipes_load() {
        for (recipes, expected) in [
            (
                &[("a", "packages: [aa]\nrequires: [b]\n")][..],
                "`a` names `b` in `requires`, and there is no",
            ),
            (
                &[("a", "packages: [aa]\nconflicts: [b]\n")],
                "`a` names `b` in `conflicts`",
            ),
            (
                &[("a", "packages: [cc]\n"), ("b", "packages: [cc]\n")],
                "package `cc` is claimed by `a` and by `b`",
            ),
            (
                &[
                    ("a", "packages: [aa]\naliases: [x]\n"),
                    ("b", "packages: [bb]\naliases: [x]\n"),
                ],
                "`a` and `b` both answer to `x`",
            ),
            (
                &[
                    ("a", "packages: [aa]\nrequires: [b]\n"),
                    ("b", "packages: [bb]\nrequires: [a]\n"),
                ],
                "a -> b -> a",
            ),
            (
                &[
                    ("a", "packages: [aa]\n"),
                    ("defaults", "requires: [core]\n"),
                ],
                "`core`",
            ),
            (
                &[
                    (
                        "a",
                        "packages: [aa]\nusers: { u: { uid: 100, gid: 101, home: /h } }\n",
                    ),
                    (
                        "b",
                        "packages: [bb]\nusers: { v: { uid: 102, gid: 101, home: /h } }\n",
                    ),
                ],
                "`a` and `b` both have the gid 101",
            ),
            (&[("A", "packages: [aa]\n")], "A.yaml"),
            (&[("defaults", "exlude: []\n")], "unknown field `exlude`"),
        ] {
            let error = load(recipes).unwrap_err();
            assert!(
                error.contains(expected),
                "{error}\n  does not contain\n{expected}"
            );
        }
    }

    #[test]
    fn stand_ins_differ_in_preference() {
        let library = load(&[
            ("init", "packages: [runit]\n"),
            (
                "init-big",
                "packages: [systemd]\naliases: [init]\npreference: -1\nconflicts: [init]\n",
            ),
            ("svc", "packages: [svc]\nrequires: [init]\n"),
        ])
        .unwrap();
        assert_eq!(library.named("init").unwrap().as_str(), "init");
        let svc = library.named("svc").unwrap();
        assert_eq!(library.declared_requires(svc).unwrap().len(), 1);
    }

    #[test]
    fn defaults_put_core_below_all_but_itself_and_what_it_requires() {
        let library = load(&[
            ("defaults", "requires: [core]\n"),
            ("core", "packages: [cc]\nrequires: [tiny]\n"),
            ("tiny", "packages: [tt]\n"),
            ("app", "packages: [aa]\n"),
        ])
        .unwrap();
        let requires = |name| {
            let requires = library
                .declared_requires(library.named(name).unwrap())
                .unwrap();
            requires.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(requires("app"), ["core"]);
        assert_eq!(requires("core"), ["tiny"]);
        assert!(requires("tiny").is_empty());
    }
}
