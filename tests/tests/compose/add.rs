//! `fragment library add` and `fragment run --add`: packages of the archive, without a recipe.

use std::path::Path;
use std::time::Duration;

use fragment_tests::{Output, fragment};

/// A store, a work directory and the recipes, for calls of the binary under test.
struct Place {
    directory: tempfile::TempDir,
    recipes: String,
}

impl Place {
    /// A store with nothing in it.
    fn empty() -> Self {
        let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../library");
        Self {
            directory: tempfile::tempdir().expect("a directory"),
            recipes: recipes.to_str().expect("UTF-8").to_owned(),
        }
    }

    /// A store with these components of the recipes.
    fn with(components: &[&str]) -> Self {
        let place = Self::empty();
        let layout = place.path("layout");
        fragment::call(&["library", "export", &layout])
            .args(components)
            .output()
            .ok();
        place.call(&["library", "import", &layout]).ok();
        place
    }

    fn path(&self, name: &str) -> String {
        self.directory
            .path()
            .join(name)
            .to_str()
            .expect("UTF-8")
            .to_owned()
    }

    fn call(&self, words: &[&str]) -> Output {
        fragment::call(&["--store", &self.path("store")])
            .args(words)
            .limit(Duration::from_secs(900))
            .output()
    }

    /// A call that installs packages: `command`, where to, then the rest.
    fn add(&self, command: &[&str], rest: &[&str]) -> Output {
        let work = self.path("work");
        let place = ["--recipes", &self.recipes, "--work", &work];
        self.call(&[command, &place, rest].concat())
    }
}

#[test]
fn a_command_of_the_archive_is_named_added_and_run() {
    // jq needs libm.so.6, which a recipe has sliced out of its package
    let place = Place::with(&["core", "libm"]);
    let refused = place.call(&["run", "--", "jq", "--version"]);
    refused.code(127).fails_with("`fragment library add jq`");
    let run = place.add(&["run", "--add"], &["--", "jq", "-n", "6*7"]);
    run.ok().stdout("42\n");
    // what it depends on is there as a component of its own
    let listed = place.call(&["library", "list"]);
    for name in ["core", "jq", "libjq1", "libonig5"] {
        listed.ok().says(name);
    }
    // it is in the library: nothing is made, and the command runs without --add
    let again = place.add(&["library", "add", "--json"], &["jq"]);
    assert_eq!(again.ok().json()["made"], serde_json::json!([]));
    let run = place.call(&["run", "--", "jq", "-n", "6*7"]);
    run.ok().stdout("42\n");

    let unknown = place.add(&["library", "add"], &["no-such-package-here"]);
    unknown.code(1).fails_with("no-such-package-here");
}

#[test]
fn what_a_recipe_s_component_would_bring_comes_with_the_package_where_the_store_lacks_it() {
    // libm.so.6 is in the components `libm` and `glibc`, and in neither here
    let place = Place::with(&["core"]);
    place.add(&["library", "add"], &["jq"]).ok();
    place.call(&["library", "list"]).ok().says("libc6-deb");
    let run = place.call(&["run", "--", "jq", "-n", "6*7"]);
    run.ok().stdout("42\n");
}

/// debconf is what packages are configured with, and no component requires it: programs that load its modules get it.
#[test]
fn machinery_of_installation_comes_along_and_is_composed_for_who_asks() {
    let perl = [
        "core",
        "perl",
        "libbz2-1.0",
        "libcrypt1",
        "libdb5.3",
        "libgdbm-compat4",
        "libgdbm6",
        "libm",
        "zlib",
    ];
    let place = Place::with(&perl);
    place.add(&["library", "add"], &["debconf-utils"]).ok();
    place.call(&["library", "list"]).ok().says("debconf");
    let info = place
        .call(&["library", "info", "debconf-utils", "--json"])
        .ok()
        .json();
    let required = info["requires"]["components"].as_array();
    let required = required.expect("components");
    assert!(!required.contains(&"debconf".into()), "{required:?}");
    let script = "use Debconf::Template::Transient; print 6*7";
    let run = place.call(&["run", "--", "perl", "-e", script]);
    run.ok().stdout("42");
}

#[test]
fn nothing_is_added_to_a_library_without_what_all_components_require() {
    let place = Place::empty();
    let refused = place.add(&["library", "add"], &["jq"]);
    refused.code(1).fails_with("`fragment library build core`");
    let planned = place.add(&["library", "add", "--dry-run"], &["jq"]);
    planned.code(1).fails_with("`fragment library build core`");
    assert!(!Path::new(&place.path("work/roots/generation")).exists());
}
