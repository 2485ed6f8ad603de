//! Commands that reach another host through a remote shell: rsync(1), git(1), svn(1).

use super::Word;

/// The command line of the remote shell that `words` runs, the name of the command being `name`.
pub(super) fn shell(name: &str, words: &[Word]) -> Vec<Word> {
    let arguments = words.get(1..).unwrap_or_default();
    let chosen = match name {
        "rsync" => value(arguments, "-e", "--rsh"),
        _ => None,
    };
    if let Some((word, text)) = chosen {
        let split = text.split_whitespace();
        return split
            .map(|text| Word {
                text: text.to_owned(),
                ..word.clone()
            })
            .collect();
    }
    let remote = arguments
        .iter()
        .find(|word| word.literal && is_remote(name, &word.text));
    remote
        .map(|word| Word::literal("ssh", word.source.clone()))
        .into_iter()
        .collect()
}

/// The value of an option, as a word of its own or behind the option.
fn value<'w>(arguments: &'w [Word], short: &str, long: &str) -> Option<(&'w Word, &'w str)> {
    arguments.iter().enumerate().find_map(|(at, word)| {
        let text = word.text.as_str();
        if text == short || text == long {
            let next = arguments.get(at + 1)?;
            return Some((next, next.text.as_str()));
        }
        let joined = text
            .strip_prefix(long)
            .and_then(|rest| rest.strip_prefix('='));
        Some((word, joined?))
    })
}

/// `HOST:PATH` and `USER@HOST:PATH`, but neither `HOST::MODULE` nor an address; of git with a user alone, because
/// `REMOTE:BRANCH` and `COMMIT:PATH` look the same.
fn is_remote(name: &str, text: &str) -> bool {
    if text.starts_with("ssh://") || text.contains("+ssh://") {
        return true;
    }
    let Some((host, path)) = text.split_once(':') else {
        return false;
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '@');
    let is_host = !host.is_empty() && !host.starts_with('-') && host.chars().all(plain);
    let is_path = !path.starts_with(':') && !path.starts_with("//");
    is_host && is_path && (name == "rsync" || name == "git" && host.contains('@'))
}

#[cfg(test)]
mod tests {
    use super::super::of_argv;
    use super::*;

    #[test]
    fn remote_shells_are_named_or_follow_from_a_host() {
        for (line, expected) in [
            ("rsync -a host:x /tmp", "ssh"),
            ("rsync -a user@10.0.0.1:/srv/ .", "ssh"),
            ("rsync -ae rsh a b", ""),
            ("rsync -e rsh host:x .", "rsh"),
            ("rsync --rsh=dbclient host:x .", "dbclient"),
            ("rsync host::module .", ""),
            ("rsync rsync://host/module .", ""),
            ("rsync -a ./a:b c", ""),
            ("git clone git@host.example:x.git", "ssh"),
            ("git clone ssh://host/x", "ssh"),
            ("git show HEAD:file", ""),
            ("git clone https://host.example/x", ""),
        ] {
            let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let words = of_argv(&argv, 0);
            let found: Vec<String> = shell(&argv[0], &words)
                .into_iter()
                .map(|w| w.text)
                .collect();
            assert_eq!(found.join(" "), expected, "{line}");
        }
        let argv = ["rsync", "-e", "ssh -p 1 -o x", "a:b", "."].map(str::to_owned);
        assert_eq!(shell("rsync", &of_argv(&argv, 0)).len(), 5);
    }
}
