//! `fragment library add` and `fragment run --add`: packages of the archive, without a recipe.

use std::path::Path;
use std::time::Duration;

use fragment_tests::fragment;

#[test]
fn a_command_of_the_archive_is_named_added_and_run() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (layout, store, work) = (path("layout"), path("store"), path("work"));
    let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../library");
    let recipes = recipes.to_str().unwrap();
    let call = |words: &[&str]| {
        fragment::call(&["--store", &store])
            .args(words)
            .limit(Duration::from_secs(900))
            .output()
    };
    // jq needs libm.so.6, which a recipe has sliced out of its package
    fragment::call(&["library", "export", &layout, "core", "libm"])
        .output()
        .ok();
    call(&["library", "import", &layout]).ok();

    let refused = call(&["run", "--", "jq", "--version"]);
    refused.code(127).fails_with("`fragment library add jq`");
    let place = ["--recipes", recipes, "--work", &work];
    let run = call(&[&["run", "--add"], &place[..], &["--", "jq", "-n", "6*7"]].concat());
    run.ok().stdout("42\n");
    // what it depends on is there as a component of its own
    let listed = call(&["library", "list"]);
    for name in ["core", "jq", "libjq1", "libonig5"] {
        listed.ok().says(name);
    }
    // it is in the library: nothing is made, and the command runs without --add
    let again = call(&[&["library", "add", "--json"], &place[..], &["jq"]].concat());
    assert_eq!(again.ok().json()["made"], serde_json::json!([]));
    call(&["run", "--", "jq", "-n", "6*7"]).ok().stdout("42\n");

    let unknown = call(&[&["library", "add"], &place[..], &["no-such-package-here"]].concat());
    unknown.code(1).fails_with("no-such-package-here");
}
