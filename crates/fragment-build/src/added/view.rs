//! A mounted world as the components cut from it see it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use fragment_types::ComponentName;
use fragment_types::path::merged_usr;

use crate::added::group::Groups;
use crate::cut::Installation;
use crate::dpkg::Database;
use crate::error::{Error, Result};
use crate::index::COMMAND_DIRECTORIES;
use crate::part::configured;
use crate::root::{Root, join, normalise};
use crate::world::{Lists, World};

/// Paths of the recipes' components, and those below every component.
#[derive(Debug, Default)]
pub(crate) struct Recipes {
    /// Path -> the component that holds it, of several the one with the highest preference.
    pub(crate) paths: BTreeMap<String, (i32, ComponentName)>,
    /// What `defaults.yaml` requires.
    pub(crate) below: BTreeSet<ComponentName>,
}

/// A name of the alternatives system, and a file of a package that it can lead to.
#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) link: String,
    pub(crate) middle: String,
    pub(crate) target: String,
    /// Whether it leads there in the world.
    pub(crate) current: bool,
}

/// One world, mounted.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) root: Root,
    /// Nothing: what there is to tell old from new is in `world`.
    nowhere: PathBuf,
    pub(crate) database: &'a Database,
    pub(crate) world: &'a World,
    pub(crate) groups: &'a Groups,
    pub(crate) recipes: &'a Recipes,
    /// The world's users and groups.
    pub(crate) accounts: Lists,
    /// Directories of ld.so.conf(5).
    pub(crate) configured: Vec<String>,
    /// Package -> what its scripts made.
    made: BTreeMap<&'a str, Vec<&'a str>>,
    alternatives: BTreeMap<String, Vec<Choice>>,
    /// Commands that every root has, and the components that hold them.
    pub(crate) essential: BTreeMap<String, ComponentName>,
}

impl<'a> View<'a> {
    pub(crate) fn new(
        root: Root,
        database: &'a Database,
        world: &'a World,
        groups: &'a Groups,
        recipes: &'a Recipes,
    ) -> Result<Self> {
        let read = |path: &str| {
            let text = root.read(path, 1 << 22);
            text.map(|t| String::from_utf8_lossy(&t.unwrap_or_default()).into_owned())
                .map_err(|source| Error::ReadRoot {
                    path: path.to_owned(),
                    source,
                })
        };
        let mut made: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let links: BTreeSet<&str> = database
            .alternatives
            .iter()
            .flat_map(|a| [a.link.as_str(), a.middle.as_str()])
            .collect();
        for (path, package) in &world.made {
            if !links.contains(path.as_str()) {
                made.entry(package).or_default().push(path);
            }
        }
        let mut view = Self {
            accounts: Lists::parse(&read("/etc/passwd")?, &read("/etc/group")?),
            configured: configured(&root)?,
            nowhere: "/nonexistent".into(),
            root,
            database,
            world,
            groups,
            recipes,
            made,
            alternatives: BTreeMap::new(),
            essential: BTreeMap::new(),
        };
        view.read_alternatives()?;
        view.list_essential();
        Ok(view)
    }

    /// Every package has the links of the alternatives system to its own files, whatever they lead to in the world: who
    /// depends on it counts on the name, and the world's choice may belong to a package that is not composed.
    fn read_alternatives(&mut self) -> Result<()> {
        for alternative in &self.database.alternatives {
            let unreadable = |source| Error::ReadRoot {
                path: alternative.middle.clone(),
                source,
            };
            let node = self.root.lookup(&alternative.middle).map_err(unreadable)?;
            let current = node.and_then(|n| Some(join(&n.path, &n.target?)));
            let current = current.map(|c| merged_usr(&normalise(&c)).into_owned());
            for target in &alternative.choices {
                let Some(owner) = self.owner(target).map(str::to_owned) else {
                    continue;
                };
                self.alternatives.entry(owner).or_default().push(Choice {
                    link: alternative.link.clone(),
                    middle: alternative.middle.clone(),
                    target: target.clone(),
                    current: current.as_ref() == Some(target),
                });
            }
        }
        Ok(())
    }

    fn list_essential(&mut self) {
        for (package, _) in self.database.packages() {
            if !self.groups.is_essential(package) {
                continue;
            }
            let Some(component) = self.groups.needed(package) else {
                continue;
            };
            for path in self.database.files(package) {
                if let Some((directory, name)) = path.rsplit_once('/')
                    && COMMAND_DIRECTORIES.contains(&directory)
                {
                    self.essential.insert(name.to_owned(), component.clone());
                }
            }
        }
    }

    /// The package that lists a path or whose scripts made it.
    pub(crate) fn owner(&self, path: &str) -> Option<&str> {
        let listed = self.database.owners(path).first();
        listed
            .or_else(|| self.world.made.get(path))
            .map(String::as_str)
    }

    /// What scripts of a package made.
    pub(crate) fn made(&self, package: &str) -> &[&'a str] {
        self.made.get(package).map_or(&[], Vec::as_slice)
    }

    /// The alternatives that lead to files of a package.
    pub(crate) fn alternatives(&self, package: &str) -> &[Choice] {
        self.alternatives.get(package).map_or(&[], Vec::as_slice)
    }

    /// The view as the builder of recipes knows it.
    pub(crate) fn installation(&self) -> Installation<'_> {
        Installation {
            root: &self.root,
            base: &self.root,
            upper: &self.nowhere,
            database: self.database,
        }
    }
}
