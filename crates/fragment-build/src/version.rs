//! Debian versions as semantic versions.
//!
//! Component versions only have to be *ordered* like the Debian versions they come from, for one component name; people
//! are shown the upstream spelling. The mapping never fails:
//!
//! | Debian | part | becomes |
//! |---|---|---|
//! | `1:9.2p1-2+deb12u5` | epoch `1:` | dropped |
//! | | upstream `9.2p1` | `9.2.0`, the rest `p.1` build metadata |
//! | | revision `2+deb12u5` | build metadata `2.deb.12.u.5` |
//! | `2025b-0+deb12u2` | a single letter right after a number | the next number (`a` is 1): `2025.2.0` |
//! | `252.1~rc2-1` | `~rc2` | pre-release `rc.2` |
//! | `1.2.3.4` | numbers after the third | build metadata |
//!
//! Build metadata takes part in the order: the `semver` crate's `Version` has a total order that compares it last.

use semver::{BuildMetadata, Prerelease, Version};

/// The semantic version that stands for `debian`.
#[must_use]
pub(crate) fn from_debian(debian: &str) -> Version {
    let without_epoch = match debian.split_once(':') {
        Some((epoch, rest)) if epoch.bytes().all(|b| b.is_ascii_digit()) => rest,
        _ => debian,
    };
    let (upstream, revision) = without_epoch
        .rsplit_once('-')
        .unwrap_or((without_epoch, ""));
    let end = upstream.find(['~', '+']).unwrap_or(upstream.len());
    let (release, suffix) = upstream.split_at(end);
    let (numbers, mut build) = numbers(release);
    let mut pre = Vec::new();
    if let Some(suffix) = suffix.strip_prefix('~') {
        let end = suffix.find('+').unwrap_or(suffix.len());
        pre = identifiers(&suffix[..end], true);
        build.extend(identifiers(&suffix[end..], false));
    } else {
        build.extend(identifiers(suffix, false));
    }
    build.extend(identifiers(revision, false));
    Version {
        major: numbers[0],
        minor: numbers[1],
        patch: numbers[2],
        // identifiers() keeps to the grammar, so the fall-backs are never taken
        pre: Prerelease::new(&pre.join(".")).unwrap_or(Prerelease::EMPTY),
        build: BuildMetadata::new(&build.join(".")).unwrap_or(BuildMetadata::EMPTY),
    }
}

/// The first three numbers of an upstream version and what follows them.
fn numbers(release: &str) -> ([u64; 3], Vec<String>) {
    let mut numbers = [0; 3];
    let mut rest = release;
    let mut at = 0;
    while at < 3 {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            break;
        }
        // a number beyond u64 (a date with a hash) saturates: such versions still sort after all others
        numbers[at] = rest[..digits].parse().unwrap_or(u64::MAX);
        rest = &rest[digits..];
        at += 1;
        let mut chars = rest.chars();
        if let (Some(letter), None | Some('.')) = (chars.next(), chars.next())
            && letter.is_ascii_lowercase()
            && at < 3
        {
            numbers[at] = u64::from(u32::from(letter) - u32::from('a') + 1);
            at += 1;
            rest = &rest[1..];
        }
        match rest.strip_prefix('.') {
            Some(after) if at < 3 => rest = after,
            _ => break,
        }
    }
    (numbers, identifiers(rest, false))
}

/// Splits at everything semver does not know and between letters and digits, so that numbers compare as numbers:
/// `deb12u9` is before `deb12u14` only as `deb.12.u.9` and `deb.12.u.14`. Pre-release numbers lose leading zeros as the
/// grammar demands.
fn identifiers(text: &str, pre: bool) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut previous = None;
    for c in text.chars() {
        let kind = c.is_ascii_alphanumeric().then(|| c.is_ascii_digit());
        match (kind, parts.last_mut()) {
            (Some(_), Some(part)) if previous == kind => part.push(c),
            (Some(_), _) => parts.push(c.to_string()),
            (None, _) => {}
        }
        previous = kind;
    }
    if pre {
        for part in parts.iter_mut().filter(|p| p.starts_with('0')) {
            let kept = part.trim_start_matches('0');
            *part = if kept.is_empty() {
                "0".to_owned()
            } else {
                kept.to_owned()
            };
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::from_debian;

    #[test]
    fn documented_mapping() {
        for (debian, semver) in [
            ("7.88.1-10+deb12u14", "7.88.1+10.deb.12.u.14"),
            ("1:9.2p1-2+deb12u5", "9.2.0+p.1.2.deb.12.u.5"),
            ("2025b-0+deb12u2", "2025.2.0+0.deb.12.u.2"),
            ("252.39-1~deb12u1", "252.39.0+1.deb.12.u.1"),
            ("1.0~rc02-1", "1.0.0-rc.2+1"),
            ("1.0~02", "1.0.0-2"),
            ("20230311+deb12u1", "20230311.0.0+deb.12.u.1"),
            ("1.2.3.4-5", "1.2.3+4.5"),
            ("3.0.17~git2~x+y-1", "3.0.17-git.2.x+y.1"),
            ("", "0.0.0"),
            ("99999999999999999999999", "18446744073709551615.0.0"),
            ("~~::--++", "0.0.0"),
            ("ü-ß", "0.0.0"),
        ] {
            assert_eq!(from_debian(debian).to_string(), semver, "{debian}");
        }
    }

    #[test]
    fn updates_of_one_release_are_ordered() {
        for (older, newer) in [
            ("7.88.1-10+deb12u9", "7.88.1-10+deb12u14"),
            ("2025a-1", "2025b-1"),
            ("1.0~rc1-1", "1.0-1"),
            ("5.2.15-2", "5.2.15-10"),
        ] {
            let (a, b) = (from_debian(older), from_debian(newer));
            assert!(a < b, "{a} {b}");
        }
    }
}
