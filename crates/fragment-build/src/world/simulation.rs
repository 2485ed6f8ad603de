//! What apt says it would do.

use crate::isolation::is_unknown;

/// One step of an installation, in apt's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// A package is unpacked from this archive file.
    Unpack { package: String, file: String },
    /// A package is configured.
    Configure { package: String },
}

/// Why apt would not install packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The archive has no package of this name.
    Unknown(String),
    /// It cannot be installed beside what is there.
    Conflict(String),
}

/// The steps of an `apt-get --simulate`.
pub(crate) fn steps(text: &str) -> Vec<Step> {
    text.lines().filter_map(step).collect()
}

/// `Inst jq (1.6-2.1+deb12u1 Debian:12.13/oldstable [amd64])`, with `[OLD]` in front of the version where there was one;
/// `Conf jq (…)`.
fn step(line: &str) -> Option<Step> {
    let (verb, rest) = line.split_once(' ')?;
    let package = rest.split([' ', ':']).next()?.to_owned();
    match verb {
        "Conf" => Some(Step::Configure { package }),
        "Inst" => {
            // behind the parenthesis comes what is broken in between
            let (description, _) = rest.split_once('(')?.1.split_once(')')?;
            let version = description.split(' ').next()?;
            let (_, architecture) = description.rsplit_once('[')?;
            let architecture = architecture.trim_end_matches(']');
            let file = format!(
                "{package}_{}_{architecture}.deb",
                version.replace(':', "%3a")
            );
            Some(Step::Unpack { package, file })
        }
        _ => None,
    }
}

/// What apt's error output means.
pub(crate) fn refusal(packages: &[String], errors: &str) -> Refused {
    match unknown_package(packages, errors) {
        Some(package) => Refused::Unknown(package.to_owned()),
        None => Refused::Conflict(errors.trim().to_owned()),
    }
}

/// The first of `packages` that apt does not know.
pub(crate) fn unknown_package<'a>(packages: &'a [String], errors: &str) -> Option<&'a str> {
    packages
        .iter()
        .map(String::as_str)
        .find(|package| is_unknown(errors, package))
}

#[cfg(test)]
mod tests {
    use super::{Refused, Step, refusal, steps};

    #[test]
    fn steps_in_apt_s_order() {
        let text = "NOTE: This is only a simulation!\nReading package lists...\n\
                    Inst libonig5 (6.9.8-1 Debian:12.13/oldstable [amd64])\n\
                    Inst vim-tiny [1] (2:9.0.1378-2 Debian:12/x, Debian-Security:12/y [all]) []\n\
                    Conf libonig5 (6.9.8-1 Debian:12.13/oldstable [amd64])\n";
        let unpack = |package: &str, file: &str| Step::Unpack {
            package: package.to_owned(),
            file: file.to_owned(),
        };
        assert_eq!(
            steps(text),
            [
                unpack("libonig5", "libonig5_6.9.8-1_amd64.deb"),
                unpack("vim-tiny", "vim-tiny_2%3a9.0.1378-2_all.deb"),
                Step::Configure {
                    package: "libonig5".to_owned()
                },
            ]
        );
    }

    #[test]
    fn unknown_packages_and_conflicts_are_told_apart() {
        let packages = ["jq".to_owned(), "nix".to_owned()];
        assert_eq!(
            refusal(&packages, "E: Unable to locate package nix\n"),
            Refused::Unknown("nix".to_owned())
        );
        let text = "E: Packages need to be removed but remove is disabled.";
        assert_eq!(refusal(&packages, text), Refused::Conflict(text.to_owned()));
    }
}
