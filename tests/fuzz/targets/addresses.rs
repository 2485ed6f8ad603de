//! Words that may be addresses, and command lines of env.
#![no_main]

use fragment_analysis::{address, env_command};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let _ = address::parse(&text);
    let words: Vec<String> = text.split('\n').map(str::to_owned).collect();
    let _ = env_command::parse(&words, &|name| Some(name.to_owned()));
});
