//! Texts of a rootfs and of the command line: shebang lines, shell and Python texts, addresses.
#![no_main]

use fragment_analysis::{address, python, shebang, words};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = shebang::parse(bytes);
    let text = String::from_utf8_lossy(bytes);
    for words in words::shell::commands(&text, "fuzz") {
        let _ = words::wrapper::inner(&words);
        let _ = words::interpreter::program(&words);
    }
    let _ = python::imports(&text);
    let _ = address::parse(&text);
});
