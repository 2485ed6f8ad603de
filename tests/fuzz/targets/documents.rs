//! JSON documents that come from outside: manifests and plans. What is read is written back the same.
#![no_main]

use fragment_types::{Manifest, Plan, canonical};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(manifest) = serde_json::from_slice::<Manifest>(bytes) {
        let text = canonical::to_vec(&manifest).expect("a manifest in JSON");
        assert_eq!(serde_json::from_slice::<Manifest>(&text).expect("the same"), manifest);
    }
    if let Ok(plan) = serde_json::from_slice::<Plan>(bytes) {
        let text = canonical::to_vec(&plan).expect("a plan in JSON");
        assert_eq!(serde_json::from_slice::<Plan>(&text).expect("the same").id(), plan.id());
    }
});
