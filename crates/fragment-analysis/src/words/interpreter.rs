//! What an interpreter is told to run: a text on the command line, a module, a file.

use super::{Word, file_name};

/// The program given to an interpreter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// A shell text (`sh -c TEXT`).
    ShellText(Word),
    /// A shell script.
    ShellFile(Word),
    /// A Python text (`python3 -c TEXT`).
    PythonText(Word),
    /// A Python module (`python3 -m NAME`).
    PythonModule(Word),
    /// A Python script, or a directory or archive with one.
    PythonFile(Word),
}

/// Shells whose command line is that of sh(1).
const SHELLS: &[&str] = &["sh", "ash", "bash", "dash", "ksh", "mksh", "rbash", "zsh"];

/// Whether a file name is that of a shell.
#[must_use]
pub fn is_shell(name: &str) -> bool {
    SHELLS.contains(&name)
}

/// Whether a file name is that of a Python 3 interpreter (`python`, `python3`, `python3.11`).
#[must_use]
pub fn is_python(name: &str) -> bool {
    name.strip_prefix("python").is_some_and(|version| {
        version.is_empty()
            || version.starts_with('3') && version.chars().all(|c| c.is_ascii_digit() || c == '.')
    })
}

/// What the command line `words` gives its interpreter to run, if its first word is a known interpreter.
#[must_use]
pub fn program(words: &[Word]) -> Option<Program> {
    let name = file_name(&words.first()?.text);
    if is_shell(name) {
        shell(&words[1..])
    } else if is_python(name) {
        python(&words[1..])
    } else if matches!(name, "." | "source") {
        words.get(1).cloned().map(Program::ShellFile)
    } else {
        None
    }
}

fn shell(words: &[Word]) -> Option<Program> {
    let mut text = false;
    let mut rest = words.iter();
    let mut operand = None;
    while let Some(word) = rest.next() {
        match word.text.as_str() {
            "--" | "-" => {
                operand = rest.next();
                break;
            }
            "--rcfile" | "--init-file" => {
                rest.next();
            }
            long if long.starts_with("--") => {}
            short if short.starts_with(['-', '+']) => {
                text |= short.starts_with('-') && short.contains('c');
                if short.contains('s') && !text {
                    return None;
                }
                if short.ends_with(['o', 'O']) {
                    rest.next();
                }
            }
            _ => {
                operand = Some(word);
                break;
            }
        }
    }
    let operand = operand?.clone();
    Some(if text {
        Program::ShellText(operand)
    } else {
        Program::ShellFile(operand)
    })
}

fn python(words: &[Word]) -> Option<Program> {
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let text = word.text.as_str();
        let Some(cluster) = text.strip_prefix('-').filter(|cluster| !cluster.is_empty()) else {
            return (text != "-").then(|| Program::PythonFile(word.clone()));
        };
        if cluster.starts_with('-') {
            if text == "--check-hash-based-pycs" {
                rest.next();
            }
            continue;
        }
        let Some(at) = cluster.find(['c', 'm', 'W', 'X', 'Q']) else {
            continue;
        };
        let (option, joined) = (&cluster[at..=at], &cluster[at + 1..]);
        let value = match joined {
            "" => rest.next()?.clone(),
            joined => Word {
                text: joined.to_owned(),
                ..word.clone()
            },
        };
        match option {
            "c" => return Some(Program::PythonText(value)),
            "m" => return Some(Program::PythonModule(value)),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::of_argv;
    use super::*;

    #[test]
    fn interpreters_show_their_program() {
        let w = |index: usize, text: &str| Word::literal(text, format!("argv[{index}]"));
        let cases: [(&[&str], Option<Program>); 17] = [
            (&["sh", "-c", "a b"], Some(Program::ShellText(w(2, "a b")))),
            (&["bash", "-lc", "a"], Some(Program::ShellText(w(2, "a")))),
            (
                &["bash", "--norc", "-eo", "pipefail", "-c", "a", "x"],
                Some(Program::ShellText(w(5, "a"))),
            ),
            (
                &["/bin/sh", "-e", "/run.sh", "-c"],
                Some(Program::ShellFile(w(2, "/run.sh"))),
            ),
            (&["sh", "--", "x"], Some(Program::ShellFile(w(2, "x")))),
            (&["sh"], None),
            (&["sh", "-s", "x"], None),
            (&["sh", "-c"], None),
            (&[".", "/lib.sh"], Some(Program::ShellFile(w(1, "/lib.sh")))),
            (
                &["python3", "app.py", "-m"],
                Some(Program::PythonFile(w(1, "app.py"))),
            ),
            (
                &["python3.11", "-u", "-W", "ignore", "app.py"],
                Some(Program::PythonFile(w(4, "app.py"))),
            ),
            (
                &["python", "-uc", "import x"],
                Some(Program::PythonText(w(2, "import x"))),
            ),
            (
                &["python3", "-m", "http.server", "80"],
                Some(Program::PythonModule(w(2, "http.server"))),
            ),
            (
                &["python3", "-mhttp"],
                Some(Program::PythonModule(w(1, "http"))),
            ),
            (&["python3"], None),
            (&["python2", "x.py"], None),
            (&["ls", "-c", "x"], None),
        ];
        for (argv, expected) in cases {
            let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(program(&of_argv(&argv, 0)), expected, "{argv:?}");
        }
    }
}
