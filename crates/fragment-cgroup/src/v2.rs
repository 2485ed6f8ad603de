//! The plan for cgroup v2, and how its directories are made.

use std::fs;
use std::path::{Path, PathBuf};

use fragment_sys::file;

use crate::error::{CgroupError, Errno};
use crate::group::write_raw;
use crate::layout::ROOT;
use crate::plan::{Care, View, Write};
use crate::resources::{Block, Resources};
use crate::v1::rdma;

/// The kernel's default of cpu.max (cgroup-v2.rst).
const PERIOD: u64 = 100_000;

/// What is written for `resources`, in order; devices apart.
pub(crate) fn plan(resources: &Resources, view: &impl View) -> Result<Vec<Write>, CgroupError> {
    let mut writes = Vec::new();
    if let Some(limit) = resources.pids {
        writes.push(Write::new("pids", "pids.max", or_max(limit)));
    }
    memory(resources, view, &mut writes)?;
    block(&resources.block, view, &mut writes);
    cpu(resources, &mut writes);
    if let Some(cpus) = &resources.cpus {
        writes.push(Write::new("cpuset", "cpuset.cpus", cpus));
    }
    if let Some(mems) = &resources.mems {
        writes.push(Write::new("cpuset", "cpuset.mems", mems));
    }
    for (size, bytes) in &resources.hugepages {
        writes.push(Write::new("hugetlb", format!("hugetlb.{size}.max"), bytes));
        // reservations count apart (Linux 5.7); without a limit of their own they get around the other
        let reserved = format!("hugetlb.{size}.rsvd.max");
        writes.push(Write::new("hugetlb", reserved, bytes).with(Care::Optional));
    }
    rdma(resources, &mut writes);
    for (key, value) in &resources.unified {
        if key.contains('/') {
            return Err(CgroupError::Invalid(format!(
                "unified resource {key:?} must be a file name (no slashes)"
            )));
        }
        writes.push(Write::new("unified", key, value).with(Care::Unified));
    }
    Ok(writes)
}

fn or_max(limit: i64) -> String {
    if limit < 0 {
        "max".to_owned()
    } else {
        limit.to_string()
    }
}

fn memory(
    resources: &Resources,
    view: &impl View,
    writes: &mut Vec<Write>,
) -> Result<(), CgroupError> {
    let swap = swap_alone(resources.memory, resources.memory_swap)?;
    check_usage(resources, view)?;
    if let Some(swap) = swap {
        let value = or_max(swap);
        // without swap in the kernel there is none to allow or to forbid
        let none = matches!(value.as_str(), "max" | "0");
        let care = if none { Care::Optional } else { Care::None };
        writes.push(Write::new("memory", "memory.swap.max", value).with(care));
    }
    if let Some(limit) = resources.memory {
        writes.push(Write::new("memory", "memory.max", or_max(limit)));
    }
    if let Some(reservation) = resources.memory_reservation {
        writes.push(Write::new("memory", "memory.low", or_max(reservation)));
    }
    Ok(())
}

/// The specification's swap counts memory too (v1), the file's does not.
pub(crate) fn swap_alone(
    memory: Option<i64>,
    swap: Option<i64>,
) -> Result<Option<i64>, CgroupError> {
    let invalid = |reason: &str| Err(CgroupError::Invalid(reason.to_owned()));
    match (memory, swap) {
        // as v1: no limit means none on swap either
        (Some(-1), None) => Ok(Some(-1)),
        (_, None) => Ok(None),
        (_, Some(-1)) => Ok(Some(-1)),
        (None | Some(-1), Some(_)) => invalid("unable to set swap limit without memory limit"),
        (Some(memory), Some(_)) if memory < 0 => Err(CgroupError::Invalid(format!(
            "invalid memory value: {memory}"
        ))),
        (Some(memory), Some(swap)) if swap < memory => {
            invalid("memory+swap limit should be >= memory limit")
        }
        (Some(memory), Some(swap)) => Ok(Some(swap - memory)),
    }
}

/// v1 refuses a limit below what is in use; v2 would start killing, unless asked not to.
fn check_usage(resources: &Resources, view: &impl View) -> Result<(), CgroupError> {
    if !resources.check_before_update {
        return Ok(());
    }
    let usage: u64 = view
        .text("memory", "memory.current")
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0);
    for (limit, swap) in [(resources.memory_swap, true), (resources.memory, false)] {
        if let Some(limit) = limit
            && u64::try_from(limit).is_ok_and(|limit| limit <= usage)
        {
            return Err(CgroupError::MemoryRejected { swap, limit, usage });
        }
    }
    Ok(())
}

fn cpu(resources: &Resources, writes: &mut Vec<Write>) {
    if let Some(idle) = resources.cpu_idle {
        writes.push(Write::new("cpu", "cpu.idle", idle));
    }
    if let Some(weight) = resources.cpu_shares.map(weight_of_shares) {
        writes.push(Write::new("cpu", "cpu.weight", weight));
    }
    let bandwidth = resources.cpu_quota.is_some() || resources.cpu_period.is_some();
    let burst = resources
        .cpu_burst
        .map(|burst| Write::new("cpu", "cpu.max.burst", burst));
    if bandwidth {
        writes.extend(burst.clone().map(|burst| burst.with(Care::First)));
        writes.push(Write::new("cpu", "cpu.max", cpu_max(resources)));
        writes.extend(burst.map(|burst| burst.with(Care::Again)));
    } else {
        writes.extend(burst);
    }
}

fn cpu_max(resources: &Resources) -> String {
    let quota = resources.cpu_quota.filter(|quota| *quota > 0);
    let quota = quota.map_or_else(|| "max".to_owned(), |quota| quota.to_string());
    format!("{quota} {}", resources.cpu_period.unwrap_or(PERIOD))
}

/// 2…262144 to 1…10000, as every runtime maps it.
pub(crate) fn weight_of_shares(shares: u64) -> u64 {
    (1 + (shares.clamp(2, 262_144) - 2) * 9_999 / 262_142).min(10_000)
}

/// 10…1000 to 1…10000.
pub(crate) fn weight_of_block_weight(weight: u16) -> u64 {
    1 + (u64::from(weight.max(10)) - 10) * 9_999 / 990
}

fn block(block: &Block, view: &impl View, writes: &mut Vec<Write>) {
    let bfq = view.text("io", "io.bfq.weight");
    if let Some(weight) = block.weight {
        writes.push(if bfq.is_some() {
            Write::new("io", "io.bfq.weight", weight)
        } else {
            Write::new("io", "io.weight", weight_of_block_weight(weight))
        });
    }
    // a kernel that shows one number has no weights by device (before 5.2)
    let by_device = bfq.is_some_and(|text| text.trim().parse::<u64>().is_err());
    for one in block.devices.iter().filter(|_| by_device) {
        if let Some(weight) = one.weight {
            writes.push(Write::new(
                "io",
                "io.bfq.weight",
                format!("{} {weight}", one.device),
            ));
        }
    }
    let throttles = [
        ("rbps", &block.read_bps),
        ("wbps", &block.write_bps),
        ("riops", &block.read_iops),
        ("wiops", &block.write_iops),
    ];
    for (key, list) in throttles {
        for one in list {
            writes.push(Write::new(
                "io",
                "io.max",
                format!("{} {key}={}", one.device, one.rate),
            ));
        }
    }
}

/// Makes the directories down to `path` and hands every controller of the top down to it.
///
/// What was made is removed when it fails.
pub(crate) fn create(path: &Path, resources: &Resources) -> Result<(), CgroupError> {
    let root = Path::new(ROOT);
    let controllers = file::read_text(root.join("cgroup.controllers"))
        .map_err(|error| CgroupError::read(&root.join("cgroup.controllers"), error))?;
    let mut made: Vec<PathBuf> = Vec::new();
    let walked = walk(root, path, controllers.trim(), resources, &mut made);
    if walked.is_err() {
        for directory in made.iter().rev() {
            // something else may have moved in
            let _ = fs::remove_dir(directory);
        }
    }
    walked
}

fn walk(
    root: &Path,
    path: &Path,
    controllers: &str,
    resources: &Resources,
    made: &mut Vec<PathBuf>,
) -> Result<(), CgroupError> {
    let inside = path.strip_prefix(root).unwrap_or(path);
    let mut current = root.to_owned();
    for component in inside.components() {
        enable(&current, controllers);
        current.push(component);
        match fs::create_dir(&current) {
            Ok(()) => made.push(current.clone()),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(CgroupError::Create {
                    path: current,
                    source: Errno(error),
                });
            }
        }
        settle_mode(&current, resources)?;
    }
    Ok(())
}

/// A cgroup below one that has processes cannot have controllers that work on whole processes. Without such limits it is
/// used in threaded mode, which beats failing (runc does the same).
fn settle_mode(directory: &Path, resources: &Resources) -> Result<(), CgroupError> {
    let file = directory.join("cgroup.type");
    let mode = file::read_text(&file).unwrap_or_default();
    let mode = mode.trim();
    if !matches!(mode, "domain invalid" | "domain threaded" | "threaded") {
        return Ok(());
    }
    if resources.needs_domain() {
        return Err(CgroupError::Threaded {
            path: directory.to_owned(),
            mode: mode.to_owned(),
        });
    }
    if mode == "domain invalid" {
        // the join that follows tells
        let _ = write_raw(&file, "threaded");
    }
    Ok(())
}

/// Hands the controllers of a directory down. All at once where that works, else those that can be; the limit that needs a
/// missing one fails with its file's name.
fn enable(directory: &Path, controllers: &str) {
    let have = file::read_text(directory.join("cgroup.subtree_control")).unwrap_or_default();
    let missing: Vec<&str> = (controllers.split_whitespace())
        .filter(|name| !have.split_whitespace().any(|had| had == *name))
        .collect();
    if missing.is_empty() {
        return;
    }
    let file = directory.join("cgroup.subtree_control");
    let all: Vec<String> = missing.iter().map(|name| format!("+{name}")).collect();
    if write_raw(&file, &all.join(" ")).is_ok() {
        return;
    }
    for one in all {
        // EBUSY, ENOENT, EACCES: the limit that needs it tells
        let _ = write_raw(&file, &one);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{Paper, pairs};
    use crate::resources::tests::limits;

    fn plan_of(json: &str, files: &[(&'static str, &'static str)]) -> Vec<Write> {
        let paper = Paper(files.iter().copied().collect());
        plan(&limits(json), &paper).unwrap()
    }

    #[test]
    fn the_usual_limits() {
        let writes = plan_of(
            r#"{"cpu":{"shares":3333,"quota":40000,"period":100000,"cpus":"0"},"pids":{"limit":20},
                "memory":{"limit":33554432,"swap":33554432,"reservation":25165824},
                "hugepageLimits":[{"pageSize":"2MB","limit":7}]}"#,
            &[],
        );
        let expected = [
            ("pids.max", "20"),
            ("memory.swap.max", "0"),
            ("memory.max", "33554432"),
            ("memory.low", "25165824"),
            ("cpu.weight", "128"),
            ("cpu.max", "40000 100000"),
            ("cpuset.cpus", "0"),
            ("hugetlb.2MB.max", "7"),
            ("hugetlb.2MB.rsvd.max", "7"),
        ];
        assert_eq!(pairs(&writes), expected);
    }

    #[test]
    fn shares_become_weights() {
        for (shares, weight) in [
            (2, 1),
            (100, 4),
            (1024, 39),
            (4321, 165),
            (262_144, 10_000),
            (1, 1),
        ] {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
        assert_eq!(weight_of_shares(u64::MAX), 10_000);
        for (old, new) in [(10, 1), (750, 7475), (1000, 10_000)] {
            assert_eq!(weight_of_block_weight(old), new, "{old}");
        }
    }

    #[test]
    fn swap_is_counted_without_memory() {
        let cases = [
            (Some(-1), None, Ok(Some(-1))),
            (Some(100), Some(250), Ok(Some(150))),
            (Some(100), Some(100), Ok(Some(0))),
            (Some(100), Some(-1), Ok(Some(-1))),
            (Some(100), None, Ok(None)),
            (
                None,
                Some(5),
                Err("unable to set swap limit without memory limit"),
            ),
            (
                Some(-1),
                Some(5),
                Err("unable to set swap limit without memory limit"),
            ),
            (
                Some(100),
                Some(50),
                Err("memory+swap limit should be >= memory limit"),
            ),
        ];
        for (memory, swap, expected) in cases {
            let told = swap_alone(memory, swap).map_err(|error| error.to_string());
            let expected = expected.map_err(|reason| format!("invalid configuration: {reason}"));
            assert_eq!(told, expected);
        }
    }

    #[test]
    fn a_quota_alone_and_a_period_alone() {
        assert_eq!(
            pairs(&plan_of(r#"{"cpu":{"quota":5000}}"#, &[])),
            [("cpu.max", "5000 100000")]
        );
        assert_eq!(
            pairs(&plan_of(r#"{"cpu":{"quota":-1}}"#, &[])),
            [("cpu.max", "max 100000")]
        );
        assert_eq!(
            pairs(&plan_of(r#"{"cpu":{"period":5000}}"#, &[])),
            [("cpu.max", "max 5000")]
        );
    }

    #[test]
    fn block_weights_go_to_the_scheduler_that_is_there() {
        let json = r#"{"blockIO":{"weight":750,"weightDevice":[{"major":7,"minor":0,"weight":444}],
            "throttleReadIOPSDevice":[{"major":7,"minor":0,"rate":9}]}}"#;
        let plain = plan_of(json, &[]);
        assert_eq!(
            pairs(&plain),
            [("io.weight", "7475"), ("io.max", "7:0 riops=9")]
        );
        let bfq = plan_of(json, &[("io.bfq.weight", "default 100\n")]);
        assert_eq!(
            pairs(&bfq)[..2],
            [("io.bfq.weight", "750"), ("io.bfq.weight", "7:0 444")]
        );
        let old = plan_of(json, &[("io.bfq.weight", "100\n")]);
        assert_eq!(
            pairs(&old)[..2],
            [("io.bfq.weight", "750"), ("io.max", "7:0 riops=9")]
        );
    }

    #[test]
    fn less_memory_than_is_in_use_is_refused_when_asked() {
        let json = r#"{"memory":{"limit":100,"checkBeforeUpdate":true}}"#;
        let paper = Paper([("memory.current", "100\n")].into_iter().collect());
        let error = plan(&limits(json), &paper).unwrap_err();
        assert_eq!(error.to_string(), "rejecting memory limit 100 <= usage 100");
        let paper = Paper([("memory.current", "99\n")].into_iter().collect());
        assert!(plan(&limits(json), &paper).is_ok());
    }

    #[test]
    fn the_unified_map_comes_last_and_stays_inside() {
        let writes = plan_of(r#"{"pids":{"limit":5},"unified":{"pids.max":"9"}}"#, &[]);
        assert_eq!(pairs(&writes), [("pids.max", "5"), ("pids.max", "9")]);
        let outside = plan(&limits(r#"{"unified":{"../x":"9"}}"#), &Paper::default());
        assert!(outside.unwrap_err().to_string().contains("no slashes"));
    }
}
