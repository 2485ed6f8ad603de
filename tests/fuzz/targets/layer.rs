//! Layers of images: whatever the bytes, every name stays inside, and content is as long as its header says.
#![no_main]

use fragment_store::{Archive, Kind};

fn is_inside(path: &str) -> bool {
    !path.starts_with('/') && path.split('/').all(|part| part != "..")
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut archive = Archive::of_image(bytes);
    let mut buffer = [0; 4096];
    while let Ok(Some(entry)) = archive.next_entry() {
        assert!(is_inside(&entry.path), "{}", entry.path);
        match entry.kind {
            Kind::HardLink { target } => assert!(is_inside(&target), "{target}"),
            Kind::File { size } => {
                let mut read = 0;
                loop {
                    match archive.read_content(&mut buffer) {
                        Ok(0) => break assert_eq!(read, size),
                        Ok(more) => read += more as u64,
                        Err(_) => return,
                    }
                }
            }
            _ => {}
        }
    }
});
