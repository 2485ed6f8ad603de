//! Command lines that ask more of a command than a busybox applet of that name can do.
//!
//! The core fragment has one small program for many commands. Texts written on a distribution use what its own commands have
//! in addition: then the command of the distribution is wanted, if the library has it.

use crate::words::{Word, file_name};

/// Short options that the applets lack (busybox 1.35 with Debian's configuration, `busybox APPLET --help`).
const SHORT: &[(&str, &str)] = &[
    ("egrep", "PZz"),
    ("fgrep", "PZz"),
    ("grep", "PZz"),
    ("join", "aeov"),
    ("ls", "BDGQZbfqvw"),
    ("ps", "AHLaefjlmpuwxyZ"),
    ("readlink", "emz"),
    ("sed", "bluz"),
    ("sort", "RVh"),
    ("stat", "w"),
    ("uniq", "Dz"),
    ("xargs", "Jad"),
];

/// Primaries and actions of find(1) that the applet lacks.
const FIND: &[&str] = &[
    "-anewer",
    "-cnewer",
    "-execdir",
    "-fls",
    "-fprint",
    "-fprint0",
    "-fprintf",
    "-ignore_readdir_race",
    "-ilname",
    "-lname",
    "-ls",
    "-newermt",
    "-noleaf",
    "-okdir",
    "-printf",
    "-readable",
    "-regextype",
    "-used",
    "-writable",
    "-xtype",
];

/// What in a command line asks for more than an applet.
pub(crate) fn excess(words: &[Word]) -> Option<String> {
    let (first, arguments) = words.split_first()?;
    let name = file_name(&first.text);
    let short = SHORT
        .iter()
        .find(|(own, _)| *own == name)
        .map(|(_, options)| *options);
    let options = arguments.iter().take_while(|word| word.text != "--");
    for word in options {
        let text = word.text.as_str();
        let found = match text.strip_prefix('-') {
            Some(long) if long.starts_with('-') => {
                // The value of an option can be a secret.
                let option = text.split('=').next().unwrap_or_default();
                return option[2..]
                    .starts_with(|c: char| c.is_ascii_alphabetic())
                    .then(|| format!("{name} {option}"));
            }
            Some(_) if name == "find" => FIND.contains(&text),
            Some(cluster) => short
                .is_some_and(|options| cluster.chars().next().is_some_and(|c| options.contains(c))),
            None => false,
        };
        if found {
            return Some(format!(
                "{name} {}",
                text.get(..2).filter(|_| name != "find").unwrap_or(text)
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_applets_lack_is_known() {
        for (line, expected) in [
            ("sort --parallel=4 x", Some("sort --parallel")),
            ("grep -P x", Some("grep -P")),
            ("grep -rn x", None),
            ("find . -name x -printf %p", Some("find -printf")),
            ("find . -name x -delete", None),
            ("ps -ef", Some("ps -e")),
            ("ps -o pid", None),
            ("ls -l", None),
            ("ls", None),
            ("grep -- --x", None),
            ("curl --url=secret", Some("curl --url")),
        ] {
            let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(
                excess(&crate::words::of_argv(&argv, 0)).as_deref(),
                expected,
                "{line}"
            );
        }
    }
}
