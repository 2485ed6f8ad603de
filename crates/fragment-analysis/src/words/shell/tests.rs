//! Shell texts, and what they say.

use proptest::prelude::*;

use super::*;

fn names(text: &str) -> Vec<String> {
    read(text, "x")
        .commands
        .into_iter()
        .map(|command| command.words[0].text.clone())
        .collect()
}

#[test]
fn command_words_are_found() {
    for (text, expected) in [
        ("", &[][..]),
        ("a | b && c || d; e & f", &["a", "b", "c", "d", "e", "f"]),
        ("A=1 B='x y' a", &["a"]),
        ("A=1", &[]),
        ("arr=(x y z); a", &["a"]),
        ("a >out 2>&1 <in; b 2>/dev/null", &["a", "b"]),
        (">out a", &["a"]),
        ("a # b; c\nd", &["a", "d"]),
        ("'/opt/my app' x; \"b\"", &["/opt/my app", "b"]),
        (
            "if a; then b; elif c; then d; else e; fi; f",
            &["a", "b", "c", "d", "e", "f"],
        ),
        ("while a; do b; done < file; c", &["a", "b", "c"]),
        ("for i in x y z; do a $i; done", &["a"]),
        ("for i in x y\ndo a; done", &["a"]),
        ("for i; do a; done", &["a"]),
        ("for ((i=0; i<3; i++)); do a; done", &["a"]),
        (
            "case $1 in start) a;; x|y) b ;; *) c; esac; d",
            &["a", "b", "c", "d"],
        ),
        ("case x in (a) b;; esac", &["b"]),
        ("f() { a; }\nf; b", &["a", "b"]),
        ("function g { a; }; g", &["a"]),
        ("x=$(a b | c) d", &["a", "c", "d"]),
        ("echo `a \"b\"` \"$(c $(d))\"", &["a", "d", "c", "echo"]),
        ("a $((1 + 2)) ${x:-y}; b", &["a", "b"]),
        ("$cmd x; ${y}z; b", &["b"]),
        ("(a; b) | c", &["a", "b", "c"]),
        ("{ a; b; } 2>&1; c", &["a", "b", "c"]),
        ("[[ $x == y && z ]] && a", &["a"]),
        ("(( x > 3 )) || a", &["a"]),
        ("cat <<EOF\nnot a command\nEOF\na", &["cat", "a"]),
        ("cat <<-'E' | b\n\tno\n\tE\na", &["cat", "b", "a"]),
        ("cat <<< word; a", &["cat", "a"]),
        ("a \\\n  b\nc", &["a", "c"]),
        ("! a", &["a"]),
        ("diff <(a) <(b)", &["a", "b", "diff"]),
        ("eval \"a | b\"; c", &["c", "a", "b"]),
        ("eval $x; c", &["c"]),
        ("a &>log; b", &["a", "b"]),
        ("a 'unterminated", &["a"]),
        ("a $(unterminated", &["unterminated", "a"]),
        ("case x in", &[]),
    ] {
        assert_eq!(names(text), expected, "{text:?}");
    }
}

#[test]
fn arguments_stay_with_their_command() {
    let out = read("curl -o \"$f\" 'https://x/y'", "/run.sh").commands;
    let words: Vec<_> = out[0]
        .words
        .iter()
        .map(|word| (word.text.as_str(), word.literal))
        .collect();
    assert_eq!(
        words,
        [
            ("curl", true),
            ("-o", true),
            ("", false),
            ("https://x/y", true)
        ]
    );
    assert_eq!(out[0].words[0].source, "/run.sh");
}

#[test]
fn long_texts_are_bounded() {
    assert_eq!(names(&"a;".repeat(100_000)).len(), MAX_COMMANDS);
    names(&"$(".repeat(100_000));
    names(&"`".repeat(100_001));
    names(&"eval ".repeat(100_000));
    names(&"\"$(".repeat(50_000));
}

proptest! {
    #[test]
    fn random_text_never_panics(
        text in any::<String>(),
        shellish in "[a$(){}\\[\\]'\"`;&|<>= \n\\\\#!-]{0,200}",
    ) {
        for text in [text, shellish] {
            prop_assert!(read(&text, "x").commands.len() <= MAX_COMMANDS);
        }
    }
}

#[test]
fn commands_are_found_wherever_they_stand() {
    for (text, expected) in [
        (
            "cat <<EOF\n$(a) `b` \\$(no)\nEOF\nc",
            &["cat", "a", "b", "c"][..],
        ),
        ("cat <<'EOF'\n$(no)\nEOF\nc", &["cat", "c"]),
        ("x=${y:-$(a)} b", &["a", "b"]),
        (
            "echo $(case $x in y) a;; (z) b;; esac) c",
            &["a", "b", "echo"],
        ),
        ("x=( $(a) \"y\" ); b", &["a", "b"]),
        (
            "echo $(( $(a) + 1 )); (( $(b) )); ((c); d)",
            &["a", "echo", "b", "c", "d"],
        ),
        ("[[ $(a) =~ ^(x|y)$ && b < c ]]; d", &["a", "d"]),
        (
            "trap 'a; b' EXIT; trap - INT; c",
            &["trap", "trap", "c", "a", "b"],
        ),
        (
            "alias ll='a -l' grep='grep -E'; ll; grep x",
            &["alias", "grep", "a", "grep"],
        ),
        ("f() ( a ); g () { b; }; f; g", &["a", "b"]),
        (
            "A=/usr/bin/a; $A x; \"$A\" y; ${A} z",
            &["/usr/bin/a", "/usr/bin/a", "/usr/bin/a"],
        ),
        ("A='a -x'; $A y", &["a"]),
        ("${A:-a} x; : ${B:=b}; $B y", &["a", ":", "b"]),
        ("SUDO=; [ x ] && SUDO=sudo; $SUDO a", &["[", "a", "sudo"]),
        ("for t in a b; do $t --version; done", &["a", "b"]),
        // as compressors are chosen by the kind of file, the last of them through another variable
        (
            "x='f --auto'; case $1 in *.a) u='a -c';; *.b) u=b;; *.c) u=c;; *.d) u=d;; *.e) u=e;; *) u=\"$x -c\";; esac; $u -- y",
            &["a", "b", "c", "d", "e", "f"],
        ),
        ("A=$(x); $A y; b", &["x", "b"]),
        (
            "if [ x ]; then exec a; fi; exec b \"$0\"\nnot shell (((",
            &["[", "exec", "exec"],
        ),
        (
            "a || exit 1; b\nexit 0\nbinary (((",
            &["a", "exit", "b", "exit"],
        ),
        (
            "echo ${x/(/y} ${#z} ${!w} ${a[$(b)]}; c",
            &["b", "echo", "c"],
        ),
        ("rm !(a|b) @(x); c", &["rm", "c"]),
        ("a $'it\\'s' $\"b\"; c", &["a", "c"]),
        (
            "until a; do b; done; select x in y; do c; done",
            &["a", "b", "c"],
        ),
        ("a 2>&1 3<x | b {fd}>y", &["a", "b"]),
        ("if a\nthen b\nelse\nc\nfi >x", &["a", "b", "c"]),
        (
            "case x in\n  a|b)\n  c\n  ;;\n  # no\n  *) ;;\nesac\nd",
            &["c", "d"],
        ),
        (
            "export A=a; $A x; local b=$(c)",
            &["export", "a", "c", "local"],
        ),
        ("function f { a; }\nf; b", &["a", "b"]),
        ("coproc a; time b", &["a", "time"]),
        ("x+=(-a \"${x[@]}\" $(b)); c; x+=([\"$k\"]=1)", &["b", "c"]),
    ] {
        let script = read(text, "x");
        let names: Vec<_> = script
            .commands
            .iter()
            .map(|c| c.words[0].text.as_str())
            .collect();
        assert_eq!(names, expected, "{text:?}");
        assert!(script.is_sound, "{text:?}");
    }
}

#[test]
fn a_continued_line_may_end_the_text() {
    for text in ["a \\\n", "\\\n", "x=\\\n", "a b\\\n"] {
        let _ = read(text, "x");
    }
    assert_eq!(names("a \\\n"), ["a"]);
}

#[test]
fn texts_that_are_wrong_are_known() {
    for text in [
        "if a; then b",
        "a )",
        "$(a",
        "'a",
        "case x in a) b",
        "fi",
        "cat <<E\nx",
        "{ a",
        "a;; b",
        "f( a",
    ] {
        assert!(!read(text, "x").is_sound, "{text:?}");
    }
    assert!(
        !read(&"a\n".repeat(40_000), "x").is_sound,
        "its end was not read"
    );
}

#[test]
fn paths_beside_the_script_are_known() {
    for line in [
        "d=$(dirname \"$0\"); . $d/lib.sh",
        "d=`dirname $0`; . \"$d/lib.sh\"",
        "DIR=\"$( cd \"$( dirname \"${BASH_SOURCE[0]}\" )\" && pwd )\"; source \"$DIR/lib.sh\"",
        ". \"${0%/*}/lib.sh\"",
        "here=$(dirname \"$(readlink -f \"$0\")\"); . \"$here\"/lib.sh",
        "d=$(cd \"$(dirname \"$0\")/../app\" && pwd -P); . $d/lib.sh",
    ] {
        let script = read(line, "/app/run.sh");
        let words = &script
            .commands
            .last()
            .unwrap_or_else(|| panic!("{line}"))
            .words;
        assert!(words[1].literal, "{line}: {words:?}");
        let path = words[1].text.replace("/../app", "");
        assert_eq!(path, "/app/lib.sh", "{line}");
        // Of a text without a place nothing is known.
        let script = read(line, "argv[2]");
        assert!(!script.commands.last().unwrap().words[1].literal, "{line}");
    }
}

#[test]
fn here_documents_stay_with_their_command() {
    let script = read("a | python3 - x <<'EOF' && b\nimport os\nEOF\n", "x");
    let inputs: Vec<_> = script.commands.iter().map(|c| c.input.as_deref()).collect();
    assert_eq!(inputs, [None, Some("import os\n"), None]);
}

#[test]
fn variables_in_variables_are_bounded() {
    let mut text = String::from("v0=abcdefgh\n");
    for n in 1..40 {
        let value = format!("$v{} ", n - 1).repeat(40);
        text.push_str(&format!("v{n}=\"{value}\"\n"));
    }
    text.push_str("$v39 $v39; $v3 x");
    let start = std::time::Instant::now();
    let _ = read(&text, "x");
    assert!(start.elapsed().as_secs() < 2);
}
