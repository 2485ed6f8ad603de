//! What a [`Manager`](super::Manager) has done.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fragment_store::Load;
use serde::Serialize;

use super::composed::ComposedFragment;

/// Counted since the manager was opened.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PerformanceMetrics {
    /// Tasks that were asked for.
    pub tasks_processed: u64,
    /// Fragments that were made.
    pub fragments_created: u64,
    /// Tasks of which none could be made.
    pub tasks_failed: u64,
    /// Bytes of components in memory now.
    pub total_memory: u64,
    /// Components that were unpacked for it.
    pub components_loaded: u64,
    /// Mean time of that, in milliseconds; 0 where none was.
    pub average_load_ms: f64,
    /// Mean time to make a fragment, in milliseconds; 0 where none was made.
    pub average_fragment_ms: f64,
    /// Of the fragments, the part whose decision had been made before; 0 where none was made.
    pub cache_hit_rate: f64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    tasks: AtomicU64,
    failures: AtomicU64,
    fragments: AtomicU64,
    fragment_micros: AtomicU64,
    hits: AtomicU64,
    loads: AtomicU64,
    load_micros: AtomicU64,
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Counters {
    pub(super) fn task(&self) {
        self.tasks.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn fragment(&self, made: &ComposedFragment) {
        self.fragments.fetch_add(1, Ordering::Relaxed);
        self.fragment_micros
            .fetch_add(micros(made.time()), Ordering::Relaxed);
        self.hits
            .fetch_add(u64::from(made.is_cached()), Ordering::Relaxed);
        self.loads(made.loads());
    }

    pub(super) fn loads(&self, loads: &[Load]) {
        for load in loads {
            if let Load::Unpacked { time, .. } = load {
                self.loads.fetch_add(1, Ordering::Relaxed);
                self.load_micros.fetch_add(micros(*time), Ordering::Relaxed);
            }
        }
    }

    pub(super) fn metrics(&self, total_memory: u64) -> PerformanceMetrics {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let ratio = |sum: u64, count: u64| match count {
            0 => 0.0,
            count => sum as f64 / count as f64,
        };
        let (fragments, loads) = (of(&self.fragments), of(&self.loads));
        PerformanceMetrics {
            tasks_processed: of(&self.tasks),
            fragments_created: fragments,
            tasks_failed: of(&self.failures),
            total_memory,
            components_loaded: loads,
            average_load_ms: ratio(of(&self.load_micros), loads) / 1e3,
            average_fragment_ms: ratio(of(&self.fragment_micros), fragments) / 1e3,
            cache_hit_rate: ratio(of(&self.hits), fragments),
        }
    }
}
