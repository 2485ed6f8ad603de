//! Allocations on the heap: how often, and how many bytes are asked for, in the command and in each process that it makes.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use fragment_tests::{Call, Scene, fragment};

use crate::stepping::Arguments;
use crate::table::{Figures, Table, Tolerance};
use crate::{binary, scenario, stepping};

/// Where a process waits for another, how often it looks depends on who is faster.
const TOLERANCE: Tolerance = Tolerance {
    percent: 2,
    units: u64::MAX,
};

/// How many bytes a call asks for.
type Bytes = fn(Arguments) -> u64;

/// What Rust's code allocates by (`fragment_sys::memory`).
const FUNCTIONS: [(&str, Bytes); 2] = [
    ("fragment_allocate", |[size, ..]| size),
    ("fragment_reallocate", |[_, _, _, size]| size),
];

/// Where those functions are in the binary: hack/build leaves their names in it.
fn addresses() -> BTreeMap<u64, Bytes> {
    let output = Command::new("nm")
        .arg(fragment::runtime_program())
        .output()
        .expect("start nm (apt-get install binutils)");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let places = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (address, kind, name) = (words.next()?, words.next()?, words.next()?);
        let (_, bytes) = FUNCTIONS.iter().find(|(function, _)| *function == name)?;
        let is_code = kind.eq_ignore_ascii_case("t");
        is_code.then_some((u64::from_str_radix(address, 16).ok()?, *bytes))
    });
    places.collect()
}

fn check(command: &str, measure: impl Fn() -> Call) {
    if let Some(reason) = binary::is_no_release() {
        return println!("skipped: {reason}");
    }
    let functions = addresses();
    if functions.is_empty() {
        return println!("skipped: the binary does not tell where it allocates");
    }
    let places: BTreeSet<u64> = functions.keys().copied().collect();
    let count = || -> Figures {
        let (mut calls, mut bytes) = (0, 0);
        stepping::arrivals(measure(), &places, |address, arguments| {
            calls += 1;
            bytes += functions[&address](arguments);
        });
        [("calls".to_owned(), calls), ("bytes".to_owned(), bytes)].into()
    };
    Table::of("allocations", TOLERANCE).check(command, &["calls", "bytes"], count, String::new);
}

fn measured(command: &str, _: &Scene, call: &dyn Fn() -> Call) {
    check(command, call);
}

#[test]
fn run() {
    scenario::run(measured);
}

#[test]
fn run_composed() {
    scenario::run_composed(measured);
}

#[test]
fn run_composed_without_a_kept_plan() {
    scenario::run_composed_first(measured);
}

#[test]
fn exec() {
    scenario::exec(measured);
}

#[test]
fn state() {
    scenario::state(measured);
}

#[test]
fn create() {
    scenario::create(measured);
}

#[test]
fn start() {
    scenario::start(measured);
}

#[test]
fn delete() {
    scenario::delete(measured);
}
