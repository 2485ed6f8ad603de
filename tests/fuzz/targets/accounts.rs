//! Lists of users and groups, of components and of a rootfs, and the loader's cache of any names.
#![no_main]

use fragment_compose::generated::accounts::{self, List};
use fragment_compose::generated::loader;
use fragment_types::catalogue::CachedObject;
use fragment_types::manifest::Machine;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (lower, upper) = bytes.split_at(bytes.len() / 2);
    for list in [List::Users, List::Groups] {
        let once = accounts::union(list, &[lower, upper]);
        assert_eq!(accounts::union(list, &[&once]), once, "a union is its own union");
    }
    let _ = accounts::numbers(bytes);
    let text = String::from_utf8_lossy(bytes);
    let objects: Vec<_> = text
        .lines()
        .map(|line| CachedObject {
            soname: line.to_owned(),
            path: line.to_owned(),
            machine: Machine::X86_64,
        })
        .collect();
    let _ = loader::cache(&objects);
});
