//! Texts of a rootfs and of the command line: shebang lines, texts of script languages, addresses.
#![no_main]

use fragment_analysis::words::interpreter::{self, Language};
use fragment_analysis::words::{shell, wrapper};
use fragment_analysis::{address, imports, shebang};

const LANGUAGES: [Language; 8] = [
    Language::Python,
    Language::Perl,
    Language::Ruby,
    Language::Node,
    Language::Php,
    Language::Lua,
    Language::Tcl,
    Language::R,
];

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = shebang::parse(bytes);
    let text = String::from_utf8_lossy(bytes);
    for command in shell::read(&text, "/fuzz/script").commands {
        let _ = wrapper::inner(&command.words);
        let _ = interpreter::programs(&command.words, command.input.as_deref());
    }
    for language in LANGUAGES {
        let _ = imports::read(language, &text);
    }
    let _ = address::parse(&text);
});
