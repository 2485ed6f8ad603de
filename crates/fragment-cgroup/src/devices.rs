//! Which devices a container may use: the rules, and the set that remains when they are applied one after the other.
//!
//! cgroup v1 keeps such a set in the kernel, cgroup v2 asks a program: both are given the same set, worked out here, so that
//! a specification means the same on both.

use std::collections::BTreeMap;
use std::fmt;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};
use serde::{Deserialize, Serialize};

use crate::error::CgroupError;

/// A kind of device that the kernel tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Kind {
    #[serde(rename = "b")]
    Block,
    #[serde(rename = "c")]
    Character,
}

/// What may be done: bits of r, w, m.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Access(u8);

impl Access {
    pub(crate) const MKNOD: Self = Self(1);
    pub(crate) const READ: Self = Self(2);
    pub(crate) const WRITE: Self = Self(4);
    pub(crate) const ALL: Self = Self(7);

    fn parse(text: &str) -> Option<Self> {
        let bits = text.chars().map(|letter| match letter {
            'r' => Some(Self::READ.0),
            'w' => Some(Self::WRITE.0),
            'm' => Some(Self::MKNOD.0),
            _ => None,
        });
        let bits: Option<Vec<u8>> = bits.collect();
        Some(Self(bits?.into_iter().fold(0, |all, bit| all | bit)))
    }

    /// As the device program's context has them (BPF_DEVCG_ACC_*).
    pub(crate) fn bits(self) -> i32 {
        i32::from(self.0)
    }

    fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    fn overlaps(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (bit, letter) in [(Self::READ, "r"), (Self::WRITE, "w"), (Self::MKNOD, "m")] {
            if self.overlaps(bit) {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

/// Devices a rule speaks of; a number that is missing is any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Devices {
    pub(crate) kind: Kind,
    pub(crate) major: Option<u32>,
    pub(crate) minor: Option<u32>,
}

impl Devices {
    const fn new(kind: Kind, major: Option<u32>, minor: Option<u32>) -> Self {
        Self { kind, major, minor }
    }

    fn order(&self) -> (Option<u32>, Option<u32>, Kind) {
        (self.major, self.minor, self.kind)
    }
}

impl PartialOrd for Devices {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Devices {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

impl fmt::Display for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number =
            |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |it| it.to_string());
        let kind = match self.kind {
            Kind::Block => 'b',
            Kind::Character => 'c',
        };
        write!(f, "{kind} {}:{}", number(self.major), number(self.minor))
    }
}

/// One rule; without devices it is about all of them, whatever its access (devices.rst: "a" overrides everything).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    pub(crate) allow: bool,
    pub(crate) devices: Option<Devices>,
    pub(crate) access: Access,
}

/// What every container may use, whatever its specification says: the same as with runc.
const DEFAULTS: [(Devices, Access); 11] = {
    const fn node(major: u32, minor: u32) -> (Devices, Access) {
        let devices = Devices::new(Kind::Character, Some(major), Some(minor));
        (devices, Access::ALL)
    }
    [
        (Devices::new(Kind::Character, None, None), Access::MKNOD),
        (Devices::new(Kind::Block, None, None), Access::MKNOD),
        node(1, 3),                                                    // null
        node(1, 8),                                                    // random
        node(1, 7),                                                    // full
        node(5, 0),                                                    // tty
        node(1, 5),                                                    // zero
        node(1, 9),                                                    // urandom
        (Devices::new(Kind::Character, Some(136), None), Access::ALL), // pts
        node(5, 2),                                                    // ptmx
        node(10, 200),                                                 // net/tun
    ]
};

impl Rule {
    /// Reads linux.resources.devices and adds the defaults.
    pub(crate) fn list(rules: &[LinuxDeviceCgroup]) -> Result<Vec<Self>, CgroupError> {
        let own = rules
            .iter()
            .enumerate()
            .map(|(index, rule)| Self::read(index, rule));
        let mut all = own.collect::<Result<Vec<_>, _>>()?;
        all.extend(DEFAULTS.map(|(devices, access)| Self {
            allow: true,
            devices: Some(devices),
            access,
        }));
        Ok(all)
    }

    fn read(index: usize, rule: &LinuxDeviceCgroup) -> Result<Self, CgroupError> {
        let wrong = |reason: String| CgroupError::DeviceRule { index, reason };
        let access = rule.access().as_deref().unwrap_or_default();
        if access.is_empty() {
            return Err(wrong("access cannot be empty".to_owned()));
        }
        let kind = match rule.typ().unwrap_or_default() {
            LinuxDeviceType::A => None,
            LinuxDeviceType::B => Some(Kind::Block),
            LinuxDeviceType::C | LinuxDeviceType::U => Some(Kind::Character),
            LinuxDeviceType::P => return Err(wrong("invalid type p".to_owned())),
        };
        // -1 is any, as in runc's own rules
        let number = |name: &str, number: Option<i64>| match number {
            None | Some(-1) => Ok(None),
            Some(number) => match u32::try_from(number) {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(wrong(format!("invalid {name} {number}"))),
            },
        };
        let major = number("major", rule.major())?;
        let minor = number("minor", rule.minor())?;
        // "a" among the letters of a rule about all devices is tolerated everywhere and means nothing
        let letters: String = access.chars().filter(|letter| *letter != 'a').collect();
        let access =
            Access::parse(&letters).ok_or_else(|| wrong(format!("unknown access {access:?}")))?;
        Ok(Self {
            allow: rule.allow(),
            devices: kind.map(|kind| Devices { kind, major, minor }),
            access,
        })
    }
}

/// Everything but some devices, or nothing but some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Allowed {
    /// What holds for devices that are not listed.
    pub(crate) by_default: bool,
    /// For these the opposite holds.
    pub(crate) except: BTreeMap<Devices, Access>,
}

impl Allowed {
    /// Applies rules in order to a container that may use nothing.
    pub(crate) fn by(rules: &[Rule]) -> Result<Self, CgroupError> {
        let mut set = Self {
            by_default: false,
            except: BTreeMap::new(),
        };
        for (index, rule) in rules.iter().enumerate() {
            set.apply(rule)
                .map_err(|reason| CgroupError::DeviceRule { index, reason })?;
        }
        Ok(set)
    }

    /// From the kernel's list (devices.list); of a cgroup that may use everything the exceptions cannot be read.
    pub(crate) fn of_list(text: &str) -> Option<Self> {
        let mut set = Self {
            by_default: false,
            except: BTreeMap::new(),
        };
        for line in text.lines() {
            let mut fields = line.split([' ', ':']);
            let kind = match fields.next()? {
                "a" => {
                    return Some(Self {
                        by_default: true,
                        except: BTreeMap::new(),
                    });
                }
                "b" => Kind::Block,
                "c" => Kind::Character,
                _ => return None,
            };
            let mut number = || match fields.next()? {
                "*" => Some(None),
                digits => digits.parse().ok().map(Some),
            };
            let devices = Devices::new(kind, number()?, number()?);
            let access = Access::parse(fields.next()?)?;
            let entry = set.except.entry(devices).or_insert(Access(0));
            *entry = Access(entry.0 | access.0);
        }
        Some(set)
    }

    fn apply(&mut self, rule: &Rule) -> Result<(), String> {
        let Some(devices) = rule.devices else {
            *self = Self {
                by_default: rule.allow,
                except: BTreeMap::new(),
            };
            return Ok(());
        };
        if rule.allow == self.by_default {
            return self.unlist(devices, rule.access);
        }
        let entry = self.except.entry(devices).or_insert(Access(0));
        *entry = Access(entry.0 | rule.access.0);
        Ok(())
    }

    /// Takes an exception back. A part of a wildcard cannot be taken back: the kernel would ignore it without a word.
    fn unlist(&mut self, devices: Devices, access: Access) -> Result<(), String> {
        let Devices { kind, major, minor } = devices;
        let wider = [(None, minor), (major, None), (None, None)];
        for (major, minor) in wider {
            let wide = Devices { kind, major, minor };
            if wide != devices
                && let Some(had) = self.except.get(&wide)
                && had.overlaps(access)
            {
                return Err(format!(
                    "[{devices} {access}] cannot punch a hole in the wildcard rule [{wide} {had}]"
                ));
            }
        }
        if let Some(had) = self.except.get_mut(&devices) {
            *had = had.without(access);
            if had.0 == 0 {
                self.except.remove(&devices);
            }
        }
        Ok(())
    }

    /// What to write to devices.allow (`true`) and devices.deny to get here from `now`, with no moment in which something
    /// that stays allowed is not.
    pub(crate) fn transition(&self, now: &Self) -> Vec<(bool, String)> {
        let mut steps = Vec::new();
        let mut had = now.except.clone();
        if now.by_default != self.by_default || self.by_default {
            // the list of exceptions of an allow-all cgroup cannot be read: start anew
            steps.push((self.by_default, "a".to_owned()));
            had.clear();
        }
        for (devices, access) in &had {
            let kept = self.except.get(devices).copied().unwrap_or(Access(0));
            let dropped = access.without(kept);
            if dropped.0 != 0 {
                steps.push((self.by_default, format!("{devices} {dropped}")));
            }
        }
        for (devices, access) in &self.except {
            let gained = access.without(had.get(devices).copied().unwrap_or(Access(0)));
            if gained.0 != 0 {
                steps.push((!self.by_default, format!("{devices} {gained}")));
            }
        }
        steps
    }
}

/// Whether rules only ever allow, and everything of what they name: without a way to enforce them nothing of that is lost.
pub(crate) fn only_allow(rules: &[Rule]) -> bool {
    let mut own = rules
        .iter()
        .take(rules.len().saturating_sub(DEFAULTS.len()));
    own.all(|rule| rule.allow && rule.access == Access::ALL)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn allowed(json: &str) -> Result<Allowed, CgroupError> {
        let rules: Vec<LinuxDeviceCgroup> = serde_json::from_str(json).unwrap();
        Allowed::by(&Rule::list(&rules)?)
    }

    #[test]
    fn nothing_is_allowed_but_the_defaults() {
        let set = allowed("[]").unwrap();
        assert!(!set.by_default);
        assert_eq!(set.except.len(), DEFAULTS.len());
        assert_eq!(allowed(r#"[{"allow":false,"access":"rwm"}]"#).unwrap(), set);
    }

    #[test]
    fn rules_are_applied_in_order() {
        let set = allowed(
            r#"[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":10,"minor":229,"access":"rw"},
                {"allow":false,"type":"c","major":10,"minor":229,"access":"w"}]"#,
        );
        let fuse = Devices::new(Kind::Character, Some(10), Some(229));
        assert_eq!(set.unwrap().except.get(&fuse), Some(&Access::READ));
        let everything = allowed(r#"[{"allow":true,"type":"a","access":"rwm"}]"#).unwrap();
        assert!(everything.by_default && everything.except.is_empty());
    }

    #[test]
    fn a_hole_in_a_wildcard_is_refused() {
        let error = allowed(
            r#"[{"allow":true,"type":"b","major":8,"access":"rw"},
                {"allow":false,"type":"b","major":8,"minor":1,"access":"w"}]"#,
        );
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("[b 8:1 w]") && error.contains("[b 8:* rw]"),
            "{error}"
        );
    }

    #[test]
    fn rules_that_cannot_be_read_are_named() {
        let told = |json: &str| allowed(json).unwrap_err().to_string();
        assert_eq!(
            told(r#"[{"allow":true}]"#),
            "device access rule 0: access cannot be empty"
        );
        assert!(told(r#"[{"allow":true,"access":"x"}]"#).contains("unknown access"));
        assert!(
            told(r#"[{"allow":true,"type":"c","major":-2,"access":"r"}]"#)
                .contains("invalid major -2")
        );
        // runc's own test suite writes this
        assert!(
            allowed(r#"[{"allow":false,"type":"c","major":1,"minor":11,"access":"rwa"}]"#).is_ok()
        );
    }

    #[test]
    fn a_new_cgroup_goes_from_everything_to_the_list() {
        let now = Allowed::of_list("a *:* rwm\n").unwrap();
        let steps = allowed("[]").unwrap().transition(&now);
        assert_eq!(steps[0], (false, "a".to_owned()));
        assert!(steps.contains(&(true, "c 1:3 rwm".to_owned())), "{steps:?}");
        assert!(steps.contains(&(true, "b *:* m".to_owned())), "{steps:?}");
    }

    #[test]
    fn what_stays_is_not_written() {
        let now = Allowed::of_list("c 1:3 rwm\nc 1:5 rwm\nb 8:0 r\n").unwrap();
        let target = Allowed::of_list("c 1:3 rwm\nc 1:5 r\nc 1:7 rw\n").unwrap();
        let expected = [
            (false, "c 1:5 wm".to_owned()),
            (false, "b 8:0 r".to_owned()),
            (true, "c 1:7 rw".to_owned()),
        ];
        assert_eq!(target.transition(&now), expected);
        assert!(target.transition(&target).is_empty());
    }
}
