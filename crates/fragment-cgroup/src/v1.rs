//! The plan for v1 controllers.

use crate::error::CgroupError;
use crate::plan::{Care, View, Write};
use crate::resources::{Block, Resources, Throttle};

const MEMORY_LIMIT: &str = "memory.limit_in_bytes";
const SWAP_LIMIT: &str = "memory.memsw.limit_in_bytes";

/// What is written for `resources`, in order; devices apart.
pub(crate) fn plan(resources: &Resources, view: &impl View) -> Result<Vec<Write>, CgroupError> {
    if !resources.unified.is_empty() {
        return Err(CgroupError::Invalid(
            "cannot use unified on cgroup v1".to_owned(),
        ));
    }
    let mut writes = Vec::new();
    cpuset(resources, &mut writes);
    memory(resources, view, &mut writes);
    cpu(resources, &mut writes);
    if let Some(limit) = resources.pids {
        let value = if limit > 0 {
            limit.to_string()
        } else {
            "max".to_owned()
        };
        writes.push(Write::new("pids", "pids.max", value));
    }
    block(&resources.block, view, &mut writes);
    for (size, bytes) in &resources.hugepages {
        writes.push(Write::new(
            "hugetlb",
            format!("hugetlb.{size}.limit_in_bytes"),
            bytes,
        ));
        // reservations count apart (Linux 5.7); without a limit of their own they get around the other
        let reserved = format!("hugetlb.{size}.rsvd.limit_in_bytes");
        writes.push(Write::new("hugetlb", reserved, bytes).with(Care::Optional));
    }
    if let Some(id) = resources.class_id {
        writes.push(Write::new("net_cls", "net_cls.classid", id));
    }
    for (interface, priority) in &resources.priorities {
        writes.push(Write::new(
            "net_prio",
            "net_prio.ifpriomap",
            format!("{interface} {priority}"),
        ));
    }
    rdma(resources, &mut writes);
    Ok(writes)
}

fn cpuset(resources: &Resources, writes: &mut Vec<Write>) {
    if let Some(cpus) = &resources.cpus {
        writes.push(Write::new("cpuset", "cpuset.cpus", cpus));
    }
    if let Some(mems) = &resources.mems {
        writes.push(Write::new("cpuset", "cpuset.mems", mems));
    }
}

/// Memory and memory with swap bound each other: the kernel refuses an order in which the second would be below the first.
fn memory(resources: &Resources, view: &impl View, writes: &mut Vec<Write>) {
    let memory = resources.memory;
    let mut swap = resources.memory_swap;
    if memory == Some(-1) && swap.is_none() && view.has("memory", SWAP_LIMIT) {
        // no limit means none on swap either
        swap = Some(-1);
    }
    let memory_write =
        memory.map(|limit| Write::new("memory", MEMORY_LIMIT, limit).with(Care::Usage));
    let swap_write = swap.map(|limit| Write::new("memory", SWAP_LIMIT, limit));
    let now = || {
        let text = view.text("memory", MEMORY_LIMIT)?;
        text.trim().parse::<u64>().ok()
    };
    let swap_first = match (memory, swap) {
        (Some(_), Some(-1)) => true,
        (Some(_), Some(limit)) => now().is_some_and(|now| now < u64::try_from(limit).unwrap_or(0)),
        _ => false,
    };
    if swap_first {
        writes.extend(swap_write.into_iter().chain(memory_write));
    } else {
        writes.extend(memory_write.into_iter().chain(swap_write));
    }
    if let Some(reservation) = resources.memory_reservation {
        writes.push(Write::new(
            "memory",
            "memory.soft_limit_in_bytes",
            reservation,
        ));
    }
    if resources.oom_kill_disable {
        writes.push(Write::new("memory", "memory.oom_control", "1"));
    }
    if let Some(swappiness) = resources.swappiness {
        writes.push(Write::new("memory", "memory.swappiness", swappiness));
    }
}

fn cpu(resources: &Resources, writes: &mut Vec<Write>) {
    if let Some(idle) = resources.cpu_idle {
        writes.push(Write::new("cpu", "cpu.idle", idle));
    }
    if let Some(shares) = resources.cpu_shares {
        writes.push(Write::new("cpu", "cpu.shares", shares).with(Care::ReadBack));
    }
    let quota = resources
        .cpu_quota
        .map(|quota| Write::new("cpu", "cpu.cfs_quota_us", quota));
    let period = resources
        .cpu_period
        .map(|period| Write::new("cpu", "cpu.cfs_period_us", period));
    let burst = resources
        .cpu_burst
        .map(|burst| Write::new("cpu", "cpu.cfs_burst_us", burst));
    around(period, quota.is_some(), writes);
    around(burst, quota.is_some(), writes);
    writes.extend(quota);
    for file in ["cpu.cfs_period_us", "cpu.cfs_burst_us"] {
        again(writes, file);
    }
    if let Some(period) = resources.cpu_rt_period {
        writes.push(Write::new("cpu", "cpu.rt_period_us", period));
    }
    if let Some(runtime) = resources.cpu_rt_runtime {
        writes.push(Write::new("cpu", "cpu.rt_runtime_us", runtime));
    }
}

/// A value that the kernel may refuse as long as the old quota stands (old quota by new period can exceed the parent's
/// share): tried before the quota, and again after it.
fn around(write: Option<Write>, has_quota: bool, writes: &mut Vec<Write>) {
    let care = if has_quota { Care::First } else { Care::None };
    writes.extend(write.map(|write| write.with(care)));
}

fn again(writes: &mut Vec<Write>, file: &str) {
    let first = writes
        .iter()
        .find(|one| one.file == file && one.care == Care::First)
        .cloned();
    writes.extend(first.map(|one| one.with(Care::Again)));
}

fn block(block: &Block, view: &impl View, writes: &mut Vec<Write>) {
    // the weights of CFQ, which are gone since Linux 5.0, or those of BFQ
    let bfq = !view.has("blkio", "blkio.weight");
    let name = |plain: &'static str, bfq_name: &'static str| if bfq { bfq_name } else { plain };
    let mut push = |file: &str, value: String| writes.push(Write::new("blkio", file, value));
    if let Some(weight) = block.weight {
        push(name("blkio.weight", "blkio.bfq.weight"), weight.to_string());
    }
    if let Some(weight) = block.leaf_weight {
        push("blkio.leaf_weight", weight.to_string());
    }
    for one in &block.devices {
        if let Some(weight) = one.weight {
            let file = name("blkio.weight_device", "blkio.bfq.weight_device");
            push(file, format!("{} {weight}", one.device));
        }
        if let Some(weight) = one.leaf_weight {
            push(
                "blkio.leaf_weight_device",
                format!("{} {weight}", one.device),
            );
        }
    }
    let throttles: [(&str, &Vec<Throttle>); 4] = [
        ("read_bps", &block.read_bps),
        ("write_bps", &block.write_bps),
        ("read_iops", &block.read_iops),
        ("write_iops", &block.write_iops),
    ];
    for (kind, list) in throttles {
        for one in list {
            push(
                &format!("blkio.throttle.{kind}_device"),
                format!("{} {}", one.device, one.rate),
            );
        }
    }
}

/// The same files on both versions.
pub(crate) fn rdma(resources: &Resources, writes: &mut Vec<Write>) {
    for (device, (handles, objects)) in &resources.rdma {
        let mut value = device.clone();
        if let Some(handles) = handles {
            value.push_str(&format!(" hca_handle={handles}"));
        }
        if let Some(objects) = objects {
            value.push_str(&format!(" hca_object={objects}"));
        }
        writes.push(Write::new("rdma", "rdma.max", value));
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
            r#"{"cpu":{"shares":100,"cpus":"0-1","mems":"0","idle":1},"pids":{"limit":-1},
                "memory":{"reservation":5,"swappiness":0,"disableOOMKiller":true},"network":{"classID":9,
                "priorities":[{"name":"lo","priority":3}]},"hugepageLimits":[{"pageSize":"2MB","limit":7}]}"#,
            &[],
        );
        let expected = [
            ("cpuset.cpus", "0-1"),
            ("cpuset.mems", "0"),
            ("memory.soft_limit_in_bytes", "5"),
            ("memory.oom_control", "1"),
            ("memory.swappiness", "0"),
            ("cpu.idle", "1"),
            ("cpu.shares", "100"),
            ("pids.max", "max"),
            ("hugetlb.2MB.limit_in_bytes", "7"),
            ("hugetlb.2MB.rsvd.limit_in_bytes", "7"),
            ("net_cls.classid", "9"),
            ("net_prio.ifpriomap", "lo 3"),
        ];
        assert_eq!(pairs(&writes), expected);
    }

    #[test]
    fn memory_and_swap_are_written_in_the_order_the_kernel_takes() {
        let json = r#"{"memory":{"limit":100,"swap":200}}"#;
        let raised = plan_of(json, &[(MEMORY_LIMIT, "50")]);
        assert_eq!(pairs(&raised), [(SWAP_LIMIT, "200"), (MEMORY_LIMIT, "100")]);
        let lowered = plan_of(json, &[(MEMORY_LIMIT, "9223372036854771712")]);
        assert_eq!(
            pairs(&lowered),
            [(MEMORY_LIMIT, "100"), (SWAP_LIMIT, "200")]
        );
    }

    #[test]
    fn no_memory_limit_is_no_swap_limit_where_swap_is_counted() {
        let json = r#"{"memory":{"limit":-1}}"#;
        assert_eq!(pairs(&plan_of(json, &[])), [(MEMORY_LIMIT, "-1")]);
        let counted = plan_of(json, &[(SWAP_LIMIT, "")]);
        assert_eq!(pairs(&counted), [(SWAP_LIMIT, "-1"), (MEMORY_LIMIT, "-1")]);
    }

    #[test]
    fn a_period_that_needs_the_new_quota_is_tried_twice() {
        let writes = plan_of(r#"{"cpu":{"quota":3000,"period":10000}}"#, &[]);
        let expected = [
            ("cpu.cfs_period_us", "10000"),
            ("cpu.cfs_quota_us", "3000"),
            ("cpu.cfs_period_us", "10000"),
        ];
        assert_eq!(pairs(&writes), expected);
        let alone = plan_of(r#"{"cpu":{"period":10000}}"#, &[]);
        assert_eq!(alone.len(), 1);
        assert_eq!(alone[0].care, Care::None);
    }

    #[test]
    fn block_weights_go_to_the_scheduler_that_is_there() {
        let json = r#"{"blockIO":{"weight":333,"weightDevice":[{"major":7,"minor":0,"weight":444}],
            "throttleWriteBpsDevice":[{"major":7,"minor":0,"rate":1048576}]}}"#;
        let bfq = plan_of(json, &[]);
        let expected = [
            ("blkio.bfq.weight", "333"),
            ("blkio.bfq.weight_device", "7:0 444"),
            ("blkio.throttle.write_bps_device", "7:0 1048576"),
        ];
        assert_eq!(pairs(&bfq), expected);
        let cfq = plan_of(json, &[("blkio.weight", "")]);
        assert_eq!(pairs(&cfq)[0], ("blkio.weight", "333"));
    }

    #[test]
    fn the_unified_map_needs_v2() {
        let error = plan(
            &limits(r#"{"unified":{"memory.min":"1"}}"#),
            &Paper::default(),
        );
        assert!(
            error
                .unwrap_err()
                .to_string()
                .contains("invalid configuration")
        );
    }
}
