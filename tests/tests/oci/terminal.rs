//! `terminal: true` with `--console-socket`.

use fragment_tests::{Scene, child, console::Socket};
use serde_json::json;

fn scene_with_terminal() -> (Scene, Socket) {
    let mut scene = Scene::new();
    scene
        .bundle
        .args(&["/bin/sh"])
        .edit(|spec| spec["process"]["terminal"] = json!(true));
    let socket = Socket::bind(scene.file("console"));
    (scene, socket)
}

#[test]
fn the_engine_receives_the_pty_and_talks_through_it() {
    let (scene, socket) = scene_with_terminal();
    let mut terminal = scene.up_with_terminal(&socket);
    terminal.write("tty; echo $((6*7))\n");
    terminal.wait_for("/dev/");
    terminal.wait_for("42");
    terminal.write("exit 0\n");
    scene.stopped();
    scene.verb("delete", &[]).ok();
}

#[test]
fn it_is_the_controlling_terminal_and_dev_console() {
    let (scene, socket) = scene_with_terminal();
    let mut terminal = scene.up_with_terminal(&socket);
    terminal.write("echo to-console > /dev/console; echo to-tty > /dev/tty; echo en''d\n");
    for text in ["\nto-console", "\nto-tty", "\nend"] {
        terminal.wait_for(text);
    }
    terminal.forget();
    // ^C reaches the foreground process group: a session with a controlling terminal. At its prompt the shell reads ^C as a
    // character
    terminal.write(
        "sh -c \"trap 'echo caug''ht; exit' INT; echo rea''dy; while :; do sleep 0.05; done\"\n",
    );
    terminal.wait_for("ready");
    terminal.write("\x03");
    terminal.wait_for("caught");
    scene.delete();
}

#[test]
fn the_console_size_is_the_specs() {
    let (mut scene, socket) = scene_with_terminal();
    scene
        .bundle
        .edit(|spec| spec["process"]["consoleSize"] = json!({ "height": 11, "width": 77 }));
    let mut terminal = scene.up_with_terminal(&socket);
    terminal.write("stty size\n");
    terminal.wait_for("11 77");
    terminal.resize(33, 99);
    terminal.write("stty size\n");
    terminal.wait_for("33 99");
    scene.delete();
}

#[test]
fn exec_with_a_terminal() {
    let scene = Scene::sleeper();
    scene.up();
    let socket = Socket::bind(scene.file("console"));
    let options = [
        "--tty",
        "--detach",
        "--console-socket",
        socket.path().to_str().unwrap(),
    ];
    scene.exec_call(&options, &["sh"]).output().ok();
    let mut terminal = socket.terminal();
    terminal.write("tty; echo $((6*7))\n");
    terminal.wait_for("/dev/pts/");
    terminal.wait_for("42");
    scene.delete();
}

#[test]
fn the_pty_belongs_to_the_user() {
    let (mut scene, socket) = scene_with_terminal();
    scene
        .bundle
        .edit(|spec| spec["process"]["user"] = json!({ "uid": 1000, "gid": 1000 }));
    let mut terminal = scene.up_with_terminal(&socket);
    terminal.write("stat -L -c 'owner=%u' /proc/self/fd/0\n");
    terminal.wait_for("owner=1000");
    scene.delete();
}

// a failed create (for example a bad console socket) leaves <root>/<id> under libcontainer (FACTS.md 1)
#[test]
fn a_console_socket_that_is_not_there_fails_and_leaves_nothing() {
    let (scene, _) = scene_with_terminal();
    for _ in 0..2 {
        scene
            .create_call(&["--console-socket", "/no/such/socket"])
            .output()
            .fails_with("no such file or directory");
        scene.nothing_left();
    }
    let file = scene.file("file");
    std::fs::write(&file, "").unwrap();
    let output = scene
        .create_call(&["--console-socket", file.to_str().unwrap()])
        .output();
    assert!(
        output.status.code().is_some_and(|code| code != 0),
        "{output}"
    );
    scene.nothing_left();
}

#[test]
fn a_terminal_without_a_console_socket_is_refused_by_create() {
    let (scene, _) = scene_with_terminal();
    scene.create().fails_with("console");
    scene.nothing_left();
}

#[test]
fn a_console_socket_without_a_terminal_is_refused() {
    let scene = Scene::new();
    let socket = Socket::bind(scene.file("console"));
    scene
        .create_call(&["--console-socket", socket.path().to_str().unwrap()])
        .output()
        .fails_with("console");
}

#[test]
fn closing_the_pty_hangs_the_shell_up() {
    let (scene, socket) = scene_with_terminal();
    let mut terminal = scene.up_with_terminal(&socket);
    terminal.write("echo $((6*7))\n");
    terminal.wait_for("42");
    drop(terminal);
    child::until("the shell has ended", || scene.status() == "stopped");
    scene.verb("delete", &[]).ok();
}
