//! Flags of `exec`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct ExecArguments {
    /// name of the container
    #[arg(value_name = "container-id")]
    pub(crate) id: String,
    /// command and its arguments
    #[arg(value_name = "command")]
    pub(crate) command: Vec<String>,
    /// path to an AF_UNIX socket that is sent the master end of the process's terminal
    #[arg(long)]
    pub(crate) console_socket: Option<PathBuf>,
    /// path to an AF_UNIX socket that is sent a pidfd of the process
    #[arg(long)]
    pub(crate) pidfd_socket: Option<PathBuf>,
    /// current working directory in the container
    #[arg(long)]
    pub(crate) cwd: Option<PathBuf>,
    /// set environment variables, NAME=VALUE; may be repeated
    #[arg(long, short)]
    pub(crate) env: Vec<String>,
    /// allocate a pseudo-TTY
    #[arg(long, short)]
    pub(crate) tty: bool,
    /// UID (format: <uid>[:<gid>])
    #[arg(long, short)]
    pub(crate) user: Option<String>,
    /// additional gids; may be repeated
    #[arg(long, short = 'g', value_delimiter = ',')]
    pub(crate) additional_gids: Vec<u32>,
    /// path to the process description (process.json)
    #[arg(long, short)]
    pub(crate) process: Option<PathBuf>,
    /// detach from the container's process
    #[arg(long, short)]
    pub(crate) detach: bool,
    /// file to write the process's number to
    #[arg(long)]
    pub(crate) pid_file: Option<PathBuf>,
    /// SELinux label of the process
    #[arg(long)]
    pub(crate) process_label: Option<String>,
    /// AppArmor profile of the process
    #[arg(long)]
    pub(crate) apparmor: Option<String>,
    /// set the no new privileges value of the process
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) no_new_privs: Option<bool>,
    /// add a capability to the bounding set of the process; may be repeated
    #[arg(long, short)]
    pub(crate) cap: Vec<String>,
    /// pass N additional file descriptors to the process: 3 up to 3+N-1
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(i32).range(0..=4096))]
    pub(crate) preserve_fds: i32,
    /// run the process in a sub-cgroup: [controller[,controller...]:]path; may be repeated
    #[arg(long)]
    pub(crate) cgroup: Vec<String>,
    /// allow exec in a paused container
    #[arg(long)]
    pub(crate) ignore_paused: bool,
    /// ignored, as by runc: exec reaps no reparented processes
    #[arg(long, hide = true)]
    pub(crate) no_subreaper: bool,
}
