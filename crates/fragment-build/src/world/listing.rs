//! What has changed in an upper layer since it was looked at last.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

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

/// Below these directories packages have most of their files and scripts replace what they change: a directory says so by its
/// own times. What is changed in place there shows only when all is looked at.
const PLENTY: &str = "/usr/";

/// Inode and time by which a change shows (ctime cannot be set: inode(7)).
type Stamp = (u64, i64, i64);

/// How closely a layer is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// At directories that say they have changed, and at everything outside [`PLENTY`].
    Quick,
    /// At everything.
    Thorough,
}

/// Every path of an upper layer.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    directories: BTreeMap<String, Directory>,
}

#[derive(Debug, Default)]
struct Directory {
    stamp: Stamp,
    entries: HashMap<String, Stamp>,
}

impl Listing {
    /// What is new in or changed below `upper`, parents first: files, links and whiteouts, and directories once. Names
    /// that are not UTF-8 are left out.
    pub(crate) fn update(&mut self, upper: &Path, look: Look) -> Result<Vec<String>> {
        let mut changed = Vec::new();
        let mut pending = vec![String::new()];
        pending.extend(self.directories.keys().filter(|d| !d.is_empty()).cloned());
        while let Some(path) = pending.pop() {
            let directory = upper.join(path.trim_start_matches('/'));
            // gone since: a removed directory is of no interest
            let Ok(metadata) = fs::symlink_metadata(&directory) else {
                continue;
            };
            let known = self.directories.entry(path.clone()).or_default();
            let stamp = stamp(&metadata);
            let unchanged = known.stamp == stamp;
            if look == Look::Quick && unchanged && path.starts_with(PLENTY) {
                continue;
            }
            known.stamp = stamp;
            let mut new = Vec::new();
            for entry in fs::read_dir(&directory).map_err(io("reading", &directory))? {
                let entry = entry.map_err(io("reading", &directory))?;
                let name = entry.file_name();
                let Some(name) = name.to_str() else { continue };
                let kind = entry.file_type().map_err(io("reading", &directory))?;
                let state = if kind.is_dir() {
                    Stamp::default()
                } else {
                    // gone between the two calls: not there
                    let Ok(metadata) = entry.metadata() else {
                        continue;
                    };
                    self::stamp(&metadata)
                };
                if known.entries.get(name) == Some(&state) {
                    continue;
                }
                let path = format!("{path}/{name}");
                if kind.is_dir() {
                    if UNSEEN.contains(&path.as_str()) {
                        continue;
                    }
                    new.push(path.clone());
                }
                known.entries.insert(name.to_owned(), state);
                changed.push(path);
            }
            new.retain(|d| !self.directories.contains_key(d));
            pending.extend(new);
        }
        changed.sort();
        Ok(changed)
    }
}

fn stamp(metadata: &Metadata) -> Stamp {
    (metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Listing, Look};

    #[test]
    fn changes_show_once() {
        let directory = tempfile::tempdir().unwrap();
        let upper = directory.path();
        let mut listing = Listing::default();
        fs::create_dir_all(upper.join("etc/x")).unwrap();
        fs::create_dir_all(upper.join("var/lib/dpkg")).unwrap();
        fs::write(upper.join("var/lib/dpkg/status"), "").unwrap();
        fs::write(upper.join("etc/a"), "1").unwrap();
        let first = listing.update(upper, Look::Thorough).unwrap();
        assert_eq!(first, ["/etc", "/etc/a", "/etc/x", "/var", "/var/lib"]);
        assert!(listing.update(upper, Look::Thorough).unwrap().is_empty());
        fs::write(upper.join("etc/b"), "1").unwrap();
        // another file in its place, of the same size
        fs::write(upper.join("etc/new"), "2").unwrap();
        fs::rename(upper.join("etc/new"), upper.join("etc/a")).unwrap();
        assert_eq!(
            listing.update(upper, Look::Thorough).unwrap(),
            ["/etc/a", "/etc/b"]
        );
    }

    #[test]
    fn a_quick_look_leaves_out_what_is_changed_in_place_below_usr() {
        let directory = tempfile::tempdir().unwrap();
        let upper = directory.path();
        let mut listing = Listing::default();
        for made in ["etc", "usr/lib/x"] {
            fs::create_dir_all(upper.join(made)).unwrap();
        }
        for file in ["etc/passwd", "usr/lib/x/a"] {
            fs::write(upper.join(file), "1").unwrap();
        }
        listing.update(upper, Look::Thorough).unwrap();
        // the clock that stamps files goes in steps of some milliseconds
        std::thread::sleep(std::time::Duration::from_millis(20));
        for file in ["etc/passwd", "usr/lib/x/a", "usr/lib/x/b"] {
            fs::write(upper.join(file), "2").unwrap();
        }
        fs::create_dir_all(upper.join("usr/lib/y/z")).unwrap();
        fs::write(upper.join("usr/lib/y/z/c"), "2").unwrap();
        let quick = listing.update(upper, Look::Quick).unwrap();
        let expected = [
            "/etc/passwd",
            "/usr/lib/x/a",
            "/usr/lib/x/b",
            "/usr/lib/y",
            "/usr/lib/y/z",
            "/usr/lib/y/z/c",
        ];
        assert_eq!(quick, expected);
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(upper.join("usr/lib/x/a"), "33").unwrap();
        assert!(listing.update(upper, Look::Quick).unwrap().is_empty());
        let thorough = listing.update(upper, Look::Thorough).unwrap();
        assert_eq!(thorough, ["/usr/lib/x/a"]);
    }
}
