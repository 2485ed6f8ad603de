//! What a call means in the container's root.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use fragment_sys::notify::Notification;
use fragment_sys::root::{End, Kind, Root};
use serde::{Deserialize, Serialize};

use super::calls::{self, Flags, Shape, Use};

/// PATH_MAX.
const MAX_PATH: usize = 4096;
/// Reads of another process' memory stop at a page that is not there: a path may end just before one.
const PAGE: u64 = 4096;
/// O_CREAT, the same on all architectures we know.
const CREATE: u64 = 0o100;
/// AT_FDCWD, as the low half of an argument.
const WORKING_DIRECTORY: u32 = 0xffff_ff9c;

/// One path, seen by a call.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Sight {
    /// Where the path ends in the container's root, links followed.
    pub(super) path: String,
    pub(super) means: Use,
    pub(super) end: Found,
}

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Found {
    File,
    Directory,
    Other,
    Nothing,
}

/// What the call of `notification` is about to see; `None` for what is none of ours, cannot be read, or makes a file.
pub(super) fn see(notification: &Notification) -> Option<Sight> {
    let shape = calls::shape_of(notification.architecture, notification.call)?;
    let thread = notification.thread;
    if thread == 0 {
        return None;
    }
    let memory = File::open(format!("/proc/{thread}/mem")).ok()?;
    let given = text(&memory, notification.arguments[shape.path])?;
    let path = absolute(thread, shape, notification, &given)?;
    let root = Root::open(format!("/proc/{thread}/root")).ok()?;
    let trace = root.trace(&path).ok()?;
    let (path, end) = match trace.end {
        End::Missing(path) => (path, Found::Nothing),
        End::Found(found) => {
            let end = match found.kind {
                Kind::File => Found::File,
                Kind::Directory => Found::Directory,
                _ => Found::Other,
            };
            (found.path, end)
        }
    };
    if end == Found::Nothing && creates(&memory, shape, notification) {
        return None;
    }
    Some(Sight {
        path,
        means: shape.means,
        end,
    })
}

fn creates(memory: &File, shape: &Shape, notification: &Notification) -> bool {
    let flags = match shape.flags {
        Flags::None => return false,
        Flags::Argument(at) => notification.arguments[at],
        Flags::Structure(at) => {
            let mut bytes = [0; 8];
            match memory.read_exact_at(&mut bytes, notification.arguments[at]) {
                Ok(()) => u64::from_ne_bytes(bytes),
                Err(_) => return false,
            }
        }
    };
    flags & CREATE != 0
}

/// The text at `address`, which ends with a zero byte.
fn text(memory: &File, address: u64) -> Option<String> {
    let mut bytes = Vec::new();
    let mut at = address;
    while bytes.len() < MAX_PATH {
        let length = usize::try_from(PAGE - at % PAGE).ok()?;
        let start = bytes.len();
        bytes.resize(start + length, 0);
        let read = memory.read_at(&mut bytes[start..], at).ok()?;
        if read == 0 {
            return None;
        }
        bytes.truncate(start + read);
        if let Some(end) = bytes[start..].iter().position(|byte| *byte == 0) {
            bytes.truncate(start + end);
            return String::from_utf8(bytes).ok().filter(|t| !t.is_empty());
        }
        at = at.checked_add(u64::try_from(read).ok()?)?;
    }
    None
}

/// `given` from the root of the container.
fn absolute(
    thread: u32,
    shape: &Shape,
    notification: &Notification,
    given: &str,
) -> Option<String> {
    if given.starts_with('/') {
        return Some(given.to_owned());
    }
    // descriptors are ints: the upper half of the register is not theirs
    let directory = shape
        .directory
        .map(|at| (notification.arguments[at] & 0xffff_ffff) as u32)
        .filter(|number| *number != WORKING_DIRECTORY);
    let link = match directory {
        Some(number) => format!("/proc/{thread}/fd/{number}"),
        None => format!("/proc/{thread}/cwd"),
    };
    // seen from the root of its mount namespace, which a container's root is
    let directory = fs::read_link(link).ok()?;
    let directory = directory.to_str()?;
    directory
        .starts_with('/')
        .then(|| format!("{}/{given}", directory.trim_end_matches('/')))
}
