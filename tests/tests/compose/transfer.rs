//! `fragment library export` and `import`: a user's own library.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;

use fragment_tests::{USER, fragment};

#[test]
fn a_user_takes_components_from_an_exported_library() {
    let directory = tempfile::tempdir().unwrap();
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(directory.path(), open).unwrap();
    let layout = directory.path().join("layout");
    let path = layout.to_str().unwrap();
    let output = fragment::call(&["library", "export", path, "bash", "libtinfo6"]).output();
    output.ok().says("2 components written");

    let home = directory.path().join("home");
    std::fs::create_dir(&home).unwrap();
    std::os::unix::fs::chown(&home, Some(USER), Some(USER)).unwrap();
    // the program may lie where the user may not look
    let program = directory.path().join("fragment");
    std::fs::copy(fragment::program(), &program).unwrap();
    let call = |words: &[&str]| {
        let mut command = std::process::Command::new(&program);
        command.args(words).env_clear().env("HOME", &home);
        let output = command.current_dir("/").uid(USER).gid(USER).output();
        let output = output.unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    };
    let said = call(&["library", "import", path]);
    let own = home.join(".local/share/fragment");
    assert_eq!(said, format!("2 components taken into {}\n", own.display()));
    // from then on it is theirs, without a word
    let listed = call(&["library", "list"]);
    assert!(
        listed.contains("bash") && !listed.contains("curl"),
        "{listed}"
    );
    assert!(call(&["library", "import", path]).starts_with("0 components"));
}
