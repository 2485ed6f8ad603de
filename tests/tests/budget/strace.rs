//! What strace(1) writes, as counts.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::calls::Counts;

/// What of the calls depends on where the machine keeps its files.
#[derive(Debug, Default)]
pub(crate) struct Places(Vec<PathBuf>);

impl Places {
    /// Paths of the test and of the library. How deep they lie is the machine's affair: looks at the directories above them, as
    /// realpath(3) has them, are not counted.
    pub(crate) fn of(paths: &[&Path]) -> Self {
        let real = paths.iter().filter_map(|path| path.canonicalize().ok());
        let above = real.flat_map(|path| {
            path.ancestors()
                .skip(1)
                .map(Path::to_owned)
                .collect::<Vec<_>>()
        });
        Self(above.collect())
    }

    fn is_above(&self, path: &str) -> bool {
        self.0.iter().any(|above| above == Path::new(path))
    }
}

/// Counts the calls in lines of `strace -f -y`. `root` is the process of the command. What it made is counted until it executes
/// another program, which is the container's: a container's own calls are nobody's budget.
pub(crate) fn count<'a>(
    lines: impl IntoIterator<Item = &'a str>,
    root: &str,
    places: &Places,
) -> Counts {
    let mut counts = Counts::default();
    let mut gone = BTreeSet::new();
    let mut table_of = None;
    for (process, rest) in lines.into_iter().filter_map(process_and_rest) {
        if gone.contains(process) {
            continue;
        }
        let resumed = rest.strip_prefix("<... ");
        let name: String = resumed
            .unwrap_or(rest)
            .chars()
            .take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_')
            .collect();
        let executed = name.starts_with("execve") && rest.ends_with(" = 0");
        let is_call = resumed.is_none() && rest[name.len()..].starts_with('(');
        if is_call && !places.is_look_above(&name, rest) {
            // how many pieces a table of mounts is read in depends on the machine's mounts
            let table = (name == "read").then(|| machine_table(rest)).flatten();
            let again = table.is_some() && table_of == Some((process.to_owned(), table));
            table_of = table.is_some().then(|| (process.to_owned(), table));
            if !again {
                counts.add(&name);
            }
        }
        if executed && process != root {
            gone.insert(process.to_owned());
        }
    }
    counts
}

/// The number of the process of a line, and what it did.
pub(crate) fn process_and_rest(line: &str) -> Option<(&str, &str)> {
    let (process, rest) = line.split_once(' ')?;
    Some((process, rest.trim_start()))
}

impl Places {
    fn is_look_above(&self, name: &str, call: &str) -> bool {
        let path = call.split('"').nth(1);
        name == "readlink"
            && call.ends_with("EINVAL (Invalid argument)")
            && path.is_some_and(|path| self.is_above(path))
    }
}

/// The descriptor of a file of /proc whose length is the machine's affair.
fn machine_table(call: &str) -> Option<&str> {
    let (descriptor, _) = call.split_once('>')?;
    ["/mountinfo", "/cgroup"]
        .iter()
        .any(|name| descriptor.ends_with(name))
        .then_some(descriptor)
}

/// The process of the first line.
pub(crate) fn first_process(text: &str) -> &str {
    text.split(' ').next().expect("a process")
}

/// Whether `root` has exited.
pub(crate) fn has_exited(text: &str, root: &str) -> bool {
    text.lines()
        .any(|line| line.starts_with(root) && line.contains("+++ exited with "))
}

/// The processes that have not ended.
pub(crate) fn alive(text: &str) -> BTreeSet<&str> {
    let mut processes = BTreeSet::new();
    for line in text.lines() {
        let process = first_process(line);
        if line.contains(" +++ ") {
            processes.remove(process);
        } else {
            processes.insert(process);
        }
    }
    processes
}

#[cfg(test)]
const LOG: &str = r#"10 execve("/bin/x", ["x"], 0x7 /* 3 vars */) = 0
10 readlink("/home", 0x7ffc, 1023)      = -1 EINVAL (Invalid argument)
10 readlink("/home/library", 0x7ffc, 1023) = -1 EINVAL (Invalid argument)
10 read(3</proc/10/mountinfo>, "a"..., 32) = 32
10 read(3</proc/10/mountinfo>, "b"..., 64) = 2
10 clone3({flags=0}, 88)                = 11
11 openat(AT_FDCWD</>, "/x", O_RDONLY <unfinished ...>
10 close(3)                             = 0
11 <... openat resumed>)                = 3</x>
11 execve("/bin/true", ["true"], 0x5 <unfinished ...>
10 exit_group(0)                        = ?
10 +++ exited with 0 +++
11 <... execve resumed>)                = 0
11 openat(AT_FDCWD</>, "/of/the/container", O_RDONLY) = 3
11 --- SIGTERM {si_signo=SIGTERM} ---
"#;

#[test]
fn calls_of_a_command_are_counted_and_those_of_its_container_are_not() {
    let places = Places(vec!["/home".into(), "/".into()]);
    let counts = count(LOG.lines(), "10", &places);
    let of = |name: &str| counts.of(name);
    assert_eq!((of("execve"), of("openat"), of("close")), (2, 1, 1));
    assert_eq!((of("readlink"), of("read"), of("clone3")), (1, 1, 1));
    assert_eq!(counts.by_kind()["total"], 8);
    assert_eq!(first_process(LOG), "10");
    assert!(has_exited(LOG, "10") && !has_exited(LOG, "11"));
    assert_eq!(alive(LOG), BTreeSet::from(["11"]));
}
