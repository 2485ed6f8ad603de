//! Which files of a directory tree are opened, by inotify(7): watches belong to inodes, so that what a container opens below
//! its bind mount of the tree is seen too, and its path needs no translation.

use std::collections::{BTreeSet, HashMap};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use crate::error::ImageError;
use crate::inventory::Inventory;

/// Room for some hundred events.
const BUFFER: usize = 64 << 10;

/// Watches every directory of a tree.
#[derive(Debug)]
pub(crate) struct Observer {
    inotify: OwnedFd,
    directories: HashMap<i32, String>,
    /// Paths as the tree spells them.
    pub(crate) opened: BTreeSet<String>,
    /// Whether events were lost.
    pub(crate) lost: bool,
}

impl Observer {
    /// Watches the directories of `inventory`.
    pub(crate) fn new(inventory: &Inventory) -> Result<Self, ImageError> {
        let flags = CreateFlags::NONBLOCK | CreateFlags::CLOEXEC;
        let mut observer = Self {
            inotify: inotify::init(flags)
                .map_err(ImageError::io("watch", inventory.host_path()))?,
            directories: HashMap::new(),
            opened: BTreeSet::new(),
            lost: false,
        };
        let directories = inventory.nodes.values().filter(|node| node.is_directory());
        for node in directories {
            let path = inventory
                .host_path()
                .join(node.real.trim_start_matches('/'));
            let flags = WatchFlags::OPEN | WatchFlags::ONLYDIR | WatchFlags::DONT_FOLLOW;
            let watch = inotify::add_watch(&observer.inotify, &path, flags)
                .map_err(ImageError::io("watch", &path))?;
            observer.directories.insert(watch, node.real.clone());
        }
        Ok(observer)
    }

    /// Takes the events that have come.
    pub(crate) fn drain(&mut self) -> Result<(), ImageError> {
        let mut buffer = vec![MaybeUninit::uninit(); BUFFER];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        loop {
            let event = match reader.next() {
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => continue,
                other => other.map_err(ImageError::io("watch", "the whole image"))?,
            };
            self.lost |= event.events().contains(ReadFlags::QUEUE_OVERFLOW);
            let directory = self.directories.get(&event.wd());
            let name = event.file_name().and_then(|name| name.to_str().ok());
            if let (Some(directory), Some(name)) = (directory, name) {
                self.opened
                    .insert(format!("{}/{name}", directory.trim_end_matches('/')));
            }
        }
    }
}
