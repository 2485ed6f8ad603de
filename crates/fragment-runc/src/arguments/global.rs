//! Flags before the command.

use std::path::PathBuf;

use clap::Args;

use crate::runtime::LogLevel;

/// Flags before the command.
#[derive(Debug, Default, Args)]
pub(crate) struct Global {
    /// enable debug logging, libcontainer's steps included
    #[arg(long)]
    pub(crate) debug: bool,
    /// set the log file; errors are also written to standard error
    #[arg(long)]
    pub(crate) log: Option<PathBuf>,
    /// set the log format: text or json
    #[arg(long, default_value = "text", value_parser = LogFormat::parse)]
    pub(crate) log_format: LogFormat,
    /// set the least level that is logged: error, warning, info, debug or trace; without it, $PHANTOM_FRAGMENT_LOG_LEVEL or
    /// fragment.yaml says, else it is warning
    #[arg(long, value_parser = str::parse::<LogLevel>)]
    pub(crate) log_level: Option<LogLevel>,
    /// root directory for storage of container state (this should be located in tmpfs)
    #[arg(long)]
    pub(crate) root: Option<PathBuf>,
    /// path to the criu binary used for checkpoint and restore
    #[arg(long)]
    pub(crate) criu: Option<PathBuf>,
    /// have systemd make the cgroups; expects linux.cgroupsPath to be of the form "slice:prefix:name"
    #[arg(long)]
    pub(crate) systemd_cgroup: bool,
    /// whether a lack of rights over cgroups is expected (true, false or auto)
    #[arg(long, default_value = "auto")]
    pub(crate) rootless: String,
    /// print the version
    #[arg(long, short)]
    pub(crate) version: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

impl LogFormat {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(format!("invalid log-format: {other}")),
        }
    }
}
