//! The mounts of this process's namespace (proc_pid_mountinfo(5)).

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MountInfo {
    /// Mount id, as statx(2) tells it.
    pub(crate) id: u64,
    /// Mount id of the mount it lies on.
    pub(crate) parent: u64,
    /// Device number, `major:minor`.
    pub(crate) device: String,
    /// Which directory of its filesystem is its root.
    pub(crate) root: PathBuf,
    /// Where it lies.
    pub(crate) point: PathBuf,
    /// Options of the mount.
    pub(crate) attributes: Vec<String>,
    /// Type of the filesystem.
    pub(crate) kind: String,
    /// What was named as its source.
    pub(crate) source: String,
    /// Options of the filesystem, decoded: `key=value` or a flag each.
    pub(crate) options: Vec<String>,
}

/// All mounts, in the order they were made.
pub(crate) fn read() -> io::Result<Vec<MountInfo>> {
    Ok(parse(&std::fs::read("/proc/self/mountinfo")?))
}

/// Lines that are not of the documented form are left out: there are none.
fn parse(text: &[u8]) -> Vec<MountInfo> {
    text.split(|byte| *byte == b'\n')
        .filter_map(parse_line)
        .collect()
}

fn parse_line(line: &[u8]) -> Option<MountInfo> {
    let mut fields = line.split(|byte| *byte == b' ');
    let mut next = || fields.next();
    let id = number(next()?)?;
    let parent = number(next()?)?;
    let device = text(next()?);
    let root = path(next()?);
    let point = path(next()?);
    let attributes = list(next()?);
    // optional fields, about propagation, up to a dash
    while next()? != b"-" {}
    Some(MountInfo {
        id,
        parent,
        device,
        root,
        point,
        attributes,
        kind: text(next()?),
        source: text(next()?),
        options: list(next()?),
    })
}

fn number(field: &[u8]) -> Option<u64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

fn path(field: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(decode(field)))
}

/// Bytes that are no UTF-8 come out as U+FFFD, which no file of ours has in its name.
fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(&decode(field)).into_owned()
}

/// A comma in a value is written as an octal escape (`seq_show_option` in include/linux/seq_file.h).
fn list(field: &[u8]) -> Vec<String> {
    let options = field.split(|byte| *byte == b',');
    options.map(text).collect()
}

/// Undoes `\ooo`.
fn decode(field: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let escape = after.get(..3).filter(|_| byte == b'\\').and_then(octal);
        decoded.push(escape.unwrap_or(byte));
        rest = escape.map_or(after, |_| &after[3..]);
    }
    decoded
}

fn octal(digits: &[u8]) -> Option<u8> {
    digits.iter().try_fold(0_u8, |value, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 8)?;
        value.checked_mul(8)?.checked_add(digit)
    })
}

impl MountInfo {
    /// The value of the filesystem's option `key`.
    pub(crate) fn option(&self, key: &str) -> Option<&str> {
        let mut options = self.options.iter();
        options.find_map(|option| option.strip_prefix(key)?.strip_prefix('='))
    }

    /// The path at which this mount shows the directory that is `path` in its filesystem.
    pub(crate) fn shows(&self, path: &Path) -> Option<PathBuf> {
        let below = path.strip_prefix(&self.root).ok()?;
        Some(if below.as_os_str().is_empty() {
            self.point.clone()
        } else {
            self.point.join(below)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = br"27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
91 27 0:39 / /srv/a\040b rw,nodev master:3 propagate_from:2 - overlay overlay rw,lowerdir=/l/a:/l/b,upperdir=/u\054v,workdir=/w,redirect_dir=on
92 27 254:0 /srv/x /mnt/x rw shared:7 - ext4 /dev/vda rw
broken line
";

    #[test]
    fn a_line_is_taken_apart_and_decoded() {
        let mounts = parse(TEXT);
        assert_eq!(mounts.len(), 3);
        let overlay = &mounts[1];
        assert_eq!((overlay.id, overlay.parent), (91, 27));
        assert_eq!(overlay.point, Path::new("/srv/a b"));
        assert_eq!(overlay.attributes, ["rw", "nodev"]);
        assert_eq!(
            (overlay.kind.as_str(), overlay.source.as_str()),
            ("overlay", "overlay")
        );
        assert_eq!(overlay.option("lowerdir"), Some("/l/a:/l/b"));
        assert_eq!(overlay.option("upperdir"), Some("/u,v"));
        assert_eq!(overlay.option("lower"), None);
    }

    #[test]
    fn a_directory_is_found_through_another_mount_of_its_filesystem() {
        let mounts = parse(TEXT);
        assert_eq!(mounts[0].shows(Path::new("/srv/x")), Some("/srv/x".into()));
        assert_eq!(mounts[2].shows(Path::new("/srv/x")), Some("/mnt/x".into()));
        assert_eq!(mounts[2].shows(Path::new("/srv/xy")), None);
    }

    #[test]
    fn what_is_no_escape_is_kept() {
        for (given, expected) in [
            (&br"a\134b"[..], &br"a\b"[..]),
            (br"\40", br"\40"),
            (br"\777", br"\777"),
            (br"\08x", br"\08x"),
            (br"\", br"\"),
        ] {
            assert_eq!(decode(given), expected);
        }
    }
}
