//! System calls by kind.
//!
//! A kind is what a call is for, not how it is spelled: a budget is to notice that a file is opened more often, not that openat2(2)
//! took the place of openat(2).

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The columns of the table.
pub(crate) const KINDS: [&str; 10] = [
    "total", "process", "mount", "open", "stat", "read", "write", "flush", "close", "other",
];

/// What kind of call `name` is.
fn kind(name: &str) -> &'static str {
    match name {
        "clone" | "clone3" | "fork" | "vfork" | "execve" | "execveat" | "unshare" | "setns" => {
            "process"
        }
        "mount" | "umount2" | "pivot_root" | "fsopen" | "fsconfig" | "fsmount" | "fspick"
        | "move_mount" | "open_tree" | "mount_setattr" => "mount",
        "open" | "openat" | "openat2" | "creat" | "memfd_create" | "socket" | "socketpair"
        | "pipe2" | "dup" | "dup2" | "dup3" => "open",
        "stat" | "lstat" | "fstat" | "newfstatat" | "statx" | "statfs" | "fstatfs" | "access"
        | "faccessat" | "faccessat2" => "stat",
        "read" | "pread64" | "readv" | "getdents64" | "readlink" | "readlinkat" | "getcwd" => {
            "read"
        }
        "write" | "pwrite64" | "writev" | "ftruncate" | "rename" | "renameat" | "renameat2"
        | "link" | "linkat" | "unlink" | "unlinkat" | "mkdir" | "mkdirat" | "rmdir" | "symlink"
        | "symlinkat" | "mknod" | "mknodat" | "chmod" | "fchmod" | "fchmodat" | "chown"
        | "fchown" | "fchownat" | "lchown" | "utimensat" => "write",
        "fsync" | "fdatasync" | "sync" | "syncfs" | "msync" => "flush",
        "close" | "close_range" => "close",
        _ => "other",
    }
}

/// How often each call was made.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Counts(BTreeMap<String, u64>);

impl Counts {
    /// Counts one call.
    pub(crate) fn add(&mut self, name: &str) {
        *self.0.entry(name.to_owned()).or_default() += 1;
    }

    /// Adds those of another process.
    pub(crate) fn extend(&mut self, other: &Self) {
        for (name, count) in &other.0 {
            *self.0.entry(name.clone()).or_default() += count;
        }
    }

    /// How often `name` was called.
    #[cfg(test)]
    pub(crate) fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// By [`KINDS`].
    pub(crate) fn by_kind(&self) -> BTreeMap<String, u64> {
        let mut kinds: BTreeMap<String, u64> = KINDS.map(|kind| (kind.to_owned(), 0)).into();
        for (name, count) in &self.0 {
            for column in ["total", kind(name)] {
                *kinds.get_mut(column).expect("a column") += count;
            }
        }
        kinds
    }

    /// Each call, the most frequent first.
    pub(crate) fn told(&self) -> String {
        let mut calls: Vec<_> = self.0.iter().collect();
        calls.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let mut text = String::new();
        for (name, count) in calls {
            let _ = write!(text, "{name} {count}, ");
        }
        text.trim_end_matches(", ").to_owned()
    }
}

#[test]
fn calls_are_counted_by_kind() {
    let mut counts = Counts::default();
    for name in ["openat", "openat2", "close", "fsync", "gettid"] {
        counts.add(name);
    }
    let kinds = counts.by_kind();
    assert_eq!((kinds["total"], kinds["open"]), (5, 2));
    assert_eq!((kinds["flush"], kinds["other"], kinds["stat"]), (1, 1, 0));
    assert_eq!(counts.of("fsync"), 1);
}
