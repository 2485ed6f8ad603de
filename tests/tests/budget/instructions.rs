//! Instructions in user space: what parsing, deciding and describing costs, which system calls do not tell.
//!
//! Each takes the processor some 20 µs here, so that a command takes a minute; `hack/test` runs them apart from the others.

use fragment_tests::{Call, Scene};

use crate::table::{Table, Tolerance};
use crate::{binary, scenario, stepping};

/// Hash tables have random seeds, and where a process waits for another, how often it looks depends on who is faster.
const TOLERANCE: Tolerance = Tolerance {
    percent: 5,
    units: u64::MAX,
};

/// Features of processors for which libraries have code of their own.
const FEATURES: [&str; 3] = ["avx2", "bmi2", "sha_ni"];

fn check(command: &str, measure: impl Fn() -> Call) {
    if let Some(reason) = binary::is_no_release() {
        return println!("skipped: {reason}");
    }
    let processor = std::fs::read_to_string("/proc/cpuinfo").expect("/proc/cpuinfo");
    let has = |feature: &&str| processor.split_whitespace().any(|word| word == *feature);
    if let Some(feature) = FEATURES.iter().find(|feature| !has(feature)) {
        return println!("skipped: this processor has no {feature}, libraries take other ways");
    }
    let count = || [("instructions".to_owned(), stepping::instructions(measure()))].into();
    let table = Table::of("instructions", TOLERANCE).once();
    table.check(command, &["instructions"], count, String::new);
}

fn measured(command: &str, _: &Scene, call: &dyn Fn() -> Call) {
    check(command, call);
}

#[test]
#[ignore = "a minute: single steps"]
fn run_composed() {
    scenario::run_composed(measured);
}

#[test]
#[ignore = "half a minute: single steps"]
fn state() {
    scenario::state(measured);
}

#[test]
#[ignore = "a minute: single steps"]
fn create() {
    scenario::create(measured);
}

#[test]
#[ignore = "half a minute: single steps"]
fn start() {
    scenario::start(measured);
}

#[test]
#[ignore = "half a minute: single steps"]
fn delete() {
    scenario::delete(measured);
}
