//! `run` and `exec` in the foreground, at a real terminal.

use std::fs::File;
use std::process::{Child, Stdio};

use fragment_tests::console::Terminal;
use fragment_tests::{Call, Scene, child};
use rustix::process::Signal;
use serde_json::json;

/// A scene whose program has a terminal.
fn scene(script: &str) -> Scene {
    let mut scene = Scene::sh(script);
    scene
        .bundle
        .edit(|spec| spec["process"]["terminal"] = json!(true));
    scene
}

/// Makes a call with `end` as its controlling terminal and standard streams.
fn at(end: &File, call: Call) -> Child {
    // setsid(1) becomes the call: the child is the runtime
    let mut command = call.within("exec setsid --ctty \"$@\"").command();
    let stream = || Stdio::from(end.try_clone().unwrap());
    command
        .stdin(stream())
        .stdout(stream())
        .stderr(stream())
        .spawn()
        .unwrap()
}

fn code(mut child: Child) -> Option<i32> {
    child::wait_or_kill(&mut child, child::LIMIT, "the call").code()
}

/// `run` of the scene, or `exec` of the same in a container that runs.
fn both(script: &str, test: impl Fn(&dyn Fn(&File) -> Child, &mut Terminal)) {
    for exec in [false, true] {
        let (mut terminal, end) = Terminal::new(33, 99);
        if exec {
            let scene = Scene::sleeper();
            scene.up();
            let start = |end: &File| at(end, scene.exec_call(&["-t"], &["sh", "-c", script]));
            test(&start, &mut terminal);
            assert!(terminal.is_cooked(), "exec left the terminal raw");
            scene.delete();
        } else {
            let scene = scene(script);
            let start = |end: &File| at(end, scene.run_call(&[]));
            test(&start, &mut terminal);
            assert!(terminal.is_cooked(), "run left the terminal raw");
        }
        drop(end);
    }
}

#[test]
fn the_size_is_the_terminals_and_follows_it() {
    let script =
        "stty size; trap 'stty size; exit 5' WINCH; echo rea''dy; while :; do sleep 0.05; done";
    both(script, |start, terminal| {
        let (mut own, end) = Terminal::new(33, 99);
        std::mem::swap(terminal, &mut own);
        let child = start(&end);
        terminal.wait_for("33 99\r\n");
        terminal.wait_for("ready");
        assert!(!terminal.is_cooked());
        terminal.resize(44, 111);
        terminal.wait_for("44 111\r\n");
        assert_eq!(code(child), Some(5));
    });
}

#[test]
fn keys_are_the_programs() {
    let script = "trap 'echo caug''ht; exit 6' INT; echo rea''dy; while :; do sleep 0.05; done";
    both(script, |start, terminal| {
        let (mut own, end) = Terminal::new(33, 99);
        std::mem::swap(terminal, &mut own);
        let child = start(&end);
        terminal.wait_for("ready");
        terminal.write("\x03");
        terminal.wait_for("caught");
        assert_eq!(code(child), Some(6));
    });
}

#[test]
fn the_terminal_is_restored_when_the_runtime_is_told_to_end() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let script = "trap 'exit 7' TERM INT HUP; echo rea''dy; while :; do sleep 0.05; done";
        both(script, |start, terminal| {
            let (mut own, end) = Terminal::new(33, 99);
            std::mem::swap(terminal, &mut own);
            let child = start(&end);
            terminal.wait_for("ready");
            assert!(!terminal.is_cooked());
            child::signal(child.id(), signal).unwrap();
            assert_eq!(code(child), Some(7));
        });
    }
}

#[test]
fn the_terminal_is_restored_when_the_program_is_killed() {
    both(
        "kill -KILL $$; kill -KILL -1; sleep 0.1",
        |start, terminal| {
            let (mut own, end) = Terminal::new(33, 99);
            std::mem::swap(terminal, &mut own);
            // the first process of a PID namespace ignores its own SIGKILL
            let code = code(start(&end));
            assert!([Some(0), Some(137)].contains(&code), "{code:?}");
        },
    );
}

#[test]
fn the_terminal_is_restored_after_an_error() {
    let mut scene = scene("true");
    scene.bundle.args(&["/no/such/program"]);
    let (terminal, end) = Terminal::new(33, 99);
    assert_eq!(code(at(&end, scene.run_call(&[]))), Some(1));
    assert!(terminal.is_cooked());
    scene.nothing_left();
    // one that comes after raw mode: the program is there and cannot be executed
    scene
        .bundle
        .file("bad", "no program", 0o755)
        .args(&["/bad"]);
    let code = code(at(&end, scene.run_call(&[])));
    assert!(code.is_some_and(|code| code != 0));
    assert!(terminal.is_cooked());
}

#[test]
fn all_output_arrives_however_much() {
    // more than a pty and a pipe hold, and the program ends at once after
    both("seq 1 60000", |start, terminal| {
        let (mut own, end) = Terminal::new(33, 99);
        std::mem::swap(terminal, &mut own);
        let mut child = start(&end);
        drop(end);
        let seen = terminal.read_to_end();
        assert_eq!(seen.lines().count(), 60_000);
        assert!(
            seen.ends_with("\n60000\r\n"),
            "{}",
            &seen[seen.len() - 40..]
        );
        assert_eq!(
            child::wait_or_kill(&mut child, child::LIMIT, "run").code(),
            Some(0)
        );
        let (mut other, _end) = Terminal::new(1, 1);
        std::mem::swap(terminal, &mut other);
    });
}

#[test]
fn endless_output_does_not_hold_signals_up() {
    let script = "trap 'exit 8' TERM; while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done";
    let scene = scene(script);
    let mut command = scene.run_call(&[]).command();
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut run = command.spawn().unwrap();
    let mut output = run.stdout.take().unwrap();
    let reader = std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
    std::thread::sleep(std::time::Duration::from_millis(500));
    child::signal(run.id(), Signal::TERM).unwrap();
    assert_eq!(
        child::wait_or_kill(&mut run, child::LIMIT, "run").code(),
        Some(8)
    );
    assert!(reader.join().unwrap().unwrap() > 0);
}

#[test]
fn nobody_reading_the_output_does_not_end_the_program() {
    let scene = scene("seq 1 20000; exit 9");
    let call = scene.run_call(&[]).within("exec \"$@\" >&-");
    call.output().code(9);
    let call = scene
        .run_call(&[])
        .within("{ \"$@\" || echo $? >&2; } | true");
    let output = call.output();
    assert!(output.stderr.ends_with("9\n"), "{output}");
}

#[test]
fn a_program_that_closes_its_terminal_is_waited_for() {
    let scene = scene("exec <&- >&- 2>&-; sleep 1; exec >/dev/tty; echo back; exit 4");
    let output = scene.run();
    output.code(4).stdout("back\r\n");
}

#[test]
fn the_end_of_input_is_the_end_of_the_programs() {
    both("cat; exit 3", |start, terminal| {
        let (mut own, end) = Terminal::new(33, 99);
        std::mem::swap(terminal, &mut own);
        let child = start(&end);
        terminal.write("typed\r");
        terminal.wait_for("typed\r\ntyped\r\n");
        terminal.write("\x04");
        assert_eq!(code(child), Some(3));
    });
    let scene = scene("cat; exit 3");
    scene
        .run_call(&[])
        .stdin("line\n")
        .output()
        .code(3)
        .says("line");
}

#[test]
fn a_terminal_that_is_hung_up_ends_the_program() {
    let scene = scene("echo rea''dy; while :; do sleep 0.05; done");
    let (mut terminal, end) = Terminal::new(33, 99);
    let mut run = at(&end, scene.run_call(&[]));
    drop(end);
    terminal.wait_for("ready");
    // SIGHUP comes to the runtime, whose terminal this is, and the program has no trap for it: only a kill ends it here
    drop(terminal);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(
        run.try_wait().unwrap().is_none(),
        "run ended before its program"
    );
    scene.call(["kill", &scene.id, "KILL"]).output().ok();
    let _ = child::wait_or_kill(&mut run, child::LIMIT, "run");
    scene.delete();
}

#[test]
fn what_cannot_go_together_is_refused_in_runcs_words() {
    let words = "cannot use console socket if";
    let scene = scene("true");
    scene
        .run_call(&["--console-socket", "/tmp/none"])
        .output()
        .fails_with(words);
    scene
        .run_call(&["--detach"])
        .output()
        .fails_with("cannot allocate tty if");
    scene.nothing_left();
    let scene = Scene::sleeper();
    scene.up();
    for options in [
        vec!["-t", "--console-socket", "/tmp/none"],
        vec!["-d", "--console-socket", "/tmp/none"],
    ] {
        scene
            .exec_call(&options, &["true"])
            .output()
            .fails_with(words);
    }
    scene
        .exec_call(&["-t", "-d"], &["true"])
        .output()
        .fails_with("cannot allocate tty if");
    scene.delete();
}

#[test]
fn without_a_subreaper_orphans_are_the_hosts() {
    for option in [None, Some("--no-subreaper")] {
        let mut scene = Scene::sh("(sleep 0.3; exit) & exec sleep 1");
        scene.bundle.without_namespace("pid");
        let options: Vec<&str> = option.into_iter().collect();
        scene.run_call(&options).output().ok();
    }
}
