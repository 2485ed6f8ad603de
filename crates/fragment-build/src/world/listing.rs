//! What has changed in an upper layer since it was looked at last.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{DirEntryExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::world::io;

/// Directories whose content belongs to nobody: the installation's own state, and what is read by people.
const UNSEEN: [&str; 10] = [
    "/dev",
    "/proc",
    "/run",
    "/sys",
    "/tmp",
    "/usr/share/doc",
    "/usr/share/man",
    "/var/cache/apt",
    "/var/cache/debconf",
    "/var/lib/dpkg",
];

/// Every path of an upper layer, with the time and inode by which a change shows (ctime cannot be set: inode(7)).
#[derive(Debug, Default)]
pub(crate) struct Listing {
    seen: HashMap<String, (u64, i64, i64)>,
}

impl Listing {
    /// What is new in or changed below `upper`, parents first: files, links and whiteouts, and directories once. Names
    /// that are not UTF-8 are left out.
    pub(crate) fn update(&mut self, upper: &Path) -> Result<Vec<String>> {
        let mut changed = Vec::new();
        let mut pending: Vec<(PathBuf, String)> = vec![(upper.to_owned(), String::new())];
        while let Some((directory, below)) = pending.pop() {
            for entry in fs::read_dir(&directory).map_err(io("reading", &directory))? {
                let entry = entry.map_err(io("reading", &directory))?;
                let name = entry.file_name();
                let Some(name) = name.to_str() else { continue };
                let path = format!("{below}/{name}");
                let kind = entry.file_type().map_err(io("reading", &directory))?;
                let state = if kind.is_dir() {
                    if UNSEEN.contains(&path.as_str()) {
                        continue;
                    }
                    pending.push((entry.path(), path.clone()));
                    (0, 0, 0)
                } else {
                    // gone between the two calls: not there
                    let Ok(metadata) = entry.metadata() else {
                        continue;
                    };
                    (entry.ino(), metadata.ctime(), metadata.ctime_nsec())
                };
                if self.seen.get(&path) != Some(&state) {
                    changed.push(path.clone());
                    self.seen.insert(path, state);
                }
            }
        }
        changed.sort();
        Ok(changed)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::Listing;

    #[test]
    fn changes_show_once() {
        let directory = tempfile::tempdir().unwrap();
        let upper = directory.path();
        let mut listing = Listing::default();
        fs::create_dir_all(upper.join("etc/x")).unwrap();
        fs::create_dir_all(upper.join("var/lib/dpkg")).unwrap();
        fs::write(upper.join("var/lib/dpkg/status"), "").unwrap();
        fs::write(upper.join("etc/a"), "1").unwrap();
        let first = listing.update(upper).unwrap();
        assert_eq!(first, ["/etc", "/etc/a", "/etc/x", "/var", "/var/lib"]);
        assert!(listing.update(upper).unwrap().is_empty());
        fs::write(upper.join("etc/b"), "1").unwrap();
        // another file in its place, of the same size
        fs::write(upper.join("etc/new"), "2").unwrap();
        fs::rename(upper.join("etc/new"), upper.join("etc/a")).unwrap();
        assert_eq!(listing.update(upper).unwrap(), ["/etc/a", "/etc/b"]);
    }
}
