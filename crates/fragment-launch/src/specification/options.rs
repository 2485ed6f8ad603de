//! The options of a mount, sorted by who acts on them: mount_setattr(2), the file system, or nobody but the runtime.

use fragment_sys::mount::attribute_of;
use libcontainer::oci_spec::runtime::Mount;

/// `MOUNT_ATTR__ATIME` (mount_setattr(2)): one setting in three bits.
const ATIME: u64 = 0x70;

/// Propagation types, as options and as values of `rootfsPropagation`.
pub(crate) const PROPAGATIONS: [&str; 8] = [
    "private",
    "rprivate",
    "shared",
    "rshared",
    "slave",
    "rslave",
    "unbindable",
    "runbindable",
];

/// Attributes to set and to clear.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) set: u64,
    pub(crate) clear: u64,
}

impl Attributes {
    /// The later of two options wins.
    fn add(&mut self, bits: u64, set: bool) {
        if bits & ATIME != 0 {
            self.set &= !ATIME;
        }
        if set {
            self.set |= bits;
            self.clear &= !bits;
        } else {
            self.clear |= bits;
            self.set &= !bits;
        }
    }

    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// What the options of one mount ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// `bind` or `rbind`.
    pub(crate) bind: bool,
    /// `rbind`.
    pub(crate) recursive: bool,
    /// For the mount alone.
    pub(crate) attributes: Attributes,
    /// For the mount and all below it: `rro`, `rnosuid`, …
    pub(crate) recursive_attributes: Attributes,
    /// `idmap` (false) or `ridmap` (true).
    pub(crate) idmap: Option<bool>,
    /// `tmpcopyup`.
    pub(crate) copied: bool,
    /// Propagation types, in order.
    pub(crate) propagations: Vec<String>,
    /// For the file system.
    pub(crate) data: Vec<String>,
}

impl Options {
    pub(crate) fn of(mount: &Mount) -> Self {
        let mut options = Self {
            // as libcontainer and crun have it; runc wants the option
            bind: mount.typ().as_deref() == Some("bind"),
            ..Self::default()
        };
        for option in mount.options().iter().flatten() {
            options.add(option);
        }
        options
    }

    fn add(&mut self, option: &str) {
        if let Some((bits, set)) = attribute_of(option) {
            self.attributes.add(bits, set);
            return;
        }
        if let Some((bits, set)) = option.strip_prefix('r').and_then(attribute_of) {
            self.recursive_attributes.add(bits, set);
            return;
        }
        match option {
            "bind" => self.bind = true,
            "rbind" => {
                self.bind = true;
                self.recursive = true;
            }
            "idmap" => self.idmap = Some(false),
            "ridmap" => self.idmap = Some(true),
            "tmpcopyup" => self.copied = true,
            // "silent" and "loud" are about the kernel's log; the others say nothing a new mount is not already
            "notmpcopyup" | "defaults" | "remount" | "silent" | "loud" | "" => {}
            option if PROPAGATIONS.contains(&option) => {
                self.propagations.push(option.to_owned());
            }
            option => self.data.push(option.to_owned()),
        }
    }

    /// Whether a new file system of the mount is to be read-only.
    pub(crate) fn is_read_only(&self) -> bool {
        self.attributes.set & read_only_bit() != 0
    }
}

/// `MOUNT_ATTR_RDONLY`.
pub(crate) fn read_only_bit() -> u64 {
    attribute_of("ro").map_or(0, |(bit, _)| bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(list: &[&str]) -> Options {
        let mut options = Options::default();
        for option in list {
            options.add(option);
        }
        options
    }

    #[test]
    fn the_later_of_two_options_wins() {
        let both = options(&["ro", "rw", "nosuid", "noatime", "strictatime"]);
        assert_eq!(both.attributes.clear, 1);
        assert_eq!(both.attributes.set, 2 | 0x20);
        assert!(!both.is_read_only());
    }

    #[test]
    fn recursive_options_are_told_from_those_that_begin_with_r() {
        let given = options(&["rbind", "rro", "relatime", "rnosymfollow", "rprivate", "rw"]);
        assert!(given.recursive);
        assert_eq!(given.recursive_attributes.set, 1 | 0x20_0000);
        assert_eq!(given.propagations, ["rprivate"]);
        assert!(given.data.is_empty());
    }

    #[test]
    fn what_is_not_known_is_for_the_file_system() {
        let given = options(&["size=1m", "defaults", "mode=755", "idmap"]);
        assert_eq!(given.data, ["size=1m", "mode=755"]);
        assert_eq!(given.idmap, Some(false));
    }
}
