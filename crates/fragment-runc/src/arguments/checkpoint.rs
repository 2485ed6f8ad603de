//! Flags of `checkpoint` and `restore`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "one per flag of runc's")]
pub(crate) struct CheckpointArguments {
    /// name of the container
    #[arg(value_name = "container-id")]
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) criu: CriuArguments,
    /// path for previous criu image files, in pre-dump
    #[arg(long)]
    pub(crate) parent_path: Option<PathBuf>,
    /// leave the process running after checkpointing
    #[arg(long)]
    pub(crate) leave_running: bool,
    /// skip in-flight tcp connections
    #[arg(long)]
    pub(crate) tcp_skip_in_flight: bool,
    /// allow one to link unlinked files back when possible
    #[arg(long)]
    pub(crate) link_remap: bool,
    /// criu writes \0 to this FD once lazy-pages is ready
    #[arg(long)]
    pub(crate) status_fd: Option<i32>,
    /// ADDRESS:PORT of the page server
    #[arg(long)]
    pub(crate) page_server: Option<String>,
    /// dump container's memory information only, leave the container running after this
    #[arg(long)]
    pub(crate) pre_dump: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArguments {
    /// name for the container
    #[arg(value_name = "container-id")]
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) criu: CriuArguments,
    /// path to an AF_UNIX socket that is sent the master end of the container's terminal
    #[arg(long)]
    pub(crate) console_socket: Option<PathBuf>,
    /// path to the root of the bundle directory, the current directory by default
    #[arg(long, short, default_value = ".", hide_default_value = true)]
    pub(crate) bundle: PathBuf,
    /// detach from the container's process
    #[arg(long, short)]
    pub(crate) detach: bool,
    /// file to write the number of the init process to
    #[arg(long)]
    pub(crate) pid_file: Option<PathBuf>,
    /// disable the use of the subreaper used to reap reparented processes
    #[arg(long)]
    pub(crate) no_subreaper: bool,
    /// do not use pivot_root; for a rootfs on top of a ramdisk
    #[arg(long)]
    pub(crate) no_pivot: bool,
    /// specify an LSM profile to be used during restore: [selinux|apparmor]:NAME
    #[arg(long)]
    pub(crate) lsm_profile: Option<String>,
    /// specify an LSM mount context to be used during restore
    #[arg(long)]
    pub(crate) lsm_mount_context: Option<String>,
}

/// What both are told about criu and its images.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "one per flag of runc's")]
pub(crate) struct CriuArguments {
    /// path to the criu image files
    #[arg(long)]
    pub(crate) image_path: Option<PathBuf>,
    /// path for work files and logs
    #[arg(long)]
    pub(crate) work_path: Option<PathBuf>,
    /// allow open tcp connections
    #[arg(long)]
    pub(crate) tcp_established: bool,
    /// allow external unix sockets
    #[arg(long)]
    pub(crate) ext_unix_sk: bool,
    /// allow shell jobs
    #[arg(long)]
    pub(crate) shell_job: bool,
    /// use userfaultfd to lazily restore memory pages
    #[arg(long)]
    pub(crate) lazy_pages: bool,
    /// handle file locks, for safety
    #[arg(long)]
    pub(crate) file_locks: bool,
    /// cgroups mode: soft, full, strict or ignore
    #[arg(long)]
    pub(crate) manage_cgroups_mode: Option<String>,
    /// create a namespace, but don't restore its properties
    #[arg(long)]
    pub(crate) empty_ns: Vec<String>,
    /// enable auto deduplication of memory images
    #[arg(long)]
    pub(crate) auto_dedup: bool,
}
