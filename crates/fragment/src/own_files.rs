//! The files that an app brings itself, with their digests.

use std::io;
use std::path::Path;

use fragment_launch::{Bundle, BundleError};
use fragment_sys::root::{Kind, Root, RootError};
use fragment_types::Digest;
use fragment_types::digest::Digesting;

/// Most files listed: a thin bundle has a few, and of a whole image package managers know more than a list of files says.
const MAX_FILES: usize = 5_000;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnFiles {
    /// Path inside the container and digest of regular files.
    pub files: Vec<(String, Digest)>,
    /// Whether there are more than are listed.
    pub truncated: bool,
}

/// Why a bundle's files cannot be listed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OwnFilesError {
    /// The bundle cannot be read.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Its root filesystem cannot be read.
    #[error(transparent)]
    Root(#[from] RootError),
    /// A file of it cannot be read.
    #[error("read {path}")]
    Read {
        /// Inside the container.
        path: String,
        /// Why not.
        source: io::Error,
    },
}

/// Lists the regular files of the bundle in `directory`; no link is followed.
///
/// # Errors
/// [`OwnFilesError`].
pub fn of_bundle(directory: &Path) -> Result<OwnFiles, OwnFilesError> {
    let bundle = Bundle::load(directory)?;
    of_root(&Root::open(bundle.required_rootfs()?)?)
}

fn of_root(root: &Root) -> Result<OwnFiles, OwnFilesError> {
    let mut found = OwnFiles::default();
    let mut directories = vec![String::new()];
    while let Some(directory) = directories.pop() {
        let shown = if directory.is_empty() {
            "/"
        } else {
            &directory
        };
        let entries = root.read_dir(shown, MAX_FILES * 2)?.unwrap_or_default();
        for entry in entries {
            let path = format!("{directory}/{}", entry.name);
            match root.lookup_nofollow_last(&path)?.map(|found| found.kind) {
                Some(Kind::Directory) => directories.push(path),
                Some(Kind::File) if found.files.len() == MAX_FILES => {
                    found.truncated = true;
                    return Ok(found);
                }
                Some(Kind::File) => {
                    let digest = digest(root, &path)?;
                    found.files.push((path, digest));
                }
                _ => {}
            }
        }
    }
    found.files.sort();
    Ok(found)
}

fn digest(root: &Root, path: &str) -> Result<Digest, OwnFilesError> {
    let mut digesting = Digesting::new(io::sink());
    let mut file = root.open_file(path)?;
    io::copy(&mut file, &mut digesting).map_err(|source| OwnFilesError::Read {
        path: path.to_owned(),
        source,
    })?;
    Ok(digesting.finish().1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_files_are_listed_and_links_are_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::create_dir_all(at("opt/app")).unwrap();
        std::fs::write(at("opt/app/run"), "x").unwrap();
        std::os::unix::fs::symlink("/etc", at("outside")).unwrap();
        std::os::unix::fs::symlink("opt/app/run", at("run")).unwrap();
        let found = of_root(&Root::open(directory.path()).unwrap()).unwrap();
        assert_eq!(found.files, [("/opt/app/run".to_owned(), Digest::of(b"x"))]);
        assert!(!found.truncated);
    }
}
