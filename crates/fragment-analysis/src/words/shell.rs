//! Command words of shell texts.
//!
//! A small reader of the grammar of sh(1) (POSIX.1-2017, XCU chapter 2) with the common extensions of bash: quoting,
//! operators, redirections, here-documents, command substitution, compound commands, functions. It finds the words in
//! command position and their arguments; it evaluates nothing.

use std::collections::BTreeSet;

use super::Word;

mod token;

use token::{Scanner, Token};

/// Longest text that is read, in bytes; the rest is ignored.
pub const MAX_TEXT: usize = 64 << 10;
/// Most commands that are taken from one text.
pub const MAX_COMMANDS: usize = 512;
/// Deepest nest of command substitutions and `eval`.
const MAX_DEPTH: usize = 8;

/// Commands that shells have built in (POSIX special and intrinsic utilities, bash, dash, busybox ash), apart from those that
/// run another command.
const BUILTINS: &[&str] = &[
    ":",
    "[",
    "[[",
    "alias",
    "bg",
    "bind",
    "break",
    "caller",
    "cd",
    "chdir",
    "compgen",
    "complete",
    "compopt",
    "continue",
    "declare",
    "dirs",
    "disown",
    "echo",
    "enable",
    "exit",
    "export",
    "false",
    "fc",
    "fg",
    "getopts",
    "hash",
    "help",
    "history",
    "jobs",
    "kill",
    "let",
    "local",
    "logout",
    "mapfile",
    "popd",
    "printf",
    "pushd",
    "pwd",
    "read",
    "readarray",
    "readonly",
    "return",
    "set",
    "shift",
    "shopt",
    "suspend",
    "test",
    "times",
    "trap",
    "true",
    "type",
    "typeset",
    "ulimit",
    "umask",
    "unalias",
    "unset",
    "wait",
];

/// Whether shells need no file to run `name`.
#[must_use]
pub fn is_builtin(name: &str) -> bool {
    BUILTINS.contains(&name)
}

/// The simple commands of a shell text, in order, each with its arguments; those that run functions of the text are left
/// out, and so are commands whose name is not literal. `source` is where the text was read.
#[must_use]
pub fn commands(text: &str, source: &str) -> Vec<Vec<Word>> {
    let mut reader = Reader {
        source,
        out: Vec::new(),
        functions: BTreeSet::new(),
    };
    reader.read(text, 0);
    let Reader {
        mut out, functions, ..
    } = reader;
    out.retain(|words| !functions.contains(&words[0].text));
    out
}

struct Reader<'t> {
    source: &'t str,
    out: Vec<Vec<Word>>,
    functions: BTreeSet<String>,
}

/// Where in the grammar the reader stands.
#[derive(Default)]
struct Place {
    /// Words of the simple command being read.
    words: Vec<Word>,
    /// Behind a compound command: only redirections can follow before a separator.
    closed: bool,
    /// Open `case` commands.
    cases: usize,
    /// Whether the patterns of a `case` are being read.
    patterns: bool,
}

impl Reader<'_> {
    fn read(&mut self, text: &str, depth: usize) {
        let mut scanner = Scanner::new(text);
        let mut place = Place::default();
        while self.out.len() < MAX_COMMANDS {
            match scanner.next_token() {
                Token::End => break,
                token if place.patterns => pattern(&token, &mut place),
                Token::Newline => self.finish(&mut place),
                Token::Operator(operator) => self.operator(operator, &mut scanner, &mut place),
                Token::Word {
                    text,
                    literal,
                    bare,
                } => {
                    if place.words.is_empty() && !place.closed {
                        self.first_word(text, literal, bare, &mut scanner, &mut place);
                    } else if !place.closed {
                        self.push(text, literal, &mut place);
                    }
                }
            }
        }
        self.finish(&mut place);
        if depth < MAX_DEPTH {
            for inner in scanner.nested() {
                self.read(&inner, depth + 1);
            }
        }
        self.read_evals(depth);
    }

    /// `eval` joins its words and reads them again.
    fn read_evals(&mut self, depth: usize) {
        let is_eval = |words: &mut Vec<Word>| words[0].text == "eval";
        let evals: Vec<_> = self.out.extract_if(.., is_eval).collect();
        for words in evals {
            let text: Vec<_> = words[1..].iter().map(|word| word.text.as_str()).collect();
            if depth < MAX_DEPTH && words[1..].iter().all(|word| word.literal) {
                self.read(&text.join(" "), depth + 1);
            }
        }
    }

    fn push(&self, text: String, literal: bool, place: &mut Place) {
        place.words.push(Word {
            text,
            literal,
            source: self.source.to_owned(),
        });
    }

    /// Ends the simple command being read.
    fn finish(&mut self, place: &mut Place) {
        place.closed = false;
        let words = std::mem::take(&mut place.words);
        if words
            .first()
            .is_some_and(|word| word.literal && !word.text.is_empty())
        {
            self.out.push(words);
        }
    }

    fn operator(&mut self, operator: &str, scanner: &mut Scanner<'_>, place: &mut Place) {
        match operator {
            "<<" | "<<-" => {
                if let Token::Word { text, .. } = scanner.next_token() {
                    scanner.expect_here_document(text, operator == "<<-");
                }
            }
            "<" | ">" | ">>" | "<<<" | "<&" | ">&" | "<>" | ">|" | "&>" | "&>>" => {
                scanner.next_token();
            }
            "(" if place.words.is_empty() && scanner.skip_arithmetic() => place.closed = true,
            "(" if place.words.len() == 1 => {
                // NAME ( ) { … }
                self.functions
                    .extend(place.words.pop().map(|word| word.text));
                scanner.next_token();
            }
            ")" => {
                self.finish(place);
                place.closed = true;
            }
            ";;" | ";&" | ";;&" => {
                self.finish(place);
                place.patterns = place.cases > 0;
            }
            _ => self.finish(place),
        }
    }

    /// A word in command position: a reserved word, an assignment or the name of a command.
    fn first_word(
        &mut self,
        text: String,
        literal: bool,
        bare: bool,
        scanner: &mut Scanner<'_>,
        place: &mut Place,
    ) {
        if bare {
            match text.as_str() {
                "if" | "then" | "elif" | "else" | "while" | "until" | "do" | "!" | "{"
                | "coproc" => return,
                "fi" | "done" | "}" => {
                    place.closed = true;
                    return;
                }
                "esac" => {
                    place.cases = place.cases.saturating_sub(1);
                    place.closed = true;
                    return;
                }
                "for" | "select" => {
                    if !scanner.skip_arithmetic() {
                        skip_until(scanner, &["do"]);
                    }
                    return;
                }
                "case" => {
                    skip_until(scanner, &["in"]);
                    place.cases += 1;
                    place.patterns = true;
                    return;
                }
                "function" => {
                    if let Token::Word { text, .. } = scanner.next_token() {
                        self.functions.insert(text);
                    }
                    return;
                }
                "[[" => {
                    skip_until(scanner, &["]]"]);
                    place.closed = true;
                    return;
                }
                _ => {}
            }
        }
        if is_assignment(&text) {
            scanner.skip_array();
            return;
        }
        self.push(text, literal, place);
    }
}

/// Reads tokens of `case` patterns: up to the `)` that ends them, or to `esac`.
fn pattern(token: &Token, place: &mut Place) {
    match token {
        Token::Operator(")") => place.patterns = false,
        Token::Word {
            text, bare: true, ..
        } if text == "esac" => {
            place.cases = place.cases.saturating_sub(1);
            place.patterns = false;
            place.closed = true;
        }
        _ => {}
    }
}

/// Skips tokens up to a bare word of `ends`; a `for` without `do` on its line ends at the separator.
fn skip_until(scanner: &mut Scanner<'_>, ends: &[&str]) {
    loop {
        match scanner.next_token() {
            Token::End => return,
            Token::Word {
                text, bare: true, ..
            } if ends.contains(&text.as_str()) => return,
            Token::Operator(";") if ends == ["do"] => return,
            _ => {}
        }
    }
}

/// `NAME=…`, `NAME+=…`, `NAME[…]=…`.
fn is_assignment(word: &str) -> bool {
    let Some((name, _)) = word.split_once('=') else {
        return false;
    };
    let name = name.strip_suffix('+').unwrap_or(name);
    let name = name.split_once('[').map_or(name, |(name, _)| name);
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(text: &str) -> Vec<String> {
        commands(text, "x")
            .into_iter()
            .map(|words| words[0].text.clone())
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
            ("x=$(a b | c) d", &["d", "a", "c"]),
            ("echo `a \"b\"` \"$(c $(d))\"", &["echo", "a", "c", "d"]),
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
            ("diff <(a) <(b)", &["diff", "a", "b"]),
            ("eval \"a | b\"; c", &["c", "a", "b"]),
            ("eval $x; c", &["c"]),
            ("a &>log; b", &["a", "b"]),
            ("a 'unterminated", &["a"]),
            ("a $(unterminated", &["a", "unterminated"]),
            ("case x in", &[]),
        ] {
            assert_eq!(names(text), expected, "{text:?}");
        }
    }

    #[test]
    fn arguments_stay_with_their_command() {
        let out = commands("curl -o \"$f\" 'https://x/y'", "/run.sh");
        let words: Vec<_> = out[0]
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
        assert_eq!(out[0][0].source, "/run.sh");
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
                prop_assert!(commands(&text, "x").len() <= MAX_COMMANDS);
            }
        }
    }
}
