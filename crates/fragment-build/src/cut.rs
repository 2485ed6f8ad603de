//! What of an installed root belongs to a component.

use std::collections::BTreeSet;
use std::path::Path;

use fragment_types::ComponentName;
use fragment_types::manifest::Package;
use fragment_types::path::merged_usr;

use crate::dpkg::Database;
use crate::error::{Error, Result};
use crate::glob::{self, Glob};
use crate::library::Library;
use crate::provenance::{epoch, packages};
use crate::recipe::Recipe;
use crate::root::{Node, Root, join, normalise};
use crate::tree::{Content, Entry, Source, Tree};
use crate::users;

/// Where the alternatives system keeps its middle links.
const ALTERNATIVES: &str = "/etc/alternatives";

/// What was cut.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) tree: Tree,
    /// Leading package first.
    pub(crate) packages: Vec<Package>,
    /// Packages held whole that no recipe claims.
    pub(crate) bundled: BTreeSet<String>,
    /// Packages that the dependencies of those held whole name.
    pub(crate) named: BTreeSet<String>,
    /// Components required because a package held whole depends on a package they claim.
    pub(crate) depends: BTreeSet<ComponentName>,
    /// Paths that maintainer scripts made: they belong to the first component that has them.
    pub(crate) made: BTreeSet<String>,
    /// Modification time of every entry, in seconds since 1970.
    pub(crate) epoch: i64,
}

/// An installed root and the base it was installed into.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Installation<'a> {
    pub(crate) root: &'a Root,
    pub(crate) base: &'a Root,
    pub(crate) upper: &'a Path,
    pub(crate) database: &'a Database,
}

/// Cuts `name` out of an installed root.
///
/// # Errors
/// [`Error::InvalidSlice`] for what the root does not have, and read errors.
pub(crate) fn cut(name: &ComponentName, library: &Library, at: Installation<'_>) -> Result<Cut> {
    let recipe = library.recipe(name)?;
    let defaults = library.defaults();
    let closure = closure(name, recipe, library, at.database);
    let mut tree = Tree::default();
    for path in closure.packages.iter().flat_map(|p| at.database.files(p)) {
        if !is_merged_link(path) {
            tree.take(at.root, path)?;
        }
    }
    // slices name paths exactly: only those without a wildcard are exempt from the general excludes
    let mut named = BTreeSet::new();
    take_slices(name, recipe, at, &mut tree, &mut named)?;
    let mut made = BTreeSet::new();
    if !recipe.packages.is_empty() {
        made = take_made(at, &mut tree)?;
    }
    take_alternatives(at, &mut tree)?;
    take_generated(name, recipe, at, &mut tree, &mut named)?;
    tree.entries.retain(|path, _| {
        let cut = (glob::any(&defaults.exclude, path) && !named.contains(path))
            || glob::any(&recipe.exclude, path);
        !cut && (!is_bytecode(path) || is_below(path, &recipe.byte_code))
    });
    for (path, spec) in &recipe.files {
        // the links of a merged-/usr root are themselves what core makes
        let path = if is_merged_link(path) {
            path.clone()
        } else {
            merged_usr(path).into_owned()
        };
        tree.entries.insert(path, Entry::of_spec(spec));
    }
    tree.add_parents(at.root)?;
    users::number(name, recipe, at.root, &mut tree)?;
    users::list(recipe, &mut tree);
    keep_special(name, recipe, &mut tree)?;
    made.retain(|path| {
        tree.entries.contains_key(path)
            && !named.contains(path)
            && !recipe.files.contains_key(path)
            && !users::FILES.contains(&path.as_str())
    });
    let sliced = recipe.slices.0.iter().map(|(p, _)| p.as_str());
    let packages = packages(&closure.packages, sliced, recipe.leading_package(), at)?;
    let epoch = epoch(&packages, at)?;
    Ok(Cut {
        tree,
        packages,
        bundled: closure.bundled,
        named: closure.named,
        depends: closure.depends,
        made,
        epoch,
    })
}

#[derive(Debug, Default)]
struct Closure {
    packages: Vec<String>,
    named: BTreeSet<String>,
    bundled: BTreeSet<String>,
    depends: BTreeSet<ComponentName>,
}

/// The packages held whole: the recipe's own and, of their Depends, those that no recipe claims.
fn closure(
    name: &ComponentName,
    recipe: &Recipe,
    library: &Library,
    database: &Database,
) -> Closure {
    let mut closure = Closure {
        packages: recipe.packages.clone(),
        ..Closure::default()
    };
    let mut at = 0;
    while let Some(package) = closure.packages.get(at).cloned() {
        at += 1;
        let depends = database
            .package(&package)
            .map_or(&[][..], |p| p.depends.as_slice());
        for dependency in depends.iter().filter_map(|group| database.satisfier(group)) {
            closure.named.insert(dependency.to_owned());
            if recipe.without.contains(dependency)
                || !library.defaults().follows(dependency)
                || closure.packages.iter().any(|p| p == dependency)
            {
                continue;
            }
            match library.claimed_by(dependency) {
                Some(other) if other == name => {}
                Some(other) => {
                    closure.depends.insert(other.clone());
                }
                None => {
                    closure.bundled.insert(dependency.to_owned());
                    closure.packages.push(dependency.to_owned());
                }
            }
        }
    }
    closure
}

/// Whether `path` is one of the directories that merged-/usr systems keep as links.
pub(crate) fn is_merged_link(path: &str) -> bool {
    let below = format!("{path}/x");
    merged_usr(&below) != below
}

/// Byte code embeds the time of its source; only what the builder compiles itself (by hash) is the same every time.
pub(crate) fn is_bytecode(path: &str) -> bool {
    path.ends_with("/__pycache__") || path.contains("/__pycache__/")
}

fn is_below(path: &str, directories: &[String]) -> bool {
    directories.iter().any(|d| {
        path.strip_prefix(d.as_str())
            .is_some_and(|rest| rest.starts_with('/'))
    })
}

fn take_slices(
    name: &ComponentName,
    recipe: &Recipe,
    at: Installation<'_>,
    tree: &mut Tree,
    named: &mut BTreeSet<String>,
) -> Result<()> {
    for (package, globs) in &recipe.slices.0 {
        for glob in globs {
            let mut found = false;
            for path in at
                .database
                .files(package)
                .iter()
                .filter(|p| glob.matches(p) && !is_merged_link(p))
            {
                found |= tree.take(at.root, path)?;
                if glob.is_literal() {
                    named.insert(path.clone());
                }
            }
            if !found {
                return Err(empty(name, "slices", package, glob));
            }
        }
    }
    Ok(())
}

fn empty(name: &ComponentName, key: &'static str, package: &str, glob: &Glob) -> Error {
    Error::InvalidSlice {
        component: name.clone(),
        key,
        package: package.to_owned(),
        pattern: glob.as_str().to_owned(),
    }
}

/// Takes what no package owns and the base did not have.
fn take_made(at: Installation<'_>, tree: &mut Tree) -> Result<BTreeSet<String>> {
    let mut nodes = Vec::new();
    let is_new = |node: &Node| -> std::io::Result<bool> {
        Ok(node.source.starts_with(at.upper)
            && at.database.owners(&node.path).is_empty()
            && !is_alternative(node)
            && at.base.lookup(&node.path)?.is_none())
    };
    at.root
        .walk(&mut |node| {
            if is_new(node)? {
                nodes.push(node.clone());
            }
            // a directory that is not in the upper layer holds nothing new
            Ok(node.source.starts_with(at.upper))
        })
        .map_err(|source| Error::ReadRoot {
            path: "/".to_owned(),
            source,
        })?;
    let mut made = BTreeSet::new();
    for node in nodes {
        if is_state(&node.path) {
            continue;
        }
        if tree.take_node(&node)? {
            made.insert(node.path);
        }
    }
    Ok(made)
}

/// State of the installation itself is never content, whatever the recipes exclude: it differs from one to the next.
pub(crate) fn is_state(path: &str) -> bool {
    const STATE: [&str; 13] = [
        "/dev/",
        "/proc/",
        "/run/",
        "/sys/",
        "/tmp/",
        "/var/cache/apt/",
        "/var/cache/debconf/",
        "/var/cache/ldconfig/",
        "/var/lib/apt/",
        "/var/lib/dpkg/",
        "/var/log/alternatives.log",
        "/var/log/apt/",
        "/var/log/dpkg.log",
    ];
    STATE.iter().any(|state| path.starts_with(state))
}

fn is_alternative(node: &Node) -> bool {
    let into = |target: &String| target.starts_with(ALTERNATIVES);
    node.path.starts_with(ALTERNATIVES) || node.target.as_ref().is_some_and(into)
}

/// Links of the alternatives system belong to the component that holds what they lead to.
fn take_alternatives(at: Installation<'_>, tree: &mut Tree) -> Result<()> {
    for alternative in &at.database.alternatives {
        let unreadable = |source| Error::ReadRoot {
            path: alternative.middle.clone(),
            source,
        };
        let Some(node) = at.root.lookup(&alternative.middle).map_err(unreadable)? else {
            continue;
        };
        let Some(target) = &node.target else { continue };
        let target = normalise(&join(&node.path, target));
        if tree.entries.contains_key(merged_usr(&target).as_ref()) {
            tree.take_node(&node)?;
            tree.take(at.root, &alternative.link)?;
        }
    }
    Ok(())
}

fn take_generated(
    name: &ComponentName,
    recipe: &Recipe,
    at: Installation<'_>,
    tree: &mut Tree,
    named: &mut BTreeSet<String>,
) -> Result<()> {
    if recipe.generated.is_empty() {
        return Ok(());
    }
    let mut nodes = Vec::new();
    at.root
        .walk(&mut |node| {
            if glob::any(&recipe.generated, &node.path) {
                nodes.push(node.clone());
            }
            Ok(recipe.generated.iter().any(|g| g.reaches(&node.path)))
        })
        .map_err(|source| Error::ReadRoot {
            path: "/".to_owned(),
            source,
        })?;
    for glob in &recipe.generated {
        if !nodes.iter().any(|node| glob.matches(&node.path)) {
            return Err(empty(name, "generated", "the installed root", glob));
        }
    }
    for node in nodes {
        tree.take_node(&node)?;
        named.insert(node.path);
    }
    Ok(())
}

/// Set-id bits and file capabilities go, except on the files the recipe names.
fn keep_special(name: &ComponentName, recipe: &Recipe, tree: &mut Tree) -> Result<()> {
    let special: BTreeSet<String> = recipe
        .special
        .iter()
        .map(|p| merged_usr(p).into_owned())
        .collect();
    if let Some(missing) = special
        .iter()
        .find(|p| !tree.entries.get(*p).is_some_and(Entry::is_file))
    {
        return Err(Error::NoSpecialFile {
            component: name.clone(),
            path: missing.clone(),
        });
    }
    for (path, entry) in &mut tree.entries {
        match &mut entry.content {
            Content::Directory => entry.mode &= 0o1777,
            Content::Symlink(_) => {}
            Content::File {
                source: Source::Disk(source),
                capability,
                ..
            } if special.contains(path) => {
                let mut value = [0; 64];
                // ENODATA: most special files have set-id bits only
                let length =
                    rustix::fs::lgetxattr(&*source, c"security.capability", &mut value[..])
                        .unwrap_or(0);
                *capability = (length > 0).then(|| value[..length].to_vec());
            }
            Content::File { .. } => entry.mode &= 0o777,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{is_bytecode, is_merged_link, is_state};

    #[test]
    fn classes_of_paths() {
        assert!(is_merged_link("/bin") && is_merged_link("/lib64") && !is_merged_link("/usr/bin"));
        assert!(
            is_bytecode("/usr/lib/python3/__pycache__/a.pyc") && !is_bytecode("/usr/lib/pycache")
        );
        assert!(is_state("/var/lib/dpkg/status") && !is_state("/var/lib/x"));
    }
}
