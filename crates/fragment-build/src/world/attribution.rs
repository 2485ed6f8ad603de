//! Whose is what an installation left: files that no package lists belong to the package whose script made them first.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::cut::is_state;
use crate::dpkg::Database;
use crate::error::Result;
use crate::world::World;
use crate::world::accounts::Lists;
use crate::world::listing::{Listing, Look};

/// Watches an upper layer while packages are configured one by one.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    listing: Listing,
    accounts: Lists,
    /// Path -> the packages in whose steps it was new or changed, in that order.
    changed: BTreeMap<String, Vec<String>>,
    /// The package of the last step.
    last: String,
    pub(crate) users: BTreeMap<String, BTreeSet<String>>,
}

impl Watch {
    /// Starts with what is there.
    pub(crate) fn new(upper: &Path, root: &Path) -> Result<Self> {
        let mut watch = Self {
            accounts: lists(root),
            ..Self::default()
        };
        watch.listing.update(upper, Look::Thorough)?;
        Ok(watch)
    }

    /// Puts what has changed since the last step down to `package`.
    pub(crate) fn step(&mut self, upper: &Path, root: &Path, package: &str) -> Result<()> {
        package.clone_into(&mut self.last);
        self.look(upper, root, package, Look::Quick)
    }

    /// Looks at what the steps have left out: changes of what is there already, for the most part.
    pub(crate) fn finish(&mut self, upper: &Path, root: &Path) -> Result<()> {
        let last = self.last.clone();
        self.look(upper, root, &last, Look::Thorough)
    }

    fn look(&mut self, upper: &Path, root: &Path, package: &str, look: Look) -> Result<()> {
        for path in self.listing.update(upper, look)? {
            if path == "/etc/passwd" || path == "/etc/group" {
                let accounts = lists(root);
                let new = accounts.new_since(&self.accounts);
                self.users
                    .entry(package.to_owned())
                    .or_default()
                    .extend(new);
                self.accounts = accounts;
            }
            let packages = self.changed.entry(path).or_default();
            if packages.last().is_none_or(|last| last != package) {
                packages.push(package.to_owned());
            }
        }
        Ok(())
    }

    /// Takes what was found into `world`, as layer `number`. `layers` are that one and those below, topmost first.
    pub(crate) fn settle(
        self,
        world: &mut World,
        number: u32,
        database: &Database,
        layers: &[PathBuf],
    ) {
        for (path, packages) in self.changed {
            if is_as_before(&path, layers) {
                continue;
            }
            let owners = database.owners(&path);
            let mut touched: Vec<&String> = owners.iter().collect();
            if owners.is_empty() && !is_state(&path) {
                if let Some(maker) = world.made.get(&path) {
                    world.touched.insert(maker.clone(), number);
                } else if let Some(first) = packages.first() {
                    world.made.insert(path, first.clone());
                    touched.push(first);
                }
            }
            for package in touched {
                world.touched.insert(package.clone(), number);
            }
        }
        for (package, names) in self.users {
            world.touched.insert(package.clone(), number);
            world.users.entry(package).or_default().extend(names);
        }
    }
}

/// Whether the topmost of `layers` has a directory at `path` only for what is in it: a directory of many packages is no
/// change of each of them.
fn is_as_before(path: &str, layers: &[PathBuf]) -> bool {
    let relative = path.trim_start_matches('/');
    let mut found = layers
        .iter()
        .filter_map(|layer| fs::symlink_metadata(layer.join(relative)).ok());
    let (Some(new), Some(old)) = (found.next(), found.next()) else {
        return false;
    };
    let looks = |m: &fs::Metadata| (m.is_dir(), m.mode(), m.uid(), m.gid());
    new.is_dir() && looks(&new) == looks(&old)
}

/// The users and groups of a root.
pub(crate) fn lists(root: &Path) -> Lists {
    let read = |name| fs::read_to_string(root.join(name)).unwrap_or_default();
    Lists::parse(&read("etc/passwd"), &read("etc/group"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::{Watch, is_as_before};
    use crate::dpkg::Database;
    use crate::world::World;

    #[test]
    fn the_first_maker_keeps_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let upper = directory.path().join("u");
        let lower = directory.path().join("l");
        for made in [
            upper.join("etc"),
            upper.join("var/lib/new"),
            lower.join("etc"),
        ] {
            fs::create_dir_all(made).unwrap();
        }
        let mut watch = Watch::default();
        fs::write(upper.join("etc/cache"), "1").unwrap();
        watch.step(&upper, &upper, "first").unwrap();
        fs::write(upper.join("etc/cache"), "22").unwrap();
        fs::write(upper.join("etc/passwd"), "u:x:100:100::/:\n").unwrap();
        watch.step(&upper, &upper, "second").unwrap();
        let mut world = World::default();
        world
            .made
            .insert("/etc/cache".to_owned(), "earlier".to_owned());
        let database = Database::default();
        watch.settle(&mut world, 7, &database, &[upper, lower]);
        assert_eq!(world.made["/etc/cache"], "earlier");
        assert_eq!(world.touched["earlier"], 7);
        // /etc is in the layer below, copied up only; the other directory is new
        assert!(!world.made.contains_key("/etc"));
        assert_eq!(world.made["/var/lib/new"], "first");
        assert!(world.users["second"].contains("u"));
    }

    #[test]
    fn a_directory_is_changed_by_its_owner_and_mode_alone() {
        let directory = tempfile::tempdir().unwrap();
        let layers = [directory.path().join("u"), directory.path().join("l")];
        for layer in &layers {
            for path in ["usr/bin", "var/spool"] {
                fs::create_dir_all(layer.join(path)).unwrap();
            }
        }
        fs::write(layers[0].join("usr/bin/new"), "").unwrap();
        let mode = fs::Permissions::from_mode(0o700);
        fs::set_permissions(layers[0].join("var/spool"), mode).unwrap();
        assert!(is_as_before("/usr/bin", &layers));
        assert!(!is_as_before("/usr/bin/new", &layers));
        assert!(!is_as_before("/var/spool", &layers));
        fs::create_dir(layers[0].join("opt")).unwrap();
        assert!(!is_as_before("/opt", &layers));
    }
}
