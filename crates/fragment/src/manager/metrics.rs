//! What a [`Manager`](super::Manager) has done.

use std::time::Duration;

use serde::Serialize;

use crate::metrics::{Counted, Counter};

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

impl PerformanceMetrics {
    /// Of what a manager counted, with so many bytes of components in memory.
    pub(super) fn of(counted: &Counted, total_memory: u64) -> Self {
        let count = |counter| counted.count(counter);
        let millis = |time: Option<Duration>| time.unwrap_or_default().as_secs_f64() * 1e3;
        let (made, failed) = (count(Counter::Fragments), count(Counter::Failures));
        let (hits, misses) = (count(Counter::CacheHits), count(Counter::CacheMisses));
        Self {
            tasks_processed: made + failed,
            fragments_created: made,
            tasks_failed: failed,
            total_memory,
            components_loaded: count(Counter::Loads),
            average_load_ms: millis(counted.mean_load()),
            average_fragment_ms: millis(counted.mean_composition()),
            cache_hit_rate: match hits + misses {
                0 => 0.0,
                decisions => hits as f64 / decisions as f64,
            },
        }
    }
}
