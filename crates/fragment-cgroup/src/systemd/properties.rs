//! Limits as properties of a unit (systemd.resource-control(5)).
//!
//! systemd writes its own idea of a limit whenever it likes (daemon-reload); so it is told what it has a name for. The files
//! are written as well: not every limit has a name, and systemd rounds.

use std::path::Path;

use fragment_sys::file;

use crate::devices::{Allowed, Devices, Kind as DeviceKind};
use crate::error::CgroupError;
use crate::layout::Kind;
use crate::resources::Resources;
use crate::systemd::wire::{Property, Value};
use crate::v2::{swap_alone, weight_of_shares};

/// The kernel's default, microseconds.
const PERIOD: u64 = 100_000;
/// systemd rounds to per cents: 10 ms of a second.
const PER_CENT: u64 = 10_000;
/// CPUQuotaPeriodUSec.
const HAS_PERIOD: u32 = 242;
/// AllowedCPUs, AllowedMemoryNodes.
const HAS_CPUSET: u32 = 244;

/// The first number of systemd's version: `252.39-1~deb12u1`, `v245.4-1.fc32`.
pub(crate) fn version_number(text: &str) -> u32 {
    let digits = text.trim_start_matches(|letter: char| !letter.is_ascii_digit());
    let end = digits
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(digits.len());
    digits[..end].parse().unwrap_or(0)
}

/// What systemd has names for; devices apart.
pub(crate) fn of(
    resources: &Resources,
    kind: Kind,
    version: u32,
) -> Result<Vec<Property>, CgroupError> {
    let mut list = List(Vec::new(), version);
    if kind == Kind::Unified {
        unified(resources, &mut list)?;
    } else {
        legacy(resources, &mut list)?;
    }
    Ok(list.0)
}

struct List(Vec<Property>, u32);

impl List {
    fn number(&mut self, name: &str, value: u64) {
        self.0.push((name.to_owned(), Value::U64(value)));
    }

    /// -1 is all ones, which is systemd's infinity.
    fn limit(&mut self, name: &str, value: Option<i64>) {
        if let Some(value) = value {
            self.number(name, value.cast_unsigned());
        }
    }

    fn quota(&mut self, quota: Option<i64>, period: Option<u64>) {
        if let Some(period) = period.filter(|_| self.1 >= HAS_PERIOD) {
            self.number("CPUQuotaPeriodUSec", period);
        }
        if quota.is_none() && period.is_none() {
            return;
        }
        let quota = quota
            .and_then(|quota| u64::try_from(quota).ok())
            .filter(|quota| *quota > 0);
        let a_second = quota.map(|quota| {
            let exact = quota.saturating_mul(1_000_000) / period.unwrap_or(PERIOD).max(1);
            exact.next_multiple_of(PER_CENT)
        });
        self.number("CPUQuotaPerSecUSec", a_second.unwrap_or(u64::MAX));
    }

    fn cpuset(&mut self, name: &str, value: Option<&String>) -> Result<(), CgroupError> {
        if let Some(text) = value.filter(|_| self.1 >= HAS_CPUSET) {
            let bits = bits(text).ok_or_else(|| {
                CgroupError::SystemdValue(format!("{name}: {text:?} is no list of numbers"))
            })?;
            self.0.push((name.to_owned(), Value::Bytes(bits)));
        }
        Ok(())
    }
}

fn legacy(resources: &Resources, list: &mut List) -> Result<(), CgroupError> {
    list.limit("MemoryLimit", resources.memory);
    if let Some(shares) = resources.cpu_shares {
        list.number("CPUShares", shares);
    }
    list.quota(resources.cpu_quota, resources.cpu_period);
    if let Some(weight) = resources.block.weight {
        list.number("BlockIOWeight", u64::from(weight));
    }
    list.limit("TasksMax", resources.pids.map(|it| it.max(-1)));
    list.cpuset("AllowedCPUs", resources.cpus.as_ref())?;
    list.cpuset("AllowedMemoryNodes", resources.mems.as_ref())
}

fn unified(resources: &Resources, list: &mut List) -> Result<(), CgroupError> {
    list.limit("MemoryMax", resources.memory);
    list.limit("MemoryLow", resources.memory_reservation);
    list.limit(
        "MemorySwapMax",
        swap_alone(resources.memory, resources.memory_swap)?,
    );
    match resources.cpu_idle {
        // 0 is "idle" to systemd's bus (CGROUP_WEIGHT_IDLE, v252)
        Some(1) if list.1 >= 252 => list.number("CPUWeight", 0),
        _ => {
            if let Some(shares) = resources.cpu_shares {
                list.number("CPUWeight", weight_of_shares(shares));
            }
        }
    }
    list.quota(resources.cpu_quota, resources.cpu_period);
    list.limit("TasksMax", resources.pids.map(|it| it.max(-1)));
    list.cpuset("AllowedCPUs", resources.cpus.as_ref())?;
    list.cpuset("AllowedMemoryNodes", resources.mems.as_ref())?;
    for (key, value) in &resources.unified {
        file(key, value.trim(), list)?;
    }
    Ok(())
}

/// A file of the unified map as a property, where it is one.
fn file(key: &str, value: &str, list: &mut List) -> Result<(), CgroupError> {
    let wrong =
        || CgroupError::SystemdValue(format!("unified resource {key:?} value invalid: {value:?}"));
    let number = |text: &str| match text {
        "max" => Ok(u64::MAX),
        text => text.parse().map_err(|_| wrong()),
    };
    let name = match key {
        "memory.high" => "MemoryHigh",
        "memory.low" => "MemoryLow",
        "memory.min" => "MemoryMin",
        "memory.max" => "MemoryMax",
        "memory.swap.max" => "MemorySwapMax",
        "pids.max" => "TasksMax",
        "cpu.weight" => "CPUWeight",
        "cpuset.cpus" => return list.cpuset("AllowedCPUs", Some(&value.to_owned())),
        "cpuset.mems" => return list.cpuset("AllowedMemoryNodes", Some(&value.to_owned())),
        "cpu.max" => {
            let fields: Vec<&str> = value.split_whitespace().collect();
            let (quota, period) = match fields[..] {
                [quota] => (number(quota)?, PERIOD),
                [quota, period] => (number(quota)?, number(period)?),
                _ => return Err(wrong()),
            };
            list.quota(Some(i64::try_from(quota).unwrap_or(-1)), Some(period));
            return Ok(());
        }
        // written to the file all the same
        _ => return Ok(()),
    };
    list.number(name, number(value)?);
    Ok(())
}

/// Bit n of byte n/8, lowest first; `None` for nonsense and for nothing at all.
fn bits(text: &str) -> Option<Vec<u8>> {
    /// Processors a kernel can be built for (NR_CPUS).
    const MOST: usize = 8192;
    let mut bits = Vec::new();
    for part in text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        if first > last || last >= MOST {
            return None;
        }
        bits.resize(bits.len().max(last / 8 + 1), 0_u8);
        for number in first..=last {
            bits[number / 8] |= 1 << (number % 8);
        }
    }
    (!bits.is_empty()).then_some(bits)
}

/// The device rules, as far as systemd can say them; the container's own list or program is exact.
pub(crate) fn devices(allowed: &Allowed) -> Vec<Property> {
    devices_with(
        allowed,
        &file::read_text("/proc/devices").unwrap_or_default(),
        &|path| {
            Path::new(path).exists()
                || Path::new("/sys")
                    .join(path.trim_start_matches('/'))
                    .exists()
        },
    )
}

fn devices_with(allowed: &Allowed, groups: &str, exists: &dyn Fn(&str) -> bool) -> Vec<Property> {
    let empty = || ("DeviceAllow".to_owned(), Value::Pairs(Vec::new()));
    let policy = |text: &str| ("DevicePolicy".to_owned(), Value::Text(text.to_owned()));
    if allowed.by_default {
        // systemd has no list of what is forbidden; the exact one comes from us
        return vec![policy("auto"), empty()];
    }
    let entries = allowed.except.iter().filter_map(|(devices, access)| {
        let node = node(devices, groups).filter(|node| !node.starts_with('/') || exists(node))?;
        Some((node, access.to_string()))
    });
    vec![
        policy("strict"),
        // what was there is emptied first
        empty(),
        ("DeviceAllow".to_owned(), Value::Pairs(entries.collect())),
    ]
}

/// A device node by its number, or a group of devices by the driver's name (/proc/devices); `None` for any major with one
/// minor, which systemd cannot say.
fn node(devices: &Devices, groups: &str) -> Option<String> {
    let kind = match devices.kind {
        DeviceKind::Block => "block",
        DeviceKind::Character => "char",
    };
    match (devices.major, devices.minor) {
        (None, None) => Some(format!("{kind}-*")),
        (None, Some(_)) => None,
        (Some(major), Some(minor)) => Some(format!("/dev/{kind}/{major}:{minor}")),
        (Some(major), None) => {
            let heading = match devices.kind {
                DeviceKind::Block => "Block devices:",
                DeviceKind::Character => "Character devices:",
            };
            let section = groups.split_once(heading)?.1;
            let section = section.split("\n\n").next().unwrap_or_default();
            let mut lines = section
                .lines()
                .filter_map(|line| line.trim().split_once(' '));
            let (_, name) = lines.find(|(number, _)| number.parse() == Ok(major))?;
            Some(format!("{kind}-{}", name.trim()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::tests::allowed;
    use crate::resources::tests::limits;

    fn named(json: &str, kind: Kind, version: u32) -> Vec<(String, u64)> {
        let list = of(&limits(json), kind, version).unwrap();
        let number = |value: Value| match value {
            Value::U64(number) => number,
            other => panic!("{other:?}"),
        };
        list.into_iter()
            .map(|(name, value)| (name, number(value)))
            .collect()
    }

    fn pairs(list: &[(&str, u64)]) -> Vec<(String, u64)> {
        list.iter()
            .map(|(name, value)| ((*name).to_owned(), *value))
            .collect()
    }

    const USUAL: &str = r#"{"memory":{"limit":33554432,"reservation":25165824,"swap":33554432},
        "cpu":{"shares":100,"quota":500000,"period":1000000},"pids":{"limit":20}}"#;

    #[test]
    fn the_usual_limits_on_v2() {
        let expected = pairs(&[
            ("MemoryMax", 33_554_432),
            ("MemoryLow", 25_165_824),
            ("MemorySwapMax", 0),
            ("CPUWeight", 4),
            ("CPUQuotaPeriodUSec", 1_000_000),
            ("CPUQuotaPerSecUSec", 500_000),
            ("TasksMax", 20),
        ]);
        assert_eq!(named(USUAL, Kind::Unified, 252), expected);
    }

    #[test]
    fn the_usual_limits_on_v1_and_an_old_systemd() {
        let expected = pairs(&[
            ("MemoryLimit", 33_554_432),
            ("CPUShares", 100),
            ("CPUQuotaPerSecUSec", 500_000),
            ("TasksMax", 20),
        ]);
        assert_eq!(named(USUAL, Kind::Hybrid, 232), expected);
    }

    #[test]
    fn no_limit_is_infinity_and_quotas_are_rounded_up() {
        let json =
            r#"{"memory":{"limit":-1},"cpu":{"quota":-1,"period":100000},"pids":{"limit":-1}}"#;
        let expected = pairs(&[
            ("MemoryMax", u64::MAX),
            ("MemorySwapMax", u64::MAX),
            ("CPUQuotaPeriodUSec", 100_000),
            ("CPUQuotaPerSecUSec", u64::MAX),
            ("TasksMax", u64::MAX),
        ]);
        assert_eq!(named(json, Kind::Unified, 252), expected);
        let odd = named(r#"{"cpu":{"quota":33333}}"#, Kind::Unified, 252);
        assert_eq!(odd, pairs(&[("CPUQuotaPerSecUSec", 340_000)]));
    }

    #[test]
    fn files_of_the_unified_map_have_names_too() {
        let json = r#"{"unified":{"cpu.max":"max 100000","cpu.weight":"16","memory.high":"max","pids.max":"10","x.y":"1"}}"#;
        let expected = pairs(&[
            ("CPUQuotaPeriodUSec", 100_000),
            ("CPUQuotaPerSecUSec", u64::MAX),
            ("CPUWeight", 16),
            ("MemoryHigh", u64::MAX),
            ("TasksMax", 10),
        ]);
        assert_eq!(named(json, Kind::Unified, 252), expected);
        assert!(
            of(
                &limits(r#"{"unified":{"cpu.weight":"x"}}"#),
                Kind::Unified,
                252
            )
            .is_err()
        );
    }

    #[test]
    fn processors_are_bits() {
        assert_eq!(bits("0"), Some(vec![1]));
        assert_eq!(bits("1,3-5, 8"), Some(vec![0b0011_1010, 1]));
        for nonsense in ["", ",", "a", "3-1", "99999999"] {
            assert_eq!(bits(nonsense), None, "{nonsense}");
        }
        let list = of(&limits(r#"{"cpu":{"cpus":"1"}}"#), Kind::Unified, 252).unwrap();
        assert_eq!(list, [("AllowedCPUs".to_owned(), Value::Bytes(vec![2]))]);
        assert!(
            of(&limits(r#"{"cpu":{"cpus":"1"}}"#), Kind::Unified, 243)
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn devices_are_nodes_and_groups() {
        let groups = "Character devices:\n  1 mem\n136 pts\n\nBlock devices:\n  8 sd\n";
        let set = allowed(r#"[{"allow":true,"type":"b","major":8,"access":"r"}]"#).unwrap();
        let list = devices_with(&set, groups, &|path| path != "/dev/char/10:200");
        assert_eq!(list[0].1, Value::Text("strict".to_owned()));
        let Value::Pairs(entries) = &list[2].1 else {
            panic!("{list:?}")
        };
        let has =
            |node: &str, access: &str| entries.contains(&(node.to_owned(), access.to_owned()));
        assert!(has("char-*", "m") && has("block-*", "m"), "{entries:?}");
        assert!(
            has("/dev/char/1:3", "rwm") && has("char-pts", "rwm") && has("block-sd", "r"),
            "{entries:?}"
        );
        // systemd would complain of what is not there
        assert!(!has("/dev/char/10:200", "rwm"), "{entries:?}");
    }

    #[test]
    fn versions_are_numbers() {
        for (text, number) in [
            ("252.39-1~deb12u1", 252),
            ("v245.4-1.fc32", 245),
            ("254", 254),
            ("", 0),
        ] {
            assert_eq!(version_number(text), number, "{text}");
        }
    }
}
