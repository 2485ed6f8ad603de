//! ELF files of a rootfs: never a panic, never more than the limits.
#![no_main]

use fragment_analysis::elf;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = elf::parse_bytes(bytes);
    let _ = elf::imports(&bytes);
    if let Ok(contents) = elf::contents(&bytes, true, 1 << 16) {
        assert!(contents.constants.len() <= (1 << 16) + 65_536 && contents.go_functions.len() <= 1 << 16);
    }
});
