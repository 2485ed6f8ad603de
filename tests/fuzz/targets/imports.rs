//! Texts of script languages, the first byte choosing which: never a panic, never more than the limits.
#![no_main]

use fragment_analysis::imports;
use fragment_analysis::words::interpreter::Language;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else {
        return;
    };
    let language = Language::WITH_IMPORTS[usize::from(*first) % Language::WITH_IMPORTS.len()];
    let found = imports::read(language, &String::from_utf8_lossy(rest));
    assert!(found.len() <= imports::MAX_IMPORTS);
});
