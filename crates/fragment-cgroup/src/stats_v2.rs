//! Statistics of cgroup v2, in the units and names of v1 that everybody reads.

use std::path::Path;

use crate::error::CgroupError;
use crate::gauge::{Gauge, huge_page_sizes};
use crate::group::processes_in;
use crate::stats::{
    Blkio, BlkioEntry, Cpu, Hugetlb, Memory, MemoryEntry, Pids, Pressure, PressureLine, Stats,
};
use crate::stats_v1::pids;

pub(crate) fn read(path: &Path) -> Result<Stats, CgroupError> {
    let gauge = Gauge(path);
    let mut stats = Stats {
        cpu: cpu(gauge)?,
        memory: memory(gauge)?,
        pids: pids(gauge)?,
        blkio: blkio(gauge)?,
        ..Stats::default()
    };
    if gauge.text("pids.current")?.is_none() {
        // without the controller they can still be counted
        stats.pids = Pids {
            current: u64::try_from(processes_in(path, usize::MAX).len()).unwrap_or(0),
            limit: 0,
        };
    }
    for size in huge_page_sizes() {
        let file = |what: &str| format!("hugetlb.{size}.{what}");
        let Some(usage) = gauge.number(&file("current"))? else {
            continue;
        };
        let events = gauge.table(&file("events"))?;
        let entry = Hugetlb {
            usage,
            max: 0,
            failcnt: events.get("max").copied().unwrap_or(0),
        };
        stats.hugetlb.insert(size, entry);
    }
    Ok(stats)
}

fn cpu(gauge: Gauge<'_>) -> Result<Cpu, CgroupError> {
    let table = gauge.table("cpu.stat")?;
    let of = |key: &str| table.get(key).copied().unwrap_or(0);
    let mut cpu = Cpu {
        psi: pressure(gauge, "cpu.pressure")?,
        ..Cpu::default()
    };
    // microseconds here
    cpu.usage.total = of("usage_usec") * 1000;
    cpu.usage.user = of("user_usec") * 1000;
    cpu.usage.kernel = of("system_usec") * 1000;
    cpu.throttling.periods = of("nr_periods");
    cpu.throttling.throttled_periods = of("nr_throttled");
    cpu.throttling.throttled_time = of("throttled_usec") * 1000;
    Ok(cpu)
}

fn memory(gauge: Gauge<'_>) -> Result<Memory, CgroupError> {
    let raw = gauge.table("memory.stat")?;
    let entry = |name: &str, table: &str| -> Result<MemoryEntry, CgroupError> {
        let number = |what: &str| gauge.number_or_zero(&format!("memory.{name}{what}"));
        let events = gauge.table(table)?;
        Ok(MemoryEntry {
            limit: number("max")?,
            usage: number("current")?,
            max: number("peak")?,
            failcnt: events.get("max").copied().unwrap_or(0),
        })
    };
    let usage = entry("", "memory.events")?;
    let mut swap = entry("swap.", "memory.swap.events")?;
    // v1 counts memory with it
    swap.usage = swap.usage.saturating_add(usage.usage);
    swap.limit = swap.limit.saturating_add(usage.limit);
    swap.max = 0;
    Ok(Memory {
        cache: raw.get("file").copied().unwrap_or(0),
        usage,
        swap,
        raw,
        psi: pressure(gauge, "memory.pressure")?,
        ..Memory::default()
    })
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0`
fn blkio(gauge: Gauge<'_>) -> Result<Blkio, CgroupError> {
    const FILE: &str = "io.stat";
    let text = gauge.text(FILE)?.unwrap_or_default();
    let mut blkio = Blkio {
        psi: pressure(gauge, "io.pressure")?,
        ..Blkio::default()
    };
    for line in text.lines() {
        let mut fields = line.split_whitespace();
        let Some((major, minor)) = fields.next().and_then(|device| device.split_once(':')) else {
            continue;
        };
        let (major, minor) = (gauge.parse(FILE, major)?, gauge.parse(FILE, minor)?);
        for (key, value) in fields.filter_map(|field| field.split_once('=')) {
            let (list, op) = match key {
                "rbytes" => (&mut blkio.io_service_bytes_recursive, "Read"),
                "wbytes" => (&mut blkio.io_service_bytes_recursive, "Write"),
                "rios" => (&mut blkio.io_serviced_recursive, "Read"),
                "wios" => (&mut blkio.io_serviced_recursive, "Write"),
                _ => continue,
            };
            list.push(BlkioEntry {
                major,
                minor,
                op: op.to_owned(),
                value: gauge.parse(FILE, value)?,
            });
        }
    }
    Ok(blkio)
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`; nothing where the kernel does not count.
fn pressure(gauge: Gauge<'_>, file: &str) -> Result<Option<Pressure>, CgroupError> {
    let Some(text) = gauge.text(file)? else {
        return Ok(None);
    };
    let mut pressure = Pressure::default();
    for line in text.lines() {
        let mut fields = line.split_whitespace();
        let target = match fields.next() {
            Some("some") => &mut pressure.some,
            Some("full") => &mut pressure.full,
            _ => continue,
        };
        *target = pressure_line(fields).ok_or_else(|| gauge.malformed(file, line))?;
    }
    Ok(Some(pressure))
}

fn pressure_line<'a>(fields: impl Iterator<Item = &'a str>) -> Option<PressureLine> {
    let mut line = PressureLine::default();
    for field in fields {
        let (key, value) = field.split_once('=')?;
        match key {
            "avg10" => line.avg10 = value.parse().ok()?,
            "avg60" => line.avg60 = value.parse().ok()?,
            "avg300" => line.avg300 = value.parse().ok()?,
            "total" => line.total = value.parse().ok()?,
            _ => {}
        }
    }
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats_v1::directory;

    #[test]
    fn a_cgroup_is_read_in_the_units_of_v1() {
        let dir = directory(&[
            (
                "cpu.stat",
                "usage_usec 9\nuser_usec 5\nsystem_usec 4\nnr_periods 0\n",
            ),
            ("memory.stat", "anon 5\nfile 4096\n"),
            ("memory.current", "8192\n"),
            ("memory.max", "16384\n"),
            ("memory.events", "low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\n"),
            ("memory.swap.current", "100\n"),
            ("memory.swap.max", "max\n"),
            ("pids.current", "2\n"),
            ("pids.max", "max\n"),
            (
                "io.stat",
                "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n",
            ),
            (
                "cpu.pressure",
                "some avg10=1.50 avg60=0.00 avg300=0.00 total=77\n",
            ),
        ]);
        let stats = read(dir.path()).unwrap();
        assert_eq!(
            (stats.cpu.usage.total, stats.cpu.usage.kernel),
            (9000, 4000)
        );
        assert_eq!(stats.memory.cache, 4096);
        assert_eq!(
            (stats.memory.usage.limit, stats.memory.usage.failcnt),
            (16384, 3)
        );
        assert_eq!(
            (stats.memory.swap.usage, stats.memory.swap.limit),
            (8292, u64::MAX)
        );
        assert_eq!((stats.pids.current, stats.pids.limit), (2, 0));
        assert_eq!(stats.blkio.io_serviced_recursive[1].value, 4);
        let pressure = stats.cpu.psi.unwrap();
        assert_eq!((pressure.some.avg10, pressure.some.total), (1.5, 77));
        assert_eq!(stats.memory.psi, None);
    }

    #[test]
    fn the_json_is_runcs() {
        let stats = Stats::default();
        let json = serde_json::to_string(&stats).unwrap();
        assert_eq!(
            json,
            r#"{"cpu":{"usage":{"kernel":0,"user":0},"throttling":{}},"cpuset":{"cpu_exclusive":0,"mem_hardwall":0,"mem_exclusive":0,"memory_migrate":0,"memory_spread_page":0,"memory_spread_slab":0,"memory_pressure":0,"sched_load_balance":0,"sched_relax_domain_level":0},"memory":{"usage":{"limit":0,"failcnt":0},"swap":{"limit":0,"failcnt":0},"kernel":{"limit":0,"failcnt":0},"kernelTCP":{"limit":0,"failcnt":0}},"pids":{},"blkio":{},"hugetlb":{},"intel_rdt":{},"network_interfaces":null}"#
        );
    }
}
