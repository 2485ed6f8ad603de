//! Names and permissions of what a store directory holds, and how its files are replaced.
//!
//! | name | mode | what |
//! |---|---|---|
//! | `oci-layout`, `index.json` | 0644 | OCI image layout; `index.json` is the truth about which components there are |
//! | `blobs/sha256/HEX` | 0700 | OCI manifests, component manifests, layers |
//! | `trees/HEX` | 0700 | unpacked layers, by `diff_id`; 0700 above them because trees keep the modes of set-id files |
//! | `loads/` | 0700 | layers that are being unpacked, and the locks of who does it |
//! | `uses/HEX` | 0700 | when and how often the tree of that name was used, and how long its loads took (`history.rs`) |
//! | `ended/…` | 0700 | leases that have ended, until their uses are counted (`lease.rs`) |
//! | `quarantine/HEX` | 0700 | blobs that are not what their name says |
//! | `generated/HEX` | 0700 | layers that compositions made from trees, by the digest of what they are made from |
//! | `catalogue` | 0644 | searched by everybody who plans |
//! | `leases/` | 0700 | one file a container |
//! | `tmp/` | 0700 | what the current writer has not finished |
//! | `lock`, `leases/.lock` | 0600 | writers among each other; leases against removal |

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use crate::error::StoreError;

pub(crate) const LAYOUT: &str = "oci-layout";
pub(crate) const INDEX: &str = "index.json";
pub(crate) const CATALOGUE: &str = "catalogue";
pub(crate) const BLOBS: &str = "blobs/sha256";
pub(crate) const TREES: &str = "trees";
pub(crate) const GENERATED: &str = "generated";
pub(crate) const LOADS: &str = "loads";
pub(crate) const USES: &str = "uses";
pub(crate) const QUARANTINE: &str = "quarantine";
pub(crate) const LEASES: &str = "leases";
pub(crate) const TMP: &str = "tmp";
pub(crate) const LOCK: &str = "lock";
pub(crate) const LEASE_LOCK: &str = "leases/.lock";
/// Leases that have ended, until their uses are counted.
pub(crate) const ENDED: &str = "ended";

/// Directories with their modes, parents first.
pub(crate) const DIRECTORIES: [(&str, u32); 7] = [
    ("", 0o755),
    ("blobs", 0o700),
    (BLOBS, 0o700),
    (TREES, 0o700),
    (GENERATED, 0o700),
    (LEASES, 0o700),
    (TMP, 0o700),
];

/// Makes a directory with exactly `mode` if it is not there.
pub(crate) fn make_directory(path: &Path, mode: u32) -> Result<(), StoreError> {
    match DirBuilder::new().mode(mode).create(path) {
        // the umask may have taken bits away
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(mode))
            .map_err(StoreError::create(path)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(StoreError::create(path)(error)),
    }
}

/// Opens a file of the store for reading; a symbolic link is not one.
pub(crate) fn open_file(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
        .map_err(StoreError::open(path))
}

/// Opens a lock file, made if it is not there.
pub(crate) fn open_lock(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
        .map_err(StoreError::open(path))
}

/// Content of a file of the store of at most `limit` bytes.
pub(crate) fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, StoreError> {
    let file = open_file(path)?;
    let size = file.metadata().map_or(0, |about| about.len()).min(limit);
    // one byte more, or the end would only be seen after making room for more
    let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or_default() + 1);
    file.take(limit + 1)
        .read_to_end(&mut content)
        .map_err(StoreError::read(path))?;
    if content.len() as u64 > limit {
        return Err(StoreError::Format {
            path: path.to_owned(),
            detail: format!("is longer than {limit} bytes"),
        });
    }
    Ok(content)
}

/// Creates `path`, which must not exist, with exactly `mode`, and writes `content`; flushed to disk if `durable`.
pub(crate) fn write_new(
    path: &Path,
    mode: u32,
    content: &[u8],
    durable: bool,
) -> Result<(), StoreError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(StoreError::create(path))?;
    file.write_all(content)
        .and_then(|()| file.set_permissions(Permissions::from_mode(mode)))
        .map_err(StoreError::write(path))?;
    if durable {
        file.sync_all().map_err(StoreError::sync(path))?;
    }
    Ok(())
}

/// Writes a file that has no name before it is whole (open(2), O_TMPFILE): a process that is killed leaves nothing. One of that
/// name is replaced. Whether it was written: not every file system can.
pub(crate) fn write_nameless(path: &Path, mode: u32, content: &[u8]) -> Result<bool, StoreError> {
    use rustix::fs::{AtFlags, CWD, Mode};
    let directory = path.parent().unwrap_or(Path::new("/"));
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let mut file = match rustix::fs::open(directory, flags, Mode::from_raw_mode(0o600)) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR) => return Ok(false),
        other => File::from(other.map_err(StoreError::create(path))?),
    };
    file.write_all(content)
        .and_then(|()| file.set_permissions(Permissions::from_mode(mode)))
        .map_err(StoreError::write(path))?;
    let name = format!("/proc/self/fd/{}", file.as_raw_fd());
    let link = || rustix::fs::linkat(CWD, name.as_str(), CWD, path, AtFlags::SYMLINK_FOLLOW);
    link()
        .or_else(|errno| {
            if errno != rustix::io::Errno::EXIST {
                return Err(errno);
            }
            rustix::fs::unlink(path)?;
            link()
        })
        .map_err(StoreError::create(path))?;
    Ok(true)
}

/// rename(2).
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).map_err(StoreError::rename(from, to))
}

/// Flushes a directory: the names in it.
pub(crate) fn sync_directory(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(StoreError::sync(path))
}
