//! The programs are what the tests take them for: they run here, and they are linked as they say.

use std::process::Command;

use fragment_tests::programs::Program;

fn runs_here(program: Program) {
    let path = program.build();
    let output = Command::new(&path).output().expect("run the program");
    assert_eq!(String::from_utf8_lossy(&output.stdout), program.stdout());
    assert!(output.status.success());

    let headers = Command::new("readelf")
        .args(["-W", "-l", "-d"])
        .arg(&path)
        .output();
    let headers = headers.expect("run readelf (package binutils)").stdout;
    let headers = String::from_utf8_lossy(&headers).into_owned();
    for mark in ["program interpreter", "(NEEDED)", "libc.so.6"] {
        assert_eq!(
            headers.contains(mark),
            program.is_dynamic(),
            "{mark}\n{headers}"
        );
    }
}

#[test]
fn c() {
    runs_here(Program::C);
}

#[test]
fn cxx() {
    runs_here(Program::Cxx);
}

#[test]
fn rust() {
    runs_here(Program::Rust);
}

#[test]
fn go() {
    runs_here(Program::Go);
}

#[test]
fn static_c() {
    runs_here(Program::StaticC);
}
