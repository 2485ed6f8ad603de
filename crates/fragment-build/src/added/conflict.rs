//! Conflicts and Breaks between packages of different worlds.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use crate::dpkg::Database;

/// Package of a world -> packages of other worlds, each with the number of its world.
pub(crate) type Clashes = BTreeMap<String, BTreeSet<(usize, String)>>;

/// For each world, what its packages exclude in others and what excludes them there: one of the two says it, and which of
/// them is made later is not known when the first is. Packages that a world holds together do not exclude each other.
pub(crate) fn clashes(worlds: &[Database]) -> Vec<Clashes> {
    let mut all = vec![Clashes::new(); worlds.len()];
    for (world, database) in worlds.iter().enumerate() {
        for (other, beyond) in worlds.iter().enumerate().filter(|(o, _)| *o != world) {
            for (own, package) in database.packages() {
                for refused in refused(&package.refuses, own, beyond) {
                    if database.package(&refused).is_some() || beyond.package(own).is_some() {
                        continue;
                    }
                    let mut add = |at: usize, from: &str, to: (usize, &str)| {
                        let entry = all[at].entry(from.to_owned()).or_default();
                        entry.insert((to.0, to.1.to_owned()));
                    };
                    add(world, own, (other, &refused));
                    add(other, &refused, (world, own));
                }
            }
        }
    }
    all
}

/// The packages of `other` that `refuses`, a Conflicts or Breaks field, names, `others` versions and what they provide
/// considered.
fn refused(refuses: &str, own: &str, other: &Database) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for relation in refuses.split(',').map(str::trim).filter(|r| !r.is_empty()) {
        let (name, bound) = parse(relation);
        let meets =
            |version: &str| bound.is_none_or(|(operator, wanted)| holds(version, operator, wanted));
        if other.package(name).is_some_and(|p| meets(&p.version)) {
            found.insert(name.to_owned());
        }
        for provider in other.providers(name) {
            let provided = other.package(provider).map_or("", |p| p.provided.as_str());
            let mut provided = provided.split(',').map(|p| parse(p.trim()));
            if provided.any(|(virtual_name, version)| {
                virtual_name == name && (bound.is_none() || version.is_some_and(|(_, v)| meets(v)))
            }) {
                found.insert(provider.clone());
            }
        }
    }
    found.remove(own);
    found
}

/// `name:any (<< 1.0)` as name, operator and version.
fn parse(relation: &str) -> (&str, Option<(&str, &str)>) {
    let (name, rest) = relation.split_once('(').unwrap_or((relation, ""));
    let name = name.trim().split(':').next().unwrap_or_default();
    let bound = rest
        .trim_end_matches(')')
        .trim()
        .split_once(char::is_whitespace)
        .map(|(operator, version)| (operator, version.trim()));
    (name, bound)
}

fn holds(version: &str, operator: &str, wanted: &str) -> bool {
    let order = compare(version, wanted);
    match operator {
        "<<" => order == Ordering::Less,
        "<=" | "<" => order != Ordering::Greater,
        "=" => order == Ordering::Equal,
        ">=" | ">" => order != Ordering::Less,
        ">>" => order == Ordering::Greater,
        _ => true,
    }
}

/// Debian Policy 5.6.12: epoch, then upstream version, then revision.
fn compare(a: &str, b: &str) -> Ordering {
    let split = |v: &'_ str| -> (u64, String, String) {
        let (epoch, rest) = match v.split_once(':') {
            Some((epoch, rest)) => (epoch.parse().unwrap_or(0), rest),
            None => (0, v),
        };
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        (epoch, upstream.to_owned(), revision.to_owned())
    };
    let (a, b) = (split(a), split(b));
    a.0.cmp(&b.0)
        .then_with(|| compare_part(a.1.as_bytes(), b.1.as_bytes()))
        .then_with(|| compare_part(a.2.as_bytes(), b.2.as_bytes()))
}

/// Alternately what is no digit, `~` before the end and letters before the rest, and numbers.
fn compare_part(mut a: &[u8], mut b: &[u8]) -> Ordering {
    let rank = |byte: Option<&u8>| match byte {
        Some(b'~') => -1,
        None => 0,
        Some(byte) if byte.is_ascii_digit() => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    };
    while !a.is_empty() || !b.is_empty() {
        loop {
            let text = |s: &[u8]| s.first().is_some_and(|c| !c.is_ascii_digit());
            if !text(a) && !text(b) {
                break;
            }
            match rank(a.first()).cmp(&rank(b.first())) {
                Ordering::Equal => (a, b) = (&a[1..], &b[1..]),
                other => return other,
            }
        }
        let number = |s: &[u8]| -> (Vec<u8>, usize) {
            let digits = s.iter().take_while(|c| c.is_ascii_digit()).count();
            let zeros = s[..digits].iter().take_while(|c| **c == b'0').count();
            (s[zeros..digits].to_vec(), digits)
        };
        let ((left, skip_a), (right, skip_b)) = (number(a), number(b));
        match (left.len(), &left).cmp(&(right.len(), &right)) {
            Ordering::Equal => (a, b) = (&a[skip_a..], &b[skip_b..]),
            other => return other,
        }
    }
    Ordering::Equal
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use super::{compare, holds, parse};

    #[test]
    fn versions_are_ordered_as_the_policy_says() {
        for (less, greater) in [
            ("1.0~rc1", "1.0"),
            ("1.0", "1.0-1"),
            ("1.0-9", "1.0-10"),
            ("1.0a", "1.0+"),
            ("9:1", "10:0"),
            ("2.36-9+deb12u9", "2.36-9+deb12u14"),
            ("1.0~~", "1.0~"),
        ] {
            assert_eq!(compare(less, greater), Ordering::Less, "{less} {greater}");
            assert_eq!(compare(greater, less), Ordering::Greater);
        }
        assert_eq!(compare("0:1.00", "1.0"), Ordering::Equal);
        assert!(holds("1.2", "<<", "1.3") && !holds("1.3", "<<", "1.3"));
    }

    #[test]
    fn relations() {
        assert_eq!(parse("a:any (<< 1.0)"), ("a", Some(("<<", "1.0"))));
        assert_eq!(parse("b"), ("b", None));
    }
}
