//! Commands whose arguments are a command: `timeout 5 curl …`, `env X=1 prog`, `tini -- server`.

use super::{Word, file_name, remote};
use crate::env_command;

/// How the command line of a wrapper is read.
struct Wrapper {
    name: &'static str,
    /// Short options that take a value.
    values: &'static str,
    /// Long options that take a value in the next word.
    long_values: &'static [&'static str],
    /// Words between the options and the command.
    operands: usize,
}

const fn plain(name: &'static str, values: &'static str) -> Wrapper {
    Wrapper {
        name,
        values,
        long_values: &[],
        operands: 0,
    }
}

/// Wrappers, from their manual pages.
const WRAPPERS: &[Wrapper] = &[
    plain("ccache", "FMo"),
    plain("chpst", "uUbe/nlLmdopfcrtC"),
    plain("chronic", ""),
    Wrapper {
        name: "chrt",
        values: "TPD",
        long_values: &[],
        operands: 1,
    },
    plain("command", ""),
    plain("builtin", ""),
    plain("catatonit", ""),
    Wrapper {
        name: "dbus-run-session",
        values: "",
        long_values: &["--config-file", "--dbus-daemon"],
        operands: 0,
    },
    plain("distcc", ""),
    plain("doas", "Cu"),
    plain("dumb-init", "r"),
    plain("eatmydata", ""),
    plain("exec", "a"),
    Wrapper {
        name: "fakeroot",
        values: "lfisb",
        long_values: &["--lib", "--faked"],
        operands: 0,
    },
    Wrapper {
        name: "faketime",
        values: "",
        long_values: &[],
        operands: 1,
    },
    Wrapper {
        name: "flock",
        values: "wE",
        long_values: &["--timeout", "--wait"],
        operands: 1,
    },
    Wrapper {
        name: "gosu",
        values: "",
        long_values: &[],
        operands: 1,
    },
    Wrapper {
        name: "ionice",
        values: "cnp",
        long_values: &["--class", "--classdata"],
        operands: 0,
    },
    Wrapper {
        name: "nice",
        values: "n",
        long_values: &["--adjustment"],
        operands: 0,
    },
    plain("libtool", ""),
    plain("nohup", ""),
    plain("prlimit", ""),
    plain("rlwrap", "abcefghlmnopqsStwz"),
    Wrapper {
        name: "runuser",
        values: "ugG",
        long_values: &["--user", "--group"],
        operands: 0,
    },
    plain("setarch", ""),
    Wrapper {
        name: "setpriv",
        values: "d",
        long_values: &[
            "--ambient-caps",
            "--bounding-set",
            "--groups",
            "--inh-caps",
            "--regid",
            "--reuid",
            "--rgid",
            "--ruid",
            "--securebits",
        ],
        operands: 0,
    },
    plain("setsid", ""),
    plain("stdbuf", "ioe"),
    plain("strace", "abeEIoOpPsSuUX"),
    Wrapper {
        name: "s6-setuidgid",
        values: "",
        long_values: &[],
        operands: 1,
    },
    Wrapper {
        name: "su-exec",
        values: "",
        long_values: &[],
        operands: 1,
    },
    Wrapper {
        name: "sudo",
        values: "ACDghpRrtTuU",
        long_values: &["--user", "--group"],
        operands: 0,
    },
    Wrapper {
        name: "taskset",
        values: "",
        long_values: &[],
        operands: 1,
    },
    plain("time", "fo"),
    Wrapper {
        name: "timeout",
        values: "ks",
        long_values: &["--kill-after", "--signal"],
        operands: 1,
    },
    plain("tini", "pe"),
    plain("tini-static", "pe"),
    plain("unbuffer", ""),
    plain("valgrind", ""),
    plain("xvfb-run", "enfpsw"),
    Wrapper {
        name: "watch",
        values: "nq",
        long_values: &["--interval"],
        operands: 0,
    },
    Wrapper {
        name: "xargs",
        values: "adEIiLlnPs",
        long_values: &[
            "--arg-file",
            "--delimiter",
            "--max-args",
            "--max-lines",
            "--max-procs",
        ],
        operands: 0,
    },
];

/// Wrappers that run their command in any case, in their own place: what it lacks, the entrypoint lacks.
const CERTAIN: &[&str] = &[
    "busybox",
    "catatonit",
    "ccache",
    "chpst",
    "chronic",
    "chrt",
    "dbus-run-session",
    "doas",
    "dumb-init",
    "eatmydata",
    "env",
    "exec",
    "fakeroot",
    "faketime",
    "gosu",
    "ionice",
    "nice",
    "nohup",
    "rlwrap",
    "s6-setuidgid",
    "setpriv",
    "setsid",
    "stdbuf",
    "su-exec",
    "sudo",
    "taskset",
    "time",
    "timeout",
    "tini",
    "tini-static",
    "unbuffer",
    "valgrind",
    "xvfb-run",
];

/// Whether the wrapper surely runs the command it is given.
#[must_use]
pub fn is_certain(command: &str) -> bool {
    CERTAIN.contains(&file_name(command))
}

/// The commands that the command line `words` runs besides its first word.
#[must_use]
pub fn inner(words: &[Word]) -> Vec<Vec<Word>> {
    let Some(first) = words.first() else {
        return Vec::new();
    };
    let rest = match file_name(&first.text) {
        "env" => through_env(words),
        "busybox" => words[1..].to_vec(),
        "find" => return found_and_run(words),
        "help2man" => return described(words),
        name @ ("git" | "rsync" | "svn") => remote::shell(name, words),
        name => match WRAPPERS.iter().find(|wrapper| wrapper.name == name) {
            Some(wrapper) => wrapper.command(words).to_vec(),
            None => return Vec::new(),
        },
    };
    // `command -v x` asks, it does not run; whatever is left with a dash in front is no command.
    match rest.first() {
        Some(word) if !word.text.starts_with('-') && !word.text.is_empty() => vec![rest],
        _ => Vec::new(),
    }
}

impl Wrapper {
    fn command<'w>(&self, words: &'w [Word]) -> &'w [Word] {
        let mut at = 1;
        while let Some(word) = words.get(at) {
            let text = word.text.as_str();
            if text == "--" {
                at += 1;
                break;
            }
            if self.name == "command" && matches!(text, "-v" | "-V") {
                return &[];
            }
            let Some(cluster) = text.strip_prefix('-').filter(|cluster| !cluster.is_empty()) else {
                break;
            };
            let takes_next = if cluster.starts_with('-') {
                self.long_values.contains(&text)
            } else {
                cluster.find(|c| self.values.contains(c)) == Some(cluster.len() - 1)
            };
            at += 1 + usize::from(takes_next);
        }
        words.get(at + self.operands..).unwrap_or_default()
    }
}

fn through_env(words: &[Word]) -> Vec<Word> {
    let texts: Vec<String> = words[1..].iter().map(|word| word.text.clone()).collect();
    let Ok(env) = env_command::parse(&texts, &|_| None) else {
        return Vec::new();
    };
    // Words that came out of `-S` have no place of their own on the command line.
    let kept = env.argv.len().min(words.len() - 1);
    let tail = &words[words.len() - kept..];
    let split = tail.iter().map(|word| &word.text).ne(env.argv.iter());
    if split {
        let source = words[0].source.clone();
        return env
            .argv
            .into_iter()
            .map(|text| Word::literal(text, source.clone()))
            .collect();
    }
    tail.to_vec()
}

/// `help2man [OPTION…] PROGRAM`, which asks the program what it is (help2man(1)).
fn described(words: &[Word]) -> Vec<Vec<Word>> {
    let wrapper = Wrapper {
        name: "help2man",
        values: "ILSTVhimnopsv",
        long_values: &[
            "--help-option",
            "--include",
            "--info-page",
            "--locale",
            "--manual",
            "--name",
            "--opt-include",
            "--output",
            "--section",
            "--source",
            "--version-option",
            "--version-string",
        ],
        operands: 0,
    };
    let Some(program) = wrapper.command(words).first() else {
        return Vec::new();
    };
    let asked = |option: &str| Word::literal(option, program.source.clone());
    let options = ["--help", "--version"];
    options
        .map(|option| vec![program.clone(), asked(option)])
        .to_vec()
}

/// `find … -exec COMMAND … ;`, `-execdir`, `-ok`, `-okdir`.
fn found_and_run(words: &[Word]) -> Vec<Vec<Word>> {
    let mut out = Vec::new();
    let mut rest = words;
    while let Some(at) = rest
        .iter()
        .position(|word| matches!(word.text.as_str(), "-exec" | "-execdir" | "-ok" | "-okdir"))
    {
        rest = &rest[at + 1..];
        // Without an end find runs nothing.
        let Some(end) = rest
            .iter()
            .position(|word| matches!(word.text.as_str(), ";" | "+"))
        else {
            break;
        };
        let command = &rest[..end];
        rest = &rest[end..];
        if !command.is_empty() {
            out.push(command.to_vec());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &str) -> Vec<String> {
        let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
        inner(&super::super::of_argv(&argv, 0))
            .into_iter()
            .map(|words| {
                words
                    .into_iter()
                    .map(|word| word.text)
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect()
    }

    #[test]
    fn wrappers_give_way_to_their_command() {
        for (line, command) in [
            ("timeout 5 curl x", "curl x"),
            ("timeout -s KILL --kill-after 3 5 curl", "curl"),
            ("timeout -k3 --signal=TERM 5 curl", "curl"),
            ("nice -n 5 make", "make"),
            ("nice -5 make", "make"),
            ("env A=1 B=2 prog x", "prog x"),
            ("env -i -u HOME prog", "prog"),
            ("xargs -0 -n 1 rm -f", "rm -f"),
            ("xargs -I{} cp {} y", "cp {} y"),
            ("setsid -w prog -x", "prog -x"),
            ("tini -g -- /app/server --port 1", "/app/server --port 1"),
            ("exec -a name prog", "prog"),
            ("su-exec www nginx -g x", "nginx -g x"),
            ("busybox ls -l", "ls -l"),
            ("ccache gcc -c x.c", "gcc -c x.c"),
            (
                "libtool --tag=CC --mode=link gcc -o x x.lo",
                "gcc -o x x.lo",
            ),
            ("xvfb-run -a -s -nolisten app x", "app x"),
            ("faketime 2020-01-01 date -u", "date -u"),
            ("valgrind --leak-check=full app", "app"),
            ("/usr/bin/nohup prog", "prog"),
            ("taskset -c 0 prog", "prog"),
            ("find . -name x -exec grep -l y {} ;", "grep -l y {}"),
        ] {
            assert_eq!(run(line), [command], "{line}");
        }
        for line in [
            "echo hello",
            "command -v curl",
            "xargs",
            "timeout 5",
            "env",
            "env A=1",
            "busybox --list",
            "ccache -M 5G",
        ] {
            assert!(run(line).is_empty(), "{line}: {:?}", run(line));
        }
        assert_eq!(run("find -exec a ; -ok b {} +"), ["a", "b {}"]);
        assert_eq!(
            run("help2man -N -n x --section=8 --output y /usr/bin/env"),
            ["/usr/bin/env --help", "/usr/bin/env --version"]
        );
        assert!(run("help2man --help").is_empty());
    }
}
