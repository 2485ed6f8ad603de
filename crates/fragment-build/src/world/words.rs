//! What dpkg(1) and its database say of an installation, and how it is told.

use std::collections::BTreeSet;

/// The first of some names, and how many more there are.
pub(super) fn few(names: &[&str]) -> String {
    const SHOWN: usize = 5;
    match names.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        Some(more) => format!("{} and {more} more", names[..SHOWN].join(", ")),
        None => names.join(", "),
    }
}

/// What a script said before dpkg(1) spoke of its failure; where it said nothing, dpkg's words.
pub(super) fn last_words(package: &str, log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let failure = format!("dpkg: error processing package {package} ");
    let setting_up = format!("Setting up {package} ");
    let Some(end) = lines.iter().rposition(|l| l.starts_with(&failure)) else {
        return log.to_owned();
    };
    let start = lines[..end]
        .iter()
        .rposition(|l| l.starts_with(&setting_up))
        .map_or(0, |at| at + 1);
    match &lines[start..end] {
        [] => lines.get(end + 1).map_or(log, |l| l.trim()).to_owned(),
        said => said.join("\n"),
    }
}

/// The packages whose scripts, but for triggers, have been run as `status` says.
pub(super) fn configured(status: &str) -> BTreeSet<&str> {
    let mut configured = BTreeSet::new();
    for stanza in status.split("\n\n") {
        let field = |name| stanza.lines().find_map(|l: &str| l.strip_prefix(name));
        let state = field("Status: ").and_then(|s| s.rsplit(' ').next());
        if matches!(
            state,
            Some("installed" | "triggers-awaited" | "triggers-pending")
        ) {
            configured.extend(field("Package: "));
        }
    }
    configured
}

/// The packages that `status` says have triggers to run.
pub(super) fn pending(status: &str) -> Vec<String> {
    status
        .split("\n\n")
        .filter(|stanza| stanza.contains("\nTriggers-Pending:"))
        .filter_map(|stanza| stanza.lines().find_map(|l| l.strip_prefix("Package: ")))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{configured, few, last_words, pending};

    #[test]
    fn words_of_a_script_that_failed() {
        let dpkg = "dpkg: error processing package postfix (--configure):\n installed postfix package post-installation \
                    script subprocess returned error exit status 75\nErrors were encountered while processing:\n postfix\n";
        let log = format!(
            "Setting up a (1) ...\nx\nSetting up postfix (3) ...\nRunning\nnewaliases: fatal\n{dpkg}"
        );
        assert_eq!(last_words("postfix", &log), "Running\nnewaliases: fatal");
        let silent = format!("Setting up postfix (3) ...\n{dpkg}");
        assert!(last_words("postfix", &silent).ends_with("exit status 75"));
        assert_eq!(last_words("other", "killed\n"), "killed\n");
    }

    #[test]
    fn a_few_names() {
        assert_eq!(few(&["a", "b"]), "a, b");
        assert_eq!(few(&["a", "b", "c", "d", "e"]), "a, b, c, d, e");
        let seven = ["a", "b", "c", "d", "e", "f", "g"];
        assert_eq!(few(&seven), "a, b, c, d, e and 2 more");
    }

    #[test]
    fn packages_with_triggers() {
        let status = "Package: libc-bin\nStatus: install ok triggers-pending\nTriggers-Pending: ldconfig\n\n\
                      Package: jq\nStatus: install ok installed\n\nPackage: vim\nStatus: install ok unpacked\n";
        assert_eq!(pending(status), ["libc-bin"]);
        let configured: Vec<&str> = configured(status).into_iter().collect();
        assert_eq!(configured, ["jq", "libc-bin"]);
    }
}
