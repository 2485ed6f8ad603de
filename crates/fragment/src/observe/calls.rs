//! The system calls that name files.

/// How a call uses its path.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Use {
    /// It is only looked at: stat, access, readlink.
    Look,
    /// It is opened.
    Open,
    /// It is executed.
    Execute,
}

/// Where a call has what we want of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) name: &'static str,
    pub(super) means: Use,
    /// Argument that is a descriptor of the directory a relative path starts at; else the working directory.
    pub(super) directory: Option<usize>,
    /// Argument that points to the path.
    pub(super) path: usize,
    pub(super) flags: Flags,
    /// Numbers: x86-64, i386, arm64; negative where the architecture has no such call.
    numbers: [i32; 3],
}

/// Where the flags are that tell whether a file is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flags {
    /// It makes no file.
    None,
    /// In this argument.
    Argument(usize),
    /// In the first eight bytes of the structure that this argument points to.
    Structure(usize),
}

const fn shape(
    name: &'static str,
    means: Use,
    directory: Option<usize>,
    path: usize,
    flags: Flags,
    numbers: [i32; 3],
) -> Shape {
    Shape {
        name,
        means,
        directory,
        path,
        flags,
        numbers,
    }
}

/// AUDIT_ARCH_X86_64, AUDIT_ARCH_I386, AUDIT_ARCH_AARCH64 (linux/audit.h).
const ARCHITECTURES: [u32; 3] = [0xc000_003e, 0x4000_0003, 0xc000_00b7];
/// Numbers of x32 are those of x86-64 with this bit, as far as our calls go but execve and execveat.
const X32: i32 = 0x4000_0000;

use Flags::{Argument, None as No, Structure};
use Use::{Execute, Look, Open};

const SHAPES: [Shape; 19] = [
    shape("open", Open, None, 0, Argument(1), [2, 5, -1]),
    shape("openat", Open, Some(0), 1, Argument(2), [257, 295, 56]),
    shape("openat2", Open, Some(0), 1, Structure(2), [437, 437, 437]),
    shape("execve", Execute, None, 0, No, [59, 11, 221]),
    shape("execveat", Execute, Some(0), 1, No, [322, 358, 281]),
    shape("stat", Look, None, 0, No, [4, 106, -1]),
    shape("lstat", Look, None, 0, No, [6, 107, -1]),
    shape("stat64", Look, None, 0, No, [-1, 195, -1]),
    shape("lstat64", Look, None, 0, No, [-1, 196, -1]),
    shape("newfstatat", Look, Some(0), 1, No, [262, -1, 79]),
    shape("fstatat64", Look, Some(0), 1, No, [-1, 300, -1]),
    shape("statx", Look, Some(0), 1, No, [332, 383, 291]),
    shape("access", Look, None, 0, No, [21, 33, -1]),
    shape("faccessat", Look, Some(0), 1, No, [269, 307, 48]),
    shape("faccessat2", Look, Some(0), 1, No, [439, 439, 439]),
    shape("readlink", Look, None, 0, No, [89, 85, -1]),
    shape("readlinkat", Look, Some(0), 1, No, [267, 305, 78]),
    shape("chdir", Look, None, 0, No, [80, 12, 49]),
    shape("statfs", Look, None, 0, No, [137, 99, 43]),
];

/// Their names.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    SHAPES.iter().map(|shape| shape.name)
}

/// The call of this number and architecture, if it is one of ours.
pub(super) fn shape_of(architecture: u32, number: i32) -> Option<&'static Shape> {
    let column = ARCHITECTURES.iter().position(|a| *a == architecture)?;
    let number = match (column, number & !X32) {
        (0, 520) if number & X32 != 0 => 59,
        (0, 545) if number & X32 != 0 => 322,
        (0, plain) => plain,
        _ => number,
    };
    SHAPES
        .iter()
        .find(|shape| number >= 0 && shape.numbers[column] == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_known_by_architecture_and_number() {
        for (architecture, number, expected) in [
            (0xc000_003e, 257, Some("openat")),
            (0xc000_003e, X32 | 257, Some("openat")),
            (0xc000_003e, X32 | 520, Some("execve")),
            (0xc000_003e, 1, None),
            (0x4000_0003, 5, Some("open")),
            (0x4000_0003, 257, None),
            (0xc000_00b7, 56, Some("openat")),
            (0xc000_00b7, -1, None),
            (0, 257, None),
        ] {
            let found = shape_of(architecture, number).map(|shape| shape.name);
            assert_eq!(found, expected, "{architecture:#x} {number}");
        }
    }
}
