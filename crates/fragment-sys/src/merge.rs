//! Many layers of an overlay as one directory of hard links: an overlay has at most 500 (overlayfs.rst), and looks into each for a
//! name that is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File, FileTimes};
use std::io;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};

use rustix::fs::XattrFlags;

/// What makes a directory hide all that is below it (overlayfs.rst, "whiteouts and opaque directories").
pub const OPAQUE: &str = "trusted.overlay.opaque";
/// Longest value and list of extended attributes (xattr(7)).
const MAX_ATTRIBUTE: usize = 64 << 10;
/// Deepest directory that is merged.
const MAX_DEPTH: usize = 128;

/// Why layers cannot be merged.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {}", path.display())]
pub struct MergeError {
    /// What was being done: `linking`.
    pub operation: &'static str,
    /// With what.
    pub path: PathBuf,
    /// Why it failed.
    pub source: io::Error,
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> MergeError {
    let path = path.to_owned();
    move |source| MergeError {
        operation,
        path,
        source,
    }
}

/// Makes the directory `to`, which does what `layers`, topmost first, do to what is below them: whiteouts and opaque directories
/// among them. Files are hard links: nothing is copied, and `layers` stay as they are.
///
/// # Errors
/// When a layer cannot be read, or is nested more than 128 deep; when something cannot be made, because `to` is on another file system
/// say. What is there then is for the caller to remove.
pub fn merge(layers: &[PathBuf], to: &Path) -> Result<(), MergeError> {
    directory(layers, false, to, 0)
}

/// The same for a directory that is there, and empty; owner, mode, times and attributes of `to` itself are left alone.
///
/// # Errors
/// As [`merge`].
pub fn merge_into(layers: &[PathBuf], to: &Path) -> Result<(), MergeError> {
    fill(layers, to, 0)
}

/// Merges directories of one path, topmost first. `hides`: they lie on what is no directory.
fn directory(sources: &[PathBuf], hides: bool, to: &Path, depth: usize) -> Result<(), MergeError> {
    let Some(top) = sources.first() else {
        return Ok(());
    };
    fs::create_dir(to).map_err(failed("creating", to))?;
    fill(sources, to, depth)?;
    let opaque = hides || sources.iter().any(|source| is_opaque(source));
    take_metadata(top, to, opaque).map_err(failed("describing", to))
}

fn fill(sources: &[PathBuf], to: &Path, depth: usize) -> Result<(), MergeError> {
    if depth > MAX_DEPTH {
        let deep = io::Error::from(io::ErrorKind::InvalidInput);
        return Err(failed("nesting", to)(deep));
    }
    let mut directories: BTreeMap<OsString, (Vec<PathBuf>, bool)> = BTreeMap::new();
    let mut settled: BTreeSet<OsString> = BTreeSet::new();
    for source in sources {
        for entry in fs::read_dir(source).map_err(failed("reading", source))? {
            let entry = entry.map_err(failed("reading", source))?;
            let (name, path) = (entry.file_name(), entry.path());
            if settled.contains(&name) {
                continue;
            }
            let kind = entry.file_type().map_err(failed("reading", source))?;
            if kind.is_dir() {
                if is_opaque(&path) {
                    settled.insert(name.clone());
                }
                directories.entry(name).or_default().0.push(path);
                continue;
            }
            match directories.get_mut(&name) {
                Some((_, hides)) => *hides = true,
                None => {
                    let link = to.join(&name);
                    fs::hard_link(&path, &link).map_err(failed("linking", &link))?;
                }
            }
            settled.insert(name);
        }
    }
    for (name, (sources, hides)) in directories {
        directory(&sources, hides, &to.join(name), depth + 1)?;
    }
    Ok(())
}

fn is_opaque(directory: &Path) -> bool {
    let mut value = [0; 1];
    matches!(
        rustix::fs::lgetxattr(directory, OPAQUE, &mut value[..]),
        Ok(1)
    ) && value[0] == b'y'
}

/// Owner, mode, attributes and times of a directory, in an order in which one does not undo another.
fn take_metadata(from: &Path, to: &Path, opaque: bool) -> io::Result<()> {
    let metadata = fs::symlink_metadata(from)?;
    chown(to, Some(metadata.uid()), Some(metadata.gid()))?;
    fs::set_permissions(to, metadata.permissions())?;
    let mut names = vec![0; MAX_ATTRIBUTE];
    let length = match rustix::fs::llistxattr(from, &mut names[..]) {
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        other => other?,
    };
    for name in names[..length].split(|b| *b == 0).filter(|n| !n.is_empty()) {
        // the overlay's own are about this one layer
        if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") {
            continue;
        }
        let mut value = vec![0; MAX_ATTRIBUTE];
        let length = rustix::fs::lgetxattr(from, name, &mut value[..])?;
        rustix::fs::lsetxattr(to, name, &value[..length], XattrFlags::empty())?;
    }
    if opaque {
        rustix::fs::lsetxattr(to, OPAQUE, b"y", XattrFlags::empty())?;
    }
    let times = FileTimes::new()
        .set_accessed(metadata.accessed()?)
        .set_modified(metadata.modified()?);
    File::open(to)?.set_times(times)
}
