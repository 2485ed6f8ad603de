//! The files of a component that no recipe describes.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use fragment_types::manifest::{Account, Package};
use fragment_types::path::merged_usr;

use crate::added::group::Group;
use crate::added::tmpfiles;
use crate::added::view::View;
use crate::cut::{is_bytecode, is_merged_link, is_state};
use crate::error::{Error, Result};
use crate::index::{self, Index};
use crate::provenance::{epoch, packages};
use crate::recipe::FileSpec;
use crate::tree::{Content, Entry, Source, Tree};
use crate::users::is_static;

/// Directories that no component of an added package has anything of: read by people, or state of the package manager.
const EXCLUDED: [&str; 24] = [
    "/boot/",
    "/dev/",
    "/etc/apt/",
    "/etc/dpkg/",
    "/etc/rc0.d/",
    "/etc/rc1.d/",
    "/etc/rc2.d/",
    "/etc/rc3.d/",
    "/etc/rc4.d/",
    "/etc/rc5.d/",
    "/etc/rc6.d/",
    "/etc/rcS.d/",
    "/usr/share/apport/",
    "/usr/share/bug/",
    "/usr/share/doc-base/",
    "/usr/share/doc/",
    "/usr/share/info/",
    "/usr/share/lintian/",
    "/usr/share/man/",
    "/usr/share/menu/",
    "/var/cache/man/",
    "/var/lib/pam/",
    "/var/lib/systemd/",
    "/var/lib/ucf/",
];
/// What a root has once, and what belongs to the machine.
const WHOLE_ROOT: [&str; 15] = [
    "/etc/.pwd.lock",
    "/etc/group",
    "/etc/group-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/hostname",
    "/etc/ld.so.cache",
    "/etc/machine-id",
    "/etc/passwd",
    "/etc/passwd-",
    "/etc/resolv.conf",
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/subgid",
    "/etc/subuid",
];
/// Where packages keep what they ask of systemd-tmpfiles(8).
const TMPFILES: &str = "/usr/lib/tmpfiles.d/";
/// Largest script or configuration file read, in bytes.
const MAX_TEXT: u64 = 1 << 20;

/// What is packed.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) tree: Tree,
    pub(crate) index: Index,
    pub(crate) packages: Vec<Package>,
    pub(crate) accounts: Vec<Account>,
    pub(crate) epoch: i64,
    /// Files that lost set-id bits.
    pub(crate) dropped: Vec<String>,
}

/// Cuts a component out of the world.
///
/// # Errors
/// Read errors.
pub(crate) fn cut(group: &Group, view: &View<'_>) -> Result<Piece> {
    let mut tree = Tree::default();
    for member in &group.members {
        let listed = view.database.files(member).iter().map(String::as_str);
        let made = view.made(member).iter().copied();
        for path in listed.chain(made) {
            if !is_merged_link(path) {
                take(view, path, &mut tree)?;
            }
        }
        // of several choices of one package the world's counts, else the first
        let choices = view.alternatives(member).iter();
        let mut choices: Vec<_> = choices.filter(|c| !is_excluded(&c.link)).collect();
        choices.sort_by_key(|c| !c.current);
        for choice in choices {
            for (path, target) in [
                (&choice.link, &choice.middle),
                (&choice.middle, &choice.target),
            ] {
                let link = || symlink(target);
                tree.entries.entry(path.clone()).or_insert_with(link);
            }
        }
    }
    take_tmpfiles(view, &mut tree)?;
    for member in &group.members {
        if let Some(package) = view.database.package(member) {
            let path = format!("/var/lib/dpkg/status.d/{member}");
            let text = format!("{}\n", package.stanza);
            tree.entries.insert(path, file(text));
        }
    }
    let accounts = take_accounts(group, view, &mut tree)?;
    tree.add_parents(&view.root)?;
    let dropped = drop_special(&mut tree);
    tree.digest_files()?;
    let index = index::index(&tree, &view.configured)?;
    let members: Vec<String> = group.members.iter().cloned().collect();
    let leading = group.members.iter().find(|m| *m == group.name.as_str());
    let packages = packages(
        &members,
        std::iter::empty(),
        leading.map(String::as_str),
        view.installation(),
    )?;
    let epoch = epoch(&packages, view.installation())?;
    Ok(Piece {
        tree,
        index,
        packages,
        accounts,
        epoch,
        dropped,
    })
}

/// Takes what is content at `path`; names that are not UTF-8, devices and sockets are not.
fn take(view: &View<'_>, path: &str, tree: &mut Tree) -> Result<()> {
    if is_excluded(path) {
        return Ok(());
    }
    match tree.take(&view.root, path) {
        Err(Error::SpecialFile { .. }) => Ok(()),
        Err(Error::ReadRoot { source, .. }) if source.kind() == io::ErrorKind::InvalidData => {
            Ok(())
        }
        other => other.map(|_| ()),
    }
}

fn is_excluded(path: &str) -> bool {
    WHOLE_ROOT.contains(&path)
        || EXCLUDED.iter().any(|e| path.starts_with(e))
        || is_state(path)
        || is_bytecode(path)
        || path.ends_with(".dpkg-new")
        || path.ends_with(".dpkg-tmp")
}

fn file(text: String) -> Entry {
    Entry::of_spec(&FileSpec {
        content: Some(text),
        link: None,
        directory: false,
        owner: None,
        mode: None,
    })
}

fn symlink(target: &str) -> Entry {
    Entry::of_spec(&FileSpec {
        content: None,
        link: Some(target.to_owned()),
        directory: false,
        owner: None,
        mode: None,
    })
}

/// Makes what the component's own tmpfiles.d files ask for, unless it is there.
fn take_tmpfiles(view: &View<'_>, tree: &mut Tree) -> Result<()> {
    let files: Vec<String> = tree
        .entries
        .keys()
        .filter(|p| p.starts_with(TMPFILES) && p.ends_with(".conf"))
        .cloned()
        .collect();
    for path in files {
        let text = text(view, &path)?;
        let number = |lines: &BTreeMap<String, String>, name: &str| {
            let by_name = || lines.get(name)?.split(':').nth(2)?.parse().ok();
            name.parse().ok().or_else(by_name)
        };
        let user = |name: &str| number(&view.accounts.users, name);
        let group = |name: &str| number(&view.accounts.groups, name);
        for (path, entry) in tmpfiles::entries(&text, &user, &group) {
            tree.entries
                .entry(merged_usr(&path).into_owned())
                .or_insert(entry);
        }
    }
    Ok(())
}

fn text(view: &View<'_>, path: &str) -> Result<String> {
    let bytes = view.root.read(path, MAX_TEXT);
    let bytes = bytes.map_err(|source| Error::ReadRoot {
        path: path.to_owned(),
        source,
    })?;
    Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
}

/// Lists the users and groups that the component's scripts made, that they name, and that its files belong to.
fn take_accounts(group: &Group, view: &View<'_>, tree: &mut Tree) -> Result<Vec<Account>> {
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for member in &group.members {
        names.extend(
            view.world
                .users
                .get(member)
                .into_iter()
                .flatten()
                .map(String::as_str),
        );
    }
    let scripts = scripts(group, view)?;
    let words: BTreeSet<&str> = scripts
        .split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-')))
        .collect();
    let owners: BTreeSet<(u32, u32)> = tree.entries.values().map(|e| (e.uid, e.gid)).collect();
    let id = |line: &str, at: usize| line.split(':').nth(at).and_then(|n| n.parse::<u32>().ok());
    for (lists, is_user) in [(&view.accounts.users, true), (&view.accounts.groups, false)] {
        for (name, line) in lists {
            let Some(number) = id(line, 2).filter(|n| !is_static(*n)) else {
                continue;
            };
            let owns = owners
                .iter()
                .any(|(u, g)| number == if is_user { *u } else { *g });
            if owns || words.contains(name.as_str()) {
                names.insert(name);
            }
        }
    }
    let users: Vec<(&str, &str)> = names
        .iter()
        .filter_map(|n| Some((*n, view.accounts.users.get(*n)?.as_str())))
        .collect();
    let passwd: String = users.iter().map(|(_, line)| format!("{line}\n")).collect();
    let own_group = |name: &&str| {
        let line = view.accounts.groups.get(*name)?;
        let (head, members) = line.rsplit_once(':')?;
        let members: Vec<&str> = members.split(',').filter(|m| names.contains(m)).collect();
        Some(format!("{head}:{}\n", members.join(",")))
    };
    let groups: String = names.iter().filter_map(own_group).collect();
    for (path, text) in [("/etc/passwd", passwd), ("/etc/group", groups)] {
        if !text.is_empty() {
            tree.entries.insert(path.to_owned(), file(text));
        }
    }
    let account = |(name, line): &(&str, &str)| {
        let account = Account {
            name: (*name).to_owned(),
            uid: id(line, 2)?,
            gid: id(line, 3)?,
        };
        // users that share a group are no clash: only those with one of their own are declared
        let own = id(view.accounts.groups.get(*name)?, 2)? == account.gid;
        (own && !is_static(account.uid) && !is_static(account.gid)).then_some(account)
    };
    Ok(users.iter().filter_map(account).collect())
}

/// The texts in which packages ask for users.
fn scripts(group: &Group, view: &View<'_>) -> Result<String> {
    const ASKS: [&str; 5] = ["adduser", "useradd", "addgroup", "groupadd", "sysusers"];
    let mut all = String::new();
    for member in &group.members {
        for kind in ["preinst", "postinst"] {
            let script = text(view, &format!("/var/lib/dpkg/info/{member}.{kind}"))?;
            if ASKS.iter().any(|asks| script.contains(asks)) {
                all.push_str(&script);
            }
        }
        for path in view.database.files(member) {
            if path.starts_with("/usr/lib/sysusers.d/") && path.ends_with(".conf") {
                all.push_str(&text(view, path)?);
            }
        }
    }
    Ok(all)
}

/// Set-id bits are a recipe's to grant.
fn drop_special(tree: &mut Tree) -> Vec<String> {
    let mut dropped = Vec::new();
    for (path, entry) in &mut tree.entries {
        match &mut entry.content {
            Content::Directory => entry.mode &= 0o1777,
            Content::Symlink(_) => {}
            Content::File { source, .. } => {
                let mut value = [0; 64];
                let has_capability = matches!(source, Source::Disk(disk)
                    if rustix::fs::lgetxattr(&*disk, c"security.capability", &mut value[..]).is_ok());
                if entry.mode & 0o6000 != 0 || has_capability {
                    dropped.push(path.clone());
                }
                entry.mode &= 0o777;
            }
        }
    }
    dropped
}

#[cfg(test)]
mod tests {
    use super::is_excluded;

    #[test]
    fn what_programs_read_stays() {
        for path in [
            "/usr/share/locale/de/x.mo",
            "/etc/init.d/x",
            "/usr/share/applications/x",
        ] {
            assert!(!is_excluded(path), "{path}");
        }
        for path in [
            "/usr/share/man/man1/x.1",
            "/etc/passwd",
            "/var/lib/dpkg/status",
        ] {
            assert!(is_excluded(path), "{path}");
        }
    }
}
