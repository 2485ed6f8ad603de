//! The binary whose figures are measured.

use std::fs;

use fragment_tests::fragment;

/// Why the binary under test is none that budgets are for, if it is none.
pub(crate) fn is_no_release() -> Option<String> {
    let path = fragment::runtime_program();
    let Ok(bytes) = fs::read(&path) else {
        return Some(format!("{} cannot be read", path.display()));
    };
    // a program that names a loader is linked dynamically, as Cargo's own builds are
    let loader: &[u8] = b"ld-linux";
    let is_dynamic = program_interpreter(&bytes)
        .is_some_and(|name| name.windows(loader.len()).any(|window| window == loader));
    is_dynamic.then(|| {
        format!(
            "{} is none of hack/build: its loader and its code cost something else",
            path.display()
        )
    })
}

/// The bytes of the segment of type `PT_INTERP` (elf(5)).
fn program_interpreter(bytes: &[u8]) -> Option<&[u8]> {
    const HEADER_OFFSET: usize = 32;
    const HEADER_SIZE: usize = 54;
    const PT_INTERP: u64 = 3;
    let number = |at: usize, size: usize| {
        let field = bytes.get(at..at + size)?;
        Some(
            field
                .iter()
                .rev()
                .fold(0u64, |number, byte| number << 8 | u64::from(*byte)),
        )
    };
    let table = usize::try_from(number(HEADER_OFFSET, 8)?).ok()?;
    let (size, count) = (number(HEADER_SIZE, 2)?, number(HEADER_SIZE + 2, 2)?);
    let mut headers = (0..count).filter_map(|at| usize::try_from(at * size).ok());
    let header = headers.find(|at| number(table + at, 4) == Some(PT_INTERP))? + table;
    let from = usize::try_from(number(header + 8, 8)?).ok()?;
    let length = usize::try_from(number(header + 32, 8)?).ok()?;
    bytes.get(from..from + length)
}
