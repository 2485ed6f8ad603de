//! Adaptive preloading: what was used often and recently is loaded before somebody needs it, as long as the machine is at ease and
//! nothing has to go for it.
//!
//! Components are ranked by their uses, of which each counts half as much after a day. The first of them are unpacked, and read
//! into memory, one after the other. The machine is looked at again after each: pressure ends it. What has no room is left, and what
//! is smaller gets its turn.
//!
//! It must not do what retention undoes. What was evicted since its last use is read again only if another use is to be expected
//! within its retention, as often as it is used: otherwise its pages would lie there as long as they just did, for nothing. What is
//! unpacked counts as used at that moment, and is evicted once when its retention is over; then the same holds for it. Room is
//! counted up to what limits let go down to, so nothing has to go at the next [`crate::life::collect`].

use std::cmp::Reverse;
use std::fmt;
use std::time::Duration;

use fragment_store::{
    HALF_LIFE, LeasedComponent, Limits, Load, LoadOptions, ONE_USE, Store, StoreError, Usage,
};
use fragment_types::ComponentName;
use serde::Serialize;

use crate::life;
use crate::pressure::{Machine, Percent, Pressure, PressureError};
use crate::settings::Life;
use crate::settings::life::Preload;
use crate::settings::quantity::size_text;

/// Least score of a component that is preloaded: one use within the last day, or one a day with a day's absence.
pub const LEAST_SCORE: u64 = ONE_USE / 2;
/// Of a component in memory at least this part of its bytes is there, one in so many: a use leaves there what uses need.
const IN_MEMORY: u64 = 10;
/// One in so many bytes of the memory stays available, where pressure is known,
const RESERVE: u64 = 10;
/// and where it is not.
const RESERVE_UNKNOWN: u64 = 4;

/// What adaptive preloading came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Adaptive {
    /// What was preloaded, in order.
    pub preloaded: Vec<Preloaded>,
    /// What is used as often, and was left as it is.
    pub left: Vec<Left>,
    /// Why it ended.
    pub stopped: Stopped,
    /// The pressure when it ended; none where the kernel tells none, and a quarter of the memory stayed available instead of a tenth.
    pub pressure: Option<Pressure>,
}

/// A component that was preloaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Preloaded {
    /// Its name.
    pub name: ComponentName,
    /// Its uses, of which each counts half as much after a day, in thousandths.
    pub score: u64,
    /// Bytes that were not in memory before.
    pub bytes: u64,
    /// How it was unpacked; [`Load::Present`] for one that was only read.
    #[serde(flatten)]
    pub load: Load,
}

/// A component that was left as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Left {
    /// Its name.
    pub name: ComponentName,
    /// Its uses, as of [`Preloaded`].
    pub score: u64,
    /// Why it was left.
    #[serde(flatten)]
    pub why: Why,
}

/// Why a component was left as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Why {
    /// It was evicted since its last use, and no other is to be expected within its retention.
    Retention {
        /// That, in milliseconds.
        retention_ms: u64,
    },
    /// The disk's limits leave less room.
    Disk {
        /// Bytes that it needs.
        bytes: u64,
        /// Bytes that they leave.
        room: u64,
    },
    /// The memory's limit leaves less room.
    Memory {
        /// Bytes that it needs.
        bytes: u64,
        /// Bytes that it leaves.
        room: u64,
    },
    /// The machine has less memory to spare.
    Available {
        /// Bytes that it needs.
        bytes: u64,
        /// Bytes that can be spared.
        room: u64,
    },
    /// It could not be loaded.
    Failed {
        /// What was wrong.
        error: String,
    },
}

/// Why adaptive preloading ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Stopped {
    /// There is nothing else that is used often enough.
    Done,
    /// Processes wait for memory.
    MemoryPressure {
        /// In so much of the last ten seconds; none where the kernel does not tell.
        now: Option<Percent>,
        /// It has to be less than this.
        limit: Percent,
    },
    /// Processes wait for the disk.
    IoPressure {
        /// In so much of the last ten seconds; none where the kernel does not tell.
        now: Option<Percent>,
        /// It has to be less than this.
        limit: Percent,
    },
    /// The machine cannot be asked.
    Unknown {
        /// Why.
        problem: String,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut room = |bytes: u64, room: u64, of: &str| {
            let (bytes, room) = (size_text(bytes), size_text(room));
            write!(f, "it needs {bytes}, and {of} {room}")
        };
        match self {
            Self::Disk { bytes, room: left } => room(*bytes, *left, "the disk's limits leave"),
            Self::Memory { bytes, room: left } => room(*bytes, *left, "the memory's limit leaves"),
            Self::Available { bytes, room: left } => {
                room(*bytes, *left, "the machine can spare of its memory")
            }
            Self::Retention { retention_ms } => write!(
                f,
                "it was dropped from memory since its last use, and is not used so often that another is to be expected within its retention of {} s",
                retention_ms / 1000
            ),
            Self::Failed { error } => f.write_str(error),
        }
    }
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut pressure = |what: &str, key: &str, now: &Option<Percent>, limit: &Percent| {
            match now {
                Some(now) => write!(f, "some process waited for {what} in {now} of the time")?,
                None => write!(
                    f,
                    "the kernel does not tell how long processes wait for {what}"
                )?,
            }
            write!(f, ", and preload.{key} asks for less than {limit}")
        };
        match self {
            Self::Done => f.write_str("nothing else is used often enough"),
            Self::MemoryPressure { now, limit } => {
                pressure("memory", "memory_pressure", now, limit)
            }
            Self::IoPressure { now, limit } => pressure("the disk", "io_pressure", now, limit),
            Self::Unknown { problem } => write!(f, "the machine cannot be asked: {problem}"),
        }
    }
}

/// The components that are used often enough, the most first. Those that are declared not to be preloaded are none.
fn ranked<'u>(usages: &'u [Usage], life: &Life) -> Vec<&'u Usage> {
    let is_refused = |usage: &Usage| {
        let declared = life.components.get(&usage.name);
        declared.and_then(|declared| declared.preload) == Some(false)
    };
    let often = |usage: &&Usage| usage.score >= LEAST_SCORE && !is_refused(usage);
    let mut ranked: Vec<&Usage> = usages.iter().filter(often).collect();
    ranked.sort_by_key(|usage| (Reverse(usage.score), &usage.name));
    ranked
}

/// Whether something of this score is rather used within `time` than not. A score of one is that of 0.7 uses a day: as many as
/// fade in that time.
fn is_expected_within(score: u64, time: Duration) -> bool {
    let days = time.as_secs_f64() / HALF_LIFE.as_secs_f64();
    score as f64 / ONE_USE as f64 * std::f64::consts::LN_2 * days >= 0.5
}

/// Why nothing may be preloaded now.
fn refusal(machine: &Result<Machine, PressureError>, preload: &Preload) -> Option<Stopped> {
    let pressure = machine.as_ref().ok().and_then(|machine| machine.pressure);
    let (memory, io) = (preload.memory_pressure, preload.io_pressure);
    // a limit of zero needs no look
    let is_over = |limit: u8, now: Option<Percent>| {
        limit == 0 || now.is_some_and(|now| now >= Percent::whole(limit))
    };
    let now = pressure.map(|pressure| pressure.memory);
    if is_over(memory, now) {
        let limit = Percent::whole(memory);
        return Some(Stopped::MemoryPressure { now, limit });
    }
    let now = pressure.map(|pressure| pressure.io);
    if is_over(io, now) {
        let limit = Percent::whole(io);
        return Some(Stopped::IoPressure { now, limit });
    }
    let error = machine.as_ref().err()?;
    let cause = std::error::Error::source(error).map_or_else(String::new, |c| format!(": {c}"));
    Some(Stopped::Unknown {
        problem: format!("{error}{cause}"),
    })
}

/// What may still be loaded.
struct Room {
    disk: u64,
    memory: u64,
    /// Bytes that were brought into memory so far. Memory that files take counts as available: the kernel does not subtract them.
    brought: u64,
}

impl Room {
    fn of(store: &Store, life: &Life, usages: &[Usage]) -> Result<Self, StoreError> {
        let limits = life::limits(life);
        let mut memory = u64::MAX;
        if let Some(limit) = limits.memory {
            memory = limit.target;
            for usage in usages.iter().filter(|usage| usage.loaded) {
                memory = memory.saturating_sub(store.cached_bytes(&usage.diff_id)?);
            }
        }
        Ok(Self {
            disk: store.disk_room(&limits, usages)?,
            memory,
            brought: 0,
        })
    }

    /// Why `usage` has none, of which so many bytes are to come into memory.
    fn refusal(&self, usage: &Usage, bytes: u64, machine: &Machine) -> Option<Why> {
        if !usage.loaded && usage.files > self.disk {
            let (bytes, room) = (usage.files, self.disk);
            return Some(Why::Disk { bytes, room });
        }
        if bytes > self.memory {
            let room = self.memory;
            return Some(Why::Memory { bytes, room });
        }
        let reserve = match machine.pressure {
            Some(_) => machine.memory / RESERVE,
            None => machine.memory / RESERVE_UNKNOWN,
        };
        let room = machine.available.saturating_sub(reserve);
        let room = room.saturating_sub(self.brought);
        (bytes > room).then_some(Why::Available { bytes, room })
    }

    fn take(&mut self, usage: &Usage, bytes: u64) {
        if !usage.loaded {
            self.disk = self.disk.saturating_sub(usage.files);
        }
        self.memory = self.memory.saturating_sub(bytes);
        self.brought = self.brought.saturating_add(bytes);
    }
}

/// Preloads what was used often and recently; `look` tells how the machine is.
///
/// # Errors
/// When catalogue, leases or trees cannot be read. A component that cannot be loaded is left.
pub(crate) fn preload(
    store: &Store,
    life: &Life,
    look: &mut dyn FnMut() -> Result<Machine, PressureError>,
) -> Result<Adaptive, StoreError> {
    let mut usages = store.usages(&life::limits(life))?;
    // or what was used while the clock was ahead would never fade
    store.mend_times(&mut usages)?;
    let mut room = Room::of(store, life, &usages)?;
    // never by taking something else away
    let options = LoadOptions {
        limits: Limits::default(),
        ..life::load_options(life)
    };
    let mut machine = look();
    let (mut preloaded, mut left) = (Vec::new(), Vec::new());
    let mut stopped = refusal(&machine, &life.preload);
    for usage in ranked(&usages, life) {
        let Ok(now) = machine.as_ref().map(|machine| *machine) else {
            break;
        };
        if stopped.is_some() {
            break;
        }
        let (name, score) = (usage.name.clone(), usage.score);
        let mut leave = |why: Why| {
            let name = name.clone();
            left.push(Left { name, score, why });
        };
        let cached = match usage.loaded {
            true => store.cached_bytes(&usage.diff_id)?,
            false => 0,
        };
        if usage.loaded && cached >= usage.files / IN_MEMORY {
            continue;
        }
        let own = Duration::from_secs(usage.retention_seconds);
        let retention = life.retention_of(&usage.name, own);
        if usage.loaded && usage.evicted && !is_expected_within(score, retention) {
            let retention_ms = u64::try_from(retention.as_millis()).unwrap_or(u64::MAX);
            leave(Why::Retention { retention_ms });
            continue;
        }
        let bytes = usage.files.saturating_sub(cached);
        if let Some(why) = room.refusal(usage, bytes, &now) {
            leave(why);
            continue;
        }
        match load(store, &usage.name, &options) {
            Ok(load) => {
                room.take(usage, bytes);
                preloaded.push(Preloaded {
                    name,
                    score,
                    bytes,
                    load,
                });
                machine = look();
                stopped = refusal(&machine, &life.preload);
            }
            Err(error) => {
                let error = crate::chain(&error);
                leave(Why::Failed { error });
            }
        }
    }
    Ok(Adaptive {
        preloaded,
        left,
        stopped: stopped.unwrap_or(Stopped::Done),
        pressure: machine.ok().and_then(|machine| machine.pressure),
    })
}

fn load(
    store: &Store,
    name: &ComponentName,
    options: &LoadOptions<'_>,
) -> Result<Load, StoreError> {
    let component = LeasedComponent::from(store.component(name)?);
    let loads = life::warm(store, &[component], options)?;
    Ok(loads.first().copied().unwrap_or(Load::Present))
}

#[cfg(test)]
mod tests {
    use fragment_types::Digest;
    use proptest::prelude::*;

    use super::*;
    use crate::settings::life::Declared;

    fn usage(name: &str, score: u64) -> Usage {
        Usage {
            name: ComponentName::new(name).unwrap(),
            diff_id: Digest::of(name.as_bytes()),
            stored: 1,
            plain: 0,
            files: 10,
            loaded: false,
            users: 0,
            pinned: false,
            mounted: false,
            last_used: 0,
            evicted: false,
            score,
            loads: None,
            retention_seconds: 300,
        }
    }

    fn names(usages: &[Usage], life: &Life) -> Vec<String> {
        let ranked = ranked(usages, life).into_iter();
        ranked.map(|usage| usage.name.to_string()).collect()
    }

    #[test]
    fn the_most_used_is_first_and_what_is_hardly_used_is_not_there() {
        let usages = [
            usage("rare", LEAST_SCORE - 1),
            usage("daily", LEAST_SCORE),
            usage("b", 3 * ONE_USE),
            usage("often", 90 * ONE_USE),
            usage("a", 3 * ONE_USE),
            usage("never", 0),
        ];
        let mut life = Life::default();
        assert_eq!(names(&usages, &life), ["often", "a", "b", "daily"]);
        let not = Declared {
            preload: Some(false),
            ..Declared::default()
        };
        life.components
            .insert(ComponentName::new("often").unwrap(), not);
        assert_eq!(names(&usages, &life), ["a", "b", "daily"]);
    }

    proptest! {
        #[test]
        fn the_order_follows_from_the_scores_alone(
            scores in prop::collection::vec(prop_oneof![0..3000_u64, any::<u64>()], 0..20),
            turn in 0..20_usize,
        ) {
            let numbered = scores.iter().enumerate();
            let mut usages: Vec<_> = numbered.map(|(n, score)| usage(&format!("c{n}"), *score)).collect();
            let life = Life::default();
            let all = names(&usages, &life);
            prop_assert_eq!(all.len(), scores.iter().filter(|score| **score >= LEAST_SCORE).count());
            let ordered: Vec<u64> = ranked(&usages, &life).iter().map(|usage| usage.score).collect();
            prop_assert!(ordered.is_sorted_by(|a, b| a >= b));
            let by = turn % usages.len().max(1);
            usages.rotate_left(by);
            prop_assert_eq!(names(&usages, &life), all);
        }
    }

    #[test]
    fn a_use_is_expected_within_a_time_where_there_were_enough() {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        for (score, time, expected) in [
            (ONE_USE, minutes(5), false),
            (ONE_USE, minutes(17 * 60), false),
            (ONE_USE, minutes(18 * 60), true),
            (200 * ONE_USE, minutes(5), false),
            (210 * ONE_USE, minutes(5), true),
            (u64::MAX, Duration::ZERO, false),
            (0, Duration::MAX, false),
        ] {
            assert_eq!(
                is_expected_within(score, time),
                expected,
                "{score} in {time:?}"
            );
        }
    }

    fn machine(memory: u8, io: u8) -> Result<Machine, PressureError> {
        Ok(Machine {
            pressure: Some(Pressure {
                memory: Percent::whole(memory),
                io: Percent::whole(io),
            }),
            memory: 100,
            available: 100,
        })
    }

    #[test]
    fn pressure_has_to_be_below_both_limits() {
        let preload = |memory_pressure, io_pressure| Preload {
            memory_pressure,
            io_pressure,
            ..Preload::default()
        };
        let told =
            |machine: &_, preload: &Preload| refusal(machine, preload).map(|why| why.to_string());
        assert_eq!(told(&machine(4, 19), &Preload::default()), None);
        assert_eq!(told(&machine(99, 99), &preload(100, 100)), None);
        let memory = "some process waited for memory in 5.00% of the time, and preload.memory_pressure asks for less than 5.00%";
        assert_eq!(told(&machine(5, 0), &Preload::default()).unwrap(), memory);
        let io = "some process waited for the disk in 20.00% of the time, and preload.io_pressure asks for less than 20.00%";
        assert_eq!(told(&machine(0, 20), &Preload::default()).unwrap(), io);
        assert!(told(&machine(100, 0), &preload(100, 100)).is_some());
        assert!(told(&machine(0, 0), &preload(0, 100)).is_some());
        assert!(told(&machine(0, 0), &preload(100, 0)).is_some());
        let off = machine(0, 0).map(|machine| Machine {
            pressure: None,
            ..machine
        });
        assert_eq!(told(&off, &Preload::default()), None);
        let unknown = "the kernel does not tell how long processes wait for memory, and preload.memory_pressure asks for less than 0.00%";
        assert_eq!(told(&off, &preload(0, 100)).unwrap(), unknown);
        let error = Err(PressureError::Read {
            path: "/proc/pressure/io".into(),
            source: std::io::ErrorKind::PermissionDenied.into(),
        });
        let problem = "the machine cannot be asked: read /proc/pressure/io: permission denied";
        assert_eq!(told(&error, &Preload::default()).unwrap(), problem);
    }

    #[test]
    fn room_is_what_disk_memory_and_machine_leave() {
        let room = |disk, memory, brought| Room {
            disk,
            memory,
            brought,
        };
        let machine = machine(0, 0).unwrap();
        let off = Machine {
            pressure: None,
            ..machine
        };
        let unloaded = usage("x", 1);
        let loaded = Usage {
            loaded: true,
            ..unloaded.clone()
        };
        let why = |room: Room, usage: &Usage, machine| room.refusal(usage, 10, machine);
        assert_eq!(why(room(10, 10, 80), &unloaded, &machine), None);
        let disk = Why::Disk { bytes: 10, room: 9 };
        assert_eq!(why(room(9, 10, 0), &unloaded, &machine), Some(disk));
        assert_eq!(why(room(9, 10, 0), &loaded, &machine), None, "it is there");
        let memory = Why::Memory { bytes: 10, room: 9 };
        assert_eq!(why(room(10, 9, 0), &loaded, &machine), Some(memory));
        let available = Why::Available { bytes: 10, room: 9 };
        assert_eq!(why(room(10, 10, 81), &loaded, &machine), Some(available));
        let available = Why::Available { bytes: 10, room: 0 };
        assert_eq!(why(room(10, 10, 80), &loaded, &off), Some(available));
        let mut left = room(25, 25, 0);
        left.take(&unloaded, 10);
        left.take(&loaded, 5);
        assert_eq!((left.disk, left.memory, left.brought), (15, 10, 15));
    }
}
