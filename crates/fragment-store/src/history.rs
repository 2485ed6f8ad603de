//! How often and when each component was used, and how long its loads took: one small file `uses/HEX` for each tree.
//!
//! The file's time of modification is that of the last use, its time of access that of the last eviction: it is opened without
//! changing that. Its content is two records of fixed size, each written by one pwrite(2) and never flushed. A record that is not
//! whole (a power failure, another release) is no history. There is no lock: of two uses that end at the same moment one may be
//! lost, which changes no decision.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, SystemTime};

use fragment_types::Digest;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use crate::catalogue::crc;
use crate::error::StoreError;
use crate::layout::{self, USES};
use crate::lease::LeasedComponent;
use crate::store::Store;
use crate::times;

/// After this long a use counts half as much.
pub const HALF_LIFE: Duration = Duration::from_secs(86_400);
/// One use of this moment: uses are kept in thousandths.
pub const ONE_USE: u64 = 1000;
/// More than a node can have: a hundred uses a millisecond for days.
const MOST: u64 = 1 << 44;

/// Binary digits of a part of a half-life.
const DIGITS: u32 = 16;
/// What is left after a half, a quarter, ... of a half-life, in parts of 2^32. Whole numbers: the mathematical library would be two
/// more system calls for each process that loads it.
const ROOTS: [u32; DIGITS as usize] = [
    3_037_000_500,
    3_611_622_603,
    3_938_502_376,
    4_112_874_773,
    4_202_935_003,
    4_248_701_965,
    4_271_771_996,
    4_283_353_945,
    4_289_156_690,
    4_292_061_010,
    4_293_513_907,
    4_294_240_540,
    4_294_603_903,
    4_294_785_595,
    4_294_876_445,
    4_294_921_870,
];

/// Bytes of a record: three numbers, its kind, a CRC-32 of all that.
const RECORD: usize = 32;

/// A kind of record, where it is, and what it begins with at the end.
#[derive(Clone, Copy)]
struct Kind {
    offset: u64,
    mark: [u8; 4],
}

const OF_USES: Kind = Kind {
    offset: 0,
    mark: *b"use1",
};
const OF_LOADS: Kind = Kind {
    offset: RECORD as u64,
    mark: *b"load",
};

impl Kind {
    fn encode(self, numbers: [u64; 3]) -> [u8; RECORD] {
        let mut record = [0; RECORD];
        for (bytes, number) in record.chunks_exact_mut(8).zip(numbers) {
            bytes.copy_from_slice(&number.to_le_bytes());
        }
        record[24..28].copy_from_slice(&self.mark);
        let sum = crc(&record[..28]);
        record[28..].copy_from_slice(&sum.to_le_bytes());
        record
    }

    /// The numbers of a record; none of one that is not whole.
    fn decode(self, record: &[u8]) -> Option<[u64; 3]> {
        let (content, sum) = record.split_at_checked(28)?;
        if sum != crc(content).to_le_bytes() || content[24..] != self.mark {
            return None;
        }
        let mut numbers = [0; 3];
        for (number, bytes) in numbers.iter_mut().zip(content.chunks_exact(8)) {
            *number = u64::from_le_bytes(bytes.try_into().ok()?);
        }
        Some(numbers)
    }

    fn read(self, file: &OwnedFd) -> Option<[u64; 3]> {
        let mut record = [0; RECORD];
        let length = rustix::io::pread(file, &mut record, self.offset).ok()?;
        self.decode(&record[..length])
    }

    fn write(self, file: &OwnedFd, numbers: [u64; 3]) -> rustix::io::Result<()> {
        // a record that is cut short is none
        rustix::io::pwrite(file, &self.encode(numbers), self.offset).map(drop)
    }
}

/// Uses, of which each counts half as much after [`HALF_LIFE`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Uses {
    /// When the last one ended, in milliseconds since 1970.
    at: u64,
    /// What all of them counted then, in thousandths.
    thousandths: u64,
}

impl Uses {
    fn read(file: &OwnedFd) -> Option<Self> {
        let [at, thousandths, _] = OF_USES.read(file)?;
        (thousandths <= MOST).then_some(Self { at, thousandths })
    }

    fn write(self, file: &OwnedFd) -> rustix::io::Result<()> {
        OF_USES.write(file, [self.at, self.thousandths, 0])
    }

    /// What they count `now`, in thousandths. A use of the future counts as one of now.
    pub(crate) fn score(self, now: u64) -> u64 {
        let passed = u128::from(now.saturating_sub(self.at));
        // in half-lives, as a number of 16 binary digits after the point
        let passed = (passed << DIGITS) / HALF_LIFE.as_millis();
        let mut left = u128::from(self.thousandths) << DIGITS;
        for (digit, factor) in (1..=DIGITS).zip(ROOTS) {
            if passed >> (DIGITS - digit) & 1 == 1 {
                left = (left * u128::from(factor)) >> 32;
            }
        }
        let halves = u32::try_from(passed >> DIGITS).unwrap_or(u32::MAX);
        let left = left.checked_shr(halves).unwrap_or(0);
        // never more than it was
        u64::try_from((left + (1 << (DIGITS - 1))) >> DIGITS).unwrap_or(self.thousandths)
    }

    fn with_one_more(self, now: u64) -> Self {
        Self {
            at: now,
            thousandths: (self.score(now) + ONE_USE).min(MOST),
        }
    }
}

/// How long loads of a component took on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct LoadTimes {
    /// How many there were.
    pub count: u64,
    /// How long the last one took, waiting included, in microseconds.
    pub last_micros: u64,
    /// All of them together, in microseconds.
    pub total_micros: u64,
}

impl LoadTimes {
    fn read(file: &OwnedFd) -> Option<Self> {
        let [count, last_micros, total_micros] = OF_LOADS.read(file)?;
        (count > 0).then_some(Self {
            count,
            last_micros,
            total_micros,
        })
    }

    /// How long the last load took, waiting included.
    #[must_use]
    pub fn last(&self) -> Duration {
        Duration::from_micros(self.last_micros)
    }

    /// How long one took on average.
    #[must_use]
    pub fn mean(&self) -> Duration {
        Duration::from_micros(self.total_micros / self.count.max(1))
    }

    fn with_one_more(before: Option<Self>, time: Duration) -> Self {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let (count, total) = before.map_or((0, 0), |all| (all.count, all.total_micros));
        Self {
            count: count.saturating_add(1),
            last_micros: micros,
            total_micros: total.saturating_add(micros),
        }
    }
}

/// What is noted of a tree.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Noted {
    /// When it was used last, in milliseconds since 1970; 0 for never.
    pub(crate) last_used: u64,
    /// When it was evicted last.
    pub(crate) evicted: u64,
    /// How often it was used.
    pub(crate) uses: Uses,
    /// How long its loads took.
    pub(crate) loads: Option<LoadTimes>,
}

impl Store {
    /// What is noted of a tree; of one that was never used, nothing.
    pub(crate) fn noted(&self, diff_id: &Digest) -> Noted {
        let path = self.path(USES).join(diff_id.hex());
        let Ok(about) = fs::symlink_metadata(&path) else {
            return Noted::default();
        };
        let time = |time: io::Result<SystemTime>| time.map_or(0, millis);
        let mut noted = Noted {
            last_used: time(about.modified()),
            evicted: time(about.accessed()),
            ..Noted::default()
        };
        if let Ok(file) = open(&path, OFlags::RDONLY) {
            noted.uses = Uses::read(&file).unwrap_or_default();
            noted.loads = LoadTimes::read(&file);
        }
        // so that a clock that was wrong is noticed
        noted.last_used = noted.last_used.max(noted.uses.at);
        noted
    }

    /// How long loads of the tree took on this node; none where none was, or where this user may not know.
    #[must_use]
    pub fn load_times(&self, diff_id: &Digest) -> Option<LoadTimes> {
        self.noted(diff_id).loads
    }

    /// Notes that the tree is used now, which is no use that counts: it is new, or was loaded.
    pub(crate) fn note_use(&self, diff_id: &Digest) -> Result<(), StoreError> {
        let path = self.path(USES).join(diff_id.hex());
        let times = times::modified(times::of(self.now()));
        let touch = || rustix::fs::utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW);
        match touch() {
            Err(rustix::io::Errno::NOENT) => {
                self.make_empty(&path)?;
                touch().map_err(StoreError::write(&path))
            }
            touched => touched.map_err(StoreError::write(&path)),
        }
    }

    /// Notes and counts uses of components, which ended at these moments, in milliseconds since 1970, the last one last.
    pub(crate) fn note_uses(&self, components: &[LeasedComponent], ends: &[u64]) {
        let last = ends.last().map_or_else(|| self.now(), |end| moment(*end));
        for component in components {
            let counted = self.change(&component.diff_id, last, |file, _| {
                let before = Uses::read(file).unwrap_or_default();
                let all = ends
                    .iter()
                    .fold(before, |uses, end| uses.with_one_more(*end));
                all.write(file)
            });
            if counted.is_err() {
                // what cannot be noted at all is the first to go, which costs a load
                let _ = self.note_use(&component.diff_id);
            }
        }
    }

    /// Notes that the tree was loaded now, and how long that took.
    pub(crate) fn note_load(&self, diff_id: &Digest, time: Duration) -> Result<(), StoreError> {
        self.change(diff_id, self.now(), |file, _| {
            let all = LoadTimes::with_one_more(LoadTimes::read(file), time);
            OF_LOADS.write(file, [all.count, all.last_micros, all.total_micros])
        })
        .or_else(|_| self.note_use(diff_id))
    }

    /// Makes a last use of the future, which a clock that was wrong has noted, one of now: its time begins anew, or it would never
    /// end.
    pub(crate) fn mend_time(&self, diff_id: &Digest) -> Result<(), StoreError> {
        self.change(diff_id, self.now(), |file, now| match Uses::read(file) {
            Some(uses) if uses.at > now => Uses { at: now, ..uses }.write(file),
            _ => Ok(()),
        })
    }

    /// Changes the records of a tree, which counts as used at `now`; `change` is told that in milliseconds since 1970.
    fn change(
        &self,
        diff_id: &Digest,
        now: SystemTime,
        change: impl FnOnce(&OwnedFd, u64) -> rustix::io::Result<()>,
    ) -> Result<(), StoreError> {
        let path = self.path(USES).join(diff_id.hex());
        let file = match open(&path, OFlags::RDWR) {
            Err(rustix::io::Errno::NOENT) => {
                self.make_empty(&path)?;
                open(&path, OFlags::RDWR)
            }
            opened => opened,
        };
        let file = file.map_err(StoreError::open(&path))?;
        change(&file, millis(now))
            .and_then(|()| rustix::fs::futimens(file.as_fd(), &times::modified(times::of(now))))
            .map_err(StoreError::write(&path))
    }

    /// Makes a file whose access time, that of its last eviction, is long ago.
    fn make_empty(&self, path: &Path) -> Result<(), StoreError> {
        layout::make_directory(&self.path(USES), 0o700)?;
        match layout::write_new(path, 0o600, b"", false) {
            // another process was first
            Err(StoreError::Create { source, .. })
                if source.kind() == io::ErrorKind::AlreadyExists =>
            {
                Ok(())
            }
            made => made,
        }?;
        let times = times::accessed(times::LONG_AGO);
        rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(StoreError::write(path))
    }
}

/// Opens a file whose time of access says something else than that (open(2), O_NOATIME).
fn open(path: &Path, access: OFlags) -> rustix::io::Result<OwnedFd> {
    // a fifo must not block us
    let flags = OFlags::NOATIME | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::open(path, access | flags, Mode::empty())
}

/// So many milliseconds after the begin of 1970.
fn moment(millis: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
}

/// Milliseconds since 1970.
pub(crate) fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000;
    const BEGIN: u64 = 1_800_000_000_000;

    #[test]
    fn a_use_counts_half_as_much_after_a_day() {
        let mut uses = Uses::default();
        assert_eq!(uses.score(BEGIN), 0);
        uses = uses.with_one_more(BEGIN);
        for (days, score) in [(0, 1000), (1, 500), (2, 250), (10, 1), (400, 0)] {
            assert_eq!(uses.score(BEGIN + days * DAY), score, "{days} days");
        }
        uses = uses.with_one_more(BEGIN + DAY);
        assert_eq!(uses.score(BEGIN + DAY), 1500);
        // one a day for ever is never more than two
        for day in 2..1000 {
            uses = uses.with_one_more(BEGIN + day * DAY);
        }
        assert_eq!(uses.score(BEGIN + 999 * DAY), 2000);
    }

    #[test]
    fn it_fades_as_two_to_the_power_does() {
        let uses = Uses {
            at: BEGIN,
            thousandths: 1_000_000_000,
        };
        let mut before = uses.thousandths;
        for passed in (0..40 * DAY).step_by(3_333_333) {
            let exact = 1e9 * (-(passed as f64) / DAY as f64).exp2();
            let score = uses.score(BEGIN + passed);
            let apart = (score as f64 - exact).abs();
            assert!(apart <= exact * 2e-5 + 1.0, "{score} for {exact}");
            assert!(score <= before, "it never grows");
            before = score;
        }
    }

    #[test]
    fn numbers_have_an_end() {
        let uses = Uses {
            at: BEGIN,
            thousandths: MOST,
        };
        assert_eq!(uses.with_one_more(BEGIN).thousandths, MOST);
        assert_eq!(uses.score(u64::MAX), 0);
        assert_eq!(uses.score(0), MOST);
        let all = LoadTimes {
            count: u64::MAX,
            last_micros: 1,
            total_micros: u64::MAX,
        };
        let more = LoadTimes::with_one_more(Some(all), Duration::MAX);
        assert_eq!(
            (more.count, more.mean()),
            (u64::MAX, Duration::from_micros(1))
        );
    }

    #[test]
    fn a_record_that_is_not_whole_is_none() {
        let numbers = [1, u64::MAX, 3];
        let record = OF_USES.encode(numbers);
        assert_eq!(OF_USES.decode(&record), Some(numbers));
        assert_eq!(OF_LOADS.decode(&record), None, "of the other kind");
        assert_eq!(OF_USES.decode(&[0; RECORD]), None);
        for length in 0..RECORD {
            assert_eq!(OF_USES.decode(&record[..length]), None, "{length} bytes");
        }
        for bit in 0..RECORD * 8 {
            let mut damaged = record;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(OF_USES.decode(&damaged), None, "bit {bit}");
        }
    }
}
