//! `fragment explain`: every question, on the real library. None of them changes anything or needs root.

use std::io::Write as _;
use std::process::{Command, Stdio};

use fragment_tests::{Scene, fragment};
use serde_json::Value;

const CURL: [&str; 3] = ["--", "curl", "https://example.org/"];

fn explained(arguments: &[&str]) -> String {
    let call = fragment::call(&[&["explain"], arguments].concat());
    call.output().ok().stdout.clone()
}

fn document(arguments: &[&str]) -> Value {
    let call = fragment::call(&[&["explain", "--json"], arguments].concat());
    call.output().ok().json()
}

#[track_caller]
fn contains(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} in\n{text}");
    }
}

/// Whether `document` is what docs/schema says, by Python's jsonschema.
#[track_caller]
fn is_valid(schema: &str, document: &Value) {
    const PROGRAM: &str = "import json,sys,jsonschema; d,s=json.load(sys.stdin),json.load(open(sys.argv[1])); \
        e=[f'{list(x.absolute_path)}: {x.message[:400]}' for x in jsonschema.Draft202012Validator(s).iter_errors(d)]; \
        print('\\n'.join(e)); sys.exit(bool(e))";
    let path = format!("{}/../docs/schema/{schema}", env!("CARGO_MANIFEST_DIR"));
    let mut python = Command::new("python3")
        .args(["-c", PROGRAM, &path])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3 (hack/setup test)");
    let text = document.to_string();
    let mut stdin = python.stdin.take().expect("its input");
    stdin
        .write_all(text.as_bytes())
        .expect("write the document");
    drop(stdin);
    let output = python.wait_with_output().expect("wait");
    assert!(
        output.status.success(),
        "{schema} (is python3-jsonschema installed? hack/setup test): {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_chain_names_soname_symbol_version_and_component() {
    let text = explained(&CURL);
    contains(
        &text,
        &["-> needed libcurl.so.4 -> CURL_OPENSSL_4", "-> libcurl4 7."],
    );
    let found = document(&CURL);
    let components = found["components"].as_array().expect("components");
    let steps = |name: &str| {
        let own = components.iter().find(|one| one["component"] == name);
        own.expect(name)["steps"].to_string()
    };
    contains(
        &steps("libcurl4"),
        &["entry curl", "needed libcurl.so.4", "CURL_OPENSSL_4"],
    );
}

#[test]
fn documents_are_as_their_schemas_say() {
    is_valid("explain.json", &document(&CURL));
    is_valid("explain.json", &document(&["--", "echo"]));
    let plan = |arguments: &[&str]| {
        let call = fragment::call(&[&["plan", "--json"], arguments].concat());
        call.output().ok().json()
    };
    is_valid("plan.json", &plan(&CURL));
    is_valid(
        "plan.json",
        &plan(&["--min-grade", "string", "--", "python3", "-c", "import ssl"]),
    );
    let scene = Scene::only("/usr/bin/sleep", &["1"]);
    let bundle = scene.bundle.path().to_str().expect("UTF-8").to_owned();
    is_valid("plan.json", &plan(&["--bundle", &bundle]));
    for question in [
        ["--why-not", "bash"],
        ["--why-not", "no-such-component"],
        ["--why-not", "core"],
        ["--path", "/bin/sh"],
        ["--path", "/usr/lib"],
        ["--path", "/no/such/file"],
        ["--diff-command", "echo"],
    ] {
        let found = document(&[&question[..], &CURL].concat());
        is_valid("explain.json", &found);
    }
    // and the schema says no to something else
    let mut wrong = document(&["--", "echo"]);
    wrong["components"][0]["stored"] = "much".into();
    let refused = std::panic::catch_unwind(|| is_valid("explain.json", &wrong));
    assert!(refused.is_err());
}

#[test]
fn why_a_component_is_not_there() {
    contains(
        &explained(&["--why-not", "no-such-component", "--", "echo"]),
        &[
            "not in the library",
            "fragment library add no-such-component",
        ],
    );
    contains(
        &explained(&["--why-not", "crul", "--", "echo"]),
        &["the library has curl"],
    );
    contains(
        &explained(&["--why-not", "curl", "--", "echo"]),
        &["nothing that /usr/bin/busybox needs", "--component curl"],
    );
    contains(
        &explained(&["--why-not", "curl", "--exclude", "curl", "--", "echo"]),
        &["`curl` is excluded", "the flag --exclude"],
    );
    let excluded = fragment::call(&["explain", "--why-not", "curl", "--", "echo"])
        .env("FRAGMENT_EXCLUDE", "curl")
        .output();
    excluded.ok().says("the variable FRAGMENT_EXCLUDE");
    contains(
        &explained(&["--why-not", "coreutils", "--", "echo"]),
        &[
            "command `echo` is supplied by component `core`",
            "below every composition",
        ],
    );
    contains(
        &explained(&["--why-not", "core", "--", "echo"]),
        &["`core` is in the plan"],
    );
    contains(
        &explained(&[
            "--why-not",
            "tcp-stack",
            "--min-grade",
            "declared",
            "--",
            "curl",
            "https://example.org",
        ]),
        &[
            "capability `tcp_connections` has evidence of grade argument only",
            "declared is asked for",
        ],
    );
}

#[test]
fn the_minimum_grade_decides_what_is_composed_and_everything_is_listed() {
    let plan = |arguments: &[&str]| {
        let call = fragment::call(&[&["plan", "--json"], arguments, &CURL].concat());
        call.output().ok().json()["plan"].clone()
    };
    let names = |plan: &Value| plan["layers"].to_string();
    assert!(names(&plan(&[])).contains("tcp-stack"));
    let strict = plan(&["--min-grade", "declared"]);
    assert!(!names(&strict).contains("tcp-stack"), "{strict:#}");
    assert_eq!(strict["min_grade"], "declared");
    assert!(
        strict["requirements"]
            .to_string()
            .contains("tcp_connections")
    );
    // whoever names the capability declares it
    let declared = plan(&["--min-grade", "declared", "--require", "tcp_connections"]);
    assert!(names(&declared).contains("tcp-stack"));
    let wrong = fragment::call(&["plan", "--min-grade", "guess", "--", "echo"]).output();
    wrong
        .code(2)
        .fails_with("declared, argument, import, library-import or string");
    let wrong = fragment::call(&["plan", "--", "echo"])
        .env("FRAGMENT_MIN_GRADE", "guess")
        .output();
    wrong.code(1).fails_with("FRAGMENT_MIN_GRADE");
    contains(
        &explained(&[
            "--min-grade",
            "declared",
            "--",
            "curl",
            "https://example.org/",
        ]),
        &["tcp_connections      argument        too weak to compose for"],
    );
}

#[test]
fn where_a_path_comes_from() {
    contains(
        &explained(&["--path", "/bin/sh", "--", "echo"]),
        &[
            "/bin is a link to usr/bin  (component core",
            "component core",
        ],
    );
    let hidden = Scene::only("/usr/bin/sleep", &["1"]);
    let bundle = hidden.bundle.path().to_str().expect("UTF-8").to_owned();
    contains(
        &explained(&["--path", "/usr/bin/sleep", "--bundle", &bundle]),
        &["/usr/bin/sleep: file of the bundle's rootfs"],
    );
    contains(
        &explained(&["--path", "/usr/bin", "--", "curl", "https://example.org/"]),
        &[
            "/usr/bin: directory of component curl",
            "together with component core",
        ],
    );
    contains(
        &explained(&["--path", "/usr/bin/bash", "--", "echo"]),
        &[
            "does not exist in the composed root",
            "what exists of it: /usr/bin",
            "also in the library: component ",
        ],
    );
    contains(
        &explained(&["--path", "/opt/curl", "--", "echo"]),
        &["does not exist", "similar: /usr/bin/curl"],
    );
    let relative = fragment::call(&["explain", "--path", "etc", "--", "echo"]).output();
    relative.code(1).fails_with("has to begin with `/`");
}

#[test]
fn what_is_different_between_two_plans() {
    let text = explained(&[
        "--diff-command",
        "echo",
        "--",
        "curl",
        "https://example.org/",
    ]);
    contains(
        &text,
        &[
            "/usr/bin/busybox -> /usr/bin/curl",
            "+ curl ",
            "needed no more:",
            "command `echo`",
            "granted now:",
        ],
    );
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("plan.json");
    let saved = fragment::call(&["plan", "--json", "--", "curl", "https://example.org/"]).output();
    std::fs::write(&file, &saved.ok().stdout).expect("write");
    let file = file.to_str().expect("UTF-8");
    contains(
        &explained(&[&["--diff", file], &CURL[..]].concat()),
        &["the two are one plan"],
    );
    contains(
        &explained(&["--diff", file, "--", "echo"]),
        &["- curl ", "- tcp-stack", "granted no more:"],
    );
    std::fs::write(directory.path().join("x"), "{}").expect("write");
    let wrong = directory.path().join("x");
    let wrong = fragment::call(&["explain", "--diff", wrong.to_str().unwrap(), "--", "echo"]);
    wrong.output().code(1).fails_with("not a plan");
}

#[test]
fn pictures_hold_every_component() {
    let plan = document(&CURL);
    let (dot, svg) = (
        explained(&[&["--dot"], &CURL[..]].concat()),
        explained(&[&["--svg"], &CURL[..]].concat()),
    );
    contains(&dot, &["digraph fragment {", "rankdir=LR"]);
    contains(
        &svg,
        &["<svg xmlns=", "prefers-color-scheme:dark", "</svg>"],
    );
    for component in plan["components"].as_array().expect("components") {
        let name = component["component"].as_str().expect("a name");
        contains(&dot, &[&format!("label=\"{name}\\n")]);
        contains(&svg, &[&format!(">{name}</text>")]);
    }
}
