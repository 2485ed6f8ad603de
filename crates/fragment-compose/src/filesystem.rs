//! Filesystems by their magic number, and which of them can hold an overlay's upper directory.

use std::fmt;

/// The filesystem of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filesystem {
    /// ext2, ext3 or ext4.
    Ext,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
    /// F2FS.
    F2fs,
    /// tmpfs.
    Tmpfs,
    /// overlayfs: what container engines mount.
    Overlay,
    /// FUSE, among it fuse-overlayfs.
    Fuse,
    /// NFS.
    Nfs,
    /// A filesystem for reading only: EROFS, SquashFS, ISO 9660.
    ReadOnly,
    /// Another, with its magic number.
    Other(u64),
}

impl Filesystem {
    /// The filesystem with this magic number (statfs(2), linux/magic.h).
    #[must_use]
    pub fn from_magic(magic: u64) -> Self {
        match magic {
            0xef53 => Self::Ext,
            0x5846_5342 => Self::Xfs,
            0x9123_683e => Self::Btrfs,
            0xf2f5_2010 => Self::F2fs,
            0x0102_1994 => Self::Tmpfs,
            0x794c_7630 => Self::Overlay,
            0x6573_5546 => Self::Fuse,
            0x6969 => Self::Nfs,
            0xe0f5_e1e2 | 0x7371_7368 | 0x9660 => Self::ReadOnly,
            other => Self::Other(other),
        }
    }

    /// The filesystem that statfs(2) tells of.
    #[must_use]
    pub fn of(statfs: &rustix::fs::StatFs) -> Self {
        // the word is signed in some C libraries; magic numbers have 32 bits
        #[expect(clippy::cast_sign_loss, reason = "only the bits count")]
        Self::from_magic(statfs.f_type as u64 & 0xffff_ffff)
    }

    /// Whether the kernel takes a directory of it as upper directory and every feature works there: `trusted.*` extended
    /// attributes, `d_type` in directories, RENAME_WHITEOUT and O_TMPFILE (overlayfs.rst, "Upper and lower
    /// filesystems"). Those that are not known to are not tried on somebody's rootfs.
    #[must_use]
    pub fn holds_upper(self) -> bool {
        matches!(
            self,
            Self::Ext | Self::Xfs | Self::Btrfs | Self::F2fs | Self::Tmpfs
        )
    }
}

impl fmt::Display for Filesystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ext => "ext4",
            Self::Xfs => "XFS",
            Self::Btrfs => "Btrfs",
            Self::F2fs => "F2FS",
            Self::Tmpfs => "tmpfs",
            Self::Overlay => "overlayfs",
            Self::Fuse => "FUSE",
            Self::Nfs => "NFS",
            Self::ReadOnly => "a read-only filesystem",
            Self::Other(magic) => return write!(f, "a filesystem with magic number {magic:#x}"),
        })
    }
}
