//! YAML documents that come from images and nodes: never a panic, never more than the limits; a lock is read as it is written.
#![no_main]

use fragment::Settings;
use fragment::control::{configuration, image};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = configuration::put("fuzz".as_ref(), bytes, &mut Settings::default());
    if let Ok(wishes) = image::parse(bytes)
        && let Some(lock) = wishes.lock
    {
        let again = image::parse(lock.to_yaml().as_bytes()).expect("a lock in YAML");
        assert_eq!(again.lock, Some(lock));
    }
});
