//! What is expensive to make is made once and kept below Cargo's target directory.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

/// The thing called `name`, made by `make` at the path it is given unless it is there already. `recipe` is everything its
/// content depends on: another recipe is another thing.
///
/// Tests of other threads and processes that want the same wait for the first. What a killed `make` left is removed.
///
/// # Panics
/// When `make` does, or makes nothing.
pub fn made(name: &str, recipe: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let directory = directory();
    fs::create_dir_all(&directory).expect("create the cache directory");
    let mut hasher = DefaultHasher::new();
    recipe.hash(&mut hasher);
    let finished = directory.join(format!("{name}-{:016x}", hasher.finish()));
    let lock = File::create(finished.with_extension("lock")).expect("create a lock file");
    lock.lock().expect("lock a lock file");
    if !finished.exists() {
        let partial = finished.with_extension("partial");
        if partial.exists() {
            let _ = fs::remove_dir_all(&partial).or_else(|_| fs::remove_file(&partial));
        }
        make(&partial);
        fs::rename(&partial, &finished)
            .unwrap_or_else(|error| panic!("{name} was not made: {error}"));
    }
    finished
}

/// `target/tmp/fragment-tests`: a test executable is `target/PROFILE/deps/NAME-HASH`.
fn directory() -> PathBuf {
    let test = std::env::current_exe().expect("the path of the test executable");
    let target = test
        .ancestors()
        .nth(3)
        .map_or_else(std::env::temp_dir, Path::to_owned);
    target.join("tmp/fragment-tests")
}
