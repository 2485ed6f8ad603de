//! What an interpreter is told to run: a text on the command line, a module, a file.

use super::{Word, file_name};

/// A script language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Language {
    /// sh and its kin.
    Shell,
    /// Python 3.
    Python,
    /// Perl 5.
    Perl,
    /// Ruby.
    Ruby,
    /// JavaScript for node.
    Node,
    /// PHP.
    Php,
    /// Lua.
    Lua,
    /// Tcl, Tk and Expect.
    Tcl,
    /// R.
    R,
    /// QML of Qt.
    Qml,
    /// C, C++ and Objective-C; drivers of compilers are its interpreters.
    C,
}

impl Language {
    /// The languages whose texts name what they import.
    pub const WITH_IMPORTS: [Self; 10] = [
        Self::Python,
        Self::Perl,
        Self::Ruby,
        Self::Node,
        Self::Php,
        Self::Lua,
        Self::Tcl,
        Self::R,
        Self::Qml,
        Self::C,
    ];
}

impl Language {
    /// Its name in [`Need::Module`](fragment_types::Need::Module).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Shell => "shell",
            Self::Python => "python3",
            Self::Perl => "perl",
            Self::Ruby => "ruby",
            Self::Node => "node",
            Self::Php => "php",
            Self::Lua => "lua",
            Self::Tcl => "tcl",
            Self::R => "r",
            Self::Qml => "qml",
            Self::C => "c",
        }
    }

    /// The language of the interpreter with this file name, with or without its version.
    #[must_use]
    pub fn of_interpreter(name: &str) -> Option<Self> {
        if SHELLS.contains(&name) {
            return Some(Self::Shell);
        }
        let stem = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
        let version = &name[stem.len()..];
        Some(match stem {
            "python" if version.is_empty() || version.starts_with('3') => Self::Python,
            "perl" => Self::Perl,
            "ruby" => Self::Ruby,
            "node" | "nodejs" if version.is_empty() => Self::Node,
            "php" | "php-cgi" => Self::Php,
            "lua" | "luajit" => Self::Lua,
            "tclsh" | "wish" | "expect" => Self::Tcl,
            "Rscript" if version.is_empty() => Self::R,
            "qml" | "qmlscene" | "qmltestrunner" => Self::Qml,
            _ if is_compiler(stem) => Self::C,
            _ => return None,
        })
    }
}

/// What an interpreter is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// A text: `sh -c TEXT`, `perl -e TEXT`, a here-document.
    Text(Language, Word),
    /// A file.
    File(Language, Word),
    /// A module, by the name the language has for it: `python3 -m NAME`, `perl -MNAME`, `ruby -r NAME`.
    Module(Language, Word),
    /// A directory that is searched for modules first: `perl -I DIRECTORY`.
    Directory(Language, Word),
}

/// Shells whose command line is that of sh(1).
const SHELLS: &[&str] = &[
    "sh", "ash", "bash", "dash", "ksh", "mksh", "posh", "rbash", "yash", "zsh",
];
/// Commands that give a text to a shell: the option for it is `-c` everywhere.
const GIVE_TO_SHELL: &[&str] = &["flock", "runuser", "script", "sg", "su"];

/// Whether a file name is that of a shell.
#[must_use]
pub fn is_shell(name: &str) -> bool {
    SHELLS.contains(&name)
}

/// What the command line `words` gives to an interpreter to run, if its first word is one; `input` is what it reads.
#[must_use]
pub fn programs(words: &[Word], input: Option<&str>) -> Vec<Program> {
    let Some((first, arguments)) = words.split_first() else {
        return Vec::new();
    };
    let name = file_name(&first.text);
    if matches!(name, "." | "source") {
        let file = arguments.first().cloned();
        return file
            .map(|word| Program::File(Language::Shell, word))
            .into_iter()
            .collect();
    }
    if GIVE_TO_SHELL.contains(&name) {
        let at = arguments
            .iter()
            .position(|word| matches!(word.text.as_str(), "-c" | "--command"));
        let text = at.and_then(|at| arguments.get(at + 1)).cloned();
        return text
            .map(|word| Program::Text(Language::Shell, word))
            .into_iter()
            .collect();
    }
    let Some(language) = Language::of_interpreter(name) else {
        return Vec::new();
    };
    let mut out = match language {
        Language::Shell => shell(arguments),
        Language::Python => python(arguments),
        Language::C => compiler(arguments),
        _ => other(language, arguments),
    };
    let runs = |program: &Program| !matches!(program, Program::Directory(..));
    let reads = !out.iter().any(runs)
        || arguments
            .iter()
            .any(|word| matches!(word.text.as_str(), "-" | "-s"));
    if let (true, Some(input)) = (reads, input) {
        let text = Word::literal(input, first.source.clone());
        out.push(Program::Text(language, text));
    }
    out
}

fn shell(words: &[Word]) -> Vec<Program> {
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
                    return Vec::new();
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
    let program = |word: Word| match text {
        true => Program::Text(Language::Shell, word),
        false => Program::File(Language::Shell, word),
    };
    operand.cloned().map(program).into_iter().collect()
}

fn python(words: &[Word]) -> Vec<Program> {
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let text = word.text.as_str();
        let Some(cluster) = text.strip_prefix('-').filter(|cluster| !cluster.is_empty()) else {
            return match text {
                "-" => Vec::new(),
                _ => vec![Program::File(Language::Python, word.clone())],
            };
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
            "" => match rest.next() {
                Some(value) => value.clone(),
                None => return Vec::new(),
            },
            joined => with_text(word, joined),
        };
        match option {
            "c" => return vec![Program::Text(Language::Python, value)],
            "m" => return vec![Program::Module(Language::Python, value)],
            _ => {}
        }
    }
    Vec::new()
}

/// Drivers of compilers, with or without a machine in front and a version behind: `x86_64-linux-gnu-g++-12`.
fn is_compiler(stem: &str) -> bool {
    let name = stem.strip_suffix('-').unwrap_or(stem);
    let name = match name.rsplit_once("-linux-gnu-") {
        Some((_, name)) => name,
        None => name,
    };
    ["c++", "cc", "clang", "clang++", "cpp", "g++", "gcc", "tcc"].contains(&name)
}

/// Whether compilers take a file for C, C++ or Objective-C by its name (gcc(1), "Options Controlling the Kind of Output").
#[must_use]
pub fn is_c_source(path: &str) -> bool {
    const SUFFIXES: &[&str] = &[
        "C", "CPP", "c", "c++", "cc", "cp", "cpp", "cxx", "h", "hh", "hpp", "m", "mm",
    ];
    file_name(path)
        .rsplit_once('.')
        .is_some_and(|(stem, suffix)| !stem.is_empty() && SUFFIXES.contains(&suffix))
}

/// Sources, and directories of headers: `-I DIRECTORY`, `-IDIRECTORY`, `-isystem DIRECTORY`.
fn compiler(words: &[Word]) -> Vec<Program> {
    const VALUES: &[&str] = &[
        "-D", "-L", "-MF", "-MQ", "-MT", "-T", "-U", "-l", "-o", "-u", "-x",
    ];
    let (mut out, mut rest) = (Vec::new(), words.iter());
    while let Some(word) = rest.next() {
        let text = word.text.as_str();
        match text {
            "-I" | "-idirafter" | "-iquote" | "-isystem" => {
                let directory = rest.next().cloned();
                out.extend(directory.map(|word| Program::Directory(Language::C, word)));
            }
            "-include" | "-imacros" => {
                let file = rest.next().cloned();
                out.extend(file.map(|word| Program::File(Language::C, word)));
            }
            _ if VALUES.contains(&text) => drop(rest.next()),
            _ if text.starts_with("-I") => {
                out.push(Program::Directory(Language::C, with_text(word, &text[2..])));
            }
            _ if !text.starts_with('-') && is_c_source(text) => {
                out.push(Program::File(Language::C, word.clone()));
            }
            _ => {}
        }
    }
    // Directories count for every source, wherever they stand.
    out.sort_by_key(|program| !matches!(program, Program::Directory(..)));
    out
}

/// How the options of an interpreter are read.
struct Options {
    /// Options whose value is a text.
    text: &'static str,
    module: &'static str,
    directory: &'static str,
    /// Options whose value is a file.
    file: &'static str,
    /// Others with a value, in the next word where the cluster ends.
    values: &'static str,
    /// Others whose value, if any, is the rest of the cluster.
    joined: &'static str,
}

/// From the manual pages of perl, ruby, node, php, lua, tclsh and expect, Rscript.
fn options(language: Language) -> Options {
    let (text, module, directory, file, values, joined) = match language {
        Language::Perl => ("eE", "Mm", "I", "", "", "CDFdix"),
        Language::Ruby => ("e", "r", "I", "", "CE", "FKTWix"),
        Language::Node => ("ep", "r", "", "", "C", ""),
        Language::Php => ("rBRE", "", "", "fF", "cdgStz", ""),
        Language::Lua => ("e", "l", "", "", "", ""),
        Language::Tcl => ("c", "", "", "fb", "", "d"),
        Language::Qml => ("", "", "I", "", "", ""),
        _ => ("e", "", "", "", "", ""),
    };
    Options {
        text,
        module,
        directory,
        file,
        values,
        joined,
    }
}

fn other(language: Language, words: &[Word]) -> Vec<Program> {
    let options = options(language);
    let (mut out, mut rest, mut has_text) = (Vec::new(), words.iter(), false);
    while let Some(word) = rest.next() {
        let text = word.text.as_str();
        let Some(cluster) = text.strip_prefix('-').filter(|cluster| !cluster.is_empty()) else {
            if !has_text && text != "-" {
                out.push(Program::File(language, word.clone()));
            }
            return out;
        };
        if text == "--" {
            let file = rest.next().filter(|_| !has_text);
            out.extend(file.map(|word| Program::File(language, word.clone())));
            return out;
        }
        if let Some(long) = cluster.strip_prefix('-') {
            let (name, joined) = long
                .split_once('=')
                .map_or((long, None), |(n, v)| (n, Some(v)));
            let is_text = matches!(name, "eval" | "print" | "run");
            if is_text || matches!(name, "require" | "import") {
                let value = joined
                    .map(|joined| with_text(word, joined))
                    .or_else(|| rest.next().cloned());
                has_text |= is_text;
                out.extend(value.map(|value| match is_text {
                    true => Program::Text(language, value),
                    false => Program::Module(language, value),
                }));
            }
            continue;
        }
        for (at, option) in cluster.char_indices() {
            if options.joined.contains(option) {
                break;
            }
            let of = |set: &str| set.contains(option);
            let program: Option<fn(Language, Word) -> Program> = match () {
                () if of(options.text) => Some(Program::Text),
                () if of(options.module) => Some(Program::Module),
                () if of(options.directory) => Some(Program::Directory),
                () if of(options.file) => Some(Program::File),
                () if of(options.values) => None,
                () => continue,
            };
            let joined = &cluster[at + option.len_utf8()..];
            let value = match joined {
                "" => rest.next().cloned(),
                joined => Some(with_text(word, joined)),
            };
            has_text |= of(options.text) || of(options.file);
            out.extend(
                program
                    .zip(value)
                    .map(|(program, value)| program(language, value)),
            );
            break;
        }
    }
    out
}

fn with_text(word: &Word, text: &str) -> Word {
    Word {
        text: text.to_owned(),
        ..word.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::super::of_argv;
    use super::Language::{Lua, Node, Perl, Php, Python, R, Ruby, Shell, Tcl};
    use super::*;

    type Kind = fn(Language, Word) -> Program;
    /// A command line, and what it gives to its interpreter.
    type Case = (
        &'static [&'static str],
        &'static [(Kind, Language, &'static str)],
    );
    const TEXT: Kind = Program::Text;
    const FILE: Kind = Program::File;
    const MODULE: Kind = Program::Module;

    #[test]
    fn interpreters_show_their_program() {
        let cases: &[Case] = &[
            (&["sh", "-c", "a b"], &[(TEXT, Shell, "a b")]),
            (&["bash", "-lc", "a"], &[(TEXT, Shell, "a")]),
            (
                &["bash", "--norc", "-eo", "pipefail", "-c", "a", "x"],
                &[(TEXT, Shell, "a")],
            ),
            (
                &["/bin/sh", "-e", "/run.sh", "-c"],
                &[(FILE, Shell, "/run.sh")],
            ),
            (&["sh", "--", "x"], &[(FILE, Shell, "x")]),
            (&["sh"], &[]),
            (&["sh", "-s", "x"], &[]),
            (&["sh", "-c"], &[]),
            (
                &["su", "-s", "/bin/sh", "www", "-c", "a b"],
                &[(TEXT, Shell, "a b")],
            ),
            (&[".", "/lib.sh"], &[(FILE, Shell, "/lib.sh")]),
            (&["python3", "app.py", "-m"], &[(FILE, Python, "app.py")]),
            (
                &["python3.11", "-u", "-W", "ignore", "app.py"],
                &[(FILE, Python, "app.py")],
            ),
            (
                &["python", "-uc", "import x"],
                &[(TEXT, Python, "import x")],
            ),
            (
                &["python3", "-m", "http.server", "80"],
                &[(MODULE, Python, "http.server")],
            ),
            (&["python3", "-mhttp"], &[(MODULE, Python, "http")]),
            (&["python3"], &[]),
            (&["python2", "x.py"], &[]),
            (&["ls", "-c", "x"], &[]),
            (
                &[
                    "perl",
                    "-MJSON::PP=decode_json",
                    "-I",
                    "lib",
                    "-lane",
                    "print",
                    "x",
                ],
                &[
                    (MODULE, Perl, "JSON::PP=decode_json"),
                    (Program::Directory, Perl, "lib"),
                    (TEXT, Perl, "print"),
                ],
            ),
            (
                &["perl5.36", "-i.ae", "-0777", "-T", "x.pl", "-e"],
                &[(FILE, Perl, "x.pl")],
            ),
            (
                &["ruby", "-rjson", "-e", "p 1"],
                &[(MODULE, Ruby, "json"), (TEXT, Ruby, "p 1")],
            ),
            (&["ruby", "-W0", "x.rb"], &[(FILE, Ruby, "x.rb")]),
            (&["node", "--eval=1", "x"], &[(TEXT, Node, "1")]),
            (
                &["nodejs", "--require", "y", "x.js"],
                &[(MODULE, Node, "y"), (FILE, Node, "x.js")],
            ),
            (
                &["php8.2", "-d", "a=b", "-f", "x.php"],
                &[(FILE, Php, "x.php")],
            ),
            (&["php", "-r", "echo 1;"], &[(TEXT, Php, "echo 1;")]),
            (
                &["lua5.4", "-l", "socket", "x.lua"],
                &[(MODULE, Lua, "socket"), (FILE, Lua, "x.lua")],
            ),
            (&["tclsh8.6", "x.tcl"], &[(FILE, Tcl, "x.tcl")]),
            (&["Rscript", "--vanilla", "-e", "1"], &[(TEXT, R, "1")]),
        ];
        for (argv, expected) in cases {
            let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
            let shown = |program: Program| match program {
                Program::Text(l, w) => (0, l, w.text),
                Program::File(l, w) => (1, l, w.text),
                Program::Module(l, w) => (2, l, w.text),
                Program::Directory(l, w) => (3, l, w.text),
            };
            let found: Vec<_> = programs(&of_argv(&argv, 0), None)
                .into_iter()
                .map(shown)
                .collect();
            let expected: Vec<_> = expected
                .iter()
                .map(|(kind, language, text)| shown(kind(*language, Word::literal(*text, ""))))
                .collect();
            assert_eq!(found, expected, "{argv:?}");
        }
    }

    #[test]
    fn interpreters_without_a_program_read_their_input() {
        for (argv, expected) in [
            (&["sh"][..], true),
            (&["bash", "-s", "x"], true),
            (&["python3", "-"], true),
            (&["perl"], true),
            (&["sh", "x"], false),
            (&["perl", "-e", "1"], false),
            (&["cat"], false),
        ] {
            let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
            let found = programs(&of_argv(&argv, 0), Some("text"));
            let reads = found
                .iter()
                .any(|p| matches!(p, Program::Text(_, word) if word.text == "text"));
            assert_eq!(reads, expected, "{argv:?}: {found:?}");
        }
    }
}
