//! Flags of the commands that make, signal and remove containers.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct CreateArguments {
    /// name for the container
    #[arg(value_name = "container-id")]
    pub(crate) id: String,
    /// path to the root of the bundle directory, the current directory by default
    #[arg(long, short, default_value = ".", hide_default_value = true)]
    pub(crate) bundle: PathBuf,
    /// path to an AF_UNIX socket that is sent the master end of the container's terminal
    #[arg(long)]
    pub(crate) console_socket: Option<PathBuf>,
    /// path to an AF_UNIX socket that is sent a pidfd of the container's init process
    #[arg(long)]
    pub(crate) pidfd_socket: Option<PathBuf>,
    /// file to write the number of the init process to
    #[arg(long)]
    pub(crate) pid_file: Option<PathBuf>,
    /// do not use pivot_root; for a rootfs on top of a ramdisk
    #[arg(long)]
    pub(crate) no_pivot: bool,
    /// do not create a new session keyring for the container
    #[arg(long)]
    pub(crate) no_new_keyring: bool,
    /// pass N additional file descriptors to the container: 3 up to 3+N-1
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(i32).range(0..=4096))]
    pub(crate) preserve_fds: i32,
}

#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    #[command(flatten)]
    pub(crate) create: CreateArguments,
    /// detach from the container's process
    #[arg(long, short)]
    pub(crate) detach: bool,
    /// do not delete the container after it exits
    #[arg(long)]
    pub(crate) keep: bool,
    /// disable the use of the subreaper used to reap reparented processes
    #[arg(long)]
    pub(crate) no_subreaper: bool,
}

#[derive(Debug, Args)]
pub(crate) struct KillArguments {
    /// name of the container
    #[arg(value_name = "container-id")]
    pub(crate) id: String,
    /// signal, by name or number
    #[arg(default_value = "SIGTERM")]
    pub(crate) signal: String,
    /// send the signal to all processes inside the container
    #[arg(long, short)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArguments {
    /// name of the container
    #[arg(value_name = "container-id")]
    pub(crate) id: String,
    /// kill the container first if it is still running (SIGKILL); no error when there is none
    #[arg(long, short)]
    pub(crate) force: bool,
}
