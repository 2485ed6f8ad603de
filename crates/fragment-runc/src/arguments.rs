//! The command line, flag by flag as runc 1.3 has it.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// What was asked for.
#[derive(Debug, Parser)]
#[command(
    name = "fragment-runc",
    about = "OCI runtime that composes a container's rootfs from shared components",
    disable_version_flag = true,
    disable_help_subcommand = true,
    subcommand_required = false,
    arg_required_else_help = true
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// Flags before the command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Directory for container state
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// Log file; errors are also written to standard error
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
    /// Log format
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// Least level that is logged
    #[arg(long, value_name = "LEVEL", default_value = "warning")]
    pub(crate) log_level: LogLevel,
    /// Log everything, libcontainer's steps included
    #[arg(long)]
    pub(crate) debug: bool,
    /// Have systemd make the cgroups
    #[arg(long)]
    pub(crate) systemd_cgroup: bool,
    /// Ignored: found out by itself
    #[arg(long, value_name = "auto|true|false", default_value = "auto", default_missing_value = "true", num_args = 0..=1, require_equals = true)]
    pub(crate) rootless: Rootless,
    /// Ignored, as by runc: there is no checkpoint yet
    #[arg(long, value_name = "PATH")]
    pub(crate) criu: Option<PathBuf>,
    /// Print the version
    #[arg(long, short)]
    pub(crate) version: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    #[value(alias = "panic", alias = "fatal")]
    Error,
    #[value(alias = "warn")]
    Warning,
    Info,
    Debug,
    Trace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Rootless {
    Auto,
    True,
    False,
}

#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one value in a process")]
pub(crate) enum Command {
    /// Create a container
    Create(CreateArguments),
    /// Create a container, start it, and remove it when its program ends
    Run(RunArguments),
    /// Start the program of a created container
    Start(IdArguments),
    /// Print the state of a container as JSON
    State(IdArguments),
    /// Send a signal to a container's first process
    Kill(KillArguments),
    /// Remove a container
    Delete(DeleteArguments),
    /// List containers
    List(ListArguments),
    /// Start another process in a running container
    Exec(ExecArguments),
    /// List the processes of a container
    Ps(PsArguments),
    /// Write a specification to start from
    Spec(SpecArguments),
    /// Print what this runtime can do, as JSON
    Features,
}

#[derive(Debug, Args)]
pub(crate) struct IdArguments {
    /// Name of the container
    pub(crate) id: String,
}

#[derive(Debug, Args)]
pub(crate) struct CreateArguments {
    /// Name for the container
    pub(crate) id: String,
    /// Directory of the bundle
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    pub(crate) bundle: PathBuf,
    /// Socket that is sent the container's terminal
    #[arg(long, value_name = "PATH")]
    pub(crate) console_socket: Option<PathBuf>,
    /// Socket that is sent a descriptor of the container's first process
    #[arg(long, value_name = "PATH")]
    pub(crate) pidfd_socket: Option<PathBuf>,
    /// File to write the first process's number to
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
    /// Do not use pivot_root; for a root on a ramdisk
    #[arg(long)]
    pub(crate) no_pivot: bool,
    /// Leave the program in the caller's session keyring
    #[arg(long)]
    pub(crate) no_new_keyring: bool,
    /// Pass N more descriptors on: 3 up to 3+N-1
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(i32).range(0..=4096))]
    pub(crate) preserve_fds: i32,
}

#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    #[command(flatten)]
    pub(crate) create: CreateArguments,
    /// Return when the program has started
    #[arg(long, short)]
    pub(crate) detach: bool,
    /// Keep the container when its program has ended
    #[arg(long)]
    pub(crate) keep: bool,
    /// Do not reap the container's orphans
    #[arg(long)]
    pub(crate) no_subreaper: bool,
}

#[derive(Debug, Args)]
pub(crate) struct KillArguments {
    /// Name of the container
    pub(crate) id: String,
    /// Signal, by name or number
    #[arg(default_value = "SIGTERM", allow_hyphen_values = true)]
    pub(crate) signal: String,
    /// Send it to all processes of the container
    #[arg(long, short)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArguments {
    /// Name of the container
    pub(crate) id: String,
    /// Kill the container first if it runs; no error when there is none
    #[arg(long, short)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    /// table or json
    #[arg(long, short, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: Format,
    /// Names only
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct ExecArguments {
    /// Name of the container
    pub(crate) id: String,
    /// Command and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
    /// File with the process description (process.json)
    #[arg(long, short, value_name = "FILE", conflicts_with = "command")]
    pub(crate) process: Option<PathBuf>,
    /// Give the process a terminal
    #[arg(long, short)]
    pub(crate) tty: bool,
    /// Working directory
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<PathBuf>,
    /// User id, and group id after a colon
    #[arg(long, short, value_name = "UID[:GID]")]
    pub(crate) user: Option<String>,
    /// Variable to add to the environment; may be repeated
    #[arg(long, short, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// Capability to add; may be repeated
    #[arg(long, short, value_name = "CAP_NAME")]
    pub(crate) cap: Vec<String>,
    /// Additional group id; may be repeated
    #[arg(long, short = 'g', value_name = "GID", value_delimiter = ',')]
    pub(crate) additional_gids: Vec<u32>,
    /// AppArmor profile
    #[arg(long, value_name = "PROFILE")]
    pub(crate) apparmor: Option<String>,
    /// SELinux label
    #[arg(long, value_name = "LABEL")]
    pub(crate) process_label: Option<String>,
    /// Set no_new_privs
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "true|false")]
    pub(crate) no_new_privs: Option<bool>,
    /// Cgroup below the container's
    #[arg(long, value_name = "PATH")]
    pub(crate) cgroup: Option<String>,
    /// Also in a paused container
    #[arg(long)]
    pub(crate) ignore_paused: bool,
    /// Return when the process has started
    #[arg(long, short)]
    pub(crate) detach: bool,
    /// Socket that is sent the terminal
    #[arg(long, value_name = "PATH")]
    pub(crate) console_socket: Option<PathBuf>,
    /// Socket that is sent a descriptor of the process
    #[arg(long, value_name = "PATH")]
    pub(crate) pidfd_socket: Option<PathBuf>,
    /// File to write the process's number to
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
    /// Pass N more descriptors on: 3 up to 3+N-1
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(i32).range(0..=4096))]
    pub(crate) preserve_fds: i32,
    /// Do not reap orphans while waiting
    #[arg(long)]
    pub(crate) no_subreaper: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PsArguments {
    /// Name of the container
    pub(crate) id: String,
    /// table or json
    #[arg(long, short, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: Format,
    /// Options for ps, -ef by default
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) options: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SpecArguments {
    /// Directory to write config.json to
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    pub(crate) bundle: PathBuf,
    /// A specification that works without root
    #[arg(long)]
    pub(crate) rootless: bool,
}

/// Reads the command line; the error is also how `--help` answers.
pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Arguments, clap::Error> {
    Arguments::try_parse_from(arguments)
}
