//! Decisions kept for the next start of the same thing: a hit reads one small file, asks the rootfs whether what was looked at is
//! still as it was, and neither parses an ELF file or a script nor searches the library.
//!
//! An entry is found by everything that decides besides the rootfs: command line, environment, policy, generation of the library
//! and this program's own version. What was looked at in the rootfs is in the entry ([`Witnesses`]), missing files too. So an entry
//! holds exactly as long as nothing it was made of has changed, and containers of one image share it. Entries are written
//! whole and carry their own digest; one that is damaged counts as absent, and a directory that others can write to is not used.
//! How many there are, and how long one lives after its last use, is set by [`CacheLimits`].

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fragment_analysis::Task;
use fragment_resolve::Policy;
use fragment_sys::file;
use fragment_sys::root::{Root, Witnesses};
use fragment_types::manifest::Size;
use fragment_types::plan::{Entry, Generated, Layer};
use fragment_types::{Capability, Digest, Requirement};
use rustix::fs::{self as sys, AtFlags, Mode, OFlags, Timestamps};
use serde::{Deserialize, Serialize};

use crate::settings::Settings;
use crate::settings::life::CacheLimits;

/// Changes when entries of earlier builds cannot be used.
const FORMAT: u32 = 2;
/// Largest entry that is read or written, in bytes.
const MAX_ENTRY: u64 = 16 << 20;
/// Begin of the names of entries that are being written.
const UNFINISHED: &str = ".new-";
/// Length of a digest as text and the line end after it.
const HEADER: usize = 72;

/// A decision as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kept {
    /// What was looked at in the rootfs.
    pub(crate) witnesses: Witnesses,
    pub(crate) entry: Entry,
    /// As analysis found them, before mounts of the bundle were looked at.
    pub(crate) found: Vec<Requirement>,
    /// Which of them mounts supply, and where.
    pub(crate) supplied: Vec<(usize, String)>,
    /// What choosing has added to them.
    pub(crate) added: Vec<Requirement>,
    pub(crate) layers: Vec<Layer>,
    pub(crate) capabilities: BTreeSet<Capability>,
    pub(crate) size: Size,
    pub(crate) generated: Option<Generated>,
    pub(crate) warnings: Vec<String>,
}

/// A directory of kept decisions.
#[derive(Debug)]
pub(crate) struct PlanCache {
    directory: OwnedFd,
    path: PathBuf,
    limits: CacheLimits,
    /// The last entry that was written.
    written: Mutex<Option<Key>>,
}

/// What an entry is found by.
#[derive(Debug, Clone)]
pub(crate) struct Key(String);

impl Key {
    /// The key of `task` under `policy` with the library of `generation`.
    pub(crate) fn new(task: &Task, policy: &Policy, generation: Digest) -> Self {
        let build = option_env!("FRAGMENT_COMMIT").unwrap_or_default();
        let all = (FORMAT, crate::version(), build, task, policy, generation);
        Self(Digest::of(format!("{all:?}").as_bytes()).to_string())
    }

    /// The same of a task without any rootfs: its decisions are no bundle's.
    pub(crate) fn of_task(task: &Task, policy: &Policy, generation: Digest) -> Self {
        let own = Self::new(task, policy, generation);
        Self(Digest::of(format!("no rootfs, {}", own.0).as_bytes()).to_string())
    }

    fn file(&self) -> &str {
        self.0.rsplit(':').next().unwrap_or(&self.0)
    }
}

impl PlanCache {
    /// The cache of `settings`, made if need be. None where that cannot be, or where others could write to it: it is a help and no
    /// need.
    pub(crate) fn open(settings: &Settings) -> Option<Self> {
        Self::open_in(&settings.state, settings.life.cache)
    }

    fn open_in(state: &Path, limits: CacheLimits) -> Option<Self> {
        let path = state.join("plans");
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = match sys::open(&path, flags, Mode::empty()) {
            Ok(directory) => directory,
            Err(rustix::io::Errno::NOENT) => {
                let mut builder = fs::DirBuilder::new();
                builder.recursive(true).mode(0o700).create(state).ok()?;
                match sys::mkdir(&path, Mode::RWXU) {
                    Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                    Err(_) => return None,
                }
                sys::open(&path, flags, Mode::empty()).ok()?
            }
            Err(_) => return None,
        };
        let stat = sys::fstat(&directory).ok()?;
        let ours = stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_mode & 0o022 == 0;
        ours.then_some(Self {
            directory,
            path,
            limits,
            written: Mutex::default(),
        })
    }

    /// The decision kept under `key`, if everything looked at for it is the same in `root`.
    pub(crate) fn read(&self, key: &Key, root: &Root) -> Option<Kept> {
        let _span = tracing::debug_span!("cache").entered();
        if self.limits.entries == 0 {
            return None;
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = sys::openat(&self.directory, key.file(), flags, Mode::empty()).ok()?;
        let file = File::from(file);
        let is_old = |file: &File| {
            let used = file.metadata().and_then(|about| about.modified());
            used.map_or(true, |used| {
                is_idle(used, SystemTime::now(), self.limits.idle)
            })
        };
        if is_old(&file) {
            return None;
        }
        let text = file::read_at_most(&file, MAX_ENTRY).ok()?;
        let (digest, body) = text.split_at_checked(HEADER)?;
        if digest != header(body).as_bytes() {
            return None;
        }
        let kept: Kept = serde_json::from_slice(body).ok()?;
        if !kept.witnesses.hold(root) {
            return None;
        }
        let now = Timestamps {
            last_access: rustix::fs::Timespec {
                tv_sec: 0,
                tv_nsec: sys::UTIME_OMIT,
            },
            last_modification: rustix::fs::Timespec {
                tv_sec: 0,
                tv_nsec: sys::UTIME_NOW,
            },
        };
        // the time of its last use
        let _ = sys::futimens(&file, &now);
        Some(kept)
    }

    /// Keeps a decision. What cannot be written is not kept, nor is anything where no entry may be; entries of another time go then
    /// too.
    pub(crate) fn write(&self, key: &Key, kept: &Kept) {
        let _span = tracing::debug_span!("keep").entered();
        self.prune(SystemTime::now());
        if self.limits.entries == 0 {
            return;
        }
        let Ok(body) = serde_json::to_vec(kept) else {
            return;
        };
        if body.len() as u64 + HEADER as u64 > MAX_ENTRY {
            return;
        }
        let new = format!("{UNFINISHED}{}-{}", std::process::id(), key.file());
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(file) = sys::openat(&self.directory, &new, flags, Mode::RUSR | Mode::WUSR) else {
            return;
        };
        let mut file = File::from(file);
        let written = file
            .write_all(header(&body).as_bytes())
            .and_then(|()| file.write_all(&body));
        let directory = self.directory.as_fd();
        if written.is_err() || sys::renameat(directory, &new, directory, key.file()).is_err() {
            let _ = sys::unlinkat(directory, &new, AtFlags::empty());
        } else {
            *self.last_written() = Some(key.clone());
        }
    }

    fn last_written(&self) -> MutexGuard<'_, Option<Key>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what this process has just kept: it does not work out.
    pub(crate) fn take_back(&self) {
        if let Some(key) = self.last_written().take() {
            let _ = sys::unlinkat(&self.directory, key.file(), AtFlags::empty());
        }
    }

    /// Removes what is idle, what a killed writer left, and of the rest the longest unused until there is room for one more.
    fn prune(&self, now: SystemTime) {
        let mut used = Vec::new();
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            let Ok(time) = entry.metadata().and_then(|about| about.modified()) else {
                continue;
            };
            let is_unfinished = entry
                .file_name()
                .to_str()
                .is_some_and(|name| name.starts_with(UNFINISHED));
            if is_idle(time, now, self.limits.idle) {
                let _ = fs::remove_file(entry.path());
            } else if !is_unfinished {
                used.push((time, entry.path()));
            }
        }
        used.sort();
        let surplus = (used.len() + 1).saturating_sub(self.limits.entries);
        for (_, path) in used.iter().take(surplus) {
            let _ = fs::remove_file(path);
        }
    }
}

/// Whether an entry last used at `used` is too old. A clock that was set back makes it neither older nor younger than it is.
fn is_idle(used: SystemTime, now: SystemTime, most: Duration) -> bool {
    now.duration_since(used).is_ok_and(|idle| idle > most)
}

/// The digest of an entry's body, in the line before it.
fn header(body: &[u8]) -> String {
    format!("{}\n", Digest::of(body))
}

#[cfg(test)]
mod tests {
    use fragment_types::plan::EntryKind;

    use super::*;

    const LIMITS: CacheLimits = CacheLimits {
        entries: 5,
        idle: Duration::from_secs(300),
    };

    struct Sample {
        state: tempfile::TempDir,
        rootfs: tempfile::TempDir,
    }

    impl Sample {
        fn new() -> Self {
            let rootfs = tempfile::tempdir().unwrap();
            fs::write(rootfs.path().join("app"), "x").unwrap();
            std::thread::sleep(Duration::from_millis(150));
            Self {
                state: tempfile::tempdir().unwrap(),
                rootfs,
            }
        }

        fn root(&self) -> Root {
            Root::open(self.rootfs.path()).unwrap()
        }

        fn cache(&self) -> PlanCache {
            self.cache_of(LIMITS)
        }

        fn cache_of(&self, limits: CacheLimits) -> PlanCache {
            PlanCache::open_in(self.state.path(), limits).unwrap()
        }

        fn kept(&self) -> Kept {
            let root = self.root().recording();
            root.lookup("/app").unwrap();
            root.lookup("/usr/bin/env").unwrap();
            Kept {
                witnesses: root.witnesses().unwrap(),
                entry: Entry {
                    command: "/app".into(),
                    path: "/app".into(),
                    kind: EntryKind::StaticElf,
                    in_bundle: true,
                },
                found: Vec::new(),
                supplied: Vec::new(),
                added: Vec::new(),
                layers: Vec::new(),
                capabilities: BTreeSet::new(),
                size: Size::default(),
                generated: None,
                warnings: vec!["w".into()],
            }
        }

        fn files(&self) -> Vec<PathBuf> {
            let entries = fs::read_dir(self.state.path().join("plans")).unwrap();
            entries.map(|entry| entry.unwrap().path()).collect()
        }
    }

    fn key(argument: &str) -> Key {
        let task = Task {
            argv: vec!["/app".into(), argument.into()],
            env: Vec::new(),
            cwd: "/".into(),
            uid: 0,
            gid: 0,
            terminal: false,
        };
        Key::new(&task, &Policy::default(), Digest::of(b"library"))
    }

    #[test]
    fn a_decision_is_found_again_until_the_rootfs_changes() {
        let sample = Sample::new();
        let kept = sample.kept();
        sample.cache().write(&key("a"), &kept);
        assert_eq!(sample.cache().read(&key("a"), &sample.root()), Some(kept));
        assert_eq!(sample.cache().read(&key("b"), &sample.root()), None);
        fs::create_dir(sample.rootfs.path().join("usr")).unwrap();
        assert_eq!(sample.cache().read(&key("a"), &sample.root()), None);
    }

    #[test]
    fn what_decides_is_in_the_key() {
        let task = |env: &str, uid| Task {
            argv: vec!["/app".into()],
            env: vec![env.into()],
            cwd: "/".into(),
            uid,
            gid: 0,
            terminal: false,
        };
        let (policy, library) = (Policy::default(), Digest::of(b"library"));
        let always = Policy {
            compose: fragment_resolve::Compose::Always,
            ..Policy::default()
        };
        let keys = BTreeSet::from([
            Key::new(&task("A=1", 0), &policy, library).0,
            Key::new(&task("A=2", 0), &policy, library).0,
            Key::new(&task("A=1", 1), &policy, library).0,
            Key::new(&task("A=1", 0), &always, library).0,
            Key::new(&task("A=1", 0), &policy, Digest::of(b"other")).0,
        ]);
        assert_eq!(keys.len(), 5);
    }

    #[test]
    fn damage_is_no_decision() {
        let sample = Sample::new();
        sample.cache().write(&key("a"), &sample.kept());
        let [file] = &sample.files()[..] else {
            panic!()
        };
        let good = fs::read(file).unwrap();
        for at in [0, HEADER - 1, HEADER, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 4;
            fs::write(file, bad).unwrap();
            assert_eq!(sample.cache().read(&key("a"), &sample.root()), None, "{at}");
        }
        for length in [0, HEADER - 1, HEADER, good.len() - 1] {
            fs::write(file, &good[..length]).unwrap();
            assert_eq!(
                sample.cache().read(&key("a"), &sample.root()),
                None,
                "{length}"
            );
        }
        sample.cache().write(&key("a"), &sample.kept());
        assert!(sample.cache().read(&key("a"), &sample.root()).is_some());
    }

    #[test]
    fn the_longest_unused_go_and_so_do_the_idle() {
        let sample = Sample::new();
        let (cache, kept) = (sample.cache(), sample.kept());
        let age = |file: &Path, seconds| {
            let time = SystemTime::now() - Duration::from_secs(seconds);
            File::open(file).unwrap().set_modified(time).unwrap();
        };
        for number in 0..=LIMITS.entries as u64 {
            cache.write(&key(&number.to_string()), &kept);
            let file = sample
                .state
                .path()
                .join("plans")
                .join(key(&number.to_string()).file());
            age(&file, 200 - number);
        }
        assert_eq!(sample.files().len(), LIMITS.entries);
        assert_eq!(cache.read(&key("0"), &sample.root()), None);
        // used, so it is not the oldest any more
        assert!(cache.read(&key("1"), &sample.root()).is_some());
        cache.write(&key("more"), &kept);
        assert!(cache.read(&key("1"), &sample.root()).is_some());
        assert_eq!(cache.read(&key("2"), &sample.root()), None);
        for file in sample.files() {
            age(&file, LIMITS.idle.as_secs() + 1);
        }
        fs::write(sample.state.path().join("plans/.new-1-left"), "").unwrap();
        age(
            &sample.state.path().join("plans/.new-1-left"),
            LIMITS.idle.as_secs() + 1,
        );
        assert_eq!(cache.read(&key("1"), &sample.root()), None, "idle");
        cache.write(&key("last"), &kept);
        assert_eq!(sample.files().len(), 1);
    }

    #[test]
    fn limits_are_those_of_the_settings() {
        let sample = Sample::new();
        let (cache, kept) = (sample.cache(), sample.kept());
        for number in 0..5 {
            cache.write(&key(&number.to_string()), &kept);
        }
        assert_eq!(sample.files().len(), 5);
        let two = CacheLimits {
            entries: 2,
            ..LIMITS
        };
        sample.cache_of(two).write(&key("more"), &kept);
        assert_eq!(sample.files().len(), 2);
        let idle = CacheLimits {
            idle: Duration::from_secs(1),
            ..LIMITS
        };
        for file in sample.files() {
            let time = SystemTime::now() - Duration::from_secs(2);
            File::open(file).unwrap().set_modified(time).unwrap();
        }
        assert_eq!(
            sample.cache_of(idle).read(&key("more"), &sample.root()),
            None
        );
        assert!(cache.read(&key("more"), &sample.root()).is_some());
        let none = CacheLimits {
            entries: 0,
            ..LIMITS
        };
        assert_eq!(
            sample.cache_of(none).read(&key("more"), &sample.root()),
            None
        );
        sample.cache_of(none).write(&key("last"), &kept);
        assert_eq!(sample.files().len(), 0);
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_not_used() {
        use std::os::unix::fs::PermissionsExt as _;
        let sample = Sample::new();
        sample.cache();
        let plans = sample.state.path().join("plans");
        fs::set_permissions(&plans, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(PlanCache::open_in(sample.state.path(), LIMITS).is_none());
        fs::remove_dir(&plans).unwrap();
        std::os::unix::fs::symlink("/tmp", &plans).unwrap();
        assert!(PlanCache::open_in(sample.state.path(), LIMITS).is_none());
    }
}
