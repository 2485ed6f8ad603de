//! Debian's licence short names (DEP-5) as SPDX licence identifiers.

use std::fmt::Write as _;

/// What a short name is in SPDX.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Licence {
    /// An identifier of SPDX' list.
    Listed(&'static str),
    /// Something else by that name: exceptions, variants, texts of the package's own.
    Other(String),
}

impl Licence {
    /// The identifier in an SPDX expression.
    #[must_use]
    pub fn identifier(&self) -> String {
        match self {
            Self::Listed(id) => (*id).to_owned(),
            Self::Other(name) => reference(name),
        }
    }
}

/// Names that mean the same text in both lists, lower case. What Debian uses for several texts (`Artistic`, `Python`, `BSD`)
/// is not among them.
const LISTED: [(&str, &str); 61] = [
    ("0bsd", "0BSD"),
    ("afl-2.1", "AFL-2.1"),
    ("agpl-3", "AGPL-3.0-only"),
    ("agpl-3+", "AGPL-3.0-or-later"),
    ("apache-1.1", "Apache-1.1"),
    ("apache-2", "Apache-2.0"),
    ("apache-2.0", "Apache-2.0"),
    ("artistic-2", "Artistic-2.0"),
    ("artistic-2.0", "Artistic-2.0"),
    ("beerware", "Beerware"),
    ("bsd-2-clause", "BSD-2-Clause"),
    ("bsd-3-clause", "BSD-3-Clause"),
    ("bsd-4-clause", "BSD-4-Clause"),
    ("bsd-4-clause-uc", "BSD-4-Clause-UC"),
    ("bsl-1.0", "BSL-1.0"),
    ("cc-by-3.0", "CC-BY-3.0"),
    ("cc-by-4.0", "CC-BY-4.0"),
    ("cc-by-sa-3.0", "CC-BY-SA-3.0"),
    ("cc-by-sa-4.0", "CC-BY-SA-4.0"),
    ("cc0", "CC0-1.0"),
    ("cc0-1.0", "CC0-1.0"),
    ("cddl-1.0", "CDDL-1.0"),
    ("curl", "curl"),
    ("epl-1.0", "EPL-1.0"),
    ("epl-2.0", "EPL-2.0"),
    ("expat", "MIT"),
    ("fsfap", "FSFAP"),
    ("fsful", "FSFUL"),
    ("fsfullr", "FSFULLR"),
    ("gfdl-1.2", "GFDL-1.2-only"),
    ("gfdl-1.2+", "GFDL-1.2-or-later"),
    ("gfdl-1.3", "GFDL-1.3-only"),
    ("gfdl-1.3+", "GFDL-1.3-or-later"),
    ("gfdl-niv-1.3", "GFDL-1.3-no-invariants-only"),
    ("gfdl-niv-1.3+", "GFDL-1.3-no-invariants-or-later"),
    ("gpl-1", "GPL-1.0-only"),
    ("gpl-1+", "GPL-1.0-or-later"),
    ("gpl-2", "GPL-2.0-only"),
    ("gpl-2+", "GPL-2.0-or-later"),
    ("gpl-3", "GPL-3.0-only"),
    ("gpl-3+", "GPL-3.0-or-later"),
    ("isc", "ISC"),
    ("lgpl-2", "LGPL-2.0-only"),
    ("lgpl-2+", "LGPL-2.0-or-later"),
    ("lgpl-2.1", "LGPL-2.1-only"),
    ("lgpl-2.1+", "LGPL-2.1-or-later"),
    ("lgpl-3", "LGPL-3.0-only"),
    ("lgpl-3+", "LGPL-3.0-or-later"),
    ("mit", "MIT"),
    ("mpl-1.1", "MPL-1.1"),
    ("mpl-2.0", "MPL-2.0"),
    ("ms-pl", "MS-PL"),
    ("oldap-2.8", "OLDAP-2.8"),
    ("openldap-2.8", "OLDAP-2.8"),
    ("openssl", "OpenSSL"),
    ("postgresql", "PostgreSQL"),
    ("sleepycat", "Sleepycat"),
    ("unlicense", "Unlicense"),
    ("x11", "X11"),
    ("zlib", "Zlib"),
    ("zpl-2.1", "ZPL-2.1"),
];

/// What `name` is in SPDX.
#[must_use]
pub fn licence(name: &str) -> Licence {
    let mut key = name.trim().to_ascii_lowercase();
    // GPL-2.0+ is GPL-2+; 2.1 has no shorter form
    if key.starts_with("gpl-") || key.starts_with("lgpl-") || key.starts_with("agpl-") {
        key = key.replace(".0", "");
    }
    LISTED
        .iter()
        .find(|(debian, _)| *debian == key)
        .map_or_else(
            || Licence::Other(name.trim().to_owned()),
            |(_, id)| Licence::Listed(id),
        )
}

/// `LicenseRef-` and the name in the characters that are allowed there (letters, digits, `-`, `.`). Others are written as
/// their number, so that different names stay different.
fn reference(name: &str) -> String {
    let mut reference = "LicenseRef-".to_owned();
    for character in name.chars() {
        match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '-' => reference.push(character),
            ' ' => reference.push('-'),
            other => {
                let _ = write!(reference, ".u{:x}.", u32::from(other));
            }
        }
    }
    reference
}

#[cfg(test)]
mod tests {
    use super::{LISTED, licence};

    #[test]
    fn names_become_identifiers() {
        for (debian, spdx) in [
            ("GPL-2+", "GPL-2.0-or-later"),
            ("GPL-2.0+", "GPL-2.0-or-later"),
            ("LGPL-2.1", "LGPL-2.1-only"),
            ("Expat", "MIT"),
            ("BSD-3-clause", "BSD-3-Clause"),
            ("Artistic", "LicenseRef-Artistic"),
            (
                "GPL-3+ with Bison exception",
                "LicenseRef-GPL-3.u2b.-with-Bison-exception",
            ),
            ("MIT/X11", "LicenseRef-MIT.u2f.X11"),
            ("BSD-2-clause~author", "LicenseRef-BSD-2-clause.u7e.author"),
        ] {
            assert_eq!(licence(debian).identifier(), spdx, "{debian}");
        }
    }

    #[test]
    fn the_list_is_sorted_and_lower_case() {
        assert!(LISTED.is_sorted_by(|a, b| a.0 < b.0));
        assert!(LISTED.iter().all(|(n, _)| *n == n.to_ascii_lowercase()));
    }
}
