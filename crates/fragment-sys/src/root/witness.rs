//! What was looked at in a root, so that a conclusion drawn from it can be used again while it all still holds.
//!
//! Every look-up of a recording [`Root`] leaves a witness: a path, how it was walked and what was seen there. As long as the
//! witnesses hold, whoever draws the same conclusions from the same look-ups comes to the same end. Checking one costs an
//! openat2(2) and a statx(2), and nothing is read.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::fs::{self as sys, FileType, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::{RESOLVE, Root};

/// A file that changed so lately may change again without its times showing it: they advance with the timer tick.
const SETTLED: Duration = Duration::from_millis(100);

/// How a path was walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Way {
    /// A link anywhere is an error of its own.
    NoLinks,
    /// The last component may be a link, which is not followed.
    LastLink,
    /// Links are followed inside the root.
    Followed,
    /// The same, and the directory was listed.
    Listed,
}

impl Way {
    pub(super) fn flags(self) -> (OFlags, ResolveFlags) {
        match self {
            Self::NoLinks => (OFlags::PATH, RESOLVE | ResolveFlags::NO_SYMLINKS),
            Self::LastLink => (
                OFlags::PATH | OFlags::NOFOLLOW,
                RESOLVE | ResolveFlags::NO_SYMLINKS,
            ),
            Self::Followed | Self::Listed => (OFlags::PATH, RESOLVE),
        }
    }
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Seen {
    Absent,
    /// A link where none was allowed.
    Link,
    /// A directory that was gone through: what it holds is no concern of this witness.
    Directory {
        mode: u32,
        owner: (u32, u32),
    },
    /// Anything else, or a directory that was listed. Device numbers are left out: an engine mounts the same layers anew for
    /// every container.
    Thing {
        mode: u32,
        owner: (u32, u32),
        size: i64,
        ino: u64,
        mtime: (i64, u64),
        ctime: (i64, u64),
    },
}

impl Seen {
    fn of(stat: &Stat, way: Way) -> Self {
        let (mode, owner) = (stat.st_mode, (stat.st_uid, stat.st_gid));
        let is_directory = FileType::from_raw_mode(mode) == FileType::Directory;
        if is_directory && way != Way::Listed {
            return Self::Directory { mode, owner };
        }
        #[allow(
            clippy::unnecessary_cast,
            clippy::useless_conversion,
            reason = "types differ by target"
        )]
        Self::Thing {
            mode,
            owner,
            size: stat.st_size as i64,
            ino: stat.st_ino as u64,
            mtime: (stat.st_mtime as i64, stat.st_mtime_nsec as u64),
            ctime: (stat.st_ctime as i64, stat.st_ctime_nsec as u64),
        }
    }

    fn is_settled(&self, now: SystemTime) -> bool {
        let Self::Thing { mtime, ctime, .. } = self else {
            return true;
        };
        [mtime, ctime].into_iter().all(|(seconds, nanos)| {
            let Ok(seconds) = u64::try_from(*seconds) else {
                return true; // before 1970
            };
            let time = SystemTime::UNIX_EPOCH
                + Duration::from_secs(seconds)
                + Duration::from_nanos(*nanos);
            now.duration_since(time).is_ok_and(|age| age >= SETTLED)
        })
    }
}

/// What a recording root has noted.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    noted: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    seen: BTreeMap<(String, Way), Seen>,
    /// Something happened that cannot be witnessed.
    is_void: bool,
}

impl Recorder {
    /// Notes what came of an attempt to open `path`.
    pub(super) fn note(&self, path: &str, way: Way, outcome: Result<&Stat, Errno>) {
        let mut notes = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = match outcome {
            Ok(stat) => Seen::of(stat, way),
            Err(Errno::NOENT) => Seen::Absent,
            Err(Errno::LOOP) if way != Way::Followed => Seen::Link,
            Err(_) => {
                notes.is_void = true;
                return;
            }
        };
        let known = notes.seen.insert((path.to_owned(), way), seen.clone());
        // it changed while it was looked at
        notes.is_void |= known.is_some_and(|known| known != seen);
    }
}

/// What was looked at in a root.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witnesses(Vec<(String, Way, Seen)>);

impl Witnesses {
    /// Whether everything is seen again in `root`.
    #[must_use]
    pub fn hold(&self, root: &Root) -> bool {
        self.0.iter().all(|(path, way, seen)| {
            let now = look(root, path, *way);
            now.as_ref() == Some(seen)
        })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was looked at.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What is at `path`; nothing where that cannot be told.
fn look(root: &Root, path: &str, way: Way) -> Option<Seen> {
    let (flags, resolve) = way.flags();
    let stat = |fd: OwnedFd| sys::fstat(fd).ok();
    match root.openat2(path, flags, resolve) {
        Ok(fd) => Some(Seen::of(&stat(fd)?, way)),
        Err(Errno::NOENT) => Some(Seen::Absent),
        Err(Errno::LOOP) => Some(Seen::Link),
        Err(_) => None,
    }
}

impl Root {
    /// The same root, noting from now on what is looked at.
    #[must_use]
    pub fn recording(mut self) -> Self {
        self.recorder = Some(Recorder::default());
        self
    }

    /// What was looked at since it began recording. `None` when that cannot be witnessed: it does not record, met an error
    /// other than a missing file, or saw something that changed within the last 100 ms.
    #[must_use]
    pub fn witnesses(&self) -> Option<Witnesses> {
        let noted = &self.recorder.as_ref()?.noted;
        let notes = noted.lock().unwrap_or_else(PoisonError::into_inner);
        let now = SystemTime::now();
        if notes.is_void || notes.seen.values().any(|seen| !seen.is_settled(now)) {
            return None;
        }
        let mut kept = Vec::new();
        let mut absent = BTreeSet::new();
        for ((path, way), seen) in &notes.seen {
            match seen {
                Seen::Absent => match self.topmost_absent(path, &absent) {
                    Some(top) => {
                        absent.insert(top);
                    }
                    None => kept.push((path.clone(), *way, seen.clone())),
                },
                seen => kept.push((path.clone(), *way, seen.clone())),
            }
        }
        let absent = absent
            .into_iter()
            .map(|path| (path, Way::NoLinks, Seen::Absent));
        Some(Witnesses(absent.chain(kept).collect()))
    }

    /// The directory on the way to the absent `path` that is itself absent: one witness for all that would be below it.
    /// `None` where a link is on the way.
    fn topmost_absent(&self, path: &str, known: &BTreeSet<String>) -> Option<String> {
        if path.split('/').any(|name| name == "..") {
            return None;
        }
        let ends = path.match_indices('/').map(|(at, _)| at).skip(1);
        for end in ends.chain([path.len()]) {
            let above = &path[..end];
            if known.contains(above) {
                return Some(above.to_owned());
            }
            match look(self, above, Way::NoLinks) {
                Some(Seen::Absent) => return Some(above.to_owned()),
                Some(Seen::Directory { .. }) => {}
                _ => return None,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use super::*;

    struct Sample {
        directory: tempfile::TempDir,
    }

    impl Sample {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            fs::create_dir_all(directory.path().join("app/lib")).unwrap();
            fs::write(directory.path().join("app/run"), "1").unwrap();
            symlink("run", directory.path().join("app/link")).unwrap();
            std::thread::sleep(SETTLED + Duration::from_millis(50));
            Self { directory }
        }

        fn root(&self) -> Root {
            Root::open(self.directory.path()).unwrap()
        }

        fn at(&self, path: &str) -> std::path::PathBuf {
            self.directory.path().join(path)
        }

        /// Looks at a good deal.
        fn witnesses(&self) -> Option<Witnesses> {
            let root = self.root().recording();
            assert!(root.lookup("/app/link").unwrap().is_some());
            assert_eq!(root.read_prefix("/app/run", 10).unwrap(), b"1");
            assert!(
                root.lookup("/usr/lib/x86_64-linux-gnu/libc.so.6")
                    .unwrap()
                    .is_none()
            );
            assert!(root.lookup("/usr/lib/libm.so.6").unwrap().is_none());
            assert!(
                root.lookup_nofollow_last("/app/lib/none")
                    .unwrap()
                    .is_none()
            );
            assert!(root.read_dir("/app/lib", 10).unwrap().unwrap().is_empty());
            root.witnesses()
        }
    }

    #[test]
    fn what_is_unchanged_holds_and_absent_directories_are_one_witness() {
        let sample = Sample::new();
        let witnesses = sample.witnesses().unwrap();
        assert!(witnesses.hold(&sample.root()));
        let absent: Vec<&str> = witnesses
            .0
            .iter()
            .filter(|(_, _, seen)| *seen == Seen::Absent)
            .map(|(path, ..)| path.as_str())
            .collect();
        assert_eq!(absent, ["/app/lib/none", "/usr"]);
        // what nobody looked at may change
        fs::write(sample.at("app/other"), "").unwrap();
        fs::write(sample.at("other"), "").unwrap();
        assert!(witnesses.hold(&sample.root()));
    }

    #[test]
    fn every_change_of_what_was_seen_is_noticed() {
        type Change = fn(&Sample);
        let changes: [(&str, Change); 8] = [
            ("content of the same size", |s| {
                fs::write(s.at("app/run"), "2").unwrap()
            }),
            ("mode", |s| {
                use std::os::unix::fs::PermissionsExt as _;
                fs::set_permissions(s.at("app/run"), fs::Permissions::from_mode(0o755)).unwrap();
            }),
            ("replaced by rename", |s| {
                fs::write(s.at("new"), "1").unwrap();
                fs::rename(s.at("new"), s.at("app/run")).unwrap();
            }),
            ("gone", |s| fs::remove_file(s.at("app/run")).unwrap()),
            ("another link", |s| {
                fs::remove_file(s.at("app/link")).unwrap();
                symlink("lib", s.at("app/link")).unwrap();
            }),
            ("there now", |s| fs::create_dir_all(s.at("usr")).unwrap()),
            ("a link there now", |s| symlink("app", s.at("usr")).unwrap()),
            ("a file more in a directory that was listed", |s| {
                fs::write(s.at("app/lib/more"), "").unwrap();
            }),
        ];
        for (what, change) in changes {
            let sample = Sample::new();
            let witnesses = sample.witnesses().unwrap();
            change(&sample);
            assert!(!witnesses.hold(&sample.root()), "{what}");
        }
    }

    #[test]
    fn what_just_changed_and_what_failed_is_no_witness() {
        let sample = Sample::new();
        fs::write(sample.at("app/run"), "1").unwrap();
        assert_eq!(sample.witnesses(), None, "a file written a moment ago");
        let sample = Sample::new();
        let root = sample.root().recording();
        assert!(root.lookup("/app/run/below").is_err());
        assert_eq!(root.witnesses(), None, "a file in the place of a directory");
        assert_eq!(sample.root().witnesses(), None, "not recording");
    }
}
