//! Making a generated layer from the trees of the layers it is for.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use fragment_sys::root::{Kind, Root};
use fragment_types::Digest;
use fragment_types::plan::{Generated, Part, PartKind};

use super::accounts::{self, List};
use super::{GeneratedError, loader, merged};

/// Most entries of a directory of a layer that are linked to.
const MAX_ENTRIES: usize = 1 << 16;

/// Makes every part below the empty `directory`, on disk when this returns. `tree` tells where the tree of a layer lies.
///
/// # Errors
/// When a tree cannot be read or something cannot be made.
pub fn make(
    generated: &Generated,
    tree: &dyn Fn(&Digest) -> PathBuf,
    directory: &Path,
) -> Result<(), GeneratedError> {
    for part in &generated.parts {
        if part.kind == PartKind::Merged {
            let trees: Vec<PathBuf> = part.from.iter().map(tree).collect();
            merged::make(&trees, directory)?;
            continue;
        }
        let trees = part
            .from
            .iter()
            .map(|diff_id| Root::open(tree(diff_id)))
            .collect::<Result<Vec<_>, _>>()?;
        let path = directory.join(part.path.trim_start_matches('/'));
        make_parents(directory, &path)?;
        // of a merged layer it is a link to a component's file
        if path.symlink_metadata().is_ok_and(|there| !there.is_dir()) {
            fs::remove_file(&path).map_err(failed(&path))?;
        }
        match &part.kind {
            PartKind::Accounts => make_list(part, &trees, &path)?,
            PartKind::LoaderCache { objects } => {
                write(&path, &loader::cache(objects), 0o644).map_err(failed(&path))?;
            }
            PartKind::Links => make_links(part, generated, &trees, &path)?,
            PartKind::Merged => {}
        }
    }
    Ok(())
}

/// The union of a list, with the mode and owner of the lowest layer's.
fn make_list(part: &Part, trees: &[Root], path: &Path) -> Result<(), GeneratedError> {
    let mut lists = Vec::new();
    let mut found = None;
    for tree in trees.iter().rev() {
        let there = tree.lookup_nofollow_last(&part.path)?;
        if let Some(there) = there.filter(|there| there.kind == Kind::File) {
            lists.push(tree.read_prefix(&part.path, accounts::MAX_LIST)?);
            found.get_or_insert(there);
        }
    }
    let list = if part.path.ends_with("passwd") || part.path == "/etc/shadow" {
        List::Users
    } else {
        List::Groups
    };
    let mode = found.as_ref().map_or(0o644, |found| found.mode & 0o777);
    write(path, &accounts::union(list, &lists), mode).map_err(failed(path))?;
    if let Some(found) = found
        && rustix::process::geteuid().is_root()
    {
        std::os::unix::fs::chown(path, Some(found.uid), Some(found.gid)).map_err(failed(path))?;
    }
    Ok(())
}

/// A directory with a link for everything that the layers hold in the one below `/usr`.
fn make_links(
    part: &Part,
    generated: &Generated,
    trees: &[Root],
    path: &Path,
) -> Result<(), GeneratedError> {
    make_directory(path).map_err(failed(path))?;
    let below = format!("/usr{}", part.path);
    let mut names = BTreeSet::new();
    for tree in trees {
        let entries = tree.read_dir(&below, MAX_ENTRIES)?.unwrap_or_default();
        names.extend(entries.into_iter().map(|entry| entry.name));
    }
    // relative: right from inside the container and from wherever its root is mounted
    let up = "../".repeat(part.path.matches('/').count());
    for name in names {
        let inside = format!("{}/{name}", part.path);
        if generated.parts.iter().any(|other| other.path == inside) {
            continue;
        }
        let target = format!("{up}{}/{name}", &below[1..]);
        std::os::unix::fs::symlink(target, path.join(&name)).map_err(failed(path))?;
    }
    Ok(())
}

fn make_parents(directory: &Path, path: &Path) -> Result<(), GeneratedError> {
    let inside = path
        .parent()
        .and_then(|parent| parent.strip_prefix(directory).ok());
    let mut at = directory.to_path_buf();
    for name in inside.into_iter().flat_map(Path::components) {
        at.push(name);
        if !at.is_dir() {
            make_directory(&at).map_err(failed(&at))?;
        }
    }
    Ok(())
}

pub(super) fn failed(path: &Path) -> impl FnOnce(io::Error) -> GeneratedError {
    let path = path.to_path_buf();
    move |source| GeneratedError::Make { path, source }
}

/// A directory as a root has them, whatever the umask.
fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o755).create(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o755))
}

/// A file that survives a power failure whole: an empty list of users would lock everybody out.
fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(content)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()
}
