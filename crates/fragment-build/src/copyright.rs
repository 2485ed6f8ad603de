//! Licences named in Debian copyright files (machine-readable form, DEP-5).

use std::collections::BTreeSet;

/// Longest short name taken; longer ones are running text.
const MAX_NAME: usize = 80;

/// The licence short names of `text`; empty when it is not in the machine-readable form.
#[must_use]
pub(crate) fn licences(text: &str) -> BTreeSet<String> {
    // DEP-5: the first paragraph names the format; older files spell the field Format-Specification
    let machine_readable = text.lines().take(10).any(|line| {
        line.get(..6)
            .is_some_and(|field| field.eq_ignore_ascii_case("format"))
            && line.contains(':')
    });
    if !machine_readable {
        return BTreeSet::new();
    }
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(field, _)| field.eq_ignore_ascii_case("license"))
        .flat_map(|(_, synopsis)| names(synopsis))
        .collect()
}

/// Splits `GPL-2+ or MIT, and Expat` into its names.
fn names(synopsis: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    for word in synopsis.split_whitespace() {
        if word.eq_ignore_ascii_case("or") || word.eq_ignore_ascii_case("and") || word == "|" {
            names.push(String::new());
            continue;
        }
        let (word, ends) = match word.strip_suffix(',') {
            Some(word) => (word, true),
            None => (word, false),
        };
        if let Some(name) = names.last_mut() {
            if !name.is_empty() {
                name.push(' ');
            }
            name.push_str(word);
        }
        if ends {
            names.push(String::new());
        }
    }
    names.retain(|name| !name.is_empty() && name.len() <= MAX_NAME);
    names
}

#[cfg(test)]
mod tests {
    use super::licences;

    #[test]
    fn short_names_of_a_dep5_file() {
        let text = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\n\
                    License: GPL-2+ or MIT\n text: not a field\n\nFiles: b\nLicense: GPL-2+ with OpenSSL exception, and Expat\n\n\
                    license:\n  continued\n";
        let expected = ["Expat", "GPL-2+", "GPL-2+ with OpenSSL exception", "MIT"];
        assert_eq!(licences(text).into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn running_text_names_nothing() {
        assert!(licences("This package was debianised by hand.\nLicense: see below\n").is_empty());
        assert!(licences("").is_empty());
    }
}
