//! Flags of `update` and `events`.

use std::path::PathBuf;

use clap::Args;

/// Numbers stay text where runc reads them itself: sizes take suffixes.
#[derive(Debug, Args)]
pub(crate) struct UpdateArguments {
    /// name of the container
    #[arg(value_name = "container-id")]
    pub(crate) id: String,
    /// path to the file with the resources to update, - for standard input
    #[arg(long, short)]
    pub(crate) resources: Option<PathBuf>,
    /// per cgroup block io weight, from 10 to 1000
    #[arg(long)]
    pub(crate) blkio_weight: Option<u16>,
    /// CPU CFS period to be used for hardcapping (in usecs); 0 to use the system's default
    #[arg(long)]
    pub(crate) cpu_period: Option<String>,
    /// CPU CFS hardcap limit (in usecs): allowed cpu time in a given period
    #[arg(long)]
    pub(crate) cpu_quota: Option<String>,
    /// CPU CFS hardcap burst limit (in usecs): allowed accumulated cpu time additionally for burst in a given period
    #[arg(long)]
    pub(crate) cpu_burst: Option<String>,
    /// CPU shares (relative weight vs. other containers)
    #[arg(long)]
    pub(crate) cpu_share: Option<String>,
    /// CPU realtime period to be used for hardcapping (in usecs); 0 to use the system's default
    #[arg(long)]
    pub(crate) cpu_rt_period: Option<String>,
    /// CPU realtime hardcap limit (in usecs): allowed cpu time in a given period
    #[arg(long)]
    pub(crate) cpu_rt_runtime: Option<String>,
    /// CPU(s) to use
    #[arg(long)]
    pub(crate) cpuset_cpus: Option<String>,
    /// memory node(s) to use
    #[arg(long)]
    pub(crate) cpuset_mems: Option<String>,
    /// obsolete; the kernel has no such limit any more
    #[arg(long, hide = true)]
    pub(crate) kernel_memory: Option<String>,
    /// obsolete; the kernel has no such limit any more
    #[arg(long, hide = true)]
    pub(crate) kernel_memory_tcp: Option<String>,
    /// memory limit (in bytes)
    #[arg(long)]
    pub(crate) memory: Option<String>,
    /// memory reservation or soft limit (in bytes)
    #[arg(long)]
    pub(crate) memory_reservation: Option<String>,
    /// total memory usage (memory + swap); set -1 to enable unlimited swap
    #[arg(long)]
    pub(crate) memory_swap: Option<String>,
    /// maximum number of processes allowed in the container; -1 for no limit
    #[arg(long)]
    pub(crate) pids_limit: Option<i64>,
    /// Intel RDT/CAT L3 cache schema
    #[arg(long)]
    pub(crate) l3_cache_schema: Option<String>,
    /// Intel RDT/MBA memory bandwidth schema
    #[arg(long)]
    pub(crate) mem_bw_schema: Option<String>,
    /// set the cgroup SCHED_IDLE or not: 0 is the default behaviour, 1 is SCHED_IDLE
    #[arg(long)]
    pub(crate) cpu_idle: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct EventsArguments {
    /// name of the container
    #[arg(value_name = "container-id")]
    pub(crate) id: String,
    /// set the stats collection interval
    #[arg(long, default_value = "5s")]
    pub(crate) interval: String,
    /// display the container's stats then exit
    #[arg(long)]
    pub(crate) stats: bool,
}
