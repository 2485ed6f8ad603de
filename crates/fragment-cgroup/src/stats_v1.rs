//! Statistics of v1 controllers.

use crate::error::CgroupError;
use crate::gauge::{Gauge, huge_page_sizes};
use crate::group::Cgroup;
use crate::stats::{Blkio, BlkioEntry, Cpu, Cpuset, Hugetlb, Memory, MemoryEntry, Pids, Stats};

/// Clock ticks a second in the kernel's files, which is 100 on every machine (USER_HZ).
const NANOSECONDS_A_TICK: u64 = 1_000_000_000 / 100;

pub(crate) fn read(cgroup: &Cgroup) -> Result<Stats, CgroupError> {
    let mut stats = Stats::default();
    let gauge = |controller: &str| cgroup.directory(controller).map(Gauge);
    if let Some(gauge) = gauge("cpu") {
        throttling(gauge, &mut stats.cpu)?;
    }
    if let Some(gauge) = gauge("cpuacct") {
        usage(gauge, &mut stats.cpu)?;
    }
    if let Some(gauge) = gauge("cpuset") {
        stats.cpuset = cpuset(gauge)?;
    }
    if let Some(gauge) = gauge("memory") {
        stats.memory = memory(gauge)?;
    }
    if let Some(gauge) = gauge("pids") {
        stats.pids = pids(gauge)?;
    }
    if let Some(gauge) = gauge("blkio") {
        stats.blkio = blkio(gauge)?;
    }
    if let Some(gauge) = gauge("hugetlb") {
        for size in huge_page_sizes() {
            let number = |what: &str| gauge.number_or_zero(&format!("hugetlb.{size}.{what}"));
            let entry = Hugetlb {
                usage: number("usage_in_bytes")?,
                max: number("max_usage_in_bytes")?,
                failcnt: number("failcnt")?,
            };
            stats.hugetlb.insert(size, entry);
        }
    }
    Ok(stats)
}

fn throttling(gauge: Gauge<'_>, cpu: &mut Cpu) -> Result<(), CgroupError> {
    let table = gauge.table("cpu.stat")?;
    let of = |key: &str| table.get(key).copied().unwrap_or(0);
    cpu.throttling.periods = of("nr_periods");
    cpu.throttling.throttled_periods = of("nr_throttled");
    cpu.throttling.throttled_time = of("throttled_time");
    Ok(())
}

fn usage(gauge: Gauge<'_>, cpu: &mut Cpu) -> Result<(), CgroupError> {
    let ticks = gauge.table("cpuacct.stat")?;
    let of = |key: &str| ticks.get(key).copied().unwrap_or(0) * NANOSECONDS_A_TICK;
    cpu.usage.user = of("user");
    cpu.usage.kernel = of("system");
    cpu.usage.total = gauge.number_or_zero("cpuacct.usage")?;
    let percpu = gauge.text("cpuacct.usage_percpu")?.unwrap_or_default();
    for field in percpu.split_whitespace() {
        cpu.usage
            .percpu
            .push(gauge.parse("cpuacct.usage_percpu", field)?);
    }
    // a header, then: processor, user, system
    let all = gauge.text("cpuacct.usage_all")?.unwrap_or_default();
    for line in all.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if let [_, user, kernel] = fields[..] {
            cpu.usage
                .percpu_user
                .push(gauge.parse("cpuacct.usage_all", user)?);
            cpu.usage
                .percpu_kernel
                .push(gauge.parse("cpuacct.usage_all", kernel)?);
        }
    }
    Ok(())
}

fn cpuset(gauge: Gauge<'_>) -> Result<Cpuset, CgroupError> {
    let number = |file: &str| gauge.number_or_zero(&format!("cpuset.{file}"));
    let level = gauge.text("cpuset.sched_relax_domain_level")?;
    Ok(Cpuset {
        cpus: list(gauge, "cpuset.cpus")?,
        cpu_exclusive: number("cpu_exclusive")?,
        mems: list(gauge, "cpuset.mems")?,
        mem_hardwall: number("mem_hardwall")?,
        mem_exclusive: number("mem_exclusive")?,
        memory_migrate: number("memory_migrate")?,
        memory_spread_page: number("memory_spread_page")?,
        memory_spread_slab: number("memory_spread_slab")?,
        memory_pressure: number("memory_pressure")?,
        sched_load_balance: number("sched_load_balance")?,
        sched_relax_domain_level: level.and_then(|text| text.trim().parse().ok()).unwrap_or(0),
    })
}

/// 0-2,5
fn list(gauge: Gauge<'_>, file: &str) -> Result<Vec<u16>, CgroupError> {
    let text = gauge.text(file)?.unwrap_or_default();
    let mut numbers = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        match (first.parse::<u16>(), last.parse::<u16>()) {
            (Ok(first), Ok(last)) if first <= last => numbers.extend(first..=last),
            _ => return Err(gauge.malformed(file, part)),
        }
    }
    Ok(numbers)
}

fn memory(gauge: Gauge<'_>) -> Result<Memory, CgroupError> {
    let entry = |name: &str| -> Result<MemoryEntry, CgroupError> {
        let number = |what: &str| gauge.number_or_zero(&format!("memory.{name}{what}"));
        Ok(MemoryEntry {
            limit: number("limit_in_bytes")?,
            usage: number("usage_in_bytes")?,
            max: number("max_usage_in_bytes")?,
            failcnt: number("failcnt")?,
        })
    };
    let raw = gauge.table("memory.stat")?;
    Ok(Memory {
        cache: raw.get("cache").copied().unwrap_or(0),
        usage: entry("")?,
        swap: entry("memsw.")?,
        kernel: entry("kmem.")?,
        kernel_tcp: entry("kmem.tcp.")?,
        raw,
        psi: None,
    })
}

pub(crate) fn pids(gauge: Gauge<'_>) -> Result<Pids, CgroupError> {
    let limit = gauge.number_or_zero("pids.max")?;
    Ok(Pids {
        current: gauge.number_or_zero("pids.current")?,
        // no limit has always been shown as none
        limit: if limit == u64::MAX { 0 } else { limit },
    })
}

/// BFQ's files, else CFQ's, else those of throttling, with or without child cgroups: the first that are there.
fn blkio(gauge: Gauge<'_>) -> Result<Blkio, CgroupError> {
    let mut blkio = Blkio::default();
    for prefix in ["blkio.bfq.", "blkio."] {
        let serviced = entries(gauge, &format!("{prefix}io_serviced_recursive"))?;
        let sectors = entries(gauge, &format!("{prefix}sectors_recursive"))?;
        if serviced.is_empty() && sectors.is_empty() {
            continue;
        }
        let of = |what: &str| entries(gauge, &format!("{prefix}{what}_recursive"));
        blkio.io_serviced_recursive = serviced;
        blkio.sectors_recursive = sectors;
        blkio.io_service_bytes_recursive = of("io_service_bytes")?;
        blkio.io_service_time_recursive = of("io_service_time")?;
        blkio.io_wait_time_recursive = of("io_wait_time")?;
        blkio.io_merged_recursive = of("io_merged")?;
        blkio.io_queued_recursive = of("io_queued")?;
        blkio.io_time_recursive = of("time")?;
        return Ok(blkio);
    }
    for suffix in ["_recursive", ""] {
        let of = |what: &str| entries(gauge, &format!("blkio.throttle.{what}{suffix}"));
        blkio.io_serviced_recursive = of("io_serviced")?;
        blkio.io_service_bytes_recursive = of("io_service_bytes")?;
        if !blkio.io_serviced_recursive.is_empty() {
            break;
        }
    }
    Ok(blkio)
}

/// `8:0 Read 124` or `8:0 124`; the total of all devices is left out.
fn entries(gauge: Gauge<'_>, file: &str) -> Result<Vec<BlkioEntry>, CgroupError> {
    let text = gauge.text(file)?.unwrap_or_default();
    let mut entries = Vec::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split([' ', ':']).collect();
        let (major, minor, op, value) = match fields[..] {
            ["Total", _] => continue,
            [major, minor, value] => (major, minor, "", value),
            [major, minor, op, value] => (major, minor, op, value),
            _ => return Err(gauge.malformed(file, line)),
        };
        entries.push(BlkioEntry {
            major: gauge.parse(file, major)?,
            minor: gauge.parse(file, minor)?,
            op: op.to_owned(),
            value: gauge.parse(file, value)?,
        });
    }
    Ok(entries)
}

/// For tests of both versions: a directory with these files.
#[cfg(test)]
pub(crate) fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (file, text) in files {
        std::fs::write(dir.path().join(file), text).unwrap();
    }
    dir
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_in_nanoseconds() {
        let dir = directory(&[
            ("cpuacct.stat", "user 7\nsystem 3\n"),
            ("cpuacct.usage", "123\n"),
            ("cpuacct.usage_percpu", "100 23 \n"),
            ("cpuacct.usage_all", "cpu user system\n0 60 40\n1 20 3\n"),
            (
                "cpu.stat",
                "nr_periods 5\nnr_throttled 2\nthrottled_time 900\n",
            ),
        ]);
        let mut cpu = Cpu::default();
        usage(Gauge(dir.path()), &mut cpu).unwrap();
        throttling(Gauge(dir.path()), &mut cpu).unwrap();
        assert_eq!(
            (cpu.usage.user, cpu.usage.kernel, cpu.usage.total),
            (70_000_000, 30_000_000, 123)
        );
        assert_eq!(cpu.usage.percpu, [100, 23]);
        assert_eq!(
            (cpu.usage.percpu_user, cpu.usage.percpu_kernel),
            (vec![60, 20], vec![40, 3])
        );
        assert_eq!(cpu.throttling.throttled_time, 900);
    }

    #[test]
    fn lists_of_processors_are_spread_out() {
        let dir = directory(&[("a", "0-2,5\n"), ("b", "\n"), ("c", "3-1\n")]);
        assert_eq!(list(Gauge(dir.path()), "a").unwrap(), [0, 1, 2, 5]);
        assert!(list(Gauge(dir.path()), "b").unwrap().is_empty());
        assert!(list(Gauge(dir.path()), "c").is_err());
    }

    #[test]
    fn block_devices_are_read_from_what_is_there() {
        let text = "8:0 Read 10\n8:0 Total 10\nTotal 10\n";
        let dir = directory(&[
            ("blkio.throttle.io_serviced", text),
            ("blkio.throttle.io_service_bytes", "8:0 Read 4096\n"),
        ]);
        let found = blkio(Gauge(dir.path())).unwrap();
        let ops: Vec<_> = found
            .io_serviced_recursive
            .iter()
            .map(|one| one.op.as_str())
            .collect();
        assert_eq!(ops, ["Read", "Total"]);
        assert_eq!(found.io_service_bytes_recursive[0].value, 4096);
        std::fs::write(
            dir.path().join("blkio.bfq.io_serviced_recursive"),
            "8:16 Write 3\n",
        )
        .unwrap();
        let found = blkio(Gauge(dir.path())).unwrap();
        assert_eq!(found.io_serviced_recursive[0].minor, 16);
    }
}
