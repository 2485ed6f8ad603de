//! The users of a component: files belong to the numbers that its recipe gives them.
//!
//! An installation hands numbers out in the order in which packages come; two components would have two users with one number.

use std::collections::BTreeMap;

use fragment_types::ComponentName;

use crate::error::{Error, Result};
use crate::recipe::{FileSpec, Recipe};
use crate::root::Root;
use crate::tree::{Entry, Tree};

/// Where users and groups are listed.
pub(crate) const FILES: [&str; 2] = ["/etc/passwd", "/etc/group"];
/// Most that is read of a list of users, in bytes.
const MAX_LIST: u64 = 1 << 20;

/// Gives the entries of `tree` the owners that the recipe says: numbers of the installed root become the recipe's by name.
///
/// # Errors
/// [`Error::UnknownOwner`] for a number that only means something in the installed root.
pub(crate) fn number(
    component: &ComponentName,
    recipe: &Recipe,
    root: &Root,
    tree: &mut Tree,
) -> Result<()> {
    let [users, groups] = [names(root, FILES[0])?, names(root, FILES[1])?];
    for (path, entry) in &mut tree.entries {
        let unknown = |what: &str, number: u32, names: &BTreeMap<u32, String>| {
            let name = names.get(&number).map_or("?", String::as_str);
            Error::UnknownOwner {
                component: component.clone(),
                path: path.clone(),
                owner: format!("{what} {name} ({number})"),
            }
        };
        let spec = recipe.files.get(path).and_then(|spec| spec.owner.as_ref());
        if let Some(user) = spec.and_then(|owner| recipe.users.get(owner)) {
            (entry.uid, entry.gid) = (user.uid, user.gid);
            continue;
        }
        let known = |number: u32, names: &BTreeMap<u32, String>| {
            names.get(&number).and_then(|name| recipe.users.get(name))
        };
        if let Some(user) = known(entry.uid, &users) {
            entry.uid = user.uid;
        } else if !is_static(entry.uid) {
            return Err(unknown("user", entry.uid, &users));
        }
        if let Some(user) = known(entry.gid, &groups) {
            entry.gid = user.gid;
        } else if !is_static(entry.gid) {
            return Err(unknown("group", entry.gid, &groups));
        }
    }
    Ok(())
}

/// Puts the recipe's users into `/etc/passwd` and `/etc/group`, unless the recipe writes these itself.
pub(crate) fn list(recipe: &Recipe, tree: &mut Tree) {
    if recipe.users.is_empty() {
        return;
    }
    let users = recipe.users.iter().map(|(name, user)| {
        let (uid, gid, comment) = (user.uid, user.gid, &user.comment);
        format!(
            "{name}:x:{uid}:{gid}:{comment}:{}:{}\n",
            user.home, user.shell
        )
    });
    let groups = recipe
        .users
        .iter()
        .map(|(name, user)| format!("{name}:x:{}:\n", user.gid));
    for (path, content) in FILES
        .into_iter()
        .zip([users.collect::<String>(), groups.collect()])
    {
        if recipe.files.contains_key(path) {
            continue;
        }
        let spec = FileSpec {
            content: Some(content),
            link: None,
            directory: false,
            owner: None,
            mode: None,
        };
        tree.entries.insert(path.to_owned(), Entry::of_spec(&spec));
    }
}

/// Debian Policy 9.2.2: these mean the same on every system.
pub(crate) fn is_static(number: u32) -> bool {
    number < 100 || number == 65534
}

/// Numbers and their names, by a list of lines `name:password:number:…`.
fn names(root: &Root, path: &'static str) -> Result<BTreeMap<u32, String>> {
    let text = root
        .read(path, MAX_LIST)
        .map_err(|source| Error::ReadRoot {
            path: path.to_owned(),
            source,
        })?;
    let text = String::from_utf8_lossy(text.as_deref().unwrap_or_default()).into_owned();
    let mut names = BTreeMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(number)) = (fields.next(), fields.nth(1))
            && let Ok(number) = number.parse()
        {
            names.entry(number).or_insert_with(|| name.to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::{list, number};
    use crate::recipe::Recipe;
    use crate::root::Root;
    use crate::tree::{Content, Source, Tree};

    fn recipe(users: &str) -> Recipe {
        let text =
            format!("description: x\nversion: 1.0.0\nfiles: {{ /a: {{ content: a }} }}\n{users}");
        Recipe::parse(Path::new("x.yaml"), &text).unwrap()
    }

    fn tree(uid: u32, gid: u32) -> Tree {
        let mut tree = Tree::default();
        let mut entry = crate::tree::Entry::of_spec(&recipe("").files["/a"]);
        (entry.uid, entry.gid) = (uid, gid);
        tree.entries.insert("/var/lib/redis".to_owned(), entry);
        tree
    }

    fn root() -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("etc")).unwrap();
        fs::write(
            directory.path().join("etc/passwd"),
            "root:x:0:0::/:\nredis:x:107:112::/:\n",
        )
        .unwrap();
        fs::write(
            directory.path().join("etc/group"),
            "adm:x:4:\nredis:x:112:\nother:x:120:\n",
        )
        .unwrap();
        let root = Root::new(vec![directory.path().to_owned()]);
        (directory, root)
    }

    #[test]
    fn numbers_of_the_installation_become_the_recipe_s() {
        let (_directory, root) = root();
        let redis = recipe("users: { redis: { uid: 100, gid: 101, home: /var/lib/redis } }\n");
        let name = "redis".parse().unwrap();
        for (from, to) in [
            ((107, 112), (100, 101)),
            ((0, 4), (0, 4)),
            ((107, 65534), (100, 65534)),
        ] {
            let mut tree = tree(from.0, from.1);
            number(&name, &redis, &root, &mut tree).unwrap();
            let entry = &tree.entries["/var/lib/redis"];
            assert_eq!((entry.uid, entry.gid), to);
        }
        let error = number(&name, &redis, &root, &mut tree(107, 120)).unwrap_err();
        assert!(error.to_string().contains("group other (120)"), "{error}");
        let error = number(&name, &recipe(""), &root, &mut tree(107, 0)).unwrap_err();
        assert!(error.to_string().contains("user redis (107)"), "{error}");
    }

    #[test]
    fn users_are_listed() {
        let mut tree = Tree::default();
        list(
            &recipe("users: { redis: { uid: 100, gid: 101, home: /var/lib/redis } }\n"),
            &mut tree,
        );
        let content = |path: &str| match &tree.entries[path].content {
            Content::File {
                source: Source::Bytes(bytes),
                ..
            } => String::from_utf8(bytes.clone()).unwrap(),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            content("/etc/passwd"),
            "redis:x:100:101::/var/lib/redis:/usr/sbin/nologin\n"
        );
        assert_eq!(content("/etc/group"), "redis:x:101:\n");
    }
}
