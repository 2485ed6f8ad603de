//! Scheduling attributes of processes that the standard library and rustix have no call for.

use std::io;

/// What sched_setattr(2) sets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scheduling {
    /// SCHED_*.
    pub policy: u32,
    /// SCHED_FLAG_*.
    pub flags: u64,
    /// For SCHED_OTHER and SCHED_BATCH, -20 to 19.
    pub nice: i32,
    /// For SCHED_FIFO and SCHED_RR, 1 to 99.
    pub priority: u32,
    /// For SCHED_DEADLINE, nanoseconds.
    pub runtime: u64,
    /// For SCHED_DEADLINE, nanoseconds.
    pub deadline: u64,
    /// For SCHED_DEADLINE, nanoseconds.
    pub period: u64,
}

/// The kernel's structure, its first version (sched_setattr(2)).
#[repr(C)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Gives a process (0: this one) other scheduling attributes.
///
/// # Errors
/// As sched_setattr(2).
pub fn set_scheduling(pid: i32, scheduling: &Scheduling) -> io::Result<()> {
    let attributes = Attributes {
        // 48 bytes
        size: size_of::<Attributes>() as u32,
        policy: scheduling.policy,
        flags: scheduling.flags,
        nice: scheduling.nice,
        priority: scheduling.priority,
        runtime: scheduling.runtime,
        deadline: scheduling.deadline,
        period: scheduling.period,
    };
    // SAFETY: the structure says its own size and outlives the call, which only reads it (sched_setattr(2)).
    checked(unsafe { libc::syscall(libc::SYS_sched_setattr, pid, &raw const attributes, 0_u32) })
}

/// Classes of I/O priority (ioprio_set(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoClass {
    /// IOPRIO_CLASS_RT.
    RealTime = 1,
    /// IOPRIO_CLASS_BE.
    BestEffort = 2,
    /// IOPRIO_CLASS_IDLE.
    Idle = 3,
}

/// Gives a process (0: this one) another I/O priority, 0 the highest and 7 the lowest of its class.
///
/// # Errors
/// As ioprio_set(2); `EINVAL` for a level above 7.
pub fn set_io_priority(pid: i32, class: IoClass, level: u8) -> io::Result<()> {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    const IOPRIO_CLASS_SHIFT: libc::c_int = 13;
    if level > 7 {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let priority = ((class as libc::c_int) << IOPRIO_CLASS_SHIFT) | libc::c_int::from(level);
    // SAFETY: ioprio_set(2) takes no pointer.
    checked(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, pid, priority) })
}

fn checked(result: libc::c_long) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_may_be_nicer() {
        let scheduling = Scheduling {
            nice: 3,
            ..Scheduling::default()
        };
        set_scheduling(0, &scheduling).unwrap();
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let fields = stat.rsplit(')').next().unwrap();
        // field 19 (proc_pid_stat(5)); the first after the name is field 3
        assert_eq!(fields.split_ascii_whitespace().nth(16), Some("3"));
    }

    #[test]
    fn an_io_priority_has_eight_levels() {
        set_io_priority(0, IoClass::BestEffort, 7).unwrap();
        assert!(set_io_priority(0, IoClass::Idle, 8).is_err());
    }
}
