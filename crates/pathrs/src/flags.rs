//! Flags of open(2).

use std::ops::BitOr;

use rustix::fs::OFlags;

/// How something is opened. `O_CLOEXEC` is always among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFlags(pub(crate) OFlags);

impl OpenFlags {
    /// For reading.
    pub const O_RDONLY: Self = Self(OFlags::RDONLY);
    /// For writing.
    pub const O_WRONLY: Self = Self(OFlags::WRONLY);
    /// Only a directory.
    pub const O_DIRECTORY: Self = Self(OFlags::DIRECTORY);
    /// No symbolic link in the last component.
    pub const O_NOFOLLOW: Self = Self(OFlags::NOFOLLOW);
    /// Made when it is not there.
    pub const O_CREAT: Self = Self(OFlags::CREATE);
    /// It must not be there.
    pub const O_EXCL: Self = Self(OFlags::EXCL);
    /// Closed by execve(2).
    pub const O_CLOEXEC: Self = Self(OFlags::CLOEXEC);
}

impl BitOr for OpenFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}
