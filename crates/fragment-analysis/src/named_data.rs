//! Options and operands that name data of the system: a language of a spelling checker, a character map, a schema.

use fragment_sys::root::Kind;

use crate::analyser::{Analyser, Context};
use crate::command_line::word_kind;
use crate::error::AnalysisError;
use crate::words::{Word, file_name};

/// What gives the name.
enum By {
    /// The value of one of these options.
    Option(&'static [&'static str]),
    /// The operand of this number, from 0.
    Operand(usize),
    /// Every operand.
    Operands,
}

/// What a name leads to.
enum Data {
    /// The first of these that is there; `{}` is the name, `{base}` the name up to its first `_`, `.` or `-`.
    File(&'static [&'static str]),
    /// The description of a terminal.
    Terminal,
    /// A module that a component has in the index of this language.
    Module(&'static str),
}

/// A command whose arguments name data.
struct Rule {
    commands: &'static [&'static str],
    by: By,
    data: Data,
}

/// From the manual pages of the commands, and where Debian's packages have the data.
const RULES: &[Rule] = &[
    Rule {
        commands: &["aspell"],
        by: By::Option(&["-d", "-l", "--lang", "--master"]),
        data: Data::File(&[
            "/usr/lib/aspell/{}.multi",
            "/usr/lib/aspell/{}.rws",
            "/usr/lib/aspell/{base}.multi",
            "/usr/lib/aspell/{base}.dat",
        ]),
    },
    Rule {
        commands: &["hunspell"],
        by: By::Option(&["-d"]),
        data: Data::File(&[
            "/usr/share/hunspell/{}.dic",
            "/usr/share/myspell/dicts/{}.dic",
        ]),
    },
    Rule {
        commands: &["captoinfo", "clear", "infocmp", "reset", "tput", "tset"],
        by: By::Option(&["-T", "-m"]),
        data: Data::Terminal,
    },
    Rule {
        commands: &["infocmp", "reset", "tset"],
        by: By::Operands,
        data: Data::Terminal,
    },
    Rule {
        commands: &["localedef"],
        by: By::Option(&["-i", "--inputfile"]),
        data: Data::File(&["/usr/share/i18n/locales/{}"]),
    },
    Rule {
        commands: &["localedef"],
        by: By::Option(&["-f", "--charmap"]),
        data: Data::File(&[
            "/usr/share/i18n/charmaps/{}.gz",
            "/usr/share/i18n/charmaps/{}",
        ]),
    },
    Rule {
        commands: &["groff", "nroff", "troff"],
        by: By::Option(&["-T"]),
        data: Data::File(&["/usr/share/groff/current/font/dev{}/DESC"]),
    },
    Rule {
        commands: &["groff", "nroff", "troff"],
        by: By::Option(&["-m"]),
        data: Data::File(&[
            "/usr/share/groff/current/tmac/{}.tmac",
            "/usr/share/groff/current/tmac/m{}.tmac",
        ]),
    },
    Rule {
        commands: &["tesseract"],
        by: By::Option(&["-l"]),
        data: Data::File(&["/usr/share/tesseract-ocr/5/tessdata/{}.traineddata"]),
    },
    Rule {
        commands: &["figlet", "toilet"],
        by: By::Option(&["-f"]),
        data: Data::File(&["/usr/share/figlet/{}.flf", "/usr/share/figlet/{}.tlf"]),
    },
    Rule {
        commands: &["cowsay", "cowthink"],
        by: By::Option(&["-f"]),
        data: Data::File(&["/usr/share/cowsay/cows/{}.cow"]),
    },
    Rule {
        commands: &["pamtester"],
        by: By::Operand(0),
        data: Data::File(&["/etc/pam.d/{}"]),
    },
    // elements of a pipeline; a package of plug-ins says which it has
    Rule {
        commands: &["gst-inspect-1.0", "gst-launch-1.0"],
        by: By::Operands,
        data: Data::Module("gstreamer"),
    },
    // gsettings COMMAND SCHEMA …
    Rule {
        commands: &["gsettings"],
        by: By::Operand(1),
        data: Data::File(&["/usr/share/glib-2.0/schemas/{}.gschema.xml"]),
    },
];

/// What commands read that change the lists of users and groups (login.defs(5), shadow(5)): named by none of their arguments.
const ACCOUNTS: (&[&str], &[&str]) = (
    &[
        "addgroup",
        "adduser",
        "chage",
        "chgpasswd",
        "chpasswd",
        "delgroup",
        "deluser",
        "gpasswd",
        "groupadd",
        "groupdel",
        "groupmems",
        "groupmod",
        "newusers",
        "passwd",
        "pwck",
        "useradd",
        "userdel",
        "usermod",
    ],
    &[
        "/etc/group",
        "/etc/gshadow",
        "/etc/login.defs",
        "/etc/passwd",
        "/etc/shadow",
    ],
);

impl Analyser<'_> {
    /// Data of the system that the words of a command name.
    pub(crate) fn named_data(
        &mut self,
        words: &[Word],
        context: &Context,
    ) -> Result<(), AnalysisError> {
        let Some((first, arguments)) = words.split_first() else {
            return Ok(());
        };
        let command = file_name(&first.text);
        for rule in RULES.iter().filter(|rule| rule.commands.contains(&command)) {
            for (word, name) in names(&rule.by, arguments) {
                let step = context.with(word_kind(word), &word.source, &word.text);
                match rule.data {
                    Data::Terminal => self.terminal_description(name, &step)?,
                    Data::File(paths) => self.first_of(paths, name, &step)?,
                    Data::Module(language) => {
                        if !self.library.providing_module(language, name)?.is_empty() {
                            self.need_module(language, name, None, &step);
                        }
                    }
                }
            }
        }
        if ACCOUNTS.0.contains(&command) {
            let step = context.with(word_kind(first), &first.source, "changes users and groups");
            for path in ACCOUNTS.1 {
                if self.in_library(path)?.is_some() {
                    self.need_path(path, &step);
                }
            }
        }
        Ok(())
    }

    /// The first of `paths` that the bundle or a component has.
    fn first_of(
        &mut self,
        paths: &[&str],
        name: &str,
        context: &Context,
    ) -> Result<(), AnalysisError> {
        let base = name.split(['_', '.', '-']).next().unwrap_or_default();
        for path in paths {
            let path = path.replace("{}", name).replace("{base}", base);
            if !self.may_probe() {
                break;
            }
            match self.root.lookup(&path) {
                Ok(Some(found)) if found.kind != Kind::Directory => break,
                _ => {}
            }
            if self.in_library(&path)?.is_some() {
                self.need_path(&path, context);
                break;
            }
        }
        Ok(())
    }
}

/// The names that arguments give, each with its word.
fn names<'w>(by: &By, arguments: &'w [Word]) -> Vec<(&'w Word, &'w str)> {
    let literal = arguments.iter().filter(|word| word.literal);
    let plain = |name: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '@');
        (1..=64).contains(&name.len()) && !name.starts_with('.') && name.chars().all(plain)
    };
    let operands = literal.filter(|word| !word.text.starts_with('-'));
    let mut out: Vec<(&Word, &str)> = match by {
        By::Operand(number) => operands
            .skip(*number)
            .take(1)
            .map(|word| (word, word.text.as_str()))
            .collect(),
        By::Operands => operands.map(|word| (word, word.text.as_str())).collect(),
        By::Option(options) => {
            let after = arguments.windows(2).filter_map(|pair| {
                let is_option = options.contains(&pair[0].text.as_str());
                is_option.then(|| (&pair[1], pair[1].text.as_str()))
            });
            let joined = arguments.iter().filter_map(|word| {
                let value = options.iter().find_map(|option| {
                    let rest = word.text.strip_prefix(option)?;
                    match option.starts_with("--") {
                        true => rest.strip_prefix('='),
                        false => Some(rest.strip_prefix('=').unwrap_or(rest)),
                    }
                });
                Some((word, value?))
            });
            after
                .chain(joined)
                .filter(|(word, _)| word.literal)
                .collect()
        }
    };
    out.retain(|(_, name)| plain(name));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::of_argv;

    #[test]
    fn arguments_name_data_by_option_and_by_place() {
        let name = By::Option(&["-l", "--lang"]);
        for (by, argv, expected) in [
            (&name, &["-l", "en_US", "list"][..], &["en_US"][..]),
            (&name, &["-len_US"], &["en_US"]),
            (&name, &["--lang=de", "--lang", "fr"], &["fr", "de"]),
            (&name, &["--language=de", "-l"], &[]),
            (&name, &["-l", "../x", "-l", ".hidden"], &[]),
            (&By::Operand(1), &["-v", "get", "org.x", "key"], &["org.x"]),
            (
                &By::Operands,
                &["xterm", "-1", "vt100"],
                &["xterm", "vt100"],
            ),
        ] {
            let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
            let words = of_argv(&argv, 0);
            let found: Vec<&str> = names(by, &words)
                .into_iter()
                .map(|(_, name)| name)
                .collect();
            assert_eq!(found, expected, "{argv:?}");
        }
    }
}
