//! Shell texts: never a panic, never more than the limits; what commands are given to run is found in them.
#![no_main]

use fragment_analysis::words::{interpreter, shell, wrapper};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let script = shell::read(&text, "/fuzz/script");
    assert!(script.commands.len() <= shell::MAX_COMMANDS);
    for command in script.commands {
        assert!(command.words[0].literal && !command.words[0].text.is_empty());
        let _ = wrapper::inner(&command.words);
        let _ = interpreter::programs(&command.words, command.input.as_deref());
    }
});
