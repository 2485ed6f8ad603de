//! The dynamic loader's cache, in the format of glibc 2.2 and later (sysdeps/generic/dl-cache.h: `cache_file_new`).
//!
//! It holds what the loader would not find by itself: a library that is not in it is looked for in the default directories.

use std::cmp::Ordering;

use fragment_types::catalogue::CachedObject;
use fragment_types::manifest::Machine;

/// Where it lies.
pub const CACHE: &str = "/etc/ld.so.cache";
const MAGIC: &[u8; 20] = b"glibc-ld.so.cache1.1";
const HEADER: usize = 48;
const ENTRY: usize = 24;
/// `cache_file_new_flags_endian_current` of a little-endian machine.
const LITTLE_ENDIAN: u8 = 2;

/// The bytes of a cache of `objects`.
#[must_use]
pub fn cache(objects: &[CachedObject]) -> Vec<u8> {
    let mut objects: Vec<_> = objects
        .iter()
        .filter_map(|object| Some((object, flags(object.machine)?)))
        .filter(|(object, _)| !object.soname.contains('\0') && !object.path.contains('\0'))
        .collect();
    // the loader searches by bisection, from the greatest to the least
    objects.sort_by(|(a, x), (b, y)| {
        compare(b.soname.as_bytes(), a.soname.as_bytes())
            .then(y.cmp(x))
            .then(a.path.cmp(&b.path))
    });
    let mut strings = Vec::new();
    let start = HEADER + ENTRY * objects.len();
    let mut entries = Vec::with_capacity(start - HEADER);
    for (object, flags) in &objects {
        let mut offset = |text: &str| {
            let at = start + strings.len();
            strings.extend_from_slice(text.as_bytes());
            strings.push(0);
            number(at)
        };
        let (key, value) = (offset(&object.soname), offset(&object.path));
        entries.extend_from_slice(&flags.to_le_bytes());
        entries.extend_from_slice(&key);
        entries.extend_from_slice(&value);
        // osversion, and hwcap: none
        entries.extend_from_slice(&[0; 12]);
    }
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&number(objects.len()));
    bytes.extend_from_slice(&number(strings.len()));
    bytes.push(LITTLE_ENDIAN);
    // padding, no extensions, unused
    bytes.resize(HEADER, 0);
    bytes.extend_from_slice(&entries);
    bytes.extend_from_slice(&strings);
    bytes
}

fn number(number: usize) -> [u8; 4] {
    u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes()
}

/// `FLAG_ELF_LIBC6` and what the loader of the machine asks for (sysdeps/generic/ldconfig.h); none: its loader has no cache of
/// ours.
fn flags(machine: Machine) -> Option<u32> {
    match machine {
        Machine::X86_64 => Some(0x0303),
        Machine::Aarch64 => Some(0x0a03),
        Machine::I386 => Some(0x0003),
        Machine::Other => None,
    }
}

/// `_dl_cache_libcmp` (elf/dl-cache.c): digits compare as numbers, and come after everything else.
fn compare(mut a: &[u8], mut b: &[u8]) -> Ordering {
    loop {
        match (a.first(), b.first()) {
            (Some(x), Some(y)) if x.is_ascii_digit() && y.is_ascii_digit() => {
                let ((m, left), (n, right)) = (digits(a), digits(b));
                if m != n {
                    return m.cmp(&n);
                }
                (a, b) = (left, right);
            }
            (Some(x), Some(y)) if x == y => (a, b) = (&a[1..], &b[1..]),
            (Some(x), _) if x.is_ascii_digit() => return Ordering::Greater,
            (Some(_), Some(y)) if y.is_ascii_digit() => return Ordering::Less,
            // `char` is signed where this format is read
            (x, y) => {
                let signed = |byte: Option<&u8>| byte.copied().unwrap_or(0).cast_signed();
                return signed(x).cmp(&signed(y));
            }
        }
    }
}

/// The number that `text` begins with, modulo 2^32 as the loader's `int` makes of it, and the rest.
fn digits(text: &[u8]) -> (i32, &[u8]) {
    let end = text
        .iter()
        .position(|b| !b.is_ascii_digit())
        .unwrap_or(text.len());
    let value = text[..end].iter().fold(0i32, |value, digit| {
        value.wrapping_mul(10).wrapping_add(i32::from(digit - b'0'))
    });
    (value, &text[end..])
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use fragment_types::catalogue::CachedObject;
    use fragment_types::manifest::Machine;

    use super::{Ordering, cache, compare};

    fn object(soname: &str, path: &str, machine: Machine) -> CachedObject {
        CachedObject {
            soname: soname.to_owned(),
            path: path.to_owned(),
            machine,
        }
    }

    #[test]
    fn names_are_ordered_as_the_loader_orders_them() {
        for (a, b, order) in [
            ("liba.so.2", "liba.so.10", Ordering::Less),
            ("liba.so.1", "liba.so", Ordering::Greater),
            ("liba1.so", "liba.so", Ordering::Greater),
            ("liba.so", "liba1.so", Ordering::Less),
            ("liba.so", "libb.so", Ordering::Less),
            ("liba.so", "liba.so", Ordering::Equal),
            ("", "1", Ordering::Less),
            ("a\u{e9}", "ab", Ordering::Less),
        ] {
            assert_eq!(compare(a.as_bytes(), b.as_bytes()), order, "{a} {b}");
        }
    }

    /// The distribution's own reader (package libc-bin) sees what was written.
    #[test]
    fn ldconfig_reads_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ld.so.cache");
        let objects = [
            object("libb.so.2", "/opt/b/libb.so.2.1", Machine::X86_64),
            object("libb.so.10", "/opt/b/libb.so.10", Machine::X86_64),
            object("liba.so.1", "/opt/a/liba.so.1", Machine::X86_64),
            object("libm.so", "/opt/m/libm.so", Machine::Other),
        ];
        std::fs::write(&file, cache(&objects)).unwrap();
        let output = Command::new("/sbin/ldconfig")
            .args(["-p", "-C"])
            .arg(&file)
            .output()
            .expect("package libc-bin");
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert!(lines[0].starts_with("3 libs found"), "{text}");
        assert_eq!(
            &lines[1..],
            [
                "libb.so.10 (libc6,x86-64) => /opt/b/libb.so.10",
                "libb.so.2 (libc6,x86-64) => /opt/b/libb.so.2.1",
                "liba.so.1 (libc6,x86-64) => /opt/a/liba.so.1",
            ]
        );
    }

    #[test]
    fn nothing_makes_an_empty_cache() {
        assert_eq!(cache(&[]).len(), 48);
    }
}
