//! What a container may use, in one flat form: read from `linux.resources`, kept in the record, changed by `update`.
//!
//! As in runc's own form a value that is not set is not written; unlike there, what is not set is `None` and never zero. Zeros
//! of config.json mean "not set" for the settings runc treats so, because engines written in Go send them.

use std::collections::BTreeMap;

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources, LinuxThrottleDevice};
use serde::{Deserialize, Serialize};

use crate::devices::Rule;
use crate::error::CgroupError;

/// Limits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Resources {
    /// Relative weight, 2 and more; 1024 is the kernel's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_shares: Option<u64>,
    /// Microseconds a period; negative for no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_quota: Option<i64>,
    /// Microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_period: Option<u64>,
    /// Microseconds that may be saved up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_burst: Option<u64>,
    /// Microseconds a real-time period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_rt_runtime: Option<i64>,
    /// Microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_rt_period: Option<u64>,
    /// 1 for SCHED_IDLE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_idle: Option<i64>,
    /// List of processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<String>,
    /// List of memory nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mems: Option<String>,
    /// Bytes; -1 for no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<i64>,
    /// Bytes of memory and swap together; -1 for no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_swap: Option<i64>,
    /// Bytes; -1 for no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_reservation: Option<i64>,
    /// 0 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swappiness: Option<u64>,
    /// Processes wait for memory instead of being killed; v1 only.
    pub oom_kill_disable: bool,
    /// Refuse a memory limit below what is in use.
    pub check_before_update: bool,
    /// Processes and threads; negative for no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<i64>,
    /// Block devices.
    pub block: Block,
    /// Bytes of huge pages, by page size as the kernel writes it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub hugepages: BTreeMap<String, u64>,
    /// net_cls; v1 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_id: Option<u32>,
    /// net_prio, by interface; v1 only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub priorities: Vec<(String, u32)>,
    /// By device: handles and objects.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rdma: BTreeMap<String, (Option<u32>, Option<u32>)>,
    /// Files of cgroup v2 as they are.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unified: BTreeMap<String, String>,
    /// Who may use which device, the defaults included.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<Rule>,
}

/// Limits on block devices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Block {
    /// 10 to 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// For competition with child cgroups; v1 with CFQ only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaf_weight: Option<u16>,
    /// By device.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceWeight>,
    /// Bytes a second.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub read_bps: Vec<Throttle>,
    /// Bytes a second.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub write_bps: Vec<Throttle>,
    /// Operations a second.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub read_iops: Vec<Throttle>,
    /// Operations a second.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub write_iops: Vec<Throttle>,
}

/// The weight of one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceWeight {
    /// `major:minor`
    pub device: String,
    /// 10 to 1000.
    pub weight: Option<u16>,
    /// The same against child cgroups.
    pub leaf_weight: Option<u16>,
}

/// A limit on one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttle {
    /// `major:minor`
    pub device: String,
    /// Units a second.
    pub rate: u64,
}

impl Resources {
    /// Reads `linux.resources`; of a missing section too, because the default device rules apply to every container.
    ///
    /// # Errors
    /// [`CgroupError::DeviceRule`], [`CgroupError::Invalid`].
    pub fn of(spec: Option<&LinuxResources>) -> Result<Self, CgroupError> {
        let mut resources = spec.map(Self::limits).transpose()?.unwrap_or_default();
        let rules = spec
            .and_then(|spec| spec.devices().as_deref())
            .unwrap_or_default();
        resources.devices = Rule::list(rules)?;
        Ok(resources)
    }

    /// The same without devices: what `update` reads.
    ///
    /// # Errors
    /// [`CgroupError::Invalid`].
    pub fn limits(spec: &LinuxResources) -> Result<Self, CgroupError> {
        let mut resources = Self::default();
        if let Some(cpu) = spec.cpu() {
            resources.read_cpu(cpu);
        }
        if let Some(memory) = spec.memory() {
            resources.read_memory(memory)?;
        }
        resources.pids = spec
            .pids()
            .as_ref()
            .map(oci_spec::runtime::LinuxPids::limit)
            .filter(|it| *it != 0);
        if let Some(block) = spec.block_io() {
            resources.block = read_block(block);
        }
        for limit in spec.hugepage_limits().iter().flatten() {
            let bytes = u64::try_from(limit.limit()).unwrap_or(u64::MAX);
            resources.hugepages.insert(limit.page_size().clone(), bytes);
        }
        if let Some(network) = spec.network() {
            resources.class_id = network.class_id().filter(|id| *id != 0);
            let priorities = network.priorities().iter().flatten();
            resources.priorities = priorities
                .map(|one| (one.name().clone(), one.priority()))
                .collect();
        }
        for (device, limits) in spec.rdma().iter().flatten() {
            let limits = (limits.hca_handles(), limits.hca_objects());
            resources.rdma.insert(device.clone(), limits);
        }
        for (key, value) in spec.unified().iter().flatten() {
            resources.unified.insert(key.clone(), value.clone());
        }
        Ok(resources)
    }

    fn read_cpu(&mut self, cpu: &LinuxCpu) {
        let text = |list: &Option<String>| list.clone().filter(|list| !list.is_empty());
        self.cpu_shares = cpu.shares().filter(|it| *it != 0);
        self.cpu_quota = cpu.quota().filter(|it| *it != 0);
        self.cpu_period = cpu.period().filter(|it| *it != 0);
        self.cpu_burst = cpu.burst();
        self.cpu_rt_runtime = cpu.realtime_runtime().filter(|it| *it != 0);
        self.cpu_rt_period = cpu.realtime_period().filter(|it| *it != 0);
        self.cpu_idle = cpu.idle();
        self.cpus = text(cpu.cpus());
        self.mems = text(cpu.mems());
    }

    fn read_memory(&mut self, memory: &LinuxMemory) -> Result<(), CgroupError> {
        if memory.kernel().is_some_and(|it| it != 0)
            || memory.kernel_tcp().is_some_and(|it| it != 0)
        {
            tracing::warn!("Kernel memory settings are ignored and will be removed");
        }
        self.memory = memory.limit().filter(|it| *it != 0);
        self.memory_swap = memory.swap().filter(|it| *it != 0);
        self.memory_reservation = memory.reservation().filter(|it| *it != 0);
        // Go engines write -1 for "not set", which is this in an unsigned field
        self.swappiness = memory.swappiness().filter(|it| *it != u64::MAX);
        if let Some(value) = self.swappiness.filter(|value| *value > 100) {
            return Err(CgroupError::Invalid(format!(
                "invalid memory swappiness value: {value} (valid range is 0-100)"
            )));
        }
        self.oom_kill_disable = memory.disable_oom_killer().unwrap_or(false);
        self.check_before_update = memory.check_before_update().unwrap_or(false);
        Ok(())
    }

    /// What holds after a change: what the change says, else what was. Devices are not changed by updates.
    #[must_use]
    pub fn changed(&self, change: &Self) -> Self {
        fn either<T: Clone>(new: &Option<T>, old: &Option<T>) -> Option<T> {
            new.clone().or_else(|| old.clone())
        }
        fn list<T: Clone>(new: &[T], old: &[T]) -> Vec<T> {
            if new.is_empty() { old } else { new }.to_vec()
        }
        let mut merged = self.clone();
        merged.cpu_shares = either(&change.cpu_shares, &self.cpu_shares);
        merged.cpu_quota = either(&change.cpu_quota, &self.cpu_quota);
        merged.cpu_period = either(&change.cpu_period, &self.cpu_period);
        merged.cpu_burst = either(&change.cpu_burst, &self.cpu_burst);
        merged.cpu_rt_runtime = either(&change.cpu_rt_runtime, &self.cpu_rt_runtime);
        merged.cpu_rt_period = either(&change.cpu_rt_period, &self.cpu_rt_period);
        merged.cpu_idle = either(&change.cpu_idle, &self.cpu_idle);
        merged.cpus = either(&change.cpus, &self.cpus);
        merged.mems = either(&change.mems, &self.mems);
        merged.memory = either(&change.memory, &self.memory);
        merged.memory_swap = either(&change.memory_swap, &self.memory_swap);
        merged.memory_reservation = either(&change.memory_reservation, &self.memory_reservation);
        merged.swappiness = either(&change.swappiness, &self.swappiness);
        merged.oom_kill_disable |= change.oom_kill_disable;
        merged.check_before_update = change.check_before_update;
        merged.pids = either(&change.pids, &self.pids);
        merged.block = Block {
            weight: either(&change.block.weight, &self.block.weight),
            leaf_weight: either(&change.block.leaf_weight, &self.block.leaf_weight),
            devices: list(&change.block.devices, &self.block.devices),
            read_bps: list(&change.block.read_bps, &self.block.read_bps),
            write_bps: list(&change.block.write_bps, &self.block.write_bps),
            read_iops: list(&change.block.read_iops, &self.block.read_iops),
            write_iops: list(&change.block.write_iops, &self.block.write_iops),
        };
        merged.hugepages.extend(change.hugepages.clone());
        merged.class_id = either(&change.class_id, &self.class_id);
        merged.priorities = list(&change.priorities, &self.priorities);
        merged.rdma.extend(change.rdma.clone());
        merged.unified.extend(change.unified.clone());
        merged
    }

    /// What has to be written for a change: the change, and of a pair that goes into one file the half it does not say.
    #[must_use]
    pub fn to_write(&self, change: &Self) -> Self {
        let mut written = change.clone();
        if change.cpu_quota.is_some() != change.cpu_period.is_some() {
            written.cpu_quota = change.cpu_quota.or(self.cpu_quota);
            written.cpu_period = change.cpu_period.or(self.cpu_period);
        }
        written
    }

    /// Whether there is anything a controller is needed for; device rules and freezing need none on v2.
    pub(crate) fn needs_controllers(&self) -> bool {
        let bare = Self {
            devices: self.devices.clone(),
            check_before_update: self.check_before_update,
            ..Self::default()
        };
        *self != bare
    }

    /// Whether there is anything for controllers that work on whole processes only (cgroups(7), "threaded controllers").
    pub(crate) fn needs_domain(&self) -> bool {
        let Block {
            weight,
            devices,
            read_bps,
            write_bps,
            read_iops,
            write_iops,
            ..
        } = &self.block;
        let throttles = [read_bps, write_bps, read_iops, write_iops];
        self.memory.is_some()
            || self.memory_swap.is_some()
            || self.memory_reservation.is_some()
            || weight.is_some()
            || !devices.is_empty()
            || throttles.iter().any(|list| !list.is_empty())
            || self.cpu_shares.is_some()
            || self.cpu_quota.is_some()
            || self.cpu_period.is_some()
            || !self.hugepages.is_empty()
    }
}

fn read_block(block: &LinuxBlockIo) -> Block {
    let throttles = |list: &Option<Vec<LinuxThrottleDevice>>| {
        let list = list.iter().flatten();
        list.map(|one| Throttle {
            device: format!("{}:{}", one.major(), one.minor()),
            rate: one.rate(),
        })
        .collect()
    };
    let devices = block.weight_device().iter().flatten();
    Block {
        weight: block.weight().filter(|it| *it != 0),
        leaf_weight: block.leaf_weight().filter(|it| *it != 0),
        devices: devices
            .map(|one| DeviceWeight {
                device: format!("{}:{}", one.major(), one.minor()),
                weight: one.weight().filter(|it| *it != 0),
                leaf_weight: one.leaf_weight().filter(|it| *it != 0),
            })
            .collect(),
        read_bps: throttles(block.throttle_read_bps_device()),
        write_bps: throttles(block.throttle_write_bps_device()),
        read_iops: throttles(block.throttle_read_iops_device()),
        write_iops: throttles(block.throttle_write_iops_device()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Limits as config.json says them.
    pub(crate) fn limits(json: &str) -> Resources {
        Resources::limits(&serde_json::from_str(json).unwrap()).unwrap()
    }

    #[test]
    fn zero_is_not_set() {
        let zeros = r#"{"memory":{"limit":0,"swap":0,"reservation":0},"pids":{"limit":0},"blockIO":{"weight":0},
            "cpu":{"shares":0,"quota":0,"period":0,"realtimeRuntime":0,"realtimePeriod":0,"cpus":"","mems":""}}"#;
        assert_eq!(limits(zeros), Resources::default());
        assert!(!limits(zeros).needs_controllers());
    }

    #[test]
    fn an_update_keeps_what_it_does_not_say() {
        let old = limits(
            r#"{"cpu":{"quota":500000,"period":1000000},"memory":{"limit":33554432},"pids":{"limit":20}}"#,
        );
        let change = limits(r#"{"cpu":{"quota":300000}}"#);
        let merged = old.changed(&change);
        assert_eq!(merged.cpu_quota, Some(300_000));
        assert_eq!(merged.cpu_period, Some(1_000_000));
        assert_eq!(merged.memory, Some(33_554_432));
        let written = old.to_write(&change);
        // one file on v2 and one property of systemd
        assert_eq!(written.cpu_period, Some(1_000_000));
        // not written again: somebody may have changed it by hand
        assert_eq!((written.memory, written.pids), (None, None));
        // a later update of something else does not forget the period
        let later = merged.changed(&limits(r#"{"pids":{"limit":30}}"#));
        assert_eq!(later.cpu_period, Some(1_000_000));
    }

    #[test]
    fn a_swappiness_out_of_range_is_refused_and_minus_one_is_not_set() {
        let of = |value: &str| {
            let json = format!(r#"{{"memory":{{"swappiness":{value}}}}}"#);
            Resources::limits(&serde_json::from_str(&json).unwrap())
        };
        assert!(of("101").is_err());
        assert_eq!(of("18446744073709551615").unwrap().swappiness, None);
        assert_eq!(of("0").unwrap().swappiness, Some(0));
    }

    #[test]
    fn what_is_recorded_comes_back() {
        let resources = limits(
            r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}],"rdma":{"mlx5":{"hcaHandles":3}},
               "network":{"classID":7,"priorities":[{"name":"eth0","priority":5}]},"unified":{"memory.high":"9"},
               "blockIO":{"weight":100,"weightDevice":[{"major":8,"minor":0,"weight":20}],
                          "throttleReadIOPSDevice":[{"major":8,"minor":0,"rate":5}]}}"#,
        );
        let text = serde_json::to_string(&resources).unwrap();
        assert_eq!(serde_json::from_str::<Resources>(&text).unwrap(), resources);
    }
}
