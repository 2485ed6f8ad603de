//! Databases of the name service switch (nsswitch.conf(5)) that words name.

use crate::analyser::{Analyser, Context};
use crate::rules;
use crate::words::{Word, file_name};

impl Analyser<'_> {
    /// The database that getent(1) is asked for: the file it is in, and for hosts whoever looks names up.
    pub(crate) fn database(&mut self, words: &[Word], context: &Context) {
        let Some(database) = asked_for(words) else {
            return;
        };
        let Some((_, path)) = rules::DATABASES.iter().find(|(name, _)| *name == database) else {
            return;
        };
        self.need_path(path, context);
        if *path == "/etc/hosts" {
            self.need_capabilities(rules::RESOLVE, context);
        }
    }
}

/// `getent [-i] [-s CONFIG] DATABASE [KEY…]`.
fn asked_for(words: &[Word]) -> Option<&str> {
    let (first, arguments) = words.split_first()?;
    if file_name(&first.text) != "getent" {
        return None;
    }
    let mut arguments = arguments.iter().map(|word| word.text.as_str());
    while let Some(argument) = arguments.next() {
        match argument {
            "-s" | "--service" => drop(arguments.next()),
            option if option.starts_with('-') => {}
            database => return Some(database),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::of_argv;

    #[test]
    fn the_database_is_behind_the_options() {
        for (line, expected) in [
            ("getent services https", Some("services")),
            ("/usr/bin/getent -i -s files hosts x", Some("hosts")),
            ("getent --service=files passwd", Some("passwd")),
            ("getent --service files", None),
            ("get services", None),
        ] {
            let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(asked_for(&of_argv(&argv, 0)), expected, "{line}");
        }
    }
}
