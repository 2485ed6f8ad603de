//! What all processes of this node have done since it started: counted in one file of the state directory.
//!
//! Adding costs an open(2), an fstat(2) and an mmap(2) for each process, and no lock. Where the file cannot be had, nothing is counted: it is a
//! help and no need.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fragment_store::{Load, Tidied};
use fragment_sys::counters::SharedCounters;
use serde::Serialize;

/// Bounds of the buckets of times, in microseconds; the last bucket has none.
const BOUNDS: [u64; 11] = [
    100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 500_000,
];
/// Numbers of a histogram: its buckets, the sum of its values in microseconds.
const HISTOGRAM: usize = BOUNDS.len() + 2;

/// The file, named by the version of its order: processes of two releases do not add to one another's numbers.
const FILE: &str = "metrics-2";

/// Name and help of each counter, in the order of the file. New ones go to the end, before the histograms of a new file name.
const COUNTERS: [(&str, &str); 13] = [
    ("containers_total", "Containers that were asked for"),
    (
        "containers_composed_total",
        "Containers that components were composed for",
    ),
    (
        "fragments_total",
        "Fragments that were made for programs that hold them",
    ),
    (
        "failures_total",
        "Containers and fragments of which there was no plan, or whose components could not be had",
    ),
    (
        "plan_cache_hits_total",
        "Plans that were made before and kept",
    ),
    ("plan_cache_misses_total", "Plans that were worked out"),
    ("component_loads_total", "Components that were unpacked"),
    ("component_load_bytes_total", "Bytes of their files"),
    (
        "component_fetches_total",
        "Components whose layer came from elsewhere",
    ),
    (
        "component_waits_total",
        "Components that another process unpacked meanwhile",
    ),
    (
        "component_unloads_total",
        "Components whose files were removed from the disk",
    ),
    (
        "component_evictions_total",
        "Components that were dropped from memory",
    ),
    (
        "component_slow_loads_total",
        "Components whose load took longer than the configuration expects",
    ),
];

/// A counter, by its place in [`COUNTERS`].
#[derive(Debug, Clone, Copy)]
#[repr(usize)]
pub(crate) enum Counter {
    Containers,
    Composed,
    Fragments,
    Failures,
    CacheHits,
    CacheMisses,
    Loads,
    LoadBytes,
    Fetches,
    Waits,
    Unloads,
    Evictions,
    SlowLoads,
}

/// Name and help of each histogram.
const HISTOGRAMS: [(&str, &str); 2] = [
    (
        "compose_seconds",
        "Time from the request to the launch of a container, or to a fragment",
    ),
    (
        "component_load_seconds",
        "Time to unpack a component, waiting included",
    ),
];

/// A histogram, by its place in [`HISTOGRAMS`].
#[derive(Debug, Clone, Copy)]
#[repr(usize)]
enum Histogram {
    Compose,
    Load,
}

/// Numbers in the file.
const COUNT: usize = COUNTERS.len() + HISTOGRAMS.len() * HISTOGRAM;

/// The counters of a node, and what of it this value counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    shared: Option<SharedCounters>,
    own: Vec<AtomicU64>,
}

impl Metrics {
    /// Those of the state directory `state`.
    pub(crate) fn open(state: &Path) -> Self {
        Self {
            shared: SharedCounters::open(&state.join(FILE), COUNT).ok(),
            own: (0..COUNT).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    pub(crate) fn add(&self, counter: Counter, value: u64) {
        self.add_at(counter as usize, value);
    }

    fn add_at(&self, place: usize, value: u64) {
        if let Some(own) = self.own.get(place) {
            own.fetch_add(value, Ordering::Relaxed);
        }
        if let Some(shared) = &self.shared {
            shared.add(place, value);
        }
    }

    pub(crate) fn composed(&self, time: Duration) {
        self.time(Histogram::Compose, time);
    }

    pub(crate) fn cache(&self, is_hit: bool) {
        let counter = match is_hit {
            true => Counter::CacheHits,
            false => Counter::CacheMisses,
        };
        self.add(counter, 1);
    }

    pub(crate) fn loads(&self, loads: &[Load]) {
        for load in loads {
            match load {
                Load::Present => {}
                Load::Awaited => self.add(Counter::Waits, 1),
                Load::Unpacked {
                    bytes,
                    time,
                    fetched,
                } => {
                    self.add(Counter::Loads, 1);
                    self.add(Counter::LoadBytes, *bytes);
                    self.add(Counter::Fetches, u64::from(*fetched));
                    self.time(Histogram::Load, *time);
                }
            }
        }
    }

    pub(crate) fn tidied(&self, tidied: &Tidied) {
        self.add(Counter::Unloads, tidied.unloaded.len() as u64);
        self.add(Counter::Evictions, tidied.evicted.len() as u64);
    }

    fn time(&self, histogram: Histogram, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let first = COUNTERS.len() + histogram as usize * HISTOGRAM;
        let bucket = BOUNDS.iter().position(|bound| micros <= *bound);
        self.add_at(first + bucket.unwrap_or(BOUNDS.len()), 1);
        self.add_at(first + BOUNDS.len() + 1, micros);
    }

    /// What all processes of the node counted.
    pub(crate) fn read(&self) -> Counted {
        match &self.shared {
            Some(shared) => Counted::of(shared.all()),
            None => Counted::of(&[]),
        }
    }

    /// What this value counted.
    pub(crate) fn own(&self) -> Counted {
        Counted::of(&self.own)
    }
}

impl Counted {
    /// Numbers in the order of the file; missing ones are 0.
    fn of(numbers: &[AtomicU64]) -> Self {
        let mut values: Vec<u64> = numbers
            .iter()
            .map(|one| one.load(Ordering::Relaxed))
            .collect();
        values.resize(COUNT, 0);
        let (counters, histograms) = values.split_at(COUNTERS.len());
        let counters = COUNTERS
            .iter()
            .zip(counters)
            .map(|((name, help), value)| Count {
                name,
                help,
                value: *value,
            });
        let histograms =
            HISTOGRAMS
                .iter()
                .zip(histograms.chunks(HISTOGRAM))
                .map(|((name, help), values)| {
                    let (buckets, sum) = values.split_at(BOUNDS.len() + 1);
                    Times {
                        name,
                        help,
                        buckets: buckets.to_vec(),
                        sum_micros: sum.first().copied().unwrap_or_default(),
                    }
                });
        Self {
            counters: counters.collect(),
            histograms: histograms.collect(),
        }
    }
}

/// What was counted since the machine started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// Numbers that only grow.
    pub counters: Vec<Count>,
    /// Times.
    pub histograms: Vec<Times>,
}

/// A number that only grows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Its name, without the prefix `fragment_`.
    pub name: &'static str,
    /// What it counts.
    #[serde(skip)]
    pub help: &'static str,
    /// How many.
    pub value: u64,
}

/// How long something took, how often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Times {
    /// Its name, without the prefix `fragment_`.
    pub name: &'static str,
    /// What is timed.
    #[serde(skip)]
    pub help: &'static str,
    /// How many took at most 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100 and 500 ms, and more; each only counted where it belongs.
    pub buckets: Vec<u64>,
    /// All of it, in microseconds.
    pub sum_micros: u64,
}

impl Times {
    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Their mean; none where there was none.
    #[must_use]
    pub fn mean(&self) -> Option<Duration> {
        Some(Duration::from_micros(
            self.sum_micros.checked_div(self.count())?,
        ))
    }
}

impl Counted {
    /// A counter.
    pub(crate) fn count(&self, counter: Counter) -> u64 {
        self.counters
            .get(counter as usize)
            .map_or(0, |count| count.value)
    }

    fn mean(&self, histogram: Histogram) -> Option<Duration> {
        self.histograms.get(histogram as usize)?.mean()
    }

    /// Mean time of a load.
    pub(crate) fn mean_load(&self) -> Option<Duration> {
        self.mean(Histogram::Load)
    }

    /// Mean time to make a fragment or to have a container ready for launch.
    pub(crate) fn mean_composition(&self) -> Option<Duration> {
        self.mean(Histogram::Compose)
    }

    /// In Prometheus' text format 0.0.4.
    #[must_use]
    pub fn prometheus(&self) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        for Count { name, help, value } in &self.counters {
            let _ = writeln!(
                text,
                "# HELP fragment_{name} {help}.\n# TYPE fragment_{name} counter\nfragment_{name} {value}"
            );
        }
        for times in &self.histograms {
            let name = times.name;
            let _ = writeln!(
                text,
                "# HELP fragment_{name} {}.\n# TYPE fragment_{name} histogram",
                times.help
            );
            let mut below = 0;
            for (number, bucket) in times.buckets.iter().enumerate() {
                below += bucket;
                let bound = match BOUNDS.get(number) {
                    Some(micros) => (*micros as f64 / 1e6).to_string(),
                    None => "+Inf".to_owned(),
                };
                let _ = writeln!(text, "fragment_{name}_bucket{{le=\"{bound}\"}} {below}");
            }
            let _ = writeln!(
                text,
                "fragment_{name}_sum {}\nfragment_{name}_count {}",
                times.sum_micros as f64 / 1e6,
                times.count()
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_read_by_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let metrics = Metrics::open(directory.path());
        metrics.add(Counter::Evictions, 3);
        metrics.cache(true);
        metrics.cache(false);
        let time = Duration::from_micros(300);
        metrics.loads(&[
            Load::Present,
            Load::Awaited,
            Load::Unpacked {
                bytes: 5,
                time,
                fetched: true,
            },
        ]);
        metrics.composed(Duration::from_secs(1));
        let counted = Metrics::open(directory.path()).read();
        let value = |name: &str| {
            counted
                .counters
                .iter()
                .find(|one| one.name == name)
                .unwrap()
                .value
        };
        for (name, expected) in [
            ("component_evictions_total", 3),
            ("plan_cache_hits_total", 1),
            ("plan_cache_misses_total", 1),
            ("component_loads_total", 1),
            ("component_load_bytes_total", 5),
            ("component_fetches_total", 1),
            ("component_waits_total", 1),
            ("containers_total", 0),
        ] {
            assert_eq!(value(name), expected, "{name}");
        }
        let [compose, load] = &counted.histograms[..] else {
            panic!("{counted:?}");
        };
        assert_eq!(
            (compose.count(), compose.mean()),
            (1, Some(Duration::from_secs(1)))
        );
        assert_eq!((load.buckets[2], load.mean()), (1, Some(time)));
        let text = counted.prometheus();
        for line in [
            "# TYPE fragment_component_loads_total counter",
            "fragment_component_loads_total 1",
            "fragment_component_load_seconds_bucket{le=\"0.00025\"} 0",
            "fragment_component_load_seconds_bucket{le=\"0.0005\"} 1",
            "fragment_component_load_seconds_bucket{le=\"+Inf\"} 1",
            "fragment_component_load_seconds_sum 0.0003",
            "fragment_compose_seconds_bucket{le=\"0.5\"} 0",
            "fragment_compose_seconds_count 1",
        ] {
            assert!(text.lines().any(|own| own == line), "{line} in {text}");
        }
    }

    #[test]
    fn numbers_of_another_order_are_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let old = SharedCounters::open(&directory.path().join("metrics-1"), COUNT - 1).unwrap();
        old.add(COUNTERS.len() - 1, 7);
        let metrics = Metrics::open(directory.path());
        metrics.add(Counter::SlowLoads, 1);
        let counted = metrics.read();
        let last = counted.counters.last().unwrap();
        assert_eq!((last.name, last.value), ("component_slow_loads_total", 1));
        assert_eq!(counted.histograms[0].count(), 0);
        assert_eq!(old.all()[COUNTERS.len() - 1].load(Ordering::Relaxed), 7);
    }

    #[test]
    fn where_nothing_can_be_written_nothing_is_counted() {
        let metrics = Metrics::open(Path::new("/nowhere"));
        metrics.add(Counter::Loads, 1);
        assert!(metrics.read().counters.iter().all(|one| one.value == 0));
    }
}
