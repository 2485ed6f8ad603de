//! Users and groups over all worlds: a number means the same everywhere in the library.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::library::Library;

/// Lines of `/etc/passwd` and `/etc/group` by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lists {
    pub(crate) users: BTreeMap<String, String>,
    pub(crate) groups: BTreeMap<String, String>,
}

impl Lists {
    /// Reads the two files.
    pub(crate) fn parse(passwd: &str, group: &str) -> Self {
        Self {
            users: by_name(passwd),
            groups: by_name(group),
        }
    }

    /// Names of users and groups that `self` has and `before` has not, or has with other members.
    pub(crate) fn new_since(&self, before: &Self) -> BTreeSet<String> {
        let differs = |new: &BTreeMap<String, String>, old: &BTreeMap<String, String>| {
            new.iter()
                .filter(|(name, line)| old.get(*name) != Some(line))
                .map(|(name, _)| name.clone())
                .collect::<Vec<_>>()
        };
        let mut names: BTreeSet<String> = BTreeSet::new();
        names.extend(differs(&self.users, &before.users));
        names.extend(differs(&self.groups, &before.groups));
        names
    }

    /// Adds what `other` has beyond `self`; lines that are there stay.
    pub(crate) fn add(&mut self, other: &Self) {
        for (name, line) in &other.users {
            self.users.entry(name.clone()).or_insert(line.clone());
        }
        for (name, line) in &other.groups {
            self.groups.entry(name.clone()).or_insert(line.clone());
        }
    }

    /// Leaves out what `other` has.
    pub(crate) fn without(mut self, other: &Self) -> Self {
        self.users.retain(|name, _| !other.users.contains_key(name));
        self.groups
            .retain(|name, _| !other.groups.contains_key(name));
        self
    }
}

fn by_name(text: &str) -> BTreeMap<String, String> {
    let line = |line: &str| {
        let name = line.split(':').next().filter(|n| !n.is_empty())?;
        Some((name.to_owned(), line.to_owned()))
    };
    text.lines().filter_map(line).collect()
}

/// What a world starts with beyond its own lists: the users of recipes, whose numbers are fixed, and those of other worlds.
pub(crate) fn seeded(library: &Library, known: &Lists) -> Lists {
    let mut lists = Lists::default();
    for name in library.names() {
        let Ok(recipe) = library.recipe(name) else {
            continue;
        };
        for (user, spec) in &recipe.users {
            let (uid, gid) = (spec.uid, spec.gid);
            let line = format!("{user}:x:{uid}:{gid}::{}:{}", spec.home, spec.shell);
            lists.users.insert(user.clone(), line);
            lists
                .groups
                .insert(user.clone(), format!("{user}:x:{gid}:"));
        }
    }
    lists.add(known);
    lists
}

#[cfg(test)]
mod tests {
    use super::Lists;

    #[test]
    fn what_a_step_added() {
        let before = Lists::parse("root:x:0:0::/:\n", "root:x:0:\nssl-cert:x:101:\n");
        let after = Lists::parse(
            "root:x:0:0::/:\npostgres:x:100:102::/:\n",
            "root:x:0:\nssl-cert:x:101:postgres\npostgres:x:102:\n",
        );
        let new: Vec<String> = after.new_since(&before).into_iter().collect();
        assert_eq!(new, ["postgres", "ssl-cert"]);
        assert!(after.clone().without(&after).users.is_empty());
        let mut both = before.clone();
        both.add(&after);
        assert_eq!(both.groups["ssl-cert"], "ssl-cert:x:101:");
        assert_eq!(both.users.len(), 2);
    }
}
