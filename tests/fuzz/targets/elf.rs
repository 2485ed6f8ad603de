//! ELF files of a rootfs: never a panic, never more than the limits.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = fragment_analysis::elf::parse_bytes(bytes);
});
