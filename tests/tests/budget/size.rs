//! How large the runtime is on disk: what a node downloads, and what is read at its first start.

use std::fs;

use fragment_tests::fragment;

use crate::binary;
use crate::table::{Table, Tolerance};

/// A new version of the compiler or of a library moves it by less.
const TOLERANCE: Tolerance = Tolerance {
    percent: 1,
    units: 50_000,
};

#[test]
fn binary() {
    if let Some(reason) = binary::is_no_release() {
        return println!("skipped: {reason}");
    }
    let bytes = || {
        fs::metadata(fragment::runtime_program())
            .expect("the runtime")
            .len()
    };
    let measure = || [("bytes".to_owned(), bytes())].into();
    Table::of("size", TOLERANCE).check("fragment-runc", &["bytes"], measure, String::new);
}
