//! Limits and priorities of a process, set from outside: the runtime has rights on the host that the process may have given up.

use std::io;

use fragment_sys::scheduling::{IoClass, Scheduling, set_io_priority, set_scheduling};
use libcontainer::oci_spec::runtime::{
    IOPriorityClass, LinuxIOPriority, LinuxSchedulerFlag, LinuxSchedulerPolicy, PosixRlimit,
    PosixRlimitType, Process, Scheduler,
};
use rustix::process::{Pid, Resource, Rlimit};
use rustix::thread::CpuSet;
use thiserror::Error;

use crate::creation::diagnosis::words;

/// What could not be set.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SchedulingError {
    /// A resource limit.
    #[error("set process.rlimits {kind:?}: {}", words(.cause))]
    Limit {
        /// Which.
        kind: PosixRlimitType,
        /// The errno.
        cause: io::Error,
    },
    /// The policy or one of its values.
    #[error("set process.scheduler: {}", words(.0))]
    Scheduler(io::Error),
    /// The I/O priority.
    #[error("set process.ioPriority: {}", words(.0))]
    IoPriority(io::Error),
    /// The CPUs.
    #[error("set process.execCPUAffinity {cpus:?}: {}", words(.cause))]
    Affinity {
        /// As given.
        cpus: String,
        /// The errno.
        cause: io::Error,
    },
}

/// Gives a process the limits and priorities of its description.
pub(crate) fn apply(pid: i32, process: &Process) -> Result<(), SchedulingError> {
    for limit in process.rlimits().iter().flatten() {
        set_limit(pid, limit).map_err(|cause| SchedulingError::Limit {
            kind: limit.typ(),
            cause,
        })?;
    }
    if let Some(scheduler) = process.scheduler() {
        set_scheduling(pid, &scheduling(scheduler)).map_err(SchedulingError::Scheduler)?;
    }
    if let Some(priority) = process.io_priority() {
        give_io_priority(pid, priority).map_err(SchedulingError::IoPriority)?;
    }
    Ok(())
}

/// Restricts a process to a list of CPUs such as `0-3,7`.
pub(crate) fn pin(pid: i32, cpus: &str) -> Result<(), SchedulingError> {
    let pinned = cpu_set(cpus).ok_or_else(|| io::ErrorKind::InvalidInput.into());
    let pinned =
        pinned.and_then(|set| Ok(rustix::thread::sched_setaffinity(Pid::from_raw(pid), &set)?));
    pinned.map_err(|cause| SchedulingError::Affinity {
        cpus: cpus.to_owned(),
        cause,
    })
}

fn set_limit(pid: i32, limit: &PosixRlimit) -> io::Result<()> {
    // RLIM_INFINITY is the largest number (getrlimit(2))
    let finite = |value: u64| Some(value).filter(|value| *value != u64::MAX);
    let new = Rlimit {
        current: finite(limit.soft()),
        maximum: finite(limit.hard()),
    };
    rustix::process::prlimit(Pid::from_raw(pid), resource(limit.typ()), new)?;
    Ok(())
}

fn resource(kind: PosixRlimitType) -> Resource {
    match kind {
        PosixRlimitType::RlimitCpu => Resource::Cpu,
        PosixRlimitType::RlimitFsize => Resource::Fsize,
        PosixRlimitType::RlimitData => Resource::Data,
        PosixRlimitType::RlimitStack => Resource::Stack,
        PosixRlimitType::RlimitCore => Resource::Core,
        PosixRlimitType::RlimitRss => Resource::Rss,
        PosixRlimitType::RlimitNproc => Resource::Nproc,
        PosixRlimitType::RlimitNofile => Resource::Nofile,
        PosixRlimitType::RlimitMemlock => Resource::Memlock,
        PosixRlimitType::RlimitAs => Resource::As,
        PosixRlimitType::RlimitLocks => Resource::Locks,
        PosixRlimitType::RlimitSigpending => Resource::Sigpending,
        PosixRlimitType::RlimitMsgqueue => Resource::Msgqueue,
        PosixRlimitType::RlimitNice => Resource::Nice,
        PosixRlimitType::RlimitRtprio => Resource::Rtprio,
        PosixRlimitType::RlimitRttime => Resource::Rttime,
    }
}

fn scheduling(scheduler: &Scheduler) -> Scheduling {
    let policy = match scheduler.policy() {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIso => 4,
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    };
    let flag = |flag: &LinuxSchedulerFlag| match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    };
    Scheduling {
        policy,
        flags: scheduler
            .flags()
            .iter()
            .flatten()
            .map(flag)
            .fold(0, |all, bit| all | bit),
        nice: scheduler.nice().unwrap_or(0),
        priority: scheduler.priority().unwrap_or(0).cast_unsigned(),
        runtime: scheduler.runtime().unwrap_or(0),
        deadline: scheduler.deadline().unwrap_or(0),
        period: scheduler.period().unwrap_or(0),
    }
}

fn give_io_priority(pid: i32, priority: &LinuxIOPriority) -> io::Result<()> {
    let class = match priority.class() {
        IOPriorityClass::IoprioClassRt => IoClass::RealTime,
        IOPriorityClass::IoprioClassBe => IoClass::BestEffort,
        IOPriorityClass::IoprioClassIdle => IoClass::Idle,
    };
    // a level out of range is one the kernel refuses
    let level = u8::try_from(priority.priority()).unwrap_or(u8::MAX);
    set_io_priority(pid, class, level)
}

/// `0-3,7`; `None` for what is no such list, or names a CPU beyond what a [`CpuSet`] holds.
fn cpu_set(cpus: &str) -> Option<CpuSet> {
    let mut set = CpuSet::new();
    for range in cpus
        .split(',')
        .map(str::trim)
        .filter(|range| !range.is_empty())
    {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last >= CpuSet::MAX_CPU {
            return None;
        }
        (first..=last).for_each(|cpu| set.set(cpu));
    }
    Some(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus() {
        let list = |text: &str| {
            let set = cpu_set(text)?;
            Some(
                (0..CpuSet::MAX_CPU)
                    .filter(|cpu| set.is_set(*cpu))
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(list("0-2,7"), Some(vec![0, 1, 2, 7]));
        assert_eq!(list(" 1 , 3-3 ,"), Some(vec![1, 3]));
        for wrong in ["3-1", "x", "1-", "-1", "99999"] {
            assert_eq!(list(wrong), None, "{wrong}");
        }
    }
}
