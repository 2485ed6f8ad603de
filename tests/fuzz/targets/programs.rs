//! `#!` lines, and command lines of interpreters and wrappers, one word a line.
#![no_main]

use fragment_analysis::shebang;
use fragment_analysis::words::{interpreter, of_argv, wrapper};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = shebang::parse(bytes);
    let text = String::from_utf8_lossy(bytes);
    let argv: Vec<String> = text.split('\n').map(str::to_owned).collect();
    let words = of_argv(&argv, 0);
    let _ = interpreter::programs(&words, Some(&text));
    for inner in wrapper::inner(&words) {
        assert!(!inner.is_empty() && inner.len() <= bytes.len() + 1);
    }
});
